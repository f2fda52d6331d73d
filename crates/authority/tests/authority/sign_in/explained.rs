//! What `attorn explain` says where an agent acted for a person.

use attorn_audit::{Decision, Entry, Kind};
use attorn_authority::Operation;
use attorn_journal::Durability;
use serde_json::Value;

use super::browser::Town;

/// A call that the gateway in this process decided about, explained.
async fn explained(town: &Town, subject: &str, decision_id: &str) -> Value {
    let mut decided = Entry::new(Kind::CallDecided, town.world.now_s() * 1000);
    decided.agent = Some(town.client_id.clone());
    decided.decision = Some(Decision::Permit);
    decided.decision_id = Some(decision_id.to_owned());
    decided.subject = Some(subject.to_owned());
    town.world.journal.append(decided.to_canonical(), Durability::Fsync).await.unwrap();
    let operation = Operation::DecisionExplain;
    town.world.done(&town.operator, operation, &[decision_id], Value::Null).await
}

#[tokio::test]
async fn an_explanation_names_the_person_who_was_acted_for() {
    let town = Town::new().await;
    let ann = town.logged_in("ann").await;
    town.code(&ann, &[]).await;
    let person = town.world.published.load().person_named("ann").unwrap().id.to_string();
    let told = explained(&town, &person, "dec_0000000000000001").await;
    assert_eq!(told["decision"], "permit");
    let effective = told["effective"].as_str().unwrap();
    assert!(effective.starts_with("person yes ∩"), "{effective}");
    let identities = told["steps"][3]["detail"].as_str().unwrap();
    assert!(identities.ends_with(", for ann"), "{identities}");
    // The twin: nobody was acted for.
    let told = explained(&town, &town.client_id, "dec_0000000000000002").await;
    assert!(told["effective"].as_str().unwrap().starts_with("person n/a ∩"), "{told}");
}
