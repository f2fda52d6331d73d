//! Tool calls: permitted, hidden, refused, recorded.

use attorn_audit::{Decision, Kind, Outcome};
use attorn_registry::LockTarget;
use http::StatusCode;
use serde_json::json;

use crate::world::{World, agent_id, call, modern, tools};

#[tokio::test]
async fn a_permitted_call_reaches_the_server_as_a_new_request() {
    let world = World::new("permitted");
    let answer = world.ask("read:get", call("get", &json!({ "a": 1 }))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["id"], "c-1");
    assert_eq!(answer.json()["result"]["content"][0]["text"], "canary called");
    assert_eq!(answer.header("cache-control"), "no-store");

    let calls = world.calls();
    assert_eq!(calls.len(), 1);
    let header = |name: &str| {
        let found = calls[0].headers.iter().find(|(one, _)| one == name);
        found.map(|(_, value)| value.as_str())
    };
    for never in ["authorization", "dpop", "cookie", "forwarded", "mcp-session-id"] {
        assert_eq!(header(never), None, "{never}");
    }
    assert_eq!(header("mcp-name"), Some("get"));
    assert_eq!(header("accept-encoding"), Some("identity"));
    assert!(header("traceparent").is_some());
    assert!(!calls[0].body.contains("c-1"), "the client's identifier stays here");
}

#[tokio::test]
async fn intent_and_outcome_are_in_the_journal() {
    let world = World::new("recorded");
    world.ask("write:set", call("set", &json!({ "a": 1 }))).await;
    let done = |entries: &[attorn_audit::Entry]| {
        entries.iter().any(|one| one.kind == Kind::CallCompleted && one.tool.is_some())
    };
    let entries = world.entries(done).await;
    let of_call: Vec<_> = entries.iter().filter(|one| one.tool.as_deref() == Some("set")).collect();
    let [intent, outcome] = of_call.as_slice() else { panic!("{of_call:?}") };
    assert_eq!(intent.kind, Kind::CallDecided);
    assert_eq!(intent.decision, Some(Decision::Permit));
    assert_eq!(intent.agent.as_deref(), Some(agent_id().as_str()));
    assert_eq!(intent.scope.as_deref(), Some("write:set"));
    assert_eq!(intent.class.as_deref(), Some("write"));
    assert!(intent.proof_jti.is_some() && intent.token_jti.is_some());
    assert!(intent.arguments_digest.is_some() && intent.tool_digest.is_some());
    assert!(intent.rule.is_some() && intent.grant.is_some() && intent.trace_id.is_some());
    assert_eq!(outcome.outcome, Some(Outcome::Ok));
    assert_eq!(outcome.decision_id, intent.decision_id);
    assert_eq!(outcome.trace_id, intent.trace_id);
    assert!(outcome.result_digest.is_some());
}

#[tokio::test]
async fn a_hidden_tool_and_no_tool_answer_with_the_same_bytes() {
    let world = World::new("hidden");
    let hidden = world.ask("read:get", call("hidden", &json!({}))).await;
    let nothing = world.ask("read:get", call("nothing", &json!({}))).await;
    assert_eq!(hidden.status, StatusCode::OK);
    assert_eq!(hidden.json()["error"]["code"], -32602);
    assert_eq!(hidden.text, nothing.text);
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_scope_that_could_be_had_is_named() {
    let world = World::new("step-up");
    let answer = world.ask("read:get", call("set", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("DPoP error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"read:get write:set\""), "{challenge}");
    assert_eq!(answer.json()["error"]["data"]["reason"], "scope.missing");
    assert!(world.calls().is_empty());
    // The same call with the scope passes.
    assert_eq!(world.ask("write:set", call("set", &json!({}))).await.status, StatusCode::OK);
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn an_irreversible_call_waits_for_a_person() {
    let world = World::new("irreversible");
    let answer = world.ask("irreversible:drop", call("drop", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let result = &answer.json()["result"];
    assert_eq!(result["isError"], true);
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["_meta"]["dev.attorn/reason"], "approval.required");
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn without_a_journal_nothing_is_forwarded() {
    let world = World::new("no-journal");
    world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(world.calls().len(), 1);
    world.journal.clone().close().await;
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.json()["error"]["data"]["reason"], "journal.unavailable");
    assert_eq!(answer.json()["id"], "c-1");
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_lock_refuses_at_once() {
    let world = World::new("lock");
    assert_eq!(
        world.ask("read:get", call("get", &json!({}))).await.json()["result"]["isError"],
        false
    );
    world.lock(LockTarget::Agent { agent: agent_id() });
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.json()["result"]["_meta"]["dev.attorn/reason"], "lock.active");
    let list = world.ask("read:get", modern("tools/list", json!({}), None)).await;
    assert_eq!(list.status, StatusCode::FORBIDDEN);
    assert_eq!(list.json()["error"]["data"]["reason"], "lock.active");
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn a_definition_that_changed_is_held_before_the_registry_knows() {
    let mut listed = tools();
    listed[0]["description"] = json!("now does something else");
    let world = World::with("changed", listed);
    let answer = world.ask("read:get", call("get", &json!({}))).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
    assert!(world.calls().is_empty());
    let seen = world.seen.lock().unwrap();
    assert!(seen.iter().flat_map(|one| &one.tools).any(|tool| tool.name == "get"));
}

#[tokio::test]
async fn mirrored_arguments_equal_the_arguments_and_are_made_anew() {
    let world = World::new("mirrored");
    let ask = |header: Option<&str>| {
        let mut ask = call("region", &json!({ "region": "eu" }));
        ask.headers.extend(header.map(|value| ("mcp-param-region".to_owned(), value.to_owned())));
        ask.headers.push(("mcp-param-other".into(), "x".into()));
        ask
    };
    for wrong in [None, Some("us")] {
        let answer = world.ask("read:region", ask(wrong)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:?}");
        assert_eq!(answer.json()["error"]["code"], -32020);
    }
    assert!(world.calls().is_empty());
    let answer = world.ask("read:region", ask(Some("eu"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let calls = world.calls();
    let params: Vec<_> =
        calls[0].headers.iter().filter(|(name, _)| name.starts_with("mcp-param")).collect();
    assert_eq!(params, [&("mcp-param-region".to_owned(), "eu".to_owned())]);
}

#[tokio::test]
async fn a_header_that_names_another_call_is_refused() {
    let world = World::new("mismatch");
    let mut ask = call("set", &json!({}));
    for (name, value) in &mut ask.headers {
        if name == "mcp-name" {
            *value = "get".to_owned();
        }
    }
    let answer = world.ask("read:get write:set", ask).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["code"], -32020);
    assert_eq!(answer.json()["id"], "c-1");
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn every_refusal_is_recorded_with_its_reason() {
    let world = World::new("refusals");
    world.ask("read:get", call("hidden", &json!({}))).await;
    world.ask("read:get", modern("x/unknown", json!({}), None)).await;
    let has = |entries: &[attorn_audit::Entry], reason: &str| {
        entries.iter().any(|one| one.reason.as_deref() == Some(reason))
    };
    let entries =
        world.entries(|all| has(all, "tool.unconfirmed") && has(all, "frame.method")).await;
    let refusals = entries.iter().filter(|one| one.decision == Some(Decision::Deny));
    for refusal in refusals.filter(|one| one.proof_key.is_some()) {
        assert!(refusal.decision_id.is_some() && refusal.request_id.is_some(), "{refusal:?}");
    }
}
