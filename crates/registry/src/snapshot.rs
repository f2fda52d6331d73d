//! One consistent picture of the registry: what a decision reads.
//!
//! Never altered: a change makes the next one, see [`crate::SnapshotDelta`]. Every lookup is a hash
//! lookup, so a decision costs the same with ten agents and with a million.

use std::collections::HashMap;
use std::ops::BitOr as _;

use serde::{Deserialize, Serialize};

use crate::shards::Shards;
use crate::standing::{AGENT, SERVER, verify_standing, verify_state};
use crate::{
    Agent, AgentId, AgentKind, Approval, Consent, Effects, Grant, IssuerKey, LifeCycle, Lock,
    LockTarget, McpServer, Owner, OwnerId, Person, PersonGrant, ReasonCode, Resource, ResourceId,
    Scope, ScopeSet, ServerId, Tool,
};

mod approvals;
mod owners;
mod people;
mod stops;

pub use stops::LockedSubject;

/// The policies in force, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySource {
    /// Counts up with every change.
    pub version: u64,
    /// Cedar policies. The empty text permits nothing.
    pub text: String,
}

/// An access token that does not count any more although it has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedToken {
    /// Its name.
    pub jti: String,
    /// Its end, in Unix seconds: until then it is remembered.
    pub expires_s: u64,
}

/// A subject whose payloads are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// The subject of its tokens.
    pub subject: String,
    /// Everything sealed until then, in Unix seconds.
    pub until_s: u64,
}

/// What a snapshot is made of, as it is stored and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotParts {
    /// Number of the last change it holds.
    pub version: u64,
    /// When it was made, in Unix milliseconds.
    pub made_ms: u64,
    /// Tokens of an earlier epoch do not count.
    pub epoch: u64,
    /// Who answers.
    pub owners: Vec<Owner>,
    /// Who acts.
    pub agents: Vec<Agent>,
    /// What is acted on.
    pub servers: Vec<McpServer>,
    /// The APIs behind the servers. A registry from before there were any has none.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Who may do what.
    pub grants: Vec<Grant>,
    /// Calls that wait for a person, or that one approved. A registry from before has none.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Who is acted for. A registry from before there were any has none.
    #[serde(default)]
    pub persons: Vec<Person>,
    /// What they may do.
    #[serde(default)]
    pub person_grants: Vec<PersonGrant>,
    /// What they gave to agents.
    #[serde(default)]
    pub consents: Vec<Consent>,
    /// What is stopped.
    pub locks: Vec<Lock>,
    /// Tokens revoked before their end.
    pub revoked: Vec<RevokedToken>,
    /// Subjects whose payloads are forgotten. A registry from before there were any has none.
    #[serde(default)]
    pub erasures: Vec<Erasure>,
    /// The policies in force.
    pub policy: PolicySource,
    /// The keys tokens are verified with.
    pub issuer_keys: Vec<IssuerKey>,
}

/// The registry at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "SnapshotParts", into = "SnapshotParts")]
pub struct Snapshot {
    /// Number of the last change it holds.
    pub version: u64,
    /// When it was made, in Unix milliseconds.
    pub made_ms: u64,
    /// Tokens of an earlier epoch do not count.
    pub epoch: u64,
    /// The policies in force.
    pub policy: PolicySource,
    /// The keys tokens are verified with.
    pub issuer_keys: Vec<IssuerKey>,
    owners: Shards<OwnerId, Owner>,
    agents: Shards<AgentId, Agent>,
    agent_names: Shards<String, AgentId>,
    servers: Shards<ServerId, McpServer>,
    server_names: Shards<String, ServerId>,
    resources: Shards<ResourceId, Resource>,
    resource_names: Shards<String, ResourceId>,
    resource_urls: Shards<String, ResourceId>,
    // Invariant: nested, so that a lookup needs no owned pair of identifiers.
    grants: Shards<AgentId, HashMap<ServerId, Vec<Grant>>>,
    approvals: Shards<AgentId, Vec<Approval>>,
    people: people::People,
    locks: Shards<LockTarget, Vec<Lock>>,
    /// Ends by `jti`.
    revoked: Shards<String, u64>,
    /// Until when, by subject.
    erasures: Shards<String, u64>,
}

impl Snapshot {
    /// Indexes the parts. Of two records with one identifier the later counts.
    #[must_use]
    pub fn new(parts: SnapshotParts) -> Self {
        let mut grants: HashMap<AgentId, HashMap<ServerId, Vec<Grant>>> = HashMap::new();
        for grant in parts.grants {
            let at = grants.entry(grant.agent.clone()).or_default();
            at.entry(grant.server.clone()).or_default().push(grant);
        }
        let mut approvals: HashMap<AgentId, Vec<Approval>> = HashMap::new();
        for approval in parts.approvals {
            approvals.entry(approval.call.agent.clone()).or_default().push(approval);
        }
        let mut locks: HashMap<LockTarget, Vec<Lock>> = HashMap::new();
        for lock in parts.locks {
            locks.entry(lock.target.clone()).or_default().push(lock);
        }
        let name_of_agent = |agent: &Agent| (agent.name.as_str().to_owned(), agent.id.clone());
        let by = |resources: &[Resource], text: fn(&Resource) -> &str| {
            resources.iter().map(|one| (text(one).to_owned(), one.id.clone())).collect()
        };
        let name_of_server =
            |server: &McpServer| (server.name.as_str().to_owned(), server.id.clone());
        Self {
            version: parts.version,
            made_ms: parts.made_ms,
            epoch: parts.epoch,
            policy: parts.policy,
            issuer_keys: parts.issuer_keys,
            agent_names: parts.agents.iter().map(name_of_agent).collect(),
            server_names: parts.servers.iter().map(name_of_server).collect(),
            resource_names: by(&parts.resources, |one| one.name.as_str()),
            resource_urls: by(&parts.resources, |one| &one.url),
            resources: parts.resources.into_iter().map(|one| (one.id.clone(), one)).collect(),
            owners: parts.owners.into_iter().map(|owner| (owner.id.clone(), owner)).collect(),
            agents: parts.agents.into_iter().map(|agent| (agent.id.clone(), agent)).collect(),
            servers: parts.servers.into_iter().map(|server| (server.id.clone(), server)).collect(),
            grants: grants.into_iter().collect(),
            approvals: approvals.into_iter().collect(),
            people: people::People::new(parts.persons, parts.person_grants, parts.consents),
            locks: locks.into_iter().collect(),
            revoked: parts.revoked.into_iter().map(|token| (token.jti, token.expires_s)).collect(),
            erasures: parts.erasures.into_iter().map(|one| (one.subject, one.until_s)).collect(),
        }
    }

    pub(crate) fn put_owner(&mut self, owner: Owner) {
        self.owners.insert(owner.id.clone(), owner);
    }

    pub(crate) fn put_agent(&mut self, agent: Agent) {
        if let Some(old) = self.agents.get(&agent.id).filter(|old| old.name != agent.name) {
            self.agent_names.remove(old.name.as_str());
        }
        self.agent_names.insert(agent.name.as_str().to_owned(), agent.id.clone());
        self.agents.insert(agent.id.clone(), agent);
    }

    pub(crate) fn put_server(&mut self, server: McpServer) {
        if let Some(old) = self.servers.get(&server.id).filter(|old| old.name != server.name) {
            self.server_names.remove(old.name.as_str());
        }
        self.server_names.insert(server.name.as_str().to_owned(), server.id.clone());
        self.servers.insert(server.id.clone(), server);
    }

    /// Names and URLs of resources do not change.
    pub(crate) fn put_resource(&mut self, resource: Resource) {
        self.resource_names.insert(resource.name.as_str().to_owned(), resource.id.clone());
        self.resource_urls.insert(resource.url.clone(), resource.id.clone());
        self.resources.insert(resource.id.clone(), resource);
    }

    /// What does not count any more is not kept, as in a snapshot that is read whole.
    pub(crate) fn put_grant(&mut self, grant: Grant, now_s: u64) {
        let agent = grant.agent.clone();
        let mut of_agent = self.grants.get(&agent).cloned().unwrap_or_default();
        let at_server = of_agent.entry(grant.server.clone()).or_default();
        at_server.retain(|old| old.id != grant.id && old.counts(now_s));
        if grant.counts(now_s) {
            at_server.push(grant);
        }
        self.grants.insert(agent, of_agent);
    }

    pub(crate) fn put_lock(&mut self, lock: Lock, now_s: u64) {
        let target = lock.target.clone();
        let mut on_target = self.locks.get(&target).cloned().unwrap_or_default();
        on_target.retain(|old| old.id != lock.id && old.matters(now_s));
        if lock.matters(now_s) {
            on_target.push(lock);
        }
        self.locks.insert(target.clone(), on_target);
        self.locks.retain_beside(&target, |locks| locks.iter().any(|lock| lock.matters(now_s)));
    }

    pub(crate) fn put_revoked(&mut self, token: RevokedToken, now_s: u64) {
        let RevokedToken { jti, expires_s } = token;
        let known_s = self.revoked.get(&jti).copied().unwrap_or(0);
        self.revoked.insert(jti.clone(), known_s.max(expires_s));
        self.revoked.retain_beside(&jti, |end_s| *end_s > now_s);
    }

    pub(crate) fn put_erasure(&mut self, erasure: Erasure) {
        let Erasure { subject, until_s } = erasure;
        let known_s = self.erasures.get(&subject).copied().unwrap_or(0);
        self.erasures.insert(subject, known_s.max(until_s));
    }

    /// Subjects whose payloads are forgotten, each until a time in Unix seconds. In no order.
    pub fn erasures(&self) -> impl Iterator<Item = (&str, u64)> {
        self.erasures.iter().map(|(subject, until_s)| (subject.as_str(), *until_s))
    }

    /// An owner by identifier.
    #[must_use]
    pub fn owner(&self, id: &OwnerId) -> Option<&Owner> {
        self.owners.get(id)
    }

    /// An agent by identifier.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// An agent by exact name.
    #[must_use]
    pub fn agent_named(&self, name: &str) -> Option<&Agent> {
        self.agents.get(self.agent_names.get(name)?)
    }

    /// An MCP server by identifier.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Option<&McpServer> {
        self.servers.get(id)
    }

    /// An MCP server by exact name.
    #[must_use]
    pub fn server_named(&self, name: &str) -> Option<&McpServer> {
        self.servers.get(self.server_names.get(name)?)
    }

    /// An API by identifier.
    #[must_use]
    pub fn resource(&self, id: &ResourceId) -> Option<&Resource> {
        self.resources.get(id)
    }

    /// An API by exact name.
    #[must_use]
    pub fn resource_named(&self, name: &str) -> Option<&Resource> {
        self.resources.get(self.resource_names.get(name)?)
    }

    /// An API by its resource identifier, compared byte by byte.
    #[must_use]
    pub fn resource_at(&self, url: &str) -> Option<&Resource> {
        self.resources.get(self.resource_urls.get(url)?)
    }

    /// Every API, in no order.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// Every owner, in no order.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.owners.values()
    }

    /// Every agent, in no order.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Every MCP server, in no order.
    pub fn servers(&self) -> impl Iterator<Item = &McpServer> {
        self.servers.values()
    }

    /// Every lock, in no order, past ones included.
    pub fn locks(&self) -> impl Iterator<Item = &Lock> {
        self.locks.values().flatten()
    }

    /// Every grant, in no order, past ones included.
    pub fn all_grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().flat_map(HashMap::values).flatten()
    }

    /// The grants of an agent at a server, past ones included.
    #[must_use]
    pub fn grants(&self, agent: &AgentId, server: &ServerId) -> &[Grant] {
        self.grants.get(agent).and_then(|at| at.get(server)).map_or(&[], Vec::as_slice)
    }

    /// Whether a token was revoked before its end.
    #[must_use]
    pub fn is_revoked(&self, jti: &str) -> bool {
        self.revoked.get(jti).is_some()
    }

    /// The agent, if it may act for itself. A public client of people may not: what asks for an
    /// agent and has no person in mind refuses it.
    ///
    /// # Errors
    /// It is unknown, not active, past its end, has no active owner, or is a client of people.
    pub fn acting_agent(&self, id: &AgentId, now_s: u64) -> Result<&Agent, ReasonCode> {
        let agent = self.standing_agent(id, now_s)?;
        match agent.kind {
            AgentKind::Client => Err(ReasonCode::DelegationNotAllowed),
            AgentKind::Agent | AgentKind::Gateway | AgentKind::Operator => Ok(agent),
        }
    }

    /// The agent, if it may act, for itself or for others.
    pub(crate) fn standing_agent(&self, id: &AgentId, now_s: u64) -> Result<&Agent, ReasonCode> {
        let agent = self.agents.get(id).ok_or(ReasonCode::AgentUnknown)?;
        let owner = agent.owner.as_ref().and_then(|id| self.answering(id));
        // Told before the suspension that its end leads to.
        let lives = matches!(agent.state, LifeCycle::Active | LifeCycle::Suspended);
        if lives && agent.has_ended(now_s) {
            return Err(ReasonCode::AgentExpired);
        }
        // Nobody registered a client that came by itself; whoever signs in answers for what it does.
        if agent.kind == AgentKind::Client && agent.owner.is_none() {
            verify_state(agent.state, &AGENT)?;
        } else {
            verify_standing(agent.state, owner, &AGENT)?;
        }
        Ok(agent)
    }

    /// Refuses an MCP server that is not active or that nobody answers for.
    ///
    /// # Errors
    /// The reason, `server.…`.
    pub fn verify_server(&self, server: &McpServer) -> Result<(), ReasonCode> {
        // Whoever runs the deployment answers for its administration API. If it could lose its
        // owner, nobody could give it a new one.
        if server.is_builtin() {
            return Ok(());
        }
        let owner = server.owner.as_ref().and_then(|id| self.answering(id));
        verify_standing(server.state, owner, &SERVER)
    }

    /// The grants that count now: neither ended, revoked nor locked.
    pub fn counting_grants(
        &self,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> impl Iterator<Item = &Grant> {
        self.grants(agent, server).iter().filter(move |grant| {
            let locked = !self.locks.is_empty()
                && self
                    .active_lock(&LockTarget::Grant { grant: grant.id.clone() }, now_s)
                    .is_some();
            grant.counts(now_s) && !locked
        })
    }

    /// The grant that covers a scope now.
    #[must_use]
    pub fn grant_for(
        &self,
        agent: &AgentId,
        server: &ServerId,
        scope: &Scope,
        now_s: u64,
    ) -> Option<&Grant> {
        self.counting_grants(agent, server, now_s).find(|grant| grant.covers(scope))
    }

    /// What everything an agent may use does to the flow of information, with `more` as one more
    /// grant, whether it counts or not.
    #[must_use]
    pub fn effects_of(&self, agent: &AgentId, more: Option<&Grant>, now_s: u64) -> Effects {
        let own = self.grants.get(agent).into_iter().flat_map(HashMap::values).flatten();
        let all = own.filter(|grant| grant.counts(now_s)).chain(more);
        all.map(|grant| self.effects_of_grant(grant)).fold(Effects::default(), Effects::bitor)
    }

    /// The effects of the approved tools that a grant reaches.
    #[must_use]
    pub fn effects_of_grant(&self, grant: &Grant) -> Effects {
        let Some(server) = self.servers.get(&grant.server) else { return Effects::default() };
        let reached =
            server.tools.values().filter(|tool| tool.scopes().any(|scope| grant.covers(&scope)));
        let effects = reached.filter_map(|tool| tool.approved.as_ref()).map(|it| it.effects);
        effects.fold(Effects::default(), Effects::bitor)
    }

    /// What an agent could be given a token for: its grants over the approved tools of the server,
    /// and the server's resources and prompts.
    #[must_use]
    pub(crate) fn effective_scopes(
        &self,
        agent: &AgentId,
        server: &ServerId,
        now_s: u64,
    ) -> ScopeSet {
        let Some(record) = self.servers.get(server) else { return ScopeSet::default() };
        let tools = record.tools.values().flat_map(Tool::scopes);
        let grants: Vec<&Grant> = self.counting_grants(agent, server, now_s).collect();
        tools
            .chain([Scope::RESOURCES, Scope::PROMPTS])
            .filter(|scope| grants.iter().any(|grant| grant.covers(scope)))
            .collect()
    }
}

impl From<SnapshotParts> for Snapshot {
    fn from(parts: SnapshotParts) -> Self {
        Self::new(parts)
    }
}

impl From<Snapshot> for SnapshotParts {
    fn from(snapshot: Snapshot) -> Self {
        Self::from(&snapshot)
    }
}

impl From<&Snapshot> for SnapshotParts {
    fn from(snapshot: &Snapshot) -> Self {
        let revoked = snapshot
            .revoked
            .iter()
            .map(|(jti, expires_s)| RevokedToken { jti: jti.clone(), expires_s: *expires_s });
        Self {
            version: snapshot.version,
            made_ms: snapshot.made_ms,
            epoch: snapshot.epoch,
            owners: snapshot.owners.values().cloned().collect(),
            agents: snapshot.agents.values().cloned().collect(),
            servers: snapshot.servers.values().cloned().collect(),
            resources: snapshot.resources.values().cloned().collect(),
            grants: snapshot.all_grants().cloned().collect(),
            approvals: snapshot.approvals().cloned().collect(),
            persons: snapshot.persons().cloned().collect(),
            person_grants: snapshot.all_person_grants().cloned().collect(),
            consents: snapshot.consents().cloned().collect(),
            locks: snapshot.locks().cloned().collect(),
            revoked: revoked.collect(),
            erasures: snapshot
                .erasures()
                .map(|(subject, until_s)| Erasure { subject: subject.to_owned(), until_s })
                .collect(),
            policy: snapshot.policy.clone(),
            issuer_keys: snapshot.issuer_keys.clone(),
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
