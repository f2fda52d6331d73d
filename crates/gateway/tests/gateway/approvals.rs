//! Calls that wait for a person: asked about, approved, used once.

use std::sync::atomic::Ordering;

use attorn_audit::{Decision, Entry, Kind};
use attorn_registry::{AgentId, ApprovalCall, Class, LockTarget};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, Ask, NOW_S, World, agent_id, call, modern, older, tool, tools};

const SCOPE: &str = "irreversible:drop";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn arguments() -> Value {
    json!({ "b": 1.0, "a": "x" })
}

async fn ask(world: &World) -> Answer {
    world.ask(SCOPE, call("drop", &arguments())).await
}

/// The reason code of a refused call.
#[track_caller]
fn reason(answer: &Answer) -> String {
    let result = &answer.json()["result"];
    assert_eq!(result["isError"], true, "{}", answer.text);
    result["_meta"]["dev.attorn/reason"].as_str().unwrap().to_owned()
}

/// Says yes to what was asked last, in force at the gateway.
fn approve(world: &World) {
    let approvals = world.desk.approve_last();
    world.change(|parts| parts.approvals = approvals);
}

/// The gateway hears what the desk knows.
fn hear(world: &World) {
    world.change(|parts| parts.approvals = world.desk.in_snapshot());
}

fn is_made(answer: &Answer) -> bool {
    answer.json()["result"]["content"][0]["text"] == "canary called"
}

/// The state that a client was given for the first request.
fn state_of(world: &World) -> String {
    format!("attorn-approval.{}", world.desk.approvals.lock().unwrap()[0].id)
}

fn with_state(arguments: &Value, state: &str) -> Ask {
    let params = json!({
        "name": "drop", "arguments": arguments, "requestState": state,
        "inputResponses": { "approval": { "action": "accept" } },
    });
    modern("tools/call", params, Some("drop"))
}

/// The same request with another body.
fn altered(mut ask: Ask, alter: impl FnOnce(&mut Value)) -> Ask {
    let mut body: Value = serde_json::from_slice(&ask.body).unwrap();
    alter(&mut body);
    ask.body = body.to_string().into();
    ask
}

#[tokio::test]
async fn a_call_waits_is_approved_and_is_made_once() {
    let world = World::new("approved");
    let first = ask(&world).await;
    assert_eq!(reason(&first), "approval.required");
    let result = &first.json()["result"];
    let id = result["_meta"]["dev.attorn/approval"].as_str().unwrap().to_owned();
    let told = result["content"][0]["text"].as_str().unwrap();
    for part in [format!("attorn request show {id}"), format!("/approvals/{id}")] {
        assert!(told.contains(&part), "{told}");
    }
    let asked = world.desk.asked.lock().unwrap().remove(0);
    assert_eq!(asked.arguments, r#"{"a":"x","b":1}"#);
    assert_eq!((&asked.call.agent, asked.call.tool.as_str()), (&agent_id(), "drop"));
    // Asked again it is the same request; nobody is asked twice.
    hear(&world);
    assert_eq!(reason(&ask(&world).await), "approval.pending");
    assert!(world.desk.asked.lock().unwrap().is_empty());
    assert!(world.calls().is_empty());

    approve(&world);
    assert!(is_made(&ask(&world).await));
    let calls = world.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].body.contains(r#""arguments":{"a":"x","b":1}"#), "{}", calls[0].body);
    // The gateway has not heard that it was used, and does not make it again.
    assert_eq!(reason(&ask(&world).await), "approval.used");
    hear(&world);
    assert_eq!(reason(&ask(&world).await), "approval.required");
    assert!(world.calls().is_empty());

    let of_approval = |entry: &&Entry| entry.approval.as_deref() == Some(id.as_str());
    let done =
        |all: &[Entry]| all.iter().filter(of_approval).any(|one| one.kind == Kind::CallCompleted);
    let entries = world.entries(done).await;
    let count = |holds: fn(&Entry) -> bool| {
        entries.iter().filter(of_approval).filter(|entry| holds(entry)).count()
    };
    assert_eq!(count(|one| one.decision == Some(Decision::Permit)), 1);
    assert_eq!(count(|one| one.reason.as_deref() == Some("approval.required")), 1);
}

#[tokio::test]
async fn other_arguments_are_another_call() {
    let world = World::new("approval-arguments");
    ask(&world).await;
    approve(&world);
    let state = state_of(&world);
    for other in [json!({ "a": "y", "b": 1 }), json!({}), json!({ "a": "x", "b": 1, "c": 0 })] {
        let answer = world.ask(SCOPE, with_state(&other, &state)).await;
        assert_eq!(reason(&answer), "approval.arguments_changed", "{other}");
    }
    let other = world.ask(SCOPE, call("drop", &json!({ "a": "y", "b": 1 }))).await;
    assert_eq!(reason(&other), "approval.required");
    assert!(world.calls().is_empty());
    assert!(is_made(&world.ask(SCOPE, with_state(&arguments(), &state)).await));
}

#[tokio::test]
async fn the_approval_of_another_call_is_no_approval() {
    let world = World::new("approval-other");
    ask(&world).await;
    approve(&world);
    let changes: [fn(&mut ApprovalCall); 5] = [
        |call| call.agent = AgentId::from_random(&[8; 16]),
        |call| call.subject = "ann".to_owned(),
        |call| call.server = attorn_registry::ServerId::from_random(&[8; 16]),
        |call| call.definition = [9; 32],
        |call| call.tool = "set".to_owned(),
    ];
    for change in changes {
        let mut stranger = world.desk.approvals.lock().unwrap()[0].clone();
        change(&mut stranger.call);
        world.change(|parts| parts.approvals = vec![stranger]);
        assert_eq!(reason(&ask(&world).await), "approval.pending");
        assert!(world.calls().is_empty());
    }
    hear(&world);
    assert!(is_made(&ask(&world).await));
}

#[tokio::test]
async fn an_approval_ends() {
    let world = World::new("approval-ends");
    ask(&world).await;
    approve(&world);
    let state = state_of(&world);
    world.now_s.store(NOW_S + 1800, Ordering::SeqCst);
    let named = with_state(&arguments(), &state);
    assert_eq!(reason(&world.ask(SCOPE, named).await), "approval.expired");
    assert_eq!(reason(&ask(&world).await), "approval.required");
    assert!(world.calls().is_empty());
    approve(&world);
    world.now_s.store(NOW_S + 3599, Ordering::SeqCst);
    assert!(is_made(&ask(&world).await));
}

#[tokio::test]
async fn a_no_is_told_with_its_reason() {
    let world = World::new("approval-denied");
    ask(&world).await;
    world.desk.deny_last();
    hear(&world);
    let refused = ask(&world).await;
    assert_eq!(reason(&refused), "approval.denied");
    assert!(refused.text.contains("not this month"), "{}", refused.text);
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn every_other_step_is_judged_again() {
    let world = World::new("approval-again");
    ask(&world).await;
    approve(&world);
    let grants = std::mem::take(&mut world.parts.lock().unwrap().grants);
    world.change(|_parts| ());
    let revoked = ask(&world).await;
    assert_eq!(revoked.json()["error"]["code"], -32602, "{}", revoked.text);
    world.change(|parts| parts.grants = grants);
    world.lock(LockTarget::Agent { agent: agent_id() });
    assert_eq!(reason(&ask(&world).await), "lock.active");
    assert!(world.calls().is_empty());
    let is_usable = world.desk.approvals.lock().unwrap()[0].is_usable(NOW_S);
    assert!(is_usable, "a refused call uses nothing up");
}

#[tokio::test]
async fn nobody_is_asked_about_a_call_that_would_be_refused() {
    let world = World::new("approval-first");
    let mut wrong = call("drop", &arguments());
    for (name, value) in &mut wrong.headers {
        if name == "mcp-name" {
            *value = "get".to_owned();
        }
    }
    assert_eq!(world.ask(SCOPE, wrong).await.json()["error"]["code"], -32020);
    let without_scope = world.ask("read:get", call("drop", &arguments())).await;
    assert_eq!(without_scope.status, StatusCode::FORBIDDEN);
    world.lock(LockTarget::Agent { agent: agent_id() });
    assert_eq!(reason(&ask(&world).await), "lock.active");
    assert!(world.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_definition_that_changed_meanwhile_is_not_called() {
    let world = World::new("approval-definition");
    ask(&world).await;
    approve(&world);
    let mut listed = tools();
    listed[2]["description"] = json!("drops more");
    let known = tool(&listed[2], Some(Class::Irreversible));
    world.canary.set_tools(listed);
    world.now_s.store(NOW_S + 10, Ordering::SeqCst);
    // Seen and not accepted: hidden. Accepted: another tool, and another approval.
    assert_eq!(ask(&world).await.json()["error"]["code"], -32602);
    world.change(|parts| drop(parts.servers[0].tools.insert("drop".to_owned(), known)));
    assert_eq!(reason(&ask(&world).await), "approval.required");
    assert!(world.calls().is_empty());
    approve(&world);
    assert!(is_made(&ask(&world).await));
}

#[tokio::test]
async fn without_an_answer_nothing_is_made() {
    let world = World::new("approval-silent");
    world.desk.is_silent.store(true, Ordering::SeqCst);
    let unasked = ask(&world).await;
    assert_eq!(unasked.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unasked.json()["error"]["data"]["reason"], "authority.stale");
    world.desk.is_silent.store(false, Ordering::SeqCst);
    ask(&world).await;
    approve(&world);
    // Used up, and the answer is lost: the call is not made, then or later.
    world.desk.loses_answers.store(true, Ordering::SeqCst);
    assert_eq!(ask(&world).await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.desk.loses_answers.store(false, Ordering::SeqCst);
    assert_eq!(reason(&ask(&world).await), "approval.used");
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn of_two_calls_at_once_one_is_made() {
    let world = World::new("approval-twice");
    ask(&world).await;
    approve(&world);
    let (one, two) = tokio::join!(ask(&world), ask(&world));
    assert_eq!(usize::from(is_made(&one)) + usize::from(is_made(&two)), 1);
    let lost = if is_made(&one) { two } else { one };
    assert_eq!(reason(&lost), "approval.used");
    assert_eq!(world.calls().len(), 1);
}

/// MCP 2026-07-28, Multi Round-Trip Requests, and Elicitation, URL Mode.
#[tokio::test]
async fn a_client_that_can_is_sent_to_an_address() {
    let world = World::new("approval-url");
    let declares = |ask: Ask, modes: Value| {
        altered(ask, |body| body["params"]["_meta"][CAPABILITIES] = json!({ "elicitation": modes }))
    };
    let can = |ask: Ask| declares(ask, json!({ "url": {} }));
    let answer = world.ask(SCOPE, can(call("drop", &arguments()))).await;
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{}", answer.text);
    let request = &result["inputRequests"]["approval"];
    assert_eq!(
        (&request["method"], &request["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url"))
    );
    let id = request["params"]["elicitationId"].as_str().unwrap();
    assert_eq!(request["params"]["url"], format!("http://127.0.0.1:8700/approvals/{id}"));
    assert_eq!(result["requestState"], state_of(&world));
    // Brought back before anybody answered: told, and not asked again, or it would loop.
    let again = || can(with_state(&arguments(), &state_of(&world)));
    assert_eq!(reason(&world.ask(SCOPE, again()).await), "approval.pending");
    approve(&world);
    let made = world.ask(SCOPE, again()).await;
    assert!(is_made(&made), "{}", made.text);
    // What was for us does not go on.
    let sent = world.calls().remove(0).body;
    assert!(!sent.contains("requestState") && !sent.contains("inputResponses"), "{sent}");
    hear(&world);
    assert_eq!(reason(&world.ask(SCOPE, again()).await), "approval.used");
    // Modes that a client does not declare are not asked of it.
    for modes in [json!({}), json!({ "form": {} })] {
        let ask = declares(call("drop", &json!({ "other": 1 })), modes);
        let told = reason(&world.ask(SCOPE, ask).await);
        assert!(told == "approval.required" || told == "approval.pending", "{told}");
    }
}

#[tokio::test]
async fn what_nobody_was_shown_does_not_leave() {
    let world = World::new("approval-shown");
    ask(&world).await;
    approve(&world);
    for hidden in [
        json!({ "requestState": "of the server" }),
        json!({ "inputResponses": { "amount": { "action": "accept", "content": { "n": 9 } } } }),
        json!({ "requestState": "attorn-approval.apr_x" }),
    ] {
        let members = hidden.as_object().unwrap().clone();
        let ask = altered(call("drop", &arguments()), |body| {
            body["params"].as_object_mut().unwrap().extend(members);
        });
        let told = reason(&world.ask(SCOPE, ask).await);
        assert_eq!(told, "approval.arguments_changed", "{hidden}");
    }
    assert!(world.calls().is_empty());
    let more = altered(call("drop", &arguments()), |body| {
        body["params"]["_meta"]["com.example/amount"] = json!(9);
    });
    assert!(is_made(&world.ask(SCOPE, more).await));
    assert!(!world.calls().remove(0).body.contains("com.example"));
}

#[tokio::test]
async fn an_older_client_is_told_in_a_tool_result() {
    let world = World::new("approval-older");
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "older", "version": "1" } } });
    let opened = world.ask(SCOPE, older(&hello, None)).await;
    let session = opened.header("mcp-session-id").to_owned();
    let message = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "drop", "arguments": arguments() } });
    let answer = world.ask(SCOPE, older(&message, Some(&session))).await;
    assert_eq!(reason(&answer), "approval.required");
    assert!(answer.json()["result"].get("resultType").is_none(), "{}", answer.text);
    approve(&world);
    let made = world.ask(SCOPE, older(&message, Some(&session))).await;
    assert!(is_made(&made), "{}", made.text);
    assert_eq!(world.calls().len(), 1);
}
