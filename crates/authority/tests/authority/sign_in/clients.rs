//! Clients that register themselves.

use attorn_authority::Registration;
use attorn_registry::AgentId;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::browser::{CALLBACK, Town};
use crate::world::Answer;

async fn open() -> Town {
    Town::configured(|clients| {
        clients.registration = Registration::Open;
        clients.registrations_max = 22;
    })
    .await
}

async fn register(town: &Town, body: &Value) -> Answer {
    let request = Request::post("/register").header("content-type", "application/json");
    let request = request.header("origin", "https://evil.example");
    town.world.public(request.body(Full::from(Bytes::from(body.to_string()))).unwrap()).await
}

#[tokio::test]
async fn registration_is_closed_unless_it_was_opened() {
    let town = Town::new().await;
    let answer = register(&town, &json!({ "redirect_uris": [CALLBACK] })).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let town = open().await;
    let answer = register(&town, &json!({ "redirect_uris": [CALLBACK] })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.page);
    let metadata = town.world.get("/.well-known/oauth-authorization-server").await;
    assert!(metadata.body["registration_endpoint"].is_string());
}

#[tokio::test]
async fn a_client_that_registered_itself_asks_people() {
    let mut town = open().await;
    let body = json!({
        "redirect_uris": [CALLBACK],
        "client_name": "Desk \u{202e}<b>",
        // Nothing of this is kept.
        "client_id": "agt_mine", "scope": "*", "skip_consent": true, "first_party": true,
        "logo_uri": "http://169.254.169.254/", "tenant": "x", "is_admin": true,
    });
    let answer = register(&town, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.page);
    assert!(answer.headers.get("access-control-allow-origin").is_none());
    assert_eq!(answer.body["token_endpoint_auth_method"], "none");
    assert!(answer.body.get("client_secret").is_none());
    let id = AgentId::parse(answer.text("client_id")).unwrap();
    let record = town.world.store.agent(&id).await.unwrap();
    let text = format!("{record:?}");
    for word in ["169.254", "skip_consent", "\u{202e}", "tenant"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    town.client_id = id.to_string();
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    let consent = browser.follow(&asked).await;
    assert!(consent.page.contains("it registered itself"), "{}", consent.page);
    assert!(!consent.page.contains("Desk <b>"), "{}", consent.page);
    let code = town.code(&browser, &[]).await;
    town.redeemed(&code).await;
}

#[tokio::test]
async fn metadata_that_asks_for_more_is_refused() {
    let town = open().await;
    for (body, error) in [
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!({}), "invalid_redirect_uri"),
        (
            json!({ "redirect_uris": [CALLBACK], "grant_types": ["password"] }),
            "invalid_client_metadata",
        ),
        (
            json!({ "redirect_uris": [CALLBACK], "jwks_uri": "http://10.0.0.1/" }),
            "invalid_client_metadata",
        ),
        (json!([CALLBACK]), "invalid_client_metadata"),
    ] {
        let answer = register(&town, &body).await;
        assert_eq!(answer.refusal(), (400, error), "{body}");
    }
    let reason = town.reason("identity.enrolment_refused").await;
    assert_eq!(reason, "client.metadata");
}

#[tokio::test]
async fn a_flood_of_registrations_meets_its_quota() {
    let town = open().await;
    let from = |address: &str| *town.world.from.lock().unwrap() = Some(address.parse().unwrap());
    let body = json!({ "redirect_uris": [CALLBACK] });
    from("192.0.2.1");
    for _ in 0..19 {
        assert_eq!(register(&town, &body).await.status, StatusCode::CREATED);
    }
    // Of many at once, no more get in than of many in turn.
    let ask = || register(&town, &body);
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    let made =
        [first, second, third].iter().filter(|one| one.status == StatusCode::CREATED).count();
    assert_eq!(made, 1);
    assert_eq!(register(&town, &body).await.status, StatusCode::TOO_MANY_REQUESTS);
    // Somebody else still gets in, until there are as many as may be.
    from("192.0.2.2");
    assert_eq!(register(&town, &body).await.status, StatusCode::CREATED);
    assert_eq!(register(&town, &body).await.status, StatusCode::CREATED);
    from("192.0.2.3");
    assert_eq!(register(&town, &body).await.status, StatusCode::TOO_MANY_REQUESTS);
    // What nobody used within a day makes room.
    town.world.pass_s(24 * 3600);
    assert_eq!(register(&town, &body).await.status, StatusCode::CREATED);
}
