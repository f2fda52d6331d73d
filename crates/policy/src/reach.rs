//! What a policy can be asked about, as its scope says: calls at MCP servers, hops to APIs, or both.
//!
//! A scope that no request fits is a problem, and so is an attribute that nothing within the scope
//! has: Cedar would silently never match, or fail each time.

use cedar_policy::{EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::analysis::{Input, Problem, Reads};

/// Where a policy can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whether it can match a call at an MCP server.
    pub(crate) calls: bool,
    /// Whether it can match a hop to an API.
    pub(crate) hops: bool,
    /// The one server or API that it can match at, if its scope names it. Of which of the two it is
    /// the name, the other members say.
    pub(crate) place: Option<String>,
}

impl Reach {
    pub(crate) const NOTHING: Self = Self { calls: false, hops: false, place: None };

    /// An attribute that the rule reads, and that some of what it can match has not: such a rule would
    /// fail there, and deny. Let through are `arguments` and `server` in a rule about calls and hops:
    /// texts from before there were hops have them, and have to compile. They deny at a hop.
    pub(crate) fn problem_with(&self, reads: &Reads) -> Option<Problem> {
        let elsewhere = |variable, attribute, there| {
            Some(Problem::AttributeElsewhere { variable, attribute, there })
        };
        if self.calls && reads.inputs.contains(&Input::ResourceApi) {
            return elsewhere("resource", "api", "hops to APIs");
        }
        if !self.hops || self.calls {
            return None;
        }
        if reads.any_argument() {
            return elsewhere("context", "arguments", "calls at MCP servers");
        }
        if reads.inputs.contains(&Input::ResourceServer) {
            return elsewhere("resource", "server", "calls at MCP servers");
        }
        None
    }
}

/// Which of the two a part of a scope is about.
#[derive(Clone, Copy)]
enum About {
    Both,
    Calls,
    Hops,
}

impl About {
    const fn calls(self) -> bool {
        matches!(self, Self::Both | Self::Calls)
    }

    const fn hops(self) -> bool {
        matches!(self, Self::Both | Self::Hops)
    }
}

/// Reads the scope of a policy.
pub(crate) fn reach_of(policy: &Policy) -> Result<Reach, Problem> {
    let resource = policy.resource_constraint();
    let (target, within) = about_resource(&resource)?;
    let parts = [about_principal(&policy.principal_constraint())?, target, within];
    let calls = parts.iter().all(|part| part.calls());
    let hops = parts.iter().all(|part| part.hops());
    if !calls && !hops {
        return Err(Problem::ScopeMixed);
    }
    Ok(Reach { calls, hops, place: named_place(&resource) })
}

/// Who asks: agents and their like at a server, the server itself at an API.
fn about_principal(constraint: &PrincipalConstraint) -> Result<About, Problem> {
    let matches_nothing =
        |entity_type| Problem::ScopeMatchesNothing { variable: "principal", entity_type };
    let entity_type = match constraint {
        PrincipalConstraint::Any => return Ok(About::Both),
        PrincipalConstraint::Eq(uid) => uid.type_name().to_string(),
        PrincipalConstraint::Is(name) => name.to_string(),
        // Who asks is in nothing but themselves; `==` says so.
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
            return Err(matches_nothing(uid.type_name().to_string()));
        }
    };
    match entity_type.as_str() {
        "Server" => Ok(About::Hops),
        caller if CALLERS.contains(&caller) => Ok(About::Calls),
        _ => Err(matches_nothing(entity_type)),
    }
}

/// What is asked for, and what that is in. A scope such as `resource == Server::"crm"` has known words
/// and still matches no request.
fn about_resource(constraint: &ResourceConstraint) -> Result<(About, About), Problem> {
    let (target, within) = match constraint {
        ResourceConstraint::Any => (None, None),
        ResourceConstraint::Eq(uid) => (Some(uid.type_name()), None),
        ResourceConstraint::Is(name) => (Some(name), None),
        ResourceConstraint::In(uid) => (None, Some(uid.type_name())),
        ResourceConstraint::IsIn(name, uid) => (Some(name), Some(uid.type_name())),
    };
    let about = |entity_type: Option<String>, of_calls: &[&str], of_hops: &str| {
        let Some(entity_type) = entity_type else { return Ok(About::Both) };
        match entity_type.as_str() {
            hop if hop == of_hops => Ok(About::Hops),
            call if of_calls.contains(&call) => Ok(About::Calls),
            _ => Err(Problem::ScopeMatchesNothing { variable: "resource", entity_type }),
        }
    };
    let text = |name: Option<&cedar_policy::EntityTypeName>| name.map(ToString::to_string);
    Ok((about(text(target), &TARGETS, "Operation")?, about(text(within), &["Server"], "Api")?))
}

/// The one server or API that a policy can match at, if its scope names it.
fn named_place(constraint: &ResourceConstraint) -> Option<String> {
    let of_entity = |uid: &EntityUid| {
        let id = uid.id().unescaped().to_owned();
        match id.split_once('/') {
            Some((place, _tool_or_operation)) => place.to_owned(),
            None => id,
        }
    };
    match constraint {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(uid)
        | ResourceConstraint::In(uid)
        | ResourceConstraint::IsIn(_, uid) => Some(of_entity(uid)),
    }
}

const CALLERS: [&str; 4] = ["Agent", "Client", "Gateway", "Operator"];
const TARGETS: [&str; 3] = ["Prompts", "Resources", "Tool"];

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
