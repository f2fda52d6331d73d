//! What is permitted, said a second time and without any code of the product.

use std::collections::BTreeSet;

/// Callers.
pub(super) const AGENTS: usize = 3;

/// The registry as the operator means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) epoch: u64,
    pub(super) granted: [bool; AGENTS],
    pub(super) active: [bool; AGENTS],
    /// The end of the lock on each, in seconds.
    pub(super) locked_until_s: [Option<u64>; AGENTS],
    /// Whether the tool is the one that was approved.
    pub(super) approved: bool,
    /// Tokens that were revoked, by number.
    pub(super) revoked: BTreeSet<usize>,
}

/// A token as the caller got it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) number: usize,
    pub(super) agent: usize,
    pub(super) epoch: u64,
    pub(super) expires_s: u64,
    /// Whether its scope holds the tool.
    pub(super) scoped: bool,
    pub(super) text: String,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            granted: [true; AGENTS],
            active: [true; AGENTS],
            locked_until_s: [None; AGENTS],
            approved: true,
            revoked: BTreeSet::new(),
        }
    }

    /// Whether a call with this token is permitted at `now_s`, by the clock of who decides.
    pub(super) fn permits(&self, token: &Held, now_s: u64) -> bool {
        let of = |list: &[bool; AGENTS]| list.get(token.agent).copied().unwrap_or(false);
        of(&self.granted)
            && of(&self.active)
            && !self.is_locked(token.agent, now_s)
            && self.approved
            && token.scoped
            && token.epoch >= self.epoch
            && now_s < token.expires_s
            && !self.revoked.contains(&token.number)
    }

    pub(super) fn is_locked(&self, agent: usize, now_s: u64) -> bool {
        self.locked_until_s.get(agent).copied().flatten().is_some_and(|end_s| now_s < end_s)
    }
}
