//! People, what they may do, and who answers after them.

use attorn_authority::Operation;
use attorn_registry::{AgentId, Consent, ConsentId, PersonId, ScopeSet};
use attorn_store::Act;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Client, World};

const PHC: &str = "$argon2id$marked-fixture";

/// Invites a person and lets them redeem their code.
pub(crate) async fn person(world: &World, operator: &Client, name: &str) -> Value {
    let new = json!({ "name": name, "groups": ["sales"] });
    let made = world.done(operator, Operation::PersonInvite, &[], new).await;
    let code = attorn_jose::sha256(made["code"].as_str().unwrap().as_bytes());
    let act = Act { by: "browser", now_s: world.now_s() };
    world.store.redeem_invitation(&act, &code, PHC).await.unwrap();
    world.authority.publish().await.unwrap();
    made
}

#[tokio::test]
async fn a_person_is_invited_given_roles_stopped_and_retired() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "name": "ann", "display_name": "Ann", "roles": ["approver"] });
    let made = world.done(&operator, Operation::PersonInvite, &[], new).await;
    let fact = world.newest("identity.registered").await;
    assert_eq!(fact["subject"], made["id"]);
    let told = serde_json::to_string(&world.entries().await).unwrap();
    assert!(!told.contains(made["code"].as_str().unwrap()));
    let run = async |operation, body| world.run(&operator, operation, &["ann"], body).await;
    // Only their code makes them active.
    assert_eq!(run(Operation::PersonResume, json!({})).await.refusal(), (409, "person.pending"));
    let roles = json!({ "roles": ["auditor", "viewer"], "groups": ["sales"] });
    let set = run(Operation::PersonSet, roles).await;
    assert_eq!(set.body["roles"], json!(["viewer", "auditor"]));
    assert_eq!(
        (&set.body["groups"], &set.body["display_name"]),
        (&json!(["sales"]), &json!("Ann"))
    );
    let odd = run(Operation::PersonSet, json!({ "roles": ["root"] })).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    let silent = run(Operation::PersonRetire, json!({ "reason": " " })).await;
    assert_eq!(silent.status, StatusCode::BAD_REQUEST);
    let retired = run(Operation::PersonRetire, json!({ "reason": "left" })).await;
    assert_eq!(retired.body["state"], "retired");
    assert_eq!(run(Operation::PersonCode, json!({})).await.status, StatusCode::CONFLICT);
    let listed = world.done(&operator, Operation::PersonList, &[], Value::Null).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let nobody = world.run(&operator, Operation::PersonShow, &["bob"], Value::Null).await;
    assert_eq!(nobody.refusal(), (404, "person.unknown"));
}

#[tokio::test]
async fn what_a_person_gave_is_listed_and_taken_back() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:*"]).await;
    person(&world, &operator, "ann").await;
    let grant = json!({ "group": "sales", "server": "crm", "scopes": ["read:*"] });
    let grant = world.done(&operator, Operation::PersonGrantCreate, &[], grant).await;
    let (snapshot, now_s) = (world.published.load(), world.now_s());
    let ann = snapshot.person_named("ann").unwrap().id.clone();
    let crm = snapshot.server_named("crm").unwrap().id.clone();
    let consent = Consent {
        id: ConsentId::from_random(&[3; 16]),
        person: ann.clone(),
        agent: agent.id.clone(),
        server: crm.clone(),
        scopes: ScopeSet::parse("read:get").unwrap(),
        created_s: now_s,
        expires_s: now_s + 1000,
        revoked_s: None,
    };
    world.store.put_consent(&Act { by: "ann", now_s }, &consent).await.unwrap();
    world.authority.publish().await.unwrap();
    let scopes = || {
        let snapshot = world.published.load();
        snapshot.delegated_scopes(&ann, &agent.id, &crm, now_s).map(|it| it.to_string())
    };
    assert_eq!(scopes(), Ok("read:get".to_owned()));
    let asked = json!({ "agent": "billing", "person": "ann", "server": "crm", "tool": "get" });
    let can = world.done(&operator, Operation::AccessCanI, &[], asked.clone()).await;
    assert_eq!(can["allowed"], true, "{can}");
    let listed = world.done(&operator, Operation::ConsentList, &[], Value::Null).await;
    assert_eq!(listed["items"][0]["person"], "ann");
    let id = consent.id.to_string();
    let reason = json!({ "reason": "by mistake" });
    world.done(&operator, Operation::ConsentRevoke, &[&id], reason.clone()).await;
    let fact = world.newest("grant.revoked").await;
    assert_eq!((&fact["subject"], &fact["detail"]["consent"]), (&json!(ann), &json!(id)));
    assert!(scopes().is_err());
    let can = world.done(&operator, Operation::AccessCanI, &[], asked).await;
    assert_eq!(can["allowed"], false);
    let id = grant["id"].as_str().unwrap();
    world.done(&operator, Operation::PersonGrantRevoke, &[id], reason).await;
    let admin = json!({ "person": "ann", "server": "admin", "scopes": ["read:*"] });
    let refused = world.run(&operator, Operation::PersonGrantCreate, &[], admin).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let both = json!({ "person": "ann", "group": "sales", "server": "crm", "scopes": ["read:*"] });
    let refused = world.run(&operator, Operation::PersonGrantCreate, &[], both).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_owner_who_leaves_is_followed_by_their_successor() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:*"]).await;
    person(&world, &operator, "ann").await;
    world.done(&operator, Operation::OwnerCreate, &[], json!({ "name": "next" })).await;
    let bound = json!({ "person": "ann" });
    world.done(&operator, Operation::OwnerSet, &["sales"], bound).await;
    assert_eq!(world.newest("identity.owner_changed").await["detail"]["person"], "ann");
    let acts = |id: &AgentId| world.published.load().acting_agent(id, world.now_s()).map(drop);
    assert_eq!(acts(&agent.id), Ok(()));
    let reason = json!({ "reason": "left" });
    world.done(&operator, Operation::PersonSuspend, &["ann"], reason.clone()).await;
    assert!(acts(&agent.id).is_err());
    let followed = json!({ "successor": "next", "group": "sales" });
    world.done(&operator, Operation::OwnerSet, &["sales"], followed).await;
    assert_eq!(acts(&agent.id), Ok(()));
}

#[tokio::test]
async fn the_last_operator_does_not_lose_who_answers_for_them() {
    let world = World::new().await;
    let operator = world.operator().await;
    person(&world, &operator, "ann").await;
    let bound = json!({ "person": "ann" });
    world.done(&operator, Operation::OwnerSet, &["administrators"], bound).await;
    let reason = || json!({ "reason": "test" });
    for operation in [Operation::PersonSuspend, Operation::PersonRetire] {
        let answer = world.run(&operator, operation, &["ann"], reason()).await;
        assert_eq!(answer.refusal(), (403, "operator.last"));
    }
    let empty = json!({ "group": "nobody" });
    let answer = world.run(&operator, Operation::OwnerSet, &["administrators"], empty).await;
    assert_eq!(answer.refusal(), (403, "operator.last"));
    let group = json!({ "group": "sales" });
    world.done(&operator, Operation::OwnerSet, &["administrators"], group).await;
    let none = json!({ "groups": [] });
    let answer = world.run(&operator, Operation::PersonSet, &["ann"], none).await;
    assert_eq!(answer.refusal(), (403, "operator.last"));
    // With somebody who answers after them, they may go.
    world.done(&operator, Operation::OwnerCreate, &[], json!({ "name": "next" })).await;
    let followed = json!({ "person": "ann", "successor": "next" });
    world.done(&operator, Operation::OwnerSet, &["administrators"], followed).await;
    world.done(&operator, Operation::PersonSuspend, &["ann"], reason()).await;
    world.done(&operator, Operation::PersonShow, &["ann"], Value::Null).await;
}

#[tokio::test]
async fn a_client_of_people_gets_nothing_for_itself() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let uris = json!(["http://127.0.0.1/callback"]);
    let new = json!({ "name": "editor", "owner": "sales", "redirect_uris": uris });
    let made = world.done(&operator, Operation::ClientRegister, &[], new).await;
    let fact = world.newest("identity.registered").await;
    assert_eq!(fact["agent"], made["id"]);
    assert_eq!(fact["detail"]["redirect_uris"], "http://127.0.0.1/callback");
    let wild = json!({ "name": "wild", "owner": "sales", "redirect_uris": ["https://*.example/"] });
    let refused = world.run(&operator, Operation::ClientRegister, &[], wild).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let grant = json!({ "agent": "editor", "server": "crm", "patterns": ["read:*"] });
    let refused = world.run(&operator, Operation::GrantCreate, &[], grant).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let refused = world.run(&operator, Operation::AgentCode, &["editor"], json!({})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let none = json!({ "name": "open", "owner": "sales", "authentication": { "method": "none" } });
    let refused = world.run(&operator, Operation::AgentRegister, &[], none).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    // Its identifier with an agent's key is no way in.
    let id = AgentId::parse(made["id"].as_str().unwrap()).unwrap();
    let agent = world.agent(&operator, "billing", &["read:*"]).await;
    let forged = Client { id, ..agent };
    let answer = world.ask_token(&forged, Some(crate::world::CRM), None).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
}

#[tokio::test]
async fn tokens_without_a_proof_are_an_exception_with_a_reason() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let run =
        async |at: &str, body| world.run(&operator, Operation::ServerBearer, &[at], body).await;
    let read = json!({ "classes": ["read"], "reason": "no proofs yet" });
    assert_eq!(run("crm", read.clone()).await.body["accept_bearer"], json!(["read"]));
    let status = world.done(&operator, Operation::Status, &[], Value::Null).await;
    assert_eq!(status["servers_accepting_bearer"], 1);
    let silent = run("crm", json!({ "classes": ["read"], "reason": " " })).await;
    assert_eq!(silent.status, StatusCode::BAD_REQUEST);
    let undone = run("crm", json!({ "classes": ["irreversible"], "reason": "x" })).await;
    assert_eq!(undone.status, StatusCode::CONFLICT);
    assert_eq!(run("admin", read).await.status, StatusCode::CONFLICT);
    let none = json!({ "classes": [], "reason": "over" });
    assert_eq!(run("crm", none).await.body["accept_bearer"], json!([]));
}

#[tokio::test]
async fn a_group_is_given_by_who_may_give_it() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let new = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(new["code"].as_str().unwrap()).await;
    let patterns = ["write:person.invite", "write:person.code"];
    let grant = json!({ "agent": "second", "server": "admin", "patterns": patterns });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let invite = async |body| world.run(&second, Operation::PersonInvite, &[], body).await;
    for more in ["groups", "roles"] {
        let answer = invite(json!({ "name": "ann", more: ["admin"] })).await;
        assert_eq!(answer.refusal(), (403, "scope.missing"), "{more}");
    }
    assert_eq!(invite(json!({ "name": "ann" })).await.status, StatusCode::OK);
    let code = async || world.run(&second, Operation::PersonCode, &["ann"], json!({})).await;
    assert_eq!(code().await.status, StatusCode::OK);
    let group = json!({ "groups": ["sales"] });
    world.done(&operator, Operation::PersonSet, &["ann"], group).await;
    assert_eq!(code().await.refusal(), (403, "scope.missing"));
}

#[tokio::test]
async fn what_was_done_for_a_person_is_forgotten_by_their_name() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let ann = person(&world, &operator, "ann").await["id"].as_str().unwrap().to_owned();
    let erase = async |subject: &str| {
        let body = json!({ "subject": subject, "reason": "request 12" });
        world.run(&operator, Operation::AuditErase, &[], body).await
    };
    for name in ["ann", &ann] {
        assert_eq!(erase(name).await.body["subject"], ann.as_str(), "{name}");
    }
    assert_eq!(world.newest("payload.erased").await["subject"], ann.as_str());
    let is_sent = |(subject, until_s)| subject == ann && until_s == world.now_s();
    assert!(world.published.load().erasures().any(is_sent));
    // What is erased does not come back, so nobody guesses which of two is meant.
    let agent = world.agent(&operator, "ann", &[]).await;
    assert_eq!(erase("ann").await.status, StatusCode::CONFLICT);
    assert_eq!(erase(&ann).await.status, StatusCode::OK);
    assert_eq!(erase(agent.id.as_str()).await.body["subject"], agent.id.as_str());
    let nobody = PersonId::from_random(&[99; 16]);
    assert_eq!(erase(nobody.as_str()).await.status, StatusCode::NOT_FOUND);
}
