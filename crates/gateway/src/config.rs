//! The `[gateway]` part of the configuration file.

use std::collections::BTreeMap;
use std::time::Duration;

use attorn_net::SeveralPlaces;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::limits::Limits;

/// What the gateway is told by its operator. Every field but the URL has a safe default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL under which clients reach the gateway: scheme, host and port, nothing more. Every
    /// audience, `htu` and metadata document is made from it and never from a request.
    pub public_url: PublicUrl,
    /// Further values of `Host` that are accepted, for example an internal name with its port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Values of `Origin` that are accepted beside the gateway's own, each `scheme://host[:port]`.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Bytes of the largest request body; at most 4 MiB.
    #[serde(default = "BodyBytes::default")]
    pub body_bytes_max: BodyBytes,
    /// Seconds until an upstream must have sent the head of its answer.
    #[serde(default = "answer_s")]
    pub upstream_answer_s: u64,
    /// Seconds a stream that belongs to one request may stay silent.
    #[serde(default = "idle_s")]
    pub upstream_idle_s: u64,
    /// Seconds between two listings of an upstream's tools by the gateway itself, between 1 and
    /// 3600. A tenth more or less, so that servers are not all asked at once.
    #[serde(default = "LookSeconds::relist")]
    pub relist_s: LookSeconds,
    /// Seconds for which a listing counts as fresh when a tool is called, between 1 and 3600. After
    /// that a call that writes waits for a new look, and one that reads causes one.
    #[serde(default = "LookSeconds::call")]
    pub call_look_s: LookSeconds,
    /// Seconds a session of an older revision survives without a request.
    #[serde(default = "session_idle_s")]
    pub session_idle_s: u64,
    /// What becomes of a token that is used from two network addresses: `off`, `record` or `refuse`
    /// from the second one on. Loopback is no address. Behind a proxy everybody has its address.
    #[serde(default)]
    pub several_places: SeveralPlaces,
    /// How much of everything a caller gets.
    #[serde(default)]
    pub limits: Limits,
    /// What the children of stdio servers see of our own environment: the variables of
    /// [`Config::CHILD_VARIABLES`], filled in by the program that may read the environment.
    #[serde(skip)]
    pub child_environment: BTreeMap<String, String>,
}

impl Config {
    /// Variables a child may see: enough to find and run an interpreter, and no credential.
    pub const CHILD_VARIABLES: [&str; 10] =
        ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];

    /// A configuration with every default.
    pub fn new(public_url: PublicUrl) -> Self {
        Self {
            public_url,
            hosts: Vec::new(),
            origins: Vec::new(),
            body_bytes_max: BodyBytes::default(),
            upstream_answer_s: answer_s(),
            upstream_idle_s: idle_s(),
            relist_s: LookSeconds::relist(),
            call_look_s: LookSeconds::call(),
            session_idle_s: session_idle_s(),
            several_places: SeveralPlaces::default(),
            limits: Limits::default(),
            child_environment: BTreeMap::new(),
        }
    }

    pub(crate) fn answer_within(&self) -> Duration {
        Duration::from_secs(self.upstream_answer_s)
    }

    pub(crate) fn idle_within(&self) -> Duration {
        Duration::from_secs(self.upstream_idle_s)
    }
}

/// The gateway's own URL, kept as the string the operator wrote.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    // Invariant: `scheme://authority`, equal to what a URL parser writes, without a final slash.
    text: String,
    authority: String,
}

impl PublicUrl {
    /// Accepts `https://host[:port]`, or `http` on loopback.
    ///
    /// # Errors
    /// [`PublicUrlError`] when anything else is in it, or a parser would write it differently.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAUrl)?;
        let Some(authority) =
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))
        else {
            return Err(PublicUrlError::Scheme);
        };
        // Tokens would cross the network unprotected, under an audience that says they may.
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(PublicUrlError::Scheme);
        }
        // A URL that a parser repairs would be compared in two forms later; only the form that
        // survives parsing unchanged is taken.
        let written = url.as_str();
        if written.strip_suffix('/') != Some(text) || authority.contains(['/', '?', '#', '@']) {
            return Err(PublicUrlError::MoreThanOrigin);
        }
        Ok(Self { text: text.to_owned(), authority: authority.to_owned() })
    }

    /// `scheme://authority`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host, and the port when it is not the scheme's own: what `Host` must say.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            Some(_) | None => &self.authority,
        }
    }

    /// Resource identifier (RFC 8707 section 2) of a server: the only audience of its tokens.
    pub fn resource(&self, server: &str) -> String {
        format!("{}/{server}/mcp", self.text)
    }

    /// Where the protected resource metadata of a server is (RFC 9728 section 3.1).
    pub fn metadata_url(&self, server: &str) -> String {
        format!("{}/.well-known/oauth-protected-resource/{server}/mcp", self.text)
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = PublicUrlError;

    fn try_from(text: String) -> Result<Self, PublicUrlError> {
        Self::parse(&text)
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.text
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Why a URL cannot be the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It has a path, query, fragment or user, or a parser would write it differently.
    #[error("must be scheme, host and port only, in their canonical spelling")]
    MoreThanOrigin,
    /// No URL at all.
    #[error("not a URL")]
    NotAUrl,
    /// Neither `https` nor `http`.
    #[error("scheme must be `https`, or `http` on loopback")]
    Scheme,
}

/// Bytes of a request body, capped at 4 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct BodyBytes(usize);

impl BodyBytes {
    const MAX: usize = 4 << 20;

    /// The number of bytes.
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for BodyBytes {
    fn default() -> Self {
        Self(Self::MAX)
    }
}

impl TryFrom<usize> for BodyBytes {
    type Error = &'static str;

    fn try_from(bytes: usize) -> Result<Self, &'static str> {
        if (1..=Self::MAX).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err("must be between 1 and 4194304")
        }
    }
}

/// Seconds between two looks at the tools of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct LookSeconds(u64);

impl LookSeconds {
    const MAX: u64 = 3600;

    /// The number of seconds.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The time until the next look, a tenth more or less by `random`.
    pub(crate) fn jittered(self, random: [u8; 2]) -> Duration {
        let all_ms = self.0 * 1000;
        let part = all_ms * u64::from(u16::from_be_bytes(random)) / (u64::from(u16::MAX) * 5);
        Duration::from_millis(all_ms - all_ms / 10 + part)
    }

    fn relist() -> Self {
        Self(60)
    }

    fn call() -> Self {
        Self(5)
    }
}

impl TryFrom<u64> for LookSeconds {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, &'static str> {
        if (1..=Self::MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err("must be between 1 and 3600 seconds")
        }
    }
}

impl From<LookSeconds> for u64 {
    fn from(seconds: LookSeconds) -> Self {
        seconds.0
    }
}

impl From<BodyBytes> for usize {
    fn from(bytes: BodyBytes) -> Self {
        bytes.0
    }
}

// A tool may work for minutes; a head that never comes must not hold a connection for ever.
fn answer_s() -> u64 {
    300
}

fn idle_s() -> u64 {
    300
}

fn session_idle_s() -> u64 {
    3600
}

#[cfg(test)]
mod tests {
    use super::{Duration, LookSeconds, PublicUrl, PublicUrlError};

    #[test]
    fn looks_are_bounded_and_a_tenth_apart() {
        assert!(LookSeconds::try_from(0).is_err() && LookSeconds::try_from(3601).is_err());
        let minute = LookSeconds::try_from(60).unwrap();
        assert_eq!(minute.jittered([0, 0]), Duration::from_secs(54));
        assert_eq!(minute.jittered([255, 255]), Duration::from_secs(66));
    }

    #[test]
    fn a_public_url_is_an_origin_in_canonical_spelling() {
        for good in ["https://gw.example", "http://127.0.0.1:8701", "https://gw.example:8443/"] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("gw.example", PublicUrlError::NotAUrl),
            ("ftp://gw.example", PublicUrlError::Scheme),
            ("http://gw.example", PublicUrlError::Scheme),
            ("http://192.0.2.1:8701", PublicUrlError::Scheme),
            ("https://gw.example/path", PublicUrlError::MoreThanOrigin),
            ("https://gw.example?x", PublicUrlError::MoreThanOrigin),
            ("https://user@gw.example", PublicUrlError::MoreThanOrigin),
            ("https://GW.example", PublicUrlError::MoreThanOrigin),
            ("https://gw.example:443", PublicUrlError::MoreThanOrigin),
            ("http://0x7f.1", PublicUrlError::MoreThanOrigin),
        ] {
            assert_eq!(PublicUrl::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn identifiers_come_from_the_configured_url() {
        let url = PublicUrl::parse("https://gw.example").unwrap();
        assert_eq!(url.resource("crm"), "https://gw.example/crm/mcp");
        assert_eq!(
            url.metadata_url("crm"),
            "https://gw.example/.well-known/oauth-protected-resource/crm/mcp"
        );
    }
}
