//! Who logged in: links, groups, records that are made at a first log-in.

use std::collections::BTreeSet;

use attorn_authority::Operation;
use attorn_registry::{LifeCycle, LockTarget, Role};
use http::StatusCode;
use serde_json::{Value, json};

use super::browser::{Browser, Town, location};
use super::provider::{ANN, Provider, is_in};
use crate::world::ISSUER;

async fn refused(town: &Town, provider: &Provider, subject: &str) -> (String, String) {
    let browser = Browser::new(&town.world);
    let change = |claims: &mut Value| claims["sub"] = json!(subject);
    let answer = town.comes_back(&browser, provider, change).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.page);
    assert!(browser.cookie("session").is_none());
    (town.refused().await.0, answer.page)
}

async fn is_let_in(town: &Town, provider: &Provider) -> bool {
    let browser = Browser::new(&town.world);
    is_in(&town.comes_back(&browser, provider, |_| ()).await)
}

#[tokio::test]
async fn who_is_linked_to_nobody_is_nobody() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    // The name and the address of Ann, and not who she is.
    for subject in ["somebody", "ann", "Subject-of-ann", "subject-of-ann "] {
        let (reason, _) = refused(&town, &provider, subject).await;
        assert_eq!(reason, "login.person_unknown", "{subject}");
    }
    assert!(is_let_in(&town, &provider).await);
}

#[tokio::test]
async fn who_is_stopped_does_not_get_in_and_looks_unknown() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let (_, unknown) = refused(&town, &provider, "somebody").await;
    let id = town.id_of("ann");
    let (store, act) = (&town.world.store, town.act());
    let locked = LockTarget::Person { person: id.clone() };
    let lock = attorn_registry::Lock {
        id: attorn_registry::LockId::from_random(&[7; 16]),
        target: locked,
        reason: "test".to_owned(),
        by: "test".to_owned(),
        created_s: act.now_s,
        expires_s: act.now_s + 60,
        lifted_s: None,
    };
    store.create_lock(&act, &lock).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert_eq!(refused(&town, &provider, ANN).await, ("login.failed".into(), unknown.clone()));
    town.world.pass_s(60);
    assert!(is_let_in(&town, &provider).await);
    let become_state = async |state| {
        store.set_person_state(&town.act(), &id, state).await.unwrap();
        town.world.authority.publish().await.unwrap();
    };
    become_state(LifeCycle::Suspended).await;
    assert_eq!(refused(&town, &provider, ANN).await, ("login.failed".into(), unknown.clone()));
    become_state(LifeCycle::Active).await;
    assert!(is_let_in(&town, &provider).await);
    become_state(LifeCycle::Retired).await;
    assert_eq!(refused(&town, &provider, ANN).await, ("login.failed".into(), unknown));
}

/// Without groups, the claim is not there.
fn says_groups(claims: &mut Value, groups: Value) {
    if !groups.is_null() {
        claims["groups"] = groups;
    }
}

/// Logs Ann in with these groups. Gives her roles and groups.
async fn with_groups(town: &Town, provider: &Provider, groups: Value) -> (Vec<Role>, Vec<String>) {
    let browser = Browser::new(&town.world);
    let change = |claims: &mut Value| says_groups(claims, groups);
    let answer = town.comes_back(&browser, provider, change).await;
    assert!(is_in(&answer), "{}", answer.page);
    let snapshot = town.world.published.load();
    let ann = snapshot.person_named("ann").unwrap();
    let groups = ann.groups.iter().map(ToString::to_string).collect();
    (ann.roles.iter().copied().collect(), groups)
}

#[tokio::test]
async fn roles_of_groups_come_and_go_and_those_by_hand_stay() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let by_hand = json!({ "roles": ["approver"], "groups": ["sales"] });
    town.world.done(&town.operator, Operation::PersonSet, &["ann"], by_hand).await;
    let given = with_groups(&town, &provider, json!(["corp-it", "corp-fin", "else"])).await;
    let roles = vec![Role::Viewer, Role::Operator, Role::Approver];
    assert_eq!(given, (roles, vec!["finance".to_owned(), "sales".to_owned()]));
    let entry = town.world.newest("admin.changed").await;
    assert_eq!(entry["detail"]["provided_roles"], "viewer operator");
    assert_eq!(entry["detail"]["provided_groups"], "finance");
    assert_eq!(entry["detail"]["provider"], provider.issuer);
    assert_eq!(entry["subject"], entry["by"]);
    // What the provider does not say again is gone.
    let given = with_groups(&town, &provider, json!("corp-audit")).await;
    assert_eq!(given, (vec![Role::Approver, Role::Auditor], vec!["sales".to_owned()]));
    let version = town.world.published.load().version;
    with_groups(&town, &provider, json!("corp-audit")).await;
    assert_eq!(town.world.published.load().version, version, "nothing changed");
    // An operator who names no roles does not make them by hand.
    let renamed = json!({ "display_name": "Ann" });
    let view = town.world.done(&town.operator, Operation::PersonSet, &["ann"], renamed).await;
    assert_eq!(view["provided_roles"], json!(["auditor"]));
    let given = with_groups(&town, &provider, Value::Null).await;
    assert_eq!(given, (vec![Role::Approver], vec!["sales".to_owned()]));
}

#[tokio::test]
async fn who_is_in_a_named_group_is_recorded_where_the_operator_says_so() {
    let provider = Provider::new().await;
    let (mut open, closed) = (provider.login(), provider.login());
    open.create = true;
    let come = async |town: &Town, groups: Value| {
        let browser = Browser::new(&town.world);
        let change = |claims: &mut Value| {
            claims["sub"] = json!("new");
            says_groups(claims, groups);
        };
        let answer = town.comes_back(&browser, &provider, change).await;
        (is_in(&answer), town.world.published.load().persons().count())
    };
    let shut = Town::with_login(closed).await;
    assert_eq!(come(&shut, json!(["corp-it"])).await, (false, 1));
    let town = Town::with_login(open).await;
    for groups in [json!([]), json!(["else"]), Value::Null] {
        assert_eq!(come(&town, groups.clone()).await, (false, 1), "{groups}");
        assert_eq!(town.refused().await.0, "login.person_unknown");
    }
    assert_eq!(come(&town, json!(["corp-it"])).await, (true, 2));
    let snapshot = town.world.published.load();
    let made = snapshot.person_named("ann-example").unwrap();
    assert_eq!(made.display_name.as_deref(), Some("Ann Example"));
    assert_eq!(made.roles, BTreeSet::from([Role::Operator, Role::Viewer]));
    assert_eq!(made.roles, made.provided.roles, "none of it by hand");
    let entry = town.world.newest("identity.registered").await;
    assert_eq!(entry["subject"], made.id.to_string());
    assert_eq!(entry["detail"]["provided_roles"], "viewer operator");
    // The second time it is they, and without the group they have no role.
    assert_eq!(come(&town, json!([])).await, (true, 2));
    assert!(town.world.published.load().person_named("ann-example").unwrap().roles.is_empty());
}

#[tokio::test]
async fn somebody_new_does_not_get_the_name_of_another() {
    let provider = Provider::new().await;
    let mut login = provider.login();
    login.create = true;
    let town = Town::with_login(login).await;
    let come = async |subject: &str| {
        let browser = Browser::new(&town.world);
        let change = |claims: &mut Value| {
            claims["sub"] = json!(subject);
            claims["preferred_username"] = json!("ann");
            claims["groups"] = json!(["corp-fin"]);
        };
        assert!(is_in(&town.comes_back(&browser, &provider, change).await), "{subject}");
    };
    come("1").await;
    come("2").await;
    come("1").await;
    let snapshot = town.world.published.load();
    let subject = |name: &str| {
        let person = snapshot.person_named(name).unwrap();
        person.external.as_ref().map(|external| external.subject.clone())
    };
    assert_eq!(subject("ann"), None);
    assert_eq!((subject("ann-2"), subject("ann-3")), (Some("1".into()), Some("2".into())));
    assert_eq!(snapshot.persons().count(), 3);
}

#[tokio::test]
async fn an_operator_links_and_unlinks() {
    let provider = Provider::new().await;
    let town = Town::with_login(provider.login()).await;
    assert_eq!(refused(&town, &provider, ANN).await.0, "login.person_unknown");
    let (world, operator) = (&town.world, &town.operator);
    let link = json!({ "subject": ANN });
    let view = world.done(operator, Operation::PersonLink, &["ann"], link.clone()).await;
    assert_eq!((&view["issuer"], &view["subject"]), (&json!(provider.issuer), &json!(ANN)));
    assert_eq!(view["state"], "active");
    let entry = world.newest("admin.changed").await;
    assert_eq!(entry["detail"]["linked"], provider.issuer);
    assert!(!entry.to_string().contains(ANN), "{entry}");
    let again = world.run(operator, Operation::PersonLink, &["ann"], link).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    town.person("bob", &[]).await;
    let taken = world.run(operator, Operation::PersonLink, &["bob"], json!({"subject": ANN})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let browser = Browser::new(world);
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
    let none = world.run(operator, Operation::PersonUnlink, &["ann"], json!({})).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "a reason is asked for");
    let reason = json!({ "reason": "another account" });
    world.done(operator, Operation::PersonUnlink, &["ann"], reason).await;
    assert_eq!(location(&browser.get("/sessions").await), format!("{ISSUER}/login"));
    assert_eq!(refused(&town, &provider, ANN).await.0, "login.person_unknown");
}
