//! What happens when the journal or the registry is gone, step by step.
//!
//! | Gone | Asked for | Done? |
//! |---|---|---|
//! | journal | token, enrolment, revocation, introspection, any operation | no, 503 |
//! | room in the journal | a lock or a revocation by an operator, and the token for it | yes |
//! | registry | token | yes: it is issued from the snapshot and recorded |
//! | registry | enrolment, revocation, a change | no, 503; the intent is on record |

use attorn_authority::Operation;
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use attorn_registry::LifeCycle;
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
