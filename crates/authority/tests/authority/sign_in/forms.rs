//! Forms and pages: what a page of another site, of another browser, or of yesterday achieves.

use http::StatusCode;

use super::browser::{Browser, PASSWORD, Town, location, parameter};
use crate::world::ISSUER;

const ALLOW: [(&str, &str); 2] = [("scope.0", "read:get"), ("decision", "allow")];
const OURS: (&str, &str) = ("origin", ISSUER);

/// A browser that shows the question of consent.
async fn asked(town: &Town) -> Browser<'_> {
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    assert_eq!(browser.follow(&asked).await.status, StatusCode::OK);
    browser
}

#[tokio::test]
async fn consent_is_given_by_our_own_page_alone() {
    let town = Town::new().await;
    let browser = asked(&town).await;
    let (token, waiting) = (browser.hidden("form"), browser.hidden("waiting"));
    let whole = [("form", token.as_str()), ("waiting", waiting.as_str()), ALLOW[0], ALLOW[1]];
    let forged = async |form: &[(&str, &str)], headers: &[(&'static str, &str)]| {
        let answer = browser.post("/consent", form, headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{form:?} {headers:?}");
        assert!(answer.headers.get("location").is_none());
        assert_eq!(town.reason("consent.refused").await, "form.forged");
    };
    forged(&whole[1..], &[OURS]).await;
    forged(&[("form", "AAAA"), whole[1], ALLOW[0], ALLOW[1]], &[OURS]).await;
    forged(&whole, &[]).await;
    forged(&whole, &[("origin", "https://evil.example")]).await;
    forged(&whole, &[("origin", "null")]).await;
    forged(&whole, &[OURS, ("sec-fetch-site", "cross-site")]).await;
    forged(&whole, &[OURS, ("content-type", "text/plain")]).await;
    assert_eq!(browser.get("/consent?decision=allow").await.status, StatusCode::BAD_REQUEST);
    // The token of another session.
    town.person("eve", &["read:*"]).await;
    let other = town.logged_in("eve").await;
    let asked = other.get(&format!("/authorize?{}", town.query(&[]))).await;
    other.follow(&asked).await;
    let foreign = other.hidden("form");
    forged(&[("form", &foreign), whole[1], ALLOW[0], ALLOW[1]], &[OURS]).await;
    // The request of another browser, with the right token of one's own.
    let of_another = [("form", foreign.as_str()), whole[1], ALLOW[0], ALLOW[1]];
    let answer = other.post("/consent", &of_another, &[OURS]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // The twin gives a code, once.
    let allowed = browser.post("/consent", &whole, &[OURS]).await;
    assert!(parameter(&location(&allowed), "code").is_some(), "{}", allowed.page);
    forged(&whole, &[OURS]).await;
    let entry = town.world.newest("consent.given").await;
    assert_eq!(
        (entry["scope"].as_str(), entry["decision"].as_str()),
        (Some("read:get"), Some("permit"))
    );
}

#[tokio::test]
async fn whoever_denies_gives_nothing() {
    let town = Town::new().await;
    let browser = asked(&town).await;
    let denied = browser.submit("/consent", &[("scope.0", "read:get"), ("decision", "deny")]).await;
    let to = location(&denied);
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&to, "state").as_deref(), Some("s-1"));
    assert_eq!(town.reason("consent.refused").await, "consent.denied");
    assert_eq!(town.world.store.consents(None).await.unwrap().len(), 0);
    // It cannot be thought over in the same form.
    let again = browser.submit("/consent", &ALLOW).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nothing_chosen_is_asked_again_and_nothing_else_can_be_chosen() {
    let town = Town::new().await;
    let browser = asked(&town).await;
    let again = browser.submit("/consent", &[("decision", "allow")]).await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.page.contains("Choose at least one"));
    // What was shown, where it was shown: nothing else is there to be chosen.
    let other = [("scope.0", "irreversible:drop"), ALLOW[1]];
    let again = browser.submit("/consent", &other).await;
    assert!(again.page.contains("Choose at least one"));
    let more =
        [ALLOW[0], ("scope.1", "irreversible:drop"), ("scope", "irreversible:drop"), ALLOW[1]];
    let allowed = browser.submit("/consent", &more).await;
    assert!(parameter(&location(&allowed), "code").is_some());
    assert_eq!(town.world.newest("consent.given").await["scope"], "read:get");
}

#[tokio::test]
async fn every_page_is_protected() {
    let town = Town::new().await;
    let browser = asked(&town).await;
    let consent = browser.get(&format!("/consent?waiting={}", browser.hidden("waiting"))).await;
    let pages = [
        consent,
        browser.get("/login").await,
        browser.get("/invite").await,
        browser.get("/sessions").await,
        browser.get("/authorize?client_id=x").await,
    ];
    for (index, page) in pages.iter().enumerate() {
        let header = |name: &str| page.headers[name].to_str().unwrap();
        let policy = header("content-security-policy");
        // The log-in has passkeys, and with them our one script.
        let ours = "script-src 'self'; connect-src 'self'; ";
        let (ours, scripts) = if index == 1 { (ours, 1) } else { ("", 0) };
        let start = format!("default-src 'none'; {ours}style-src 'self';");
        assert!(policy.starts_with(&start), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert!(page.headers.get("access-control-allow-origin").is_none());
        assert_eq!(page.page.matches("<script src=\"/passkeys.js\"").count(), scripts);
        assert_eq!(page.page.matches("<script").count(), scripts);
        assert!(!page.page.contains("style="));
    }
    // Chromium follows the redirect after the form only where the policy names its end.
    let policy = pages[0].headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self' http://127.0.0.1:7777;"), "{policy}");
    let policy = pages[1].headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self';"), "{policy}");
}

#[tokio::test]
async fn a_form_to_log_in_is_ours_too() {
    let town = Town::new().await;
    town.logged_in("ann").await;
    let browser = Browser::new(&town.world);
    browser.get("/login").await;
    let name = [("name", "ann"), ("password", PASSWORD)];
    let forged = browser.post("/login", &name, &[OURS]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert!(forged.headers.get("set-cookie").is_none());
    assert_eq!(town.reason("identity.login_refused").await, "form.forged");
    // Its twin.
    browser.get("/login").await;
    assert_eq!(browser.submit("/login", &name).await.status, StatusCode::SEE_OTHER);
}
