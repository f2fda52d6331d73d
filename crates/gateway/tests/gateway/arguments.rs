//! Classes by argument, and what grants and tokens say of arguments.

use attorn_journal::Durability;
use attorn_registry::{AuthorizationDetails, Class, Scope, ScopePattern};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, call, modern};

/// `get` reads, writes when it is told to, and destroys when it is told to drop.
fn classified(test: &str) -> World {
    let world = World::new(test);
    let rules = json!([
        {"when": [{"at": "/mode", "is": {"equals": "write"}}], "class": "write"},
        {"when": [{"at": "/mode", "is": {"equals": "drop"}}], "class": "irreversible"},
    ]);
    world.change(|parts| {
        let get = parts.servers[0].tools.get_mut("get").unwrap();
        get.approved.as_mut().unwrap().rules = serde_json::from_value(rules).unwrap();
        let write = ScopePattern::Exact(Scope::of_tool(Class::Write, "get"));
        parts.grants[0].patterns.push(write);
    });
    world
}

fn constrained(test: &str, details: &Value) -> World {
    let world = World::new(test);
    world.change(|parts| {
        parts.grants[0].constraints = serde_json::from_value(details.clone()).unwrap();
    });
    world
}

fn max(amount: u64) -> Value {
    json!([{"type": "mcp_tool_call", "tool": "get",
            "arguments": {"required": ["n"], "properties": {"n": {"maximum": amount}}}}])
}

fn is_result(answer: &Value) -> bool {
    answer["result"].is_object() && answer["result"]["isError"] != true
}

fn reason(answer: &Value) -> &str {
    answer["result"]["structuredContent"]["reason"]
        .as_str()
        .or_else(|| answer["result"]["_meta"]["reason"].as_str())
        .unwrap_or_default()
}

#[tokio::test]
async fn the_class_of_these_very_arguments_decides_the_scope() {
    let world = classified("class");
    let read = world.ask("read:get", call("get", &json!({"mode": "read"}))).await;
    assert!(is_result(&read.json()), "{}", read.text);
    // The scope of the other class is named, with what the token has.
    let write = world.ask("read:get", call("get", &json!({"mode": "write"}))).await;
    assert_eq!(write.status, StatusCode::FORBIDDEN);
    let challenge = write.header("www-authenticate");
    assert!(challenge.contains("scope=\"read:get write:get\""), "{write:?}");
    let both = world.ask("read:get write:get", call("get", &json!({"mode": "write"}))).await;
    assert!(is_result(&both.json()), "{}", both.text);
    assert_eq!(world.calls().len(), 2);
    let entries = world.entries(|all| all.iter().any(|one| one.class.as_deref() == Some("write")));
    let used = entries.await.into_iter().filter_map(|entry| entry.scope).collect::<Vec<_>>();
    assert!(used.contains(&"write:get".to_owned()) && used.contains(&"read:get".to_owned()));
}

#[tokio::test]
async fn arguments_that_cannot_be_judged_have_the_highest_class() {
    let world = classified("class-odd");
    for odd in [json!(["write"]), json!({"mode": "read"}), json!(null), json!(1), json!(true)] {
        let answer = world.ask("read:get write:get", call("get", &json!({ "mode": odd }))).await;
        // Irreversible is granted to nobody; the tool is listed, so the caller is told.
        let told = answer.json();
        assert_eq!(told["result"]["isError"], true, "{told}");
        assert!(answer.text.contains("scope.missing"), "{told}");
    }
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_tool_is_listed_when_one_of_its_classes_is_granted() {
    let world = classified("class-list");
    world.change(|parts| {
        let write = ScopePattern::Exact(Scope::of_tool(Class::Write, "get"));
        parts.grants[0].patterns = vec![write];
    });
    let listed = world.ask("", modern("tools/list", json!({}), None)).await.json();
    assert_eq!(listed["result"]["tools"][0]["name"], "get", "{listed}");
    world
        .change(|parts| parts.grants[0].patterns = vec![ScopePattern::parse("write:set").unwrap()]);
    let hidden = world.ask("read:get", call("get", &json!({}))).await;
    let unknown = world.ask("read:get", call("gone", &json!({}))).await;
    assert_eq!(hidden.text, unknown.text);
}

#[tokio::test]
async fn a_grant_limits_arguments() {
    let world = constrained("grant-limit", &max(50));
    let within = world.ask("read:get", call("get", &json!({"n": 50}))).await;
    assert!(is_result(&within.json()), "{}", within.text);
    for beyond in [json!({"n": 51}), json!({}), json!({"n": 9_007_199_254_740_993_u64})] {
        let answer = world.ask("read:get", call("get", &beyond)).await;
        let told = answer.json();
        assert_eq!(told["result"]["isError"], true, "{told}");
        assert!(answer.text.contains("constraint.violated"), "{} {told}", reason(&told));
        assert!(answer.text.contains("dec_"), "{told}");
    }
    // Another tool of the same grant is not limited.
    assert!(is_result(&world.ask("read:region", call("region", &json!({}))).await.json()));
    assert_eq!(world.calls().len(), 2);
}

#[tokio::test]
async fn a_token_limits_arguments_under_a_free_grant() {
    let world = World::new("token-limit");
    let mut claims = world.claims("read:get");
    claims.authorization_details = AuthorizationDetails::parse(&max(5).to_string()).ok();
    assert!(claims.authorization_details.is_some());
    let token = world.issue(&claims);
    let within = world.ask_with(&token, call("get", &json!({"n": 5}))).await;
    assert!(is_result(&within.json()), "{}", within.text);
    let beyond = world.ask_with(&token, call("get", &json!({"n": 6}))).await;
    assert!(beyond.text.contains("constraint.violated"), "{}", beyond.text);
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn calls_are_counted_for_a_grant_and_survive_a_restart() {
    let details = json!([{"type": "mcp_tool_call", "tool": "get", "max_calls": 2}]);
    let world = constrained("counted", &details);
    // What an earlier process forwarded stands in the journal.
    let mut earlier = attorn_audit::Entry::new(attorn_audit::Kind::CallDecided, 1);
    earlier.decision = Some(attorn_audit::Decision::Permit);
    earlier.grant = world.parts.lock().unwrap().grants.first().map(|grant| grant.id.to_string());
    earlier.tool = Some("get".into());
    earlier.detail.insert("counted_for".into(), "grant".into());
    world.journal.append(earlier.to_canonical(), Durability::Fsync).await.unwrap();
    let last = world.ask("read:get", call("get", &json!({}))).await;
    assert!(is_result(&last.json()), "{}", last.text);
    // Another token does not bring the calls back.
    let beyond = world.ask("read:get", call("get", &json!({}))).await;
    assert!(beyond.text.contains("constraint.violated"), "{}", beyond.text);
    assert_eq!(world.calls().len(), 1);
    assert!(is_result(&world.ask("read:region", call("region", &json!({}))).await.json()));
}
