//! Who says something about a call that waits, and what they said: an operator by key, or a person
//! who is logged in.
//!
//! Whether two are one person is told by owners and by the persons whom owners are bound to. Where
//! nobody knows, it counts as one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ApprovalRefusal, OwnerId, PersonId};

/// One person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// Who: an identifier.
    pub by: String,
    /// The owner behind that identity: two of one owner are one person.
    pub owner: Option<OwnerId>,
    /// Every owner and person who may be behind it: who share one of them may be one person.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub behind: BTreeSet<String>,
    /// Whether the owner of the key is bound to nobody, so that any person may be behind it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unbound: bool,
    /// When, in Unix seconds.
    pub at_s: u64,
    /// Why.
    pub reason: String,
}

impl Word {
    /// Whether an identity, an owner or a person may be who said it.
    pub(crate) fn may_be_of(&self, id: &str) -> bool {
        let of_owner = self.owner.as_ref().is_some_and(|owner| owner.as_str() == id);
        self.by == id || of_owner || self.behind.contains(id)
    }

    /// Whether one person may have said both.
    pub(crate) fn may_be_who_said(&self, other: &Self) -> bool {
        // A person who is logged in is themselves alone, also where others share a group with them.
        match (self.is_of_a_person(), other.is_of_a_person()) {
            (true, true) => self.by == other.by,
            (true, false) => other.behind.contains(&self.by),
            (false, true) => self.behind.contains(&other.by),
            (false, false) => {
                let of_owner = self.owner.is_some() && self.owner == other.owner;
                self.by == other.by || of_owner || !self.behind.is_disjoint(&other.behind)
            }
        }
    }

    /// Whether nobody can tell: a person, and a key of which nobody said whose it is.
    pub(crate) fn cannot_be_told_from(&self, other: &Self) -> bool {
        (self.is_of_a_person() && other.unbound) || (self.unbound && other.is_of_a_person())
    }

    fn is_of_a_person(&self) -> bool {
        PersonId::parse(&self.by).is_ok()
    }
}

/// What an identity is, where something is said about a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApproverKind {
    /// An agent, a gateway, or nobody who is known.
    Agent,
    /// An operator by key.
    Operator,
    /// A person who is active and has a role that may approve.
    Person,
    /// A person without such a role.
    PersonWithoutRole,
}

/// Whether somebody answers for the agent that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswersForAgent {
    /// They do not.
    No,
    /// Nobody said who the owner of the agent is, so any person may be the one.
    Unknown,
    /// They may be who does, or nobody does.
    Yes,
}

/// Who says something about an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver<'a> {
    /// Their identifier.
    pub id: &'a str,
    /// What kind of identity it is.
    pub kind: ApproverKind,
    /// Who answers for it.
    pub owner: Option<&'a OwnerId>,
    /// Every owner and person who may be behind it.
    pub behind: BTreeSet<String>,
    /// Whether the owner of the key is bound to nobody. Of a person it never is.
    pub unbound: bool,
    /// Whether they may be who answers for the agent that calls.
    pub answers_for_agent: AnswersForAgent,
}

/// Only persons say something.
pub(crate) fn word(who: &Approver<'_>, reason: &str, now_s: u64) -> Result<Word, ApprovalRefusal> {
    match who.kind {
        ApproverKind::Operator | ApproverKind::Person => {}
        ApproverKind::Agent => return Err(ApprovalRefusal::NotAPerson),
        ApproverKind::PersonWithoutRole => return Err(ApprovalRefusal::RoleMissing),
    }
    let (by, owner, behind) = (who.id.to_owned(), who.owner.cloned(), who.behind.clone());
    let (unbound, reason) = (who.unbound, reason.to_owned());
    Ok(Word { by, owner, behind, unbound, at_s: now_s, reason })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
