//! Passkeys: added by who is signed in, and used to sign in.

use attorn_jose::{Algorithm, base64url};
use attorn_registry::{LifeCycle, Lock, LockId, LockTarget};
use attorn_testkit::authenticator::{Asserted, Authenticator};
use http::StatusCode;

use super::browser::{Browser, PASSWORD, Town, location};
use crate::world::{Answer, ISSUER};

const HOST: &str = "id.example";

/// A person with a passkey, and the browser in which they added it.
pub(crate) struct Owner<'t> {
    pub(crate) browser: Browser<'t>,
    pub(crate) passkey: Authenticator,
}

impl<'t> Owner<'t> {
    pub(crate) async fn of(town: &'t Town, name: &str, seed: u8) -> Self {
        let browser = town.logged_in(name).await;
        let mut owner = Self { browser, passkey: authenticator(seed) };
        let person = town.world.published.load().person_named(name).unwrap().id.clone();
        owner.passkey.user_handle = person.as_str().as_bytes().to_vec();
        owner
    }

    /// With the passkey added.
    pub(crate) async fn with_passkey(town: &'t Town, name: &str, seed: u8) -> Self {
        let owner = Self::of(town, name, seed).await;
        let added = owner.add("laptop").await;
        assert_eq!(added.status, StatusCode::OK, "{}", added.page);
        owner
    }

    pub(crate) async fn add(&self, name: &str) -> Answer {
        self.browser.get("/settings").await;
        let challenge = challenge(&self.browser, "/settings/challenge").await;
        self.send(name, &challenge).await
    }

    pub(crate) async fn send(&self, name: &str, challenge: &str) -> Answer {
        let created = self.passkey.create(challenge);
        let client_data = base64url(&created.client_data);
        let object = base64url(&created.attestation_object);
        let form = [
            ("name", name),
            ("client_data", client_data.as_str()),
            ("attestation_object", object.as_str()),
        ];
        self.browser.submit("/settings/passkey", &form).await
    }
}

pub(crate) fn authenticator(seed: u8) -> Authenticator {
    Authenticator::new(Algorithm::Es256, seed, HOST, ISSUER)
}

/// Asks as the script of a page does, by the form that the browser shows.
pub(crate) async fn asked(browser: &Browser<'_>, path: &str) -> Answer {
    browser.submit(path, &[]).await
}

pub(crate) async fn challenge(browser: &Browser<'_>, path: &str) -> String {
    let answer = asked(browser, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.page);
    assert_eq!(answer.body["rp_id"], HOST);
    answer.text("challenge").to_owned()
}

async fn send(browser: &Browser<'_>, asserted: &Asserted) -> Answer {
    let parts = [
        ("credential", &asserted.credential),
        ("client_data", &asserted.client_data),
        ("authenticator_data", &asserted.authenticator_data),
        ("signature", &asserted.signature),
        ("user_handle", &asserted.user_handle),
    ];
    let parts = parts.map(|(name, bytes)| (name, base64url(bytes)));
    let form: Vec<_> = parts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    browser.submit("/login/passkey", &form).await
}

/// Signs in by a passkey in a new browser.
pub(crate) async fn sign_in<'t>(town: &'t Town, passkey: &Authenticator) -> (Browser<'t>, Answer) {
    let browser = Browser::new(&town.world);
    browser.get("/login").await;
    let challenge = challenge(&browser, "/login/challenge").await;
    let answer = send(&browser, &passkey.assert(&challenge)).await;
    (browser, answer)
}

async fn refused(town: &Town, passkey: &Authenticator, reason: &str) {
    let (browser, answer) = sign_in(town, passkey).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{reason}");
    assert!(browser.cookie("session").is_none(), "{reason}");
    assert_eq!(town.reason("identity.login_refused").await, reason);
}

#[tokio::test]
async fn a_passkey_is_added_and_signs_in() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let page = owner.browser.get("/settings").await.page;
    assert!(page.contains("laptop") && page.contains("never used"), "{page}");
    let added = town.world.newest("key.added").await;
    let id = added["detail"]["passkey"].as_str().unwrap();
    assert!(id.starts_with("pky_") && added["subject"] == added["by"], "{added}");
    // What the person calls it is nobody else's.
    assert!(!added.to_string().contains("laptop"), "{added}");

    let (browser, answer) = sign_in(&town, &owner.passkey).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.page);
    assert_eq!(location(&answer), format!("{ISSUER}/sessions"));
    let entry = town.world.newest("identity.login").await;
    assert_eq!((&entry["detail"]["passkey"], &entry["subject"]), (&id.into(), &added["subject"]));
    let page = browser.get("/settings").await.page;
    assert!(page.contains("last used"), "{page}");
    // Neither the journal nor the pages of others have the key or its name at the authenticator.
    let text = format!("{:?}", town.world.entries().await);
    assert!(!text.contains(&base64url(&owner.passkey.credential)));
}

#[tokio::test]
async fn a_page_says_what_may_run_and_nothing_else_does() {
    let town = Town::new().await;
    let policy = |answer: &Answer| {
        let all: Vec<_> = answer.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(all.len(), 1);
        all[0].to_str().unwrap().to_owned()
    };
    let browser = town.logged_in("ann").await;
    for path in ["/login", "/settings"] {
        let answer = browser.get(path).await;
        assert!(policy(&answer).contains("script-src 'self';"), "{path}");
        assert_eq!(answer.page.matches("<script").count(), 1, "{path}");
    }
    for path in ["/invite", "/sessions", "/consents"] {
        let answer = browser.get(path).await;
        assert!(!policy(&answer).contains("script"), "{path}");
        assert!(!answer.page.contains("<script"), "{path}");
    }
    let script = browser.get("/passkeys.js").await;
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(script.headers["x-content-type-options"], "nosniff");
    assert!(script.page.contains("navigator.credentials.get"));
}

#[tokio::test]
async fn a_challenge_is_for_one_answer_in_one_browser_and_for_five_minutes() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let fresh = async || {
        let browser = Browser::new(&town.world);
        browser.get("/login").await;
        let challenge = challenge(&browser, "/login/challenge").await;
        (browser, challenge)
    };
    let late = async |browser: &Browser<'_>, challenge: &str| {
        let answer = send(browser, &owner.passkey.assert(challenge)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.page.contains("too long"), "{}", answer.page);
        assert_eq!(town.reason("identity.login_refused").await, "passkey.challenge");
    };
    // Its twin, and then the same answer once more.
    let (browser, challenge) = fresh().await;
    let asserted = owner.passkey.assert(&challenge);
    assert_eq!(send(&browser, &asserted).await.status, StatusCode::SEE_OTHER);
    browser.get("/login").await;
    late(&browser, &challenge).await;
    // In another browser, which uses it up.
    let (browser, challenge) = fresh().await;
    let (other, _) = fresh().await;
    late(&other, &challenge).await;
    late(&browser, &challenge).await;
    // Made up, or of the settings of who is signed in.
    let (browser, _) = fresh().await;
    late(&browser, &attorn_testkit::authenticator::challenge(9)).await;
    owner.browser.get("/settings").await;
    let of_settings = self::challenge(&owner.browser, "/settings/challenge").await;
    owner.browser.get("/login").await;
    late(&owner.browser, &of_settings).await;
    let (browser, challenge) = fresh().await;
    town.world.pass_s(299);
    let asserted = owner.passkey.assert(&challenge);
    assert_eq!(send(&browser, &asserted).await.status, StatusCode::SEE_OTHER);
    let (browser, challenge) = fresh().await;
    town.world.pass_s(300);
    late(&browser, &challenge).await;
}

#[tokio::test]
async fn what_does_not_hold_signs_nobody_in() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let bob = town.person("bob", &[]).await;
    let with = |change: fn(&mut Authenticator)| {
        let mut passkey = owner.passkey.clone();
        change(&mut passkey);
        passkey
    };
    let unknown = with(|passkey| passkey.credential.push(0));
    refused(&town, &unknown, "passkey.unknown").await;
    for (check, passkey) in [
        ("origin", with(|passkey| passkey.origin = "https://evil.example".into())),
        ("relying_party", with(|passkey| passkey.rp_id = "evil.example".into())),
        ("user_absent", with(|passkey| passkey.flags = 0b100)),
        ("user_unverified", with(|passkey| passkey.flags = 0b001)),
        ("signature", with(|passkey| passkey.key = authenticator(8).key)),
        ("user_handle", with(|passkey| passkey.user_handle.clear())),
        ("user_handle", {
            let mut passkey = owner.passkey.clone();
            passkey.user_handle = bob.as_str().as_bytes().to_vec();
            passkey
        }),
    ] {
        refused(&town, &passkey, "passkey.refused").await;
        let entry = town.world.newest("identity.login_refused").await;
        assert_eq!(entry["detail"]["check"], check);
        // Nobody is named who did not prove to be there.
        assert!(entry["subject"].is_null(), "{entry}");
    }
    // Its twin.
    let (_, answer) = sign_in(&town, &owner.passkey).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_counter_that_goes_back_is_told_apart() {
    let town = Town::new().await;
    let mut owner = Owner::of(&town, "ann", 7).await;
    owner.passkey.sign_count = 5;
    assert_eq!(owner.add("key").await.status, StatusCode::OK);
    let copy = owner.passkey.clone();
    owner.passkey.sign_count = 6;
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
    for count in [6, 5, 0] {
        let copy = Authenticator { sign_count: count, ..copy.clone() };
        refused(&town, &copy, "passkey.counter").await;
        let entry = town.world.newest("identity.login_refused").await;
        assert!(entry["subject"].as_str().unwrap().starts_with("usr_"), "{entry}");
        assert!(entry["detail"]["passkey"].as_str().unwrap().starts_with("pky_"), "{entry}");
    }
    owner.passkey.sign_count = 7;
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn who_is_stopped_or_locked_has_no_use_of_a_passkey() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let id = town.world.published.load().person_named("ann").unwrap().id.clone();
    let store = &town.world.store;
    for (state, is_in) in [(LifeCycle::Suspended, false), (LifeCycle::Active, true)] {
        store.set_person_state(&town.act(), &id, state).await.unwrap();
        town.world.authority.publish().await.unwrap();
        if is_in {
            assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
        } else {
            refused(&town, &owner.passkey, "login.failed").await;
        }
    }
    let lock = Lock {
        id: LockId::from_random(&[1; 16]),
        target: LockTarget::Person { person: id },
        reason: "stolen".to_owned(),
        by: "test".to_owned(),
        created_s: town.world.now_s(),
        expires_s: town.world.now_s() + 60,
        lifted_s: None,
    };
    store.create_lock(&town.act(), &lock).await.unwrap();
    town.world.authority.publish().await.unwrap();
    refused(&town, &owner.passkey, "login.failed").await;
    town.world.pass_s(61);
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_by_passkey_is_new_and_leads_where_somebody_wanted() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let browser = &owner.browser;
    let before = browser.cookie("session").unwrap();
    browser.get("/login").await;
    let challenge = challenge(browser, "/login/challenge").await;
    let answer = send(browser, &owner.passkey.assert(&challenge)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let after = browser.cookie("session").unwrap();
    assert_ne!(before, after);
    browser.plant(&before);
    assert_eq!(location(&browser.get("/sessions").await), format!("{ISSUER}/login"));
    // A request of an application that waits is answered next.
    let other = Browser::new(&town.world);
    let asked = other.get(&format!("/authorize?{}", town.query(&[]))).await;
    let log_in = other.follow(&asked).await;
    assert!(log_in.page.contains("data-passkey"), "{}", log_in.page);
    let challenge = self::challenge(&other, "/login/challenge").await;
    let answer = send(&other, &owner.passkey.assert(&challenge)).await;
    assert!(location(&answer).starts_with(&format!("{ISSUER}/consent?waiting=")));
    assert_eq!(other.follow(&answer).await.status, StatusCode::OK);
}

#[tokio::test]
async fn forms_of_elsewhere_do_nothing() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    for path in [
        "/login/challenge",
        "/login/passkey",
        "/settings/challenge",
        "/settings/passkey",
        "/settings/passkey/remove",
    ] {
        let page = if path.starts_with("/login") { "/login" } else { "/settings" };
        owner.browser.get(page).await;
        let token = owner.browser.hidden("form");
        let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
        let from_elsewhere = owner.browser.post(path, &[("form", &token)], &evil).await;
        assert_eq!(from_elsewhere.status, StatusCode::FORBIDDEN, "{path}");
        let ours = [("origin", ISSUER)];
        let without = owner.browser.post(path, &[("form", "")], &ours).await;
        assert_eq!(without.status, StatusCode::FORBIDDEN, "{path}");
        // The token of the other page.
        owner.browser.get(if page == "/login" { "/settings" } else { "/login" }).await;
        let other = owner.browser.hidden("form");
        let of_other = owner.browser.post(path, &[("form", &other)], &ours).await;
        assert_eq!(of_other.status, StatusCode::FORBIDDEN, "{path}");
        assert!(of_other.page.contains("not from this browser"), "{path}");
    }
}

#[tokio::test]
async fn failures_count_with_those_of_passwords() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    *town.world.from.lock().unwrap() = Some("192.0.2.1".parse().unwrap());
    let mut wrong = owner.passkey.clone();
    wrong.key = authenticator(8).key;
    for _ in 0..49 {
        refused(&town, &wrong, "passkey.refused").await;
    }
    // What succeeds counts for nothing.
    for _ in 0..3 {
        assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
    }
    refused(&town, &wrong, "passkey.refused").await;
    let (_, answer) = sign_in(&town, &owner.passkey).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(town.reason("identity.login_refused").await, "rate.limited");
    let password = Browser::new(&town.world).log_in("ann", PASSWORD).await;
    assert_eq!(password.status, StatusCode::TOO_MANY_REQUESTS);
    *town.world.from.lock().unwrap() = Some("192.0.2.2".parse().unwrap());
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::SEE_OTHER);
    // Challenges have a rate of their own.
    *town.world.from.lock().unwrap() = Some("192.0.2.3".parse().unwrap());
    let browser = Browser::new(&town.world);
    browser.get("/login").await;
    for _ in 0..500 {
        assert_eq!(asked(&browser, "/login/challenge").await.status, StatusCode::OK);
    }
    let one_more = asked(&browser, "/login/challenge").await;
    assert_eq!(one_more.status, StatusCode::TOO_MANY_REQUESTS);
}
