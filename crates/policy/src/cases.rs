//! Tests of policies: a file of cases, each with the answer it expects.
//!
//! A case asks the policies alone, about a call at an MCP server or about a hop to an API. Grants,
//! tokens, locks and approvals are not part of it, because a policy is only asked when they all hold,
//! and an approval is asked for after it.

use std::collections::BTreeSet;

use attorn_json::{JsonError, Limits, ShapeError, parse};
use attorn_registry::{
    AgentKind, Class, LifeCycle, Name, OperationId, Person, PersonId, ResourceRefusal, Role, Scope,
    ScopeTarget,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cedar::{Question, Verdict};
use crate::compile::PolicySet;
use crate::decide::Operation;
use crate::hop::HopQuestion;

/// Why a file of cases is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TestsError {
    /// A case is about nothing, about two things, or says what has no meaning there.
    #[error("case `{name}`: {problem}")]
    Case {
        /// The name in the file.
        name: String,
        /// What is wrong.
        problem: CaseProblem,
    },
    /// It is not strict JSON.
    #[error("the tests are not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// It has other members.
    #[error("the tests have another shape: {0}")]
    Shape(#[from] ShapeError),
}

/// Why a case asks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseProblem {
    /// `api` without `operation`, or the other way round.
    #[error("`api` and `operation` come together")]
    ApiAlone,
    /// A tool and an operation.
    #[error("a case is about a `tool`, or about an `operation` of an `api`, and not about both")]
    Both,
    /// An operation whose name no operation can have.
    #[error("{0}")]
    OperationName(ResourceRefusal),
    /// Neither a tool nor an operation.
    #[error("a case is about a `tool`, or about an `operation` of an `api`: it has neither")]
    Neither,
    /// A member that says nothing about what the case asks.
    #[error("`{member}` says nothing about {about}")]
    Unused {
        /// The member.
        member: &'static str,
        /// A call or a hop.
        about: &'static str,
    },
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

/// A call: `{name, agent, kind?, owner?, person?, server, server_owner?, tool, class, arguments?, now?,
/// expect, rule?}`; `tool` may be `@resources` or `@prompts`.
///
/// A hop: `{name, agent, person?, server, server_owner?, api, api_owner?, operation, class, now?, expect,
/// rule?}`; `agent` is whom the server acts for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'a> {
    name: String,
    agent: Name,
    kind: Option<AgentKind>,
    owner: Option<Name>,
    person: Option<CasePerson>,
    server: Name,
    server_owner: Option<Name>,
    tool: Option<String>,
    api: Option<Name>,
    api_owner: Option<Name>,
    operation: Option<String>,
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
    fn record(&self) -> Person {
        Person {
            id: PersonId::from_random(&[0; 16]),
            name: self.name.clone(),
            display_name: None,
            state: LifeCycle::Active,
            roles: self.roles.clone(),
            groups: self.groups.clone(),
            external: None,
            provided: attorn_registry::Provided::default(),
            created_s: 0,
            stop_ended_s: None,
        }
    }
}

/// Runs a file of cases, `{"cases": [...]}`, in its order.
///
/// # Errors
/// The file cannot be read, or a case asks nothing. A case that fails is an outcome, not an error.
pub fn run_tests(policies: &PolicySet, tests: &[u8]) -> Result<Vec<CaseOutcome>, TestsError> {
    let file: CaseFile<'_> = parse(tests, &Limits::CONFIG)?.to()?;
    file.cases.into_iter().map(|case| run(policies, case)).collect()
}

fn run(policies: &PolicySet, case: Case<'_>) -> Result<CaseOutcome, TestsError> {
    let person = case.person.as_ref().map(CasePerson::record);
    let verdict = match case.about() {
        Ok(About::Call(tool)) => call(policies, &case, person.as_ref(), tool),
        Ok(About::Hop(api, operation)) => {
            hop(policies, &case, person.as_ref(), (api.as_str(), operation.as_str()))
        }
        Err(problem) => return Err(TestsError::Case { name: case.name, problem }),
    };
    let observed = match verdict {
        Verdict::Error { rule } => Observed { answer: Answer::Error, rule },
        Verdict::Forbid { rule } => Observed { answer: Answer::Forbid, rule: Some(rule) },
        Verdict::NoPermit => Observed { answer: Answer::NoPermit, rule: None },
        Verdict::Permit { rule, terms: _ } => Observed { answer: Answer::Permit, rule: Some(rule) },
    };
    let same_rule = case.rule.is_none() || case.rule == observed.rule;
    Ok(CaseOutcome {
        passed: case.expect == observed.answer && same_rule,
        name: case.name,
        expected: case.expect,
        expected_rule: case.rule,
        observed,
    })
}

/// What a case asks about.
enum About<'c> {
    Call(&'c str),
    Hop(&'c Name, OperationId),
}

impl Case<'_> {
    fn about(&self) -> Result<About<'_>, CaseProblem> {
        let unused = |members: &[(&'static str, bool)], about| {
            let found = members.iter().find(|(_, is_there)| *is_there);
            found.map_or(Ok(()), |&(member, _)| Err(CaseProblem::Unused { member, about }))
        };
        match (&self.tool, &self.api, &self.operation) {
            (Some(tool), None, None) => {
                unused(&[("api_owner", self.api_owner.is_some())], "a call at an MCP server")?;
                Ok(About::Call(tool))
            }
            (None, Some(api), Some(operation)) => {
                let of_calls = [
                    ("arguments", self.arguments.is_some()),
                    ("kind", self.kind.is_some()),
                    ("owner", self.owner.is_some()),
                ];
                unused(&of_calls, "a hop to an API")?;
                let operation = OperationId::parse(operation);
                Ok(About::Hop(api, operation.map_err(CaseProblem::OperationName)?))
            }
            (None, None, None) => Err(CaseProblem::Neither),
            (None, Some(_), None) | (None, None, Some(_)) => Err(CaseProblem::ApiAlone),
            (Some(_), _, _) => Err(CaseProblem::Both),
        }
    }
}

fn call(policies: &PolicySet, case: &Case<'_>, person: Option<&Person>, tool: &str) -> Verdict {
    let (operation, target) = match tool {
        "@prompts" => (Operation::Prompts, ScopeTarget::Prompts),
        "@resources" => (Operation::Resources, ScopeTarget::Resources),
        tool => (Operation::Tool(tool), ScopeTarget::Tool(tool.to_owned())),
    };
    policies.evaluate(&Question {
        kind: case.kind.unwrap_or(AgentKind::Agent),
        agent: case.agent.as_str(),
        agent_owner: case.owner.as_ref().map_or("", Name::as_str),
        person,
        server: case.server.as_str(),
        server_owner: case.server_owner.as_ref().map_or("", Name::as_str),
        is_builtin: case.server.as_str() == "admin",
        operation,
        class: case.class,
        scope: &Scope { class: case.class, tool: target },
        arguments: case.arguments.map(RawValue::get),
        now_s: case.now,
    })
}

fn hop(
    policies: &PolicySet,
    case: &Case<'_>,
    person: Option<&Person>,
    (api, operation): (&str, &str),
) -> Verdict {
    policies.evaluate_hop(&HopQuestion {
        server: case.server.as_str(),
        server_owner: case.server_owner.as_ref().map_or("", Name::as_str),
        api,
        api_owner: case.api_owner.as_ref().map_or("", Name::as_str),
        operation,
        scope: &Scope::of_tool(case.class, operation),
        agent: case.agent.as_str(),
        person,
        now_s: case.now,
    })
}

#[cfg(test)]
#[path = "cases_tests.rs"]
mod tests;
