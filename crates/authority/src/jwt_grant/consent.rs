//! A provider's word as a consent of its person, where the configuration says that it is.
//!
//! draft-ietf-oauth-identity-assertion-authz-grant-04 section 3: there is no step at which the person is
//! asked. The rule of the registry asks for a consent all the same, at each call, and a person or an
//! operator can take it back. So what the provider says is recorded as one: it is seen where consents are
//! seen, it ends, and once it was taken back, no assertion brings it again.

use attorn_audit::{Decision, Entry, Kind};
use attorn_oauth::error::TokenError;
use attorn_oauth::jwt_grant::JwtGrantRefusal;
use attorn_oauth::scope::narrow;
use attorn_registry::{
    Agent, Class, Consent, ConsentId, McpServer, Person, ReasonCode, ScopeSet, Snapshot,
};
use attorn_store::Act;
use http::request::Parts;

use crate::refused::{Refused, Unserved};
use crate::shared::Shared;
use crate::trusted_issuers::{ConsentBy, TrustedIssuer};

/// Of whom, to whom, where.
pub(super) struct Parties<'a> {
    pub(super) person: &'a Person,
    pub(super) agent: &'a Agent,
    pub(super) server: &'a McpServer,
}

/// Records a consent where the provider may give it and none covers what is wanted.
pub(super) async fn give_for(
    shared: &Shared,
    (head, snapshot): (&Parts, &Snapshot),
    issuer: &TrustedIssuer,
    parties: &Parties<'_>,
    wanted: Option<&ScopeSet>,
    now_ms: u64,
) -> Result<(), Unserved> {
    match issuer.consent {
        ConsentBy::Person => return Ok(()),
        ConsentBy::Issuer => {}
    }
    let now_s = now_ms / 1000;
    let Parties { person, agent, server } = parties;
    let refused = |error| Refused::of(error, Some(agent.id.as_str()));
    let standing = |reason| refused(TokenError::from(JwtGrantRefusal::Standing(reason)));
    let grantable = snapshot.grantable_scopes(&person.id, &agent.id, &server.id, now_s);
    let grantable = grantable.map_err(standing)?;
    let scopes = narrow(wanted, &unless_named(wanted, grantable)).map_err(refused)?;
    let before = snapshot.delegation(&person.id, &agent.id, &server.id, now_s).ok();
    let before = before.map(|given| given.consent().scopes.clone()).unwrap_or_default();
    if scopes.is_subset(&before) {
        return Ok(());
    }
    // From here on nobody takes one back unseen.
    let _alone = shared.turns.next().await;
    if was_taken_back(shared, parties).await? {
        return Err(standing(ReasonCode::ConsentMissing).into());
    }
    let consent = Consent {
        id: ConsentId::from_random(&shared.random.bytes()),
        person: person.id.clone(),
        agent: agent.id.clone(),
        server: server.id.clone(),
        // What was given before stays given.
        scopes: scopes.iter().chain(before.iter()).cloned().collect(),
        created_s: now_s,
        expires_s: now_s.saturating_add(LIFETIME_S),
        revoked_s: None,
    };
    let mut given = Entry {
        agent: Some(agent.id.to_string()),
        by: Some(issuer.issuer.clone()),
        decision: Some(Decision::Permit),
        scope: Some(consent.scopes.to_string()),
        server: Some(server.id.to_string()),
        subject: Some(person.id.to_string()),
        ..shared.entry_from(head, Kind::ConsentGiven, now_ms)
    };
    given.detail.insert("consent".to_owned(), consent.id.to_string());
    // If the process dies after this line, a consent is on record that does not count.
    let _recorded = shared.record(&given).await?;
    let act = Act { by: &issuer.issuer, now_s };
    shared.store.put_consent(&act, &consent).await.map_err(|_| Unserved::Unavailable)?;
    shared.publish().await.map_err(|_| Unserved::Unavailable)
}

/// What cannot be undone is in no general word.
fn unless_named(wanted: Option<&ScopeSet>, grantable: ScopeSet) -> ScopeSet {
    if wanted.is_some() {
        return grantable;
    }
    grantable.iter().filter(|scope| scope.class != Class::Irreversible).cloned().collect()
}

/// Whether the last consent of these three was taken back. One that was replaced has another after it.
async fn was_taken_back(shared: &Shared, parties: &Parties<'_>) -> Result<bool, Unserved> {
    let Parties { person, agent, server } = parties;
    let all = shared.store.consents(Some(&person.id)).await.map_err(|_| Unserved::Unavailable)?;
    let mut of_these =
        all.iter().filter(|it| it.agent == agent.id && it.server == server.id).peekable();
    Ok(of_these.peek().is_some() && of_these.all(|consent| consent.revoked_s.is_some()))
}

/// Then the provider says it again, or does not.
const LIFETIME_S: u64 = 30 * 24 * 3600;
