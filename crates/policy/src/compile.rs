//! Policies, parsed once and cut into slices so that a decision evaluates few of them.
//!
//! A policy whose scope names a server, or something of one, cannot match elsewhere. It lies in
//! that server's slice; a policy that names none lies in every slice but one: Attorn's own
//! administration is only subject to policies that name it, so that a rule meant for MCP servers
//! cannot lock everybody out.
//!
//! Hops to APIs have slices of their own, by the API. A policy whose scope has words of calls lies in
//! none of them, and one with words of hops in none of the others; see [`crate::reach`].

use std::collections::{BTreeSet, HashMap};

use attorn_registry::{AgentKind, ApprovalTerms, Class, PolicySource};
use cedar_policy::{Effect, ParseErrors, Policy, PolicyId};

use crate::analysis::{Problem, Reads, analyse};
use crate::cedar::Vocabulary;
use crate::memo::Memo;
use crate::reach::{Reach, reach_of};

/// Longest text of policies, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Rules of our own begin like this, and no others.
const OWN_PREFIX: &str = "attorn-";
const STARTER: &str = include_str!("starter.cedar");
const OWN: &str = include_str!("own.cedar");

/// Why a text of policies is not taken. All problems are told at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PolicyErrors {
    /// What is wrong, in the order of the text.
    pub problems: Vec<PolicyProblem>,
}

/// One thing that is wrong with a text of policies.
#[derive(Debug, thiserror::Error)]
pub enum PolicyProblem {
    /// A policy says something no request can fulfil.
    #[error("rule `{rule}`: {problem}")]
    Rule {
        /// The rule.
        rule: String,
        /// What it says.
        problem: Problem,
    },
    /// Two policies have the same `@id`.
    #[error("rule `{rule}` stands twice")]
    RuleRepeated {
        /// The rule.
        rule: String,
    },
    /// A name that is empty or begins with `attorn-`.
    #[error("`{rule}` is not a name for a rule: it is empty or begins with `attorn-`")]
    RuleReserved {
        /// The name.
        rule: String,
    },
    /// The text is longer than 1 MiB.
    #[error("the policies are longer than 1 MiB")]
    Size,
    /// The text is not Cedar.
    #[error("{0}")]
    Syntax(Box<ParseErrors>),
    /// A template, which nothing here would ever link.
    #[error("templates are not used here")]
    Template,
}

/// Compiled policies. The empty set permits nothing.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) vocabulary: Vocabulary,
    version: u64,
    rules: Vec<String>,
    own: Slice,
    calls: Slices,
    hops: Slices,
    /// The approval that a rule asks for, where it does.
    pub(crate) approvals: HashMap<PolicyId, ApprovalTerms>,
    /// What was decided about calls, and what about listings.
    pub(crate) memos: [Memo; 2],
    /// What was decided about hops.
    pub(crate) hop_memo: Memo,
}

/// One slice for each server or API that a policy names, and one for all others.
#[derive(Debug)]
struct Slices {
    by_name: HashMap<String, Slice>,
    everywhere: Slice,
}

/// The policies that can match at one server, or at one API.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// What decides a call.
    pub(crate) deciding: cedar_policy::PolicySet,
    /// What decides whether a tool is listed: no `forbid` that reads arguments, and each `permit`
    /// that does without its conditions.
    pub(crate) listing: cedar_policy::PolicySet,
    /// For each policy that reads arguments a permit with its scope and nothing else, so that the
    /// answer names every such policy that applies to a call.
    pub(crate) reading: cedar_policy::PolicySet,
    pub(crate) reads_by_rule: HashMap<PolicyId, Reads>,
    pub(crate) reads: Reads,
}

/// A policy with everything known about it.
struct Rule {
    policy: Policy,
    reads: Reads,
    reach: Reach,
    /// A permit with the scope of the policy and no conditions.
    bare: Policy,
    approval: Option<ApprovalTerms>,
}

impl PolicySet {
    /// Parses and slices policies.
    ///
    /// # Errors
    /// The text is not Cedar, or says what can never hold.
    pub fn compile(source: &PolicySource) -> Result<Self, PolicyErrors> {
        if source.text.len() > TEXT_BYTES_MAX {
            return Err(PolicyErrors { problems: vec![PolicyProblem::Size] });
        }
        let mut problems = Vec::new();
        let rules = read_rules(&source.text, &mut problems);
        let mut own_problems = Vec::new();
        let own_rules = read_rules(OWN, &mut own_problems);
        for Rule { policy, .. } in &rules {
            let rule = policy.id().to_string();
            if rule.is_empty() || rule.starts_with(OWN_PREFIX) {
                problems.push(PolicyProblem::RuleReserved { rule });
            }
        }
        if !problems.is_empty() {
            return Err(PolicyErrors { problems });
        }
        let of_calls = rules.iter().filter(|rule| rule.reach.calls).collect::<Vec<_>>();
        let of_hops = rules.iter().filter(|rule| rule.reach.hops).collect::<Vec<_>>();
        let names_admin = |rule: &&&Rule| rule.reach.place.as_deref() == Some("admin");
        let named = of_calls.iter().filter(names_admin).copied();
        let own = own_rules.iter().chain(named).collect::<Vec<_>>();
        Ok(Self {
            vocabulary: Vocabulary::new(),
            version: source.version,
            rules: rules.iter().map(|rule| rule.policy.id().to_string()).collect(),
            own: Slice::of(&own),
            calls: Slices::of(&of_calls),
            hops: Slices::of(&of_hops),
            approvals: rules
                .iter()
                .filter_map(|rule| Some((rule.policy.id().clone(), rule.approval?)))
                .collect(),
            memos: Default::default(),
            hop_memo: Memo::default(),
        })
    }

    /// The policies a new deployment starts with: granted calls are permitted.
    #[must_use]
    pub fn starter_text() -> &'static str {
        STARTER
    }

    /// The version of the text this was compiled from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The names of the rules in the order of the text.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// The slice for a server, or for Attorn's own administration.
    pub(crate) fn slice(&self, server: &str, is_builtin: bool) -> &Slice {
        if is_builtin {
            return &self.own;
        }
        self.calls.at(server)
    }

    /// The slice for an API. There is no other way from a hop to a policy, so those for Attorn's own
    /// administration are out of its reach.
    pub(crate) fn hop_slice(&self, api: &str) -> &Slice {
        self.hops.at(api)
    }
}

impl Slices {
    fn of(rules: &[&Rule]) -> Self {
        let names: BTreeSet<&String> =
            rules.iter().filter_map(|rule| rule.reach.place.as_ref()).collect();
        let slice_of = |name: &String| {
            let here = |rule: &&&Rule| rule.reach.place.as_ref().is_none_or(|place| place == name);
            (name.clone(), Slice::of(&rules.iter().filter(here).copied().collect::<Vec<_>>()))
        };
        let unnamed = |rule: &&&Rule| rule.reach.place.is_none();
        Self {
            by_name: names.into_iter().map(slice_of).collect(),
            everywhere: Slice::of(&rules.iter().filter(unnamed).copied().collect::<Vec<_>>()),
        }
    }

    fn at(&self, name: &str) -> &Slice {
        self.by_name.get(name).unwrap_or(&self.everywhere)
    }
}

impl Slice {
    fn of(rules: &[&Rule]) -> Self {
        let mut slice = Self {
            deciding: cedar_policy::PolicySet::new(),
            listing: cedar_policy::PolicySet::new(),
            reading: cedar_policy::PolicySet::new(),
            reads_by_rule: HashMap::new(),
            reads: Reads::nothing(),
        };
        for rule in rules {
            slice.reads.extend(&rule.reads);
            // Adding fails only for an identifier that is there already; those were refused.
            let _added = slice.deciding.add(rule.policy.clone());
            if rule.reads.any_argument() {
                let _added = slice.reading.add(rule.bare.clone());
                slice.reads_by_rule.insert(rule.policy.id().clone(), rule.reads.clone());
                if rule.policy.effect() == Effect::Permit {
                    let _added = slice.listing.add(rule.bare.clone());
                }
            } else {
                let _added = slice.listing.add(rule.policy.clone());
            }
        }
        slice
    }
}

fn read_rules(text: &str, problems: &mut Vec<PolicyProblem>) -> Vec<Rule> {
    let parsed: cedar_policy::PolicySet = match text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => {
            problems.push(PolicyProblem::Syntax(Box::new(errors)));
            return Vec::new();
        }
    };
    if parsed.templates().next().is_some() {
        problems.push(PolicyProblem::Template);
    }
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    // Cedar numbers policies in the order of the text: `policy0`, `policy1`, …
    policies.sort_by_key(|policy| (policy.id().to_string().len(), policy.id().to_string()));
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for policy in policies {
        let name = policy.annotation("id").map_or_else(|| policy.id().to_string(), str::to_owned);
        if !seen.insert(name.clone()) {
            problems.push(PolicyProblem::RuleRepeated { rule: name });
            continue;
        }
        rules.extend(read_rule(&policy.new_id(PolicyId::new(&name)), &name, problems));
    }
    rules
}

fn read_rule(policy: &Policy, name: &str, problems: &mut Vec<PolicyProblem>) -> Option<Rule> {
    let mut json = policy.to_json().ok()?;
    let (reads, mut found) = analyse(&json);
    let reach = reach_of(policy).unwrap_or_else(|problem| {
        found.push(problem);
        Reach::NOTHING
    });
    found.extend(reach.problem_with(&reads));
    let told = |problem| PolicyProblem::Rule { rule: name.to_owned(), problem };
    problems.extend(found.into_iter().map(told));
    *json.get_mut("conditions")? = serde_json::Value::Array(Vec::new());
    *json.get_mut("effect")? = serde_json::Value::from("permit");
    let bare = Policy::from_json(Some(policy.id().clone()), json).ok()?;
    let approval = approval_terms(policy, &reach).unwrap_or_else(|problem| {
        problems.push(PolicyProblem::Rule { rule: name.to_owned(), problem });
        None
    });
    Some(Rule { policy: policy.clone(), reads, reach, bare, approval })
}

/// What `@approval` of a rule asks for. On a `forbid` it would ask nobody, and so on a rule that is
/// about hops alone: it is calls that wait for a person.
fn approval_terms(policy: &Policy, reach: &Reach) -> Result<Option<ApprovalTerms>, Problem> {
    let Some(text) = policy.annotation("approval") else { return Ok(None) };
    let unknown = || Problem::ApprovalUnknown { text: text.to_owned() };
    if policy.effect() != Effect::Permit {
        return Err(unknown());
    }
    if reach.hops && !reach.calls {
        return Err(Problem::ApprovalOfHops);
    }
    match text.split(' ').collect::<Vec<_>>().as_slice() {
        ["one"] => Ok(Some(ApprovalTerms { two: false, not_owner: false })),
        ["one", "not-owner"] => Ok(Some(ApprovalTerms { two: false, not_owner: true })),
        ["two"] => Ok(Some(ApprovalTerms { two: true, not_owner: false })),
        ["two", "not-owner"] => Ok(Some(ApprovalTerms { two: true, not_owner: true })),
        _ => Err(unknown()),
    }
}

/// The Cedar type of a caller.
pub(crate) fn principal_type(kind: AgentKind) -> &'static str {
    match kind {
        AgentKind::Agent => "Agent",
        AgentKind::Client => "Client",
        AgentKind::Gateway => "Gateway",
        AgentKind::Operator => "Operator",
    }
}

/// The Cedar identifier of the action.
pub(crate) fn action_id(class: Class) -> &'static str {
    class.as_str()
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
