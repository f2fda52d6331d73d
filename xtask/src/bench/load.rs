//! The load generator: keep-alive connections, a fresh request each time, closed or open loop.
//!
//! In the open loop a request's time counts from when it was due, not from when a connection was
//! free: waiting behind a slow answer is part of the latency (no coordinated omission).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::step::StepFailed;

/// Makes the bytes of one request from the last nonce the server gave on this connection.
pub(super) type MakeRequest = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// What to send, where, how hard.
#[derive(Clone)]
pub(super) struct Load {
    /// The server.
    pub(super) peer: SocketAddr,
    /// How many connections at once.
    pub(super) connections: usize,
    /// How long.
    pub(super) lasts: Duration,
    /// Requests per second in all, for an open loop; a closed loop when absent.
    pub(super) rate: Option<f64>,
    /// One request.
    pub(super) make: MakeRequest,
    /// TLS; plain where there is none.
    pub(super) tls: Option<Secured>,
}

/// TLS with a client certificate.
#[derive(Clone)]
pub(super) struct Secured {
    /// Has the certificate.
    pub(super) connector: TlsConnector,
    /// Whom the server must be.
    pub(super) name: ServerName<'static>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(load: &Load) -> std::io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(load.peer).await?;
    stream.set_nodelay(true)?;
    match &load.tls {
        None => Ok(Box::new(stream)),
        Some(Secured { connector, name }) => {
            Ok(Box::new(connector.connect(name.clone(), stream).await?))
        }
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Measured {
    /// Replies with status 200.
    pub(super) ok: u64,
    /// Any other reply, a renewed nonce apart.
    pub(super) other: u64,
    /// Every reply without success, by its status.
    pub(super) refused: BTreeMap<u16, u64>,
    /// Seconds from the first request to the last reply.
    pub(super) seconds: f64,
    /// Microseconds: half of the requests were faster, ...
    pub p50_us: u64,
    /// ... 99 of 100, ...
    pub p99_us: u64,
    /// ... and all of them.
    pub(super) max_us: u64,
}

impl Measured {
    /// Successful replies per second.
    #[must_use]
    pub(super) fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.ok).unwrap_or(u32::MAX)) / self.seconds.max(0.001)
    }
}

/// Runs the load to its end.
///
/// # Errors
/// When no connection could be made.
pub(super) async fn run(load: &Load) -> Result<Measured, StepFailed> {
    let started = Instant::now();
    let mut tasks = Vec::new();
    for index in 0..load.connections {
        tasks.push(tokio::spawn(connection(load.clone(), started, index)));
    }
    let mut measured = Measured::default();
    let mut latencies = Vec::new();
    for task in tasks {
        let one = task.await.map_err(|error| StepFailed::Check(format!("load: {error}")))?;
        let one = one.map_err(|error| StepFailed::Check(format!("load: {error}")))?;
        measured.other += one.other;
        one.refused.iter().for_each(|(status, times)| {
            *measured.refused.entry(*status).or_default() += times;
        });
        latencies.extend(one.latencies);
    }
    measured.seconds = started.elapsed().as_secs_f64();
    measured.ok = latencies.len() as u64;
    (measured.p50_us, measured.p99_us, measured.max_us) = summary(latencies);
    Ok(measured)
}

/// The time that half took, that 99 of 100 took, and the longest.
pub(super) fn summary(mut times: Vec<u64>) -> (u64, u64, u64) {
    times.sort_unstable();
    let at = |part: usize| {
        let index = (times.len() * part / 1000).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default()
    };
    (at(500), at(990), at(1000))
}

#[derive(Default)]
struct OneConnection {
    latencies: Vec<u64>,
    other: u64,
    refused: BTreeMap<u16, u64>,
}

async fn connection(load: Load, started: Instant, index: usize) -> std::io::Result<OneConnection> {
    let mut stream = connect(&load).await?;
    let mut found = OneConnection::default();
    let mut reader = Reader::default();
    let mut nonce = String::new();
    let mut turn = 0_u32;
    let connections = u32::try_from(load.connections).unwrap_or(1);
    let offset = u32::try_from(index).unwrap_or(0);
    while started.elapsed() < load.lasts {
        let mut due = Instant::now();
        if let Some(rate) = load.rate {
            let number = f64::from(turn) * f64::from(connections) + f64::from(offset);
            due = started + Duration::from_secs_f64(number / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        turn += 1;
        stream.write_all(&(load.make)(&nonce)).await?;
        let reply = reader.reply(stream.as_mut()).await?;
        let first_nonce = nonce.is_empty();
        if let Some(fresh) = reply.nonce {
            nonce = fresh;
        }
        if reply.status == 200 {
            found.latencies.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
            continue;
        }
        *found.refused.entry(reply.status).or_default() += 1;
        if !(reply.status == 401 || reply.status == 400) || !first_nonce {
            found.other += 1;
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Reader {
    buffer: Vec<u8>,
}

struct Reply {
    status: u16,
    nonce: Option<String>,
}

impl Reader {
    /// One reply with `Content-Length` or chunks; the benched servers send no other kind.
    async fn reply(&mut self, stream: &mut dyn Stream) -> std::io::Result<Reply> {
        loop {
            if let Some((reply, length)) = whole_reply(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(reply);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn whole_reply(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let value = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let nonce = value("dpop-nonce").map(str::to_owned);
    let length = if let Some(length) = value("content-length") {
        end + length.parse::<usize>().ok()?
    } else {
        let rest = bytes.get(end..)?;
        end + rest.windows(5).position(|window| window == b"0\r\n\r\n")? + 5
    };
    (bytes.len() >= length).then_some((Reply { status, nonce }, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_in_any_order() {
        assert_eq!(summary((0..1000).rev().collect()), (500, 990, 999));
        assert_eq!(summary(vec![7]), (7, 7, 7));
        assert_eq!(summary(Vec::new()), (0, 0, 0));
    }

    #[test]
    fn a_reply_is_whole_or_not_there() {
        let text = b"HTTP/1.1 200 OK\r\nDPoP-Nonce: abc\r\nContent-Length: 2\r\n\r\nhiHTTP";
        let (reply, length) = whole_reply(text).unwrap();
        assert_eq!(
            (reply.status, reply.nonce.as_deref(), length),
            (200, Some("abc"), text.len() - 4)
        );
        assert!(whole_reply(&text[..50]).is_none());
    }
}
