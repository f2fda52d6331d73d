//! `/login`: name and password, and the ways to the provider and to a passkey.
//!
//! Whether a name is there shows neither in the answer nor in its time. A log-in opens a session of
//! its own, and ends the one that the browser had.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{Form as PageForm, LoginPage};
use attorn_jose::{base64url, sha256};
use attorn_net::{Body, Peer};
use attorn_oauth::form::Form;
use attorn_registry::{LifeCycle, Name, Person, ReasonCode};
use attorn_store::SignedInBy;
use http::request::Parts;
use http::{Response, StatusCode};
use zeroize::Zeroizing;

use super::browser::{Browser, Cookie, may_sign_in};
use super::forms::FormName;
use super::provider::Provider;
use super::{People, page};
use crate::shared::Shared;

/// The page.
pub(crate) fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let waiting = waiting_of(head);
    form((shared, people), &browser, (StatusCode::OK, &waiting, None))
}

/// One attempt.
pub(crate) async fn log_in(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
    if !people.allows_passwords() {
        return passwords_off(shared, about).await;
    }
    let from = (&browser, page::origin(shared));
    let Ok(asked) = people.form_key.read(FormName::Login, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    let keys = keys(head, asked.value("name").unwrap_or_default());
    let limited =
        keys.iter().filter_map(|(key, max)| people.login_failures.look(key, *max, now_s).err());
    if let Some(wait_s) = limited.max() {
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, wait_s);
    }
    // Before it is looked at: of many at once, no more are than of many in turn.
    keys.iter().for_each(|(key, _)| people.login_failures.count(key, now_s));
    let (person, phc) = match verify((shared, people), &asked).await {
        Ok(person) => person,
        Err(Failed::Unavailable) => {
            keys.iter().for_each(|(key, _)| people.login_failures.give_back(key));
            return page::unavailable(shared);
        }
        Err(Failed::Wrong) => {
            if shared.note_refusal(about, ReasonCode::LoginFailed).await.is_err() {
                return page::unavailable(shared);
            }
            let waiting = asked.value("waiting").unwrap_or_default();
            let problem = Some("Name or password is wrong.");
            let shown = (StatusCode::UNAUTHORIZED, waiting, problem);
            return form((shared, people), &browser, shown);
        }
    };
    // Of this name from this address alone: who knows one password must not be given another try
    // at everybody's.
    let [(of_name_here, _), others @ ..] = &keys;
    people.login_failures.forget(of_name_here);
    others.iter().for_each(|(key, _)| people.login_failures.give_back(key));
    let waiting = asked.value("waiting");
    let log_in = LogIn { person: &person, waiting, by: SignedInBy::Password(&phc), provider: None };
    open(shared, head, &browser, &log_in, now_ms).await
}

enum Failed {
    Unavailable,
    Wrong,
}

/// Who it is, and the hash that the password was compared with.
async fn verify(
    (shared, people): (&Shared, &People),
    asked: &Form,
) -> Result<(Person, String), Failed> {
    let name = Name::parse(asked.value("name").unwrap_or_default()).ok();
    let password = Zeroizing::new(asked.value("password").unwrap_or_default().to_owned());
    let record = match &name {
        Some(name) => shared.store.login_record(name).await.map_err(|_| Failed::Unavailable)?,
        None => None,
    };
    let (person, kept) = match record {
        Some(record) => (Some(record.person), record.phc),
        None => (None, None),
    };
    let phc = kept.clone();
    // Also where there is nobody: the time must not tell.
    let is_right = people.passwords.verify(password, kept).await;
    let is_right = is_right.map_err(|_busy| Failed::Unavailable)?;
    let person = person.filter(|person| is_right && person.state == LifeCycle::Active);
    let (person, phc) = person.zip(phc).ok_or(Failed::Wrong)?;
    // Of the registry in force: one that is locked does not log in.
    if may_sign_in(&shared.published.load(), &person.id, shared.clock.now_s()) {
        Ok((person, phc))
    } else {
        Err(Failed::Wrong)
    }
}

/// Who logged in, where, and what waits for them.
pub(crate) struct LogIn<'a> {
    pub(crate) person: &'a Person,
    pub(crate) waiting: Option<&'a str>,
    pub(crate) by: SignedInBy<'a>,
    /// The issuer of the provider, where they came from there.
    pub(crate) provider: Option<&'a str>,
}

/// Opens the session, on record first.
pub(crate) async fn open(
    shared: &Shared,
    head: &Parts,
    browser: &Browser,
    LogIn { person, waiting, by, provider }: &LogIn<'_>,
    now_ms: u64,
) -> Response<Body> {
    let now_s = now_ms / 1000;
    let mut entry = Entry {
        by: Some(person.id.to_string()),
        decision: Some(Decision::Permit),
        subject: Some(person.id.to_string()),
        ..shared.entry_from(head, Kind::IdentityLogin, now_ms)
    };
    entry.detail.extend(provider.map(|issuer| ("provider".to_owned(), issuer.to_owned())));
    if let SignedInBy::Passkey(passkey) = by {
        entry.detail.insert("passkey".to_owned(), passkey.to_string());
    }
    // If the process dies after this line, a log-in is on record that opened nothing.
    if shared.record(&entry).await.is_err() {
        return page::unavailable(shared);
    }
    if let Some(before) = browser.session_digest()
        && shared.store.end_session(&before, now_s).await.is_err()
    {
        return page::unavailable(shared);
    }
    let session = base64url(&shared.random.bytes::<32>());
    let digest = sha256(session.as_bytes());
    if shared.store.open_session(&person.id, &digest, *by, now_s).await.is_err() {
        return page::unavailable(shared);
    }
    // A lock ends the sessions that are there; this one may have come right after it.
    if !may_sign_in(&shared.published.load(), &person.id, shared.clock.now_s()) {
        let _ended = shared.store.end_session(&digest, now_s).await.is_ok();
        return page::unavailable(shared);
    }
    let next = match waiting {
        Some(waiting) if is_name(waiting) => format!("/consent?waiting={waiting}"),
        // Nobody says where to go: a page of ours that this browser asked for, or the list.
        Some(_) | None => {
            let people = shared.people.as_ref();
            let wanted = people.and_then(|people| people.returns.take(&browser.digest(), now_s));
            wanted.unwrap_or_else(|| "/sessions".to_owned())
        }
    };
    let mut answer = page::see_other(&shared.config.endpoint(&next));
    page::set_cookie(&mut answer, shared, Cookie::Session, Some(&session));
    answer
}

/// The page, with what went wrong.
pub(crate) fn form(
    (shared, people): (&Shared, &People),
    browser: &Browser,
    (status, waiting, problem): (StatusCode, &str, Option<&str>),
) -> Response<Body> {
    let waiting = if is_name(waiting) { waiting } else { "" };
    let asks = people.waiting.look(waiting, shared.clock.now_s());
    let asks = asks.filter(|waiting| waiting.browser == browser.digest());
    let token = people.form_key.token(FormName::Login, browser);
    let base = shared.config.issuer_path();
    let offers_passkeys = people.offers_passkeys();
    let html = LoginPage {
        form: PageForm { base, token: &token, waiting },
        application: asks.as_ref().map(|waiting| waiting.client.name.as_str()),
        provider: people.provider.as_ref().map(Provider::display_name),
        asks_password: people.allows_passwords(),
        offers_passkeys,
        problem,
    }
    .html();
    let mut answer =
        if offers_passkeys { page::scripted(status, html) } else { page::page(status, html, None) };
    page::name_browser(&mut answer, shared, browser);
    answer
}

/// A password where people log in at the provider alone. Nothing of it was looked at.
pub(crate) async fn passwords_off(shared: &Shared, about: Entry) -> Response<Body> {
    if shared.note_refusal(about, ReasonCode::LoginPasswordsOff).await.is_err() {
        return page::unavailable(shared);
    }
    no_passwords(shared)
}

/// What people are told where a password is of no use.
pub(crate) fn no_passwords(shared: &Shared) -> Response<Body> {
    let text = ("Nobody signs in by password here.", "Go back and sign in at your provider.");
    page::error(shared, StatusCode::FORBIDDEN, text)
}

/// The name of a request that waits, out of a query.
pub(crate) fn waiting_of(head: &Parts) -> String {
    let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
    let waiting = query.ok().and_then(|query| query.value("waiting").map(str::to_owned));
    waiting.filter(|waiting| is_name(waiting)).unwrap_or_default()
}

/// Whether a text has the form of such a name, so that it can stand in an address of ours.
fn is_name(text: &str) -> bool {
    text.len() == 43
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What failed log-ins are counted by, and how many there may be in a quarter of an hour. Of a name
/// from one place few; of a name from everywhere more, or anybody could keep its owner out.
fn keys(head: &Parts, name: &str) -> [(String, u32); 3] {
    let name: String = name.chars().take(64).collect();
    [
        (format!("{name} at {}", place(head).0), 10),
        (format!("name {name}"), 100),
        key_of_place(head),
    ]
}

/// What failed log-ins from one place are counted by, whatever their name.
pub(crate) fn key_of_place(head: &Parts) -> (String, u32) {
    let (place, is_known) = place(head);
    (format!("place {place}"), if is_known { 50 } else { u32::MAX })
}

/// Where a request comes from, and whether that is known.
fn place(head: &Parts) -> (String, bool) {
    let peer = head.extensions.get::<Peer>().and_then(Peer::charged);
    (peer.map_or_else(|| "proxy".to_owned(), place_of), peer.is_some())
}

/// An IPv6 client owns a /64. Loopback is a place here: nobody guesses passwords from it either.
pub(crate) fn place_of(address: std::net::IpAddr) -> String {
    attorn_net::place(Some(address)).unwrap_or(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_anywhere() {
        assert!(is_name(&"a".repeat(43)));
        for text in
            ["", "//evil.example", "/\\evil", "https:evil", &"a".repeat(42), &"/".repeat(43)]
        {
            assert!(!is_name(text), "{text}");
        }
    }
}
