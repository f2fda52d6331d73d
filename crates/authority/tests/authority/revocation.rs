//! Revocation and introspection.

use attorn_authority::Operation;
use http::StatusCode;
use serde_json::json;

use crate::world::{ADMIN, Answer, CRM, Client, World};
use attorn_oauth::client_assertion::ASSERTION_TYPE;

async fn post(world: &World, path: &str, client: &Client, token: &str) -> Answer {
    let assertion = world.assertion(client);
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("token", token),
    ];
    world.post_form(path, &form).await
}

async fn with_two() -> (World, Client, Client, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let one = world.agent(&operator, "one", &["read:get"]).await;
    let two = world.agent(&operator, "two", &["read:get"]).await;
    (world, operator, one, two)
}

#[tokio::test]
async fn a_client_is_told_about_its_own_token_only() {
    let (world, _, one, two) = with_two().await;
    let token = world.token(&one, CRM).await;
    let own = post(&world, "/introspect", &one, &token).await;
    assert_eq!(own.body["active"], true);
    assert_eq!(own.body["scope"], "read:get");
    assert_eq!(own.body["cnf"]["jkt"], one.key.public().thumbprint().to_string());
    let foreign = post(&world, "/introspect", &two, &token).await;
    assert_eq!(foreign.body, json!({ "active": false }));
    let unknown = post(&world, "/introspect", &one, "no-token").await;
    assert_eq!(unknown.body, json!({ "active": false }));
    let stranger = world.post_form("/introspect", &[("token", &token)]).await;
    assert_eq!(stranger.refusal(), (401, "invalid_client"));
}

#[tokio::test]
async fn a_revoked_token_is_dead_and_others_live() {
    let (world, _, one, two) = with_two().await;
    let (token, other) = (world.token(&one, CRM).await, world.token(&one, CRM).await);
    // A stranger's revocation is answered alike and does nothing.
    assert_eq!(post(&world, "/revoke", &two, &token).await.status, StatusCode::OK);
    assert_eq!(post(&world, "/introspect", &one, &token).await.body["active"], true);
    assert_eq!(post(&world, "/revoke", &one, &token).await.status, StatusCode::OK);
    assert_eq!(post(&world, "/introspect", &one, &token).await.body, json!({ "active": false }));
    assert_eq!(post(&world, "/introspect", &one, &other).await.body["active"], true);
    assert_eq!(post(&world, "/revoke", &one, "unknown").await.status, StatusCode::OK);
    assert_eq!(world.newest("token.revoked").await["by"], one.id.as_str());
}

#[tokio::test]
async fn revoking_twice_is_recorded_and_stored_once() {
    let (world, _, one, _) = with_two().await;
    let token = world.token(&one, CRM).await;
    assert_eq!(post(&world, "/revoke", &one, &token).await.status, StatusCode::OK);
    let (version, size) = (world.store.version().await.unwrap(), world.entries().await.len());
    assert_eq!(post(&world, "/revoke", &one, &token).await.status, StatusCode::OK);
    assert_eq!(world.store.version().await.unwrap(), version);
    // The marker of each look at the journal is all that came.
    assert_eq!(world.entries().await.len(), size + 1);
}

#[tokio::test]
async fn an_expired_token_is_not_active() {
    let (world, _, one, _) = with_two().await;
    let token = world.token(&one, CRM).await;
    world.pass_s(119);
    assert_eq!(post(&world, "/introspect", &one, &token).await.body["active"], true);
    world.pass_s(1);
    assert_eq!(post(&world, "/introspect", &one, &token).await.body["active"], false);
}

#[tokio::test]
async fn an_operator_sees_what_a_token_says_and_why_it_is_dead() {
    let (world, operator, one, _) = with_two().await;
    let token = world.token(&one, CRM).await;
    let asked = json!({ "token": token });
    let seen = world.done(&operator, Operation::TokenInspect, &[], asked.clone()).await;
    assert_eq!((&seen["active"], &seen["aud"]), (&json!(true), &json!(CRM)));
    let reason = json!({ "reason": "test" });
    world.done(&operator, Operation::AgentSuspend, &["one"], reason).await;
    let seen = world.done(&operator, Operation::TokenInspect, &[], asked).await;
    assert_eq!((&seen["active"], &seen["reason"]), (&json!(false), &json!("agent.suspended")));
}
