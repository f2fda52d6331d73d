//! A stand-in for the API behind an MCP server, on loopback: it answers in the form of the real one and
//! keeps what it was asked, with every header.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::step::StepFailed;

/// One request as the API saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Without the query.
    pub(super) path: String,
    /// In order, names in lower case.
    pub(super) headers: Vec<(String, String)>,
}

/// Answers until the process ends.
#[derive(Debug)]
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Seen {
    /// The one value of a header; nothing when there are two.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// The issue that was asked for, if it was one.
    pub(super) fn issue(&self) -> Option<&str> {
        ISSUES.iter().find_map(|folder| self.path.strip_prefix(folder))
    }
}

impl StandIn {
    pub(super) fn start() -> Result<Self, StepFailed> {
        let failed = |error| StepFailed::Check(format!("the stand-in API: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        let _accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                let _answering = std::thread::spawn(move || answer(stream, &kept));
            }
        });
        Ok(Self { address, seen })
    }

    /// What it was asked since this was asked last.
    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One request on a connection. Whoever sends half of one is not answered.
fn answer(mut stream: TcpStream, kept: &Mutex<Vec<Seen>>) -> Option<()> {
    stream.set_read_timeout(Some(HEAD_WITHIN)).ok()?;
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let target = first.strip_prefix("GET ")?.split(' ').next()?;
    let path = target.split('?').next()?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let seen = Seen { path, headers };
    let (status, body) = reply(&seen);
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .ok()
}

fn reply(seen: &Seen) -> (&'static str, Value) {
    if let Some(key) = seen.issue() {
        let summary = format!("the issue {key}");
        let fields = json!({ "summary": summary, "status": { "name": "Open" } });
        return ("200 OK", json!({ "id": "1", "key": key, "summary": summary, "fields": fields }));
    }
    match seen.path.as_str() {
        "/rest/api/2/field" => ("200 OK", json!([{ "id": "summary", "name": "Summary" }])),
        _ => ("404 Not Found", json!({ "errorMessages": ["there is no such thing"] })),
    }
}

/// Jira's, and that of the servers in `samples/`.
const ISSUES: [&str; 2] = ["/rest/api/2/issue/", "/issues/"];
const HEAD_WITHIN: Duration = Duration::from_secs(10);
