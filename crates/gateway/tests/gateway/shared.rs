//! Two gateways with one memory of used proofs, in a real Redis.

use std::time::Duration;

use attorn_audit::Entry;
use attorn_gateway::Limits;
use attorn_net::{Random, Rate, Shutdown};
use attorn_replay::{Address, SharedReplays};
use attorn_testkit::redis::RedisServer;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::world::{Ask, World, call};

async fn shared(server: &RedisServer) -> SharedReplays {
    let address = Address::parse(&server.url(), None).unwrap();
    let shared = SharedReplays::start(address, Random::new(|bytes| bytes.fill(7)), Shutdown::new());
    let there = async {
        while !shared.is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
    shared
}

/// A call with a proof of its own for this nonce. Both worlds have the same keys and URL.
fn asked(world: &World, token: &str, nonce: &str) -> Ask {
    let mut ask = call("get", &json!({}));
    ask.headers.extend(world.credentials("POST", token, &world.agent_key, Some(nonce)));
    ask
}

#[tokio::test]
async fn a_client_may_be_sent_to_another_gateway_each_time() {
    let server = RedisServer::start(&[]).unwrap();
    let memory = shared(&server).await;
    let (one, two) = (World::sharing("one", &memory), World::sharing("two", &memory));
    let token = one.token("read:get");
    let nonce = one.nonce(&token).await;
    for world in [&one, &two, &one, &two] {
        // The identifiers of all proofs come from one world, so that each is new.
        let answer = world.send(asked(&one, &token, &nonce)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_proof_counts_at_one_of_two_gateways() {
    let server = RedisServer::start(&[]).unwrap();
    let memory = shared(&server).await;
    let (one, two) = (World::sharing("first", &memory), World::sharing("second", &memory));
    let token = one.token("read:get");
    let nonce = one.nonce(&token).await;
    let ask = asked(&one, &token, &nonce);
    assert_eq!(one.send(ask.clone()).await.status, StatusCode::OK);
    for world in [&two, &one] {
        let answer = world.send(ask.clone()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
        let is_replayed = |entry: &Entry| entry.reason.as_deref() == Some("possession.replayed");
        let recorded = world.entries(|entries| entries.iter().any(is_replayed));
        tokio::time::timeout(Duration::from_secs(10), recorded).await.unwrap();
    }
    assert!(two.calls().is_empty(), "nothing reached the server");
}

#[tokio::test]
async fn without_the_memory_nothing_passes_on_the_word_of_nobody() {
    let server = RedisServer::start(&[]).unwrap();
    let memory = shared(&server).await;
    let world = World::sharing("gone", &memory);
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    server.stop();
    let answer = world.send(asked(&world, &token, &nonce)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
    assert!(answer.header("www-authenticate").contains("error=\"use_dpop_nonce\""));
    assert!(world.calls().is_empty(), "nothing reached the server");
    // The nonce that came with the refusal is the gateway's own, and counts.
    let own = answer.header("dpop-nonce").to_owned();
    let answer = world.send(asked(&world, &token, &own)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

/// Sends as many calls to each of them in turn, and counts those that are served.
async fn served(worlds: &[&World], token: &str, nonce: &str, each: usize) -> u32 {
    let mut served = 0;
    for _ in 0..each {
        for world in worlds {
            let answer = world.send(asked(worlds[0], token, nonce)).await;
            let limited = answer.status == StatusCode::TOO_MANY_REQUESTS;
            assert!(limited || answer.status == StatusCode::OK, "{}", answer.text);
            served += u32::from(!limited);
        }
    }
    served
}

#[tokio::test]
async fn an_agent_that_spreads_over_gateways_has_one_share() {
    let server = RedisServer::start(&[]).unwrap();
    let memories = [shared(&server).await, shared(&server).await, shared(&server).await];
    // One request in an hour would be better; a second is the longest there is.
    let limits = Limits { agent: Rate::new(1, 60), ..Limits::default() };
    let worlds: Vec<_> = memories
        .iter()
        .zip(["spread-1", "spread-2", "spread-3"])
        .map(|(memory, name)| World::sharing_limits(name, memory, limits))
        .collect();
    let worlds: Vec<_> = worlds.iter().collect();
    let token = worlds[0].token("read:get");
    let nonce = worlds[0].nonce(&token).await;
    let began = Instant::now();
    let served = served(&worlds, &token, &nonce, 60).await;
    let seconds = u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let share = 60 + seconds;
    assert!(served <= share + share / 10, "{served} of {share} in {seconds} s");
    assert!(served >= 54, "{served} of 60");
}
