//! Limits of the token endpoint, each with what passes just below it.

use std::net::SocketAddr;

use attorn_authority::Limits;
use attorn_net::{Peer, Rate};
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use attorn_telemetry::Limit;
use http::StatusCode;

use crate::world::{Answer, CRM, Client, World, form_request, new_key, token_form};

/// Asks until somebody says that it is enough; a refill while a slow machine works only costs turns.
const TURNS_MAX: usize = 200;

async fn with_agent(limits: Limits) -> (World, Client) {
    let world = World::limited(limits).await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:get"]).await;
    (world, agent)
}

async fn with_two_agents(limits: Limits) -> (World, Client, Client) {
    let world = World::limited(limits).await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:get"]).await;
    let other = world.agent(&operator, "other", &["read:get"]).await;
    (world, agent, other)
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    // The operator's own commands of this test need some, too.
    let (world, agent) = with_agent(Limits { client: Rate::new(1, 30), ..Limits::default() }).await;
    let mut issued = 0;
    for _ in 0..TURNS_MAX {
        let answer = world.ask_token(&agent, Some(CRM), None).await;
        if answer.status == StatusCode::OK {
            issued += 1;
            continue;
        }
        assert_eq!(answer.refusal(), (429, "temporarily_unavailable"));
        let after: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
        assert!(issued >= 30, "the burst passes");
        assert_eq!(world.telemetry.calls.limit_hits(Limit::TokenClient), 1);
        let entry = world.newest("token.refused").await;
        assert_eq!(
            (&entry["reason"], &entry["detail"]["limit"]),
            (&"rate.limited".into(), &"token_client".into())
        );
        return;
    }
    panic!("never refused");
}

/// A question about a token, or the end of one, of a client that authenticates each time.
async fn about_token(world: &World, client: &Client, path: &str, token: &str) -> Answer {
    let assertion = world.assertion(client);
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("token", token),
    ];
    world.post_form(path, &form).await
}

#[tokio::test]
async fn questions_about_tokens_have_a_rate_of_their_own() {
    let limits = Limits { introspection: Rate::new(1, 3), ..Limits::default() };
    let (world, agent, other) = with_two_agents(limits).await;
    for turn in 0.. {
        let answer = about_token(&world, &agent, "/introspect", "nothing").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(turn >= 3 && answer.headers.contains_key("retry-after"), "{turn}");
            break;
        }
        assert_eq!((answer.status, turn < TURNS_MAX), (StatusCode::OK, true));
    }
    // Tokens and other clients are not what was used up.
    assert_eq!(about_token(&world, &other, "/introspect", "nothing").await.status, StatusCode::OK);
    let token = world.token(&agent, CRM).await;
    assert_eq!(about_token(&world, &agent, "/revoke", &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn giving_back_many_tokens_waits_and_what_is_no_token_of_theirs_costs_nothing() {
    let limits = Limits { revocation: Rate::new(1, 2), ..Limits::default() };
    let (world, agent, other) = with_two_agents(limits).await;
    let foreign = world.token(&other, CRM).await;
    for token in ["nothing", foreign.as_str(), "nothing", foreign.as_str()] {
        assert_eq!(about_token(&world, &agent, "/revoke", token).await.status, StatusCode::OK);
    }
    for turn in 0.. {
        let token = world.token(&agent, CRM).await;
        let answer = about_token(&world, &agent, "/revoke", &token).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(turn >= 2, "{turn}");
            break;
        }
        assert_eq!((answer.status, turn < TURNS_MAX), (StatusCode::OK, true));
    }
    // The one of another client still stands, and ends by its own hand.
    let asked = about_token(&world, &other, "/introspect", &foreign).await;
    assert_eq!(asked.body["active"], true);
    assert_eq!(about_token(&world, &other, "/revoke", &foreign).await.status, StatusCode::OK);
    let asked = about_token(&world, &other, "/introspect", &foreign).await;
    assert_eq!(asked.body["active"], false);
}

#[tokio::test]
async fn failures_are_charged_to_their_address_and_to_nobody_else() {
    let limits = Limits { failures_per_address: Rate::new(1, 3), ..Limits::default() };
    let (world, agent) = with_agent(limits).await;
    let thief = Client { id: agent.id.clone(), key: new_key() };
    let from = async |client: &Client, address: &str| {
        let nonce = world.nonce(&agent).await;
        let (assertion, proof) = (world.assertion(client), world.proof(client, Some(&nonce)));
        let form = token_form(&assertion, Some(CRM), None);
        let mut request = form_request("/token", &form, Some(&proof));
        let address: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(Peer::new(address, true));
        // A header that claims another address changes nothing.
        request.headers_mut().insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
        world.public(request).await
    };
    let mut failed = 0;
    let refused = loop {
        let answer = from(&thief, "192.0.2.1:1").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!(answer.refusal(), (401, "invalid_client"));
        failed += 1;
        assert!(failed < TURNS_MAX, "never refused");
    };
    assert!(failed >= 3);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(from(&agent, "192.0.2.2:1").await.status, StatusCode::OK);
    assert_eq!(from(&agent, "127.0.0.1:1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn readiness_is_told_beside_health() {
    let world = World::new().await;
    assert_eq!(world.get("/readyz").await.status, StatusCode::OK);
    world.telemetry.health.add(|| Some("checkpoint.late"));
    let answer = world.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["problems"][0], "checkpoint.late");
    assert_eq!(world.get("/healthz").await.status, StatusCode::OK);
}
