//! Whether a call would pass now.

use attorn_policy::{Operation, Outcome, Request, Step, explain};
use attorn_registry::{AgentId, Holder, McpServer, PersonId, ScopeSet, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::context::Context;
use super::refusal::Refusal;
use crate::shared::Shared;

/// A call to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallAsked {
    /// Name or identifier.
    agent: String,
    /// The person it acts for, by name or identifier; absent: it acts for itself.
    person: Option<String>,
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
    pub(crate) allowed: bool,
    /// What the journal says was decided then.
    pub(crate) decision: Option<String>,
    /// The reason code of then.
    pub(crate) reason: Option<String>,
    pub(crate) agent: String,
    pub(crate) server: String,
    pub(crate) tool: String,
    /// When it was decided, in Unix milliseconds.
    pub(crate) time_ms: Option<u64>,
    /// The version of the policies that decided.
    pub(crate) policy_version: Option<u64>,
    /// What each factor of the effective right says.
    pub(crate) effective: Option<String>,
    pub(crate) steps: Vec<StepView>,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    /// `ok`, `fail`, `would_deny`, `would_pass` or `not_evaluated`.
    #[schema(value_type = String)]
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
    /// `recorded` when the journal says so, `present` when it is judged with the registry as it is
    /// now, `none` when there is nothing to say.
    pub(crate) basis: Option<&'static str>,
    /// How the step would go now, where that is not how it went.
    pub(crate) now: Option<String>,
}

/// What a call is about.
struct Call<'a> {
    agent: &'a AgentId,
    person: Option<&'a PersonId>,
    server: &'a McpServer,
    tool: &'a str,
    arguments: Option<&'a str>,
}

pub(crate) async fn can_i(context: Context, asked: CallAsked) -> Result<Explanation, Refusal> {
    let agent = context.agent(&asked.agent)?;
    let server = context.server(&asked.server)?;
    let arguments = asked.arguments.as_ref().map(|raw| raw.get()).filter(|raw| *raw != "null");
    let person = asked.person.as_deref().map(|text| context.person(text)).transpose()?;
    let person = person.map(|person| &person.id);
    let call = Call { agent: &agent.id, person, server, tool: &asked.tool, arguments };
    let steps = steps(&context.shared, &context.snapshot, &call, None, context.now_s());
    Ok(Explanation {
        allowed: steps.iter().all(|step| step.outcome == Outcome::Ok),
        decision: None,
        reason: None,
        agent: agent.name.to_string(),
        server: server.name.to_string(),
        tool: asked.tool,
        time_ms: None,
        policy_version: None,
        effective: None,
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
    let holder = Holder { agent: call.agent, person: call.person };
    // Who may not act is explained by the steps.
    let fresh = snapshot.held_scopes(holder, &call.server.id, now_s).unwrap_or_default();
    let request = Request {
        snapshot,
        policies: &policies,
        server: call.server,
        agent: call.agent,
        person: call.person,
        token_scope: token_scope.unwrap_or(&fresh),
        token_jti: "",
        token_key: None,
        token_details: None,
        token_epoch: snapshot.epoch,
        token_issued_s: u64::MAX,
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
        let Step { number, name, outcome, detail } = step;
        Self { number, name, outcome, detail, basis: None, now: None }
    }
}
