//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::certificate::PeerCertificate;

/// Facts about the connection a request came in on; found in the request's extensions.
///
/// It holds nothing a client can write: no `Host`, no `Forwarded`, no `X-Forwarded-*`, and no
/// certificate out of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end's address as the socket reports it.
    pub address: SocketAddr,
    /// Whether this listener ended TLS itself.
    pub encrypted: bool,
    /// The host name of the handshake (RFC 6066 section 3), where the client sent one.
    pub server_name: Option<Arc<str>>,
    /// The client certificate whose key the peer proved in the handshake.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl Peer {
    /// A peer without TLS facts.
    #[must_use]
    pub const fn new(address: SocketAddr, encrypted: bool) -> Self {
        Self { address, encrypted, server_name: None, certificate: None }
    }

    /// Whether a request names another host than the handshake of its connection did: it belongs
    /// to another listener, whose demands on clients may be others (RFC 9110 section 7.4, RFC 9113
    /// section 9.1.2). It is answered with 421.
    #[must_use]
    pub fn is_misdirected(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(expected) = self.server_name.as_deref() else { return false };
        let target = uri.authority().map(http::uri::Authority::host);
        let host = || headers.get(HOST).and_then(|value| value.to_str().ok()).map(without_port);
        // A request that names no host is refused elsewhere.
        target.or_else(host).is_some_and(|named| !named.eq_ignore_ascii_case(expected))
    }
}

fn without_port(authority: &str) -> &str {
    let end =
        authority.rfind(':').filter(|at| !authority.get(*at..).is_some_and(|p| p.contains(']')));
    end.and_then(|at| authority.get(..at)).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(server_name: Option<&str>, uri: &str, host: Option<&'static str>, expected: bool) {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let peer = Peer { server_name: server_name.map(Arc::from), ..Peer::new(address, true) };
        let mut headers = HeaderMap::new();
        headers.extend(host.map(|host| (HOST, HeaderValue::from_static(host))));
        assert_eq!(
            peer.is_misdirected(&uri.parse().unwrap(), &headers),
            expected,
            "{uri} {host:?}"
        );
    }

    #[test]
    fn a_request_names_the_host_of_its_handshake() {
        check(Some("a.example"), "https://a.example/x", None, false);
        check(Some("a.example"), "https://A.example:8443/x", None, false);
        check(Some("a.example"), "/x", Some("a.example:8443"), false);
        check(None, "https://b.example/x", None, false);
        check(None, "/x", Some("[::1]:80"), false);
        check(Some("a.example"), "https://b.example/x", None, true);
        check(Some("a.example"), "/x", Some("b.example"), true);
        check(Some("a.example"), "/x", Some("a.example.b.example"), true);
        check(Some("a.example"), "/x", Some("[::1]"), true);
    }
}
