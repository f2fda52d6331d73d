//! Approvals in a snapshot: those that wait and those that may be used.

use std::collections::BTreeSet;

use crate::shards::Shards;
use crate::{
    AgentId, AgentKind, Approval, ApprovalCall, Approver, OwnerId, PersonOrGroup, Snapshot,
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

    /// An identity as it may say something about a call, by who is behind it now.
    #[must_use]
    pub fn approver<'a>(&'a self, id: &'a AgentId, call: &ApprovalCall) -> Approver<'a> {
        let record = self.agent(id);
        let owner = record.and_then(|record| record.owner.as_ref());
        let behind = self.identities_behind(owner);
        let agent = self.agent(&call.agent).and_then(|agent| agent.owner.as_ref());
        let answering = self.identities_behind(agent);
        Approver {
            id: id.as_str(),
            // Who is not known is nobody who says anything.
            kind: record.map_or(AgentKind::Agent, |record| record.kind),
            owner,
            // Of whom nobody knows who answers, anybody may.
            answers_for_agent: answering.is_empty() || !answering.is_disjoint(&behind),
            behind,
        }
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
