//! What is stopped now, and which tokens count after a stop.
//!
//! A stop is a lock, or a suspension of an agent, a person, an MCP server or an owner. When it ends, tokens
//! from before it do not count again: they were out in the world while nobody trusted them.

use super::Snapshot;
use crate::lock::is_recent;
use crate::{Agent, AgentId, GrantId, Jkt, Lock, LockTarget, McpServer, Owner, PersonId, ServerId};

/// Everything a call involves that a lock may be set on.
#[derive(Clone, Copy, Debug)]
pub struct LockedSubject<'a> {
    /// The caller.
    pub agent: &'a AgentId,
    /// The person it acts for, if it acts for one.
    pub person: Option<&'a PersonId>,
    /// The server called.
    pub server: &'a ServerId,
    /// The tool called, if it is one.
    pub tool: Option<&'a str>,
    /// The `jti` of the access token.
    pub token_jti: Option<&'a str>,
    /// The key the token is bound to.
    pub key: Option<Jkt>,
}

impl Snapshot {
    /// The lock in force on exactly this target.
    #[must_use]
    pub fn active_lock(&self, target: &LockTarget, now_s: u64) -> Option<&Lock> {
        self.locks.get(target)?.iter().find(|lock| lock.holds(now_s))
    }

    /// The first lock in force on anything a call involves. Locks on grants are not among them:
    /// they take the grant away instead.
    #[must_use]
    pub fn lock_on(&self, subject: &LockedSubject<'_>, now_s: u64) -> Option<&Lock> {
        if self.locks.is_empty() {
            return None;
        }
        self.targets(subject).find_map(|target| self.active_lock(&target, now_s))
    }

    /// The first second whose tokens count after the stops on anything a call involves have ended;
    /// 0 without one. A token of the second in which a stop ended may be from before it, so that
    /// second does not count; the issuer dates new tokens after it.
    #[must_use]
    pub fn tokens_from_s(&self, subject: &LockedSubject<'_>, now_s: u64) -> u64 {
        let (agent, server) = (self.agents.get(subject.agent), self.servers.get(subject.server));
        let owners =
            self.owners_of(agent, server).filter_map(|owner| self.owner_stop_ended_s(owner, now_s));
        let own = [agent.and_then(|it| it.stop_ended_s), server.and_then(|it| it.stop_ended_s)];
        let of_person = subject.person.and_then(|id| self.person(id)?.stop_ended_s);
        let states = own.into_iter().flatten().chain(of_person).chain(owners);
        let states = states
            .filter(|end_s| is_recent(*end_s, now_s))
            .map(|end_s| end_s.saturating_add(1))
            .max();
        if self.locks.is_empty() {
            return states.unwrap_or(0);
        }
        let locks = self.targets(subject).map(|target| self.unlocked_from_s(&target, now_s)).max();
        states.max(locks).unwrap_or(0)
    }

    /// As [`Snapshot::tokens_from_s`], for what a token holds of one tool under one grant.
    #[must_use]
    pub fn use_from_s(&self, tool: Option<(&ServerId, &str)>, grant: &GrantId, now_s: u64) -> u64 {
        if self.locks.is_empty() {
            return 0;
        }
        let of_tool = tool.map(|(server, tool)| LockTarget::Tool {
            server: server.clone(),
            tool: tool.to_owned(),
        });
        let of_grant = LockTarget::Grant { grant: grant.clone() };
        let of_tool = of_tool.map_or(0, |target| self.unlocked_from_s(&target, now_s));
        of_tool.max(self.unlocked_from_s(&of_grant, now_s))
    }

    /// The end of a lock is known when it is made: nothing has to happen for it to count here.
    fn unlocked_from_s(&self, target: &LockTarget, now_s: u64) -> u64 {
        let ended = self.locks.get(target).into_iter().flatten().filter(|lock| !lock.holds(now_s));
        let ends = ended.map(Lock::ends_s).filter(|end_s| is_recent(*end_s, now_s));
        ends.max().map_or(0, |end_s| end_s.saturating_add(1))
    }

    /// The owners whose stop stops a call.
    fn owners_of<'s>(
        &'s self,
        agent: Option<&'s Agent>,
        server: Option<&'s McpServer>,
    ) -> impl Iterator<Item = &'s Owner> {
        let of_agent = agent.and_then(|agent| agent.owner.as_ref());
        // The administration API has to stay open for those who can lift the lock.
        let owned = server.filter(|server| !server.is_builtin());
        let of_server = owned.and_then(|server| server.owner.as_ref());
        self.owners_behind(of_agent).chain(self.owners_behind(of_server))
    }

    /// Everything a lock may be set on that stops what a call involves.
    fn targets(&self, subject: &LockedSubject<'_>) -> impl Iterator<Item = LockTarget> {
        let LockedSubject { agent, person, server, tool, token_jti, key } = *subject;
        let optional = [
            person.map(|person| LockTarget::Person { person: person.clone() }),
            tool.map(|tool| LockTarget::Tool { server: server.clone(), tool: tool.to_owned() }),
            token_jti.map(|jti| LockTarget::Token { jti: jti.to_owned() }),
            key.map(|jkt| LockTarget::Key { jkt }),
        ];
        let records = (self.agents.get(agent), self.servers.get(server));
        let owners = self.owners_of(records.0, records.1).map(|owner| owner.id.clone());
        [LockTarget::Agent { agent: agent.clone() }, LockTarget::Server { server: server.clone() }]
            .into_iter()
            .chain(owners.map(|owner| LockTarget::Owner { owner }))
            .chain(optional.into_iter().flatten())
    }
}
