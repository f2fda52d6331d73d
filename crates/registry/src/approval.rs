//! Calls that wait for a person: what is approved, by whom, once, and until when.
//!
//! An approval is for one call: agent, subject, server, tool, its definition, its arguments and the
//! terms of the day. Whatever differs is another call. Every transition is a function from one
//! record to the next, so that a store has nothing to decide.
//!
//! What is *not* here: asking and telling people, and the order in which things are recorded.

use attorn_jose::sha256;
use attorn_json::Limits;
use serde::{Deserialize, Serialize};

use crate::approver::{AnswersForAgent, Approver, Word, word};
use crate::{AgentId, ApprovalId, ReasonCode, ServerId};

/// The longest time between a request and its use, in seconds.
pub const APPROVAL_LIFETIME_MAX_S: u64 = 30 * 60;

/// The longest arguments that a person is asked about, in bytes of their canonical form.
pub const APPROVAL_ARGUMENTS_BYTES_MAX: usize = 256 * 1024;

/// So many requests of one agent for one subject may wait, or be denied and not past their end. Who
/// is asked too often stops to read.
pub const APPROVALS_OPEN_MAX: usize = 8;

/// So many of one agent in all: one person's requests leave places for those of others.
pub const APPROVALS_OPEN_OF_AGENT_MAX: usize = 64;

/// Who has to say yes. The default is one person who did not ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalTerms {
    /// Two persons.
    pub two: bool,
    /// Nobody who answers for the agent.
    pub not_owner: bool,
}

impl ApprovalTerms {
    /// How many have to say yes.
    #[must_use]
    pub fn needed(self) -> usize {
        if self.two { 2 } else { 1 }
    }

    /// What either of two rules asks for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { two: self.two || other.two, not_owner: self.not_owner || other.not_owner }
    }
}

/// The call that an approval is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalCall {
    /// Who calls.
    pub agent: AgentId,
    /// For whom: the subject of the token.
    pub subject: String,
    /// Where.
    pub server: ServerId,
    /// The exact name of the tool.
    pub tool: String,
    /// Digest of the tool's definition.
    #[serde(with = "crate::hex")]
    pub definition: [u8; 32],
    /// Digest of the arguments in their canonical form.
    #[serde(with = "crate::hex")]
    pub arguments: [u8; 32],
    /// Under other terms it is another approval.
    pub terms: ApprovalTerms,
}

/// Where an approval stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum ApprovalState {
    /// It waits.
    Pending {
        /// The first of two.
        first: Option<Word>,
    },
    /// The call may be made once.
    Approved {
        /// Who said so.
        by: Vec<Word>,
    },
    /// The call may not be made.
    Denied {
        /// Who said so.
        word: Word,
    },
    /// The call was let through.
    Used {
        /// Who said that it may be.
        by: Vec<Word>,
        /// When, in Unix seconds.
        at_s: u64,
        /// The decision it was let through under.
        decision: String,
    },
    /// Nobody used it in time.
    Expired,
}

impl ApprovalState {
    /// One word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Used { .. } => "used",
            Self::Expired => "expired",
        }
    }
}

/// An approval as decisions see it: without the text of the arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Stable identifier.
    pub id: ApprovalId,
    /// What for.
    pub call: ApprovalCall,
    /// Identifiers, of persons and of owners, whose word does not count.
    pub excluded: Vec<String>,
    /// When it was asked for, in Unix seconds.
    pub asked_s: u64,
    /// First second at which it does not count any more.
    pub expires_s: u64,
    /// Where it stands.
    pub state: ApprovalState,
}

/// An approval as approvers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The record.
    pub approval: Approval,
    /// The arguments in their canonical form: what will be sent.
    pub arguments: String,
    /// The actors of the token, the latest first.
    pub actors: Option<String>,
    /// The decision that refused the call.
    pub decision: String,
    /// The trace of that call.
    pub trace_id: Option<String>,
    /// Which gateway asked.
    pub asked_by: String,
}

/// A call that a gateway asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedCall {
    /// What is to be approved.
    pub call: ApprovalCall,
    /// The arguments in their canonical form.
    pub arguments: String,
    /// The actors of the token, the latest first.
    pub actors: Option<String>,
    /// The decision that refused the call.
    pub decision: String,
    /// The trace of the call.
    pub trace_id: Option<String>,
    /// The approval that the caller names.
    pub named: Option<ApprovalId>,
}

/// Where an asked call stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalAnswer {
    /// The request that stands for the call.
    pub approval: Option<ApprovalId>,
    /// Its end.
    pub expires_s: Option<u64>,
    /// Why the call is not made now.
    pub reason: ReasonCode,
    /// What a person said.
    pub because: Option<String>,
}

/// Why an approval cannot be changed or used so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefusal {
    /// It is for another call.
    #[error("the approval is for another call")]
    ArgumentsChanged,
    /// It was approved by all who had to.
    #[error("it is approved already")]
    Approved,
    /// A person said no.
    #[error("it was denied")]
    Denied,
    /// Whoever asked, or is acted for, or is excluded by a rule.
    #[error("nobody approves their own request")]
    Excluded,
    /// It is past its end.
    #[error("it is past its end")]
    Expired,
    /// An agent or a gateway.
    #[error("a person approves, not an agent")]
    NotAPerson,
    /// Not everybody has said yes.
    #[error("it is not approved yet")]
    Pending,
    /// A person without a role that may approve.
    #[error("the person has no role that may approve")]
    RoleMissing,
    /// The second word is that of the first person.
    #[error("the second approver is somebody else than the first")]
    SamePerson,
    /// An owner is bound to nobody, so nobody knows whether two are one person.
    #[error("an owner is bound to nobody, so it cannot be told whether this is the same person")]
    Unbound,
    /// The call was made.
    #[error("it was used")]
    Used,
}

impl ApprovalRefusal {
    /// The stable code.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::ArgumentsChanged => ReasonCode::ApprovalArgumentsChanged,
            Self::Approved => ReasonCode::RequestPrecondition,
            Self::Used => ReasonCode::ApprovalUsed,
            Self::Denied => ReasonCode::ApprovalDenied,
            Self::Excluded | Self::SamePerson | Self::Unbound => ReasonCode::ApprovalSelf,
            Self::Expired => ReasonCode::ApprovalExpired,
            Self::NotAPerson => ReasonCode::DelegationNotAllowed,
            Self::Pending => ReasonCode::ApprovalPending,
            Self::RoleMissing => ReasonCode::RoleMissing,
        }
    }
}

impl Approval {
    /// Whether the call may be made now.
    #[must_use]
    pub fn is_usable(&self, now_s: u64) -> bool {
        matches!(self.state, ApprovalState::Approved { .. }) && !self.is_over(now_s)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now_s: u64) -> bool {
        now_s >= self.expires_s
    }

    /// Whether a decision may depend on it.
    #[must_use]
    pub fn matters(&self, now_s: u64) -> bool {
        let waits =
            matches!(self.state, ApprovalState::Pending { .. } | ApprovalState::Approved { .. });
        waits && !self.is_over(now_s)
    }

    /// Whether it takes one of the places of its agent.
    #[must_use]
    pub fn is_open(&self, now_s: u64) -> bool {
        let counts =
            matches!(self.state, ApprovalState::Pending { .. } | ApprovalState::Denied { .. });
        counts && !self.is_over(now_s)
    }

    /// With one more yes.
    ///
    /// # Errors
    /// See [`ApprovalRefusal`].
    pub fn approve(
        &self,
        who: &Approver<'_>,
        reason: &str,
        now_s: u64,
    ) -> Result<Self, ApprovalRefusal> {
        self.verify_in_time(now_s)?;
        let first = match &self.state {
            ApprovalState::Pending { first } => first.clone(),
            ApprovalState::Approved { .. } => return Err(ApprovalRefusal::Approved),
            ApprovalState::Denied { .. } => return Err(ApprovalRefusal::Denied),
            ApprovalState::Used { .. } => return Err(ApprovalRefusal::Used),
            ApprovalState::Expired => return Err(ApprovalRefusal::Expired),
        };
        let word = word(who, reason, now_s)?;
        self.verify_not_their_own(who, &word)?;
        if let Some(first) = &first {
            if word.may_be_who_said(first) {
                return Err(ApprovalRefusal::SamePerson);
            }
            if word.cannot_be_told_from(first) {
                return Err(ApprovalRefusal::Unbound);
            }
        }
        let by: Vec<Word> = first.into_iter().chain([word]).collect();
        let state = if by.len() >= self.call.terms.needed() {
            ApprovalState::Approved { by }
        } else {
            ApprovalState::Pending { first: by.into_iter().next() }
        };
        Ok(Self { state, ..self.clone() })
    }

    fn verify_not_their_own(&self, who: &Approver<'_>, word: &Word) -> Result<(), ApprovalRefusal> {
        if self.excluded.iter().any(|one| word.may_be_of(one)) {
            return Err(ApprovalRefusal::Excluded);
        }
        match who.answers_for_agent {
            AnswersForAgent::Yes if self.call.terms.not_owner => Err(ApprovalRefusal::Excluded),
            AnswersForAgent::Unknown if self.call.terms.not_owner => Err(ApprovalRefusal::Unbound),
            AnswersForAgent::No | AnswersForAgent::Unknown | AnswersForAgent::Yes => Ok(()),
        }
    }

    /// With a no. It also takes back a yes that was not used; saying no is nobody's own request.
    ///
    /// # Errors
    /// See [`ApprovalRefusal`].
    pub fn deny(
        &self,
        who: &Approver<'_>,
        reason: &str,
        now_s: u64,
    ) -> Result<Self, ApprovalRefusal> {
        self.verify_in_time(now_s)?;
        match &self.state {
            ApprovalState::Pending { .. } | ApprovalState::Approved { .. } => {}
            ApprovalState::Denied { .. } => return Err(ApprovalRefusal::Denied),
            ApprovalState::Used { .. } => return Err(ApprovalRefusal::Used),
            ApprovalState::Expired => return Err(ApprovalRefusal::Expired),
        }
        let word = word(who, reason, now_s)?;
        Ok(Self { state: ApprovalState::Denied { word }, ..self.clone() })
    }

    fn verify_in_time(&self, now_s: u64) -> Result<(), ApprovalRefusal> {
        match self.standing(now_s) {
            ApprovalRefusal::Expired => Err(ApprovalRefusal::Expired),
            ApprovalRefusal::Approved
            | ApprovalRefusal::ArgumentsChanged
            | ApprovalRefusal::Denied
            | ApprovalRefusal::Excluded
            | ApprovalRefusal::NotAPerson
            | ApprovalRefusal::Pending
            | ApprovalRefusal::RoleMissing
            | ApprovalRefusal::SamePerson
            | ApprovalRefusal::Unbound
            | ApprovalRefusal::Used => Ok(()),
        }
    }

    /// Used up by the one call it is for.
    ///
    /// # Errors
    /// See [`ApprovalRefusal`].
    pub fn use_once(
        &self,
        call: &ApprovalCall,
        decision: &str,
        now_s: u64,
    ) -> Result<Self, ApprovalRefusal> {
        if self.call != *call {
            return Err(ApprovalRefusal::ArgumentsChanged);
        }
        let ApprovalState::Approved { by } = &self.state else {
            return Err(self.standing(now_s));
        };
        if self.is_over(now_s) {
            return Err(ApprovalRefusal::Expired);
        }
        let (by, decision) = (by.clone(), decision.to_owned());
        Ok(Self { state: ApprovalState::Used { by, at_s: now_s, decision }, ..self.clone() })
    }

    /// Past its end, if it is and nobody noted it yet.
    #[must_use]
    pub fn expire(&self, now_s: u64) -> Option<Self> {
        let waits =
            matches!(self.state, ApprovalState::Pending { .. } | ApprovalState::Approved { .. });
        let over = waits && self.is_over(now_s);
        over.then(|| Self { state: ApprovalState::Expired, ..self.clone() })
    }

    /// Why a call of it is not made now, by what was said so far. An approved one that the asking
    /// side does not know of yet counts as pending.
    #[must_use]
    pub fn standing(&self, now_s: u64) -> ApprovalRefusal {
        match &self.state {
            ApprovalState::Used { .. } => ApprovalRefusal::Used,
            ApprovalState::Expired => ApprovalRefusal::Expired,
            ApprovalState::Denied { .. } => ApprovalRefusal::Denied,
            ApprovalState::Pending { .. } | ApprovalState::Approved { .. }
                if self.is_over(now_s) =>
            {
                ApprovalRefusal::Expired
            }
            ApprovalState::Pending { .. } | ApprovalState::Approved { .. } => {
                ApprovalRefusal::Pending
            }
        }
    }
}

/// The arguments of a call as they are approved and sent (RFC 8785), and the digest of that text.
/// Absent arguments are the empty object. `None` where there is no such form: a number beyond 2^53
/// is read differently by different readers, and nobody can approve it.
#[must_use]
pub fn approval_arguments(raw: Option<&str>) -> Option<(String, [u8; 32])> {
    let raw = raw.unwrap_or("{}");
    let document = attorn_json::parse(raw.as_bytes(), &Limits::MESSAGE).ok()?;
    let canonical = attorn_json::canonical(&document).ok()?;
    let digest = sha256(&canonical);
    Some((String::from_utf8(canonical).ok()?, digest))
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
