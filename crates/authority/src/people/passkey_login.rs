//! `/login/challenge` and `/login/passkey`: a passkey says who is there.
//!
//! WebAuthn Level 3 section 7.2, with nobody named before. Attempts are counted before they are looked at,
//! and a challenge and the counter of a passkey are used up before a session is opened.

use attorn_audit::{Entry, Kind};
use attorn_jose::from_base64url;
use attorn_net::{Body, Peer};
use attorn_oauth::form::Form;
use attorn_registry::{Person, ReasonCode};
use attorn_store::{Failure, Passkey, SignedInBy};
use attorn_webauthn::{
    Assertion, AssertionParts, Expected, KnownPasskey, NoRelyingParty, RelyingParty,
    WebauthnRefusal,
};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::json;

use super::browser::{Browser, may_sign_in};
use super::forms::FormName;
use super::login::{self, LogIn, passwords_off};
use super::passkeys::{CHALLENGE_S, Purpose};
use super::{People, page};
use crate::shared::Shared;

/// A challenge for the script of the log-in page.
pub(crate) async fn challenge(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
    let party = match party(shared, people, &about).await {
        Ok(party) => party,
        Err(answer) => return answer,
    };
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let from = (&browser, page::origin(shared));
    if people.form_key.read(FormName::Login, from, &head.headers, body).is_err() {
        return page::forged(shared, about).await;
    }
    let peer = head.extensions.get::<Peer>().and_then(Peer::charged);
    if let Some(address) = peer {
        let key = format!("challenge {}", login::place_of(address));
        if let Err(wait_s) = people.login_failures.look(&key, CHALLENGES_OF_PLACE_MAX, now_s) {
            let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
            return page::too_many(shared, wait_s);
        }
        people.login_failures.count(&key, now_s);
    }
    let challenge = people.passkeys.ask(&shared.random, &browser, Purpose::LogIn, now_s);
    page::json(&json!({
        "challenge": challenge,
        "rp_id": party.id(),
        "timeout_ms": CHALLENGE_S * 1000,
    }))
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
    let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
    let party = match party(shared, people, &about).await {
        Ok(party) => party,
        Err(answer) => return answer,
    };
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let from = (&browser, page::origin(shared));
    let Ok(asked) = people.form_key.read(FormName::Login, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    // As failed passwords from there, and together with them.
    let (key, max) = login::key_of_place(head);
    if let Err(wait_s) = people.login_failures.look(&key, max, now_s) {
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, wait_s);
    }
    // Before it is looked at: of many at once, no more are than of many in turn.
    people.login_failures.count(&key, now_s);
    let waiting = asked.value("waiting");
    match verify((shared, people), party, (&browser, &asked), now_s).await {
        Ok((person, passkey)) => {
            people.login_failures.give_back(&key);
            let by = SignedInBy::Passkey(&passkey.id);
            let log_in = LogIn { person: &person, waiting, by, provider: None };
            login::open(shared, head, &browser, &log_in, now_ms).await
        }
        Err(Failed::Unavailable) => {
            people.login_failures.give_back(&key);
            page::unavailable(shared)
        }
        Err(Failed::Refused(refused)) => {
            if shared.note_refusal(refused.entry(about), refused.reason).await.is_err() {
                return page::unavailable(shared);
            }
            let shown =
                (StatusCode::UNAUTHORIZED, waiting.unwrap_or_default(), Some(refused.told()));
            login::form((shared, people), &browser, shown)
        }
    }
}

enum Failed {
    Unavailable,
    Refused(Refused),
}

/// Why a passkey does not sign anybody in. Somebody at the browser is told nothing of it but whether
/// it came too late.
#[derive(Debug)]
struct Refused {
    reason: ReasonCode,
    /// What of the answer does not hold.
    check: Option<&'static str>,
    /// The passkey that the answer names, if there is one.
    passkey: Option<String>,
    /// Whose it is, once the signature held.
    person: Option<String>,
}

impl Refused {
    const fn of(reason: ReasonCode) -> Self {
        Self { reason, check: None, passkey: None, person: None }
    }

    fn by(self, passkey: &Passkey) -> Self {
        let person = Some(passkey.person.to_string());
        Self { passkey: Some(passkey.id.to_string()), person, ..self }
    }

    fn entry(&self, about: Entry) -> Entry {
        let mut entry = Entry { subject: self.person.clone(), ..about };
        let check = self.check.map(|check| ("check".to_owned(), check.to_owned()));
        let passkey = self.passkey.clone().map(|passkey| ("passkey".to_owned(), passkey));
        entry.detail.extend(check.into_iter().chain(passkey));
        entry
    }

    fn told(&self) -> &'static str {
        if self.reason == ReasonCode::PasskeyChallenge {
            return "It took too long, or the page is old. Try again.";
        }
        "The passkey was not accepted."
    }
}

impl From<WebauthnRefusal> for Refused {
    fn from(refusal: WebauthnRefusal) -> Self {
        let is_counter = refusal == WebauthnRefusal::Counter;
        let reason =
            if is_counter { ReasonCode::PasskeyCounter } else { ReasonCode::PasskeyRefused };
        Self { check: Some(refusal.check()), ..Self::of(reason) }
    }
}

impl From<WebauthnRefusal> for Failed {
    fn from(refusal: WebauthnRefusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Failure> for Failed {
    fn from(_: Failure) -> Self {
        Self::Unavailable
    }
}

/// Who is there, by which passkey.
async fn verify(
    (shared, people): (&Shared, &People),
    party: &RelyingParty,
    (browser, asked): (&Browser, &Form),
    now_s: u64,
) -> Result<(Person, Passkey), Failed> {
    let assertion = parse(asked)?;
    let challenge = assertion.challenge();
    // From here on the challenge is used up.
    if !people.passkeys.take(challenge, browser, &Purpose::LogIn, now_s) {
        return Err(Refused::of(ReasonCode::PasskeyChallenge).into());
    }
    let Some(passkey) = shared.store.passkey(assertion.credential()).await? else {
        return Err(Refused::of(ReasonCode::PasskeyUnknown).into());
    };
    let known = KnownPasskey {
        credential: &passkey.credential,
        public_key: &passkey.public_key,
        sign_count: passkey.sign_count,
        user_handle: passkey.person.as_str().as_bytes(),
    };
    let verified = assertion.verify(&Expected { party, challenge }, &known);
    let verified = verified.map_err(|refusal| {
        let refused = Refused::from(refusal).by(&passkey);
        // The counter is the last step: the signature held, so it is known whose passkey it was.
        let person = refused.person.filter(|_| refusal == WebauthnRefusal::Counter);
        Refused { person, ..refused }
    })?;
    // Of the registry in force: one that is stopped or locked, or signs in elsewhere, does not log in.
    let snapshot = shared.published.load();
    let person = snapshot.person(&passkey.person).filter(|person| person.external.is_none());
    let person = person.filter(|person| may_sign_in(&snapshot, &person.id, now_s));
    let Some(person) = person.cloned() else {
        return Err(Refused::of(ReasonCode::LoginFailed).by(&passkey).into());
    };
    // If the process dies after this line, the counter grew and nobody is logged in.
    if !shared.store.use_passkey(&passkey.id, verified.sign_count(), now_s).await? {
        return Err(Refused::from(WebauthnRefusal::Counter).by(&passkey).into());
    }
    Ok((person, passkey))
}

fn parse(asked: &Form) -> Result<Assertion, WebauthnRefusal> {
    let bytes = |name: &str, refusal| decoded(asked, name).ok_or(refusal);
    Assertion::parse(&AssertionParts {
        credential: &bytes("credential", WebauthnRefusal::CredentialId)?,
        client_data: &bytes("client_data", WebauthnRefusal::ClientData)?,
        authenticator_data: &bytes("authenticator_data", WebauthnRefusal::AuthenticatorData)?,
        signature: &bytes("signature", WebauthnRefusal::Signature)?,
        user_handle: &bytes("user_handle", WebauthnRefusal::UserHandle)?,
    })
}

/// A field of a form that is base64url. One that is not there is empty.
pub(crate) fn decoded(form: &Form, name: &str) -> Option<Vec<u8>> {
    from_base64url(form.value(name).unwrap_or_default()).ok()
}

/// Who asks for passkeys; else the answer that there are none.
pub(crate) async fn party<'a>(
    shared: &Shared,
    people: &'a People,
    about: &Entry,
) -> Result<&'a RelyingParty, Response<Body>> {
    if !people.allows_passwords() {
        return Err(passwords_off(shared, about.clone()).await);
    }
    match people.passkeys.party() {
        Ok(party) => Ok(party),
        Err(why) => {
            let noted = shared.note_refusal(about.clone(), ReasonCode::PasskeyUnavailable).await;
            if noted.is_err() {
                return Err(page::unavailable(shared));
            }
            let text = ("There are no passkeys here.", off(why));
            Err(page::error(shared, StatusCode::FORBIDDEN, text))
        }
    }
}

/// Why there are none, for people.
pub(crate) const fn off(why: NoRelyingParty) -> &'static str {
    match why {
        NoRelyingParty::Address => {
            "The address of this site is a number and not a name, and a passkey belongs to a name. \
             Whoever runs it can give it one."
        }
        NoRelyingParty::Insecure | NoRelyingParty::Url => {
            "This site is served without TLS, and browsers have passkeys for others alone."
        }
    }
}

/// Each is a hundred bytes here for five minutes; whole offices have one address.
const CHALLENGES_OF_PLACE_MAX: u32 = 500;
