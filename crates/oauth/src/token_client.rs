//! The clients that get tokens, and whether a token's client acts for its subject: RFC 8693 section 4.1.
//!
//! Implemented: agents, for themselves and for people, and MCP servers after them. Not implemented:
//! servers that act for themselves.

use attorn_registry::{AgentId, ResourceId, ServerId};

use crate::access_token::{AccessTokenClaims, TokenRefusal};
use crate::actor::Actor;
use crate::confirmation::Confirmation;
use crate::subject::Subject;

/// An identifier that can be a `client_id`.
pub trait ClientId: Clone + std::fmt::Debug + std::fmt::Display + std::str::FromStr {}

impl ClientId for AgentId {}
impl ClientId for ServerId {}
/// APIs ask about tokens; they get none.
impl ClientId for ResourceId {}

/// A client that gets tokens.
pub trait TokenClient: ClientId {
    /// Whether its tokens were exchanged for another one, which they then name.
    const HAS_PARENT: bool;

    /// What a token of this client stands for that is bound to no key, if it may be bound to none.
    fn unbound(subject: &Subject, client: &Self) -> Option<Confirmation>;

    /// The agent in the chain of a token, and the actors before it.
    fn agent(claims: &AccessTokenClaims<Self>) -> Option<Acting<'_>>;
}

/// Who acts for the subject of a token.
#[derive(Clone, Copy, Debug)]
pub struct Acting<'a> {
    agent: &'a AgentId,
    /// The chain from the agent on, which stands in it only where it acts for somebody else.
    chain: Option<&'a Actor>,
}

impl TokenClient for AgentId {
    const HAS_PARENT: bool = false;

    // Only a client of people may have no key. Whether the token is taken is for its server to say.
    fn unbound(subject: &Subject, client: &Self) -> Option<Confirmation> {
        subject.person().map(|person| Confirmation::bearer(person, client))
    }

    fn agent(claims: &AccessTokenClaims<Self>) -> Option<Acting<'_>> {
        Some(Acting { agent: &claims.client_id, chain: claims.act.as_ref() })
    }
}

impl TokenClient for ServerId {
    const HAS_PARENT: bool = true;

    fn unbound(_subject: &Subject, _client: &Self) -> Option<Confirmation> {
        None
    }

    // RFC 8693 section 4.1: the server is the current actor, and the agent the one before it.
    fn agent(claims: &AccessTokenClaims<Self>) -> Option<Acting<'_>> {
        let current = claims.act.as_ref()?;
        let agent = &claims.parent.as_ref()?.client_id;
        let is_current = current.sub == claims.client_id.as_str();
        is_current.then_some(Acting { agent, chain: current.act.as_deref() })
    }
}

/// Refuses a token about somebody whom nobody in it acts for: its agent itself, or a person with the
/// agent as the actor.
pub(crate) fn verify_subject<C: TokenClient>(
    claims: &AccessTokenClaims<C>,
) -> Result<(), TokenRefusal> {
    let Acting { agent, chain } = C::agent(claims).ok_or(TokenRefusal::Subject)?;
    let holds = match &claims.sub {
        Subject::Agent(subject) => subject == agent,
        Subject::Person(_) => chain.is_some_and(|actor| actor.sub == agent.as_str()),
    };
    if holds { Ok(()) } else { Err(TokenRefusal::Subject) }
}
