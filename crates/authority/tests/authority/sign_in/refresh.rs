//! Refresh tokens: bound, rotated, and worth what the person's consent is worth now.

use attorn_registry::{AgentId, LifeCycle};
use http::StatusCode;
use serde_json::Value;

use super::browser::{CALLBACK, Town};
use crate::world::{Answer, new_key};

/// A refresh token for `read:get` and `irreversible:drop`.
async fn given(town: &Town) -> (String, String) {
    let browser = town.logged_in("ann").await;
    let asked = town.query(&[("scope", "read:get irreversible:drop")]);
    let consent = browser.get(&format!("/authorize?{asked}")).await;
    browser.follow(&consent).await;
    let form = [("scope.0", "read:get"), ("scope.1", "irreversible:drop"), ("decision", "allow")];
    let allowed = browser.submit("/consent", &form).await;
    let location = super::browser::location(&allowed);
    let code = super::browser::parameter(&location, "code").unwrap();
    let answer = town.redeemed(&code).await;
    (answer.text("refresh_token").to_owned(), jti(&answer))
}

fn jti(answer: &Answer) -> String {
    let payload = answer.text("access_token").split('.').nth(1).unwrap();
    let payload = attorn_jose::from_base64url(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

async fn renewed(town: &Town, token: &str) -> Answer {
    town.ask(&town.refresh_form(token), &town.key).await
}

#[tokio::test]
async fn a_refresh_token_rotates() {
    let town = Town::new().await;
    let (first, _) = given(&town).await;
    let answer = renewed(&town, &first).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.page);
    assert_eq!(answer.text("scope"), "read:get irreversible:drop");
    let second = answer.text("refresh_token").to_owned();
    assert_ne!(first, second);
    assert_eq!(renewed(&town, &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn its_second_use_ends_the_family() {
    let town = Town::new().await;
    let (first, before) = given(&town).await;
    let answer = renewed(&town, &first).await;
    let after = jti(&answer);
    assert_eq!(renewed(&town, &first).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.replayed").await, "refresh.replayed");
    assert_eq!(town.reason("token.refused").await, "refresh.replayed");
    let next = answer.text("refresh_token");
    assert_eq!(renewed(&town, next).await.refusal(), (400, "invalid_grant"));
    let snapshot = town.world.published.load();
    assert!(snapshot.is_revoked(&before) && snapshot.is_revoked(&after));
}

#[tokio::test]
async fn it_is_for_its_client_and_its_key() {
    let town = Town::new().await;
    let (token, _) = given(&town).await;
    let form = town.refresh_form(&token);
    assert_eq!(town.ask(&form, &new_key()).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "possession.key_mismatch");
    let unproven = crate::world::form_request("/token", &form, None);
    assert_eq!(town.world.public(unproven).await.refusal(), (400, "invalid_dpop_proof"));
    let other = town.client("other", &[CALLBACK]).await;
    let foreign = [form[0], ("client_id", &other), form[2]];
    assert_eq!(town.ask(&foreign, &town.key).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
    assert_eq!(town.ask(&form[..2], &town.key).await.refusal(), (400, "invalid_request"));
    // None of that cost the honest client anything.
    assert_eq!(renewed(&town, &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn it_narrows_and_never_widens() {
    let town = Town::new().await;
    let (token, _) = given(&town).await;
    let ask = async |token: &str, more: (&str, &str)| {
        let form = [town.refresh_form(token).as_slice(), &[more]].concat();
        town.ask(&form, &town.key).await
    };
    let wider = ask(&token, ("scope", "read:get read:other")).await;
    assert_eq!(wider.refusal(), (400, "invalid_scope"));
    let elsewhere = ask(&token, ("resource", "https://gw.example/other/mcp")).await;
    assert_eq!(elsewhere.refusal(), (400, "invalid_target"));
    let less = ask(&token, ("scope", "read:get")).await;
    assert_eq!(less.text("scope"), "read:get");
    // RFC 6749 section 6: the next one is for all of it again.
    let all = renewed(&town, less.text("refresh_token")).await;
    assert_eq!(all.text("scope"), "read:get irreversible:drop");
}

#[tokio::test]
async fn it_gives_what_the_person_may_now() {
    let town = Town::new().await;
    let (token, _) = given(&town).await;
    let store = &town.world.store;
    let publish = async || town.world.authority.publish().await.unwrap();
    // One right less, and the scope shrinks.
    let grant = store.person_grants().await.unwrap().pop().unwrap();
    store.revoke_person_grant(&town.act(), &grant.id).await.unwrap();
    let narrower = attorn_registry::PersonGrant {
        id: attorn_registry::GrantId::from_random(&[8; 16]),
        scopes: vec![attorn_registry::ScopePattern::parse("read:*").unwrap()],
        revoked_s: None,
        ..grant
    };
    store.create_person_grant(&town.act(), &narrower).await.unwrap();
    publish().await;
    let answer = renewed(&town, &token).await;
    assert_eq!(answer.text("scope"), "read:get");
    let token = answer.text("refresh_token").to_owned();
    // The consent.
    let consents = store.consents(None).await.unwrap();
    let consent = consents.iter().find(|consent| consent.revoked_s.is_none()).unwrap();
    store.revoke_consent(&town.act(), &consent.id).await.unwrap();
    publish().await;
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
}

#[tokio::test]
async fn an_access_token_of_a_consent_that_was_taken_back_stays_dead_when_it_is_given_anew() {
    let town = Town::new().await;
    let (_, first) = given(&town).await;
    // Given again without an end in between, what there was goes on.
    let (_, second) = given(&town).await;
    let is_revoked = |jti: &str| town.world.published.load().is_revoked(jti);
    assert!(!is_revoked(&first) && !is_revoked(&second));
    let store = &town.world.store;
    let consents = store.consents(None).await.unwrap();
    let consent = consents.iter().find(|consent| consent.revoked_s.is_none()).unwrap();
    store.revoke_consent(&town.act(), &consent.id).await.unwrap();
    town.world.authority.publish().await.unwrap();
    let (_, third) = given(&town).await;
    assert!(is_revoked(&first) && is_revoked(&second) && !is_revoked(&third));
}

#[tokio::test]
async fn what_was_given_before_a_stop_does_not_come_back() {
    let town = Town::new().await;
    let store = &town.world.store;
    let publish = async || town.world.authority.publish().await.unwrap();
    let person = town.world.published.load().person_named("ann").unwrap().id.clone();
    let (token, _) = given(&town).await;
    store.set_person_state(&town.act(), &person, LifeCycle::Suspended).await.unwrap();
    publish().await;
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
    store.set_person_state(&town.act(), &person, LifeCycle::Active).await.unwrap();
    publish().await;
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
    // Nor later than a stop is remembered.
    town.world.pass_s(400);
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
    // What is given afterwards counts, also in the same second.
    let (token, _) = given(&town).await;
    let answer = renewed(&town, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.page);
    let token = answer.text("refresh_token");
    town.world.pass_s(2);
    let client = AgentId::parse(&town.client_id).unwrap();
    store.set_agent_state(&town.act(), &client, LifeCycle::Suspended).await.unwrap();
    publish().await;
    assert_eq!(renewed(&town, token).await.refusal(), (401, "invalid_client"));
    store.set_agent_state(&town.act(), &client, LifeCycle::Active).await.unwrap();
    publish().await;
    town.world.pass_s(400);
    assert_eq!(renewed(&town, token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
}

#[tokio::test]
async fn it_ends_by_rest_and_by_age() {
    const DAY_S: u64 = 24 * 3600;
    let town = Town::new().await;
    let (token, _) = given(&town).await;
    town.world.pass_s(7 * DAY_S);
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "refresh.invalid");
    let (mut token, _) = given(&town).await;
    for _ in 0..4 {
        town.world.pass_s(7 * DAY_S - 1);
        token = renewed(&town, &token).await.text("refresh_token").to_owned();
    }
    town.world.pass_s(2 * DAY_S + 4);
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn giving_it_back_ends_the_tokens_of_its_family() {
    let town = Town::new().await;
    let (token, jti) = given(&town).await;
    let other = town.client("other", &[CALLBACK]).await;
    let revoke = async |client_id: &str| {
        town.world.post_form("/revoke", &[("client_id", client_id), ("token", &token)]).await
    };
    assert_eq!(revoke(&other).await.status, StatusCode::OK, "nobody learns whose it is");
    assert!(!town.world.published.load().is_revoked(&jti));
    let answer = renewed(&town, &token).await;
    let token = answer.text("refresh_token").to_owned();
    let form = [("client_id", town.client_id.as_str()), ("token", token.as_str())];
    let revoked = town.world.post_form("/revoke", &form).await;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.page);
    assert!(town.world.published.load().is_revoked(&jti));
    assert_eq!(renewed(&town, &token).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn giving_back_what_is_over_is_no_error() {
    let town = Town::new().await;
    let (token, _) = given(&town).await;
    let revoke = async |client_id: &str, token: &str| {
        town.world.post_form("/revoke", &[("client_id", client_id), ("token", token)]).await
    };
    // RFC 7009 section 2.2: the client could do nothing about it.
    for text in [token.as_str(), token.as_str(), "never-a-token"] {
        assert_eq!(revoke(&town.client_id, text).await.status, StatusCode::OK, "{text}");
    }
    for unknown in ["agt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "https://client.example/unknown.json"] {
        assert_eq!(revoke(unknown, &token).await.refusal(), (401, "invalid_client"), "{unknown}");
    }
    let form = [("client_id", town.client_id.as_str())];
    let without = town.world.post_form("/revoke", &form).await;
    assert_eq!(without.refusal(), (400, "invalid_request"));
}

#[tokio::test]
async fn an_access_token_is_given_back_alone() {
    let town = Town::new().await;
    let (refresh, _) = given(&town).await;
    let answer = renewed(&town, &refresh).await;
    let (access, jti) = (answer.text("access_token"), jti(&answer));
    let other = town.client("other", &[CALLBACK]).await;
    let revoke = async |client_id: &str| {
        let form = [("client_id", client_id), ("token", access)];
        assert_eq!(town.world.post_form("/revoke", &form).await.status, StatusCode::OK);
        town.world.published.load().is_revoked(&jti)
    };
    assert!(!revoke(&other).await, "of another client");
    assert!(revoke(&town.client_id).await);
    let next = answer.text("refresh_token");
    assert_eq!(renewed(&town, next).await.status, StatusCode::OK, "the family stands");
}
