//! `/consent`: the person says what the application may do. Never silent, and never for more than the
//! person has.
//!
//! What is shown and what is given are both worked out from the registry of that moment. The form
//! says places in the offer with what stood there, so nothing else can be asked for by changing it, and
//! a page that is behind the offer of now gives nothing else than what it showed.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{ConsentPage, Form as PageForm, Origin};
use attorn_net::Body;
use attorn_oauth::authorization_request::{AuthorizationError, ShownError};
use attorn_oauth::form::Form;
use attorn_oauth::redirect_uri::{destination, form_action_source, is_loopback_address};
use attorn_registry::{AgentId, Consent, ConsentId, McpServer, Scope, ScopeSet, Snapshot};
use attorn_store::{Act, Code, Family};
use http::request::Parts;
use http::{Response, StatusCode};

use super::authorize::{Stopped, stop, target};
use super::browser::{Browser, LoggedIn, still_counts};
use super::clients::Known;
use super::code_grant::stops_from_s;
use super::forms::FormName;
use super::login::waiting_of;
use super::offer::{NoOffer, Offer};
use super::waiting::Waiting;
use super::{People, page};
use crate::shared::Shared;

/// Everything that a question or an answer is about.
struct Asked {
    waiting: Waiting,
    /// Its name in the browser.
    name: String,
    logged_in: LoggedIn,
    agent: AgentId,
}

/// Shows the question.
pub(crate) async fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    match asked((shared, people), &browser, &waiting_of(head), now_ms / 1000).await {
        Ok(asked) => question((shared, people), head, (&browser, &asked, None), now_ms).await,
        Err(Missing::LogIn(name)) => {
            let next = format!("/login?waiting={name}");
            page::see_other(&shared.config.endpoint(&next))
        }
        Err(Missing::Request) => {
            stop(shared, head, ShownError::RequestUriUnknown.into(), now_ms).await
        }
        Err(Missing::Unavailable) => page::unavailable(shared),
    }
}

/// Takes the answer.
pub(crate) async fn decide(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let from = (&browser, page::origin(shared));
    let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
    let Ok(form) = people.form_key.read(FormName::Consent, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    let name = form.value("waiting").unwrap_or_default();
    let asked = match asked((shared, people), &browser, name, now_ms / 1000).await {
        Ok(asked) => asked,
        // The token held for a request that is over, or not of this browser: a form is used once.
        Err(Missing::Request | Missing::LogIn(_)) => return page::forged(shared, about).await,
        Err(Missing::Unavailable) => return page::unavailable(shared),
    };
    if form.value("decision") != Some("allow") {
        return deny((shared, people), head, &asked, now_ms).await;
    }
    let chosen = chosen(&form, &asked.waiting.offered);
    if chosen.is_empty() {
        let problem = Some("Choose at least one, or deny.");
        return question((shared, people), head, (&browser, &asked, problem), now_ms).await;
    }
    // Of two answers at once one counts.
    if people.waiting.take(&asked.name, now_ms / 1000).is_none() {
        return page::forged(shared, about).await;
    }
    match allow((shared, people), head, &asked, chosen, now_ms).await {
        Ok(location) => page::see_other(&location),
        Err(error) => {
            let destination = asked.waiting.request.destination();
            stop(shared, head, Stopped::Sent(error, destination), now_ms).await
        }
    }
}

enum Missing {
    /// Nobody is logged in, or not since the request asked for it.
    LogIn(String),
    /// No such request in this browser.
    Request,
    Unavailable,
}

/// The request of this browser and the person who is logged in at it.
async fn asked(
    (shared, people): (&Shared, &People),
    browser: &Browser,
    name: &str,
    now_s: u64,
) -> Result<Asked, Missing> {
    // Another browser's request looks like one that is not there.
    let waiting = people.waiting.look(name, now_s);
    let waiting = waiting.filter(|waiting| waiting.browser == browser.digest());
    let waiting = waiting.ok_or(Missing::Request)?;
    let logged_in = browser.logged_in(shared, now_s).await.map_err(|_| Missing::Unavailable)?;
    let logged_in =
        logged_in.filter(|logged_in| logged_in.session.opened_s >= waiting.login_from_s);
    let logged_in = logged_in.ok_or_else(|| Missing::LogIn(name.to_owned()))?;
    let by = logged_in.person.id.to_string();
    let act = Act { by: &by, now_s };
    let agent = waiting.client.record((shared, people), &act).await;
    let agent = agent.map_err(|error| {
        tracing::warn!(%error, "a client of people is not recorded");
        Missing::Unavailable
    })?;
    Ok(Asked { waiting, name: name.to_owned(), logged_in, agent })
}

async fn question(
    (shared, people): (&Shared, &People),
    head: &Parts,
    (browser, asked, problem): (&Browser, &Asked, Option<&str>),
    now_ms: u64,
) -> Response<Body> {
    let (snapshot, now_s) = (shared.published.load(), now_ms / 1000);
    let request = &asked.waiting.request;
    let (server, offer) = match offer(shared, &snapshot, asked, now_s) {
        Ok(offered) => offered,
        Err(error) => {
            people.waiting.take(&asked.name, now_s);
            return stop(shared, head, Stopped::Sent(error, request.destination()), now_ms).await;
        }
    };
    people.waiting.change(&asked.name, |waiting| waiting.offered.clone_from(&offer.scopes));
    let token = people.form_key.token(FormName::Consent, browser);
    let base = shared.config.issuer_path();
    let client = &asked.waiting.client;
    let answer_to = destination(&request.redirect_uri);
    let is_loopback = is_loopback_address(&request.redirect_uri);
    let (origin, is_elsewhere) = match &client.source {
        Known::Document { host } => {
            (Origin::Document(host.as_str()), !is_loopback && host != answer_to)
        }
        Known::Record { is_dynamic: true, .. } => (Origin::Dynamic, false),
        Known::Record { is_dynamic: false, .. } => (Origin::Registered, false),
    };
    let html = ConsentPage {
        form: PageForm { base, token: &token, waiting: &asked.name },
        person: asked.logged_in.person.name.as_str(),
        application: &client.name,
        origin,
        destination: answer_to,
        is_loopback,
        is_elsewhere,
        server: server.name.as_str(),
        days: u64::from(people.config.consent_days),
        groups: offer.groups(server),
        given_before: offer.given_before(),
        problem,
    }
    .html();
    page::page(StatusCode::OK, html, Some(&form_action_source(&request.redirect_uri)))
}

/// The server and what can be given there now.
fn offer<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    asked: &Asked,
    now_s: u64,
) -> Result<(&'s McpServer, Offer), AuthorizationError> {
    let request = &asked.waiting.request;
    let server = target(shared, snapshot, request).ok_or(AuthorizationError::ResourceUnknown)?;
    let parties = (&asked.logged_in.person.id, &asked.agent, server);
    let offer = Offer::of(snapshot, parties, request.scope.as_ref(), now_s);
    match offer {
        Ok(offer) => Ok((server, offer)),
        // RFC 8707 section 2: not for this person is as good as not there.
        Err(NoOffer::Nothing(_)) => Err(AuthorizationError::ResourceUnknown),
        Err(NoOffer::NothingAsked) => Err(AuthorizationError::ScopeNotGrantable),
    }
}

/// The scopes that the form names, each at its place in the offer.
fn chosen(form: &Form, offered: &[Scope]) -> ScopeSet {
    let is_chosen = |(number, scope): &(usize, &Scope)| {
        form.value(&format!("scope.{number}")) == Some(scope.to_string().as_str())
    };
    offered.iter().enumerate().filter(is_chosen).map(|(_, scope)| scope.clone()).collect()
}

async fn deny(
    (shared, people): (&Shared, &People),
    head: &Parts,
    asked: &Asked,
    now_ms: u64,
) -> Response<Body> {
    if people.waiting.take(&asked.name, now_ms / 1000).is_none() {
        let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
        return page::forged(shared, about).await;
    }
    let destination = asked.waiting.request.destination();
    let error = AuthorizationError::AccessDenied;
    let mut entry = about(shared, head, Kind::ConsentRefused, (asked, now_ms));
    entry.decision = Some(Decision::Deny);
    entry.reason = Some(error.reason().as_str().to_owned());
    if shared.note(&entry).await.is_err() {
        return page::unavailable(shared);
    }
    page::see_other(&destination.with_error(error, &shared.config.issuer))
}

/// Gives what was chosen and still can be given, on record first. Gives where the browser goes.
async fn allow(
    (shared, people): (&Shared, &People),
    head: &Parts,
    asked: &Asked,
    chosen: ScopeSet,
    now_ms: u64,
) -> Result<String, AuthorizationError> {
    let unavailable = |_| AuthorizationError::Unavailable;
    let now_s = now_ms / 1000;
    let person = &asked.logged_in.person.id;
    let _alone = shared.turns.next().await;
    // The form may have waited for its turn: a session that ended meanwhile gives nothing.
    let counts = still_counts(shared, &asked.logged_in.session).await;
    if !counts.map_err(|_| AuthorizationError::Unavailable)? {
        return Err(AuthorizationError::LoginRequired);
    }
    let snapshot = shared.published.load();
    let (server, _) = offer(shared, &snapshot, asked, now_s)?;
    let grantable = snapshot.grantable_scopes(person, &asked.agent, &server.id, now_s);
    let scopes = grantable.unwrap_or_default().intersect(&chosen);
    if scopes.is_empty() {
        return Err(AuthorizationError::ScopeNotGrantable);
    }
    let consent = Consent {
        id: ConsentId::from_random(&shared.random.bytes()),
        person: person.clone(),
        agent: asked.agent.clone(),
        server: server.id.clone(),
        scopes: scopes.clone(),
        created_s: now_s,
        expires_s: now_s.saturating_add(u64::from(people.config.consent_days) * DAY_S),
        revoked_s: None,
    };
    let mut given = about(shared, head, Kind::ConsentGiven, (asked, now_ms));
    given.decision = Some(Decision::Permit);
    given.scope = Some(scopes.to_string());
    given.server = Some(server.id.to_string());
    given.detail.insert("consent".to_owned(), consent.id.to_string());
    let code = attorn_jose::base64url(&shared.random.bytes::<32>());
    let family = Family {
        id: attorn_jose::base64url(&shared.random.bytes::<16>()),
        agent: asked.agent.clone(),
        person: person.clone(),
        server: server.id.clone(),
        client_id: asked.waiting.request.client_id.clone(),
        scope: scopes,
        login_s: asked.logged_in.session.opened_s,
        created_s: now_s.max(stops_from_s(&snapshot, (person, &asked.agent, &server.id), now_s)),
        jkt: None,
        expires_s: now_s.saturating_add(u64::from(people.config.refresh_days) * DAY_S),
    };
    let mut issued = Entry { kind: Kind::CodeIssued, ..given.clone() };
    issued.detail.insert("family".to_owned(), family.id.clone());
    // If the process dies after this line, a consent and a code are on record that nobody has.
    shared.record_all(&[given, issued]).await.map_err(|_| AuthorizationError::Unavailable)?;
    let by = person.to_string();
    let act = Act { by: &by, now_s };
    shared.store.put_consent(&act, &consent).await.map_err(|_| AuthorizationError::Unavailable)?;
    shared.publish().await.map_err(|_| AuthorizationError::Unavailable)?;
    let request = &asked.waiting.request;
    let kept = Code {
        family,
        redirect_uri: request.redirect_uri.clone(),
        code_challenge: request.code_challenge.to_string(),
        dpop_jkt: request.dpop_jkt,
    };
    let hash = attorn_jose::sha256(code.as_bytes());
    shared.store.create_code(&hash, &kept, now_s).await.map_err(unavailable)?;
    Ok(request.destination().with_code(&code, &shared.config.issuer))
}

fn about(shared: &Shared, head: &Parts, kind: Kind, (asked, now_ms): (&Asked, u64)) -> Entry {
    let request = &asked.waiting.request;
    let person = asked.logged_in.person.id.to_string();
    let mut entry = Entry {
        agent: Some(asked.agent.to_string()),
        audience: Some(request.resource.to_string()),
        by: Some(person.clone()),
        client_id: Some(request.client_id.clone()),
        subject: Some(person),
        ..shared.entry_from(head, kind, now_ms)
    };
    let to = destination(&request.redirect_uri).to_owned();
    entry.detail.insert("redirect".to_owned(), to);
    entry
}

const DAY_S: u64 = 24 * 3600;
