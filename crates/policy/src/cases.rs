//! Tests of policies: a file of cases, each with the answer it expects.
//!
//! A case asks the policies alone. Grants, tokens and locks are not part of it, because a policy
//! is only asked when they all hold.

use std::collections::BTreeSet;

use attorn_json::{JsonError, Limits, ShapeError, parse};
use attorn_registry::{
    AgentKind, Class, LifeCycle, Name, Person, PersonId, Role, Scope, ScopeTarget,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cedar::{Question, Verdict};
use crate::compile::PolicySet;
use crate::decide::Operation;

/// Why a file of cases is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TestsError {
    /// It is not strict JSON.
    #[error("the tests are not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// It has other members.
    #[error("the tests have another shape: {0}")]
    Shape(#[from] ShapeError),
}

/// What a policy answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// `permit`, `forbid`, `no_permit` or `error`.
    pub answer: Answer,
    /// The deciding rule.
    pub rule: Option<String>,
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseOutcome {
    /// The name in the file.
    pub name: String,
    /// Whether the answer is the expected one.
    pub passed: bool,
    /// What was expected, in the words of the file.
    pub expected: Answer,
    /// The rule that was expected to decide, if the file says one.
    pub expected_rule: Option<String>,
    /// What was answered.
    pub observed: Observed,
}

/// The answer of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A policy could not be evaluated.
    Error,
    /// A rule forbids.
    Forbid,
    /// No rule permits.
    NoPermit,
    /// A rule permits and none forbids.
    Permit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile<'a> {
    #[serde(borrow)]
    cases: Vec<Case<'a>>,
}

/// `{name, agent, kind?, owner?, person?, server, server_owner?, tool, class, arguments?, now?, expect,
/// rule?}`; `tool` may be `@resources` or `@prompts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'a> {
    name: String,
    agent: Name,
    #[serde(default = "agent_kind")]
    kind: AgentKind,
    owner: Option<Name>,
    person: Option<CasePerson>,
    server: Name,
    server_owner: Option<Name>,
    tool: String,
    class: Class,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(default)]
    now: u64,
    expect: Answer,
    rule: Option<String>,
}

/// Whom the agent acts for, as `context.person`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasePerson {
    name: Name,
    #[serde(default)]
    groups: BTreeSet<Name>,
    #[serde(default)]
    roles: BTreeSet<Role>,
}

impl CasePerson {
    fn record(self) -> Person {
        Person {
            id: PersonId::from_random(&[0; 16]),
            name: self.name,
            display_name: None,
            state: LifeCycle::Active,
            roles: self.roles,
            groups: self.groups,
            external: None,
            provided: attorn_registry::Provided::default(),
            created_s: 0,
            stop_ended_s: None,
        }
    }
}

fn agent_kind() -> AgentKind {
    AgentKind::Agent
}

/// Runs a file of cases, `{"cases": [...]}`, in its order.
///
/// # Errors
/// The file cannot be read. A case that fails is an outcome, not an error.
pub fn run_tests(policies: &PolicySet, tests: &[u8]) -> Result<Vec<CaseOutcome>, TestsError> {
    let file: CaseFile<'_> = parse(tests, &Limits::CONFIG)?.to()?;
    Ok(file.cases.into_iter().map(|case| run(policies, case)).collect())
}

fn run(policies: &PolicySet, case: Case<'_>) -> CaseOutcome {
    let (operation, target) = match case.tool.as_str() {
        "@prompts" => (Operation::Prompts, ScopeTarget::Prompts),
        "@resources" => (Operation::Resources, ScopeTarget::Resources),
        tool => (Operation::Tool(tool), ScopeTarget::Tool(tool.to_owned())),
    };
    let scope = Scope { class: case.class, tool: target };
    let person = case.person.map(CasePerson::record);
    let verdict = policies.evaluate(&Question {
        kind: case.kind,
        agent: case.agent.as_str(),
        agent_owner: case.owner.as_ref().map_or("", Name::as_str),
        person: person.as_ref(),
        server: case.server.as_str(),
        server_owner: case.server_owner.as_ref().map_or("", Name::as_str),
        is_builtin: case.server.as_str() == "admin",
        operation,
        class: case.class,
        scope: &scope,
        arguments: case.arguments.map(RawValue::get),
        now_s: case.now,
    });
    let observed = match verdict {
        Verdict::Error { rule } => Observed { answer: Answer::Error, rule },
        Verdict::Forbid { rule } => Observed { answer: Answer::Forbid, rule: Some(rule) },
        Verdict::NoPermit => Observed { answer: Answer::NoPermit, rule: None },
        Verdict::Permit { rule, terms: _ } => Observed { answer: Answer::Permit, rule: Some(rule) },
    };
    let same_rule = case.rule.is_none() || case.rule == observed.rule;
    CaseOutcome {
        passed: case.expect == observed.answer && same_rule,
        name: case.name,
        expected: case.expect,
        expected_rule: case.rule,
        observed,
    }
}

#[cfg(test)]
#[path = "cases_tests.rs"]
mod tests;
