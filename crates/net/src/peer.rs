//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Uri};

use crate::certificate::PeerCertificate;
use crate::client_cert::ClientCertRefusal;

/// Facts about the connection a request came in on; found in the request's extensions.
///
/// It holds nothing a client can write: no `Host`, no `Forwarded`, no `X-Forwarded-*`. A certificate
/// out of a header is in it only where a listed proxy wrote the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end's address as the socket reports it.
    pub address: SocketAddr,
    /// Whether this listener ended TLS itself.
    pub encrypted: bool,
    /// The host name of the handshake (RFC 6066 section 3), where the client sent one.
    pub server_name: Option<Arc<str>>,
    /// The client certificate whose key the peer proved in the handshake, here or at `proxy`.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// The listed proxy at the other end. It vouches for the certificate.
    pub proxy: Option<Arc<str>>,
    /// Why the certificate headers of that proxy are not taken. Then there is no certificate.
    pub client_cert: Result<(), ClientCertRefusal>,
}

impl Peer {
    /// A peer without TLS facts.
    #[must_use]
    pub const fn new(address: SocketAddr, encrypted: bool) -> Self {
        Self {
            address,
            encrypted,
            server_name: None,
            certificate: None,
            proxy: None,
            client_cert: Ok(()),
        }
    }

    /// The address that failures are charged to, and that counts as the client's place. A listed
    /// proxy speaks for many clients, whose places are not known: one of them must not use up the
    /// share of all others, so the proxy has to limit them by itself.
    #[must_use]
    pub const fn charged(&self) -> Option<IpAddr> {
        match self.proxy {
            None => Some(self.address.ip()),
            Some(_) => None,
        }
    }

    /// What came of the client's certificate on its way here, for `attorn doctor`: its thumbprint
    /// as `x5t#S256`, `none`, or `malformed`. It tells nobody but the client, and nothing but what
    /// the client sent.
    #[must_use]
    pub fn seen_certificate(&self) -> HeaderValue {
        let seen = self.certificate.as_ref().map(|seen| URL_SAFE_NO_PAD.encode(seen.thumbprint));
        let text = match (&self.client_cert, &seen) {
            (Err(_), _) => "malformed",
            (Ok(()), Some(seen)) => seen,
            (Ok(()), None) => "none",
        };
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
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

/// The header of an answer to a health check with [`Peer::seen_certificate`].
pub const SEEN_CERTIFICATE: HeaderName = HeaderName::from_static("attorn-client-certificate");

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
