//! What a person gave, and takes back.

use http::StatusCode;
use serde_json::json;

use super::browser::{Town, location};
use crate::world::ISSUER;

const OURS: (&str, &str) = ("origin", ISSUER);

#[tokio::test]
async fn what_was_given_is_taken_back_by_whoever_gave_it() {
    let town = Town::new().await;
    let ann = town.logged_in("ann").await;
    let code = town.code(&ann, &[]).await;
    let page = ann.get("/consents").await;
    for text in ["The desk", "crm", "read:get", "Take back"] {
        assert!(page.page.contains(text), "{text}: {}", page.page);
    }
    let (token, consent) = (ann.hidden("form"), ann.hidden("consent"));
    // Of somebody else, of another page, or of none.
    town.person("eve", &["read:*"]).await;
    let eve = town.logged_in("eve").await;
    assert!(eve.get("/consents").await.page.contains("Nobody acts for you"));
    town.code(&eve, &[]).await;
    eve.get("/consents").await;
    let of_eve = eve.hidden("form");
    let stolen = [("form", of_eve.as_str()), ("consent", consent.as_str())];
    assert_eq!(eve.post("/consents", &stolen, &[OURS]).await.status, StatusCode::FORBIDDEN);
    for form in [
        vec![("consent", consent.as_str())],
        vec![("form", of_eve.as_str()), ("consent", consent.as_str())],
        vec![("form", token.as_str()), ("consent", "con_x")],
        vec![("form", token.as_str())],
    ] {
        let forged = ann.post("/consents", &form, &[OURS]).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN, "{form:?}");
        assert_eq!(town.reason("consent.refused").await, "form.forged");
    }
    let whole = [("form", token.as_str()), ("consent", consent.as_str())];
    let foreign = ann.post("/consents", &whole, &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    // The twin, once.
    let done = ann.post("/consents", &whole, &[OURS]).await;
    assert!(done.page.contains("It is taken back") && !done.page.contains("The desk"));
    let entry = town.world.newest("grant.revoked").await;
    let who = town.world.published.load().person_named("ann").unwrap().id.to_string();
    assert_eq!((&entry["by"], &entry["subject"]), (&json!(who), &json!(who)));
    assert_eq!(entry["detail"]["consent"], json!(consent));
    assert_eq!(ann.post("/consents", &whole, &[OURS]).await.status, StatusCode::FORBIDDEN);
    // What came of it ends with it, and what eve gave does not.
    let refused = town.ask(&town.form(&code), &town.key).await;
    assert_eq!(refused.body["error"], "invalid_grant", "{}", refused.page);
    assert!(eve.get("/consents").await.page.contains("The desk"));
}

#[tokio::test]
async fn nobody_sees_what_others_gave() {
    let town = Town::new().await;
    let nobody = super::browser::Browser::new(&town.world);
    assert_eq!(location(&nobody.get("/consents").await), format!("{ISSUER}/login"));
    let sent = nobody.post("/consents", &[("consent", "con_a")], &[OURS]).await;
    assert_eq!(location(&sent), format!("{ISSUER}/login"));
}
