//! `/consents`: what applications may do for a person, and how they take it back.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{ConsentsPage, Form as PageForm, GivenConsent, Here, moment};
use attorn_net::Body;
use attorn_registry::{Consent, ConsentId, Snapshot};
use attorn_store::{Act, Failure};
use http::request::Parts;
use http::{Response, StatusCode};

use super::forms::FormName;
use super::visitor::{Visitor, name_of};
use super::{People, page};
use crate::shared::Shared;

/// The list.
pub(crate) async fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_s = shared.clock.now_s();
    match Visitor::at((shared, people), head, "/consents", now_s).await {
        Ok(visitor) => list((shared, people), &visitor, None, now_s).await,
        Err(answer) => answer,
    }
}

/// Takes one back. The next call under it is refused, whatever tokens are about.
pub(crate) async fn take_back(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    let visitor = match Visitor::at((shared, people), head, "/consents", now_s).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
    let person = visitor.person.id.to_string();
    let about = Entry { by: Some(person.clone()), subject: Some(person.clone()), ..about };
    let from = (&visitor.browser, page::origin(shared));
    let Ok(form) = people.form_key.read(FormName::TakeBack, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    let named = ConsentId::parse(form.value("consent").unwrap_or_default());
    let _alone = shared.turns.next().await;
    let Ok(given) = given(shared, &visitor, now_s).await else { return page::unavailable(shared) };
    // Of nobody else, and none that has ended: a page that is behind says nothing about others.
    let Some(consent) = given.into_iter().find(|one| named.as_ref() == Ok(&one.id)) else {
        return page::forged(shared, about).await;
    };
    let mut fact = Entry {
        agent: Some(consent.agent.to_string()),
        decision: Some(Decision::Permit),
        kind: Kind::GrantRevoked,
        scope: Some(consent.scopes.to_string()),
        server: Some(consent.server.to_string()),
        ..about
    };
    fact.detail.insert("consent".to_owned(), consent.id.to_string());
    fact.detail.insert("reason".to_owned(), "the person took it back".to_owned());
    // Takes away what is theirs, so it is recorded even when the journal refuses all else.
    let Ok(_recorded) = shared.record_own(&fact).await else {
        return page::unavailable(shared);
    };
    let act = Act { by: &person, now_s };
    let revoked = shared.store.revoke_consent(&act, &consent.id).await;
    let published = shared.publish().await;
    if revoked.is_err() || published.is_err() {
        return page::unavailable(shared);
    }
    let done = Some("It is taken back. The next call of the application is refused.");
    list((shared, people), &visitor, done, now_s).await
}

async fn list(
    (shared, people): (&Shared, &People),
    visitor: &Visitor,
    done: Option<&str>,
    now_s: u64,
) -> Response<Body> {
    let Ok(given) = given(shared, visitor, now_s).await else { return page::unavailable(shared) };
    let snapshot = shared.published.load();
    let token = people.form_key.token(FormName::TakeBack, &visitor.browser);
    let nav = visitor.nav(shared, Here::Consents);
    let consents = given.iter().map(|consent| shown(&snapshot, consent)).collect();
    let form = PageForm { base: nav.base, token: &token, waiting: "" };
    page::page(StatusCode::OK, ConsentsPage { nav, form, done, consents }.html(), None)
}

/// What counts now, newest first.
async fn given(shared: &Shared, visitor: &Visitor, now_s: u64) -> Result<Vec<Consent>, Failure> {
    let mut all = shared.store.consents(Some(&visitor.person.id)).await?;
    all.retain(|consent| consent.counts(now_s));
    all.sort_by_key(|consent| std::cmp::Reverse(consent.created_s));
    Ok(all)
}

fn shown(snapshot: &Snapshot, consent: &Consent) -> GivenConsent {
    let client = snapshot.agent(&consent.agent).and_then(|agent| agent.client.as_ref());
    let application = match client {
        Some(client) => client.display_name.clone(),
        None => name_of(snapshot, consent.agent.as_str()),
    };
    GivenConsent {
        id: consent.id.to_string(),
        application,
        server: name_of(snapshot, consent.server.as_str()),
        scopes: consent.scopes.iter().map(ToString::to_string).collect(),
        given: moment(consent.created_s),
        ends: moment(consent.expires_s),
    }
}
