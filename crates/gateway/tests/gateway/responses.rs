//! What an upstream may send back, and what becomes of it.

use std::time::Duration;

use attorn_audit::{Kind, Outcome};
use attorn_testkit::canary::Script;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::world::{Ask, World, call, modern};

fn script(bytes: &str, hold: Duration) -> Script {
    Script { rpc_method: "tools/call".into(), bytes: bytes.into(), hold, ..Script::default() }
}

fn stream(events: &[&str]) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
    for event in events {
        text.push_str(&format!("data: {event}\n\n"));
    }
    text
}

fn messages(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|one| serde_json::from_str(one).unwrap()).collect()
}

const DONE: &str = r#"{"jsonrpc":"2.0","id":${id},"result":{"content":[],"isError":true}}"#;

fn call_with_progress() -> Ask {
    let mut ask = call("get", &json!({}));
    let mut body: Value = serde_json::from_slice(&ask.body).unwrap();
    body["params"]["_meta"]["progressToken"] = json!("mine");
    ask.body = body.to_string().into();
    ask
}

#[tokio::test]
async fn a_stream_is_parsed_judged_and_written_anew() {
    let world = World::new("stream");
    let ours = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${id},"progress":1}}"#;
    let foreign = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":999,"progress":2}}"#;
    let stray = r#"{"jsonrpc":"2.0","id":999,"result":{"content":[]}}"#;
    let unknown = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#;
    let after = r#"{"jsonrpc":"2.0","id":${id},"result":{"content":["late"]}}"#;
    let events = [ours, foreign, stray, unknown, DONE, after];
    world.canary.set_script(Some(script(&stream(&events), Duration::ZERO)));
    let answer = world.ask("read:get", call_with_progress()).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let messages = messages(&answer.text);
    let [progress, result] = messages.as_slice() else { panic!("{}", answer.text) };
    assert_eq!(progress["params"]["progressToken"], "mine");
    assert_eq!(result["id"], "c-1");
    let entries = world
        .entries(|all| all.iter().any(|one| one.outcome.is_some() && one.tool.is_some()))
        .await;
    let ended = entries.iter().find(|one| one.kind == Kind::CallCompleted && one.tool.is_some());
    assert_eq!(ended.unwrap().outcome, Some(Outcome::ToolError));
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_of_ours() {
    let world = World::new("broken");
    for events in [
        vec![],
        vec![r#"{"jsonrpc":"2.0","id":${id},"result":{},"error":{"code":1,"message":"x"}}"#],
        vec![r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#],
        vec!["{not json"],
    ] {
        world.canary.set_script(Some(script(&stream(&events), Duration::ZERO)));
        let answer = world.ask("read:get", call("get", &json!({}))).await;
        let messages = messages(&answer.text);
        assert_eq!(messages.len(), 1, "{}", answer.text);
        assert_eq!(messages[0]["id"], "c-1");
        assert_eq!(messages[0]["error"]["code"], -32603);
        assert!(!answer.text.contains("not json"));
    }
}

#[tokio::test]
async fn an_upstream_cannot_speak_in_our_name() {
    let world = World::new("our-name");
    world.ask("read:get", call("get", &json!({}))).await;
    let replies = [
        "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Type: application/json\r\n\r\n{}",
        "HTTP/1.1 403 No\r\nContent-Type: application/json\r\n\r\n{}",
        "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
        "HTTP/1.1 204 None\r\n\r\n",
    ];
    for reply in replies {
        world.canary.set_script(Some(script(reply, Duration::ZERO)));
        let answer = world.ask("read:get", call("get", &json!({}))).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{reply}");
        assert_eq!(answer.json()["id"], "c-1");
        assert_eq!(answer.header("www-authenticate"), "");
        assert_eq!(answer.header("location"), "");
    }
}

#[tokio::test]
async fn headers_of_an_upstream_stay_behind() {
    let world = World::new("headers");
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a=b\r\nAlt-Svc: x\r\n\
         Access-Control-Allow-Origin: *\r\nMcp-Session-Id: up\r\n\r\n{DONE}"
    );
    world.canary.set_script(Some(script(&reply, Duration::ZERO)));
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-type"]);
}

#[tokio::test]
async fn the_words_of_an_error_stay_behind() {
    let world = World::new("words");
    let error = r#"{"jsonrpc":"2.0","id":${id},"error":{"code":-32050,"message":"at /srv/secret","data":{"k":"v"}}}"#;
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{error}");
    world.canary.set_script(Some(script(&reply, Duration::ZERO)));
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.json()["error"]["code"], -32603);
    assert!(!answer.text.contains("secret"));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let world = World::new("cancel");
    let started = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    world.canary.set_script(Some(script(&stream(&[started]), Duration::from_secs(30))));
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let mut body = world.respond(ask).await.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    let ended = |all: &[attorn_audit::Entry]| {
        all.iter().any(|one| one.outcome == Some(Outcome::Cancelled) && one.tool.is_some())
    };
    world.entries(ended).await;
}

#[tokio::test]
async fn a_lock_cuts_a_stream() {
    let world = World::new("cut");
    world.canary.set_script(Some(script(&stream(&[]), Duration::from_secs(30))));
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let response = world.respond(ask).await;
    world.lock(attorn_registry::LockTarget::Server { server: crate::world::server_id() });
    let rest = response.into_body().collect().await.unwrap().to_bytes();
    assert!(rest.is_empty());
    let cut = |all: &[attorn_audit::Entry]| {
        all.iter().any(|one| one.reason.as_deref() == Some("lock.active") && one.outcome.is_some())
    };
    world.entries(cut).await;
}

#[tokio::test]
async fn an_upstream_that_disagrees_about_headers_is_asked_anew() {
    let world = World::new("disagrees");
    world.ask("read:get", call("get", &json!({}))).await;
    let error = r#"{"jsonrpc":"2.0","id":${id},"error":{"code":-32020,"message":"x"}}"#;
    let reply = format!("HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\n\r\n{error}");
    world.canary.set_script(Some(script(&reply, Duration::ZERO)));
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.json()["error"]["code"], -32603);
}

#[tokio::test]
async fn an_unknown_method_goes_nowhere() {
    let world = World::new("unknown-method");
    for method in ["initialize", "ping", "tools/Call", "x/tools/call", "logging/setLevel"] {
        let answer = world.ask("read:get", modern(method, json!({}), None)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
        assert_eq!(answer.json()["error"]["code"], -32601);
        assert_eq!(answer.json()["id"], "c-1");
    }
    assert!(world.calls().is_empty());
}

/// One listing serves all who ask for it while another runs.
#[tokio::test]
async fn an_upstream_that_always_changes_is_not_asked_each_time() {
    let world = World::new("always-changes");
    world.gateway.list_tools("crm").await.unwrap();
    let listings = |all: &[attorn_audit::Entry], kind: Kind| {
        let of_kind = all.iter().filter(|one| one.kind == kind);
        of_kind.filter(|one| one.method.as_deref() == Some("tools/list")).count()
    };
    let before = listings(&world.entries(|_| true).await, Kind::CallCompleted);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let mut events = vec![changed; 200];
    events.push(DONE);
    world.canary.set_script(Some(script(&stream(&events), Duration::ZERO)));
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(messages(&answer.text).len(), 201);
    let entries = world.entries(|all| listings(all, Kind::CallCompleted) > before).await;
    // Listings of the start may still be under way.
    assert!(listings(&entries, Kind::CallDecided) < before + 20);
}

#[tokio::test]
async fn a_removed_key_cuts_a_stream() {
    let world = World::new("cut-key");
    world.canary.set_script(Some(script(&stream(&[]), Duration::from_secs(30))));
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let response = world.respond(ask).await;
    world.change(|parts| parts.agents[0].keys[0].state = attorn_registry::KeyState::Removed);
    let rest = response.into_body().collect().await.unwrap().to_bytes();
    assert!(rest.is_empty());
    let cut = |all: &[attorn_audit::Entry]| {
        let revoked = |one: &&attorn_audit::Entry| one.reason.as_deref() == Some("token.revoked");
        all.iter().filter(revoked).any(|one| one.outcome.is_some())
    };
    world.entries(cut).await;
}

/// News of lists that a caller sees empty would tell it that they are not.
#[tokio::test]
async fn changes_of_lists_the_caller_cannot_see_stay_behind() {
    let world = World::new("hidden-news");
    let news =
        |kind: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#);
    let (prompts, resources, tools) = (news("prompts"), news("resources"), news("tools"));
    let events = [prompts.as_str(), resources.as_str(), tools.as_str(), DONE];
    world.canary.set_script(Some(script(&stream(&events), Duration::ZERO)));
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(messages(&answer.text).len(), 4);
    world.change(|parts| {
        parts.grants[0].patterns = vec![attorn_registry::ScopePattern::parse("read:get").unwrap()];
    });
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    let messages = messages(&answer.text);
    assert_eq!(messages.len(), 2, "{}", answer.text);
    assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
}

/// Streams that rest are bounded for each client, and a place is free again when one ends.
#[tokio::test]
async fn one_client_cannot_hold_all_streams() {
    let world = World::new("streams");
    let hold = Duration::from_secs(60);
    let bytes = stream(&[]).into();
    let rpc_method = "subscriptions/listen".into();
    world.canary.set_script(Some(Script { rpc_method, bytes, hold, ..Script::default() }));
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let listen = || {
        let params = json!({ "notifications": { "toolsListChanged": true } });
        let mut ask = modern("subscriptions/listen", params, None);
        ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
        world.respond(ask)
    };
    let mut open = Vec::new();
    for _ in 0..64 {
        let response = listen().await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response);
    }
    assert_eq!(listen().await.status(), StatusCode::TOO_MANY_REQUESTS);
    open.pop();
    let left = |one: &attorn_audit::Entry| one.outcome == Some(Outcome::Cancelled);
    world.entries(|all| all.iter().any(left)).await;
    assert_eq!(listen().await.status(), StatusCode::OK);
}
