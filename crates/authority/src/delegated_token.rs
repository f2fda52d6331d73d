//! An access token for an agent that acts for a person, however the person was asked.
//!
//! Implemented: RFC 9068 tokens with the person as `sub` and the agent as `act` (RFC 8693 section
//! 4.1), narrowed by the one rule of the registry at this very moment. Whoever calls this has settled
//! who the client is, and that it holds the key.

use attorn_audit::{Entry, Kind};
use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::error::TokenError;
use attorn_oauth::scope::narrow;
use attorn_registry::{
    AgentId, AgentKind, AuthorizationDetails, Holder as AgentHolder, LockedSubject, McpServer,
    PersonId, ReasonCode, ScopeSet, Snapshot,
};
use http::request::Parts;

use crate::refused::{Refused, Unserved};
use crate::shared::{Recorded, Shared};
use crate::token::{Holder, Subject, issued, narrowed_details};

/// What a token for a person is made from.
pub(crate) struct ForPerson<'a> {
    /// Whom the agent acts for.
    pub(crate) person: &'a PersonId,
    /// The agent, or the public client.
    pub(crate) agent: &'a AgentId,
    /// Where.
    pub(crate) server: &'a McpServer,
    /// What was asked for, or what an earlier answer gave. Without it, all that the person gave.
    pub(crate) scope: Option<&'a ScopeSet>,
    /// What was asked of arguments: RFC 9396 section 6.
    pub(crate) details: Option<&'a AuthorizationDetails>,
    /// What the token will be bound to.
    pub(crate) key: Holder,
    /// What else the entry says of where it came from.
    pub(crate) noted: Vec<(String, String)>,
}

/// A token that is on record.
pub(crate) struct Issued {
    /// The token.
    pub(crate) text: String,
    /// What it says.
    pub(crate) claims: AccessTokenClaims,
    /// Proof that it is on record: what answering with it needs.
    pub(crate) recorded: Recorded,
}

/// Issues a token for a person, and puts it on record.
pub(crate) async fn issue(
    shared: &Shared,
    snapshot: &Snapshot,
    head: &Parts,
    asked: ForPerson<'_>,
    now_ms: u64,
) -> Result<Issued, Unserved> {
    let (now_s, agent, server) = (now_ms / 1000, asked.agent, asked.server);
    let refused = |error| Refused::of(error, Some(agent.as_str()));
    verify_unlocked(snapshot, &asked, now_s).map_err(|reason| stopped(reason, agent))?;
    let given = snapshot.delegation(asked.person, agent, &server.id, now_s);
    let given = given.map_err(|reason| stopped(reason, agent))?;
    let scope = narrow(asked.scope, &given.scopes()).map_err(refused)?;
    verify_key(snapshot, &asked, &scope).map_err(refused)?;
    let details = narrowed_details(snapshot, (agent, server), &scope, asked.details, now_s)
        .map_err(refused)?;
    let holder = AgentHolder { agent, person: Some(asked.person) };
    let key = asked.key.confirmation;
    let subject = Subject { holder, key, server, scope, details, now_s };
    let claims = subject.claims(shared, snapshot);
    let keys = shared.keys.in_use()?;
    let text =
        access_token::issue(&claims, &keys.kid, &keys.signer).map_err(|_| Unserved::Unavailable)?;
    let mut about = shared.entry_from(head, Kind::TokenIssued, now_ms);
    about.detail.extend(asked.noted);
    about.detail.insert("consent".to_owned(), given.consent().id.to_string());
    if claims.cnf.is_bearer() {
        about.detail.insert("bearer".to_owned(), "true".to_owned());
    }
    let entry = Entry { server: Some(server.id.to_string()), ..issued(&claims, &asked.key, about) };
    // If the process dies after this line, a token is on record that nobody holds.
    let recorded = shared.record(&entry).await?;
    shared.uses.note(agent, now_s);
    Ok(Issued { text, claims, recorded })
}

/// A token that is bound to no key is for a client of people alone, and only where the server takes
/// it for everything that it unlocks.
fn verify_key(
    snapshot: &Snapshot,
    asked: &ForPerson<'_>,
    scope: &ScopeSet,
) -> Result<(), TokenError> {
    let agent = snapshot.agent(asked.agent);
    let is_client = agent.is_some_and(|agent| agent.kind == AgentKind::Client);
    let is_open = is_client && asked.server.accepts_bearer(scope);
    if asked.key.confirmation.is_bearer() && !is_open {
        return Err(TokenError::Possession(DpopRefusal::Missing));
    }
    Ok(())
}

/// RFC 6749 section 5.2: what the grant rests on does not stand any more.
fn stopped(reason: ReasonCode, agent: &AgentId) -> Refused {
    let error = TokenError::SubjectTokenStanding(reason);
    Refused { reason, error, client_id: Some(agent.to_string()), hop: None }
}

/// The person, the agent and the server are looked at with the rule; here, the key of the token.
fn verify_unlocked(
    snapshot: &Snapshot,
    asked: &ForPerson<'_>,
    now_s: u64,
) -> Result<(), ReasonCode> {
    let key = Some(asked.key.confirmation.key());
    let subject = LockedSubject {
        agent: asked.agent,
        person: Some(asked.person),
        server: &asked.server.id,
        tool: None,
        token_jti: None,
        key,
    };
    match snapshot.lock_on(&subject, now_s) {
        None => Ok(()),
        Some(_) => Err(ReasonCode::LockActive),
    }
}
