//! The `[[guard]]` parts of the configuration file.

use std::net::SocketAddr;
use std::time::Duration;

use attorn_oauth::resource::ResourceIndicator;
use http::{HeaderMap, HeaderName, Uri};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::limits::Limits;

/// One API that a guard stands in front of. Every field but the three URLs and addresses has a safe
/// default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL under which the API is registered: `attorn resource show`. It is the one audience of its
    /// tokens, and every `htu` begins with it.
    pub public_url: ApiUrl,
    /// Where the guard listens. Nobody but the guard should be able to reach the API itself.
    pub listen: SocketAddr,
    /// URL of the API, which takes the place of `public_url`. Plain HTTP on loopback only.
    pub upstream: UpstreamUrl,
    /// Further values of `Host` that are accepted, for example an internal name with its port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Bytes of the largest request body, at most 1 GiB. Default 16 MiB.
    #[serde(default)]
    pub body_bytes_max: BodyBytes,
    /// Seconds until the API must have sent the head of its answer, counted from the first byte of
    /// the request. Default 60.
    #[serde(default = "answer_s")]
    pub answer_s: u64,
    /// The header of the API's answer that names the request there. Default `x-request-id`.
    #[serde(default)]
    pub request_id_header: RequestIdHeader,
    /// How much of everything a caller gets.
    #[serde(default)]
    pub limits: Limits,
}

/// What is enforced, wherever it is: in front of an API, or inside of it.
#[derive(Clone, Debug)]
pub struct Api {
    /// The registered URL.
    pub url: ApiUrl,
    /// Further values of `Host` that are accepted.
    pub hosts: Vec<String>,
    /// Bytes of the largest request body.
    pub body_bytes_max: BodyBytes,
    /// The header of an answer that names the request there.
    pub request_id_header: RequestIdHeader,
    /// How much of everything a caller gets.
    pub limits: Limits,
}

impl Api {
    /// An API with every default.
    #[must_use]
    pub fn new(url: ApiUrl) -> Self {
        Self {
            url,
            hosts: Vec::new(),
            body_bytes_max: BodyBytes::default(),
            request_id_header: RequestIdHeader::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// A guard with every default.
    #[must_use]
    pub fn new(public_url: ApiUrl, listen: SocketAddr, upstream: UpstreamUrl) -> Self {
        Self {
            public_url,
            listen,
            upstream,
            hosts: Vec::new(),
            body_bytes_max: BodyBytes::default(),
            answer_s: answer_s(),
            request_id_header: RequestIdHeader::default(),
            limits: Limits::default(),
        }
    }

    /// What it enforces.
    #[must_use]
    pub fn api(&self) -> Api {
        Api {
            url: self.public_url.clone(),
            hosts: self.hosts.clone(),
            body_bytes_max: self.body_bytes_max,
            request_id_header: self.request_id_header.clone(),
            limits: self.limits,
        }
    }

    pub(crate) const fn answer_within(&self) -> Duration {
        Duration::from_secs(self.answer_s)
    }
}

/// The registered URL of an API, kept as the string that it is registered by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiUrl {
    // Invariant: a resource indicator; `origin` and `path` are its two parts.
    text: String,
    origin: String,
    path: String,
}

impl ApiUrl {
    /// Accepts what can be registered: the canonical spelling of an `https` URL, or of one with
    /// `http` on loopback.
    ///
    /// # Errors
    /// [`UrlRefusal`].
    pub fn parse(text: &str) -> Result<Self, UrlRefusal> {
        let indicator = ResourceIndicator::parse(text).map_err(|_| UrlRefusal)?;
        let text = indicator.as_str();
        let (scheme, rest) = text.split_once("://").ok_or(UrlRefusal)?;
        let (authority, _) = rest.split_once('/').ok_or(UrlRefusal)?;
        let origin = format!("{scheme}://{authority}");
        let path = text.strip_prefix(&origin).ok_or(UrlRefusal)?.to_owned();
        Ok(Self { text: text.to_owned(), origin, path })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path; never empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host, and the port when it is not the scheme's own: what `Host` must say.
    pub(crate) fn authority(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, authority)| authority)
    }
}

/// The URL of the API itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamUrl(
    // Invariant: `scheme://authority[/path]` without a final slash, canonical.
    String,
);

impl UpstreamUrl {
    /// Accepts an `http` or `https` URL without query, fragment and user information, in its
    /// canonical spelling.
    ///
    /// # Errors
    /// [`UrlRefusal`].
    pub fn parse(text: &str) -> Result<Self, UrlRefusal> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let url = Url::parse(text).map_err(|_| UrlRefusal)?;
        let is_canonical = url.as_str().strip_suffix('/').unwrap_or(url.as_str()) == text;
        let is_plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let is_http = matches!(url.scheme(), "http" | "https");
        if is_canonical && is_plain && is_http {
            Ok(Self(text.to_owned()))
        } else {
            Err(UrlRefusal)
        }
    }

    /// The text, without a final slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where a request goes: the path below the API's URL, and the query, byte for byte.
    pub(crate) fn join(&self, below: &str, query: Option<&str>) -> Option<Uri> {
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        format!("{}{below}{query}", self.0).parse().ok()
    }
}

/// A URL that cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL in its canonical spelling, without query, fragment and user")]
pub struct UrlRefusal;

impl TryFrom<String> for ApiUrl {
    type Error = UrlRefusal;
    fn try_from(text: String) -> Result<Self, UrlRefusal> {
        Self::parse(&text)
    }
}

impl From<ApiUrl> for String {
    fn from(url: ApiUrl) -> Self {
        url.text
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = UrlRefusal;
    fn try_from(text: String) -> Result<Self, UrlRefusal> {
        Self::parse(&text)
    }
}

impl From<UpstreamUrl> for String {
    fn from(url: UpstreamUrl) -> Self {
        url.0
    }
}

/// Bytes of a request body, at most 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct BodyBytes(u64);

impl BodyBytes {
    const MAX: u64 = 1 << 30;

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Default for BodyBytes {
    fn default() -> Self {
        Self(16 << 20)
    }
}

impl TryFrom<u64> for BodyBytes {
    type Error = &'static str;
    fn try_from(bytes: u64) -> Result<Self, &'static str> {
        if (1..=Self::MAX).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err("must be between 1 and 1073741824")
        }
    }
}

impl From<BodyBytes> for u64 {
    fn from(bytes: BodyBytes) -> Self {
        bytes.0
    }
}

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestIdHeader(HeaderName);

impl RequestIdHeader {
    /// The name of the header.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.0
    }

    /// The name that an API gave a request: one, short, and visible ASCII, or it is none.
    #[must_use]
    pub fn of(&self, answered: &HeaderMap) -> Option<String> {
        let value = attorn_enforce::host::single(answered, &self.0)?;
        let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| value.to_owned())
    }
}

impl Default for RequestIdHeader {
    fn default() -> Self {
        Self(HeaderName::from_static("x-request-id"))
    }
}

impl TryFrom<String> for RequestIdHeader {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        text.to_ascii_lowercase().parse().map(Self).map_err(|_| "is no name of a header")
    }
}

impl From<RequestIdHeader> for String {
    fn from(header: RequestIdHeader) -> Self {
        header.0.as_str().to_owned()
    }
}

const REQUEST_ID_BYTES_MAX: usize = 128;

const fn answer_s() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_has_the_url_that_it_is_registered_by() {
        let url = ApiUrl::parse("https://api.example:8443/billing").unwrap();
        assert_eq!((url.origin(), url.path()), ("https://api.example:8443", "/billing"));
        assert_eq!(url.authority(), "api.example:8443");
        assert_eq!(ApiUrl::parse("https://api.example/").unwrap().path(), "/");
        for bad in ["https://api.example", "http://api.example/", "https://api.example/?", "x"] {
            assert_eq!(ApiUrl::parse(bad), Err(UrlRefusal), "{bad}");
        }
    }

    #[test]
    fn an_upstream_takes_the_place_of_the_url() {
        let at = |base: &str, below, query| {
            let url = UpstreamUrl::parse(base).unwrap().join(below, query).unwrap();
            url.to_string()
        };
        assert_eq!(at("http://127.0.0.1:9", "", None), "http://127.0.0.1:9/");
        assert_eq!(
            at("http://127.0.0.1:9/", "/a%20b", Some("c=%2F")),
            "http://127.0.0.1:9/a%20b?c=%2F"
        );
        assert_eq!(at("http://127.0.0.1:9/v1", "/a", None), "http://127.0.0.1:9/v1/a");
        for bad in ["ftp://a", "http://a/?b", "http://u@a/", "http://A", "http://a/../b", "a"] {
            assert_eq!(UpstreamUrl::parse(bad), Err(UrlRefusal), "{bad}");
        }
    }
}
