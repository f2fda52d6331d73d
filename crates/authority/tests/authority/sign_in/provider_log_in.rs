//! Log-in at the provider: the way there, the way back, and whose answer it is.

use attorn_jose::{base64url, sha256};
use http::StatusCode;
use serde_json::{Value, json};

use super::browser::{Browser, Town, location, parameter};
use super::provider::{ACCESS_TOKEN, CLIENT_ID, CODE, Provider, Trip, is_in};
use crate::world::ISSUER;

#[tokio::test]
async fn who_logs_in_at_the_provider_is_the_person_who_is_linked() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let page = browser.get("/login").await;
    assert!(page.page.contains(r#"href="/login/provider""#), "{}", page.page);
    assert!(page.page.contains("Sign in with Corp"), "{}", page.page);
    let trip = Trip::begin(&browser).await;
    let value = |name| parameter(&trip.to, name).unwrap_or_default();
    // A query of the endpoint stays, and ours is behind it.
    assert!(trip.to.starts_with(&format!("{}/auth?tenant=7&response_type=code&", provider.issuer)));
    assert_eq!(value("client_id"), CLIENT_ID);
    assert_eq!(value("redirect_uri"), format!("{ISSUER}/login/callback"));
    assert_eq!(value("scope"), "openid profile email");
    assert_eq!(value("code_challenge_method"), "S256");
    assert!(!trip.to.contains("prompt=") && !trip.to.contains("max_age="));
    provider.gives(&provider.claims(&town, &trip.nonce));
    let back = browser.get(&trip.answer(&provider)).await;
    assert!(is_in(&back), "{}", back.page);
    let sessions = browser.get("/sessions").await;
    assert!(sessions.page.contains("ann"), "{}", sessions.page);
    // From server to server: the code with the verifier whose challenge went with the person.
    let (form, authorization) = provider.redeemed();
    let sent = |name| parameter(&format!("?{form}"), name).unwrap_or_default();
    assert_eq!((sent("code").as_str(), sent("grant_type").as_str()), (CODE, "authorization_code"));
    assert_eq!(base64url(&sha256(sent("code_verifier").as_bytes())), value("code_challenge"));
    assert_eq!((sent("client_id").as_str(), authorization.as_str()), (CLIENT_ID, ""));
    // On record: where, and none of the secrets.
    let entry = town.world.newest("identity.login").await;
    assert_eq!(entry["detail"]["provider"], provider.issuer);
    assert_eq!(entry["subject"], town.id_of("ann").to_string());
    let text = format!("{:?}", town.world.entries().await);
    for secret in [ACCESS_TOKEN, CODE, &trip.state, &trip.nonce, &sent("code_verifier"), "eyJ"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let cookie = browser.cookie("browser").unwrap();
    assert!(!text.contains(cookie.split_once('=').unwrap().1));
}

#[tokio::test]
async fn a_request_that_waits_goes_on_after_the_log_in() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    let page = browser.follow(&asked).await;
    let name = browser.hidden("waiting");
    let way = format!("/login/provider?waiting={name}");
    assert!(page.page.contains(&format!(r#"href="{way}""#)), "{}", page.page);
    let trip = Trip::begin_at(&browser, &way).await;
    provider.gives(&provider.claims(&town, &trip.nonce));
    let back = browser.get(&trip.answer(&provider)).await;
    assert_eq!(location(&back), format!("{ISSUER}/consent?waiting={name}"));
    let consent = browser.follow(&back).await;
    assert_eq!(consent.status, StatusCode::OK, "{}", consent.page);
    assert!(consent.page.contains("The desk") && consent.page.contains("ann"), "{}", consent.page);
    // Somebody else's request is none.
    let other = Browser::new(&town.world);
    let trip = Trip::begin_at(&other, &way).await;
    provider.gives(&provider.claims(&town, &trip.nonce));
    assert!(is_in(&other.get(&trip.answer(&provider)).await));
}

#[tokio::test]
async fn an_answer_counts_once_and_in_the_browser_that_asked() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let trip = Trip::begin(&browser).await;
    provider.gives(&provider.claims(&town, &trip.nonce));
    let good = trip.answer(&provider);
    let refused = async |browser: &Browser<'_>, path: &str| {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.page);
        assert!(answer.headers.get("location").is_none() && browser.cookie("session").is_none());
        assert_eq!(town.refused().await.0, "login.state", "{path}");
    };
    // Another browser, also one that has the session of another person.
    let other = Browser::new(&town.world);
    refused(&other, &good).await;
    let stranger = Browser::new(&town.world);
    stranger.get("/login").await;
    refused(&stranger, &good).await;
    for query in [
        "",
        "code=c",
        "state=",
        &format!("state={}", "a".repeat(43)),
        &format!("state={0}&state={0}&code=c", trip.state),
        &format!("state={}&code=a&code=b", trip.state),
        &format!("state={}%00&code=c", trip.state),
    ] {
        refused(&browser, &format!("/login/callback?{query}")).await;
    }
    // None of it used up what the honest browser has.
    assert!(is_in(&browser.get(&good).await));
    let session = browser.cookie("session");
    let again = browser.get(&good).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(town.refused().await.0, "login.state");
    // The session stands: the second answer ended nothing.
    assert_eq!(browser.cookie("session"), session);
    assert_eq!(browser.get("/sessions").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_person_has_ten_minutes() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    for (seconds, is_good) in [(599, true), (600, false)] {
        let trip = Trip::begin(&browser).await;
        town.world.pass_s(seconds);
        provider.gives(&provider.claims(&town, &trip.nonce));
        assert_eq!(is_in(&browser.get(&trip.answer(&provider)).await), is_good, "{seconds}");
    }
    assert_eq!(town.refused().await.0, "login.state");
}

#[tokio::test]
async fn an_answer_names_the_provider() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let issuer = provider.issuer.clone();
    let come = async |more: &[(&str, &str)]| {
        let trip = Trip::begin(&browser).await;
        provider.gives(&provider.claims(&town, &trip.nonce));
        browser.get(&trip.answer_with(more)).await
    };
    for iss in ["https://evil.example", &format!("{issuer}/"), &issuer.to_uppercase()] {
        for more in [("code", CODE), ("error", "access_denied")] {
            let answer = come(&[more, ("iss", iss)]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{iss}");
            assert_eq!(town.refused().await.0, "login.issuer", "{iss}");
        }
    }
    // It says that it names itself, so an answer without is another's: RFC 9207 section 2.4.
    assert_eq!(come(&[("code", CODE)]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(town.refused().await.0, "login.issuer");
    assert!(is_in(&come(&[("code", CODE), ("iss", &issuer)]).await));
    // A provider that does not say so need not; what it says still has to be right.
    provider.say(|says| {
        let metadata = says.metadata.as_object_mut().unwrap();
        metadata.remove("authorization_response_iss_parameter_supported");
    });
    town.world.pass_s(600);
    assert!(is_in(&come(&[("code", CODE)]).await));
    assert!(!is_in(&come(&[("code", CODE), ("iss", "https://evil.example")]).await));
}

#[tokio::test]
async fn what_the_provider_denies_is_told_by_its_code_alone() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let denied = async |error: &str| {
        let trip = Trip::begin(&browser).await;
        let more = [("error", error), ("error_description", "<b>no"), ("iss", &provider.issuer)];
        let answer = browser.get(&trip.answer_with(&more)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(!answer.page.contains("<b>"), "{}", answer.page);
        let entry = town.world.newest("identity.login_refused").await;
        assert_eq!(entry["reason"], "login.denied");
        entry["detail"]["error"].clone()
    };
    assert_eq!(denied("access_denied").await, "access_denied");
    assert_eq!(denied("login_required").await, "login_required");
    assert_eq!(denied("a <script> b").await, "ascriptb");
    // A code beside an error is not redeemed.
    let trip = Trip::begin(&browser).await;
    let both = [("error", "x"), ("code", CODE), ("iss", &provider.issuer)];
    assert_eq!(browser.get(&trip.answer_with(&both)).await.status, StatusCode::FORBIDDEN);
    assert!(provider.say(|says| says.redeemed.is_none()));
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
}

#[tokio::test]
async fn a_code_that_is_not_taken_lets_nobody_in() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let come = async |status: u16, body: &str| {
        let trip = Trip::begin(&browser).await;
        provider.say(|says| says.tokens = (status, body.to_owned()));
        let answer = browser.get(&trip.answer(&provider)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{body}");
        town.refused().await.0
    };
    for (status, body) in [
        (400, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (200, r#"{"access_token":"a"}"#),
        (200, r#"{"id_token":"a"}"#),
        (200, r#"{"access_token":"a","id_token":7}"#),
        (200, "[]"),
        (200, "not json"),
        (302, "{}"),
    ] {
        assert_eq!(come(status, body).await, "login.code", "{body}");
    }
    // Without a code there is nothing to redeem.
    let trip = Trip::begin(&browser).await;
    let answer = browser.get(&trip.answer_with(&[("iss", &provider.issuer)])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(town.refused().await.0, "login.code");
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_from_a_password() {
    let provider = Provider::new().await;
    let mut town = Town::with_login(provider.login()).await;
    town.logged_in("ann").await;
    provider.say(|says| says.is_down = true);
    let browser = Browser::new(&town.world);
    let sent = browser.get("/login/provider").await;
    assert_eq!(sent.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(town.refused().await.0, "login.provider_unavailable");
    assert_eq!(browser.get("/login").await.status, StatusCode::OK);
    let by_password = browser.log_in("ann", super::browser::PASSWORD).await;
    assert_eq!(by_password.status, StatusCode::SEE_OTHER);
    // It comes back, and goes while somebody is there: its keys cannot be had.
    provider.say(|says| says.is_down = false);
    town.world.pass_s(5);
    town.link("ann", &provider, super::provider::ANN).await;
    let trip = Trip::begin(&browser).await;
    provider.say(|says| says.is_down = true);
    let back = browser.get(&trip.answer(&provider)).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "{}", back.page);
    provider.say(|says| says.is_down = false);
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
    town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let trip = Trip::begin(&browser).await;
    provider.gives(&provider.claims(&town, &trip.nonce));
    provider.say(|says| says.metadata["jwks_uri"] = json!("http://127.0.0.1:9/jwks"));
    town.world.pass_s(601);
    let answer = browser.get(&trip.answer(&provider)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "too late as well: {}", answer.page);
}

#[tokio::test]
async fn a_document_of_another_issuer_is_no_provider() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    let good = provider.say(|says| says.metadata.clone());
    for (name, value) in [
        ("issuer", json!(format!("{}/", provider.issuer))),
        ("issuer", json!("https://evil.example")),
        ("issuer", Value::Null),
        ("token_endpoint", json!("http://10.0.0.1/token")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("jwks_uri", Value::Null),
    ] {
        provider.say(|says| says.metadata[name] = value.clone());
        town.world.pass_s(5);
        let sent = browser.get("/login/provider").await;
        assert_eq!(sent.status, StatusCode::SERVICE_UNAVAILABLE, "{name} {value}");
        assert_eq!(town.refused().await.0, "login.provider_unavailable", "{name} {value}");
        provider.say(|says| says.metadata = good.clone());
    }
    town.world.pass_s(5);
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_one() {
    let town = Town::new().await;
    let browser = Browser::new(&town.world);
    assert!(!browser.get("/login").await.page.contains("/login/provider"));
    for path in ["/login/provider", "/login/callback?state=a&code=b"] {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn where_passwords_are_off_nobody_gets_in_by_one() {
    let provider = Provider::new().await;
    let on = Town::with_login(provider.login()).await;
    on.logged_in("ann").await;
    let mut login = provider.login();
    login.passwords = false;
    let town = Town::with_login(login).await;
    let browser = Browser::new(&town.world);
    let page = browser.get("/login").await;
    assert!(!page.page.contains("<form") && page.page.contains("/login/provider"), "{}", page.page);
    let invited = browser.get("/invite").await;
    assert!(invited.status == StatusCode::FORBIDDEN && !invited.page.contains("<form"));
    let code = town.world_code("ann").await;
    let password = super::browser::PASSWORD;
    let set = [("code", code.as_str()), ("password", password), ("again", password)];
    let log_in = [("name", "ann"), ("password", password)];
    let is_refused = |entry: &&Value| entry["reason"] == "login.passwords_off";
    for (number, (path, form)) in
        [("/invite", &set[..]), ("/login", &log_in[..])].iter().enumerate()
    {
        let refused = browser.submit(path, form).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.page);
        let entries = town.world.entries().await;
        assert_eq!(entries.iter().filter(is_refused).count(), number + 1, "{path} is on record");
    }
    assert!(browser.cookie("session").is_none());
    town.link("ann", &provider, super::provider::ANN).await;
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
}
