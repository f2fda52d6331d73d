//! What a token for an API rests on: the token it was exchanged for, and everything that one rests
//! on. Whoever ends any of it ends the descendant too.
//!
//! The exchange and every enforcement point ask the same functions, so that a token that would not
//! be issued any more is not accepted any more either.

use serde::{Deserialize, Serialize};

use attorn_jose::Jkt;

use crate::standing::{RESOURCE, verify_standing};
use crate::{
    Agent, AgentId, AgentKind, GrantId, Holder, LockTarget, LockedSubject, PersonId, ReasonCode,
    Resource, Scope, ScopeSet, ScopeTarget, ServerId, Snapshot,
};

/// The token that another one was exchanged for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ancestor {
    /// The agent it was issued to.
    pub client_id: AgentId,
    /// Its name.
    pub jti: String,
    /// What it was bound to.
    pub key: Jkt,
}

/// A token for an API, as far as the registry judges it.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamUse<'a> {
    /// The server that it was issued to.
    pub server: &'a ServerId,
    /// Its name.
    pub jti: &'a str,
    /// What it is bound to.
    pub key: Jkt,
    /// The epoch of its parent.
    pub epoch: u64,
    /// When it was issued; at the exchange, when its parent was.
    pub issued_s: u64,
    /// The grant of its parent, where that had one.
    pub grant: Option<&'a GrantId>,
    /// The person that its parent's agent acts for, if it acts for one.
    pub person: Option<&'a PersonId>,
    /// Its parent.
    pub parent: &'a Ancestor,
}

impl Snapshot {
    /// Refuses an API that is not active, that nobody answers for, or that is locked.
    ///
    /// # Errors
    /// The reason, `resource.…` or `lock.active`.
    pub fn verify_resource(&self, resource: &Resource, now_s: u64) -> Result<(), ReasonCode> {
        let owner = resource.owner.as_ref().and_then(|id| self.answering(id));
        verify_standing(resource.state, owner, &RESOURCE)?;
        let owners = self.owners_behind(resource.owner.as_ref());
        let mut owners = owners.map(|owner| LockTarget::Owner { owner: owner.id.clone() });
        let own = LockTarget::Resource { resource: resource.id.clone() };
        let is_locked = |target: &LockTarget| self.active_lock(target, now_s).is_some();
        let is_stopped = is_locked(&own) || owners.any(|owner| is_locked(&owner));
        if is_stopped { Err(ReasonCode::LockActive) } else { Ok(()) }
    }

    /// What a token for an API still unlocks there: of its own scope, what the rules of the API give
    /// now for what the agent holds now.
    ///
    /// # Errors
    /// The first reason that applies; [`ReasonCode::ScopeMissing`] where nothing is left.
    pub fn downstream_scopes(
        &self,
        resource: &Resource,
        (of, scope): (&DownstreamUse<'_>, &ScopeSet),
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        self.verify_resource(resource, now_s)?;
        let held = self.verify_lineage(of, now_s)?;
        // What its rules do not give any more, it does not unlock any more.
        let left = resource.scopes_for(of.server, &held).intersect(scope);
        if left.is_empty() { Err(ReasonCode::ScopeMissing) } else { Ok(left) }
    }

    /// Whether everything that a token for an API rests on still stands. Gives what the agent holds
    /// at the server now and may hand on.
    ///
    /// # Errors
    /// The first reason that applies.
    pub fn verify_lineage(
        &self,
        of: &DownstreamUse<'_>,
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        let DownstreamUse { server, jti, key, epoch, issued_s, grant, person, parent } = *of;
        if epoch < self.epoch || self.is_revoked(jti) || self.is_revoked(&parent.jti) {
            return Err(ReasonCode::TokenRevoked);
        }
        let holder = Holder { agent: &parent.client_id, person };
        let agent = self.acting(holder, now_s)?;
        let record = self.server(server).ok_or(ReasonCode::ServerUnknown)?;
        self.verify_server(record)?;
        // A key that the server gave up ends what was bound to it, and so does a key or a certificate
        // of the agent.
        let is_own = record.accepted_keys().any(|own| own.jkt == key);
        if !is_own || agent.gave_up(&parent.key, now_s) {
            return Err(ReasonCode::TokenRevoked);
        }
        let subjects = [(jti, key), (parent.jti.as_str(), parent.key)].map(|(jti, key)| {
            let (token_jti, key) = (Some(jti), Some(key));
            LockedSubject { agent: &agent.id, person, server, tool: None, token_jti, key }
        });
        if subjects.iter().any(|subject| self.lock_on(subject, now_s).is_some()) {
            return Err(ReasonCode::LockActive);
        }
        if subjects.iter().any(|subject| issued_s < self.tokens_from_s(subject, now_s)) {
            return Err(ReasonCode::TokenStopped);
        }
        self.verify_grants(holder, server, grant, (issued_s, now_s))?;
        let open = self.open_scopes(holder, server, (issued_s, now_s))?;
        let is_free = |scope: &&Scope| self.is_free(agent, server, scope, now_s);
        Ok(open.iter().filter(is_free).cloned().collect())
    }

    /// Refuses where no grant counts, or one that does was locked since.
    fn verify_grants(
        &self,
        holder: Holder<'_>,
        server: &ServerId,
        grant: Option<&GrantId>,
        (issued_s, now_s): (u64, u64),
    ) -> Result<(), ReasonCode> {
        let mut counting: Vec<&GrantId> = Vec::new();
        match holder.person {
            None => {
                let own = self.counting_grants(holder.agent, server, now_s).map(|one| &one.id);
                counting.extend(own.filter(|one| grant.is_none_or(|grant| *one == grant)));
            }
            Some(person) => {
                let given = self.delegation(person, holder.agent, server, now_s)?;
                counting.extend(given.grantable().grant_ids());
            }
        }
        if counting.is_empty() {
            return Err(ReasonCode::ScopeMissing);
        }
        // A lock on a grant that has ended: what the token held from before does not count again.
        let from_s = |one: &GrantId| self.use_from_s(None, one, now_s);
        if counting.into_iter().map(from_s).any(|from_s| issued_s < from_s) {
            return Err(ReasonCode::TokenStopped);
        }
        Ok(())
    }

    /// Whether the agent's grants give it without limits on arguments and numbers. An API does not
    /// see the arguments of the tool, so a right that is limited by them ends at the server. A client
    /// of people has no grants, and what a person holds is not limited so.
    fn is_free(&self, agent: &Agent, server: &ServerId, scope: &Scope, now_s: u64) -> bool {
        let ScopeTarget::Tool(tool) = &scope.tool else { return true };
        agent.kind == AgentKind::Client
            || self
                .counting_grants(&agent.id, server, now_s)
                .any(|grant| grant.covers(scope) && grant.constraints_on(tool).next().is_none())
    }

    /// What a holder has at a server, without the tools that are locked or were since.
    ///
    /// # Errors
    /// As [`Snapshot::held_scopes`].
    pub fn open_scopes(
        &self,
        holder: Holder<'_>,
        server: &ServerId,
        (issued_s, now_s): (u64, u64),
    ) -> Result<ScopeSet, ReasonCode> {
        let Holder { agent, person } = holder;
        let is_open = |target: &ScopeTarget| match target {
            ScopeTarget::Tool(tool) => {
                let tool = Some(tool.as_str());
                let subject =
                    LockedSubject { agent, person, server, tool, token_jti: None, key: None };
                let is_locked = self.lock_on(&subject, now_s).is_some();
                !is_locked && issued_s >= self.tokens_from_s(&subject, now_s)
            }
            ScopeTarget::Prompts | ScopeTarget::Resources => true,
        };
        let held = self.held_scopes(holder, server, now_s)?;
        Ok(held.iter().filter(|scope| is_open(&scope.tool)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attorn_jose::CertificateThumbprint;

    use crate::fixtures::{agent, agent_key, grant, jkt, lock, name, owner, server, tool};
    use crate::{
        Agent, AgentKey, Authentication, Binding, Class, Grant, KeyHolder, KeyState, LifeCycle,
        McpServer, ResourceId, RevokedToken, ServerKey, SnapshotParts,
    };

    fn crm() -> McpServer {
        let tools = vec![tool("get", Some(Class::Read)), tool("put", Some(Class::Write))];
        McpServer { keys: vec![own_key(KeyState::Active)], ..server("crm", tools) }
    }

    fn own_key(state: KeyState) -> ServerKey {
        ServerKey { jkt: jkt(2), jwk: "{}".into(), state, holder: KeyHolder::Server }
    }

    fn parts() -> SnapshotParts {
        SnapshotParts {
            epoch: 3,
            owners: vec![owner()],
            agents: vec![agent()],
            servers: vec![crm()],
            resources: vec![billing()],
            grants: vec![grant("read:*")],
            ..SnapshotParts::default()
        }
    }

    fn billing() -> Resource {
        Resource {
            id: ResourceId::from_random(&[9; 16]),
            name: name("billing"),
            url: "https://api.example/billing".into(),
            owner: Some(owner().id),
            state: LifeCycle::Active,
            key: None,
            operations: Vec::new(),
            downstreams: Vec::new(),
            created_s: 0,
        }
    }

    fn parent() -> Ancestor {
        Ancestor { client_id: agent().id, jti: "parent".into(), key: jkt(1) }
    }

    fn check(parts: SnapshotParts, expected: Result<&str, ReasonCode>) {
        let grant = grant("read:*").id;
        let server = crm().id;
        let of = DownstreamUse {
            server: &server,
            jti: "child",
            key: jkt(2),
            epoch: 3,
            issued_s: 40,
            grant: Some(&grant),
            person: None,
            parent: &parent(),
        };
        let held = Snapshot::new(parts).verify_lineage(&of, 50);
        assert_eq!(held.map(|held| held.to_string()), expected.map(str::to_owned));
    }

    #[test]
    fn what_the_agent_holds_now_is_told() {
        check(parts(), Ok("read:@prompts read:@resources read:get"));
    }

    #[test]
    fn whoever_ends_the_parent_ends_the_child() {
        let revoked = |jti: &str| vec![RevokedToken { jti: jti.into(), expires_s: 100 }];
        let ended = Err(ReasonCode::TokenRevoked);
        check(SnapshotParts { revoked: revoked("parent"), ..parts() }, ended);
        check(SnapshotParts { revoked: revoked("child"), ..parts() }, ended);
        check(
            SnapshotParts { revoked: revoked("other"), ..parts() },
            Ok("read:@prompts read:@resources read:get"),
        );
        check(SnapshotParts { epoch: 4, ..parts() }, ended);
        let suspended = Agent { state: LifeCycle::Suspended, ..agent() };
        check(
            SnapshotParts { agents: vec![suspended], ..parts() },
            Err(ReasonCode::AgentSuspended),
        );
        let stopped = McpServer { state: LifeCycle::Suspended, ..crm() };
        check(
            SnapshotParts { servers: vec![stopped], ..parts() },
            Err(ReasonCode::ServerSuspended),
        );
        for keys in [Vec::new(), vec![own_key(KeyState::Retired)]] {
            let another = McpServer { keys, ..crm() };
            check(SnapshotParts { servers: vec![another], ..parts() }, ended);
        }
        let taken = Grant { revoked_s: Some(1), ..grant("read:*") };
        check(SnapshotParts { grants: vec![taken], ..parts() }, Err(ReasonCode::ScopeMissing));
    }

    #[test]
    fn what_the_agent_gave_up_ends_what_rested_on_it() {
        let with = |agent: Agent| SnapshotParts { agents: vec![agent], ..parts() };
        let (stands, ended) =
            (Ok("read:@prompts read:@resources read:get"), Err(ReasonCode::TokenRevoked));
        let rotated = |not_after_s| {
            let old = AgentKey { state: KeyState::Retired, not_after_s, ..agent_key(1) };
            Agent { keys: vec![old, agent_key(7)], ..agent() }
        };
        check(with(rotated(Some(100))), stands);
        check(with(rotated(Some(50))), ended);
        // The parent was bound to the certificate with the name `jkt(1)`.
        let known_by = |certificates: &[u8], binding| Agent {
            keys: Vec::new(),
            authentication: Authentication::SelfSignedTlsClientAuth {
                certificates: certificates
                    .iter()
                    .map(|byte| CertificateThumbprint::from_bytes(*jkt(*byte).as_bytes()))
                    .collect(),
            },
            binding,
            ..agent()
        };
        check(with(known_by(&[1], Binding::Certificate)), stands);
        check(with(known_by(&[1, 8], Binding::Certificate)), stands);
        check(with(known_by(&[8], Binding::Certificate)), ended);
        // Where tokens are bound to keys, the name is none of a certificate.
        check(with(known_by(&[8], Binding::Dpop)), stands);
    }

    #[test]
    fn a_lock_on_anything_it_rests_on_stops_it() {
        for target in [
            LockTarget::Agent { agent: agent().id },
            LockTarget::Server { server: crm().id },
            LockTarget::Owner { owner: owner().id },
            LockTarget::Token { jti: "parent".into() },
            LockTarget::Token { jti: "child".into() },
            LockTarget::Key { jkt: jkt(1) },
            LockTarget::Key { jkt: jkt(2) },
        ] {
            let locks = |end_s| vec![lock(target.clone(), end_s)];
            check(SnapshotParts { locks: locks(100), ..parts() }, Err(ReasonCode::LockActive));
            // It has ended, and the token is from before its end.
            check(SnapshotParts { locks: locks(50), ..parts() }, Err(ReasonCode::TokenStopped));
            check(
                SnapshotParts { locks: locks(39), ..parts() },
                Ok("read:@prompts read:@resources read:get"),
            );
        }
        let tool = LockTarget::Tool { server: crm().id, tool: "get".into() };
        check(
            SnapshotParts { locks: vec![lock(tool, 100)], ..parts() },
            Ok("read:@prompts read:@resources"),
        );
    }

    #[test]
    fn what_is_handed_on_for_a_person_is_within_what_they_gave() {
        use crate::fixtures::{client, consent, person, person_grant};
        use crate::{Consent, Person};
        let check = |parts: SnapshotParts, agent: AgentId, expected: Result<&str, ReasonCode>| {
            let (server, person) = (crm().id, person().id);
            let of = DownstreamUse {
                server: &server,
                jti: "child",
                key: jkt(2),
                epoch: 3,
                issued_s: 40,
                grant: None,
                person: Some(&person),
                parent: &Ancestor { client_id: agent, ..parent() },
            };
            let held = Snapshot::new(parts).verify_lineage(&of, 50);
            assert_eq!(held.map(|held| held.to_string()), expected.map(str::to_owned));
        };
        let given = |agent: AgentId| SnapshotParts {
            agents: vec![crate::fixtures::agent(), client()],
            persons: vec![person()],
            person_grants: vec![person_grant("read:*")],
            consents: vec![Consent { agent, ..consent("read:get write:put") }],
            ..parts()
        };
        for who in [agent().id, client().id] {
            check(given(who.clone()), who.clone(), Ok("read:get"));
            let taken = SnapshotParts { consents: Vec::new(), ..given(who.clone()) };
            check(taken, who.clone(), Err(ReasonCode::ConsentMissing));
            let taken = SnapshotParts { person_grants: Vec::new(), ..given(who.clone()) };
            check(
                taken,
                who.clone(),
                if who == agent().id { Ok("") } else { Err(ReasonCode::ScopeMissing) },
            );
            let suspended = Person { state: LifeCycle::Suspended, ..person() };
            let stopped = SnapshotParts { persons: vec![suspended], ..given(who.clone()) };
            check(stopped, who.clone(), Err(ReasonCode::PersonSuspended));
            let resumed = Person { stop_ended_s: Some(45), ..person() };
            let stopped = SnapshotParts { persons: vec![resumed], ..given(who.clone()) };
            check(stopped, who.clone(), Err(ReasonCode::TokenStopped));
            let target = LockTarget::Person { person: person().id };
            let locked = SnapshotParts { locks: vec![lock(target, 100)], ..given(who.clone()) };
            check(locked, who.clone(), Err(ReasonCode::LockActive));
            // A lock on the person's grant that has ended: the token is from before.
            let target = LockTarget::Grant { grant: person_grant("read:*").id };
            let ended = SnapshotParts { locks: vec![lock(target, 50)], ..given(who.clone()) };
            check(ended, who.clone(), Err(ReasonCode::TokenStopped));
        }
    }

    #[test]
    fn an_api_stands_with_its_owner_and_without_a_lock() {
        let check = |resource: Resource, locks, expected| {
            let snapshot = Snapshot::new(SnapshotParts { locks, ..parts() });
            assert_eq!(snapshot.verify_resource(&resource, 50), expected);
        };
        check(billing(), Vec::new(), Ok(()));
        let suspended = Resource { state: LifeCycle::Suspended, ..billing() };
        check(suspended, Vec::new(), Err(ReasonCode::ResourceSuspended));
        check(
            Resource { owner: None, ..billing() },
            Vec::new(),
            Err(ReasonCode::ResourceOwnerless),
        );
        for target in [
            LockTarget::Resource { resource: billing().id },
            LockTarget::Owner { owner: owner().id },
        ] {
            check(billing(), vec![lock(target, 100)], Err(ReasonCode::LockActive));
        }
    }
}
