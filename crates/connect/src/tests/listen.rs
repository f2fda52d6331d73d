//! The loopback port: who gets in, what passes, what does not.

use std::sync::Arc;

use attorn_net::{Client, ClientConfig, Reach, ResponseBody, Shutdown};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Notify;

use super::fake::{Fake, connector, event, insufficient, reply, stream, text};
use crate::{Era, LocalPort};

async fn port(fake: &Fake, era: Era) -> String {
    let port = LocalPort::bind(connector(fake, era).await, 0).await.unwrap();
    let url = port.url();
    tokio::spawn(port.serve(Shutdown::new()));
    url
}

async fn post(url: &str, headers: &[(&str, &str)], body: &'static str) -> Response<ResponseBody> {
    let config = ClientConfig { reach: Reach::LoopbackOnly, ..ClientConfig::default() };
    let mut request = Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
    Client::new(config).unwrap().send(request).await.unwrap()
}

const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

#[tokio::test]
async fn a_request_passes_with_our_credentials_and_without_the_clients() {
    let fake = Fake::start(|seen, _| {
        let mut response = reply(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
        response.headers_mut().insert("mcp-session-id", "s".parse().unwrap());
        response.headers_mut().insert("dpop-nonce", "n".parse().unwrap());
        response.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
        assert_eq!(seen.header("cookie"), None);
        response
    })
    .await;
    let url = port(&fake, Era::Unknown).await;
    let sent = [
        ("authorization", "Bearer theirs"),
        ("cookie", "a=b"),
        ("dpop", "theirs"),
        ("mcp-name", "get_invoice"),
        ("mcp-param-region", "eu"),
    ];
    let response = post(&url, &sent, MODERN).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["mcp-session-id"], "s");
    assert!(!response.headers().contains_key("dpop-nonce"));
    assert!(!response.headers().contains_key("set-cookie"));
    let seen = fake.seen("/billing/mcp").pop().unwrap();
    assert!(seen.header("authorization").unwrap().starts_with("DPoP at-1"));
    assert_eq!(seen.header("mcp-param-region"), Some("eu"));
    assert_eq!(seen.header("mcp-name"), Some("get_invoice"));
}

#[tokio::test]
async fn only_who_knows_the_path_gets_in() {
    let fake = Fake::start(|_, _| reply(200, &json!({}))).await;
    let url = port(&fake, Era::Unknown).await;
    let calls = fake.seen("/billing/mcp").len();
    let guessed = format!("{}/mcp", url.rsplitn(3, '/').nth(2).unwrap());
    assert_eq!(post(&guessed, &[], "{}").await.status(), 404);
    assert_eq!(post(&url, &[("origin", "http://evil.example")], "{}").await.status(), 403);
    assert_eq!(fake.seen("/billing/mcp").len(), calls);
    assert_eq!(post(&url, &[], "{}").await.status(), 200);
    assert_ne!(url, port(&fake, Era::Unknown).await);
}

#[tokio::test]
async fn events_pass_as_they_come_and_a_client_that_leaves_cancels() {
    let closed = Arc::new(Notify::new());
    let told = Arc::clone(&closed);
    let fake = Fake::start(move |_, _| {
        let told = Arc::clone(&told);
        stream(|sender| async move {
            sender.send(event(&json!({ "n": 1 }))).await.unwrap();
            sender.closed().await;
            told.notify_one();
        })
    })
    .await;
    let url = port(&fake, Era::Unknown).await;
    let mut response = post(&url, &[], "{}").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let piece = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(piece, "data: {\"n\":1}\n\n");
    drop(response);
    closed.notified().await;
}

#[tokio::test]
async fn a_refusal_starts_no_login_at_the_client() {
    let fake = Fake::start(|_, _| insufficient("read:get_invoice")).await;
    let url = port(&fake, Era::Unknown).await;
    let refused = post(&url, &[], MODERN).await;
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("www-authenticate"));
    fake.script().valid_from = 99;
    let refused = post(&url, &[], MODERN).await;
    assert_eq!(refused.status(), 502);
    assert!(text(refused).await.contains(r#""id":1"#));
}

#[tokio::test]
async fn a_bare_400_passes_from_an_unknown_server_only() {
    let fake = Fake::start(|_, _| reply(400, &json!({}))).await;
    assert_eq!(post(&port(&fake, Era::Unknown).await, &[], MODERN).await.status(), 400);
    assert_eq!(post(&port(&fake, Era::Modern).await, &[], MODERN).await.status(), 502);
    let legacy = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
    assert_eq!(post(&port(&fake, Era::Modern).await, &[], legacy).await.status(), 400);
}

/// The word `jsonrpc` alone does not make a message: a client would fall back over it.
#[tokio::test]
async fn a_400_that_only_looks_like_a_message_is_a_bare_one() {
    let error = json!({ "code": -32602, "message": "Invalid params" });
    for (body, status) in [
        (json!({ "jsonrpc": "2.0" }), 502),
        (json!({ "jsonrpc": "2.0", "error": "no" }), 502),
        (json!({ "jsonrpc": "2.0", "id": 1, "result": {} }), 502),
        (json!({ "jsonrpc": "2.0", "id": 1, "error": error }), 400),
    ] {
        let fake = Fake::start(move |_, _| reply(400, &body)).await;
        assert_eq!(post(&port(&fake, Era::Modern).await, &[], MODERN).await.status(), status);
    }
}
