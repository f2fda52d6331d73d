//! Approvals in a snapshot: those that wait and those that may be used.

use std::collections::BTreeSet;

use crate::shards::Shards;
use crate::{
    AgentId, AgentKind, AnswersForAgent, Approval, ApprovalCall, Approver, ApproverKind, OwnerId,
    Person, PersonOrGroup, Role, Snapshot,
};

impl Snapshot {
    /// What does not matter any more is not kept: denied, used and past ones leave.
    pub(crate) fn put_approval(&mut self, approval: Approval, now_s: u64) {
        let agent = approval.call.agent.clone();
        let mut of_agent = self.approvals.get(&agent).cloned().unwrap_or_default();
        of_agent.retain(|old| old.id != approval.id && old.matters(now_s));
        if approval.matters(now_s) {
            of_agent.push(approval);
        }
        if of_agent.is_empty() {
            self.approvals.remove(&agent);
        } else {
            self.approvals.insert(agent, of_agent);
        }
    }

    /// None counts any more.
    pub(crate) fn end_approvals(&mut self) {
        self.approvals = Shards::default();
    }

    /// Every approval, in no order.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.values().flatten()
    }

    /// The approval of exactly this call that counts now: one that may be used before one that
    /// waits.
    #[must_use]
    pub fn approval_for(&self, call: &ApprovalCall, now_s: u64) -> Option<&Approval> {
        let of_call = || {
            let of_agent = self.approvals.get(&call.agent).into_iter().flatten();
            of_agent.filter(|one| one.call == *call && one.matters(now_s))
        };
        of_call().find(|one| one.is_usable(now_s)).or_else(|| of_call().next())
    }

    /// An operator's key as it may say something about a call, by who is behind it now.
    #[must_use]
    pub fn approver<'a>(&'a self, id: &'a AgentId, call: &ApprovalCall) -> Approver<'a> {
        let record = self.agent(id);
        let owner = record.and_then(|record| record.owner.as_ref());
        let behind = self.identities_behind(owner);
        let kind = match record.map(|record| record.kind) {
            Some(AgentKind::Operator) => ApproverKind::Operator,
            // Who is not known is nobody who says anything.
            Some(AgentKind::Agent | AgentKind::Client | AgentKind::Gateway) | None => {
                ApproverKind::Agent
            }
        };
        let answering = self.identities_behind(self.owner_of(call));
        // Of whom nobody knows who answers, anybody may.
        let answers = answering.is_empty() || !answering.is_disjoint(&behind);
        Approver {
            id: id.as_str(),
            kind,
            owner,
            unbound: self.is_unbound(owner),
            answers_for_agent: if answers { AnswersForAgent::Yes } else { AnswersForAgent::No },
            behind,
        }
    }

    /// A person who is logged in, as they may say something about a call: they are every owner that
    /// is bound to them, or to a group they are in.
    #[must_use]
    pub fn approving_person<'a>(&self, person: &'a Person, call: &ApprovalCall) -> Approver<'a> {
        let is_theirs = |bound_to: &PersonOrGroup| match bound_to {
            PersonOrGroup::Person { person: bound } => *bound == person.id,
            PersonOrGroup::Group { group } => person.groups.contains(group),
        };
        let owners = self.owners().filter(|one| one.bound_to.as_ref().is_some_and(is_theirs));
        let mut behind: BTreeSet<String> = owners.map(|owner| owner.id.to_string()).collect();
        behind.insert(person.id.to_string());
        let owner = self.owner_of(call);
        let answering = self.identities_behind(owner);
        let answers_for_agent = if answering.is_empty() || !answering.is_disjoint(&behind) {
            AnswersForAgent::Yes
        } else if self.is_unbound(owner) {
            // An owner who is a name alone may be this person.
            AnswersForAgent::Unknown
        } else {
            AnswersForAgent::No
        };
        let kind = if person.may(Role::may_approve) {
            ApproverKind::Person
        } else {
            ApproverKind::PersonWithoutRole
        };
        let id = person.id.as_str();
        Approver { id, kind, owner: None, behind, unbound: false, answers_for_agent }
    }

    fn owner_of(&self, call: &ApprovalCall) -> Option<&OwnerId> {
        self.agent(&call.agent)?.owner.as_ref()
    }

    /// Whether one of the owners behind an identity is bound to nobody, or there is none.
    fn is_unbound(&self, owner: Option<&OwnerId>) -> bool {
        let mut owners = self.owners_behind(owner).peekable();
        owners.peek().is_none() || owners.any(|owner| owner.bound_to.is_none())
    }

    /// The owners behind an identity, and the persons whom they are: of a group each of its members
    /// may be the one.
    fn identities_behind(&self, owner: Option<&OwnerId>) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for owner in self.owners_behind(owner) {
            ids.insert(owner.id.to_string());
            match &owner.bound_to {
                None => {}
                Some(PersonOrGroup::Person { person }) => {
                    ids.insert(person.to_string());
                }
                Some(PersonOrGroup::Group { group }) => {
                    ids.extend(self.members(group).map(|person| person.id.to_string()));
                }
            }
        }
        ids
    }
}

#[cfg(test)]
#[path = "approvals_tests.rs"]
mod tests;
