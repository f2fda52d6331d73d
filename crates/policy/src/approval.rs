//! The last step: calls that a person has to see before they are made.

use attorn_registry::{AgentKind, ApprovalCall, Class, ReasonCode, approval_arguments};

use crate::decide::{Denial, GivenApproval, Request, Visibility, Waiting};
use crate::steps::{Facts, Mode, Stop, tool_of};

/// Whether a person has to see the call first, and whether one did.
pub(crate) fn approval<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let class = facts.class.ok_or(Stop::NotEvaluated)?;
    // An operator who administers is the person whose approval would be asked for.
    let by_a_person = request.server.is_builtin()
        && facts.agent.is_some_and(|agent| agent.kind == AgentKind::Operator);
    let terms = match class {
        Class::Read | Class::Write => facts.terms,
        Class::Irreversible => Some(facts.terms.unwrap_or_default()),
    };
    let Some(terms) = terms.filter(|_| !by_a_person && facts.mode == Mode::Call) else {
        return Ok(());
    };
    let required = || Denial::told(ReasonCode::ApprovalRequired);
    // Nobody is asked about these: the administration has its own rules, and the rest no arguments.
    let Some(tool) = tool_of(request).filter(|_| !request.server.is_builtin()) else {
        return Err(required().into());
    };
    let definition = request.server.tools.get(tool).map(|tool| tool.digest);
    let definition = definition.ok_or_else(required)?;
    let arguments = approval_arguments(request.arguments);
    let (_, arguments) = arguments.ok_or_else(|| Denial::told(ReasonCode::RequestMalformed))?;
    let call = ApprovalCall {
        agent: request.agent.clone(),
        subject: request.person.map_or_else(|| request.agent.to_string(), ToString::to_string),
        server: request.server.id.clone(),
        tool: tool.to_owned(),
        definition,
        arguments,
        terms,
    };
    let pending = match request.snapshot.approval_for(&call, request.now_s) {
        Some(approval) if approval.is_usable(request.now_s) => {
            facts.approval = Some(Box::new(GivenApproval { id: approval.id.clone(), call }));
            return Ok(());
        }
        Some(approval) => Some((approval.id.clone(), approval.expires_s)),
        None => None,
    };
    let reason = match pending {
        Some(_) => ReasonCode::ApprovalPending,
        None => ReasonCode::ApprovalRequired,
    };
    let visibility = Visibility::Waits(Box::new(Waiting { call, class, pending }));
    Err(Denial { reason, visibility, rule: facts.rule.clone() }.into())
}

pub(crate) fn approval_detail(_request: &Request<'_>, facts: &Facts<'_>) -> String {
    let approval = facts.approval.as_ref();
    approval.map_or_else(|| "none needed".to_owned(), |it| format!("approved as {}", it.id))
}
