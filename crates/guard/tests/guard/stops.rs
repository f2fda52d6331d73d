//! Whatever a token rests on can be stopped, and the next request knows it.

use std::sync::Arc;

use attorn_enforce::{Freshness, SILENT_MAX};
use attorn_registry::{KeyState, LifeCycle, LockTarget, RevokedToken, SnapshotParts};
use http::StatusCode;
use tokio::time::Instant;

use crate::registry::{agent_id, lock, owner_id, resource_id, server_id};
use crate::world::{BOTH, NOW_S, World, ask, told};

const READ: &str = "read:invoice.get";

fn revoked(jti: &str) -> RevokedToken {
    RevokedToken { jti: jti.to_owned(), expires_s: NOW_S + 1000 }
}

/// The same token before, while, and after.
async fn check(
    world: &World,
    change: impl FnOnce(&mut SnapshotParts),
    expected: (u16, &str, &str),
) {
    let token = world.token(READ);
    let get = || ask("GET", "/invoices/7");
    assert_eq!(world.ask_with(&token, get()).await.status, StatusCode::OK);
    drop(world.entries(|all| all.last().is_some_and(|one| one.outcome.is_some())).await);
    drop(world.api.take_seen());
    let asked = world.proven(get(), &token).await;
    let refused = async {
        let answer = world.send(asked).await;
        world.refused(&answer).await
    };
    let refused = world.changed(change, refused).await;
    assert_eq!(told(&refused), expected);
    assert_eq!(world.ask_with(&token, get()).await.status, StatusCode::OK);
    drop(world.entries(|all| all.last().is_some_and(|one| one.outcome.is_some())).await);
}

#[tokio::test]
async fn a_lock_on_anything_it_rests_on_stops_a_token() {
    for version in BOTH {
        let world = World::new("locks", version).await;
        let own_key = world.server_key.public().thumbprint();
        let parents_key = world.agent_key.public().thumbprint();
        for target in [
            LockTarget::Agent { agent: agent_id() },
            LockTarget::Server { server: server_id() },
            LockTarget::Owner { owner: owner_id() },
            LockTarget::Resource { resource: resource_id() },
            LockTarget::Token { jti: "parent".into() },
            LockTarget::Key { jkt: own_key },
            LockTarget::Key { jkt: parents_key },
        ] {
            let change = |parts: &mut SnapshotParts| parts.locks.push(lock(target));
            check(&world, change, (403, "lock.active", "")).await;
        }
    }
}

#[tokio::test]
async fn whoever_ends_the_parent_the_agent_the_server_or_the_api_ends_the_token() {
    for version in BOTH {
        let world = World::new("ends", version).await;
        let dead = |reason: &'static str| (401, reason, "invalid_token");
        let change = |parts: &mut SnapshotParts| parts.revoked.push(revoked("parent"));
        check(&world, change, dead("token.revoked")).await;
        check(&world, |parts| parts.epoch += 1, dead("token.revoked")).await;
        let retired = KeyState::Retired;
        let change = |parts: &mut SnapshotParts| parts.servers[0].keys[0].state = retired;
        check(&world, change, dead("token.revoked")).await;
        let suspended = LifeCycle::Suspended;
        let change = |parts: &mut SnapshotParts| parts.agents[0].state = suspended;
        check(&world, change, (403, "agent.suspended", "")).await;
        let change = |parts: &mut SnapshotParts| parts.servers[0].state = suspended;
        check(&world, change, (403, "server.suspended", "")).await;
        let change = |parts: &mut SnapshotParts| parts.resources[0].state = suspended;
        check(&world, change, (403, "resource.suspended", "")).await;
        let change = |parts: &mut SnapshotParts| parts.resources.clear();
        check(&world, change, (403, "resource.unknown", "")).await;
        let change = |parts: &mut SnapshotParts| parts.grants[0].revoked_s = Some(NOW_S);
        check(&world, change, (403, "scope.missing", "")).await;
        let change = |parts: &mut SnapshotParts| parts.resources[0].downstreams.clear();
        check(&world, change, (403, "scope.missing", "")).await;
        // The agent's own operation is taken away, and so is what was exchanged for it.
        let change = |parts: &mut SnapshotParts| parts.servers[0].tools.clear();
        check(&world, change, (403, "scope.missing", "")).await;
    }
}

#[tokio::test]
async fn the_token_itself_can_be_revoked_and_is_not_the_one_before() {
    for version in BOTH {
        let world = World::new("revoked", version).await;
        let (one, other) = (world.claims(READ), world.claims(READ));
        world.change(|parts| parts.revoked.push(revoked(&one.jti)));
        let get = || ask("GET", "/invoices/7");
        let answer = world.ask_with(&world.issue(&one), get()).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (401, "token.revoked", "invalid_token"));
        let answer = world.ask_with(&world.issue(&other), get()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test]
async fn a_guard_that_does_not_hear_its_authority_refuses_everything() {
    for version in BOTH {
        let freshness = Arc::new(Freshness::followed(SILENT_MAX));
        let world = World::with("stale", version, Arc::clone(&freshness), |_| ()).await;
        let answer = world.send(ask("GET", "/invoices/7")).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (503, "authority.stale", ""));
        freshness.note_heard(Instant::now());
        world.passes().await;
        freshness.end();
        let answer = world.send(ask("GET", "/invoices/7")).await;
        drop(world.api.take_seen());
        assert_eq!(answer.told().1, "authority.stale");
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_forwarded() {
    for version in BOTH {
        let world = World::new("journal", version).await;
        world.passes().await;
        drop(world.entries(|all| all.last().is_some_and(|one| one.outcome.is_some())).await);
        drop(world.api.take_seen());
        let asked = world.proven(ask("GET", "/invoices/7"), &world.token(READ)).await;
        world.journal.clone().close().await;
        let answer = world.send(asked).await;
        assert_eq!(told(&answer.told()), (503, "journal.unavailable", ""));
        assert_eq!(answer.header("retry-after"), "1");
        assert!(world.api.take_seen().is_empty());
    }
}
