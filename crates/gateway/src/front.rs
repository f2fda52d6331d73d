//! The head of a request: everything that is judged before a credential is looked at.
//!
//! Order: host and origin, then method, then the headers that say how the body is to be read.

use attorn_enforce::host;
use attorn_net::Peer;
use http::header::{EXPECT, HeaderMap, HeaderName, ORIGIN};
use http::{Method, request};

use crate::config::Config;
use crate::media::{self, Media};
use crate::refusal::HeadRefusal;

/// The names under which this gateway answers.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Names {
    /// The configured names; the other spellings of loopback are added when the gateway's own
    /// URL is one of them.
    pub(crate) fn new(config: &Config) -> Self {
        let url = &config.public_url;
        let mut hosts = vec![url.authority().to_owned()];
        let mut origins = vec![url.as_str().to_owned()];
        if LOOPBACK.contains(&url.host()) {
            for name in LOOPBACK.iter().filter(|name| **name != url.host()) {
                hosts.push(url.authority().replacen(url.host(), name, 1));
                origins.push(url.as_str().replacen(url.host(), name, 1));
            }
        }
        hosts.extend(config.hosts.iter().cloned());
        origins.extend(config.origins.iter().cloned());
        Self { hosts, origins }
    }

    /// Refuses a request that was addressed to another name, or comes from a foreign page: both
    /// are how DNS rebinding looks (MCP 2026-07-28, Streamable HTTP, Security & Endpoint).
    pub(crate) fn verify(&self, head: &request::Parts) -> Result<(), HeadRefusal> {
        let host = host::addressed(head).ok_or(HeadRefusal::Host)?;
        // RFC 9110 section 7.4: a connection for one host carries no request for another, whose
        // listener may ask more of its clients.
        let peer = head.extensions.get::<Peer>();
        if peer.is_some_and(|peer| peer.is_misdirected(&head.uri, &head.headers)) {
            return Err(HeadRefusal::Host);
        }
        // RFC 9110 section 4.2.3: the host is case-insensitive.
        if !self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return Err(HeadRefusal::Host);
        }
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let known = self.origins.iter().any(|name| name.as_bytes() == origin.as_bytes());
        if known && origins.next().is_none() { Ok(()) } else { Err(HeadRefusal::Origin) }
    }
}

/// The methods of the MCP endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Delete,
    Get,
    Post,
}

impl Verb {
    /// The method, unless it is another one or pretends to be.
    pub(crate) fn of(head: &request::Parts) -> Result<Self, HeadRefusal> {
        if head.headers.contains_key(X_HTTP_METHOD_OVERRIDE) {
            return Err(HeadRefusal::Method);
        }
        match head.method {
            Method::POST => Ok(Self::Post),
            Method::GET => Ok(Self::Get),
            Method::DELETE => Ok(Self::Delete),
            _ => Err(HeadRefusal::Method),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Judges how the body of a POST says it must be read, before any of it is.
pub(crate) fn verify_post(headers: &HeaderMap, body_bytes_max: usize) -> Result<(), HeadRefusal> {
    verify_names(headers)?;
    // RFC 9110 section 10.1.1: an expectation we do not know is answered before the body comes.
    if headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(CONTINUE))
    {
        return Err(HeadRefusal::Expectation);
    }
    if media::is_encoded(headers) {
        return Err(HeadRefusal::ContentEncoding);
    }
    if media::declared(headers) != Some(Media::Json) {
        return Err(HeadRefusal::ContentType);
    }
    // MCP 2026-07-28, Sending Messages: the client must accept both kinds of answer.
    if !(media::accepts(headers, Media::Json) && media::accepts(headers, Media::EventStream)) {
        return Err(HeadRefusal::Accept);
    }
    let declared = media::single(headers, &http::header::CONTENT_LENGTH);
    if declared.and_then(|length| length.parse().ok()).is_some_and(|n: usize| n > body_bytes_max) {
        return Err(HeadRefusal::BodyTooLong);
    }
    Ok(())
}

/// A header that some readers take for one of MCP's and some do not is not let through.
fn verify_names(headers: &HeaderMap) -> Result<(), HeadRefusal> {
    let twin = |name: &HeaderName| name.as_str().starts_with("mcp_");
    if headers.keys().any(twin) { Err(HeadRefusal::HeaderTwin) } else { Ok(()) }
}

/// Whether the client takes an event stream, which the GET of older revisions requires.
pub(crate) fn accepts_stream(headers: &HeaderMap) -> bool {
    media::accepts(headers, Media::EventStream)
}

const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
const CONTINUE: &[u8] = b"100-continue";
const X_HTTP_METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Version};

    use super::*;
    use crate::config::PublicUrl;

    fn names() -> Names {
        let mut config = Config::new(PublicUrl::parse("http://127.0.0.1:8701").unwrap());
        config.origins.push("https://console.example".to_owned());
        Names::new(&config)
    }

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_own_hosts_and_origins_pass() {
        let check = |uri: &str, headers: &[(&str, &str)], expected| {
            assert_eq!(names().verify(&head(uri, headers)), expected, "{uri} {headers:?}");
        };
        check("/a/mcp", &[("host", "127.0.0.1:8701")], Ok(()));
        check("/a/mcp", &[("host", "LOCALHOST:8701")], Ok(()));
        check("/a/mcp", &[("host", "127.0.0.1:8701"), ("origin", "http://127.0.0.1:8701")], Ok(()));
        check("/a/mcp", &[("host", "[::1]:8701"), ("origin", "https://console.example")], Ok(()));
        for host in ["evil.example", "127.0.0.1:8701.evil.example", "127.0.0.1", "127.0.0.1:80", ""]
        {
            check("/a/mcp", &[("host", host)], Err(HeadRefusal::Host));
        }
        check("/a/mcp", &[], Err(HeadRefusal::Host));
        check("/a/mcp", &[("host", "127.0.0.1:8701"), ("host", "evil")], Err(HeadRefusal::Host));
        check("http://evil/a/mcp", &[("host", "127.0.0.1:8701")], Err(HeadRefusal::Host));
        for origin in
            ["null", "https://evil.example", "http://127.0.0.1:8701.evil", "http://127.0.0.1"]
        {
            check(
                "/a/mcp",
                &[("host", "127.0.0.1:8701"), ("origin", origin)],
                Err(HeadRefusal::Origin),
            );
        }
        let twice = [
            ("host", "127.0.0.1:8701"),
            ("origin", "http://127.0.0.1:8701"),
            ("origin", "http://127.0.0.1:8701"),
        ];
        check("/a/mcp", &twice, Err(HeadRefusal::Origin));
    }

    #[test]
    fn an_authority_of_http_2_is_the_host() {
        let mut head = head("http://127.0.0.1:8701/a/mcp", &[]);
        assert_eq!(names().verify(&head), Err(HeadRefusal::Host));
        head.version = Version::HTTP_2;
        assert_eq!(names().verify(&head), Ok(()));
    }

    #[test]
    fn the_head_of_a_post_says_how_to_read_it() {
        let good = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let check = |change: Option<(&str, &str)>, expected| {
            let mut headers = head("/a/mcp", &good).headers;
            if let Some((name, value)) = change {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(verify_post(&headers, 100), expected, "{change:?}");
        };
        check(None, Ok(()));
        check(Some(("expect", "100-continue")), Ok(()));
        check(Some(("content-length", "100")), Ok(()));
        check(Some(("expect", "200-ok")), Err(HeadRefusal::Expectation));
        check(Some(("content-encoding", "gzip")), Err(HeadRefusal::ContentEncoding));
        check(Some(("content-type", "text/plain")), Err(HeadRefusal::ContentType));
        check(Some(("accept", "application/json")), Err(HeadRefusal::Accept));
        check(Some(("content-length", "101")), Err(HeadRefusal::BodyTooLong));
        check(Some(("mcp_name", "x")), Err(HeadRefusal::HeaderTwin));
    }

    #[test]
    fn three_methods_exist() {
        assert_eq!(Verb::of(&head("/", &[])), Ok(Verb::Post));
        let mut other = head("/", &[]);
        other.method = Method::OPTIONS;
        assert_eq!(Verb::of(&other), Err(HeadRefusal::Method));
        let disguised = head("/", &[("x-http-method-override", "DELETE")]);
        assert_eq!(Verb::of(&disguised), Err(HeadRefusal::Method));
    }
}
