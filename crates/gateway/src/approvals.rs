//! Calls that wait for a person: asking the authority, and using an approval up.
//!
//! Everything else was judged before, the definition and the mirrored headers as well: nobody is
//! asked about a call that would be refused. An approval is used up last of all, just before the
//! intent is recorded, so that no earlier refusal costs one. What is true if the process dies:
//! - before the answer of [`ApprovalDesk::use_up`]: nothing was forwarded, and the approval may be used;
//! - after it: the approval is used, and the call was made at most once.
//!
//! MCP 2026-07-28, Multi Round-Trip Requests, Server Requirements: the state a client brings back is
//! an attacker's. Ours is the identifier of the request and gives nothing: principal, call and end
//! are compared with the record, and a change to it makes the call fail.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use attorn_mcp::error::{UrlWanted, tool_refusal, url_wanted};
use attorn_mcp::{ErrorData, Request};
use attorn_planted::{Bug, is_planted};
use attorn_policy::{GivenApproval, Permit, Waiting};
use attorn_registry::{
    ApprovalAnswer, ApprovalId, AskedCall, Class, ReasonCode, approval_arguments,
};

use crate::exchange::{Caller, Exchange};
use crate::refusal::{DecisionRefusal, Refusal};

/// Where a gateway asks about calls that need a person. Implemented by the authority of the same
/// process, and over the admin API.
pub trait ApprovalDesk: fmt::Debug + Send + Sync {
    /// Where a call stands; it is asked for if nobody did, and on the disk when this returns.
    fn ask(
        &self,
        asked: AskedCall,
    ) -> Pin<Box<dyn Future<Output = Result<ApprovalAnswer, DeskSilent>> + Send + '_>>;

    /// Uses an approval up, once over all gateways.
    fn use_up(
        &self,
        given: GivenApproval,
        decision: String,
    ) -> Pin<Box<dyn Future<Output = Result<UseAnswer, DeskSilent>> + Send + '_>>;
}

/// Whether an approval was used up for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseAnswer {
    /// It was not, so the call is not made.
    Refused(ReasonCode),
    /// It was, for this call.
    Used,
}

/// Nobody answered, so nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority says nothing of approvals")]
pub struct DeskSilent;

/// A call that is not made now, for want of a person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) reason: ReasonCode,
    approval: Option<ApprovalId>,
    expires_s: Option<u64>,
    /// What a person said.
    because: Option<String>,
    /// The client can send its user to an address.
    sends_user: bool,
}

/// What was decided about a call.
#[derive(Debug)]
pub(crate) enum Decided {
    Permit(Permit),
    Waits(Box<Waiting>),
}

/// A permit whose approval, if it rests on one, is used up for this call.
#[derive(Debug)]
pub(crate) struct Cleared {
    // Invariant: made by `Exchange::clear` alone. Held, not read.
    _permit: Permit,
    /// Nothing but what was approved may leave.
    pub(crate) only_approved: bool,
    /// What was used up.
    pub(crate) approval: Option<ApprovalId>,
}

/// What a client brings along from an earlier answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Brought {
    Nothing,
    /// Our own words, and the request they name.
    Ours(Option<ApprovalId>),
    /// Words for the server, which nobody was shown.
    Servers,
}

impl Decided {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Permit(permit) => permit.class(),
            Self::Waits(waiting) => waiting.class,
        }
    }
}

impl Brought {
    fn by(call: &Request<'_>) -> Self {
        match call.request_state() {
            Some(state) => match state.strip_prefix(STATE_PREFIX) {
                Some(id) => Self::Ours(ApprovalId::parse(id).ok()),
                None => Self::Servers,
            },
            None if call.has_input_responses() => Self::Servers,
            None => Self::Nothing,
        }
    }

    /// Whether it fits the approval of this very call.
    fn fits(&self, id: &ApprovalId) -> bool {
        match self {
            Self::Nothing => true,
            Self::Ours(named) => named.as_ref() == Some(id),
            Self::Servers => false,
        }
    }
}

impl Wait {
    pub(crate) fn new(reason: ReasonCode) -> Self {
        Self { reason, approval: None, expires_s: None, because: None, sends_user: false }
    }

    fn of(given: &GivenApproval, reason: ReasonCode) -> Self {
        Self { approval: Some(given.id.clone()), ..Self::new(reason) }
    }

    /// Whether somebody still has to say something.
    fn is_open(&self) -> bool {
        matches!(self.reason, ReasonCode::ApprovalRequired | ReasonCode::ApprovalPending)
    }
}

impl Exchange {
    /// The permit, or where the call stands with the persons who decide about it.
    pub(crate) async fn or_wait(
        &mut self,
        decided: Decided,
        call: &Request<'_>,
        caller: &Caller,
    ) -> Result<Permit, Refusal> {
        let brought = Brought::by(call);
        let wait = match decided {
            Decided::Permit(permit) => {
                let stranger = permit.approval().filter(|given| !brought.fits(&given.id));
                let Some(given) = stranger else { return Ok(permit) };
                Wait::of(given, ReasonCode::ApprovalArgumentsChanged)
            }
            Decided::Waits(waiting) => self.wait(*waiting, brought, call, caller).await?,
        };
        self.entry.approval = wait.approval.as_ref().map(ToString::to_string);
        Err(DecisionRefusal::Waits(Box::new(wait)).into())
    }

    async fn wait(
        &self,
        waiting: Waiting,
        brought: Brought,
        call: &Request<'_>,
        caller: &Caller,
    ) -> Result<Wait, Refusal> {
        let is_first = brought == Brought::Nothing;
        let named = match brought {
            Brought::Nothing => None,
            Brought::Ours(Some(id)) => Some(id),
            Brought::Ours(None) | Brought::Servers => {
                return Ok(Wait::new(ReasonCode::ApprovalArgumentsChanged));
            }
        };
        let known = waiting.pending.filter(|(id, _)| named.as_ref().is_none_or(|it| it == id));
        let answer = if let Some((id, expires_s)) = known {
            ApprovalAnswer {
                approval: Some(id),
                expires_s: Some(expires_s),
                reason: ReasonCode::ApprovalPending,
                because: None,
            }
        } else {
            let text = call.arguments().map(attorn_json::Value::text);
            // The policy found a form for them a moment ago.
            let (arguments, _) = approval_arguments(text)
                .ok_or(DecisionRefusal::ToldOfCall(ReasonCode::RequestMalformed))?;
            let asked = AskedCall {
                call: waiting.call,
                arguments,
                actors: caller.token.claims().act.as_ref().map(attorn_oauth::actor::Actor::chain),
                decision: self.decision_id().to_owned(),
                trace_id: self.entry.trace_id.clone(),
                named,
            };
            let asking = self.gateway.approvals.ask(asked);
            let answer = tokio::time::timeout(DESK_WITHIN, asking).await;
            answer.unwrap_or(Err(DeskSilent)).map_err(silent)?
        };
        let ApprovalAnswer { approval, expires_s, reason, because } = answer;
        let wait = Wait { reason, approval, expires_s, because, sends_user: false };
        let can = self.revision.is_modern() && call.meta.declares_url_elicitation();
        Ok(Wait { sends_user: can && is_first && wait.is_open(), ..wait })
    }

    /// Uses the approval of a permit up. Without the result nothing is recorded or forwarded.
    pub(crate) async fn clear(
        &mut self,
        permit: Permit,
        call: &Request<'_>,
    ) -> Result<Cleared, Refusal> {
        let brought = Brought::by(call);
        let Some(given) = permit.approval().cloned() else {
            let only_approved = matches!(brought, Brought::Ours(_));
            return Ok(Cleared { _permit: permit, only_approved, approval: None });
        };
        // A place at the server first: without one the approval would be lost.
        self.pass()?;
        self.entry.approval = Some(given.id.to_string());
        let approval = Some(given.id.clone());
        if is_planted(Bug::ApprovalReused) {
            return Ok(Cleared { _permit: permit, only_approved: true, approval });
        }
        let wait = Wait::of(&given, ReasonCode::ApprovalUsed);
        let using = self.gateway.approvals.use_up(given, self.decision_id().to_owned());
        // Late, it may be used all the same: then the call was made not even once.
        let used = tokio::time::timeout(DESK_WITHIN, using).await;
        match used.unwrap_or(Err(DeskSilent)).map_err(silent)? {
            UseAnswer::Used => Ok(Cleared { _permit: permit, only_approved: true, approval }),
            UseAnswer::Refused(reason) => {
                Err(DecisionRefusal::Waits(Box::new(Wait { reason, ..wait })).into())
            }
        }
    }

    /// What the caller is told of a call that waits.
    pub(crate) fn waits(&self, wait: &Wait) -> Vec<u8> {
        let Some(id) = &self.id else { return Vec::new() };
        let decision_id = self.decision_id();
        let approval = wait.approval.as_ref().map(ApprovalId::as_str);
        let data = ErrorData {
            approval,
            decision_id: Some(decision_id),
            reason: Some(wait.reason.as_str()),
            ..ErrorData::default()
        };
        let url = self.approval_url(approval.unwrap_or_default());
        let text = self.told(wait, &url);
        let Some(approval) = approval.filter(|_| wait.sends_user) else {
            return tool_refusal(id, self.revision, &text, &data);
        };
        let request_state = format!("{STATE_PREFIX}{approval}");
        let wanted = UrlWanted {
            elicitation_id: approval,
            message: &text,
            request_state: &request_state,
            url: &url,
        };
        url_wanted(id, &wanted, &data)
    }

    /// Where a person decides. The authority is the same for all gateways.
    fn approval_url(&self, approval: &str) -> String {
        format!("{}/approvals/{approval}", self.gateway.issuer.as_str())
    }

    fn told(&self, wait: &Wait, url: &str) -> String {
        let decision_id = self.decision_id();
        let id = wait.approval.as_ref().map_or("", ApprovalId::as_str);
        if wait.is_open() {
            let left_s = wait.expires_s.unwrap_or_default().saturating_sub(self.now_s);
            return format!(
                "Not made: a person has to approve this call first. It waits as {id} for {} more \
                 minutes. Who may approve it sees it with `attorn request show {id}` and answers \
                 with `attorn request approve {id} --reason \"…\"` or `deny`; the page for it is \
                 {url}. Then make the same call with the same arguments again. Decision \
                 {decision_id}.",
                left_s.div_ceil(60)
            );
        }
        let (meaning, reason) = (wait.reason.meaning(), wait.reason);
        let because = wait.because.as_deref().map(|because| format!(" Their reason: {because}."));
        let because = because.unwrap_or_default();
        format!(
            "Refused: {meaning} ({reason}).{because} Decision {decision_id}; the owner of this \
             agent can look it up."
        )
    }
}

fn silent(silent: DeskSilent) -> Refusal {
    tracing::error!(%silent, "a call that needs a person is refused");
    Refusal::AuthorityStale
}

/// The authority may have to wait for a change that is under way.
const DESK_WITHIN: Duration = Duration::from_secs(10);
/// Tells our state from a server's.
const STATE_PREFIX: &str = "attorn-approval.";
