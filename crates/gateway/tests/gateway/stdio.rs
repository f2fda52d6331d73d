//! Servers that are child processes, behind the same enforcement.

use std::collections::BTreeMap;

use attorn_registry::{LockTarget, UpstreamSpec};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::world::{Ask, World, agent_id, call, modern, older, tools};

/// A server of one era: `modern`, `older`, or `quits`, which ends when it does not know a method.
const SERVER: &str = r#"
import json, sys
era, tools = sys.argv[1], json.loads(sys.argv[2])
calls = 0
for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message["method"], message.get("id"), message.get("params", {})
    if id is None:
        continue
    known = {"tools/list", "tools/call", "server/discover" if era == "modern" else "initialize"}
    if method not in known and era == "quits":
        sys.exit(1)
    result, answer = {"resultType": "complete"} if era == "modern" else {}, {}
    if method not in known:
        answer = {"error": {"code": -32601, "message": "no"}}
    elif method == "server/discover":
        answer = {"result": dict(result, supportedVersions=["2026-07-28"], capabilities={"tools": {}})}
    elif method == "initialize":
        answer = {"result": {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                             "serverInfo": {"name": "s", "version": "1"}}}
    elif method == "tools/list":
        answer = {"result": dict(result, tools=tools)}
    elif method == "tools/call":
        calls += 1
        text = json.dumps({"calls": calls, "arguments": params["arguments"]})
        answer = {"result": dict(result, content=[{"type": "text", "text": text}])}
    print(json.dumps(dict({"jsonrpc": "2.0", "id": id}, **answer)), flush=True)
"#;

fn world(test: &str, era: &str) -> World {
    let world = World::new(test);
    let path = std::env::var("PATH").unwrap();
    world.change(|parts| {
        parts.servers[0].upstream = UpstreamSpec::Stdio {
            command: "python3".into(),
            args: vec!["-c".into(), SERVER.into(), era.into(), tools().to_string()],
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            sha256: None,
        };
    });
    world
}

fn told(answer: &Value) -> Value {
    serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap()
}

async fn session(world: &World) -> String {
    let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } } });
    let answer = world.ask("read:get", older(&initialize, None)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.header("mcp-session-id").to_owned()
}

fn get(session: &str) -> Ask {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
                       "params": { "name": "get", "arguments": { "n": 1 } } });
    older(&body, Some(session))
}

#[tokio::test]
async fn callers_share_a_child_and_not_their_answers() {
    let world = world("stdio-modern", "modern");
    let listed = world.ask("read:get", modern("tools/list", json!({}), None)).await;
    let names: Vec<Value> = listed.json()["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].clone())
        .collect();
    assert_eq!(names, ["get", "set", "drop", "region"]);
    // Both use the identifier `c-1`.
    let (one, two) = tokio::join!(
        world.ask("read:get", call("get", &json!({ "n": 1 }))),
        world.ask("read:get", call("get", &json!({ "n": 2 }))),
    );
    for (answer, n) in [(one.json(), 1), (two.json(), 2)] {
        assert_eq!(answer["id"], "c-1");
        assert_eq!(told(&answer)["arguments"]["n"], n);
    }
    let third = world.ask("read:get", call("get", &json!({}))).await.json();
    assert_eq!(told(&third)["calls"], 3);
    let refused = world.ask("read:get", call("hidden", &json!({}))).await;
    assert_eq!(refused.json()["error"]["code"], -32602);
    let fourth = world.ask("read:get", call("get", &json!({}))).await.json();
    assert_eq!(told(&fourth)["calls"], 4);
}

#[tokio::test]
async fn each_session_of_an_older_revision_has_its_own_child() {
    let world = world("stdio-older", "older");
    let (one, two) = (session(&world).await, session(&world).await);
    for (session, calls) in [(&one, 1), (&one, 2), (&two, 1)] {
        let answer = world.ask("read:get", get(session)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["id"], 7);
        assert_eq!(told(&answer.json())["calls"], calls);
    }
    let ended = Ask { verb: "DELETE", ..older(&json!({}), Some(&one)) };
    assert_eq!(world.ask("read:get", ended).await.status, StatusCode::OK);
    assert_eq!(world.ask("read:get", get(&one)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.ask("read:get", get(&two)).await.status, StatusCode::OK);
}

/// Such a server ends when it is asked for its era; it is then started anew for the session.
#[tokio::test]
async fn a_server_that_ends_over_an_unknown_method_still_serves_sessions() {
    let world = world("stdio-quits", "quits");
    let id = session(&world).await;
    let answer = world.ask("read:get", get(&id)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let modern = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(modern.json()["error"]["code"], -32022);
}

/// A child that begins an answer and gives the rest when it is asked something else.
const LATE: &str = r#"
import json, sys
late = None
def send(message):
    print(json.dumps(dict({"jsonrpc": "2.0"}, **message)), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message["method"], message.get("id"), message.get("params", {})
    complete = {"resultType": "complete"}
    if id is None:
        continue
    if method == "server/discover":
        send({"id": id, "result": dict(complete, supportedVersions=["2026-07-28"], capabilities={"tools": {}})})
    elif method == "tools/list":
        send({"id": id, "result": dict(complete, tools=json.loads(sys.argv[1]))})
    elif params["arguments"].get("hold"):
        late = id
        send({"method": "notifications/progress",
              "params": {"progressToken": params["_meta"]["progressToken"], "progress": 1}})
    else:
        send({"id": late, "result": dict(complete, content=[{"type": "text", "text": "too late"}])})
        send({"id": id, "result": dict(complete, content=[{"type": "text", "text": "in time"}])})
"#;

#[tokio::test]
async fn a_lock_cuts_a_call_of_a_child_and_its_late_answer_is_dropped() {
    let world = World::new("stdio-late");
    let path = std::env::var("PATH").unwrap();
    world.change(|parts| {
        parts.servers[0].upstream = UpstreamSpec::Stdio {
            command: "python3".into(),
            args: vec!["-c".into(), LATE.into(), tools().to_string()],
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            sha256: None,
        };
    });
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let mut ask = call("get", &json!({ "hold": true }));
    let mut body: Value = serde_json::from_slice(&ask.body).unwrap();
    body["params"]["_meta"]["progressToken"] = json!("p");
    ask.body = body.to_string().into();
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let running = world.respond(ask).await;
    assert_eq!(running.status(), StatusCode::OK);
    let lock = LockTarget::Agent { agent: agent_id() };
    world.lock(lock);
    let rest = running.into_body().collect().await.unwrap().to_bytes();
    let cut = |all: &[attorn_audit::Entry]| {
        all.iter().any(|one| one.reason.as_deref() == Some("lock.active") && one.outcome.is_some())
    };
    world.entries(cut).await;
    world.change(|parts| parts.locks.clear());
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert!(
        answer.text.contains("in time") && !answer.text.contains("too late"),
        "{}",
        answer.text
    );
    assert!(!String::from_utf8_lossy(&rest).contains("too late"));
}
