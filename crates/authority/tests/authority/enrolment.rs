//! Enrolment: one code, one key, once.

use attorn_authority::Operation;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::world::{ADMIN, CRM, ISSUER, World, new_key};

#[tokio::test]
async fn a_code_enrols_one_key_once() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let new = json!({ "name": "billing", "owner": "sales" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    assert_eq!(made["state"], "pending");
    let grant = json!({ "agent": "billing", "server": "crm", "patterns": ["read:*"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let code = made["code"].as_str().unwrap();
    let (client, answer) = world.enroll(code).await;
    assert_eq!(answer.body["client_id"], made["id"]);
    assert_eq!(answer.body["kind"], "agent");
    assert_eq!(answer.body["issuer"], ISSUER);
    assert_eq!(answer.body["servers"], json!([{ "name": "crm", "resource": CRM }]));
    assert!(answer.body.get("admin_url").is_none());
    world.token(&client, CRM).await;

    let again = world.enroll_key(code, &new_key()).await;
    assert_eq!(again.refusal(), (400, "invalid_request"));
    assert_eq!(world.newest("identity.enrolment_refused").await["reason"], "enrolment.refused");
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes() {
    let world = World::new().await;
    let code = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    world.pass_s(600);
    assert_eq!(world.enroll_key(&code, &new_key()).await.refusal(), (400, "invalid_request"));
    let code = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    world.enroll(&code).await;
}

#[tokio::test]
async fn the_first_operator_is_the_last_to_get_a_code_for_nothing() {
    let world = World::new().await;
    let first = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    let second = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    // Asking again replaces the code.
    assert_eq!(world.enroll_key(&first, &new_key()).await.refusal(), (400, "invalid_request"));
    let (operator, answer) = world.enroll(&second).await;
    assert_eq!(answer.body["admin_url"], ADMIN);
    assert!(world.authority.first_operator_code().await.unwrap().is_none());
    let me = world.done(&operator, Operation::Whoami, &[], json!({})).await;
    assert_eq!(me["name"], "first-operator");
}

#[tokio::test]
async fn odd_enrolments_look_alike() {
    let world = World::new().await;
    let code = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    let unknown = world.enroll_key("no-such-code", &new_key()).await;
    for body in [
        json!({ "code": code }).to_string(),
        json!({ "code": code, "proof": "x.y.z" }).to_string(),
        format!(r#"{{"code":"{code}","code":"{code}","proof":"x"}}"#),
        "[]".to_owned(),
    ] {
        let request = Request::post("/enroll").header("content-type", "application/json");
        let answer = world.public(request.body(Full::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.body, unknown.body);
    }
    // None of them used the code up.
    world.enroll(&code).await;
}

#[tokio::test]
async fn a_code_in_another_spelling_is_another_code() {
    let world = World::new().await;
    let code = world.authority.first_operator_code().await.unwrap().unwrap().into_text();
    let (first, rest) = code.split_at(4);
    let spellings = [
        format!(" {code}"),
        format!("{code} "),
        format!("{code}\n"),
        format!("{first} {rest}"),
        code.to_uppercase(),
    ];
    for spelling in spellings.iter().filter(|spelling| **spelling != code) {
        let answer = world.enroll_key(spelling, &new_key()).await;
        assert_eq!(answer.refusal(), (400, "invalid_request"), "{spelling:?}");
    }
    // None of them used the code up, and it works once.
    world.enroll(&code).await;
    let again = world.enroll_key(&code, &new_key()).await;
    assert_eq!(again.refusal(), (400, "invalid_request"));
}

#[tokio::test]
async fn what_a_first_start_makes_is_on_record() {
    let world = World::new().await;
    world.authority.first_operator_code().await.unwrap().unwrap();
    let entries = world.entries().await;
    let kinds: Vec<_> = entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    let of = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!(of("key.added"), 2, "{kinds:?}");
    assert_eq!(of("policy.applied"), 1, "{kinds:?}");
    // The owner of the administration, its server, and the operator.
    assert_eq!(of("identity.registered"), 3, "{kinds:?}");
    let last: Vec<_> = kinds.iter().filter(|kind| **kind != "journal.opened").rev().collect();
    assert_eq!(last[..3], [&"identity.code_issued", &"grant.created", &"identity.registered"]);
}

#[tokio::test]
async fn a_lock_holds_for_enrolments_too() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let key = new_key();
    for target in [
        json!({ "kind": "agent", "agent": "billing" }),
        json!({ "kind": "owner", "owner": "sales" }),
        json!({ "kind": "key", "jkt": key.public().thumbprint().to_string() }),
    ] {
        let new = json!({ "name": "billing", "owner": "sales" });
        let made = match world.run(&operator, Operation::AgentRegister, &[], new).await {
            answer if answer.status == StatusCode::OK => answer.body,
            _ => world.done(&operator, Operation::AgentCode, &["billing"], json!({})).await,
        };
        let code = made["code"].as_str().unwrap();
        let lock = json!({ "target": target, "reason": "the code was stolen" });
        let lock = world.done(&operator, Operation::LockCreate, &[], lock).await;
        assert_eq!(world.enroll_key(code, &key).await.refusal(), (400, "invalid_request"));
        let (id, reason) = (lock["id"].as_str().unwrap(), json!({ "reason": "over" }));
        world.done(&operator, Operation::LockLift, &[id], reason).await;
    }
    // What was refused did not use the code up.
    let made = world.done(&operator, Operation::AgentCode, &["billing"], json!({})).await;
    assert_eq!(world.enroll_key(made["code"].as_str().unwrap(), &key).await.status, StatusCode::OK);
}
