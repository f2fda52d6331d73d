//! `/invite`: who was invited chooses a password, and with it begins anew. RFC 6749 has nothing to say here.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{Form as PageForm, InvitationPage};
use attorn_jose::sha256;
use attorn_net::{Body, Peer};
use attorn_registry::{PersonId, ReasonCode};
use attorn_store::{Act, Failure, Refusal, StoreError};
use http::request::Parts;
use http::{Response, StatusCode};
use zeroize::Zeroizing;

use super::browser::Browser;
use super::forms::FormName;
use super::login::{no_passwords, passwords_off};
use super::password::{CHARACTERS_MIN, is_long_enough};
use super::{People, page};
use crate::shared::Shared;

/// The page.
pub(crate) fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    if !people.allows_passwords() {
        return no_passwords(shared);
    }
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    form((shared, people), &browser, (StatusCode::OK, None))
}

/// One attempt. The code is looked at before the password is hashed, and used up last.
pub(crate) async fn redeem(
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
    let Ok(asked) = people.form_key.read(FormName::Invite, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    let password = Zeroizing::new(asked.value("password").unwrap_or_default().to_owned());
    let again =
        |problem| form((shared, people), &browser, (StatusCode::BAD_REQUEST, Some(problem)));
    if asked.value("again") != Some(password.as_str()) {
        return again("The two passwords are different.");
    }
    if !is_long_enough(&password) {
        return again("The password is too short, or much too long.");
    }
    let place = head.extensions.get::<Peer>().and_then(Peer::charged);
    let place = place.map_or_else(String::new, |address| format!("invite {address}"));
    if let Err(wait_s) = people.login_failures.look(&place, ATTEMPTS_MAX, now_s) {
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, wait_s);
    }
    let digest = sha256(asked.value("code").unwrap_or_default().trim().as_bytes());
    let person = match shared.store.invitation(&digest, now_s).await {
        Ok(person) => person,
        Err(StoreError::Failed(_)) => return page::unavailable(shared),
        Err(StoreError::Refused(_)) => {
            people.login_failures.count(&place, now_s);
            return match shared.note_refusal(about, ReasonCode::EnrolmentRefused).await {
                Ok(()) => again("The code is unknown, used or too old. Ask for another one."),
                Err(_) => page::unavailable(shared),
            };
        }
    };
    let Ok(phc) = people.passwords.hash(password).await else { return page::unavailable(shared) };
    let by = person.to_string();
    let Ok(entry) = enrolled(shared, head, &person, now_ms).await else {
        return page::unavailable(shared);
    };
    // If the process dies after this line, an enrolment is on record and the code still works.
    if shared.record(&entry).await.is_err() {
        return page::unavailable(shared);
    }
    let _alone = shared.turns.next().await;
    match shared.store.redeem_invitation(&Act { by: &by, now_s }, &digest, &phc).await {
        Ok(_changed) => {}
        Err(StoreError::Refused(Refusal::CodeInvalid)) => {
            return again("The code is unknown, used or too old. Ask for another one.");
        }
        Err(_) => return page::unavailable(shared),
    }
    match shared.publish().await {
        Ok(()) => page::see_other(&shared.config.endpoint("/login")),
        Err(_) => page::unavailable(shared),
    }
}

/// What the journal says of it. The account begins anew: passkeys from before are gone.
async fn enrolled(
    shared: &Shared,
    head: &Parts,
    person: &PersonId,
    now_ms: u64,
) -> Result<Entry, Failure> {
    let passkeys = shared.store.passkeys_of(person).await?;
    let mut entry = Entry {
        by: Some(person.to_string()),
        decision: Some(Decision::Permit),
        subject: Some(person.to_string()),
        ..shared.entry_from(head, Kind::IdentityEnrolled, now_ms)
    };
    if !passkeys.is_empty() {
        let ids: Vec<_> = passkeys.iter().map(|passkey| passkey.id.as_str()).collect();
        entry.detail.insert("passkeys_removed".to_owned(), ids.join(" "));
    }
    Ok(entry)
}

fn form(
    (shared, people): (&Shared, &People),
    browser: &Browser,
    (status, problem): (StatusCode, Option<&str>),
) -> Response<Body> {
    let token = people.form_key.token(FormName::Invite, browser);
    let base = shared.config.issuer_path();
    let form = PageForm { base, token: &token, waiting: "" };
    let html = InvitationPage { form, password_characters_min: CHARACTERS_MIN, problem }.html();
    let mut answer = page::page(status, html, None);
    page::name_browser(&mut answer, shared, browser);
    answer
}

/// Codes have 192 random bits: this only keeps the noise down.
const ATTEMPTS_MAX: u32 = 50;
