//! Limits of the gateway, each with what passes just below it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use attorn_gateway::Limits;
use attorn_jose::{Algorithm, SigningKey};
use attorn_net::{Peer, Rate};
use attorn_telemetry::Limit;
use attorn_testkit::canary::Script;
use http::StatusCode;
use serde_json::json;

use crate::world::{Answer, World, call, modern, tools};

/// Asks until somebody says that it is enough; a refill while a slow machine works only costs turns.
const TURNS_MAX: usize = 500;

fn wait_s(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

async fn call_get(world: &World) -> Answer {
    world.ask("read:get", call("get", &json!({}))).await
}

#[tokio::test]
async fn an_agent_that_asks_too_often_is_told_when_to_come_again() {
    let limits = Limits { agent: Rate::new(1, 3), ..Limits::default() };
    let world = World::limited("rate-agent", tools(), limits);
    for passed in 0..TURNS_MAX {
        let answer = call_get(&world).await;
        if answer.status == StatusCode::OK {
            continue;
        }
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text);
        assert_eq!(answer.json()["error"]["data"]["reason"], "rate.limited");
        assert_eq!(wait_s(&answer), 1);
        assert!(passed >= 3, "the burst passes");
        assert_eq!(world.calls().len(), passed, "what is refused does not reach the server");
        assert_eq!(world.telemetry.calls.limit_hits(Limit::Agent), 1);
        let is_it = |one: &attorn_audit::Entry| one.reason.as_deref() == Some("rate.limited");
        let entries = world.entries(|entries| entries.iter().any(is_it)).await;
        let entry = entries.iter().find(|one| is_it(one)).unwrap();
        assert_eq!(entry.detail.get("limit").map(String::as_str), Some("agent"));
        assert!(entry.agent.is_some());
        return;
    }
    panic!("never refused");
}

#[tokio::test]
async fn a_server_is_not_asked_more_often_than_it_takes() {
    let limits = Limits { server: Rate::new(1, 2), ..Limits::default() };
    let world = World::limited("rate-server", tools(), limits);
    for passed in 0..TURNS_MAX {
        let answer = call_get(&world).await;
        if answer.status == StatusCode::OK {
            continue;
        }
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(passed >= 2);
        assert_eq!(world.telemetry.calls.limit_hits(Limit::Server), 1);
        return;
    }
    panic!("never refused");
}

#[tokio::test]
async fn failures_of_an_address_are_refused_unseen_after_its_share() {
    let limits = Limits { failures_per_address: Rate::new(1, 3), ..Limits::default() };
    let world = World::limited("noise-address", tools(), limits);
    let come_from = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        *world.peer.lock().unwrap() = Some(Peer::new(address, true));
    };
    come_from("[2001:db8:1:2::1]:1");
    let thief = SigningKey::from_seed(Algorithm::EdDsa, &[9; 32]).unwrap();
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    let mut failed = 0;
    loop {
        // Another address of the same network, and a header that claims a third one.
        come_from(&format!("[2001:db8:1:2::{:x}]:1", failed + 1));
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", &token, &thief, Some(&nonce)));
        ask.headers.push(("x-forwarded-for".into(), "198.51.100.1".into()));
        let answer = world.send(ask).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.json()["error"]["data"]["reason"], "rate.limited");
            assert!(wait_s(&answer) >= 1);
            break;
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        failed += 1;
        assert!(failed < TURNS_MAX, "never refused");
    }
    assert!(failed >= 3);
    come_from("[2001:db8:1:3::1]:1");
    assert_eq!(call_get(&world).await.status, StatusCode::OK, "the next network is not affected");
    come_from("127.0.0.1:1");
    assert_eq!(call_get(&world).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_only_lacks_a_nonce_or_a_token_is_not_charged() {
    let limits = Limits { failures_per_address: Rate::new(1, 1), ..Limits::default() };
    let world = World::limited("noise-honest", tools(), limits);
    let address: SocketAddr = "192.0.2.7:1".parse().unwrap();
    *world.peer.lock().unwrap() = Some(Peer::new(address, true));
    for _ in 0..4 {
        assert_eq!(
            world.send(modern("ping", json!({}), None)).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(call_get(&world).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_and_found_well_again() {
    let limits = Limits { circuit_failures: 2, ..Limits::default() };
    let world = World::limited("circuit", tools(), limits);
    assert_eq!(call_get(&world).await.status, StatusCode::OK);
    // The canary closes after what it was told to send. Said so, no call goes out on what it closed.
    let broken =
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_vec();
    world.canary.set_script(Some(Script {
        rpc_method: "tools/call".into(),
        bytes: broken,
        ..Script::default()
    }));
    world.calls();
    for _ in 0..2 {
        let answer = call_get(&world).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text);
    }
    let answer = call_get(&world).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.json()["error"]["data"]["reason"], "downstream.paused");
    assert_eq!(wait_s(&answer), 1);
    assert_eq!(world.calls().len(), 2, "nobody asks it while it is left alone");
    assert!(world.telemetry.exposition().contains("attorn_circuit_open{server=\"srv_"));
    world.canary.set_script(None);
    let found_well = async {
        loop {
            let answer = call_get(&world).await;
            if answer.status == StatusCode::OK {
                return;
            }
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found_well).await.unwrap();
    assert_eq!(world.calls().len(), 1, "one call found out");
    assert_eq!(call_get(&world).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_hangs_holds_only_its_own_places() {
    let limits = Limits { calls_per_server: 1, ..Limits::default() };
    let world = Arc::new(World::limited("bulkhead", tools(), limits));
    assert_eq!(call_get(&world).await.status, StatusCode::OK);
    world.calls();
    world.canary.set_script(Some(Script {
        rpc_method: "tools/call".into(),
        hold: Duration::from_secs(60),
        ..Script::default()
    }));
    let hung = tokio::spawn({
        let world = Arc::clone(&world);
        async move { call_get(&world).await.status }
    });
    while !world.canary.saw("tools/call") {
        tokio::task::yield_now().await;
    }
    let answer = call_get(&world).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.json()["error"]["data"]["reason"], "downstream.busy");
    assert_eq!(wait_s(&answer), 1);
    // What goes nowhere needs no place there.
    let unknown = world.ask("read:get", call("nowhere", &json!({}))).await;
    assert_eq!(unknown.json()["error"]["code"], -32602, "{}", unknown.text);
    world.canary.set_script(None);
    hung.abort();
    assert!(hung.await.is_err());
    assert_eq!(call_get(&world).await.status, StatusCode::OK, "its place is free again");
}
