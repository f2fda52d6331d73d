//! The `[[egress]]` parts of the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use attorn_guard::{ApiUrl, BodyBytes, RequestIdHeader, UpstreamUrl};
use serde::{Deserialize, Serialize};

/// How one MCP server reaches one API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the MCP server.
    pub server: String,
    /// URL under which the API is registered: `attorn resource show`.
    pub resource: ApiUrl,
    /// URL where the API, or the guard before it, is reached, if that is another one. Plain HTTP on
    /// loopback only.
    pub upstream: Option<UpstreamUrl>,
    /// Address that takes the place of the API's for a server that passes the W3C trace context of its
    /// calls on. On loopback.
    pub listen: Option<SocketAddr>,
    /// PEM file of the certificate authorities that the API and the issuer of tokens are verified with,
    /// instead of the public ones. Relative to the configuration file.
    pub roots: Option<PathBuf>,
    /// Variable in the environment of the server's children that gets such an address. Each child has
    /// one of its own, and works on one call at a time.
    pub variable: Option<String>,
    /// The static key of an API that knows nothing else. Without it the server gets a token by exchange.
    pub key: Option<StaticKey>,
    /// Bytes of the largest body of a request, and of an answer, at most 1 GiB. Default 16 MiB.
    #[serde(default)]
    pub body_bytes_max: BodyBytes,
    /// Seconds until the API must have sent the head of its answer. Default 60.
    #[serde(default = "answer_s")]
    pub answer_s: u64,
    /// The header of the API's answer that names the request there. Default `x-request-id`.
    #[serde(default)]
    pub request_id_header: RequestIdHeader,
}

/// A secret that an API asks for. It is read when it is needed, and stays in this process.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticKey {
    /// The header that it goes into. Default `Authorization`.
    #[serde(default = "authorization")]
    pub header: String,
    /// What stands before it, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// File that holds it, readable by its owner alone. Relative to the configuration file.
    pub file: Option<PathBuf>,
    /// Program and arguments that print it, such as the client of a vault. No shell. Asked again every
    /// five minutes.
    pub command: Option<Vec<String>>,
}

impl Config {
    pub(crate) const fn answer_within(&self) -> Duration {
        Duration::from_secs(self.answer_s)
    }
}

const fn answer_s() -> u64 {
    60
}

fn authorization() -> String {
    "Authorization".to_owned()
}
