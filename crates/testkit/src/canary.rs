//! A canary MCP server: it answers properly unless told otherwise, and remembers every request.
//!
//! It speaks raw HTTP on threads, so that a test can make it send any bytes at all. It implements
//! what the gateway needs of MCP 2026-07-28 and of `initialize`; it is not a whole MCP server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// One request that reached the canary.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The HTTP method.
    pub method: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it arrived.
    pub body: String,
}

impl Seen {
    /// The JSON-RPC method of the body, if it has one.
    #[must_use]
    pub fn rpc_method(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body.get("method").and_then(Value::as_str).map(str::to_owned)
    }
}

/// What the canary sends instead of a proper answer.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Only requests with this JSON-RPC method are answered by the script.
    pub rpc_method: String,
    /// The raw bytes; `${id}` is replaced by the JSON text of the request's id.
    pub bytes: Vec<u8>,
    /// Send nothing until this is true.
    pub until: Option<Arc<AtomicBool>>,
    /// Send one byte at a time.
    pub trickle: bool,
    /// Keep the connection open after the bytes, up to this long.
    pub hold: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Option<Script>>,
    tools: Mutex<Value>,
    left: AtomicUsize,
    stop: AtomicBool,
}

/// A running canary; it stops when dropped.
#[derive(Debug)]
pub struct Canary {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Canary {
    /// Starts on a free loopback port with these tool objects.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(tools: Value) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { tools: Mutex::new(tools), ..Shared::default() });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&served);
                std::thread::spawn(move || converse(stream, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// The URL of its MCP endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Everything that arrived since the last call of this function.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *locked(&self.shared.seen))
    }

    /// Whether a request of this JSON-RPC method has arrived since [`Self::take_seen`]. A gateway asks
    /// for lists by itself at any time: who waits for a call must not count requests.
    #[must_use]
    pub fn saw(&self, rpc_method: &str) -> bool {
        locked(&self.shared.seen).iter().any(|one| one.rpc_method().as_deref() == Some(rpc_method))
    }

    /// How often a peer went away during a scripted answer, since the last call of this function.
    #[must_use]
    pub fn take_left(&self) -> usize {
        self.shared.left.swap(0, Ordering::Relaxed)
    }

    /// Sets or clears the script.
    pub fn set_script(&self, script: Option<Script>) {
        *locked(&self.shared.script) = script;
    }

    /// Replaces the tools it lists.
    pub fn set_tools(&self, tools: Value) {
        *locked(&self.shared.tools) = tools;
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(mut stream: TcpStream, shared: &Shared) {
    while is_asked(&stream, &shared.stop)
        && let Some(seen) = read_request(&mut stream)
    {
        let body: Value = serde_json::from_str(&seen.body).unwrap_or(Value::Null);
        let rpc_method = seen.rpc_method().unwrap_or_default();
        locked(&shared.seen).push(seen);
        let script = locked(&shared.script).clone();
        let scripted = script.filter(|script| script.rpc_method == rpc_method);
        let went_well = match scripted {
            Some(script) => play(&mut stream, &script, &body, &shared.left),
            None => stream.write_all(&proper_answer(&rpc_method, &body, shared)).is_ok(),
        };
        if !went_well {
            return;
        }
    }
}

/// Waits for the next request; a canary that was stopped closes its idle connections.
fn is_asked(stream: &TcpStream, stop: &AtomicBool) -> bool {
    drop(stream.set_read_timeout(Some(Duration::from_millis(100))));
    while !stop.load(Ordering::Relaxed) {
        match stream.peek(&mut [0]) {
            Ok(_) => return stream.set_read_timeout(Some(Duration::from_secs(60))).is_ok(),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
            Err(_) => return false,
        }
    }
    false
}

fn play(stream: &mut TcpStream, script: &Script, body: &Value, left: &AtomicUsize) -> bool {
    let id = body.get("id").map(Value::to_string).unwrap_or_default();
    let bytes = match std::str::from_utf8(&script.bytes) {
        Ok(text) => text.replace("${id}", &id).into_bytes(),
        Err(_) => script.bytes.clone(),
    };
    while script.until.as_ref().is_some_and(|until| !until.load(Ordering::Relaxed)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let step = if script.trickle { 1 } else { bytes.len().max(1) };
    for part in bytes.chunks(step) {
        if stream.write_all(part).and_then(|()| stream.flush()).is_err() {
            return false;
        }
    }
    let mut rest = [0_u8; 64];
    if !script.hold.is_zero() && stream.set_read_timeout(Some(script.hold)).is_ok() {
        // Returns at once when the peer closes, which is how a cancellation looks from here.
        if stream.read(&mut rest).is_ok_and(|read| read == 0) {
            left.fetch_add(1, Ordering::Relaxed);
        }
    }
    false
}

fn proper_answer(rpc_method: &str, body: &Value, shared: &Shared) -> Vec<u8> {
    let Some(id) = body.get("id") else {
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let modern = body.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion").is_some();
    let version = body.pointer("/params/protocolVersion").cloned();
    let result = match rpc_method {
        "server/discover" if modern => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 1000,
            "cacheScope": "public", "capabilities": {"tools": {}, "resources": {}, "prompts": {}}
        }),
        "initialize" => json!({
            "protocolVersion": version, "capabilities": {"tools": {}},
            "serverInfo": {"name": "canary", "version": "1"}
        }),
        "tools/list" => json!({
            "resultType": "complete", "tools": locked(&shared.tools).clone(), "ttlMs": 3_600_000,
            "cacheScope": "public"
        }),
        "resources/list" => json!({
            "resultType": "complete", "ttlMs": 1000, "cacheScope": "public",
            "resources": [{"uri": "canary://note", "name": "note"}]
        }),
        "tools/call" => json!({
            "resultType": "complete", "isError": false,
            "content": [{"type": "text", "text": "canary called"}]
        }),
        _ => json!({"resultType": "complete"}),
    };
    let reply = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
        reply.len()
    )
    .into_bytes()
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 16 * 1024];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(chunk.iter().take(read)),
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let method = lines.next()?.split(' ').next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse::<usize>().ok())
        .unwrap_or(0);
    while bytes.len() < end + 4 + length {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(chunk.iter().take(read)),
        }
    }
    let body = String::from_utf8_lossy(bytes.get(end + 4..)?).into_owned();
    Some(Seen { method, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RawRequest, exchange};

    #[test]
    fn answers_properly_and_remembers() {
        let canary = Canary::start(json!([{"name": "echo"}])).unwrap();
        let request = RawRequest {
            method: "POST".to_owned(),
            target: "/mcp".to_owned(),
            headers: vec![],
            body: br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#.to_vec(),
            verbatim: None,
        };
        let reply = exchange(canary.address, &request).unwrap().json().unwrap();
        assert_eq!(reply.pointer("/result/tools/0/name").unwrap(), "echo");
        assert_eq!(canary.take_seen().len(), 1);
        assert!(canary.take_seen().is_empty());
    }
}
