//! Who may use the loopback port: nobody who does not know this start's secret path.
//!
//! Implemented: `Host` must be this address (RFC 9110 section 7.4, against DNS rebinding), an
//! `Origin` must be this address too (MCP 2026-07-28, Streamable HTTP, Security), and the path holds
//! 256 random bits that only the user's own client is told.
//! Not implemented: telling apart processes of the same user, which can read each other anyway.

use std::net::SocketAddr;

use attorn_jose::sha256;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Request, StatusCode};

/// The rules of one start.
#[derive(Clone)]
pub(crate) struct Guard {
    authorities: [String; 2],
    origins: [String; 2],
    path_digest: [u8; 32],
}

/// Why a local request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalRefusal {
    /// It names another host, as after DNS rebinding.
    Host,
    /// Its method is not one of MCP.
    Method,
    /// A web page sent it.
    Origin,
    /// It does not know the secret path.
    Path,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, path: &str) -> Self {
        let port = address.port();
        let authorities = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let origins = authorities.each_ref().map(|authority| format!("http://{authority}"));
        Self { authorities, origins, path_digest: sha256(path.as_bytes()) }
    }

    /// Refuses whatever the user's own client would not send.
    pub(crate) fn judge<T>(&self, request: &Request<T>) -> Result<(), LocalRefusal> {
        let host = only(request.headers(), &HOST).ok_or(LocalRefusal::Host)?;
        if !self.authorities.iter().any(|own| own == host) {
            return Err(LocalRefusal::Host);
        }
        if request.headers().contains_key(ORIGIN) {
            let origin = only(request.headers(), &ORIGIN).ok_or(LocalRefusal::Origin)?;
            if !self.origins.iter().any(|own| own == origin) {
                return Err(LocalRefusal::Origin);
            }
        }
        // Digests are compared, so the time taken tells nothing of the path.
        if sha256(request.uri().path().as_bytes()) != self.path_digest {
            return Err(LocalRefusal::Path);
        }
        if !matches!(request.method().as_str(), "DELETE" | "GET" | "POST") {
            return Err(LocalRefusal::Method);
        }
        Ok(())
    }
}

impl LocalRefusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            // RFC 9110 section 15.5.20: the request was meant for another host.
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            // MCP 2026-07-28, Streamable HTTP, Security: 403 for an invalid `Origin`.
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Path => StatusCode::NOT_FOUND,
        }
    }
}

/// The value of a field that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, path: &str, headers: &[(&str, &str)]) -> Option<LocalRefusal> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let guard = Guard::new(SocketAddr::from(([127, 0, 0, 1], 4000)), "/secret/mcp");
        guard.judge(&request.body(()).unwrap()).err()
    }

    #[test]
    fn the_users_own_client_passes() {
        let host = ("host", "127.0.0.1:4000");
        assert_eq!(judged("POST", "/secret/mcp", &[host]), None);
        let origin = ("origin", "http://localhost:4000");
        assert_eq!(judged("GET", "/secret/mcp", &[("host", "localhost:4000"), origin]), None);
    }

    #[test]
    fn rebinding_pages_and_guesses_do_not() {
        let host = ("host", "127.0.0.1:4000");
        for wrong in ["evil.example:4000", "127.0.0.1", "127.0.0.1:4001", "127.0.0.1.evil:4000"] {
            let refused = judged("POST", "/secret/mcp", &[("host", wrong)]);
            assert_eq!(refused, Some(LocalRefusal::Host), "{wrong}");
        }
        assert_eq!(judged("POST", "/secret/mcp", &[]), Some(LocalRefusal::Host));
        assert_eq!(judged("POST", "/secret/mcp", &[host, host]), Some(LocalRefusal::Host));
        for wrong in ["http://evil.example", "null", "https://127.0.0.1:4000"] {
            let refused = judged("POST", "/secret/mcp", &[host, ("origin", wrong)]);
            assert_eq!(refused, Some(LocalRefusal::Origin), "{wrong}");
        }
        for wrong in ["/", "/mcp", "/secret/mcp/", "/secret"] {
            assert_eq!(judged("POST", wrong, &[host]), Some(LocalRefusal::Path), "{wrong}");
        }
        assert_eq!(judged("PUT", "/secret/mcp", &[host]), Some(LocalRefusal::Method));
    }
}
