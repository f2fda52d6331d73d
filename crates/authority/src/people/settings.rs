//! `/settings`: how a person signs in. They add and remove passkeys, soon after a log-in.
//!
//! WebAuthn Level 3 section 7.1 for a new one. A session that somebody left open, or stole, is not enough
//! to change how its person comes in: OWASP ASVS 5.0 section 7.5 asks for a log-in just before.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{Form as PageForm, Here, SettingsPage, ShownPasskey, moment};
use attorn_net::Body;
use attorn_oauth::form::Form;
use attorn_registry::{PasskeyId, ReasonCode, is_display_name};
use attorn_store::{Act, PASSKEYS_MAX, Passkey, Refusal, StoreError};
use attorn_webauthn::{Expected, NewPasskey, Registration, RelyingParty, WebauthnRefusal};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::json;

use super::browser::still_counts;
use super::forms::FormName;
use super::passkey_login::{decoded, off, party};
use super::passkeys::{CHALLENGE_S, Purpose};
use super::provider::Provider;
use super::visitor::Visitor;
use super::{People, page};
use crate::shared::Shared;

/// The page.
pub(crate) async fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_s = shared.clock.now_s();
    match Visitor::at((shared, people), head, PATH, now_s).await {
        Ok(visitor) => list((shared, people), &visitor, Told::Nothing, now_s).await,
        Err(answer) => answer,
    }
}

/// Leads to the log-in and back.
pub(crate) async fn again(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_s = shared.clock.now_s();
    match Visitor::at((shared, people), head, PATH, now_s).await {
        Ok(visitor) => {
            people.returns.remember(&visitor.browser.digest(), PATH, now_s);
            page::see_other(&shared.config.endpoint("/login"))
        }
        Err(answer) => answer,
    }
}

/// A challenge for the script of the page, and what a browser needs to make a passkey.
pub(crate) async fn challenge(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let changing = match Changing::begin((shared, people), head, body).await {
        Ok(changing) => changing,
        Err(answer) => return answer,
    };
    let party = match changing.party(shared, people).await {
        Ok(party) => party,
        Err(answer) => return answer,
    };
    let Changing { visitor, now_s, .. } = &changing;
    let Ok(passkeys) = shared.store.passkeys_of(&visitor.person.id).await else {
        return page::unavailable(shared);
    };
    let purpose = changing.purpose();
    let challenge = people.passkeys.ask(&shared.random, &visitor.browser, purpose, *now_s);
    let person = &visitor.person;
    let known: Vec<_> = passkeys.iter().map(|passkey| passkey.credential.to_string()).collect();
    page::json(&json!({
        "challenge": challenge,
        "rp_id": party.id(),
        "timeout_ms": CHALLENGE_S * 1000,
        // WebAuthn Level 3 section 14.6.1: says nothing of the person. It is what tokens call them.
        "user_handle": attorn_jose::base64url(person.id.as_str().as_bytes()),
        "user_name": person.name.as_str(),
        "display_name": person.display_name.as_deref().unwrap_or(person.name.as_str()),
        "known": known,
    }))
}

/// Adds a passkey.
pub(crate) async fn add(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let changing = match Changing::begin((shared, people), head, body).await {
        Ok(changing) => changing,
        Err(answer) => return answer,
    };
    let party = match changing.party(shared, people).await {
        Ok(party) => party,
        Err(answer) => return answer,
    };
    let name = changing.form.value("name").unwrap_or_default().trim();
    if !is_display_name(name) || name.chars().count() > NAME_CHARS_MAX {
        let told = Told::Problem("A name is 1 to 64 visible characters.");
        return changing.answer((shared, people), (StatusCode::BAD_REQUEST, told)).await;
    }
    let new = match changing.verify(people, party) {
        Ok(new) => new,
        Err(refused) => return changing.refuse((shared, people), refused).await,
    };
    let passkey = Passkey {
        id: PasskeyId::from_random(&shared.random.bytes()),
        person: changing.visitor.person.id.clone(),
        name: name.to_owned(),
        credential: new.credential,
        public_key: new.public_key,
        sign_count: new.sign_count,
        created_s: changing.now_s,
        used_s: None,
    };
    match keep(shared, &changing, &passkey).await {
        Ok(()) => {
            let told = Told::Done("The passkey is added. You can sign in by it from now on.");
            changing.answer((shared, people), (StatusCode::OK, told)).await
        }
        Err(NotKept::Refused(refused)) => changing.refuse((shared, people), refused).await,
        Err(NotKept::Unavailable) => page::unavailable(shared),
    }
}

enum NotKept {
    Refused(Refused),
    Unavailable,
}

async fn keep(shared: &Shared, changing: &Changing, passkey: &Passkey) -> Result<(), NotKept> {
    let _alone = shared.turns.next().await;
    changing.verify_again(shared).await?;
    let store = &shared.store;
    // Looked at before it is recorded, so that the record is of what is done.
    let others = store.passkeys_of(&passkey.person).await.map_err(|_| NotKept::Unavailable)?;
    let known = store.passkey(&passkey.credential).await.map_err(|_| NotKept::Unavailable)?;
    if known.is_some() {
        return Err(NotKept::Refused(Refused::of(ReasonCode::PasskeyTaken)));
    }
    if others.len() >= PASSKEYS_MAX {
        return Err(NotKept::Refused(Refused::of(ReasonCode::PasskeyLimit)));
    }
    // If the process dies after this line, a passkey is on record that signs nobody in.
    let entry = changing.entry(Kind::KeyAdded, &passkey.id);
    let _recorded = shared.record(&entry).await.map_err(|_| NotKept::Unavailable)?;
    let person = passkey.person.to_string();
    let act = Act { by: &person, now_s: changing.now_s };
    store.add_passkey(&act, passkey).await.map_err(|error| match error {
        StoreError::Refused(Refusal::PasskeyTaken) => {
            NotKept::Refused(Refused::of(ReasonCode::PasskeyTaken))
        }
        StoreError::Refused(_) | StoreError::Failed(_) => NotKept::Unavailable,
    })?;
    shared.publish().await.map_err(|_| NotKept::Unavailable)
}

/// Removes one.
pub(crate) async fn remove(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let changing = match Changing::begin((shared, people), head, body).await {
        Ok(changing) => changing,
        Err(answer) => return answer,
    };
    let person = &changing.visitor.person.id;
    let named = PasskeyId::parse(changing.form.value("passkey").unwrap_or_default());
    let _alone = shared.turns.next().await;
    match changing.verify_again(shared).await {
        Ok(()) => {}
        Err(NotKept::Refused(refused)) => return changing.refuse((shared, people), refused).await,
        Err(NotKept::Unavailable) => return page::unavailable(shared),
    }
    let Ok(passkeys) = shared.store.passkeys_of(person).await else {
        return page::unavailable(shared);
    };
    // Of nobody else, and none that is gone: a page that is behind says nothing about others.
    let Some(passkey) = passkeys.into_iter().find(|one| named.as_ref() == Ok(&one.id)) else {
        let refused = Refused::of(ReasonCode::PasskeyUnknown);
        return changing.refuse((shared, people), refused).await;
    };
    // Takes away what is theirs, so it is recorded even when the journal refuses all else.
    let entry = changing.entry(Kind::KeyRemoved, &passkey.id);
    let Ok(_recorded) = shared.record_own(&entry).await else {
        return page::unavailable(shared);
    };
    let by = person.to_string();
    let act = Act { by: &by, now_s: changing.now_s };
    let removed = shared.store.remove_passkey(&act, person, &passkey.id).await;
    let published = shared.publish().await;
    if removed.is_err() || published.is_err() {
        return page::unavailable(shared);
    }
    let told = Told::Done("The passkey is removed. Nobody signs in by it any more.");
    changing.answer((shared, people), (StatusCode::OK, told)).await
}

/// A person who may change how they sign in: signed in lately, by a form of ours.
struct Changing {
    visitor: Visitor,
    form: Form,
    about: Entry,
    now_s: u64,
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reason: ReasonCode,
    check: Option<&'static str>,
}

impl Refused {
    const fn of(reason: ReasonCode) -> Self {
        Self { reason, check: None }
    }

    fn told(self) -> (StatusCode, Told) {
        let told = TOLD.iter().find(|(reason, ..)| *reason == self.reason);
        let (status, text) = told.map_or(NOT_ACCEPTED, |(_, status, text)| (*status, *text));
        (status, Told::Problem(text))
    }
}

impl From<WebauthnRefusal> for Refused {
    fn from(refusal: WebauthnRefusal) -> Self {
        Self { reason: ReasonCode::PasskeyRefused, check: Some(refusal.check()) }
    }
}

impl Changing {
    async fn begin(
        (shared, people): (&Shared, &People),
        head: &Parts,
        body: &[u8],
    ) -> Result<Self, Response<Body>> {
        let now_ms = shared.clock.now_ms();
        let now_s = now_ms / 1000;
        let visitor = Visitor::at((shared, people), head, PATH, now_s).await?;
        let person = visitor.person.id.to_string();
        let about = shared.entry_from(head, Kind::AdminRefused, now_ms);
        let about = Entry { by: Some(person.clone()), subject: Some(person), ..about };
        let from = (&visitor.browser, page::origin(shared));
        let read = people.form_key.read(FormName::Settings, from, &head.headers, body);
        let Ok(form) = read else { return Err(page::forged(shared, about).await) };
        let changing = Self { visitor, form, about, now_s };
        if is_recent(&changing.visitor, now_s) {
            return Ok(changing);
        }
        let refused = Refused::of(ReasonCode::LoginNotRecent);
        Err(changing.refuse((shared, people), refused).await)
    }

    /// A form may have waited for its turn: of a session that ended meanwhile nothing is changed.
    async fn verify_again(&self, shared: &Shared) -> Result<(), NotKept> {
        let counts = still_counts(shared, &self.visitor.session).await;
        let counts = counts.map_err(|_| NotKept::Unavailable)?;
        if counts && is_recent(&self.visitor, shared.clock.now_s()) {
            return Ok(());
        }
        Err(NotKept::Refused(Refused::of(ReasonCode::LoginNotRecent)))
    }

    /// Who asks for passkeys of this person, who signs in here.
    async fn party<'a>(
        &self,
        shared: &Shared,
        people: &'a People,
    ) -> Result<&'a RelyingParty, Response<Body>> {
        let party = party(shared, people, &self.about).await?;
        if self.visitor.person.external.is_none() {
            return Ok(party);
        }
        let refused = Refused::of(ReasonCode::PasskeyUnavailable);
        Err(self.refuse((shared, people), refused).await)
    }

    fn purpose(&self) -> Purpose {
        let person = self.visitor.person.id.clone();
        Purpose::Add { person, session: self.visitor.session.digest }
    }

    fn verify(&self, people: &People, party: &RelyingParty) -> Result<NewPasskey, Refused> {
        let bytes = |name| decoded(&self.form, name);
        let client_data = bytes("client_data").ok_or(WebauthnRefusal::ClientData)?;
        let object = bytes("attestation_object").ok_or(WebauthnRefusal::AuthenticatorData)?;
        let registration = Registration::parse(&client_data, &object)?;
        let challenge = registration.challenge().to_owned();
        let browser = &self.visitor.browser;
        // From here on the challenge is used up.
        if !people.passkeys.take(&challenge, browser, &self.purpose(), self.now_s) {
            return Err(Refused::of(ReasonCode::PasskeyChallenge));
        }
        Ok(registration.verify(&Expected { party, challenge: &challenge })?)
    }

    /// What the journal says of a change.
    fn entry(&self, kind: Kind, passkey: &PasskeyId) -> Entry {
        let mut entry = Entry { decision: Some(Decision::Permit), kind, ..self.about.clone() };
        // What the person calls it stays out of the journal: it could not be taken out again.
        entry.detail.insert("passkey".to_owned(), passkey.to_string());
        entry
    }

    async fn refuse(
        &self,
        (shared, people): (&Shared, &People),
        refused: Refused,
    ) -> Response<Body> {
        let mut about = self.about.clone();
        let check = refused.check.map(|check| ("check".to_owned(), check.to_owned()));
        about.detail.extend(check);
        if shared.note_refusal(about, refused.reason).await.is_err() {
            return page::unavailable(shared);
        }
        self.answer((shared, people), refused.told()).await
    }

    async fn answer(
        &self,
        at: (&Shared, &People),
        (status, told): (StatusCode, Told),
    ) -> Response<Body> {
        let mut answer = list(at, &self.visitor, told, self.now_s).await;
        if answer.status() == StatusCode::OK {
            *answer.status_mut() = status;
        }
        answer
    }
}

/// What the page says beside the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done(&'static str),
    Nothing,
    Problem(&'static str),
}

async fn list(
    (shared, people): (&Shared, &People),
    visitor: &Visitor,
    told: Told,
    now_s: u64,
) -> Response<Body> {
    let Ok(passkeys) = shared.store.passkeys_of(&visitor.person.id).await else {
        return page::unavailable(shared);
    };
    let elsewhere = people.provider.as_ref().map(Provider::display_name);
    let elsewhere = format!("You sign in at {}.", elsewhere.unwrap_or("your provider"));
    let is_external = visitor.person.external.is_some() || !people.allows_passwords();
    let why = people.passkeys.party().err().map(off);
    let off = if is_external { Some(elsewhere.as_str()) } else { why };
    let (done, problem) = match told {
        Told::Done(text) => (Some(text), None),
        Told::Nothing => (None, None),
        Told::Problem(text) => (None, Some(text)),
    };
    let token = people.form_key.token(FormName::Settings, &visitor.browser);
    let nav = visitor.nav(shared, Here::Settings);
    let settings = SettingsPage {
        form: PageForm { base: nav.base, token: &token, waiting: "" },
        nav,
        done,
        problem,
        off,
        is_recent: is_recent(visitor, now_s),
        passkeys: passkeys.iter().map(shown).collect(),
    };
    if settings.offers() {
        page::scripted(StatusCode::OK, settings.html())
    } else {
        page::page(StatusCode::OK, settings.html(), None)
    }
}

fn shown(passkey: &Passkey) -> ShownPasskey {
    ShownPasskey {
        id: passkey.id.to_string(),
        name: passkey.name.clone(),
        created: moment(passkey.created_s),
        used: passkey.used_s.map(moment),
    }
}

/// A session from a clock that was ahead is not recent.
fn is_recent(visitor: &Visitor, now_s: u64) -> bool {
    now_s.checked_sub(visitor.session.opened_s).is_some_and(|age_s| age_s < RECENT_S)
}

const PATH: &str = "/settings";
/// The page says the same of its field.
const NAME_CHARS_MAX: usize = 64;
/// What a person is told of a refusal.
const TOLD: [(ReasonCode, StatusCode, &str); 5] = [
    (
        ReasonCode::LoginNotRecent,
        StatusCode::FORBIDDEN,
        "It is too long ago that you signed in. Sign in again first.",
    ),
    (
        ReasonCode::PasskeyChallenge,
        StatusCode::BAD_REQUEST,
        "It took too long, or came twice. Try again.",
    ),
    (
        ReasonCode::PasskeyLimit,
        StatusCode::CONFLICT,
        "You have as many passkeys as may be. Remove one first.",
    ),
    (ReasonCode::PasskeyTaken, StatusCode::CONFLICT, "This passkey is known already."),
    (ReasonCode::PasskeyUnknown, StatusCode::NOT_FOUND, "You have no such passkey."),
];
const NOT_ACCEPTED: (StatusCode, &str) =
    (StatusCode::BAD_REQUEST, "The passkey was not accepted. Try again, or another one.");
/// How long after a log-in somebody can change how they sign in.
const RECENT_S: u64 = 300;
