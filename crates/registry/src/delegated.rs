//! What an agent may do for a person: the one rule.
//!
//! Issuance, decisions, lists, exchange and introspection all ask here. The right is what the
//! approved tools, the person's grants, the person's consent and, for an agent with a life of its
//! own, the agent's grants have in common. Each of them alone can take it away, none can add to it.

use crate::standing::{PERSON, verify_state};
use crate::{
    Agent, AgentId, AgentKind, Consent, Grant, GrantId, LockTarget, LockedSubject, McpServer,
    Person, PersonGrant, PersonId, ReasonCode, Scope, ScopeSet, ScopeTarget, ServerId, Snapshot,
    Tool,
};

/// Who uses a right: an agent for itself, or for a person. Whoever asks has to say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The agent.
    pub agent: &'a AgentId,
    /// The person it acts for, if it acts for one.
    pub person: Option<&'a PersonId>,
}

impl<'a> Holder<'a> {
    /// An agent that acts for itself.
    #[must_use]
    pub const fn alone(agent: &'a AgentId) -> Self {
        Self { agent, person: None }
    }
}

/// What a person could give to an agent at a server: what a consent page may offer.
#[derive(Clone, Debug)]
pub struct Grantable<'s> {
    person: &'s Person,
    server: &'s McpServer,
    of_person: Vec<&'s PersonGrant>,
    of_agent: AgentPart<'s>,
}

/// What the agent adds to the rule.
#[derive(Clone, Debug)]
enum AgentPart<'s> {
    /// A public client has nothing of its own, so it takes nothing away.
    Client,
    /// Its own grants. The empty list gives nothing.
    Own(Vec<&'s Grant>),
}

/// What a person gave to an agent at a server.
#[derive(Clone, Debug)]
pub struct Delegation<'s> {
    // Invariant: the consent counts, and is of this person, agent and server.
    grantable: Grantable<'s>,
    consent: &'s Consent,
}

impl<'s> Grantable<'s> {
    /// The person.
    #[must_use]
    pub fn person(&self) -> &'s Person {
        self.person
    }

    /// Whether a scope is within it. Only scopes of approved tools, resources and prompts are.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        let is_approved = match &scope.tool {
            ScopeTarget::Prompts => *scope == Scope::PROMPTS,
            ScopeTarget::Resources => *scope == Scope::RESOURCES,
            ScopeTarget::Tool(name) => {
                self.server.tools.get(name).is_some_and(|tool| tool.scopes().any(|it| it == *scope))
            }
        };
        is_approved && self.is_granted(scope)
    }

    /// Every scope within it.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        let tools = self.server.tools.values().flat_map(Tool::scopes);
        let all = tools.chain([Scope::RESOURCES, Scope::PROMPTS]);
        all.filter(|scope| self.is_granted(scope)).collect()
    }

    /// The grant of the person or of their groups that covers a scope.
    #[must_use]
    pub fn person_grant(&self, scope: &Scope) -> Option<&'s PersonGrant> {
        self.of_person.iter().copied().find(|grant| grant.covers(scope))
    }

    /// The agent's own grants, which may limit arguments. `None`: it is a public client, which has
    /// none.
    #[must_use]
    pub fn agent_grants(&self) -> Option<&[&'s Grant]> {
        match &self.of_agent {
            AgentPart::Client => None,
            AgentPart::Own(grants) => Some(grants),
        }
    }

    /// Every grant that it rests on.
    pub(crate) fn grant_ids(&self) -> impl Iterator<Item = &'s GrantId> {
        let of_agent = self.agent_grants().unwrap_or_default().iter().map(|grant| &grant.id);
        self.of_person.iter().map(|grant| &grant.id).chain(of_agent)
    }

    fn is_granted(&self, scope: &Scope) -> bool {
        let by_agent = match &self.of_agent {
            AgentPart::Client => true,
            AgentPart::Own(grants) => grants.iter().any(|grant| grant.covers(scope)),
        };
        by_agent && self.person_grant(scope).is_some()
    }
}

impl<'s> Delegation<'s> {
    /// What could be given, whatever was.
    #[must_use]
    pub fn grantable(&self) -> &Grantable<'s> {
        &self.grantable
    }

    /// The consent that counts.
    #[must_use]
    pub fn consent(&self) -> &'s Consent {
        self.consent
    }

    /// Whether a scope is within it.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.consent.scopes.contains(scope) && self.grantable.covers(scope)
    }

    /// Whether any scope is within it.
    #[must_use]
    pub fn gives_something(&self) -> bool {
        self.consent.scopes.iter().any(|scope| self.grantable.covers(scope))
    }

    /// Every scope within it.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.grantable.scopes().intersect(&self.consent.scopes)
    }
}

impl Snapshot {
    /// The agent, if it may act in this way at all. The person is looked at too.
    ///
    /// # Errors
    /// The first reason that applies, `person.…` or `agent.…`.
    pub fn acting(&self, holder: Holder<'_>, now_s: u64) -> Result<&Agent, ReasonCode> {
        let Some(person) = holder.person else { return self.acting_agent(holder.agent, now_s) };
        self.acting_person(person)?;
        self.acting_for_people(holder.agent, now_s)
    }

    /// What a holder could be given a token for at a server.
    ///
    /// # Errors
    /// It may not act, or the person gave it nothing.
    pub fn held_scopes(
        &self,
        holder: Holder<'_>,
        server: &ServerId,
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        if let Some(person) = holder.person {
            return self.delegated_scopes(person, holder.agent, server, now_s);
        }
        self.acting_agent(holder.agent, now_s)?;
        Ok(self.effective_scopes(holder.agent, server, now_s))
    }

    /// The grants that cover a scope for a holder: of the agent, of the person, or one of each.
    #[must_use]
    pub fn grants_behind(
        &self,
        holder: Holder<'_>,
        server: &ServerId,
        scope: &Scope,
        now_s: u64,
    ) -> Vec<&GrantId> {
        let Some(person) = holder.person else {
            let own = self.grant_for(holder.agent, server, scope, now_s);
            return own.map(|grant| &grant.id).into_iter().collect();
        };
        let given = self.delegation(person, holder.agent, server, now_s);
        let Ok(given) = given else { return Vec::new() };
        let own = given.grantable().agent_grants().unwrap_or_default();
        let own = own.iter().find(|grant| grant.covers(scope)).map(|grant| &grant.id);
        let of_person = given.grantable().person_grant(scope).map(|grant| &grant.id);
        own.into_iter().chain(of_person).collect()
    }

    /// The person, if they may be acted for at all.
    ///
    /// # Errors
    /// The reason, `person.…`.
    pub fn acting_person(&self, id: &PersonId) -> Result<&Person, ReasonCode> {
        let person = self.person(id).ok_or(ReasonCode::PersonUnknown)?;
        verify_state(person.state, &PERSON)?;
        Ok(person)
    }

    /// The agent, if it may act for people: one of its own life, or a public client.
    ///
    /// # Errors
    /// It may not act at all, or is of a kind that acts for nobody.
    pub fn acting_for_people(&self, id: &AgentId, now_s: u64) -> Result<&Agent, ReasonCode> {
        let agent = self.standing_agent(id, now_s)?;
        match agent.kind {
            AgentKind::Agent => Ok(agent),
            AgentKind::Client if agent.client.is_some() => Ok(agent),
            AgentKind::Client | AgentKind::Gateway | AgentKind::Operator => {
                Err(ReasonCode::DelegationNotAllowed)
            }
        }
    }

    /// What a person could give to an agent at a server.
    ///
    /// # Errors
    /// The person, the agent or the server may not act, one of them or who answers for them is
    /// locked, or it is the administration API, where nobody acts for another one.
    pub fn grantable(
        &self,
        person: &PersonId,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> Result<Grantable<'_>, ReasonCode> {
        let person = self.acting_person(person)?;
        let agent = self.acting_for_people(agent, now_s)?;
        let server = self.server(server).ok_or(ReasonCode::ServerUnknown)?;
        self.verify_server(server)?;
        if server.is_builtin() {
            return Err(ReasonCode::DelegationNotAllowed);
        }
        let subject = LockedSubject {
            agent: &agent.id,
            person: Some(&person.id),
            server: &server.id,
            tool: None,
            token_jti: None,
            key: None,
        };
        if self.lock_on(&subject, now_s).is_some() {
            return Err(ReasonCode::LockActive);
        }
        let of_agent = match agent.kind {
            AgentKind::Client => AgentPart::Client,
            AgentKind::Agent | AgentKind::Gateway | AgentKind::Operator => {
                AgentPart::Own(self.counting_grants(&agent.id, &server.id, now_s).collect())
            }
        };
        let of_person = self.counting_person_grants(person, &server.id, now_s);
        Ok(Grantable { person, server, of_person, of_agent })
    }

    /// What a person gave to an agent at a server.
    ///
    /// # Errors
    /// As [`Snapshot::grantable`]; and no consent counts.
    pub fn delegation(
        &self,
        person: &PersonId,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> Result<Delegation<'_>, ReasonCode> {
        let grantable = self.grantable(person, agent, server, now_s)?;
        let consent = self.consent(person, agent, server).filter(|consent| consent.counts(now_s));
        let consent = consent.ok_or(ReasonCode::ConsentMissing)?;
        Ok(Delegation { grantable, consent })
    }

    /// The scopes of [`Snapshot::delegation`].
    ///
    /// # Errors
    /// The same.
    pub fn delegated_scopes(
        &self,
        person: &PersonId,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        self.delegation(person, agent, server, now_s).map(|given| given.scopes())
    }

    /// The scopes of [`Snapshot::grantable`].
    ///
    /// # Errors
    /// The same.
    pub fn grantable_scopes(
        &self,
        person: &PersonId,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        self.grantable(person, agent, server, now_s).map(|given| given.scopes())
    }

    /// The grants of a person and of their groups that count now.
    fn counting_person_grants(
        &self,
        person: &Person,
        server: &ServerId,
        now_s: u64,
    ) -> Vec<&PersonGrant> {
        let counts = |grant: &&PersonGrant| {
            let locked = LockTarget::Grant { grant: grant.id.clone() };
            grant.counts(now_s) && self.active_lock(&locked, now_s).is_none()
        };
        self.person_grants(person, server).filter(counts).collect()
    }
}

#[cfg(test)]
#[path = "delegated_tests.rs"]
mod tests;
