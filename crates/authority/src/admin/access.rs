//! Why a call was decided as it was, and whether it would pass now.

use attorn_audit::Kind;
use attorn_policy::{Operation, Outcome, Request, Step, explain};
use attorn_registry::{AgentId, McpServer, ScopeSet, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::audit::entries_of_decision;
use super::context::Context;
use super::refusal::{Missing, Refusal};
use crate::shared::Shared;

/// A call to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallAsked {
    /// Name or identifier.
    agent: String,
    /// Name or identifier.
    server: String,
    /// The exact name, or `@resources` or `@prompts`.
    tool: String,
    /// The arguments the call would have.
    #[schema(value_type = Object)]
    arguments: Option<Box<RawValue>>,
}

/// The steps of a decision, also those past the first failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// Whether the call would pass with the registry as it is now.
    allowed: bool,
    /// What the journal says was decided then.
    decision: Option<String>,
    /// The reason code of then.
    reason: Option<String>,
    agent: String,
    server: String,
    tool: String,
    /// Judged with the registry as it is now.
    steps: Vec<StepView>,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    number: usize,
    name: &'static str,
    /// `ok`, `fail`, `would_deny`, `would_pass` or `not_evaluated`.
    #[schema(value_type = String)]
    outcome: Outcome,
    detail: String,
}

/// What a call is about.
struct Call<'a> {
    agent: &'a AgentId,
    server: &'a McpServer,
    tool: &'a str,
    arguments: Option<&'a str>,
}

pub(crate) async fn can_i(context: Context, asked: CallAsked) -> Result<Explanation, Refusal> {
    let agent = context.agent(&asked.agent)?;
    let server = context.server(&asked.server)?;
    let arguments = asked.arguments.as_ref().map(|raw| raw.get()).filter(|raw| *raw != "null");
    let call = Call { agent: &agent.id, server, tool: &asked.tool, arguments };
    let steps = steps(&context.shared, &context.snapshot, &call, None, context.now_s());
    Ok(Explanation {
        allowed: steps.iter().all(|step| step.outcome == Outcome::Ok),
        decision: None,
        reason: None,
        agent: agent.name.to_string(),
        server: server.name.to_string(),
        tool: asked.tool,
        steps,
    })
}

/// Explains a recorded decision. Arguments are in the journal as digests only, so rules about them
/// are judged without.
pub(crate) async fn explain_decision(context: Context) -> Result<Explanation, Refusal> {
    let entries = entries_of_decision(&context, context.segment("decision")).await?;
    // The token of the call was decided on as well; its issuance tells what it held.
    let (issued, own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.kind == Kind::TokenIssued);
    let token_scope = issued.iter().find_map(|entry| ScopeSet::parse(entry.scope.as_deref()?).ok());
    let entry = own
        .into_iter()
        .find(|entry| entry.decision.is_some() && entry.server.is_some())
        .ok_or(Refusal::Missing(Missing::Decision))?;
    let agent_text = entry.agent.as_ref().or(entry.client_id.as_ref());
    let agent = context.agent(agent_text.map_or("", String::as_str))?;
    let server = context.server(entry.server.as_deref().unwrap_or_default())?;
    let tool = entry.tool.clone().unwrap_or_default();
    let call = Call { agent: &agent.id, server, tool: &tool, arguments: None };
    let steps =
        steps(&context.shared, &context.snapshot, &call, token_scope.as_ref(), context.now_s());
    Ok(Explanation {
        allowed: steps.iter().all(|step| step.outcome == Outcome::Ok),
        decision: entry.decision.map(|decision| decision.as_str().to_owned()),
        reason: entry.reason,
        agent: agent.name.to_string(),
        server: server.name.to_string(),
        tool,
        steps,
    })
}

/// Walks all steps. Without a token's scope, the one a fresh token would have.
fn steps(
    shared: &Shared,
    snapshot: &Snapshot,
    call: &Call<'_>,
    token_scope: Option<&ScopeSet>,
    now_s: u64,
) -> Vec<StepView> {
    let policies = shared.policies.load();
    let fresh = snapshot.effective_scopes(call.agent, &call.server.id, now_s);
    let request = Request {
        snapshot,
        policies: &policies,
        server: call.server,
        agent: call.agent,
        token_scope: token_scope.unwrap_or(&fresh),
        token_jti: "",
        token_key: None,
        token_details: None,
        token_epoch: snapshot.epoch,
        operation: match call.tool {
            "@resources" => Operation::Resources,
            "@prompts" => Operation::Prompts,
            tool => Operation::Tool(tool),
        },
        arguments: call.arguments,
        now_s,
    };
    explain(&request).into_iter().map(StepView::of).collect()
}

impl StepView {
    fn of(step: Step) -> Self {
        Self { number: step.number, name: step.name, outcome: step.outcome, detail: step.detail }
    }
}
