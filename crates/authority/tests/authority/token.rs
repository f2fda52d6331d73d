//! The token endpoint.

use attorn_authority::Operation;
use attorn_oauth::client_assertion::{NewAssertion, new_assertion};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{CRM, Client, ISSUER, World, form_request, new_key, token_form};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

async fn with_agent(patterns: &[&str]) -> (World, Client, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", patterns).await;
    (world, operator, agent)
}

#[tokio::test]
async fn a_token_is_bound_narrow_and_short() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let answer = world.ask_token(&agent, Some(CRM), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.headers.contains_key("dpop-nonce"));
    assert_eq!(answer.body["token_type"], "DPoP");
    assert_eq!(answer.body["expires_in"], 120);
    assert_eq!(answer.body["scope"], "read:get");
    let claims = claims(answer.text("access_token"));
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], CRM);
    assert_eq!(claims["sub"], agent.id.as_str());
    assert_eq!(claims["client_id"], agent.id.as_str());
    assert_eq!(claims["cnf"]["jkt"], agent.key.public().thumbprint().to_string());
    let entry = world.newest("token.issued").await;
    assert_eq!(entry["token_jti"], claims["jti"]);
    assert_eq!(entry["grant"], claims["grt"]);
    assert_eq!(entry["proof_key"], claims["cnf"]["jkt"]);
}

#[tokio::test]
async fn what_cannot_be_undone_makes_the_token_shorter() {
    let (world, _, agent) = with_agent(&["read:*", "irreversible:drop"]).await;
    let answer = world.ask_token(&agent, Some(CRM), None).await;
    assert_eq!(answer.body["expires_in"], 60);
    let answer = world.ask_token(&agent, Some(CRM), Some("read:get")).await;
    assert_eq!(answer.body["expires_in"], 120);
}

#[tokio::test]
async fn the_scope_is_narrowed_to_the_grant() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let answer = world.ask_token(&agent, Some(CRM), Some("read:get irreversible:drop")).await;
    assert_eq!(answer.body["scope"], "read:get");
    let answer = world.ask_token(&agent, Some(CRM), Some("irreversible:drop")).await;
    assert_eq!(answer.refusal(), (400, "invalid_scope"));
    assert_eq!(world.newest("token.refused").await["reason"], "exchange.scope");
}

#[tokio::test]
async fn an_assertion_is_good_for_one_token() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let (nonce, assertion) = (world.nonce(&agent).await, world.assertion(&agent));
    let form = token_form(&assertion, Some(CRM), None);
    let ask = async || {
        let proof = world.proof(&agent, Some(&nonce));
        world.public(form_request("/token", &form, Some(&proof))).await
    };
    assert_eq!(ask().await.status, StatusCode::OK);
    let replayed = ask().await;
    assert_eq!(replayed.refusal(), (401, "invalid_client"));
    assert_eq!(world.newest("token.refused").await["reason"], "client.authentication");
}

#[tokio::test]
async fn a_proof_is_good_for_one_token() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let nonce = world.nonce(&agent).await;
    let proof = world.proof(&agent, Some(&nonce));
    let ask = async || {
        let assertion = world.assertion(&agent);
        let form = token_form(&assertion, Some(CRM), None);
        world.public(form_request("/token", &form, Some(&proof))).await
    };
    assert_eq!(ask().await.status, StatusCode::OK);
    assert_eq!(ask().await.refusal(), (400, "invalid_dpop_proof"));
}

#[tokio::test]
async fn the_nonce_dance_does_not_cost_the_assertion() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let assertion = world.assertion(&agent);
    let form = token_form(&assertion, Some(CRM), None);
    let first = form_request("/token", &form, Some(&world.proof(&agent, None)));
    let first = world.public(first).await;
    assert_eq!(first.refusal(), (400, "use_dpop_nonce"));
    let nonce = first.headers["dpop-nonce"].to_str().unwrap();
    let second = form_request("/token", &form, Some(&world.proof(&agent, Some(nonce))));
    assert_eq!(world.public(second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_proof_there_is_no_token() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let assertion = world.assertion(&agent);
    let answer = world.post_form("/token", &token_form(&assertion, Some(CRM), None)).await;
    assert_eq!(answer.refusal(), (400, "invalid_dpop_proof"));
}

#[tokio::test]
async fn an_assertion_for_another_audience_is_refused() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    for issuer in ["https://id.example/token", "https://id.example/", "https://other.example"] {
        let new = NewAssertion { client_id: &agent.id, issuer, now_s: world.now_s(), jti: issuer };
        let assertion = new_assertion(&agent.key, &new).unwrap();
        let nonce = world.nonce(&agent).await;
        let proof = world.proof(&agent, Some(&nonce));
        let form = token_form(&assertion, Some(CRM), None);
        let answer = world.public(form_request("/token", &form, Some(&proof))).await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{issuer}");
    }
}

#[tokio::test]
async fn a_suspended_agent_looks_like_one_with_a_wrong_key() {
    let (world, operator, agent) = with_agent(&["read:get"]).await;
    let impostor = Client { id: agent.id.clone(), key: new_key() };
    let wrong_key = world.ask_token(&impostor, Some(CRM), None).await;
    let reason = json!({ "reason": "left the project" });
    world.done(&operator, Operation::AgentSuspend, &["billing"], reason).await;
    let suspended = world.ask_token(&agent, Some(CRM), None).await;
    assert_eq!(suspended.refusal(), (401, "invalid_client"));
    assert_eq!(suspended.body, wrong_key.body);
    assert_eq!(world.newest("token.refused").await["reason"], "agent.suspended");
    world.done(&operator, Operation::AgentResume, &["billing"], json!({})).await;
    assert_eq!(world.ask_token(&agent, Some(CRM), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_agent_whose_owner_is_gone_gets_nothing() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let owner =
        world.published.load().owners().find(|o| o.name.as_str() == "sales").unwrap().clone();
    let act = attorn_store::Act { by: "test", now_s: world.now_s() };
    let suspended = attorn_registry::LifeCycle::Suspended;
    world.store.set_owner_state(&act, &owner.id, suspended).await.unwrap();
    world.authority.publish().await.unwrap();
    assert_eq!(world.ask_token(&agent, Some(CRM), None).await.refusal(), (401, "invalid_client"));
    assert_eq!(world.newest("token.refused").await["reason"], "agent.ownerless");
}

#[tokio::test]
async fn unknown_and_ungranted_resources_look_alike() {
    let (world, operator, _) = with_agent(&["read:get"]).await;
    let other = world.agent(&operator, "other", &[]).await;
    let ungranted = world.ask_token(&other, Some(CRM), None).await;
    let unknown = world.ask_token(&other, Some("https://gw.example/hr/mcp"), None).await;
    assert_eq!(ungranted.refusal(), (400, "invalid_target"));
    assert_eq!(ungranted.body, unknown.body);
}

#[tokio::test]
async fn without_a_resource_there_must_be_only_one() {
    let (world, operator, agent) = with_agent(&["read:get"]).await;
    let answer = world.ask_token(&agent, None, None).await;
    assert_eq!(claims(answer.text("access_token"))["aud"], CRM);
    let grant = json!({ "agent": "billing", "server": "admin", "patterns": ["read:status"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    assert_eq!(world.ask_token(&agent, None, None).await.refusal(), (400, "invalid_target"));
}

#[tokio::test]
async fn a_lock_stops_the_next_token_at_once() {
    let (world, operator, agent) = with_agent(&["read:get"]).await;
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = json!({ "target": target, "reason": "key leaked" });
    let made = world.done(&operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(world.ask_token(&agent, Some(CRM), None).await.refusal(), (401, "invalid_client"));
    assert_eq!(world.newest("token.refused").await["reason"], "lock.active");
    let id = made["id"].as_str().unwrap();
    let reason = json!({ "reason": "key replaced" });
    world.done(&operator, Operation::LockLift, &[id], reason).await;
    assert_eq!(world.ask_token(&agent, Some(CRM), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_grant_gives_nothing() {
    let (world, operator, agent) = with_agent(&["read:get"]).await;
    let grants = world.done(&operator, Operation::GrantList, &[], Value::Null).await;
    let grant = grants["items"].as_array().unwrap().iter().find(|one| one["agent"] == "billing");
    let id = grant.unwrap()["id"].as_str().unwrap();
    let reason = json!({ "reason": "project ended" });
    world.done(&operator, Operation::GrantRevoke, &[id], reason).await;
    assert_eq!(world.ask_token(&agent, Some(CRM), None).await.refusal(), (400, "invalid_target"));
}

#[tokio::test]
async fn odd_requests_are_malformed() {
    let (world, _, agent) = with_agent(&["read:get"]).await;
    let assertion = world.assertion(&agent);
    let good = token_form(&assertion, Some(CRM), None);
    let check = async |change: &[(&str, &str)], expected: (u16, &str)| {
        let mut form: Vec<_> = good.clone();
        form.extend_from_slice(change);
        let answer = world.public(form_request("/token", &form, Some("x"))).await;
        assert_eq!(answer.refusal(), expected, "{change:?}");
    };
    check(&[("scope", "read:get"), ("scope", "read:get")], (400, "invalid_request")).await;
    check(&[("resource", CRM)], (400, "invalid_target")).await;
    check(&[("client_secret", "s")], (400, "invalid_request")).await;
    check(&[("scope", "read:*")], (400, "invalid_scope")).await;
    let too_long = "x".repeat(70 * 1024);
    let answer = world.post_form("/token", &[("x", too_long.as_str())]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.get("/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_stopped_server_gets_no_token_whether_it_is_named_or_not() {
    let (world, operator, agent) = with_agent(&["read:get"]).await;
    let ask = async |resource| world.ask_token(&agent, resource, None).await;
    assert_eq!(ask(None).await.status, StatusCode::OK);
    let reason = json!({ "reason": "under attack" });
    world.done(&operator, Operation::ServerSuspend, &["crm"], reason).await;
    for resource in [None, Some(CRM)] {
        assert_eq!(ask(resource).await.refusal(), (400, "invalid_target"), "{resource:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_address_it_came_from_and_nothing_a_client_wrote() {
    let world = World::new().await;
    let mut request = form_request("/token", &[("grant_type", "password")], None);
    let address = "192.0.2.7:4711".parse().unwrap();
    request.extensions_mut().insert(attorn_net::Peer::new(address, true));
    request.headers_mut().insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
    assert_eq!(world.public(request).await.refusal(), (400, "unsupported_grant_type"));
    assert_eq!(world.newest("token.refused").await["detail"]["peer"], "192.0.2.7");
}
