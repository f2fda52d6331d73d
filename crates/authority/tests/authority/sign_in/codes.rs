//! Codes: what they are bound to, and what a second use does.

use std::net::SocketAddr;

use attorn_authority::Limits;
use attorn_jose::SigningKey;
use attorn_net::{Peer, Rate};
use http::StatusCode;
use serde_json::Value;

use super::browser::{CALLBACK, Town};
use crate::world::{Answer, CRM, form_request, new_key};

fn claims(answer: &Answer) -> Value {
    let token = answer.text("access_token");
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_code_gives_a_bound_token_for_the_person() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let answer = town.redeemed(&code).await;
    assert_eq!((answer.text("token_type"), answer.text("scope")), ("DPoP", "read:get"));
    let claims = claims(&answer);
    assert!(claims["sub"].as_str().unwrap().starts_with("usr_"));
    assert_eq!(claims["client_id"], town.client_id);
    assert_eq!(claims["act"]["sub"], town.client_id);
    assert_eq!(claims["aud"], CRM);
    assert_eq!(claims["cnf"]["jkt"], town.key.public().thumbprint().to_string());
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 300);
    let entry = town.world.newest("token.issued").await;
    assert_eq!(entry["subject"], claims["sub"]);
    assert_eq!(entry["actor_chain"], town.client_id);
    assert_eq!(answer.headers["cache-control"], "no-store");
    // Neither the code nor the refresh token is on record.
    let text = format!("{:?}", town.world.entries().await);
    assert!(!text.contains(&code) && !text.contains(answer.text("refresh_token")));
}

/// A redemption with one thing wrong. The code is dead afterwards, for its own client as well.
async fn refused(changes: &[(&str, &str)], key: Option<&SigningKey>, reason: &str) {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let mut form = town.form(&code);
    for (name, value) in changes {
        form.retain(|(other, _)| other != name);
        form.push((name, value));
    }
    let answer = town.ask(&form, key.unwrap_or(&town.key)).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant"), "{changes:?} {}", answer.page);
    assert_eq!(town.reason("token.refused").await, reason, "{changes:?}");
    let again = town.ask(&town.form(&code), &town.key).await;
    assert_eq!(again.refusal(), (400, "invalid_grant"), "{changes:?}");
}

#[tokio::test]
async fn a_code_is_for_its_verifier() {
    for verifier in ["a".repeat(43), "a".repeat(42), "a".repeat(129)] {
        refused(&[("code_verifier", &verifier)], None, "code.invalid").await;
    }
}

#[tokio::test]
async fn a_code_is_for_its_address() {
    for uri in ["http://127.0.0.1:7778/cb", "https://client.example/cb"] {
        refused(&[("redirect_uri", uri)], None, "code.invalid").await;
    }
}

#[tokio::test]
async fn a_code_is_for_its_client() {
    let town = Town::new().await;
    let other = town.client("other", &[CALLBACK]).await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let mut form = town.form(&code);
    form[1] = ("client_id", &other);
    let answer = town.ask(&form, &town.key).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "code.invalid");
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_form_without_its_parts_leaves_the_code_alone() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let form = town.form(&code);
    for (name, status, error) in [
        ("code", 400, "invalid_request"),
        ("code_verifier", 400, "invalid_grant"),
        ("redirect_uri", 400, "invalid_grant"),
        ("client_id", 401, "invalid_client"),
    ] {
        let less: Vec<_> = form.iter().copied().filter(|(other, _)| *other != name).collect();
        let answer = town.ask(&less, &town.key).await;
        assert_eq!(answer.refusal(), (status, error), "{name}");
    }
    // No proof, and one without our nonce.
    let answer = town.world.public(form_request("/token", &form, None)).await;
    assert_eq!(answer.refusal(), (400, "invalid_dpop_proof"));
    let stranger = [form[0], ("client_id", "agt_x"), form[2], form[3], form[4]];
    assert_eq!(town.ask(&stranger, &town.key).await.refusal(), (401, "invalid_client"));
    let elsewhere = [form.as_slice(), &[("resource", "https://gw.example/other/mcp")]].concat();
    assert_eq!(town.ask(&elsewhere[..5], &town.key).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_for_its_resource() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let mut form = town.form(&code);
    form.push(("resource", "https://gw.example/other/mcp"));
    assert_eq!(town.ask(&form, &town.key).await.refusal(), (400, "invalid_target"));
    let code = town.code(&browser, &[]).await;
    let mut form = town.form(&code);
    form.push(("resource", CRM));
    assert_eq!(town.ask(&form, &town.key).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_for_the_key_that_was_named() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let own = town.key.public().thumbprint().to_string();
    let code = town.code(&browser, &[("dpop_jkt", &own)]).await;
    let other = new_key();
    assert_eq!(town.ask(&town.form(&code), &other).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "possession.key_mismatch");
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
    let code = town.code(&browser, &[("dpop_jkt", &own)]).await;
    town.redeemed(&code).await;
}

#[tokio::test]
async fn a_code_lasts_a_minute() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    town.world.pass_s(59);
    town.redeemed(&code).await;
    let code = town.code(&browser, &[]).await;
    town.world.pass_s(60);
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.ask(&town.form("nothing"), &town.key).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_second_use_ends_what_the_first_gave() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let first = town.redeemed(&code).await;
    let jti = claims(&first)["jti"].as_str().unwrap().to_owned();
    assert!(!town.world.published.load().is_revoked(&jti));
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
    assert!(town.world.published.load().is_revoked(&jti));
    assert_eq!(town.reason("token.replayed").await, "code.replayed");
    let refresh = town.refresh_form(first.text("refresh_token"));
    assert_eq!(town.ask(&refresh, &town.key).await.refusal(), (400, "invalid_grant"));
    // The consent is the person's, and stays.
    let consents = town.world.store.consents(None).await.unwrap();
    assert!(consents.iter().any(|consent| consent.revoked_s.is_none()));
}

#[tokio::test]
async fn what_the_person_lost_since_the_code_does_not_give() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let consent = town.world.store.consents(None).await.unwrap().pop().unwrap();
    town.world.store.revoke_consent(&town.act(), &consent.id).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
    assert_eq!(town.reason("token.refused").await, "consent.missing");
}

#[tokio::test]
async fn an_address_that_the_client_lost_does_not_count() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let id = attorn_registry::AgentId::parse(&town.client_id).unwrap();
    let agent = town.world.store.agent(&id).await.unwrap();
    let client = attorn_registry::PublicClient {
        redirect_uris: vec!["https://client.example/cb".to_owned()],
        ..agent.client.unwrap()
    };
    town.world.store.set_public_client(&town.act(), &id, &client).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert_eq!(town.ask(&town.form(&code), &town.key).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_client_of_people_gets_nothing_for_itself() {
    let town = Town::new().await;
    let form = [("grant_type", "client_credentials"), ("client_id", town.client_id.as_str())];
    let answer = town.ask(&form, &town.key).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"), "{}", answer.page);
}

#[tokio::test]
async fn without_a_key_there_is_a_minute_where_the_owner_said_so() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let ask =
        async |code: &str| town.world.public(form_request("/token", &town.form(code), None)).await;
    let code = town.code(&browser, &[]).await;
    assert_eq!(ask(&code).await.refusal(), (400, "invalid_dpop_proof"));
    // The code was left alone.
    town.redeemed(&code).await;
    let classes = std::collections::BTreeSet::from([attorn_registry::Class::Read]);
    let server = town.world.published.load().server_named("crm").unwrap().id.clone();
    town.world.store.set_server_bearer(&town.act(), &server, &classes).await.unwrap();
    town.world.authority.publish().await.unwrap();
    let code = town.code(&browser, &[]).await;
    let answer = ask(&code).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.page);
    assert_eq!(answer.text("token_type"), "Bearer");
    assert!(answer.body.get("refresh_token").is_none());
    let claims = claims(&answer);
    assert!(claims.get("cnf").is_none(), "{claims}");
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 60);
    // Not for a class that the owner did not name, and never for a code that was bound to a key.
    let own = town.key.public().thumbprint().to_string();
    let code = town.code(&browser, &[("dpop_jkt", &own)]).await;
    assert_eq!(ask(&code).await.refusal(), (400, "invalid_grant"));
}

/// Anybody can make codes up: they are charged to where they come from, before the registry is asked.
#[tokio::test]
async fn codes_that_somebody_made_up_are_charged_to_their_address() {
    let limits = Limits { failures_per_address: Rate::new(1, 3), ..Limits::default() };
    let town = Town::limited(limits).await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let from = async |code: &str, address: &str| {
        let nonce = town.nonce().await;
        let proof = town.proof(&town.key, "/token", &nonce);
        let mut request = form_request("/token", &town.form(code), Some(&proof));
        let address: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(Peer::new(address, true));
        town.world.public(request).await
    };
    let mut refused = 0;
    while from("made-up", "192.0.2.1:1").await.status != StatusCode::TOO_MANY_REQUESTS {
        refused += 1;
        assert!(refused < 200, "never refused");
    }
    assert!(refused >= 3);
    assert_eq!(from(&code, "192.0.2.2:1").await.status, StatusCode::OK);
}
