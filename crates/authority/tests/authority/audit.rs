//! The journal as operators see it.

use attorn_audit::verify::{Trust, verify};
use attorn_authority::Operation;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{CRM, Client, World};

async fn with_traffic() -> (World, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:get"]).await;
    world.token(&agent, CRM).await;
    (world, operator)
}

async fn get(world: &World, operator: &Client, operation: Operation, segment: &str) -> Value {
    world.done(operator, operation, &[segment], Value::Null).await
}

#[tokio::test]
async fn what_was_done_is_found_at_once() {
    let (world, operator) = with_traffic().await;
    let filter = json!({ "agent": "billing", "kind": "token.issued" });
    let bundle = world.done(&operator, Operation::AuditExport, &[], filter).await;
    assert!(bundle.is_object());
    let report = verify(bundle.to_string().as_bytes(), Trust::Pinned(world.journal.keys()));
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(world.newest("admin.exported").await["tool"], "audit.export");

    let all = world.done(&operator, Operation::AuditSearch, &[], Value::Null).await;
    let items = all["items"].as_array().unwrap();
    let newest = items.iter().find(|item| item["kind"] == "admin.exported").unwrap();
    let index = newest["index"].as_u64().unwrap().to_string();
    assert_eq!(get(&world, &operator, Operation::AuditShow, &index).await, *newest);
    let decision = newest["decision_id"].as_str().unwrap();
    let trace = get(&world, &operator, Operation::AuditTrace, decision).await;
    let kinds: Vec<_> =
        trace["items"].as_array().unwrap().iter().map(|item| item["kind"].clone()).collect();
    assert_eq!(kinds, ["token.issued", "admin.exported"]);
}

#[tokio::test]
async fn one_entry_is_proven_by_itself() {
    let (world, operator) = with_traffic().await;
    let proof = get(&world, &operator, Operation::AuditProof, "0").await;
    assert!(verify(proof.to_string().as_bytes(), Trust::Embedded).is_ok());
    let answer = world.run(&operator, Operation::AuditProof, &["999999"], Value::Null).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let checkpoint = world.done(&operator, Operation::AuditCheckpoint, &[], Value::Null).await;
    assert!(checkpoint["note"].as_str().unwrap().starts_with("example/authority/test\n"));
}

#[tokio::test]
async fn a_call_is_explained_step_by_step() {
    let (world, operator) = with_traffic().await;
    let call = |tool: &str| json!({ "agent": "billing", "server": "crm", "tool": tool });
    let yes = world.done(&operator, Operation::AccessCanI, &[], call("get")).await;
    assert_eq!(yes["allowed"], true, "{yes}");
    let no = world.done(&operator, Operation::AccessCanI, &[], call("drop")).await;
    assert_eq!(no["allowed"], false);
    let steps = no["steps"].as_array().unwrap();
    let failed: Vec<_> = steps.iter().filter(|step| step["outcome"] == "fail").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["name"], "scope");

    let newest = world.newest("admin.read").await;
    let decision = newest["decision_id"].as_str().unwrap();
    let why = get(&world, &operator, Operation::DecisionExplain, decision).await;
    assert_eq!(why["decision"], "permit");
    assert_eq!(why["agent"], "first-operator");
    let unknown = world.run(&operator, Operation::DecisionExplain, &["dec_x"], Value::Null).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
