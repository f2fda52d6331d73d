//! Stops while something of a person is under way: nothing comes of it, neither then nor afterwards.

use attorn_authority::Operation;
use serde_json::{Value, json};

use super::browser::{Browser, Town, location, parameter};
use crate::world::Answer;

/// Everything that a code or a refresh token of ann's application rests on.
fn levels() -> [Value; 4] {
    [
        json!({ "kind": "agent", "agent": "desk" }),
        json!({ "kind": "owner", "owner": "sales" }),
        json!({ "kind": "person", "person": "ann" }),
        json!({ "kind": "server", "server": "crm" }),
    ]
}

async fn lock(town: &Town, target: &Value) -> String {
    let lock = json!({ "target": target, "reason": "test" });
    let made = town.world.done(&town.operator, Operation::LockCreate, &[], lock).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn lift(town: &Town, id: &str) {
    let reason = json!({ "reason": "test" });
    town.world.done(&town.operator, Operation::LockLift, &[id], reason).await;
    // What is made in the second of a stop could be from before it.
    town.world.pass_s(1);
}

#[track_caller]
fn is_nothing(answer: &Answer, about: &str) {
    assert!(answer.status.is_client_error(), "{about}: {} {}", answer.status, answer.page);
    assert!(answer.body.get("access_token").is_none(), "{about}: {}", answer.page);
}

/// A refresh token that a person gave by everything right.
async fn refresh_token(town: &Town, browser: &Browser<'_>) -> String {
    let code = town.code(browser, &[]).await;
    town.redeemed(&code).await.text("refresh_token").to_owned()
}

#[tokio::test]
async fn a_code_from_before_a_stop_gives_nothing() {
    let town = Town::new().await;
    for target in levels() {
        let browser = town.logged_in("ann").await;
        let (shown, kept) = (town.code(&browser, &[]).await, town.code(&browser, &[]).await);
        let id = lock(&town, &target).await;
        let about = target.to_string();
        is_nothing(&town.ask(&town.form(&shown), &town.key).await, &about);
        lift(&town, &id).await;
        // Neither the one that was shown meanwhile, nor one that waited for the end of the stop.
        for code in [shown, kept] {
            let refused = town.ask(&town.form(&code), &town.key).await;
            assert_eq!(refused.refusal(), (400, "invalid_grant"), "{about}");
        }
        // The twin: one from afterwards.
        let browser = town.logged_in("ann").await;
        town.redeemed(&town.code(&browser, &[]).await).await;
    }
}

#[tokio::test]
async fn a_refresh_token_from_before_a_stop_never_counts_again() {
    let town = Town::new().await;
    let jkt = town.key.public().thumbprint().to_string();
    let of_key = [json!({ "kind": "key", "jkt": jkt })];
    for target in levels().into_iter().chain(of_key) {
        let browser = town.logged_in("ann").await;
        let token = refresh_token(&town, &browser).await;
        let ask = async || town.ask(&town.refresh_form(&token), &town.key).await;
        let id = lock(&town, &target).await;
        let about = target.to_string();
        is_nothing(&ask().await, &about);
        lift(&town, &id).await;
        assert_eq!(ask().await.refusal(), (400, "invalid_grant"), "{about}");
        // Nor when the stop is forgotten, as it is once no access token from before it lives.
        town.world.pass_s(1000);
        assert_eq!(ask().await.refusal(), (400, "invalid_grant"), "{about}");
        let browser = town.logged_in("ann").await;
        let token = refresh_token(&town, &browser).await;
        let renewed = town.ask(&town.refresh_form(&token), &town.key).await;
        assert_eq!(renewed.status, http::StatusCode::OK, "{about}: {}", renewed.page);
    }
}

/// Pushes a request, and gives the address that a browser opens with it.
async fn pushed(town: &Town) -> String {
    let query = town.query(&[]);
    let form: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let pushed = town.world.post_form("/par", &form).await;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", &town.client_id);
    query.append_pair("request_uri", pushed.text("request_uri"));
    format!("/authorize?{}", query.finish())
}

/// The code that an answer brings back, if it leads anywhere.
fn code_in(answer: &Answer) -> Option<String> {
    parameter(answer.headers.get("location")?.to_str().unwrap(), "code")
}

/// Opens an address and says yes to whatever is asked; gives the code that comes of it, if any.
async fn answered(town: &Town, browser: &Browser<'_>, address: &str) -> Option<String> {
    let asked = browser.get(address).await;
    if !asked.status.is_redirection() {
        return None;
    }
    if !location(&asked).starts_with(crate::world::ISSUER) {
        return code_in(&asked);
    }
    let page = browser.follow(&asked).await;
    if page.status.is_redirection() {
        return code_in(&page);
    }
    let said = [("scope.0", "read:get"), ("decision", "allow")];
    let allowed = browser.submit("/consent", &said).await;
    let code = code_in(&allowed)?;
    town.redeemed(&code).await;
    Some(code)
}

#[tokio::test]
async fn a_pushed_request_meets_a_stop_at_its_page() {
    let town = Town::new().await;
    for target in levels() {
        let browser = town.logged_in("ann").await;
        let address = pushed(&town).await;
        let id = lock(&town, &target).await;
        assert_eq!(answered(&town, &browser, &address).await, None, "{target}");
        lift(&town, &id).await;
        let browser = town.logged_in("ann").await;
        let address = pushed(&town).await;
        assert!(answered(&town, &browser, &address).await.is_some(), "{target}");
    }
}

#[tokio::test]
async fn a_question_that_is_open_meets_a_stop_at_its_answer() {
    let town = Town::new().await;
    let said = [("scope.0", "read:get"), ("decision", "allow")];
    for target in levels() {
        let browser = town.logged_in("ann").await;
        let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
        let page = browser.follow(&asked).await;
        assert!(page.page.contains("read:get"), "{target}: {}", page.page);
        let id = lock(&town, &target).await;
        let answer = browser.submit("/consent", &said).await;
        assert_eq!(code_in(&answer), None, "{target}: {}", answer.page);
        lift(&town, &id).await;
    }
    let consents = town.world.store.consents(None).await.unwrap();
    assert!(consents.is_empty(), "{consents:?}");
    let browser = town.logged_in("ann").await;
    let address = format!("/authorize?{}", town.query(&[]));
    assert!(answered(&town, &browser, &address).await.is_some());
}

#[tokio::test]
async fn an_emergency_ends_codes_refresh_tokens_and_sessions() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let code = town.code(&browser, &[]).await;
    let token = refresh_token(&town, &browser).await;
    let reason = json!({ "reason": "a backup was stolen" });
    town.world.done(&town.operator, Operation::KeyEmergencyRotate, &[], reason).await;
    for form in [town.form(&code), town.refresh_form(&token)] {
        let refused = town.ask(&form, &town.key).await;
        assert_eq!(refused.refusal(), (400, "invalid_grant"), "{form:?}");
    }
    assert!(location(&browser.get("/sessions").await).ends_with("/login"));
    town.world.pass_s(1);
    let browser = town.logged_in("ann").await;
    refresh_token(&town, &browser).await;
}

#[tokio::test]
async fn a_rotation_of_the_signing_key_is_no_outage_for_refresh_tokens() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let mut token = refresh_token(&town, &browser).await;
    let mut kids = Vec::new();
    for _ in 0..3 {
        let renewed = town.ask(&town.refresh_form(&token), &town.key).await;
        assert_eq!(renewed.status, http::StatusCode::OK, "{}", renewed.page);
        token = renewed.text("refresh_token").to_owned();
        let header = renewed.text("access_token").split('.').next().unwrap();
        let header = attorn_jose::from_base64url(header).unwrap();
        kids.push(serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone());
        // The key of before the one before is gone then.
        town.world.done(&town.operator, Operation::KeyRotate, &[], json!({})).await;
    }
    kids.dedup();
    assert_eq!(kids.len(), 3, "each is by the key of its moment");
}
