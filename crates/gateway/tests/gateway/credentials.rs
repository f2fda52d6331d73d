//! Tokens and proofs: missing, stolen, replayed, revoked.

use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_registry::{Ancestor, KeyState, LifeCycle, ServerId};
use http::StatusCode;
use serde_json::json;

use crate::world::{URL, World, call, encoded, modern, thief};

#[tokio::test]
async fn without_a_token_the_caller_learns_where_to_get_one() {
    let world = World::new("no-token");
    let answer = world.send(call("get", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("DPoP "), "{challenge}");
    assert!(!challenge.contains("error="), "{challenge}");
    let url = "http://127.0.0.1:8701/.well-known/oauth-protected-resource/crm/mcp";
    assert!(challenge.contains(&format!("resource_metadata=\"{url}\"")), "{challenge}");
    assert!(challenge.contains("scope=\""), "{challenge}");
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_nonce_is_required_and_given() {
    let world = World::new("nonce");
    let token = world.token("read:get");
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
    let answer = world.send(ask).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("error=\"use_dpop_nonce\""));
    let nonce = answer.header("dpop-nonce").to_owned();
    assert!(!nonce.is_empty());

    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let answer = world.send(ask).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("dpop-nonce"), "", "a young nonce is not replaced");

    world.now_s.fetch_add(40, std::sync::atomic::Ordering::SeqCst);
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
    let answer = world.send(ask).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_ne!(answer.header("dpop-nonce"), "", "an old one is, before it ends");
}

#[tokio::test]
async fn a_stolen_token_is_worth_nothing_without_its_key() {
    let world = World::new("stolen");
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let refused = |headers: Vec<(String, String)>| {
        let mut ask = call("get", &json!({}));
        ask.headers.extend(headers);
        world.send(ask)
    };
    let by_another_key = world.credentials("POST", &token, &thief(), Some(&nonce));
    let answer = refused(by_another_key).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("invalid_dpop_proof"));

    let as_bearer = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    assert_eq!(refused(as_bearer).await.status, StatusCode::UNAUTHORIZED);

    let without_proof = vec![("authorization".to_owned(), format!("DPoP {token}"))];
    let answer = refused(without_proof).await;
    assert!(answer.header("www-authenticate").contains("invalid_dpop_proof"));
    assert!(world.calls().is_empty());
    let reasons = ["possession.key_mismatch", "token.bearer_not_allowed", "possession.missing"];
    world
        .entries(|all| {
            reasons.iter().all(|reason| all.iter().any(|one| one.reason.as_deref() == Some(reason)))
        })
        .await;
}

#[tokio::test]
async fn a_proof_is_used_once() {
    let world = World::new("replay");
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let credentials = world.credentials("POST", &token, &world.agent_key, Some(&nonce));
    let send = || {
        let mut ask = call("get", &json!({}));
        ask.headers.extend(credentials.clone());
        world.send(ask)
    };
    assert_eq!(send().await.status, StatusCode::OK);
    assert_eq!(send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn a_token_counts_as_the_registry_is_now() {
    let world = World::new("current");
    let token = world.token("read:get");
    let ask = || world.ask_with(&token, call("get", &json!({})));
    assert_eq!(ask().await.status, StatusCode::OK);

    // Verified before, and dead all the same.
    world.change(|parts| parts.epoch = 1);
    let mut refused = call("get", &json!({}));
    refused.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
    let answer = world.send(refused).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("invalid_token"));

    world.change(|parts| parts.epoch = 0);
    assert_eq!(ask().await.status, StatusCode::OK);
    world.change(|parts| parts.issuer_keys[0].state = KeyState::Removed);
    let mut refused = call("get", &json!({}));
    refused.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
    assert!(world.send(refused).await.header("www-authenticate").contains("invalid_token"));
    assert_eq!(world.calls().len(), 2);
}

#[tokio::test]
async fn an_agent_that_is_not_there_has_no_tokens() {
    let world = World::new("not-there");
    let token = world.token("read:get");
    for (state, status) in [
        (LifeCycle::Pending, StatusCode::UNAUTHORIZED),
        (LifeCycle::Retired, StatusCode::UNAUTHORIZED),
        // It is there, and is told why nothing works.
        (LifeCycle::Suspended, StatusCode::OK),
        (LifeCycle::Active, StatusCode::OK),
    ] {
        let nonce = world.nonce(&token).await;
        world.change(|parts| parts.agents[0].state = state);
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", &token, &world.agent_key, Some(&nonce)));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, status, "{state}");
        world.change(|parts| parts.agents[0].state = LifeCycle::Active);
    }
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn a_token_is_for_one_server() {
    let world = World::new("audience");
    for audience in ["http://127.0.0.1:8701/other/mcp", "http://127.0.0.1:8700", &format!("{URL}/")]
    {
        let mut claims = world.claims("read:get");
        claims.aud = audience.to_owned();
        let token = world.issue(&claims);
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{audience}");
        assert!(answer.header("www-authenticate").contains("invalid_token"), "{audience}");
    }
}

/// What a server got for its API is no token of an agent here, even if it said so.
#[tokio::test]
async fn a_token_for_an_api_is_none_for_a_server() {
    let world = World::new("downstream");
    let own = world.claims("read:get");
    let exchanged = |aud: &str| {
        let claims = AccessTokenClaims {
            act: None,
            attorn_approval: None,
            aud: aud.to_owned(),
            authorization_details: None,
            client_id: ServerId::from_random(&[4; 16]),
            cnf: own.cnf,
            epoch: own.epoch,
            exp: own.exp,
            grt: None,
            iat: own.iat,
            iss: own.iss.clone(),
            jti: "exchanged".to_owned(),
            nbf: own.nbf,
            parent: Some(Ancestor {
                client_id: own.client_id.clone(),
                jti: own.jti.clone(),
                key: own.cnf.key(),
            }),
            scope: own.scope.clone(),
            sub: own.sub.clone(),
        };
        access_token::issue(&claims, "key-1", &world.issuer_key).unwrap()
    };
    for audience in ["https://api.example/billing", URL] {
        let mut ask = call("get", &json!({}));
        let token = exchanged(audience);
        ask.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{audience}");
        assert!(answer.header("www-authenticate").contains("invalid_token"), "{audience}");
    }
    assert_eq!(world.calls().len(), 0);
}

#[tokio::test]
async fn a_body_is_not_looked_at_before_its_sender_is_known() {
    let world = World::new("order");
    let mut ask = modern("tools/call", json!({}), None);
    ask.body = encoded("not json").into();
    assert_eq!(world.send(ask).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_from_before_a_stop_does_not_count_again() {
    let world = World::new("stopped");
    let target = || attorn_registry::LockTarget::Agent { agent: crate::world::agent_id() };
    let old = world.token("read:get");
    assert_eq!(world.ask_with(&old, call("get", &json!({}))).await.status, StatusCode::OK);
    let refused = async |token: &str| {
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", token, &world.agent_key, None));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    };
    // Verified before, and not one of the stop's second counts.
    let now_s = || world.now_s.load(std::sync::atomic::Ordering::SeqCst);
    world.lock(target());
    world.change(|parts| parts.locks[0].lifted_s = Some(now_s()));
    refused(&old).await;
    refused(&world.token("read:get")).await;
    world.now_s.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    refused(&old).await;
    assert_eq!(world.ask("read:get", call("get", &json!({}))).await.status, StatusCode::OK);
    // A suspension is a stop as well.
    let old = world.token("read:get");
    world.now_s.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    world.change(|parts| parts.agents[0].stop_ended_s = Some(now_s()));
    refused(&old).await;
    world.now_s.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.ask("read:get", call("get", &json!({}))).await.status, StatusCode::OK);
    assert_eq!(world.calls().len(), 3);
    world.entries(|all| all.iter().any(|one| one.reason.as_deref() == Some("token.stopped"))).await;
}

#[tokio::test]
async fn a_token_from_before_a_lock_on_a_tool_does_not_hold_it_again() {
    let world = World::new("stopped-tool");
    let tool = || "get".to_owned();
    let server = crate::world::server_id;
    world.lock(attorn_registry::LockTarget::Tool { server: server(), tool: tool() });
    let old = world.token("read:get read:region");
    world.change(|parts| parts.locks[0].lifted_s = Some(crate::world::NOW_S));
    world.now_s.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let answer = world.ask_with(&old, call("get", &json!({}))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("invalid_token"));
    // Other tools were not stopped.
    let other = || call("region", &json!({}));
    assert_eq!(world.ask_with(&old, other()).await.status, StatusCode::OK);
    assert_eq!(world.ask("read:get", call("get", &json!({}))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_ended_stays_ended_when_the_clock_goes_back() {
    let world = World::new("clock-back");
    let move_to = |now_s| world.now_s.store(now_s, std::sync::atomic::Ordering::SeqCst);
    let (old, start_s) = (world.token("read:get"), crate::world::NOW_S);
    assert_eq!(world.ask_with(&old, call("get", &json!({}))).await.status, StatusCode::OK);
    let refused = async |token: &str| {
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", token, &world.agent_key, None));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    };
    move_to(start_s + 3600);
    refused(&old).await;
    // The clock says that the token has another 110 seconds.
    move_to(start_s + 10);
    refused(&old).await;
    let found = |all: &[attorn_audit::Entry]| {
        all.iter().filter(|one| one.reason.as_deref() == Some("token.expired")).count() == 2
    };
    world.entries(found).await;
    // One from after the step counts.
    move_to(start_s + 11);
    assert_eq!(world.ask("read:get", call("get", &json!({}))).await.status, StatusCode::OK);
}

fn peer(address: &str) -> Option<attorn_net::Peer> {
    let address = std::net::SocketAddr::new(address.parse().unwrap(), 1);
    Some(attorn_net::Peer::new(address, false))
}

#[tokio::test]
async fn a_token_from_two_places_is_recorded() {
    let world = World::new("places");
    let token = world.token("read:get");
    let ask = async |from: &str| {
        *world.peer.lock().unwrap() = peer(from);
        world.ask_with(&token, call("get", &json!({}))).await.status
    };
    assert_eq!(ask("192.0.2.1").await, StatusCode::OK);
    // A stranger with the token and without its key makes nobody look like two.
    *world.peer.lock().unwrap() = peer("192.0.2.9");
    let mut stolen = call("get", &json!({}));
    stolen.headers.extend(world.credentials("POST", &token, &thief(), None));
    assert_eq!(world.send(stolen).await.status, StatusCode::UNAUTHORIZED);
    for from in ["192.0.2.2", "192.0.2.2", "192.0.2.1", "127.0.0.1"] {
        assert_eq!(ask(from).await, StatusCode::OK, "{from}");
    }
    let shared = |all: &[attorn_audit::Entry]| {
        let found = all.iter().filter(|one| one.kind == attorn_audit::Kind::CredentialShared);
        found.cloned().collect::<Vec<_>>()
    };
    let found = shared(&world.entries(|all| !shared(all).is_empty()).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reason.as_deref(), Some("credential.shared"));
    assert_eq!(found[0].detail["peer"], "192.0.2.2");
    assert_eq!(found[0].detail["other_peer"], "192.0.2.1");
}

#[tokio::test]
async fn a_token_from_two_places_is_refused_where_that_is_configured() {
    let world = World::configured("places-refused", |config| {
        config.several_places = attorn_net::SeveralPlaces::Refuse;
    });
    let token = world.token("read:get");
    let ask = async |token: &str, from: &str| {
        *world.peer.lock().unwrap() = peer(from);
        world.ask_with(token, call("get", &json!({}))).await
    };
    assert_eq!(ask(&token, "192.0.2.1").await.status, StatusCode::OK);
    let refused = ask(&token, "192.0.2.2").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    assert_eq!(ask(&token, "192.0.2.1").await.status, StatusCode::OK);
    // A token of its own is what the other place needs.
    assert_eq!(ask(&world.token("read:get"), "192.0.2.2").await.status, StatusCode::OK);
    assert_eq!(world.calls().len(), 3);
    world
        .entries(|all| all.iter().any(|one| one.reason.as_deref() == Some("credential.shared")))
        .await;
}
