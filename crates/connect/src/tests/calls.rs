//! Tokens and proofs: nonces, renewal, step-up, many callers.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;
use url::Url;

use super::fake::{Fake, Seen, insufficient, reply, scopes, text};
use crate::authorized::{AuthorizedClient, CallError};
use crate::request::TokenFailure;

fn ok(_: &Seen, _: &Fake) -> http::Response<attorn_net::Body> {
    reply(200, &json!({ "ok": true }))
}

async fn client(fake: &Fake) -> AuthorizedClient {
    AuthorizedClient::new(fake.tokens().await).unwrap()
}

async fn call(
    client: &AuthorizedClient,
    fake: &Fake,
) -> Result<http::Response<attorn_net::ResponseBody>, CallError> {
    let url = Url::parse(&fake.resource()).unwrap();
    client.send(Method::POST, &url, &HeaderMap::new(), Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn a_call_carries_a_bound_token_and_a_proof() {
    let fake = Fake::start(ok).await;
    let response = call(&client(&fake).await, &fake).await.unwrap();
    assert_eq!(text(response).await, r#"{"ok":true}"#);
    let request = &fake.seen("/token")[0];
    assert_eq!(request.field("scope"), None);
    assert_eq!(request.field("client_id").as_deref(), Some("agt_test"));
}

#[tokio::test]
async fn nonces_of_both_servers_are_taken_and_kept() {
    let fake = Fake::start(ok).await;
    fake.script().server_nonce = Some("n1");
    fake.script().resource_nonce = Some("n1");
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    // Both live on one origin here, so the first challenge serves both.
    assert_eq!(fake.script().proofs_refused, ["use_dpop_nonce"]);
    fake.script().resource_nonce = Some("n2");
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    assert_eq!(fake.script().proofs_refused.len(), 2);
}

#[tokio::test]
async fn an_endless_nonce_challenge_ends() {
    let fake = Fake::start(|_, _| {
        let mut response = reply(401, &json!({}));
        let headers = response.headers_mut();
        headers.insert("www-authenticate", r#"DPoP error="use_dpop_nonce""#.parse().unwrap());
        headers.insert("dpop-nonce", "another".parse().unwrap());
        response
    })
    .await;
    let response = call(&client(&fake).await, &fake).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(fake.seen("/billing/mcp").len(), 2);
    assert_eq!(fake.script().tokens, 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_once_for_all_callers() {
    let fake = Fake::start(ok).await;
    let client = client(&fake).await;
    let calls = |count: usize| {
        let all = (0..count).map(|_| {
            let (client, fake) = (client.clone(), fake.clone());
            tokio::spawn(async move { call(&client, &fake).await.unwrap().status() })
        });
        all.collect::<Vec<_>>()
    };
    for running in calls(20) {
        assert_eq!(running.await.unwrap(), 200);
    }
    assert_eq!(fake.script().tokens, 1);
    fake.now_ms.fetch_add(79_000, Ordering::SeqCst);
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    assert_eq!(fake.script().tokens, 1);
    fake.now_ms.fetch_add(2_000, Ordering::SeqCst);
    for running in calls(20) {
        assert_eq!(running.await.unwrap(), 200);
    }
    assert_eq!(fake.script().tokens, 2);
}

#[tokio::test]
async fn an_outage_of_the_authority_is_not_one_of_the_calls_while_the_token_lives() {
    let fake = Fake::start(ok).await;
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    fake.script().token_error = Some((503, "temporarily_unavailable"));
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    fake.now_ms.fetch_add(10_000, Ordering::SeqCst);
    let failure = call(&client, &fake).await.unwrap_err();
    assert!(matches!(failure, CallError::Token(TokenFailure::Unreachable(_))));
}

#[tokio::test]
async fn a_refusal_is_told_without_control_characters() {
    let fake = Fake::start(ok).await;
    fake.script().token_error = Some((401, "invalid_client"));
    let failure = call(&client(&fake).await, &fake).await.unwrap_err();
    let CallError::Token(TokenFailure::Refused(refusal)) = failure else {
        panic!("expected a refusal");
    };
    assert_eq!(refusal.code, "invalid_client");
    assert_eq!(refusal.description.as_deref(), Some("no[31m"));
}

#[tokio::test]
async fn a_token_no_longer_taken_is_replaced_once() {
    let fake = Fake::start(ok).await;
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    fake.script().valid_from = 2;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    fake.script().valid_from = 99;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 401);
    assert_eq!(fake.script().tokens, 3);
}

#[tokio::test]
async fn a_wider_scope_is_asked_for_and_remembered() {
    let fake = Fake::start(|seen, _| {
        if scopes(seen).contains("write:add_note") {
            reply(200, &json!({}))
        } else {
            insufficient("write:add_note")
        }
    })
    .await;
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    let asked = fake.seen("/token")[1].field("scope");
    assert_eq!(asked.as_deref(), Some("read:get_invoice write:add_note"));
    fake.now_ms.fetch_add(200_000, Ordering::SeqCst);
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    assert_eq!(fake.seen("/token")[2].field("scope"), asked);
}

#[tokio::test]
async fn step_up_ends_when_the_scopes_grow_each_time() {
    let fake = Fake::start(|_, fake| insufficient(&format!("s{}", fake.script().tokens))).await;
    assert_eq!(call(&client(&fake).await, &fake).await.unwrap().status(), 403);
    assert_eq!(fake.script().tokens, 3);
}

#[tokio::test]
async fn a_scope_that_is_held_already_is_not_asked_for_again() {
    let fake = Fake::start(|_, _| insufficient("read:get_invoice")).await;
    assert_eq!(call(&client(&fake).await, &fake).await.unwrap().status(), 403);
    assert_eq!(fake.script().tokens, 1);
}

#[tokio::test]
async fn credentials_stay_on_their_origin_and_do_not_follow_redirects() {
    let fake = Fake::start(|_, _| {
        let mut response = reply(307, &json!({}));
        let elsewhere = "http://127.0.0.1:9/elsewhere".parse().unwrap();
        response.headers_mut().insert("location", elsewhere);
        response
    })
    .await;
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 307);
    let other = Url::parse("http://127.0.0.1:9/billing/mcp").unwrap();
    let refused = client.send(Method::POST, &other, &HeaderMap::new(), Bytes::new()).await;
    assert!(matches!(refused, Err(CallError::OriginRefused)));
}

#[tokio::test]
async fn an_unbound_token_is_discarded() {
    let fake = Fake::start(ok).await;
    fake.script().token_type = "Bearer";
    let failure = call(&client(&fake).await, &fake).await.unwrap_err();
    assert!(matches!(failure, CallError::Token(TokenFailure::Unbound)));
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let fake = Fake::start(ok).await;
    let client = client(&fake).await;
    assert_eq!(call(&client, &fake).await.unwrap().status(), 200);
    let token = client.tokens().token().await.unwrap();
    let shown = format!("{client:?} {token:?}");
    assert!(!shown.contains("at-1"), "{shown}");
}
