//! HTTP/1.1 as raw bytes: what is sent is exactly what the test wrote.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take before the exchange counts as failed.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_secs(20);

/// A request that is serialised as it stands.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// Such as `POST`.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// Header lines in order; the value may hold any byte.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, as sent.
    pub body: Vec<u8>,
    /// Bytes sent in place of all of the above.
    pub verbatim: Option<Vec<u8>>,
}

impl RawRequest {
    /// The bytes that go on the wire. `Content-Length` is added unless the headers frame the body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Some(verbatim) = &self.verbatim {
            return verbatim.clone();
        }
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut framed = false;
        for (name, value) in &self.headers {
            framed |= name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding");
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if !framed {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Replaces every header of that name, or takes it away when `value` is `None`.
    pub fn set_header(&mut self, name: &str, value: Option<Vec<u8>>) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_owned(), value));
        }
    }
}

/// One reply.
#[derive(Debug, Clone, Default)]
pub struct RawReply {
    /// The status code; 0 when the peer closed without a reply.
    pub status: u16,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// The body, chunked coding removed.
    pub body: Vec<u8>,
}

impl RawReply {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text, undecodable bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON: the whole body, or the last `data:` line of an event stream.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        let text = self.text();
        let line = text.lines().rev().find_map(|line| line.strip_prefix("data:"));
        serde_json::from_str(line.unwrap_or(&text)).ok()
    }
}

/// Sends one request on a connection of its own and reads one reply.
///
/// # Errors
/// When the peer cannot be reached or sends no whole reply in time.
pub fn exchange(peer: SocketAddr, request: &RawRequest) -> io::Result<RawReply> {
    read_reply(&mut send(peer, request)?)
}

/// Sends one request on a connection of its own and leaves the reply unread.
///
/// # Errors
/// When the peer cannot be reached.
pub fn send(peer: SocketAddr, request: &RawRequest) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&peer, REPLY_WITHIN)?;
    stream.set_read_timeout(Some(REPLY_WITHIN))?;
    stream.set_write_timeout(Some(REPLY_WITHIN))?;
    // A peer may refuse before it has read everything; what it said is still worth reading.
    let _written = stream.write_all(&request.to_bytes());
    Ok(stream)
}

/// Reads one reply from a connection.
///
/// # Errors
/// When no whole reply arrives in time.
pub fn read_reply(stream: &mut TcpStream) -> io::Result<RawReply> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 16 * 1024];
    loop {
        if let Some(reply) = parse(&bytes, false) {
            return Ok(reply);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(parse(&bytes, true).unwrap_or_default()),
            Ok(read) => bytes.extend(chunk.iter().take(read)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(parse(&bytes, true).unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
    }
}

fn parse(bytes: &[u8], closed: bool) -> Option<RawReply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let rest = bytes.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    if status == 100 {
        return parse(rest, closed);
    }
    let mut reply = RawReply { status, headers, body: Vec::new() };
    let chunked =
        reply.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let length = reply.header("content-length").and_then(|length| length.parse::<usize>().ok());
    reply.body = if chunked {
        unchunk(rest, closed)?
    } else if let Some(length) = length {
        if rest.len() < length && !closed {
            return None;
        }
        rest.get(..length.min(rest.len()))?.to_vec()
    } else if status == 204 || status == 202 || closed {
        rest.to_vec()
    } else {
        return None;
    };
    Some(reply)
}

fn unchunk(mut rest: &[u8], closed: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return closed.then_some(body);
        };
        let line = String::from_utf8_lossy(rest.get(..end)?).into_owned();
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        let Some(data) = rest.get(end + 2..end + 2 + size) else {
            return closed.then_some(body);
        };
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(data);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_length_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false).unwrap();
        assert_eq!((plain.status, plain.text().as_str()), (200, "hi"));
        let chunked =
            b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, false).unwrap().text(), "hi!");
        assert!(parse(&chunked[..chunked.len() - 6], false).is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", false).is_none());
    }
}
