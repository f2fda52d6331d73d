//! The last operator cannot be stopped; one of two can.

use attorn_authority::Operation;
use attorn_jose::CertificateThumbprint;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World};

/// Everything that would stop an operator, one after the other.
async fn attempts(world: &World, by: &Client, target: &Client, name: &str) -> Vec<Answer> {
    let reason = || json!({ "reason": "test" });
    let key = target.key.public().thumbprint().to_string();
    let grants = world.done(by, Operation::GrantList, &[], Value::Null).await;
    let own = |grant: &&Value| grant["agent"] == name && grant["server"] == "admin";
    let grants = grants["items"].as_array().unwrap().iter().filter(own);
    let grants: Vec<String> =
        grants.map(|grant| grant["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(grants.len(), 1, "{name}");
    let lock = |target: Value| json!({ "target": target, "reason": "test" });
    let grant = grants[0].as_str();
    let run =
        async |operation, segments: &[&str], body| world.run(by, operation, segments, body).await;
    vec![
        run(Operation::AgentSuspend, &[name], reason()).await,
        run(Operation::AgentRetire, &[name], reason()).await,
        run(Operation::AgentExpiry, &[name], json!({ "expires_s": world.now_s() + 1000 })).await,
        run(Operation::GrantRevoke, &[grant], reason()).await,
        run(Operation::LockCreate, &[], lock(json!({ "kind": "agent", "agent": name }))).await,
        run(Operation::LockCreate, &[], lock(json!({ "kind": "key", "jkt": key }))).await,
        run(Operation::LockCreate, &[], lock(json!({ "kind": "grant", "grant": grant }))).await,
        run(
            Operation::LockCreate,
            &[],
            lock(json!({ "kind": "owner", "owner": "administrators" })),
        )
        .await,
    ]
}

async fn second(world: &World, first: &Client, name: &str, patterns: &[&str]) -> Client {
    let new = json!({ "name": name, "owner": "administrators", "kind": "operator" });
    let made = world.done(first, Operation::AgentRegister, &[], new).await;
    let (client, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let grant = json!({ "agent": name, "server": "admin", "patterns": patterns, "reason": "test" });
    world.done(first, Operation::GrantCreate, &[], grant).await;
    client
}

#[tokio::test]
async fn the_last_operator_cannot_be_stopped() {
    let world = World::new().await;
    let first = world.operator().await;
    // One who may only look is no help.
    second(&world, &first, "reader", &["read:*"]).await;
    for answer in attempts(&world, &first, &first, "first-operator").await {
        assert_eq!((answer.status.as_u16(), answer.text("error")), (403, "operator.last"));
    }
    assert_eq!(world.newest("admin.refused").await["reason"], "operator.last");
    // Nor by way of an owner who is locked.
    world.done(&first, Operation::OwnerCreate, &[], json!({ "name": "locked-team" })).await;
    let locked = json!({ "owner": "locked-team" });
    let lock = json!({ "target": { "kind": "owner", "owner": "locked-team" }, "reason": "test" });
    world.done(&first, Operation::LockCreate, &[], lock).await;
    let answer = world.run(&first, Operation::AgentOwner, &["first-operator"], locked).await;
    assert_eq!((answer.status.as_u16(), answer.text("error")), (403, "operator.last"));
    // Agents are stopped as ever.
    world.crm(&first).await;
    world.agent(&first, "one", &["read:get"]).await;
    let reason = json!({ "reason": "test" });
    world.done(&first, Operation::AgentSuspend, &["one"], reason).await;
}

#[tokio::test]
async fn one_of_two_operators_can_be_stopped() {
    let every = ["read:*", "write:*", "irreversible:*"];
    for attempt in 0..7 {
        let world = World::new().await;
        let first = world.operator().await;
        let other = second(&world, &first, "second", &every).await;
        let reason = || json!({ "reason": "test" });
        let key = other.key.public().thumbprint().to_string();
        let grants = world.done(&first, Operation::GrantList, &[], Value::Null).await;
        let mut grants = grants["items"].as_array().unwrap().iter();
        let grant = grants.find(|grant| grant["agent"] == "second").unwrap();
        let grant = grant["id"].as_str().unwrap();
        let lock = |target: Value| json!({ "target": target, "reason": "test" });
        let end = json!({ "expires_s": world.now_s() + 1000 });
        let (operation, segment, body) = match attempt {
            0 => (Operation::AgentSuspend, "second", reason()),
            1 => (Operation::AgentRetire, "second", reason()),
            2 => (Operation::AgentExpiry, "second", end),
            3 => (Operation::GrantRevoke, grant, reason()),
            4 => {
                let target = json!({ "kind": "agent", "agent": "second" });
                (Operation::LockCreate, "", lock(target))
            }
            5 => (Operation::LockCreate, "", lock(json!({ "kind": "key", "jkt": key }))),
            _ => (Operation::LockCreate, "", lock(json!({ "kind": "grant", "grant": grant }))),
        };
        world.done(&first, operation, &[segment], body).await;
        // And now the first is the last.
        let refused = world.run(&first, Operation::AgentSuspend, &["first-operator"], reason());
        assert_eq!(refused.await.text("error"), "operator.last", "{attempt}");
    }
}

#[tokio::test]
async fn an_operator_whose_certificates_are_all_locked_is_no_help() {
    let of = |der: &[u8]| CertificateThumbprint::of_der(der).to_string();
    for (known_by, helps) in [(vec![of(b"one")], false), (vec![of(b"one"), of(b"two")], true)] {
        let world = World::new().await;
        let first = world.operator().await;
        let new = json!({
            "name": "second", "owner": "administrators", "kind": "operator",
            "authentication": {
                "method": "self_signed_tls_client_auth", "certificates": known_by,
            },
        });
        world.done(&first, Operation::AgentRegister, &[], new).await;
        let patterns = ["read:*", "write:*", "irreversible:*"];
        let grant = json!({
            "agent": "second", "server": "admin", "patterns": patterns, "reason": "test",
        });
        world.done(&first, Operation::GrantCreate, &[], grant).await;
        let lock = json!({ "target": { "kind": "key", "jkt": of(b"one") }, "reason": "test" });
        world.done(&first, Operation::LockCreate, &[], lock).await;
        let reason = json!({ "reason": "test" });
        let suspend = Operation::AgentSuspend;
        let answer = world.run(&first, suspend, &["first-operator"], reason).await;
        assert_eq!(answer.status.is_success(), helps, "{answer:?}");
        if !helps {
            assert_eq!(answer.text("error"), "operator.last");
        }
    }
}
