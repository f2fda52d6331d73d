//! What an agent was given at one MCP server, until when, and by whom.

use serde::{Deserialize, Serialize};

use crate::call_constraint::merged;
use crate::{AgentId, CallConstraint, GrantId, Scope, ScopePattern, ScopeTarget, ServerId};

/// A grant. Its patterns are expanded over approved tools whenever a right is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Stable identifier.
    pub id: GrantId,
    /// Who may.
    pub agent: AgentId,
    /// Where.
    pub server: ServerId,
    /// What. The empty list grants nothing.
    pub patterns: Vec<ScopePattern>,
    /// What calls under it must satisfy, tool by tool. A tool that none names may be called with
    /// any arguments.
    #[serde(default)]
    pub constraints: Vec<CallConstraint>,
    /// It does not count before somebody else than its giver confirmed it.
    #[serde(default)]
    pub awaits_second: bool,
    /// Who confirmed it.
    #[serde(default)]
    pub confirmed_by: Option<String>,
    /// First second at which it does not count any more.
    pub expires_s: Option<u64>,
    /// When it was revoked, in Unix seconds.
    pub revoked_s: Option<u64>,
    /// Who gave it.
    pub by: String,
    /// Why it was given.
    pub reason: String,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
}

/// Why a grant cannot be made as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// A constraint names a tool that no pattern covers, or its constraints contradict each other.
    #[error("a constraint is about a tool of the grant, and all of one tool can hold together")]
    Constraint,
    /// The end lies in the past.
    #[error("the grant would end before it begins")]
    Expired,
    /// The list of patterns is empty: it would grant nothing, and never means everything.
    #[error("a grant names at least one scope")]
    PatternsEmpty,
}

impl Grant {
    /// Checks a grant before it is recorded.
    ///
    /// # Errors
    /// See [`GrantRefusal`].
    pub fn verify(&self, now_s: u64) -> Result<(), GrantRefusal> {
        if self.patterns.is_empty() {
            return Err(GrantRefusal::PatternsEmpty);
        }
        for constraint in &self.constraints {
            let about = |pattern: &ScopePattern| match pattern {
                ScopePattern::All(_) => true,
                ScopePattern::Exact(scope) => {
                    matches!(&scope.tool, ScopeTarget::Tool(tool) if *tool == constraint.tool)
                }
            };
            let is_whole = merged(&self.constraints, &constraint.tool).is_ok();
            if !self.patterns.iter().any(about) || !is_whole {
                return Err(GrantRefusal::Constraint);
            }
        }
        if self.expires_s.is_some_and(|end_s| end_s <= now_s) {
            return Err(GrantRefusal::Expired);
        }
        Ok(())
    }

    /// Whether the grant counts now.
    #[must_use]
    pub fn counts(&self, now_s: u64) -> bool {
        let confirmed = !self.awaits_second || self.confirmed_by.is_some();
        confirmed && self.revoked_s.is_none() && self.expires_s.is_none_or(|end_s| now_s < end_s)
    }

    /// Its constraints on one tool. All of them hold, or the call is not within the grant.
    pub fn constraints_on<'g>(
        &'g self,
        tool: &'g str,
    ) -> impl Iterator<Item = &'g CallConstraint> + Clone {
        self.constraints.iter().filter(move |constraint| constraint.tool == tool)
    }

    /// The same as one constraint; `None` where it has none. One that cannot be made is none the
    /// less enforced, from its parts.
    #[must_use]
    pub fn merged_constraint(&self, tool: &str) -> Option<CallConstraint> {
        merged(&self.constraints, tool).ok().flatten()
    }

    /// Whether one of the patterns covers a scope.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;
    use crate::fixtures::grant;

    #[test]
    fn a_grant_ends() {
        let grant = Grant { expires_s: Some(100), ..grant("read:*") };
        assert!(grant.counts(99));
        assert!(!grant.counts(100));
        assert_eq!(grant.verify(99), Ok(()));
        assert_eq!(grant.verify(100), Err(GrantRefusal::Expired));
    }

    #[test]
    fn a_revoked_grant_does_not_count() {
        assert!(grant("read:*").counts(u64::MAX));
        assert!(!Grant { revoked_s: Some(5), ..grant("read:*") }.counts(1));
    }

    #[test]
    fn an_empty_list_grants_nothing() {
        let empty = Grant { patterns: Vec::new(), ..grant("read:*") };
        assert!(!empty.covers(&Scope::of_tool(Class::Read, "a")));
        assert!(!empty.covers(&Scope::RESOURCES));
        assert_eq!(empty.verify(0), Err(GrantRefusal::PatternsEmpty));
    }

    #[test]
    fn null_and_absent_are_not_a_list() {
        let json = serde_json::to_value(grant("read:*")).unwrap();
        assert!(serde_json::from_value::<Grant>(json.clone()).is_ok());
        let mut null = json.clone();
        null["patterns"] = serde_json::Value::Null;
        assert!(serde_json::from_value::<Grant>(null).is_err());
        let mut absent = json;
        absent.as_object_mut().unwrap().remove("patterns");
        assert!(serde_json::from_value::<Grant>(absent).is_err());
    }
}
