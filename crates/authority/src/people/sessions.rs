//! `/sessions` and `/logout`: where somebody is logged in, and the end of it.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{
    Form as PageForm, Here, Session as ShownSession, SessionsPage, SignedOutPage, span,
};
use attorn_net::Body;
use http::request::Parts;
use http::{Response, StatusCode};

use super::browser::{Browser, Cookie, LoggedIn, SESSION_LIMITS};
use super::forms::FormName;
use super::visitor::Visitor;
use super::{People, page};
use crate::shared::Shared;

/// The list.
pub(crate) async fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_s = shared.clock.now_s();
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let LoggedIn { person, session } = match browser.logged_in(shared, now_s).await {
        Ok(Some(logged_in)) => logged_in,
        Ok(None) => return page::see_other(&shared.config.endpoint("/login")),
        Err(_) => return page::unavailable(shared),
    };
    let visitor = Visitor { person, browser, session };
    let person = &visitor.person;
    let Ok(sessions) = shared.store.sessions_of(&person.id, SESSION_LIMITS, now_s).await else {
        return page::unavailable(shared);
    };
    let mut shown: Vec<_> = sessions
        .iter()
        .map(|one| ShownSession {
            opened: span(now_s.saturating_sub(one.opened_s)),
            seen: span(now_s.saturating_sub(one.seen_s)),
            is_this: one.digest == visitor.session.digest,
        })
        .collect();
    shown.sort_by_key(|one| !one.is_this);
    let token = people.form_key.token(FormName::EndSessions, &visitor.browser);
    let html = SessionsPage {
        nav: visitor.nav(shared, Here::Sessions),
        form: PageForm { base: shared.config.issuer_path(), token: &token, waiting: "" },
        sessions: shown,
    }
    .html();
    page::page(StatusCode::OK, html, None)
}

/// Ends the session of this browser.
pub(crate) async fn log_out(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    end(shared, people, head, (body, false)).await
}

/// Ends every session of the person.
pub(crate) async fn end_all(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    end(shared, people, head, (body, true)).await
}

async fn end(
    shared: &Shared,
    people: &People,
    head: &Parts,
    (body, all): (&[u8], bool),
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let from = (&browser, page::origin(shared));
    if people.form_key.read(FormName::EndSessions, from, &head.headers, body).is_err() {
        let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
        return page::forged(shared, about).await;
    }
    let Ok(logged_in) = browser.logged_in(shared, now_s).await else {
        return page::unavailable(shared);
    };
    if let Some(LoggedIn { person, session }) = logged_in {
        let mut entry = Entry {
            by: Some(person.id.to_string()),
            decision: Some(Decision::Permit),
            subject: Some(person.id.to_string()),
            ..shared.entry_from(head, Kind::IdentityLogout, now_ms)
        };
        entry.detail.insert("sessions".to_owned(), if all { "all" } else { "one" }.to_owned());
        // Takes away what is theirs, so it is recorded even when the journal refuses all else.
        let Ok(_recorded) = shared.record_own(&entry).await else {
            return page::unavailable(shared);
        };
        let ended = if all {
            shared.store.end_sessions_of(&person.id, now_s).await.map(|_| ())
        } else {
            shared.store.end_session(&session.digest, now_s).await.map(|_| ())
        };
        if ended.is_err() {
            return page::unavailable(shared);
        }
    }
    let html = SignedOutPage { base: shared.config.issuer_path() }.html();
    let mut answer = page::page(StatusCode::OK, html, None);
    page::set_cookie(&mut answer, shared, Cookie::Session, None);
    answer
}
