//! Nobody gives themselves, or anybody, more of the administration than they hold.

use attorn_authority::Operation;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Client, World};

/// An operator with these patterns at the admin server, until `expires_s`.
async fn operator_with(
    world: &World,
    operator: &Client,
    (name, patterns): (&str, &[&str]),
    expires_s: Option<u64>,
) -> Client {
    let new = json!({ "name": name, "owner": "administrators", "kind": "operator" });
    let made = world.done(operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let mut grant = json!({ "agent": name, "server": "admin", "patterns": patterns });
    if let Some(expires_s) = expires_s {
        grant["expires_s"] = json!(expires_s);
    }
    world.done(operator, Operation::GrantCreate, &[], grant).await;
    second
}

fn granted(agent: &str, pattern: &str, expires_s: Option<u64>) -> Value {
    let mut grant = json!({ "agent": agent, "server": "admin", "patterns": [pattern] });
    if let Some(expires_s) = expires_s {
        grant["expires_s"] = json!(expires_s);
    }
    grant
}

#[tokio::test]
async fn who_may_grant_grants_no_more_than_they_hold() {
    let world = World::new().await;
    let first = world.operator().await;
    let held = ("second", ["read:*", "write:grant.create"].as_slice());
    let second = operator_with(&world, &first, held, None).await;
    let create = async |grant| world.run(&second, Operation::GrantCreate, &[], grant).await;
    for wider in ["write:*", "irreversible:*", "write:policy.apply"] {
        let answer = create(granted("second", wider, None)).await;
        assert_eq!(answer.refusal(), (403, "delegation.widened"), "{wider}");
    }
    assert_eq!(world.newest("admin.refused").await["reason"], "delegation.widened");
    for held in ["read:*", "read:status", "write:grant.create"] {
        assert_eq!(create(granted("second", held, None)).await.status, StatusCode::OK, "{held}");
    }
}

#[tokio::test]
async fn who_may_grant_for_a_time_grants_for_no_longer() {
    let world = World::new().await;
    let first = world.operator().await;
    let end_s = world.now_s() + 1000;
    let held = ("second", ["write:grant.create"].as_slice());
    let second = operator_with(&world, &first, held, Some(end_s)).await;
    let create = async |grant| world.run(&second, Operation::GrantCreate, &[], grant).await;
    for longer in [None, Some(end_s + 1)] {
        let answer = create(granted("second", "write:grant.create", longer)).await;
        assert_eq!(answer.refusal(), (403, "delegation.widened"), "{longer:?}");
    }
    let answer = create(granted("second", "write:grant.create", Some(end_s))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn a_code_does_not_open_the_door_to_who_holds_more() {
    let world = World::new().await;
    let first = world.operator().await;
    let second = operator_with(&world, &first, ("second", &["write:agent.code"]), None).await;
    operator_with(&world, &first, ("third", &["write:agent.code"]), None).await;
    let code = async |who: &str| world.run(&second, Operation::AgentCode, &[who], json!({})).await;
    assert_eq!(code("first-operator").await.refusal(), (403, "delegation.widened"));
    for who in ["second", "third"] {
        assert_eq!(code(who).await.status, StatusCode::OK, "{who}");
    }
}
