//! Sign-in settings: what somebody who signed in lately may change, and what not.

use attorn_authority::Operation;
use attorn_jose::sha256;
use attorn_registry::{ExternalSubject, Name, PersonId, Provided};
use attorn_store::{Act, NewPerson, PASSKEYS_MAX, PersonSettings};
use attorn_testkit::authenticator::{Authenticator, attestation_object};
use http::StatusCode;
use serde_json::{Value, json};

use super::browser::{Browser, PASSWORD, Town, clients, location};
use super::passkeys::{Owner, asked, authenticator, challenge, sign_in};
use super::provider::Provider;
use crate::world::{Answer, ISSUER, World};

/// The reason of the newest refusal at a page.
async fn reason(town: &Town) -> String {
    town.reason("admin.refused").await
}

fn passkeys(page: &Answer) -> Vec<String> {
    let parts = page.page.split(r#"name="passkey" value=""#).skip(1);
    parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_change_needs_a_log_in_of_the_last_five_minutes() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let browser = &owner.browser;
    town.world.pass_s(299);
    let page = browser.get("/settings").await;
    assert!(page.page.contains("data-passkey") && passkeys(&page).len() == 1, "{}", page.page);
    let challenged = challenge(browser, "/settings/challenge").await;
    let id = passkeys(&page).remove(0);
    let token = browser.hidden("form");
    // A page that was open when the time ran out.
    town.world.pass_s(1);
    for (path, fields) in [
        ("/settings/challenge", vec![]),
        ("/settings/passkey", vec![("name", "other")]),
        ("/settings/passkey/remove", vec![("passkey", id.as_str())]),
    ] {
        let form = [vec![("form", token.as_str())], fields].concat();
        let answer = browser.post(path, &form, &[("origin", ISSUER)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.page.contains("Sign in again"), "{}", answer.page);
        assert_eq!(reason(&town).await, "login.not_recent");
    }
    let page = browser.get("/settings").await;
    assert!(!page.page.contains("<form") && !page.page.contains("<script"), "{}", page.page);
    // They sign in again and come back, and what was asked before does not count any more.
    let again = browser.get("/settings/again").await;
    assert_eq!(location(&again), format!("{ISSUER}/login"));
    let back = browser.log_in("ann", PASSWORD).await;
    assert_eq!(location(&back), format!("{ISSUER}/settings"));
    browser.get("/settings").await;
    let mut other = Owner { browser: Browser::new(&town.world), passkey: authenticator(8) };
    other.passkey.user_handle.clone_from(&owner.passkey.user_handle);
    let owner = Owner { browser: owner.browser, ..other };
    assert_eq!(owner.send("other", &challenged).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(reason(&town).await, "passkey.challenge");
    assert_eq!(owner.add("other").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_challenge_of_somebody_else_or_used_before_adds_nothing() {
    let town = Town::new().await;
    town.person("bob", &[]).await;
    let ann = Owner::of(&town, "ann", 7).await;
    let bob = Owner::of(&town, "bob", 8).await;
    ann.browser.get("/settings").await;
    bob.browser.get("/settings").await;
    let of_ann = challenge(&ann.browser, "/settings/challenge").await;
    assert_eq!(bob.send("key", &of_ann).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(reason(&town).await, "passkey.challenge");
    // It is used up for Ann, too.
    assert_eq!(ann.send("key", &of_ann).await.status, StatusCode::BAD_REQUEST);
    let fresh = challenge(&ann.browser, "/settings/challenge").await;
    assert_eq!(ann.send("key", &fresh).await.status, StatusCode::OK);
    let again = Owner { browser: ann.browser, passkey: authenticator(9) };
    assert_eq!(again.send("key", &fresh).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(reason(&town).await, "passkey.challenge");
}

#[tokio::test]
async fn what_does_not_hold_is_not_added() {
    let town = Town::new().await;
    let owner = Owner::of(&town, "ann", 7).await;
    let with = |change: fn(&mut Authenticator)| {
        let mut passkey = owner.passkey.clone();
        change(&mut passkey);
        passkey
    };
    for (check, passkey) in [
        ("origin", with(|passkey| passkey.origin = "https://evil.example".into())),
        ("relying_party", with(|passkey| passkey.rp_id = "evil.example".into())),
        ("user_unverified", with(|passkey| passkey.flags = 1)),
        ("credential_id", with(|passkey| passkey.credential = vec![7; 1024])),
    ] {
        owner.browser.get("/settings").await;
        let challenge = challenge(&owner.browser, "/settings/challenge").await;
        let created = passkey.create(&challenge);
        let client_data = attorn_jose::base64url(&created.client_data);
        let object = attorn_jose::base64url(&created.attestation_object);
        let form = [("name", "a"), ("client_data", &client_data), ("attestation_object", &object)];
        let answer = owner.browser.submit("/settings/passkey", &form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{check}");
        let entry = town.world.newest("admin.refused").await;
        assert_eq!(
            (&entry["reason"], &entry["detail"]["check"]),
            (&json!("passkey.refused"), &json!(check))
        );
    }
    // An attestation that nobody asked for.
    owner.browser.get("/settings").await;
    let challenge = challenge(&owner.browser, "/settings/challenge").await;
    let created = owner.passkey.create(&challenge);
    let client_data = attorn_jose::base64url(&created.client_data);
    let object = attestation_object("tpm", &[0xa0], &owner.passkey.data_with_key());
    let object = attorn_jose::base64url(&object);
    let form = [("name", "a"), ("client_data", &client_data), ("attestation_object", &object)];
    let answer = owner.browser.submit("/settings/passkey", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let entry = town.world.newest("admin.refused").await;
    assert_eq!(entry["detail"]["check"], "attestation_format");
    for name in ["", " ", "a\u{202e}b", &"x".repeat(65)] {
        assert_eq!(owner.add(name).await.status, StatusCode::BAD_REQUEST, "{name}");
    }
    let added = |entry: &Value| {
        let by = entry["by"].as_str().unwrap_or_default();
        entry["kind"] == "key.added" && by.starts_with("usr_")
    };
    assert!(!town.world.entries().await.iter().any(added));
    assert_eq!(owner.add("laptop").await.status, StatusCode::OK);
    assert!(town.world.entries().await.iter().any(added));
}

#[tokio::test]
async fn one_passkey_is_of_one_person_and_there_are_so_many() {
    let town = Town::new().await;
    town.person("bob", &[]).await;
    let ann = Owner::with_passkey(&town, "ann", 7).await;
    let bob = Owner::of(&town, "bob", 7).await;
    let taken = bob.add("the same").await;
    assert_eq!((taken.status, reason(&town).await), (StatusCode::CONFLICT, "passkey.taken".into()));
    // A browser is told of what is known, so that it does not make a second one.
    ann.browser.get("/settings").await;
    let asked = asked(&ann.browser, "/settings/challenge").await;
    let known = attorn_jose::base64url(&ann.passkey.credential);
    assert_eq!((&asked.body["known"], &asked.body["user_name"]), (&json!([known]), &json!("ann")));
    let mut ann = ann;
    for seed in 0..PASSKEYS_MAX {
        ann.passkey = authenticator(u8::try_from(100 + seed).unwrap());
        let status = ann.add("more").await.status;
        let expected = if seed + 1 < PASSKEYS_MAX { StatusCode::OK } else { StatusCode::CONFLICT };
        assert_eq!(status, expected, "{seed}");
    }
    assert_eq!(reason(&town).await, "passkey.limit");
}

#[tokio::test]
async fn a_passkey_is_removed_by_its_person_alone() {
    let town = Town::new().await;
    town.person("bob", &[]).await;
    let ann = Owner::with_passkey(&town, "ann", 7).await;
    let bob = Owner::with_passkey(&town, "bob", 8).await;
    let page = bob.browser.get("/settings").await;
    let of_bob = passkeys(&page).remove(0);
    ann.browser.get("/settings").await;
    let remove = async |browser: &Browser<'_>, id: &str| {
        browser.submit("/settings/passkey/remove", &[("passkey", id)]).await
    };
    for id in [of_bob.as_str(), "pky_x", ""] {
        assert_eq!(remove(&ann.browser, id).await.status, StatusCode::NOT_FOUND, "{id}");
        assert_eq!(reason(&town).await, "passkey.unknown");
    }
    assert_eq!(sign_in(&town, &bob.passkey).await.1.status, StatusCode::SEE_OTHER);
    assert_eq!(remove(&bob.browser, &of_bob).await.status, StatusCode::OK);
    let entry = town.world.newest("key.removed").await;
    assert_eq!((&entry["detail"]["passkey"], &entry["by"]), (&json!(of_bob), &entry["subject"]));
    assert_eq!(sign_in(&town, &bob.passkey).await.1.status, StatusCode::UNAUTHORIZED);
    assert_eq!(town.reason("identity.login_refused").await, "passkey.unknown");
    assert_eq!(sign_in(&town, &ann.passkey).await.1.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_operator_takes_passkeys_away_and_sessions_end() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let run =
        async |operation, body| town.world.run(&town.operator, operation, &["ann"], body).await;
    let listed = run(Operation::PersonPasskeys, Value::Null).await;
    let passkey = &listed.body["items"][0];
    assert_eq!((&passkey["name"], &passkey["used_s"]), (&json!("laptop"), &Value::Null));
    let silent = run(Operation::PersonPasskeyRemove, json!({ "reason": " " })).await;
    assert_eq!(silent.status, StatusCode::BAD_REQUEST);
    let lost = json!({ "reason": "laptop lost", "passkey": passkey["id"] });
    let removed = run(Operation::PersonPasskeyRemove, lost.clone()).await;
    assert_eq!(removed.body, json!({ "person": "ann", "removed": [passkey["id"]] }));
    let entry = town.world.newest("key.removed").await;
    assert_eq!(entry["detail"]["reason"], "laptop lost");
    assert_eq!(run(Operation::PersonPasskeyRemove, lost).await.status, StatusCode::CONFLICT);
    assert_eq!(owner.browser.get("/sessions").await.status, StatusCode::SEE_OTHER);
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::UNAUTHORIZED);
    // The password stays.
    let password = Browser::new(&town.world).log_in("ann", PASSWORD).await;
    assert_eq!(password.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_new_code_takes_the_passkeys_and_says_so() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    drop(town.logged_in("ann").await);
    let entry = town.world.newest("identity.enrolled").await;
    let removed = entry["detail"]["passkeys_removed"].as_str().unwrap();
    assert!(removed.starts_with("pky_"), "{entry}");
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_signs_in_at_the_provider_has_no_passkey_here() {
    let provider = Provider::new().await;
    let town = Town::with_login(provider.login()).await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let id = town.world.published.load().person_named("ann").unwrap().id.clone();
    let external = ExternalSubject { issuer: provider.issuer.clone(), subject: "1".into() };
    town.world.store.link_person(&town.act(), &id, &external).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert_eq!(sign_in(&town, &owner.passkey).await.1.status, StatusCode::UNAUTHORIZED);
    let page = owner.browser.get("/settings").await.page;
    assert!(page.contains("You sign in at") && !page.contains("<script"), "{page}");
    let refused = asked_by_hand(&town, &owner.browser).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(reason(&town).await, "passkey.unavailable");
    // Where nobody has an account here, there is none to add one to.
    let mut login = provider.login();
    login.passwords = false;
    let town = Town::with_login(login).await;
    let browser = Browser::new(&town.world);
    let page = browser.get("/login").await.page;
    assert!(!page.contains("passkey"), "{page}");
    let answer = browser.post("/login/challenge", &[], &[("origin", ISSUER)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(town.reason("identity.login_refused").await, "login.passwords_off");
}

/// A challenge by the token of a page that has no form: of somebody who kept an old one.
async fn asked_by_hand(town: &Town, browser: &Browser<'_>) -> Answer {
    let id = town.world.published.load().person_named("ann").unwrap().id.clone();
    town.world.store.unlink_person(&town.act(), &id).await.unwrap();
    town.world.authority.publish().await.unwrap();
    // To unlink ended the sessions.
    browser.log_in("ann", PASSWORD).await;
    browser.get("/settings").await;
    let token = browser.hidden("form");
    let external = ExternalSubject { issuer: "https://other.example".into(), subject: "1".into() };
    town.world.store.link_person(&town.act(), &id, &external).await.unwrap();
    town.world.authority.publish().await.unwrap();
    browser.post("/settings/challenge", &[("form", &token)], &[("origin", ISSUER)]).await
}

#[tokio::test]
async fn where_the_issuer_is_an_address_there_are_no_passkeys_and_the_page_says_why() {
    const ADDRESS: &str = "https://192.0.2.7";
    let world = World::configured(|config| {
        config.issuer = ADDRESS.to_owned();
        config.clients = Some(clients());
    })
    .await;
    let ours = [("origin", ADDRESS)];
    let browser = Browser::new(&world);
    let page = browser.get("/login").await.page;
    assert!(!page.contains("passkey") && !page.contains("<script"), "{page}");
    let token = browser.hidden("form");
    for path in ["/login/challenge", "/login/passkey"] {
        let answer = browser.post(path, &[("form", &token)], &ours).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.page.contains("a number and not a name"), "{}", answer.page);
        let entry = world.newest("identity.login_refused").await;
        assert_eq!(entry["reason"], "passkey.unavailable");
    }
    invite(&world, "ann").await;
    browser.get("/invite").await;
    let token = browser.hidden("form");
    let form =
        [("form", token.as_str()), ("code", "code"), ("password", PASSWORD), ("again", PASSWORD)];
    let set = browser.post("/invite", &form, &ours).await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.page);
    browser.get("/login").await;
    let token = browser.hidden("form");
    let form = [("form", token.as_str()), ("name", "ann"), ("password", PASSWORD)];
    let signed_in = browser.post("/login", &form, &ours).await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER, "{}", signed_in.page);
    let page = browser.get("/settings").await.page;
    assert!(page.contains("a number and not a name"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<form"), "{page}");
}

/// Somebody whose code is `code`.
async fn invite(world: &World, name: &str) {
    let (act, id) = (Act { by: "test", now_s: world.now_s() }, PersonId::from_random(&[1; 16]));
    let new = NewPerson {
        id: id.clone(),
        name: Name::parse(name).unwrap(),
        settings: PersonSettings::default(),
        external: None,
        provided: Provided::default(),
    };
    world.store.create_person(&act, &new).await.unwrap();
    world.store.create_invitation(&act, &id, sha256(b"code")).await.unwrap();
    world.authority.publish().await.unwrap();
}
