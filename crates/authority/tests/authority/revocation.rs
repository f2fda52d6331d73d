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
async fn an_attempt_on_the_token_of_another_is_answered_alike_and_recorded() {
    let (world, _, one, two) = with_two().await;
    let token = world.token(&one, CRM).await;
    let foreign = post(&world, "/revoke", &two, &token).await;
    let unknown = post(&world, "/revoke", &two, "unknown").await;
    let own = post(&world, "/revoke", &one, &token).await;
    for other in [&unknown, &own] {
        assert_eq!((foreign.status, &foreign.body), (other.status, &other.body));
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&foreign), names(other));
    }
    let entries = world.entries().await;
    let attempts: Vec<_> =
        entries.iter().filter(|entry| entry["reason"] == "token.foreign").collect();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["kind"], "token.revoked");
    assert_eq!(attempts[0]["decision"], "deny");
    assert_eq!(attempts[0]["client_id"], two.id.as_str());
    assert_eq!(attempts[0]["detail"]["token_client"], one.id.as_str());
    assert!(attempts[0]["token_jti"].is_string());
}

#[tokio::test]
async fn attempts_on_tokens_of_others_are_counted_beyond_a_rate() {
    let (world, _, one, two) = with_two().await;
    let token = world.token(&one, CRM).await;
    for _ in 0..101 {
        assert_eq!(post(&world, "/revoke", &two, &token).await.status, StatusCode::OK);
    }
    world.pass_s(1);
    assert_eq!(post(&world, "/revoke", &two, &token).await.status, StatusCode::OK);
    let entries = world.entries().await;
    let attempts: Vec<_> =
        entries.iter().filter(|entry| entry["reason"] == "token.foreign").collect();
    assert_eq!(attempts.len(), 101);
    assert_eq!(attempts[100]["detail"]["suppressed"], "1");
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

/// What introspection says of a token, to its own client.
async fn is_active(world: &World, client: &Client, token: &str) -> bool {
    post(world, "/introspect", client, token).await.body["active"] == true
}

#[tokio::test]
async fn a_token_from_before_a_suspension_does_not_count_again() {
    let (world, operator, one, two) = with_two().await;
    let (old, other) = (world.token(&one, CRM).await, world.token(&two, CRM).await);
    let reason = || json!({ "reason": "test" });
    world.done(&operator, Operation::AgentSuspend, &["one"], reason()).await;
    world.done(&operator, Operation::AgentResume, &["one"], reason()).await;
    assert!(!is_active(&world, &one, &old).await);
    let seen = json!({ "token": old });
    let seen = world.done(&operator, Operation::TokenInspect, &[], seen).await;
    assert_eq!((&seen["active"], &seen["reason"]), (&json!(false), &json!("token.stopped")));
    // All in one second, and the new one counts at once; others were never stopped.
    let new = world.token(&one, CRM).await;
    assert!(is_active(&world, &one, &new).await);
    assert!(is_active(&world, &two, &other).await);
}

#[tokio::test]
async fn a_token_from_before_a_lock_does_not_count_again() {
    let (world, operator, one, two) = with_two().await;
    let key = one.key.public().thumbprint().to_string();
    let targets = [
        json!({ "kind": "agent", "agent": "one" }),
        json!({ "kind": "key", "jkt": key }),
        json!({ "kind": "server", "server": "crm" }),
    ];
    for target in targets {
        let old = world.token(&one, CRM).await;
        let lock = json!({ "target": target, "reason": "test" });
        let lock = world.done(&operator, Operation::LockCreate, &[], lock).await;
        let id = lock["id"].as_str().unwrap();
        let reason = json!({ "reason": "test" });
        world.done(&operator, Operation::LockLift, &[id], reason).await;
        assert!(!is_active(&world, &one, &old).await, "{target}");
        let new = world.token(&one, CRM).await;
        assert!(is_active(&world, &one, &new).await, "{target}");
        world.pass_s(1);
    }
    // One that ends by itself: nothing happens in the registry when it does.
    let (old, other) = (world.token(&one, CRM).await, world.token(&two, CRM).await);
    let ends_s = world.now_s() + 10;
    let target = json!({ "kind": "agent", "agent": "one" });
    let lock = json!({ "target": target, "reason": "test", "expires_s": ends_s });
    world.done(&operator, Operation::LockCreate, &[], lock).await;
    world.pass_s(9);
    assert!(world.ask_token(&one, Some(CRM), None).await.status != StatusCode::OK);
    world.pass_s(1);
    assert!(!is_active(&world, &one, &old).await);
    let new = world.token(&one, CRM).await;
    assert!(is_active(&world, &one, &new).await && is_active(&world, &two, &other).await);
}

/// Whether a token stands, and why not, as an operator is told.
async fn standing(world: &World, operator: &Client, token: &str) -> (bool, String) {
    let seen = json!({ "token": token });
    let seen = world.done(operator, Operation::TokenInspect, &[], seen).await;
    (seen["active"] == true, seen["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_token_from_before_a_lock_on_its_grant_does_not_count_again() {
    let (world, operator, one, two) = with_two().await;
    let (old, other) = (world.token(&one, CRM).await, world.token(&two, CRM).await);
    let snapshot = world.published.load();
    let crm = snapshot.server_named("crm").unwrap().id.clone();
    let grant = snapshot.counting_grants(&one.id, &crm, world.now_s()).next().unwrap().id.clone();
    let lock = json!({ "target": { "kind": "grant", "grant": grant }, "reason": "test" });
    let lock = world.done(&operator, Operation::LockCreate, &[], lock).await;
    let reason = json!({ "reason": "test" });
    let id = lock["id"].as_str().unwrap();
    world.done(&operator, Operation::LockLift, &[id], reason).await;
    let stopped = (false, "token.stopped".to_owned());
    assert_eq!(standing(&world, &operator, &old).await, stopped);
    assert!(!is_active(&world, &one, &old).await && is_active(&world, &two, &other).await);
    let new = world.token(&one, CRM).await;
    assert!(is_active(&world, &one, &new).await);
}

#[tokio::test]
async fn a_token_ends_with_the_key_that_its_agent_gave_up() {
    let (world, operator, one, two) = with_two().await;
    let (old, other) = (world.token(&one, CRM).await, world.token(&two, CRM).await);
    let key = crate::world::new_key();
    let (jkt, jwk) = (key.public().thumbprint(), key.public().to_jwk(None));
    let act = attorn_store::Act { by: "one", now_s: world.now_s() };
    world.store.rotate_agent_key(&act, &one.id, (jkt, &jwk), 60).await.unwrap();
    world.authority.publish().await.unwrap();
    // Both keys count for a while.
    assert!(standing(&world, &operator, &old).await.0);
    world.store.remove_agent_key(&act, &one.id, &one.key.public().thumbprint()).await.unwrap();
    world.authority.publish().await.unwrap();
    let revoked = (false, "token.revoked".to_owned());
    assert_eq!(standing(&world, &operator, &old).await, revoked);
    assert!(is_active(&world, &two, &other).await);
    let renewed = Client { id: one.id.clone(), key };
    let new = world.token(&renewed, CRM).await;
    assert!(is_active(&world, &renewed, &new).await);
}

#[tokio::test]
async fn an_operator_who_was_stopped_needs_a_new_token() {
    let (world, operator, _, _) = with_two().await;
    let code = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let code = world.done(&operator, Operation::AgentRegister, &[], code).await;
    let (second, _) = world.enroll(code["code"].as_str().unwrap()).await;
    let grant = json!({
        "agent": "second", "server": "admin", "patterns": ["read:*"], "reason": "test",
    });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let admin = format!("{ADMIN}/admin");
    let token = world.token(&second, &admin).await;
    let ask = async |token: &str| {
        world.run_with(&second, token, Operation::Whoami, (&[], json!({}))).await
    };
    assert_eq!(ask(&token).await.status, StatusCode::OK);
    let reason = || json!({ "reason": "test" });
    world.done(&operator, Operation::AgentSuspend, &["second"], reason()).await;
    world.done(&operator, Operation::AgentResume, &["second"], reason()).await;
    let refused = ask(&token).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.newest("admin.refused").await["reason"], "token.stopped");
    let new = world.token(&second, &admin).await;
    assert_eq!(ask(&new).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_ended_stays_ended_when_the_clock_goes_back() {
    let (world, operator, one, _) = with_two().await;
    let admin = format!("{ADMIN}/admin");
    let (old, own) = (world.token(&one, CRM).await, world.token(&operator, &admin).await);
    let ask = async |token: &str| {
        world.run_with(&operator, token, Operation::Whoami, (&[], json!({}))).await
    };
    assert_eq!(ask(&own).await.status, StatusCode::OK);
    world.pass_s(3600);
    assert!(!is_active(&world, &one, &old).await);
    world.go_back_s(3590);
    assert!(!is_active(&world, &one, &old).await);
    assert_eq!(ask(&own).await.status, StatusCode::UNAUTHORIZED);
    // In the very second of the step a new one counts.
    let new = world.token(&one, CRM).await;
    assert!(is_active(&world, &one, &new).await);
    assert_eq!(ask(&world.token(&operator, &admin).await).await.status, StatusCode::OK);
}
