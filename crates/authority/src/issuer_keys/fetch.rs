//! Asking an issuer that the operator trusts.
//!
//! The operator names the issuer, so its own host is asked wherever it is. What the issuer's documents
//! name beside it is judged like any address of a stranger, unless the operator listed the host.
//! Implemented: TLS, or plain HTTP to loopback where the host is the issuer's or listed; no redirects;
//! one time limit for all of an exchange; JSON alone, in the clear, of a bounded size.

use std::path::Path;
use std::time::Duration;

use attorn_net::{SendError, TlsError};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{Request, StatusCode, Uri};

use crate::outward::{Outward, OutwardRefusal};

/// Asks the endpoints of one issuer.
#[derive(Debug)]
pub(crate) struct IssuerClient {
    clients: Outward,
    /// The issuer's own host, and those that the operator listed.
    hosts: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchRefusal {
    /// The host is somewhere it must not be.
    #[error("the host is not reached over the Internet, and not listed")]
    Address,
    /// It answered something else than it was asked for.
    #[error("it did not answer with the document that it was asked for")]
    Answer,
    /// It did not answer.
    #[error("it did not answer")]
    Unreachable,
    /// The URL is not one that is opened.
    #[error("the url is not one that is opened")]
    Url,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IssuerClientError {
    /// The file of certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities")]
    Roots(#[source] std::io::Error),
    /// The file of certificate authorities is not usable.
    #[error("the file of certificate authorities is not usable")]
    Tls(#[source] TlsError),
}

impl From<OutwardRefusal> for IssuerClientError {
    fn from(refusal: OutwardRefusal) -> Self {
        match refusal {
            OutwardRefusal::Roots(error) => Self::Roots(error),
            OutwardRefusal::Tls(error) => Self::Tls(error),
        }
    }
}

impl IssuerClient {
    /// A client for an issuer. `hosts` are further ones, as `host` or `host:port`; `roots` is a PEM
    /// file of the authorities that count for all of these instead of the public ones.
    pub(crate) fn new(
        issuer: &str,
        hosts: &[String],
        roots: Option<&Path>,
    ) -> Result<Self, IssuerClientError> {
        let own = host_of(issuer).into_iter();
        Ok(Self {
            clients: Outward::new(roots, TIME_MAX)?,
            hosts: own.chain(hosts.iter().cloned()).collect(),
        })
    }

    /// A JSON document of at most `bytes_max`.
    pub(crate) async fn document(
        &self,
        url: &str,
        bytes_max: usize,
    ) -> Result<Bytes, FetchRefusal> {
        let request = Request::get(url).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|_| FetchRefusal::Url)?;
        match self.exchange(request, bytes_max).await? {
            (StatusCode::OK, document) => Ok(document),
            _ => Err(FetchRefusal::Answer),
        }
    }

    /// Sends a request, and gives the status and the JSON of the answer, whatever the status.
    pub(crate) async fn exchange(
        &self,
        request: Request<Bytes>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), FetchRefusal> {
        let host = host_of(&request.uri().to_string()).ok_or(FetchRefusal::Url)?;
        let client =
            if self.hosts.contains(&host) { &self.clients.listed } else { &self.clients.public };
        let exchange = async {
            let answer = client.send(request).await.map_err(|error| match error {
                SendError::AddressRefused => FetchRefusal::Address,
                SendError::Url(_) => FetchRefusal::Url,
                SendError::Connect(_)
                | SendError::ConnectTimeout
                | SendError::Exchange(_)
                | SendError::HeadTimeout
                | SendError::Resolve(_) => FetchRefusal::Unreachable,
            })?;
            let (head, body) = answer.into_parts();
            // A redirect has no JSON. Where it had, its status is not one that anybody asked for.
            if !is_plain_json(&head.headers) {
                return Err(FetchRefusal::Answer);
            }
            let body = body.bytes(bytes_max).await.map_err(|_| FetchRefusal::Answer)?;
            Ok((head.status, body))
        };
        // For the whole of it: one that drips is given up.
        tokio::time::timeout(TIME_MAX, exchange).await.map_err(|_late| FetchRefusal::Unreachable)?
    }
}

/// One JSON text, in the clear: nothing is unpacked for others.
pub(crate) fn is_plain_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json");
    is_json && !headers.contains_key(CONTENT_ENCODING)
}

/// Host and port of a URL, as an operator writes them: without the port where it is the usual one.
fn host_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = authority.host();
    Some(match authority.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

const TIME_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_the_clear_is_a_document() {
        let check = |pairs: &[(http::HeaderName, &'static str)], expected| {
            let headers = pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect();
            assert_eq!(is_plain_json(&headers), expected, "{pairs:?}");
        };
        check(&[(CONTENT_TYPE, "application/json; charset=utf-8")], true);
        check(&[(CONTENT_TYPE, "application/client-metadata+json")], true);
        check(&[(CONTENT_TYPE, "text/html")], false);
        check(&[], false);
        check(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], false);
    }

    #[test]
    fn a_host_is_named_as_an_operator_writes_it() {
        let check = |url, expected: Option<&str>| assert_eq!(host_of(url).as_deref(), expected);
        check("https://id.example/a?b", Some("id.example"));
        check("https://id.example:443/", Some("id.example"));
        check("https://id.example:8443", Some("id.example:8443"));
        check("http://127.0.0.1:9000/a", Some("127.0.0.1:9000"));
        check("https://[::1]:9000/a", Some("[::1]:9000"));
        check("https://id.example@evil.example/", None);
        check("/jwks", None);
    }

    #[tokio::test]
    async fn a_host_that_nobody_listed_is_judged_by_its_address() {
        let client =
            IssuerClient::new("https://id.example", &["127.0.0.1:1".into()], None).unwrap();
        let ask = |url| client.document(url, 10);
        assert_eq!(ask("https://127.0.0.1:2/jwks").await, Err(FetchRefusal::Address));
        assert_eq!(ask("https://169.254.169.254/latest").await, Err(FetchRefusal::Address));
        assert_eq!(ask("http://127.0.0.1:2/jwks").await, Err(FetchRefusal::Address));
        // Listed: it is tried, and nobody is there.
        assert_eq!(ask("https://127.0.0.1:1/jwks").await, Err(FetchRefusal::Unreachable));
        assert_eq!(ask("ftp://127.0.0.1:1/jwks").await, Err(FetchRefusal::Url));
        assert_eq!(ask("/jwks").await, Err(FetchRefusal::Url));
    }
}
