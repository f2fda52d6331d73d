//! What happens when the journal or the registry is gone, step by step.
//!
//! | Gone | Asked for | Done? |
//! |---|---|---|
//! | journal | token, enrolment, revocation, introspection, any operation | no, 503 |
//! | room in the journal | a lock, a revocation, a suspension, an emergency rotation by an operator, and the token for it | yes |
//! | room in the journal | a token that its client gives back, and other acts about one's own | yes, in a quarter of the room |
//! | room in the journal | what gives rights, or gives them back | no, 503 |
//! | journal, at one of the entries of a file | a file of changes | none of it, 503 |
//! | registry | token | yes: it is issued from the snapshot and recorded |
//! | registry | enrolment, revocation, a change | no, 503; the intent is on record |
//! | the mark beside the registry | a change | yes and in force, 503: a backup would not be found |
//! | the caller, in the middle | a change | all of it, its entries included, or nothing |

use std::task::Poll;

use attorn_authority::Operation;
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use attorn_registry::LifeCycle;
use attorn_store::Mark;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ADMIN, CRM, Client, World, form_request, new_key, token_form};

async fn with_agent() -> (World, Client, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:get"]).await;
    (world, operator, agent)
}

async fn about_token(world: &World, path: &str, client: &Client, token: &str) -> StatusCode {
    let assertion = world.assertion(client);
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("token", token),
    ];
    world.post_form(path, &form).await.status
}

#[tokio::test]
async fn without_a_journal_nothing_is_done() {
    let (world, operator, agent) = with_agent().await;
    let token = world.token(&agent, CRM).await;
    let new = json!({ "name": "late", "owner": "sales" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let nonce = world.nonce(&agent).await;
    let before = world.store.version().await.unwrap();
    world.journal.clone().close().await;

    let (assertion, proof) = (world.assertion(&agent), world.proof(&agent, Some(&nonce)));
    let form = token_form(&assertion, Some(CRM), None);
    let answer = world.public(form_request("/token", &form, Some(&proof))).await;
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable"));
    assert!(answer.body.get("access_token").is_none());
    let enrolled = world.enroll_key(made["code"].as_str().unwrap(), &new_key()).await;
    assert_eq!(enrolled.status, StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/revoke", "/introspect"] {
        let status = about_token(&world, path, &agent, &token).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert_eq!(world.store.version().await.unwrap(), before);
    let late = world.published.load().agent_named("late").unwrap().clone();
    assert_eq!(late.state, LifeCycle::Pending);
}

#[tokio::test]
async fn without_a_registry_tokens_are_issued_and_nothing_changes() {
    let (world, operator, agent) = with_agent().await;
    let new = json!({ "name": "late", "owner": "sales" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let token = world.token(&agent, CRM).await;
    world.store.close().await;

    world.token(&agent, CRM).await;
    let enrolled = world.enroll_key(made["code"].as_str().unwrap(), &new_key()).await;
    assert_eq!(enrolled.status, StatusCode::SERVICE_UNAVAILABLE);
    let status = about_token(&world, "/revoke", &agent, &token).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let owner = json!({ "name": "other" });
    let answer = world.run(&operator, Operation::OwnerCreate, &[], owner).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // The intent is there, the fact is not.
    let entries = world.entries().await;
    let about: Vec<&Value> =
        entries.iter().filter(|one| one["decision_id"] == answer.body["decision_id"]).collect();
    let kinds: Vec<_> = about.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["admin.changed", "admin.refused"]);
}

#[tokio::test]
async fn a_full_journal_still_lets_an_operator_lock() {
    let (world, operator, agent) = with_agent().await;
    // Places for emergencies only: everything ordinary is refused, as when the queue is full.
    let world = world.reopened(|config| config.queue_entries_max = 0).await;
    let resource = format!("{ADMIN}/admin");
    let token = world.token(&operator, &resource).await;
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = json!({ "target": target, "reason": "runs wild" });
    let answer = world.run_with(&operator, &token, Operation::LockCreate, (&[], lock)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(world.published.load().locks().next().is_some());
    // Nothing else works.
    let owner = json!({ "name": "other" });
    let answer = world.run_with(&operator, &token, Operation::OwnerCreate, (&[], owner)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = world.ask_token(&agent, Some(CRM), None).await;
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable"));
}

/// What is kept free for operators is not for agents that give tokens back, nor for who only looks.
#[tokio::test]
async fn a_full_journal_keeps_places_that_are_for_operators_alone() {
    let (world, operator, agent) = with_agent().await;
    let (first, second) = (world.token(&agent, CRM).await, world.token(&agent, CRM).await);
    let watcher = world.agent(&operator, "watcher", &[]).await;
    let looks = json!({ "agent": "watcher", "server": "admin", "patterns": ["read:*"] });
    world.done(&operator, Operation::GrantCreate, &[], looks).await;
    let admin = format!("{ADMIN}/admin");
    let full = |reserved| {
        move |config: &mut attorn_journal::Config| {
            (config.queue_entries_max, config.queue_entries_reserved) = (0, reserved);
        }
    };
    // A quarter of four places is one.
    let world = world.reopened(full(4)).await;
    assert_eq!(about_token(&world, "/revoke", &agent, &first).await, StatusCode::OK);
    world.token(&watcher, &admin).await;
    // A quarter of three is none.
    let world = world.reopened(full(3)).await;
    let answer = about_token(&world, "/revoke", &agent, &second).await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    let answer = world.ask_token(&watcher, Some(&admin), None).await;
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable"));
    let token = world.token(&operator, &admin).await;
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = json!({ "target": target, "reason": "runs wild" });
    let answer = world.run_with(&operator, &token, Operation::LockCreate, (&[], lock)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

/// What takes rights away is done and on record while nothing else is; what gives them is not.
#[tokio::test]
async fn a_full_journal_still_lets_an_operator_take_rights_away() {
    let (world, operator, agent) = with_agent().await;
    let url = "https://api.example/billing";
    let new = json!({ "name": "billing", "owner": "sales", "url": url });
    world.done(&operator, Operation::ResourceRegister, &[], new).await;
    let new = json!({ "id": "invoice.get", "class": "read", "method": "GET", "path": "/i/{id}" });
    world.done(&operator, Operation::ResourceOperationAdd, &["billing"], new).await;
    let rule = json!({ "resource": "billing", "from": "read:get", "to": "read:invoice.get" });
    let (allow, remove) = (Operation::ServerDownstreamAllow, Operation::ServerDownstreamRemove);
    world.done(&operator, allow, &["crm"], rule.clone()).await;
    let made = world.done(&operator, Operation::PersonInvite, &[], json!({ "name": "ann" })).await;
    let code = attorn_jose::sha256(made["code"].as_str().unwrap().as_bytes());
    let act = attorn_store::Act { by: "browser", now_s: world.now_s() };
    world.store.redeem_invitation(&act, &code, "$argon2id$marked-fixture").await.unwrap();
    let world = world.reopened(|config| config.queue_entries_max = 0).await;

    let resource = format!("{ADMIN}/admin");
    let reason = || json!({ "reason": "runs wild" });
    let mut token = world.token(&operator, &resource).await;
    for (act, place, body, undone) in [
        (remove, "crm", rule.clone(), Some((allow, rule))),
        (
            Operation::ResourceSuspend,
            "billing",
            reason(),
            Some((Operation::ResourceResume, reason())),
        ),
        (Operation::ServerSuspend, "crm", reason(), Some((Operation::ServerResume, reason()))),
        (Operation::AgentSuspend, "billing", reason(), Some((Operation::AgentResume, reason()))),
        (Operation::PersonSuspend, "ann", reason(), Some((Operation::PersonRetire, reason()))),
        (Operation::KeyEmergencyRotate, "", reason(), None),
    ] {
        let places: &[&str] = if place.is_empty() { &[] } else { &[place] };
        let done = world.run_with(&operator, &token, act, (places, body)).await;
        assert_eq!(done.status, StatusCode::OK, "{act:?} {done:?}");
        let Some((undone, body)) = undone else { continue };
        let refused = world.run_with(&operator, &token, undone, (places, body)).await;
        assert_eq!(refused.refusal(), (503, "journal.unavailable"), "{undone:?}");
    }
    let snapshot = world.published.load();
    assert_eq!(snapshot.agent(&agent.id).unwrap().state, LifeCycle::Suspended);
    assert_eq!(snapshot.server_named("crm").unwrap().state, LifeCycle::Suspended);
    let billing = snapshot.resource_named("billing").unwrap();
    assert_eq!((billing.state, billing.downstreams.len()), (LifeCycle::Suspended, 0));
    // The token of before ended with the old keys; a new one locks.
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = || json!({ "target": target, "reason": "runs wild" });
    let old = world.run_with(&operator, &token, Operation::LockCreate, (&[], lock())).await;
    // It is refused, and that cannot be told in the journal either.
    assert_eq!(old.refusal(), (503, "journal.unavailable"));
    token = world.token(&operator, &resource).await;
    let locked = world.run_with(&operator, &token, Operation::LockCreate, (&[], lock())).await;
    assert_eq!(locked.status, StatusCode::OK, "{locked:?}");

    // All of it is on record, each act twice: what was meant and what was done.
    let world = world.reopened(|_| ()).await;
    let entries = world.entries().await;
    for kind in ["identity.suspended", "key.rotated", "lock.created"] {
        let facts: Vec<_> = entries.iter().filter(|entry| entry["kind"] == kind).collect();
        let meant = |fact: &&&Value| {
            let of = |one: &&Value| one["decision_id"] == fact["decision_id"];
            entries.iter().filter(of).any(|one| one["kind"] == "admin.changed")
        };
        let expected = if kind == "identity.suspended" { 4 } else { 1 };
        assert_eq!(facts.iter().filter(meant).count(), expected, "{kind}");
    }
}

#[tokio::test]
async fn without_the_mark_a_change_is_in_force_and_not_confirmed() {
    let (world, operator, _agent) = with_agent().await;
    let mark = world.keys_folder().with_file_name("registry.mark");
    let marked = || Mark::open(mark.clone()).unwrap().at();
    let before = world.store.in_force().await.unwrap();
    assert_eq!(marked(), before);
    // Where the new mark would be written is something else.
    std::fs::create_dir(mark.with_extension("new")).unwrap();
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = json!({ "target": target, "reason": "runs wild" });
    let answer = world.run(&operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(world.published.load().locks().next().is_some());
    // What was done is on record, and so is that it was not confirmed.
    assert_eq!(world.newest("lock.created").await["decision_id"], answer.body["decision_id"]);
    assert_eq!(world.newest("admin.refused").await["decision_id"], answer.body["decision_id"]);
    assert_eq!(world.store.version().await.unwrap(), before.version + 1);
    // It lags, and does not lead.
    assert_eq!(marked(), before);
    std::fs::remove_dir(mark.with_extension("new")).unwrap();
    world.done(&operator, Operation::OwnerCreate, &[], json!({ "name": "other" })).await;
    assert_eq!(marked(), world.store.in_force().await.unwrap());
}

/// The caller leaves after any number of steps. What is stored is in force and on record as done.
#[tokio::test]
async fn a_caller_that_leaves_cuts_no_change_in_two() {
    let (world, operator, _agent) = with_agent().await;
    let token = world.token(&operator, &format!("{ADMIN}/admin")).await;
    for polls in 1.. {
        let name = format!("owner-{polls}");
        let body = json!({ "name": name });
        let call = world.run_with(&operator, &token, Operation::OwnerCreate, (&[], body));
        let finished = left_after(polls, call).await;
        // Who comes next waits for what is under way.
        let mut consistent = false;
        for next in 0..50 {
            let other = json!({ "name": format!("next-{polls}-{next}") });
            world.run_with(&operator, &token, Operation::OwnerCreate, (&[], other)).await;
            consistent = is_whole(&world, &name).await;
            if consistent {
                break;
            }
        }
        assert!(consistent, "{name}: stored, and not told of");
        if finished {
            break;
        }
    }
}

/// Whether an owner is nowhere, or stored, in force and on record.
async fn is_whole(world: &World, name: &str) -> bool {
    let owners = world.store.owners().await.unwrap();
    let Some(owner) = owners.into_iter().find(|owner| owner.name.as_str() == name) else {
        return true;
    };
    let entries = world.entries().await;
    let told = entries.iter().any(|entry| {
        entry["kind"] == "identity.registered" && entry["owner"] == owner.id.to_string()
    });
    told && world.published.load().owner(&owner.id).is_some()
}

/// Polls at most `polls` times and drops the future; says whether it had ended.
async fn left_after<F: Future>(polls: u32, future: F) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_file_whose_entries_cannot_all_be_written_changes_nothing() {
    let (world, operator, _) = with_agent().await;
    let owners: Vec<_> = (0..400).map(|n| json!({ "name": format!("o{n}") })).collect();
    let before = world.store.version().await.unwrap();
    let token = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let file = json!({ "owners": owners });
    let request = world.request(&operator, &token, Operation::RegistryApply, (&[], file)).await;
    let size = world.journal.size();
    // The journal ends after the intent, while the authority walks through the file.
    let ended = async {
        while world.journal.size() <= size {
            tokio::task::yield_now().await;
        }
        world.journal.clone().close().await;
    };
    let (refused, ()) = tokio::join!(world.admin(request), ended);
    assert_eq!(refused.refusal(), (503, "journal.unavailable"));
    assert_eq!(world.store.version().await.unwrap(), before);
    assert!(world.published.load().owners().all(|owner| owner.name.as_str() != "o0"));
}
