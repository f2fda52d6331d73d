//! Log-in, sessions, invitations.

use std::task::Poll;

use attorn_registry::LifeCycle;
use http::StatusCode;

use super::browser::{Browser, PASSWORD, Town, location};
use crate::world::ISSUER;

#[tokio::test]
async fn who_is_invited_chooses_a_password_and_logs_in() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let page = browser.get("/sessions").await;
    assert!(page.page.contains("ann") && page.page.contains("This browser"), "{}", page.page);
    let entry = town.world.newest("identity.login").await;
    assert!(entry["subject"].as_str().unwrap().starts_with("usr_"));
    // The journal has neither password nor session.
    let text = format!("{:?}", town.world.entries().await);
    let session = browser.cookie("session").unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(session.split_once('=').unwrap().1));
    let cookie = browser.cookie("browser").unwrap();
    assert!(cookie.starts_with("__Host-"), "{cookie}");
}

#[tokio::test]
async fn an_invitation_works_once_with_a_good_password() {
    let town = Town::new().await;
    let browser = Browser::new(&town.world);
    browser.get("/invite").await;
    let code = town.world_code("ann").await;
    let set = async |code: &str, password: &str, again: &str| {
        let form = [("code", code), ("password", password), ("again", again)];
        browser.submit("/invite", &form).await.status
    };
    assert_eq!(set(&code, PASSWORD, "another").await, StatusCode::BAD_REQUEST);
    assert_eq!(set(&code, "short", "short").await, StatusCode::BAD_REQUEST);
    assert_eq!(set("nothing", PASSWORD, PASSWORD).await, StatusCode::BAD_REQUEST);
    assert_eq!(town.reason("identity.login_refused").await, "enrolment.refused");
    assert_eq!(set(&code, PASSWORD, PASSWORD).await, StatusCode::SEE_OTHER);
    assert_eq!(set(&code, PASSWORD, PASSWORD).await, StatusCode::BAD_REQUEST);
    // Or too late.
    let code = town.world_code("ann").await;
    town.world.pass_s(24 * 3600);
    assert_eq!(set(&code, PASSWORD, PASSWORD).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_wrong_name_looks_as_a_wrong_password() {
    let town = Town::new().await;
    town.logged_in("ann").await;
    town.person("new", &[]).await;
    let page = async |name: &str, password: &str| {
        let browser = Browser::new(&town.world);
        let answer = browser.log_in(name, password).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        assert!(browser.cookie("session").is_none());
        assert_eq!(town.reason("identity.login_refused").await, "login.failed");
        answer.page.replace(&browser.hidden("form"), "")
    };
    let wrong = page("ann", "wrong").await;
    for name in ["nobody", "not a name", "", "new", "ann "] {
        assert_eq!(page(name, PASSWORD).await, wrong, "{name}");
    }
    let id = town.world.published.load().person_named("ann").unwrap().id.clone();
    let (store, suspended) = (&town.world.store, LifeCycle::Suspended);
    store.set_person_state(&town.act(), &id, suspended).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert_eq!(page("ann", PASSWORD).await, wrong);
    // Its twin.
    store.set_person_state(&town.act(), &id, LifeCycle::Active).await.unwrap();
    town.world.authority.publish().await.unwrap();
    let back = Browser::new(&town.world).log_in("ann", PASSWORD).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn guessing_ends_after_ten_times() {
    let town = Town::new().await;
    town.logged_in("ann").await;
    let from = |address: &str| *town.world.from.lock().unwrap() = Some(address.parse().unwrap());
    from("192.0.2.1");
    let status = async |name: &str, password: &str| {
        Browser::new(&town.world).log_in(name, password).await.status
    };
    for _ in 0..10 {
        assert_eq!(status("ann", "wrong").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status("ann", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(town.reason("identity.login_refused").await, "rate.limited");
    // From elsewhere its owner still gets in, and later also from there.
    from("192.0.2.2");
    assert_eq!(status("ann", PASSWORD).await, StatusCode::SEE_OTHER);
    from("192.0.2.1");
    town.world.pass_s(15 * 60);
    assert_eq!(status("ann", PASSWORD).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_many_in_turn() {
    let town = Town::new().await;
    drop(town.logged_in("ann").await);
    *town.world.from.lock().unwrap() = Some("192.0.2.1".parse().unwrap());
    let browsers: Vec<_> = (0..14).map(|_| Browser::new(&town.world)).collect();
    for browser in &browsers {
        browser.get("/login").await;
    }
    let wrong = [("name", "ann"), ("password", "wrong password")];
    let guesses = browsers.iter().map(|browser| browser.submit("/login", &wrong));
    let statuses = all_at_once(guesses, |answer| answer.status).await;
    let checked = statuses.iter().filter(|status| **status != StatusCode::TOO_MANY_REQUESTS);
    assert!(checked.count() <= 10, "{statuses:?}");
}

/// Waits for all of them, each going on whenever it can.
async fn all_at_once<F: Future, T>(
    all: impl Iterator<Item = F>,
    mut seen: impl FnMut(F::Output) -> T,
) -> Vec<T> {
    let mut under_way: Vec<_> = all.map(Box::pin).collect();
    let mut ended = Vec::new();
    std::future::poll_fn(move |context| {
        under_way.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(output) => {
                ended.push(seen(output));
                false
            }
            Poll::Pending => true,
        });
        let is_over = under_way.is_empty();
        if is_over { Poll::Ready(std::mem::take(&mut ended)) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn a_flood_of_passwords_keeps_nobody_from_a_token() {
    let town = Town::new().await;
    let agent = town.world.agent(&town.operator, "machine", &["read:*"]).await;
    let browsers: Vec<_> = (0..40).map(|_| Browser::new(&town.world)).collect();
    for browser in &browsers {
        browser.get("/login").await;
    }
    let ended = std::cell::Cell::new(0);
    // Each by a name of its own, so that each is hashed.
    let guesses = browsers.iter().enumerate().map(async |(number, browser)| {
        let name = format!("nobody-{number}");
        browser.submit("/login", &[("name", &name), ("password", "wrong password")]).await
    });
    let flood = all_at_once(guesses, |answer| {
        ended.set(ended.get() + 1);
        // Where the machine is busy with other things, some do not get their turn in time.
        let expected = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
        assert!(expected.contains(&answer.status), "{} {}", answer.status, answer.page);
    });
    let token = async {
        town.world.token(&agent, crate::world::CRM).await;
        ended.get()
    };
    let (all, before_the_token) = tokio::join!(flood, token);
    assert_eq!(all.len(), 40);
    assert!(before_the_token < 40, "the token came after the flood");
}

#[tokio::test]
async fn a_session_is_new_at_each_log_in() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let first = browser.cookie("session").unwrap();
    assert_eq!(browser.log_in("ann", PASSWORD).await.status, StatusCode::SEE_OTHER);
    let second = browser.cookie("session").unwrap();
    assert_ne!(first, second);
    browser.plant(&first);
    assert_eq!(location(&browser.get("/sessions").await), format!("{ISSUER}/login"));
    browser.plant(&second);
    assert_eq!(browser.get("/sessions").await.status, StatusCode::OK);
    // One that somebody else made up lets nobody in.
    let other = Browser::new(&town.world);
    other.plant(&format!("__Host-attorn-session={}", "a".repeat(43)));
    other.plant(&format!("__Host-attorn-browser={}", "b".repeat(43)));
    assert_eq!(location(&other.get("/sessions").await), format!("{ISSUER}/login"));
}

#[tokio::test]
async fn a_session_ends_by_hand_by_rest_and_by_age() {
    let town = Town::new().await;
    let is_in =
        async |browser: &Browser<'_>| browser.get("/sessions").await.status == StatusCode::OK;
    let browser = town.logged_in("ann").await;
    let session = browser.cookie("session").unwrap();
    browser.get("/sessions").await;
    assert_eq!(browser.submit("/logout", &[]).await.status, StatusCode::OK);
    assert!(browser.cookie("session").is_none());
    browser.plant(&session);
    assert!(!is_in(&browser).await, "ended at the server, too");
    // Half an hour of rest.
    let browser = town.logged_in("ann").await;
    town.world.pass_s(30 * 60 - 1);
    assert!(is_in(&browser).await);
    town.world.pass_s(30 * 60);
    assert!(!is_in(&browser).await);
    // Twelve hours, however busy.
    let browser = town.logged_in("ann").await;
    for _ in 0..36 {
        town.world.pass_s(20 * 60 - 1);
        assert!(is_in(&browser).await);
    }
    town.world.pass_s(36);
    assert!(!is_in(&browser).await);
}

#[tokio::test]
async fn all_sessions_end_at_once() {
    let town = Town::new().await;
    let first = town.logged_in("ann").await;
    let second = Browser::new(&town.world);
    second.log_in("ann", PASSWORD).await;
    let page = first.get("/sessions").await;
    assert!(page.page.contains("Another browser"), "{}", page.page);
    assert_eq!(first.submit("/sessions", &[]).await.status, StatusCode::OK);
    assert_eq!(second.get("/sessions").await.status, StatusCode::SEE_OTHER);
    assert_eq!(town.world.newest("identity.logout").await["detail"]["sessions"], "all");
}
