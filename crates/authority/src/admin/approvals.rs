//! Calls that wait for a person: what is asked, and what a person says.
//!
//! An approver sees the exact text of the arguments, the tool as its owner approved it, and what
//! the agent did with it before. Nobody approves their own request; who is excluded stands in the
//! record from the moment of the request.

use attorn_audit::{Decision, Entry, Kind};
use attorn_registry::{
    AgentKind, Approval, ApprovalAnswer, ApprovalCall, ApprovalId, ApprovalRefusal,
    ApprovalRequest, ApprovalState, AskedCall, OwnerId, Snapshot, Tool, Word,
};
use attorn_store::index::Filter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::approval_desk::{self as desk, Asking, SaidWord, Saying};
use super::context::{Context, Effect, name_of};
use super::list::List;
use super::reason::Reason;
use super::refusal::{Missing, Refusal};
use super::tools::hex;
use crate::search::Search;
use crate::shared::Shared;

/// Which approvals to list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalFilter {
    /// `pending`, `approved`, `denied`, `used` or `expired`; all if absent.
    state: Option<String>,
}

/// A call that waits, or waited, for a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalView {
    pub(crate) id: String,
    /// `pending`, `approved`, `denied`, `used` or `expired`.
    pub(crate) state: &'static str,
    pub(crate) agent: String,
    /// For whom the agent acts.
    pub(crate) subject: String,
    pub(crate) server: String,
    pub(crate) tool: String,
    pub(crate) asked_s: u64,
    /// First second at which it does not count any more.
    pub(crate) expires_s: u64,
    /// How many persons have to approve.
    pub(crate) needed: usize,
    /// What was said so far.
    pub(crate) words: Vec<WordView>,
}

/// What one person said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WordView {
    pub(crate) by: String,
    pub(crate) at_s: u64,
    pub(crate) reason: String,
}

/// Everything an approver needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalDetails {
    #[serde(flatten)]
    pub(crate) approval: ApprovalView,
    /// The arguments as they will be sent: RFC 8785, nothing added and nothing left out. Empty once
    /// they are forgotten.
    pub(crate) arguments: String,
    /// SHA-256 of that text.
    pub(crate) arguments_sha256: String,
    /// The actors of the token, the latest first.
    pub(crate) actors: Option<String>,
    /// Whose approval does not count.
    pub(crate) excluded: Vec<String>,
    /// The decision that refused the call.
    pub(crate) decision: String,
    pub(crate) trace_id: Option<String>,
    /// The gateway that asked.
    pub(crate) asked_by: String,
    /// The decision under which it was used.
    pub(crate) used_by: Option<String>,
    /// The class of the tool, as its owner confirmed it.
    pub(crate) class: Option<&'static str>,
    /// The title the server gives the tool. The server's words, not ours.
    pub(crate) tool_title: Option<String>,
    /// The description the server gives the tool. The server's words, not ours.
    pub(crate) tool_description: Option<String>,
    /// What the server says of itself about the tool.
    #[schema(value_type = Option<Object>)]
    pub(crate) tool_annotations: Option<Value>,
    pub(crate) tool_digest: String,
    /// Whether the tool still is what it was when the call was made; without that it is not made.
    pub(crate) tool_unchanged: bool,
    /// The last decisions about this agent and this tool, newest first.
    pub(crate) earlier: Vec<EarlierCall>,
}

/// An earlier decision about the same agent and tool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EarlierCall {
    pub(crate) time_ms: u64,
    pub(crate) decision_id: Option<String>,
    /// `permit` or `deny`.
    pub(crate) decision: Option<&'static str>,
    pub(crate) reason: Option<String>,
    pub(crate) approval: Option<String>,
}

/// A call that a gateway asks about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalAsked {
    /// The call, as gateways write it.
    #[schema(value_type = Object)]
    asked: Box<RawValue>,
}

/// Where an asked call stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalStands {
    /// The answer, as gateways read it.
    #[schema(value_type = Object)]
    answer: ApprovalAnswer,
}

/// An approval to use up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalUse {
    /// The call, as gateways write it.
    #[schema(value_type = Object)]
    call: Box<RawValue>,
    /// The decision under which the call is to be made.
    decision: String,
}

/// Whether an approval was used up for the call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalUsed {
    used: bool,
    /// Why not.
    reason: Option<&'static str>,
}

pub(crate) async fn list(
    context: Context,
    filter: ApprovalFilter,
) -> Result<List<ApprovalView>, Refusal> {
    let state = filter.state.as_deref();
    if state.is_some_and(|state| !STATES.contains(&state)) {
        return Err(Refusal::Form);
    }
    let requests = context.shared.store.approvals(state).await?;
    let (snapshot, now_s) = (&context.snapshot, context.now_s());
    Ok(requests.iter().map(|one| ApprovalView::of(snapshot, &one.approval, now_s)).collect())
}

pub(crate) async fn show(context: Context) -> Result<ApprovalDetails, Refusal> {
    let request = named(&context).await?;
    ApprovalDetails::of(&context.shared, &context.snapshot, request, context.now_s()).await
}

pub(crate) async fn approve(
    context: Context,
    reason: Reason,
) -> Result<Effect<ApprovalView>, Refusal> {
    say(&context, reason, SaidWord::Yes).await
}

pub(crate) async fn deny(
    context: Context,
    reason: Reason,
) -> Result<Effect<ApprovalView>, Refusal> {
    say(&context, reason, SaidWord::No).await
}

async fn say(
    context: &Context,
    reason: Reason,
    word: SaidWord,
) -> Result<Effect<ApprovalView>, Refusal> {
    let reason = reason.text()?;
    let request = named(context).await?;
    // Who is behind an owner changes: what counts is who is there when the word is said.
    let who = context.snapshot.approver(&context.operator.id, &request.approval.call);
    let entry = context.fact(Kind::AdminChanged);
    let saying = Saying { who, word, reason, entry, now_s: context.now_s() };
    let approval = desk::say(&context.shared, &request, saying).await?;
    let output = ApprovalView::of(&context.snapshot, &approval, context.now_s());
    Ok(Effect { output, facts: Vec::new() })
}

/// For gateways: where a call stands. Asked again, the same call has the same request.
pub(crate) async fn ask(
    context: Context,
    asked: ApprovalAsked,
) -> Result<Effect<ApprovalStands>, Refusal> {
    gateway_only(&context)?;
    let asked: AskedCall = serde_json::from_str(asked.asked.get()).map_err(|_| Refusal::Form)?;
    let answer = asking(&context).ask(asked).await?;
    Ok(Effect { output: ApprovalStands { answer }, facts: Vec::new() })
}

/// For gateways: uses an approval up, once over all of them.
pub(crate) async fn use_up(
    context: Context,
    asked: ApprovalUse,
) -> Result<Effect<ApprovalUsed>, Refusal> {
    gateway_only(&context)?;
    let id = approval_id(&context)?;
    let call: ApprovalCall = serde_json::from_str(asked.call.get()).map_err(|_| Refusal::Form)?;
    let used = asking(&context).use_up(&id, &call, &asked.decision).await?;
    let reason = used.err().map(attorn_registry::ReasonCode::as_str);
    Ok(Effect { output: ApprovalUsed { used: used.is_ok(), reason }, facts: Vec::new() })
}

fn asking(context: &Context) -> Asking<'_> {
    Asking { shared: &context.shared, gateway: &context.operator.name, now_ms: context.now_ms }
}

/// What gateways say is not said by a person, whatever their scope.
fn gateway_only(context: &Context) -> Result<(), Refusal> {
    let kind = context.snapshot.agent(&context.operator.id).map(|agent| agent.kind);
    match kind {
        Some(AgentKind::Gateway) => Ok(()),
        Some(AgentKind::Agent | AgentKind::Client | AgentKind::Operator) | None => {
            Err(Refusal::Approval(ApprovalRefusal::NotAPerson))
        }
    }
}

fn approval_id(context: &Context) -> Result<ApprovalId, Refusal> {
    let id = ApprovalId::parse(context.segment("approval"));
    id.map_err(|_| Refusal::Missing(Missing::Approval))
}

async fn named(context: &Context) -> Result<ApprovalRequest, Refusal> {
    let request = context.shared.store.approval(&approval_id(context)?).await?;
    request.ok_or(Refusal::Missing(Missing::Approval))
}

/// The last decisions about an agent and a tool.
async fn earlier(shared: &Shared, call: &ApprovalCall) -> Result<Vec<EarlierCall>, Refusal> {
    let filter = Filter {
        agent: Some(call.agent.to_string()),
        server: Some(call.server.to_string()),
        tool: Some(call.tool.clone()),
        kind: Some(Kind::CallDecided.as_str().to_owned()),
        ..Filter::default()
    };
    let search = Search { filter, from: 0, before: u64::MAX, limit: EARLIER_MAX };
    let found = search.run(shared).await?;
    let entry = |bytes: &[u8]| Entry::parse(bytes).map_err(|_| Refusal::JournalUnavailable);
    found.iter().map(|(_, bytes)| entry(bytes).map(EarlierCall::of)).collect()
}

impl EarlierCall {
    fn of(entry: Entry) -> Self {
        Self {
            time_ms: entry.time_ms,
            decision_id: entry.decision_id,
            decision: entry.decision.map(Decision::as_str),
            reason: entry.reason,
            approval: entry.approval,
        }
    }
}

impl WordView {
    fn of(snapshot: &Snapshot, word: &Word) -> Self {
        let by = name_of(snapshot, &word.by);
        Self { by, at_s: word.at_s, reason: word.reason.clone() }
    }
}

impl ApprovalView {
    fn of(snapshot: &Snapshot, approval: &Approval, now_s: u64) -> Self {
        let call = &approval.call;
        let agent = snapshot.agent(&call.agent).map(|agent| agent.name.to_string());
        let server = snapshot.server(&call.server).map(|server| server.name.to_string());
        let words: Vec<&Word> = match &approval.state {
            ApprovalState::Pending { first } => first.iter().collect(),
            ApprovalState::Approved { by } | ApprovalState::Used { by, .. } => by.iter().collect(),
            ApprovalState::Denied { word } => vec![word],
            ApprovalState::Expired => Vec::new(),
        };
        // Past its end it does not wait any more, whether or not somebody noted that.
        let is_expired = approval.expire(now_s).is_some();
        Self {
            id: approval.id.to_string(),
            state: if is_expired {
                ApprovalState::Expired.as_str()
            } else {
                approval.state.as_str()
            },
            agent: agent.unwrap_or_else(|| call.agent.to_string()),
            subject: name_of(snapshot, &call.subject),
            server: server.unwrap_or_else(|| call.server.to_string()),
            tool: call.tool.clone(),
            asked_s: approval.asked_s,
            expires_s: approval.expires_s,
            needed: call.terms.needed(),
            words: words.into_iter().map(|word| WordView::of(snapshot, word)).collect(),
        }
    }
}

impl ApprovalDetails {
    pub(crate) async fn of(
        shared: &Shared,
        snapshot: &Snapshot,
        request: ApprovalRequest,
        now_s: u64,
    ) -> Result<Self, Refusal> {
        let approval = &request.approval;
        let call = &approval.call;
        let server = snapshot.server(&call.server);
        let tool = server.and_then(|server| server.tools.get(&call.tool));
        let is_as_asked = |tool: &&Tool| tool.digest == call.definition;
        let definition = tool.filter(is_as_asked).map(|tool| tool.definition.as_str());
        let definition: Value =
            definition.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let text = |name: &str| Some(definition.get(name)?.as_str()?.to_owned());
        let used_by = match &approval.state {
            ApprovalState::Used { decision, .. } => Some(decision.clone()),
            ApprovalState::Approved { .. }
            | ApprovalState::Denied { .. }
            | ApprovalState::Expired
            | ApprovalState::Pending { .. } => None,
        };
        let class = tool.and_then(|tool| tool.approved.as_ref());
        Ok(Self {
            earlier: earlier(shared, call).await?,
            arguments_sha256: hex(&call.arguments),
            excluded: approval.excluded.iter().map(|id| excluded_name(snapshot, id)).collect(),
            class: class.map(|it| it.class_of(Some(&request.arguments)).as_str()),
            tool_title: text("title"),
            tool_description: text("description"),
            tool_annotations: definition.get("annotations").cloned(),
            tool_digest: hex(&call.definition),
            tool_unchanged: tool.is_some_and(|tool| is_as_asked(&tool)),
            approval: ApprovalView::of(snapshot, approval, now_s),
            actors: request.actors,
            decision: request.decision,
            trace_id: request.trace_id,
            asked_by: request.asked_by,
            used_by,
            arguments: request.arguments,
        })
    }
}

fn excluded_name(snapshot: &Snapshot, id: &str) -> String {
    let owner = OwnerId::parse(id).ok().and_then(|id| snapshot.owner(&id));
    owner.map_or_else(|| name_of(snapshot, id), |owner| owner.name.to_string())
}

const STATES: [&str; 5] = ["pending", "approved", "denied", "used", "expired"];
/// So many earlier decisions are shown.
const EARLIER_MAX: usize = 10;
