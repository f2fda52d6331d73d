//! Where gateways ask about calls that wait for a person, persons say something about them, and
//! gateways use approvals up.
//!
//! A word of an operator by key and one of a person at a page pass the same lines: [`say`].
//!
//! Whoever calls holds the turn of changes and publishes afterwards. Each step is judged on the
//! stored record, recorded in the journal, and then stored only if the record is still what was
//! judged. What is true if the process dies:
//! - before the entry: nothing happened;
//! - between entry and store: the journal shows a request or a use that may not have happened, and
//!   the gateway, which got no answer, refuses the call;
//! - after the store: an approval that was used stays used, whether or not the call was made.

use attorn_audit::{Entry, Kind};
use attorn_registry::{
    APPROVAL_ARGUMENTS_BYTES_MAX, APPROVALS_OPEN_MAX, APPROVALS_OPEN_OF_AGENT_MAX, Agent, Approval,
    ApprovalAnswer, ApprovalCall, ApprovalId, ApprovalRefusal, ApprovalRequest, ApprovalState,
    Approver, AskedCall, DecisionId, Holder, LockedSubject, PersonId, ReasonCode,
    approval_arguments,
};
use attorn_store::{Act, ChangeKind, Refusal as Unchanged, StoreError};

use super::refusal::{Missing, Refusal};
use super::tools::hex;
use crate::shared::Shared;

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) shared: &'a Shared,
    /// Name of the gateway.
    pub(crate) gateway: &'a str,
    pub(crate) now_ms: u64,
}

impl Asking<'_> {
    fn now_s(self) -> u64 {
        self.now_ms / 1000
    }

    fn act(&self) -> Act<'_> {
        Act { by: self.gateway, now_s: self.now_ms / 1000 }
    }

    /// Where an asked call stands; asks for it if nobody did.
    ///
    /// # Errors
    /// The question has not the form of one, or neither registry nor journal can be used.
    pub(crate) async fn ask(self, asked: AskedCall) -> Result<ApprovalAnswer, Refusal> {
        if asked.arguments.len() > APPROVAL_ARGUMENTS_BYTES_MAX {
            return Ok(no(ReasonCode::FrameSize));
        }
        let agent = self.verify(&asked)?;
        if let Some(named) = &asked.named {
            return self.named(named, &asked.call).await;
        }
        let open = self.shared.store.approvals_of(&asked.call.agent, self.now_s()).await?;
        // A used one stands for a call that was made, and this is another one.
        let stands = |one: &&Approval| {
            let counts = one.matters(self.now_s()) || one.is_open(self.now_s());
            one.call == asked.call && counts
        };
        if let Some(approval) = open.iter().map(|one| &one.approval).rfind(stands) {
            return Ok(standing(approval, self.now_s()));
        }
        let taken = || open.iter().map(|one| &one.approval).filter(|one| one.is_open(self.now_s()));
        // What is asked for one person leaves places for what is asked for the others.
        let for_subject = taken().filter(|one| one.call.subject == asked.call.subject).count();
        if for_subject >= APPROVALS_OPEN_MAX || taken().count() >= APPROVALS_OPEN_OF_AGENT_MAX {
            return Ok(no(ReasonCode::RateLimited));
        }
        self.request(asked, &agent).await
    }

    /// What a gateway says must fit together, and what it speaks of must be as it says.
    fn verify(self, asked: &AskedCall) -> Result<Agent, Refusal> {
        let canonical = approval_arguments(Some(&asked.arguments));
        let is_canonical =
            canonical.is_some_and(|it| it == (asked.arguments.clone(), asked.call.arguments));
        let texts = [Some(&asked.call.subject), asked.actors.as_ref(), asked.trace_id.as_ref()];
        let is_short = texts.into_iter().flatten().all(|text| text.len() <= TEXT_BYTES_MAX);
        if !is_canonical || !is_short || DecisionId::parse(&asked.decision).is_err() {
            return Err(Refusal::Form);
        }
        let snapshot = self.shared.published.load();
        let call = &asked.call;
        let server = snapshot.server(&call.server).ok_or(Refusal::Missing(Missing::Server))?;
        let tool = server.tools.get(&call.tool).ok_or(Refusal::Missing(Missing::Tool))?;
        if tool.digest != call.definition || tool.approved_class().is_none() {
            return Err(Refusal::ToolChanged);
        }
        snapshot.agent(&call.agent).cloned().ok_or(Refusal::Missing(Missing::Agent))
    }

    async fn named(self, id: &ApprovalId, call: &ApprovalCall) -> Result<ApprovalAnswer, Refusal> {
        let known = self.shared.store.approval(id).await?.map(|request| request.approval);
        // One answer for what is unknown and what is another's: identifiers are no oracle.
        let Some(approval) = known.filter(|approval| approval.call == *call) else {
            return Ok(no(ReasonCode::ApprovalArgumentsChanged));
        };
        Ok(standing(&approval, self.now_s()))
    }

    async fn request(self, asked: AskedCall, agent: &Agent) -> Result<ApprovalAnswer, Refusal> {
        let (shared, now_s) = (self.shared, self.now_s());
        let mut excluded = vec![asked.call.agent.to_string()];
        if asked.call.subject != asked.call.agent.as_str() {
            excluded.push(asked.call.subject.clone());
        }
        if asked.call.terms.not_owner {
            excluded.extend(agent.owner.as_ref().map(ToString::to_string));
        }
        let approval = Approval {
            id: ApprovalId::from_random(&shared.random.bytes()),
            call: asked.call,
            excluded,
            asked_s: now_s,
            expires_s: now_s.saturating_add(shared.config.approval_lifetime_s),
            state: ApprovalState::Pending { first: None },
        };
        let request = ApprovalRequest {
            approval,
            arguments: asked.arguments,
            actors: asked.actors,
            decision: asked.decision,
            trace_id: asked.trace_id,
            asked_by: self.gateway.to_owned(),
        };
        let mut entry = fact(self, Kind::ApprovalRequested, &request);
        entry.detail.insert("expires_s".to_owned(), request.approval.expires_s.to_string());
        let _recorded = shared.record(&entry).await?;
        shared.store.request_approval(&self.act(), &request).await?;
        let answer = standing(&request.approval, now_s);
        Ok(ApprovalAnswer { reason: ReasonCode::ApprovalRequired, ..answer })
    }

    /// Uses an approval up for one call. The inner error says why the call is not made.
    ///
    /// # Errors
    /// Neither registry nor journal can be used, so nobody knows; then the call is not made either.
    pub(crate) async fn use_up(
        self,
        id: &ApprovalId,
        call: &ApprovalCall,
        decision: &str,
    ) -> Result<Result<(), ReasonCode>, Refusal> {
        let decision = DecisionId::parse(decision).map_err(|_| Refusal::Form)?;
        if let Err(reason) = self.verify_now(call) {
            return Ok(Err(reason));
        }
        let Some(request) = self.shared.store.approval(id).await? else {
            return Ok(Err(ReasonCode::ApprovalArgumentsChanged));
        };
        let before = &request.approval;
        let after = match before.use_once(call, decision.as_str(), self.now_s()) {
            Ok(after) => after,
            Err(refusal) => return Ok(Err(refusal.reason())),
        };
        let mut entry = fact(self, Kind::ApprovalUsed, &request);
        entry.detail.insert("asked_decision".to_owned(), request.decision.clone());
        entry.decision_id = Some(decision.to_string());
        let _recorded = self.shared.record(&entry).await?;
        let kind = ChangeKind::ApprovalUsed;
        let change = (before, &after);
        match self.shared.store.replace_approval(&self.act(), kind, change).await {
            Ok(_changed) => Ok(Ok(())),
            Err(StoreError::Refused(Unchanged::ApprovalChanged)) => {
                Ok(Err(ReasonCode::ApprovalUsed))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The authority may know of a stop that the gateway has not heard of yet.
    fn verify_now(self, call: &ApprovalCall) -> Result<(), ReasonCode> {
        let (snapshot, now_s) = (self.shared.published.load(), self.now_s());
        // The subject of a token is the person that the agent acts for, or the agent itself.
        let person = PersonId::parse(&call.subject).ok();
        let person = person.as_ref();
        snapshot.acting(Holder { agent: &call.agent, person }, now_s)?;
        if let Some(person) = person {
            // Standing is not enough: what they gave may have been taken back since.
            snapshot.delegation(person, &call.agent, &call.server, now_s)?;
        } else if call.subject != call.agent.as_str() {
            return Err(ReasonCode::DelegationNotAllowed);
        }
        let known = snapshot.server(&call.server).ok_or(ReasonCode::ServerUnknown)?;
        snapshot.verify_server(known)?;
        let tool = Some(call.tool.as_str());
        let (agent, server, token_jti, key) = (&call.agent, &call.server, None, None);
        let subject = LockedSubject { agent, person, server, tool, token_jti, key };
        if snapshot.lock_on(&subject, now_s).is_some() {
            return Err(ReasonCode::LockActive);
        }
        match known.tools.get(&call.tool).map(|tool| (tool.digest, tool.approved_class())) {
            Some((digest, Some(_))) if digest == call.definition => Ok(()),
            Some(_) | None => Err(ReasonCode::ToolDefinitionChanged),
        }
    }
}

/// What somebody says about a call that waits.
#[derive(Debug)]
pub(crate) struct Saying<'a> {
    /// Who, as the registry of now knows them.
    pub(crate) who: Approver<'a>,
    pub(crate) word: SaidWord,
    pub(crate) reason: String,
    /// The entry to be written, which names who says it.
    pub(crate) entry: Entry,
    pub(crate) now_s: u64,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidWord {
    No,
    Yes,
}

/// Takes what somebody says: judged by the rules of the registry, on record, then stored.
///
/// # Errors
/// It does not count, or neither registry nor journal can be used.
pub(crate) async fn say(
    shared: &Shared,
    request: &ApprovalRequest,
    saying: Saying<'_>,
) -> Result<Approval, Refusal> {
    let Saying { who, word, reason, entry, now_s } = saying;
    let before = &request.approval;
    let (kind, after) = match word {
        SaidWord::Yes => (Kind::ApprovalApproved, before.approve(&who, &reason, now_s)?),
        SaidWord::No => (Kind::ApprovalDenied, before.deny(&who, &reason, now_s)?),
    };
    let mut entry = about(Entry { kind, ..entry }, request);
    entry.detail.insert("reason".to_owned(), reason);
    entry.detail.insert("state".to_owned(), after.state.as_str().to_owned());
    // Before it counts: a yes that is not on record must not let a call through.
    let _recorded = shared.record(&entry).await?;
    let act = Act { by: who.id, now_s };
    let change = (before, &after);
    let changed = shared.store.replace_approval(&act, ChangeKind::ApprovalDecided, change).await?;
    Ok(changed.record)
}

/// Notes what is past its end, and forgets arguments of long ago. Says whether anything changed.
///
/// # Errors
/// Neither registry nor journal can be used.
pub(crate) async fn sweep(shared: &Shared) -> Result<bool, Refusal> {
    let asking = Asking { shared, gateway: BY, now_ms: shared.clock.now_ms() };
    let ended = shared.store.ended_approvals(asking.now_s()).await?;
    for request in &ended {
        let Some(after) = request.approval.expire(asking.now_s()) else { continue };
        let _recorded = shared.record(&fact(asking, Kind::ApprovalExpired, request)).await?;
        let change = (&request.approval, &after);
        shared.store.replace_approval(&asking.act(), ChangeKind::ApprovalExpired, change).await?;
    }
    let before_s = asking.now_s().saturating_sub(ARGUMENTS_KEPT_S);
    shared.store.forget_approval_arguments(before_s).await?;
    Ok(!ended.is_empty())
}

/// An entry about an approval. It joins the trace of the call that asked, and never holds its
/// arguments.
fn fact(asking: Asking<'_>, kind: Kind, request: &ApprovalRequest) -> Entry {
    let by = Some(asking.gateway.to_owned());
    Entry { by, ..about(asking.shared.entry(kind, asking.now_ms), request) }
}

/// Says in an entry which approval it is about.
pub(crate) fn about(entry: Entry, request: &ApprovalRequest) -> Entry {
    let call = &request.approval.call;
    let mut entry = Entry {
        actor_chain: request.actors.clone(),
        agent: Some(call.agent.to_string()),
        approval: Some(request.approval.id.to_string()),
        decision_id: Some(request.decision.clone()),
        server: Some(call.server.to_string()),
        subject: Some(call.subject.clone()),
        tool: Some(call.tool.clone()),
        tool_digest: Some(hex(&call.definition)),
        trace_id: request.trace_id.clone(),
        ..entry
    };
    entry.detail.insert("approvers".to_owned(), call.terms.needed().to_string());
    entry
}

fn standing(approval: &Approval, now_s: u64) -> ApprovalAnswer {
    let refusal = approval.standing(now_s);
    let because = match &approval.state {
        ApprovalState::Denied { word } => Some(word.reason.clone()),
        ApprovalState::Approved { .. }
        | ApprovalState::Expired
        | ApprovalState::Pending { .. }
        | ApprovalState::Used { .. } => None,
    };
    let (approval, expires_s) = (Some(approval.id.clone()), Some(approval.expires_s));
    ApprovalAnswer { approval, expires_s, reason: refusal.reason(), because }
}

fn no(reason: ReasonCode) -> ApprovalAnswer {
    ApprovalAnswer { approval: None, expires_s: None, reason, because: None }
}

impl From<ApprovalRefusal> for Refusal {
    fn from(refusal: ApprovalRefusal) -> Self {
        Self::Approval(refusal)
    }
}

/// Who did what nobody asked for.
const BY: &str = "attorn";
/// Arguments may hold anything: they are kept as long as somebody may ask what was approved.
const ARGUMENTS_KEPT_S: u64 = 30 * 24 * 3600;
const TEXT_BYTES_MAX: usize = 4096;
