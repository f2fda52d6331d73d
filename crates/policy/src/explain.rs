//! All steps of a decision, also those past the first failure.

use attorn_registry::ReasonCode;
use serde::Serialize;

use crate::decide::{Denial, Request, Visibility};
use crate::steps::{Facts, Mode, STEPS, Stop};

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Place among the steps, from 1.
    pub number: usize,
    /// What the step looks at.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, in a few words.
    pub detail: String,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It is the one that decided.
    Fail,
    /// After the deciding one: it would have denied as well.
    WouldDeny,
    /// After the deciding one: it would have passed.
    WouldPass,
    /// An earlier step left nothing to judge.
    NotEvaluated,
}

/// Explains the decision that [`crate::decide()`] takes on the same request. For owners and
/// investigators: it tells more than a caller may know.
#[must_use]
pub fn explain(request: &Request<'_>) -> Vec<Step> {
    let mut facts = Facts::new(Mode::Call);
    let mut failed = false;
    let mut steps = Vec::with_capacity(STEPS.len());
    for (number, rule) in (1..).zip(STEPS) {
        let (outcome, detail) = match (rule.run)(request, &mut facts) {
            Ok(()) => {
                let outcome = if failed { Outcome::WouldPass } else { Outcome::Ok };
                (outcome, (rule.detail)(request, &facts))
            }
            Err(Stop::Denied(denial)) => {
                let outcome = if failed { Outcome::WouldDeny } else { Outcome::Fail };
                failed = true;
                (outcome, detail_of(&denial, request, &facts))
            }
            Err(Stop::NotEvaluated) => (Outcome::NotEvaluated, String::new()),
        };
        steps.push(Step { number, name: rule.name, outcome, detail });
    }
    steps
}

fn detail_of(denial: &Denial, request: &Request<'_>, facts: &Facts<'_>) -> String {
    let what = match (denial.reason, &facts.scope) {
        (ReasonCode::ScopeMissing, Some(scope)) => {
            format!("needs {scope}; the token has: {}", request.token_scope)
        }
        (ReasonCode::ApprovalPending, _) => {
            let waits = match &denial.visibility {
                Visibility::Waits(waiting) => waiting.pending.as_ref().map(|(id, _)| id.as_str()),
                Visibility::Hidden | Visibility::StepUp(_) | Visibility::Told => None,
            };
            format!("{}, {}", denial.reason.meaning(), waits.unwrap_or("-"))
        }
        _ => denial.reason.meaning().to_owned(),
    };
    let rule = denial.rule.as_ref().map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
    format!("{}: {what}{rule}", denial.reason)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
