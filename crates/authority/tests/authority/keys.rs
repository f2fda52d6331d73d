//! The signing keys.

use std::os::unix::fs::PermissionsExt;

use attorn_authority::Operation;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ADMIN, World};

async fn states(world: &World) -> Vec<(String, usize)> {
    let keys = &world.published.load().issuer_keys;
    let mut states: Vec<_> = ["prepublished", "active", "retired", "removed"]
        .map(|state| {
            (state.to_owned(), keys.iter().filter(|key| key.state.as_str() == state).count())
        })
        .to_vec();
    states.retain(|(_, count)| *count > 0);
    states
}

fn kid(token: &str) -> Value {
    let header = attorn_jose::from_base64url(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
}

#[tokio::test]
async fn private_keys_are_readable_by_their_owner_alone() {
    let world = World::new().await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.keys_folder()), 0o700);
    let files: Vec<_> = std::fs::read_dir(world.keys_folder()).unwrap().collect();
    // Two that sign tokens, and the one that seals the leases of gateways.
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_rotation_takes_the_shown_key_and_keeps_tokens_alive() {
    let world = World::new().await;
    let operator = world.operator().await;
    let before = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let jwks = world.get("/jwks").await.body;
    world.done(&operator, Operation::KeyRotate, &[], json!({})).await;
    let after = world.token(&operator, &format!("{ADMIN}/admin")).await;
    assert_ne!(kid(&before), kid(&after));
    // The key that signs now was shown before.
    let shown = jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid(&after));
    assert!(shown);
    let answer = world.run_with(&operator, &before, Operation::Whoami, (&[], json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = [("prepublished", 1), ("active", 1), ("retired", 1)];
    assert_eq!(states(&world).await, expected.map(|(state, count)| (state.to_owned(), count)));
    world.done(&operator, Operation::KeyRotate, &[], json!({})).await;
    let expected = [("prepublished", 1), ("active", 1), ("retired", 1), ("removed", 1)];
    assert_eq!(states(&world).await, expected.map(|(state, count)| (state.to_owned(), count)));
}

#[tokio::test]
async fn an_emergency_ends_every_older_token() {
    let world = World::new().await;
    let operator = world.operator().await;
    let before = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let reason = json!({ "reason": "backup stolen" });
    world.done(&operator, Operation::KeyEmergencyRotate, &[], reason).await;
    assert_eq!(world.published.load().epoch, 1);
    let answer = world.run_with(&operator, &before, Operation::Whoami, (&[], json!({}))).await;
    assert_eq!(answer.refusal(), (401, "invalid_token"));
    // Old private keys are gone, and life goes on.
    assert_eq!(std::fs::read_dir(world.keys_folder()).unwrap().count(), 3);
    let me = world.done(&operator, Operation::Whoami, &[], json!({})).await;
    assert_eq!(me["name"], "first-operator");
    assert_eq!(world.newest("key.rotated").await["detail"]["emergency"], "true");
}

#[tokio::test]
async fn an_emergency_needs_a_reason() {
    let world = World::new().await;
    let operator = world.operator().await;
    let silent = json!({ "reason": " " });
    let answer = world.run(&operator, Operation::KeyEmergencyRotate, &[], silent).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.published.load().epoch, 0);
}
