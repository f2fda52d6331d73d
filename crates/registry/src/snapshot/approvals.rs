//! Approvals in a snapshot: those that wait and those that may be used.

use crate::shards::Shards;
use crate::{Approval, ApprovalCall, Snapshot};

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
}
