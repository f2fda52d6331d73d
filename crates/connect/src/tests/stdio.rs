//! A scripted stdio client in front of the fake gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attorn_net::Body;
use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::fake::{Fake, Seen, connector, event, reply, stream};
use crate::Era;

/// The client's end of the pipes.
struct Pipes {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Pipes {
    async fn to(fake: &Fake, era: Era) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(theirs);
        let running = tokio::spawn(crate::run(connector(fake, era).await, read, write));
        let (read, input) = tokio::io::split(ours);
        Self { input, output: BufReader::new(read).lines(), running }
    }

    async fn say(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.output.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.hear().await
    }

    async fn close(mut self) {
        self.input.shutdown().await.unwrap();
        self.running.await.unwrap().unwrap();
    }
}

fn modern(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn legacy(id: u64, method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": {} })
}

fn asked(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap_or(Value::Null)
}

fn result(seen: &Seen, result: &Value) -> Response<Body> {
    reply(200, &json!({ "jsonrpc": "2.0", "id": asked(seen)["id"], "result": result }))
}

/// A server of 2025-11-25 whose first session is forgotten when `forgotten` says so.
fn session_server(seen: &Seen, fake: &Fake) -> Response<Body> {
    if seen.method == Method::GET {
        return stream(|sender| async move {
            let ping = json!({ "jsonrpc": "2.0", "id": "s1", "method": "ping" });
            if sender.send(event(&ping)).await.is_ok() {
                sender.closed().await;
            }
        });
    }
    let sessions = |fake: &Fake| {
        let seen = fake.seen("/billing/mcp");
        seen.iter()
            .filter(|seen| seen.body.contains("initialize\"") && seen.header("dpop").is_some())
            .count()
    };
    let method = asked(seen)["method"].as_str().unwrap_or("").to_owned();
    match method.as_str() {
        "initialize" => {
            let mut response = result(seen, &json!({ "protocolVersion": "2025-11-25" }));
            let id = format!("session-{}", sessions(fake)).parse().unwrap();
            response.headers_mut().insert("mcp-session-id", id);
            response
        }
        "tools/list"
            if seen.header("mcp-session-id") == Some("session-1")
                && fake.script().valid_from == 1 =>
        {
            reply(404, &json!({}))
        }
        "tools/list" => {
            result(seen, &json!({ "tools": [], "session": seen.header("mcp-session-id") }))
        }
        _ => reply(202, &json!({})),
    }
}

#[tokio::test]
async fn a_modern_call_is_mirrored_and_answered() {
    let fake = Fake::start(|seen, _| result(seen, &json!({ "resultType": "complete" }))).await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    let answer = pipes.ask(&modern(1, "tools/call", json!({ "name": "get_invoice" }))).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    let call = fake.seen("/billing/mcp").pop().unwrap();
    assert_eq!(call.header("mcp-method"), Some("tools/call"));
    assert_eq!(call.header("mcp-name"), Some("get_invoice"));
    assert_eq!(call.header("mcp-protocol-version"), Some("2026-07-28"));
    pipes.close().await;
}

#[tokio::test]
async fn stale_argument_headers_are_listed_again_once() {
    let fake = Fake::start(|seen, _| {
        let request = asked(seen);
        if request["method"] == "tools/list" {
            let schema = json!({ "type": "object", "properties": {
                "region": { "type": "string", "x-mcp-header": "Region" } } });
            return result(seen, &json!({ "tools": [{ "name": "sql", "inputSchema": schema }] }));
        }
        if seen.header("mcp-param-region").is_some() {
            return result(seen, &json!({}));
        }
        let error = json!({ "code": -32020, "message": "Header mismatch" });
        reply(400, &json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    let call = |id, tool| {
        modern(id, "tools/call", json!({ "name": tool, "arguments": { "region": "eu" } }))
    };
    assert!(pipes.ask(&call(1, "sql")).await.get("result").is_some());
    // A mismatch that a new listing does not explain is told, not tried for ever.
    let before = fake.seen("/billing/mcp").len();
    assert_eq!(pipes.ask(&call(2, "other")).await["error"]["code"], -32020);
    assert_eq!(fake.seen("/billing/mcp").len(), before + 2);
    pipes.close().await;
}

#[tokio::test]
async fn events_are_relayed_as_they_come_and_strays_are_not() {
    let go_on = Arc::new(Notify::new());
    let gate = Arc::clone(&go_on);
    let fake = Fake::start(move |seen, _| {
        let (id, gate) = (asked(seen)["id"].clone(), Arc::clone(&gate));
        stream(|sender| async move {
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress" });
            sender.send(event(&progress)).await.unwrap();
            gate.notified().await;
            for stray in [
                json!({ "jsonrpc": "2.0", "id": 99, "result": {} }),
                json!({ "jsonrpc": "2.0", "id": "x", "method": "sampling/createMessage" }),
                json!({ "jsonrpc": "2.0", "id": id, "result": { "done": true } }),
                json!({ "jsonrpc": "2.0", "id": id, "result": { "done": "again" } }),
            ] {
                if sender.send(event(&stray)).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    let first = pipes.ask(&modern(5, "tools/call", json!({ "name": "slow" }))).await;
    assert_eq!(first["method"], "notifications/progress");
    go_on.notify_one();
    assert_eq!(pipes.hear().await["result"]["done"], true);
    go_on.notify_one();
    let next = pipes.ask(&modern(6, "tools/call", json!({ "name": "slow" }))).await;
    assert_eq!(next["method"], "notifications/progress");
    assert_eq!(pipes.hear().await["id"], 6);
    pipes.close().await;
}

#[tokio::test]
async fn many_calls_at_once_get_their_own_answers() {
    let fake = Fake::start(|seen, _| {
        let name = asked(seen)["params"]["name"].clone();
        result(seen, &json!({ "name": name }))
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    for id in 0..200 {
        pipes.say(&modern(id, "tools/call", json!({ "name": format!("t{id}") }))).await;
    }
    let mut answered = [false; 200];
    for _ in 0..200 {
        let answer = pipes.hear().await;
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        assert_eq!(answer["result"]["name"], format!("t{id}"));
        assert!(!std::mem::replace(&mut answered[id], true));
    }
    assert_eq!(fake.script().tokens, 1);
    pipes.close().await;
}

#[tokio::test]
async fn a_cancelled_modern_call_closes_its_stream() {
    let closed = Arc::new(Notify::new());
    let told = Arc::clone(&closed);
    let fake = Fake::start(move |_, _| {
        let told = Arc::clone(&told);
        stream(|sender| async move {
            let note = json!({ "jsonrpc": "2.0", "method": "notifications/message" });
            sender.send(event(&note)).await.unwrap();
            sender.closed().await;
            told.notify_one();
        })
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    pipes.ask(&modern(1, "tools/call", json!({ "name": "slow" }))).await;
    let params = json!({ "requestId": 1 });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    pipes.say(&cancel).await;
    closed.notified().await;
    // Over HTTP nothing but the closed stream says so.
    assert!(fake.seen("/billing/mcp").iter().all(|seen| !seen.body.contains("cancelled")));
    pipes.close().await;
}

#[tokio::test]
async fn an_older_session_is_kept_heard_and_ended() {
    let fake = Fake::start(session_server).await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    let opened = pipes.ask(&legacy(1, "initialize")).await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-11-25");
    pipes.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    // The server's own stream brings a request; the answer goes back as a message.
    assert_eq!(pipes.hear().await["method"], "ping");
    pipes.say(&json!({ "jsonrpc": "2.0", "id": "s1", "result": {} })).await;
    let listed = pipes.ask(&legacy(2, "tools/list")).await;
    assert_eq!(listed["result"]["session"], "session-1");
    pipes.close().await;
    let seen = fake.seen("/billing/mcp");
    let answer = seen.iter().find(|seen| seen.body.contains(r#""id":"s1""#)).unwrap();
    assert_eq!(answer.header("mcp-protocol-version"), Some("2025-11-25"));
    let last = seen.last().unwrap();
    assert_eq!((&last.method, last.header("mcp-session-id")), (&Method::DELETE, Some("session-1")));
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again() {
    let fake = Fake::start(session_server).await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    pipes.ask(&legacy(1, "initialize")).await;
    // Taken by the server above as: session 1 is forgotten. All tokens stay valid.
    fake.script().valid_from = 1;
    let listed = pipes.ask(&legacy(2, "tools/list")).await;
    assert_eq!(listed["result"]["session"], "session-2");
    pipes.close().await;
}

#[tokio::test]
async fn a_broken_stream_of_an_older_revision_is_resumed() {
    let resumed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resumed);
    let fake = Fake::start(move |seen, _| {
        if seen.method == Method::GET {
            count.fetch_add(1, Ordering::SeqCst);
            assert_eq!(seen.header("last-event-id"), Some("e1"));
            return stream(|sender| async move {
                let answer = json!({ "jsonrpc": "2.0", "id": 3, "result": { "late": true } });
                sender.send(event(&answer)).await.unwrap();
            });
        }
        stream(|sender| async move {
            sender.send(Bytes::from_static(b"id: e1\nretry: 1\ndata:\n\n")).await.unwrap();
        })
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    assert_eq!(pipes.ask(&legacy(3, "tools/call")).await["result"]["late"], true);
    assert_eq!(resumed.load(Ordering::SeqCst), 1);
    // A modern stream is not resumable: its end is told.
    let broken = pipes.ask(&modern(4, "tools/call", json!({ "name": "x" }))).await;
    assert_eq!(broken["error"]["code"], -32603);
    assert_eq!(resumed.load(Ordering::SeqCst), 1);
    pipes.close().await;
}

#[tokio::test]
async fn errors_come_under_the_clients_own_id() {
    let fake = Fake::start(|seen, _| match asked(seen)["method"].as_str() {
        Some("a") => reply(404, &json!({ "error": { "code": -32601, "message": "unknown" } })),
        Some("b") => reply(500, &json!("<html>")),
        Some("c") => reply(200, &json!({ "jsonrpc": "2.0", "id": 77, "result": {} })),
        _ => reply(403, &json!({})),
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    for (method, code) in [("a", -32601), ("b", -32603), ("c", -32603), ("d", -32603)] {
        let answer = pipes.ask(&modern(8, method, json!({}))).await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(8), &json!(code)),
            "{method}"
        );
    }
    pipes.close().await;
}

#[tokio::test]
async fn a_bare_400_does_not_talk_a_modern_server_down() {
    let fake = Fake::start(|seen, _| {
        if asked(seen)["method"] == "initialize" {
            return result(seen, &json!({ "protocolVersion": "2025-06-18" }));
        }
        reply(400, &json!("Bad Request"))
    })
    .await;
    let mut pinned = Pipes::to(&fake, Era::Modern).await;
    let refused = pinned.ask(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(refused["error"]["code"], -32603);
    let fallback = pinned.ask(&legacy(2, "initialize")).await;
    assert_eq!(fallback["error"]["code"], -32022);
    assert_eq!(fallback["error"]["data"]["supported"][0], "2026-07-28");
    pinned.close().await;
    // The positive twin: a server nobody knows may be an older one.
    let mut open = Pipes::to(&fake, Era::Unknown).await;
    assert!(open.ask(&modern(1, "server/discover", json!({}))).await.get("error").is_some());
    assert!(open.ask(&legacy(2, "initialize")).await.get("result").is_some());
    open.close().await;
}

#[tokio::test]
async fn what_a_server_shows_of_its_era_decides_about_the_handshake() {
    let fake = Fake::start(|seen, _| {
        let request = asked(seen);
        match request["method"].as_str() {
            Some("older") => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                reply(200, &json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
            }
            Some("modern") => result(seen, &json!({ "resultType": "complete" })),
            _ => result(seen, &json!({ "protocolVersion": "2025-06-18" })),
        }
    })
    .await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    assert_eq!(pipes.ask(&modern(1, "older", json!({}))).await["error"]["code"], -32601);
    assert!(pipes.ask(&legacy(2, "initialize")).await.get("result").is_some());
    assert!(pipes.ask(&modern(3, "modern", json!({}))).await.get("result").is_some());
    assert_eq!(pipes.ask(&legacy(4, "initialize")).await["error"]["code"], -32022);
    pipes.close().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_answered_and_survived() {
    let fake = Fake::start(|seen, _| result(seen, &json!({}))).await;
    let mut pipes = Pipes::to(&fake, Era::Unknown).await;
    pipes.input.write_all(b"not json\n\n[]\n").await.unwrap();
    assert_eq!(pipes.hear().await["error"]["code"], -32700);
    assert_eq!(pipes.hear().await["error"]["code"], -32600);
    assert!(pipes.ask(&modern(1, "ping", json!({}))).await.get("result").is_some());
    pipes.close().await;
}
