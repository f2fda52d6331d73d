//! What a policy reads and names, found in Cedar's JSON form of it.
//!
//! Cedar evaluates an unknown attribute to an error and an unknown entity to "does not match". A
//! misspelled `forbid` would therefore be silent; here it does not load.

use std::collections::BTreeSet;

use attorn_registry::{Class, Name, OperationId};
use serde_json::Value;

/// One thing a policy can read besides the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    Agent,
    ArgumentsIncomplete,
    /// What a resource is in.
    Hierarchy,
    NowS,
    Person,
    PrincipalName,
    PrincipalOwner,
    ResourceApi,
    ResourceName,
    ResourceOwner,
    ResourceServer,
    Scope,
}

/// Every attribute there is: variable, attribute, input. `context.arguments` stands apart.
const ATTRIBUTES: [(&str, &str, Input); 11] = [
    ("context", "agent", Input::Agent),
    ("context", "arguments_incomplete", Input::ArgumentsIncomplete),
    ("context", "now_s", Input::NowS),
    ("context", "person", Input::Person),
    ("context", "scope", Input::Scope),
    ("principal", "name", Input::PrincipalName),
    ("principal", "owner", Input::PrincipalOwner),
    ("resource", "api", Input::ResourceApi),
    ("resource", "name", Input::ResourceName),
    ("resource", "owner", Input::ResourceOwner),
    ("resource", "server", Input::ResourceServer),
];

/// What a policy can read of a person.
const PERSON: [&str; 4] = ["groups", "id", "name", "roles"];

/// Why a policy is not taken, though its syntax is fine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An `@approval` on a rule that is about hops alone.
    #[error("`@approval` is for rules about calls: nobody is asked about a hop to an API")]
    ApprovalOfHops,
    /// An `@approval` that says nothing known, or stands on a `forbid`.
    #[error(
        "`@approval(\"{text}\")` is none of `one`, `two`, `one not-owner`, `two not-owner` on a permit"
    )]
    ApprovalUnknown {
        /// What it says.
        text: String,
    },
    /// An attribute that requests within the scope of the rule do not have.
    #[error(
        "`{variable}.{attribute}` is there for {there} alone, and the scope of the rule matches \
         something else"
    )]
    AttributeElsewhere {
        /// `resource` or `context`.
        variable: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// `calls at MCP servers` or `hops to APIs`.
        there: &'static str,
    },
    /// An attribute that no request has.
    #[error("`{variable}` has no attribute `{attribute}`")]
    AttributeUnknown {
        /// `principal`, `action`, `resource` or `context`.
        variable: String,
        /// The attribute.
        attribute: String,
    },
    /// An entity type that does not exist.
    #[error("there is no entity type `{name}`")]
    EntityTypeUnknown {
        /// The type.
        name: String,
    },
    /// An entity identifier that no entity of its type can have.
    #[error("`{entity_type}::\"{id}\"` cannot exist")]
    EntityUnknown {
        /// The type.
        entity_type: String,
        /// The identifier.
        id: String,
    },
    /// A scope with words of calls beside words of hops.
    #[error(
        "the scope has words of calls at MCP servers beside words of hops to APIs, and matches no \
         request"
    )]
    ScopeMixed,
    /// A scope of known words that no request fits.
    #[error("the scope of `{variable}` with `{entity_type}` matches no request")]
    ScopeMatchesNothing {
        /// `principal` or `resource`.
        variable: &'static str,
        /// The entity type it is compared with.
        entity_type: String,
    },
}

/// Which arguments a policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArgumentReads {
    All,
    Names(BTreeSet<String>),
}

/// Everything a policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) arguments: ArgumentReads,
    pub(crate) inputs: BTreeSet<Input>,
}

impl Reads {
    pub(crate) fn nothing() -> Self {
        Self { arguments: ArgumentReads::Names(BTreeSet::new()), inputs: BTreeSet::new() }
    }

    /// Whether the outcome can depend on the arguments of the call.
    pub(crate) fn any_argument(&self) -> bool {
        let named = match &self.arguments {
            ArgumentReads::All => true,
            ArgumentReads::Names(names) => !names.is_empty(),
        };
        named || self.inputs.contains(&Input::ArgumentsIncomplete)
    }

    /// Whether the outcome can depend on the time.
    pub(crate) fn clock(&self) -> bool {
        self.inputs.contains(&Input::NowS)
    }

    /// Whether anything is read that only an entity can tell.
    pub(crate) fn any_entity(&self) -> bool {
        self.inputs.iter().any(|input| match input {
            Input::Agent
            | Input::ArgumentsIncomplete
            | Input::NowS
            | Input::Person
            | Input::Scope => false,
            Input::Hierarchy
            | Input::PrincipalName
            | Input::PrincipalOwner
            | Input::ResourceApi
            | Input::ResourceName
            | Input::ResourceOwner
            | Input::ResourceServer => true,
        })
    }

    /// Whether one of these arguments is read.
    pub(crate) fn any_of(&self, arguments: &BTreeSet<String>) -> bool {
        match &self.arguments {
            ArgumentReads::All => !arguments.is_empty(),
            ArgumentReads::Names(names) => !names.is_disjoint(arguments),
        }
    }

    /// Adds what another policy reads.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.inputs.extend(&other.inputs);
        match (&mut self.arguments, &other.arguments) {
            (ArgumentReads::Names(mine), ArgumentReads::Names(theirs)) => {
                mine.extend(theirs.iter().cloned());
            }
            (mine, ArgumentReads::All) => *mine = ArgumentReads::All,
            (ArgumentReads::All, ArgumentReads::Names(_)) => {}
        }
    }
}

/// Finds what a policy reads, and what it names that cannot exist.
pub(crate) fn analyse(policy: &Value) -> (Reads, Vec<Problem>) {
    let mut analysis = Analysis { reads: Reads::nothing(), problems: Vec::new() };
    // Annotations are left out: they may hold any text.
    for part in ["principal", "action", "resource", "conditions"] {
        if let Some(part) = policy.get(part) {
            analysis.walk(part);
        }
    }
    (analysis.reads, analysis.problems)
}

struct Analysis {
    reads: Reads,
    problems: Vec<Problem>,
}

impl Analysis {
    fn walk(&mut self, node: &Value) {
        if let Some(items) = node.as_array() {
            items.iter().for_each(|item| self.walk(item));
        }
        let Some(object) = node.as_object() else { return };
        self.note_entity(node);
        // `in` stands as an operator, as the kind of a scope, and beside `is` in a scope.
        let is_in = node.get("op").and_then(Value::as_str) == Some("in");
        if is_in || object.contains_key("in") {
            self.reads.inputs.insert(Input::Hierarchy);
        }
        if node.get("Var").and_then(Value::as_str) == Some("context") {
            // The context as a whole: everything in it counts as read.
            self.reads.arguments = ArgumentReads::All;
            let all = ATTRIBUTES.iter().filter(|(variable, ..)| *variable == "context");
            self.reads.inputs.extend(all.map(|(.., input)| *input));
        }
        for (operator, operand) in object {
            self.note_person(operator, operand);
            match access(operator, operand) {
                Some((Left::Variable(variable), attribute)) => self.attribute(variable, attribute),
                Some((Left::Arguments, name)) => self.argument(name),
                // No single argument is read, but the arguments have to be there.
                Some((Left::Presence, _)) => {
                    self.reads.inputs.insert(Input::ArgumentsIncomplete);
                }
                None => self.walk(operand),
            }
        }
    }

    fn attribute(&mut self, variable: &str, attribute: &str) {
        let known = ATTRIBUTES.iter().find(|(v, a, _)| *v == variable && *a == attribute);
        match known {
            Some((.., input)) => {
                self.reads.inputs.insert(*input);
            }
            None if variable == "context" && attribute == "arguments" => {
                self.reads.arguments = ArgumentReads::All;
            }
            None => self.problems.push(Problem::AttributeUnknown {
                variable: variable.to_owned(),
                attribute: attribute.to_owned(),
            }),
        }
    }

    /// `context.person.x`: of a person only this is known.
    fn note_person(&mut self, operator: &str, operand: &Value) {
        let left = operand.get("left").and_then(|left| left.get("."));
        let is_person = left.is_some_and(|inner| {
            let variable = inner.get("left").and_then(|left| left.get("Var"));
            let attribute = inner.get("attr");
            variable.and_then(Value::as_str) == Some("context")
                && attribute.and_then(Value::as_str) == Some("person")
        });
        let attribute = operand.get("attr").and_then(Value::as_str).unwrap_or_default();
        if matches!(operator, "." | "has") && is_person && !PERSON.contains(&attribute) {
            let (variable, attribute) = ("context.person".to_owned(), attribute.to_owned());
            self.problems.push(Problem::AttributeUnknown { variable, attribute });
        }
    }

    fn argument(&mut self, name: &str) {
        match &mut self.reads.arguments {
            ArgumentReads::All => {}
            ArgumentReads::Names(names) => {
                names.insert(name.to_owned());
            }
        }
    }

    fn note_entity(&mut self, node: &Value) {
        let text = |member: &str| node.get(member).and_then(Value::as_str);
        if let Some(name) = text("entity_type") {
            self.problems.extend(entity_type_problem(name));
        }
        if let (Some(entity_type), Some(id)) = (text("type"), text("id")) {
            let problem = entity_type_problem(entity_type).or_else(|| {
                (!entity_can_exist(entity_type, id)).then(|| Problem::EntityUnknown {
                    entity_type: entity_type.to_owned(),
                    id: id.to_owned(),
                })
            });
            self.problems.extend(problem);
        }
    }
}

enum Left<'a> {
    Arguments,
    /// `context has arguments`.
    Presence,
    Variable(&'a str),
}

/// Reads `x.attribute`, `x has attribute` and `x has attribute.inner` where `x` is a variable or
/// `context.arguments`.
fn access<'a>(operator: &str, operand: &'a Value) -> Option<(Left<'a>, &'a str)> {
    if !matches!(operator, "." | "has") {
        return None;
    }
    let path = operand.get("attr")?;
    let attribute = path.as_str().or_else(|| path.get(0)?.as_str())?;
    let left = operand.get("left")?;
    if let Some(variable) = left.get("Var").and_then(Value::as_str) {
        if operator == "has" && variable == "context" && attribute == "arguments" {
            let inner = path.get(1).and_then(Value::as_str);
            return Some(inner.map_or((Left::Presence, attribute), |name| (Left::Arguments, name)));
        }
        return Some((Left::Variable(variable), attribute));
    }
    let inner = left.get(".")?;
    let of_context = inner.get("left")?.get("Var")?.as_str()? == "context";
    let is_arguments = inner.get("attr")?.as_str()? == "arguments";
    (of_context && is_arguments).then_some((Left::Arguments, attribute))
}

fn entity_type_problem(name: &str) -> Option<Problem> {
    let known = [
        "Action",
        "Agent",
        "Api",
        "Client",
        "Gateway",
        "Operation",
        "Operator",
        "Prompts",
        "Resources",
        "Server",
        "Tool",
    ];
    (!known.contains(&name)).then(|| Problem::EntityTypeUnknown { name: name.to_owned() })
}

fn entity_can_exist(entity_type: &str, id: &str) -> bool {
    match entity_type {
        "Action" => id.parse::<Class>().is_ok(),
        "Operation" => id.split_once('/').is_some_and(|(api, operation)| {
            Name::parse(api).is_ok() && OperationId::parse(operation).is_ok()
        }),
        // A name holds no `/`, so the first one ends the server's name and no two tools share an
        // identifier.
        "Tool" => id.split_once('/').is_some_and(|(server, _)| Name::parse(server).is_ok()),
        _ => Name::parse(id).is_ok(),
    }
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
