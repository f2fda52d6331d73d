//! The one way from this server to the invoice API: plain HTTP, one connection a request.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The invoice API at a fixed address.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    authority: String,
}

/// What the API answered: its status and JSON text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) succeeded: bool,
    pub(crate) text: String,
}

/// The API did not answer.
#[derive(Debug)]
pub(crate) struct Unreachable;

impl Api {
    /// `base` is `http://host:port`, with or without a final slash.
    pub(crate) fn new(base: &str) -> Option<Self> {
        let authority = base.strip_prefix("http://")?.trim_end_matches('/');
        let well_formed = authority
            .parse::<http::uri::Authority>()
            .is_ok_and(|a| a.port_u16().is_some() && !authority.contains('@'));
        well_formed.then(|| Self { authority: authority.to_owned() })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Unreachable> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, json: String) -> Result<Answer, Unreachable> {
        self.send(Method::POST, path, Bytes::from(json)).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Unreachable> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|_| Unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| Unreachable)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, "attorn-sample-mcp-server")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| Unreachable)?;
        let response = sender.send_request(request).await.map_err(|_| Unreachable)?;
        let succeeded = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let text = body.map_err(|_| Unreachable)?.to_bytes();
        Ok(Answer { succeeded, text: String::from_utf8_lossy(&text).into_owned() })
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 section 2.3.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_must_name_host_and_port() {
        assert!(Api::new("http://127.0.0.1:9000/").is_some());
        assert!(Api::new("https://127.0.0.1:9000").is_none());
        assert!(Api::new("http://127.0.0.1").is_none());
        assert!(Api::new("http://user@127.0.0.1:9000").is_none());
    }

    #[test]
    fn a_path_segment_cannot_escape() {
        assert_eq!(encoded("../x y"), "..%2Fx%20y");
    }
}
