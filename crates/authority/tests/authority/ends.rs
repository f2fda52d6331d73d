//! Agents that end, and agents that nobody uses.

use attorn_authority::Operation;
use attorn_registry::LifeCycle;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{CRM, Client, World};

const DAY_S: u64 = 24 * 3600;

/// Waits until an agent is stopped, and gives the entry that says so.
async fn stopped(world: &World, name: &str) -> Value {
    let is_suspended = || {
        let snapshot = world.published.load();
        snapshot.agent_named(name).is_some_and(|agent| agent.state == LifeCycle::Suspended)
    };
    while !is_suspended() {
        tokio::task::yield_now().await;
    }
    let entries = world.entries().await;
    let found =
        |entry: &Value| entry["kind"] == "identity.suspended" && entry["detail"]["name"] == name;
    entries.into_iter().rfind(found).unwrap()
}

async fn with_one() -> (World, Client, Client) {
    let world = World::stopping_unused(30).await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let one = world.agent(&operator, "one", &["read:get"]).await;
    (world, operator, one)
}

#[tokio::test]
async fn an_agent_past_its_end_is_refused_from_that_second_on_and_told_of() {
    let (world, operator, one) = with_one().await;
    let end_s = world.now_s() + 100;
    let ending = json!({ "expires_s": end_s });
    world.done(&operator, Operation::AgentExpiry, &["one"], ending).await;
    let old = world.token(&one, CRM).await;
    world.pass_s(99);
    assert_eq!(world.ask_token(&one, Some(CRM), None).await.status, StatusCode::OK);
    world.pass_s(1);
    // Like a client with wrong credentials; only the journal knows.
    let refused = world.ask_token(&one, Some(CRM), None).await;
    assert_eq!(refused.refusal(), (401, "invalid_client"));
    assert_eq!(world.newest("token.refused").await["reason"], "agent.expired");
    let seen = world.done(&operator, Operation::TokenInspect, &[], json!({ "token": old })).await;
    assert_eq!((&seen["active"], &seen["reason"]), (&json!(false), &json!("agent.expired")));
    world.pass_s(60);
    let entry = stopped(&world, "one").await;
    assert_eq!((&entry["reason"], &entry["by"]), (&json!("agent.expired"), &json!("attorn")));
    assert_eq!(entry["detail"]["reason"], "past its end");
    // It comes back with another end, and not without.
    let resume = async || world.run(&operator, Operation::AgentResume, &["one"], json!({})).await;
    let refused = resume().await;
    assert_eq!((refused.status.as_u16(), refused.text("error")), (409, "agent.expired"));
    world.done(&operator, Operation::AgentExpiry, &["one"], json!({})).await;
    assert_eq!(resume().await.status, StatusCode::OK);
    assert_eq!(world.ask_token(&one, Some(CRM), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_agent_is_registered_with_an_end() {
    let (world, operator, _) = with_one().await;
    let end_s = world.now_s() + 100;
    let new = json!({ "name": "two", "owner": "sales", "expires_s": end_s });
    world.done(&operator, Operation::AgentRegister, &[], new).await;
    let shown = world.done(&operator, Operation::AgentShow, &["two"], Value::Null).await;
    assert_eq!((&shown["expires_s"], &shown["last_used_s"]), (&json!(end_s), &Value::Null));
    assert_eq!(world.newest("identity.registered").await["detail"]["expires_s"], end_s.to_string());
    world.pass_s(100);
    let status = world.done(&operator, Operation::Status, &[], Value::Null).await;
    assert_eq!(status["agents_ended"], 1);
}

#[tokio::test]
async fn an_agent_that_nobody_uses_is_stopped() {
    let (world, operator, one) = with_one().await;
    let two = world.agent(&operator, "two", &["read:get"]).await;
    world.pass_s(20 * DAY_S);
    world.token(&two, CRM).await;
    // Written down a moment later.
    while world.store.last_agent_uses().await.unwrap().get(&two.id) != Some(&world.now_s()) {
        tokio::task::yield_now().await;
    }
    let shown = world.done(&operator, Operation::AgentShow, &["two"], Value::Null).await;
    assert_eq!(shown["last_used_s"], world.now_s());
    world.pass_s(10 * DAY_S);
    let entry = stopped(&world, "one").await;
    assert_eq!(
        (&entry["reason"], &entry["detail"]["reason"]),
        (&json!("agent.expired"), &json!("not used"))
    );
    let refused = world.ask_token(&one, Some(CRM), None).await;
    assert_eq!(refused.refusal(), (401, "invalid_client"));
    // The one that was used goes on, and so do operators.
    assert_eq!(world.ask_token(&two, Some(CRM), None).await.status, StatusCode::OK);
    world.done(&operator, Operation::AgentResume, &["one"], json!({})).await;
    assert_eq!(world.ask_token(&one, Some(CRM), None).await.status, StatusCode::OK);
}
