//! A tool is its definition: an approval holds for one digest and nothing else.

use serde::{Deserialize, Serialize};

use crate::class_rule::{ClassRule, class_of};
use crate::{Class, Effects, Scope};

/// A tool of an MCP server, as its definition was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The exact name. Names are octet strings and compared as such.
    pub name: String,
    /// The raw tool object as canonical JSON (RFC 8785).
    pub definition: String,
    /// SHA-256 of the canonical definition.
    #[serde(with = "crate::hex")]
    pub digest: [u8; 32],
    /// What the owner approved. Absent: nothing yet.
    pub approved: Option<Approved>,
    /// What the server's annotations suggest. Never decides anything.
    pub proposed_class: Class,
    /// When the definition was last seen, in Unix seconds.
    pub seen_s: u64,
}

/// An approval of one definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The digest the approval is for.
    #[serde(with = "crate::hex")]
    pub digest: [u8; 32],
    /// The class the owner confirmed: of every call, or of those no rule speaks of.
    pub class: Class,
    /// Rules that give calls with certain arguments another class. First match wins.
    #[serde(default)]
    pub rules: Vec<ClassRule>,
    /// What the tool does to the flow of information.
    #[serde(default)]
    pub effects: Effects,
    /// Who approved.
    pub by: String,
    /// When, in Unix seconds.
    pub at_s: u64,
}

/// Whether a tool may be listed and called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// Approved as it is. The class is that of calls no rule speaks of.
    Approved(Class),
    /// Approved once, and changed since. Held until approved again.
    Changed,
    /// Never approved.
    Unconfirmed,
}

impl Approved {
    /// The class of a call with these arguments.
    #[must_use]
    pub fn class_of(&self, arguments: Option<&str>) -> Class {
        class_of(self.class, &self.rules, arguments)
    }

    /// Every class a call can have, each once, in order.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        let has = |class: &Class| {
            self.class == *class || self.rules.iter().any(|rule| rule.class == *class)
        };
        Class::ALL.into_iter().filter(has)
    }
}

impl Tool {
    /// The scopes that unlock calls of the tool: one per class, and none while it is held.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let approved = self.approved.as_ref().filter(|approved| approved.digest == self.digest);
        let classes = approved.into_iter().flat_map(Approved::classes);
        classes.map(|class| Scope::of_tool(class, &self.name))
    }

    /// Where the tool stands.
    #[must_use]
    pub fn state(&self) -> ToolState {
        match &self.approved {
            None => ToolState::Unconfirmed,
            Some(approved) if approved.digest == self.digest => ToolState::Approved(approved.class),
            Some(_) => ToolState::Changed,
        }
    }

    /// The class of calls no rule speaks of, if the tool may be called.
    #[must_use]
    pub fn approved_class(&self) -> Option<Class> {
        match self.state() {
            ToolState::Approved(class) => Some(class),
            ToolState::Changed | ToolState::Unconfirmed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::tool;

    #[test]
    fn an_approved_tool_has_its_class() {
        let tool = tool("get", Some(Class::Write));
        assert_eq!(tool.state(), ToolState::Approved(Class::Write));
        assert_eq!(tool.approved_class(), Some(Class::Write));
    }

    #[test]
    fn a_proposal_is_not_an_approval() {
        let tool = tool("get", None);
        assert_eq!((tool.state(), tool.approved_class()), (ToolState::Unconfirmed, None));
    }

    #[test]
    fn a_changed_definition_is_held() {
        let tool = Tool { digest: [9; 32], ..tool("get", Some(Class::Read)) };
        assert_eq!((tool.state(), tool.approved_class()), (ToolState::Changed, None));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let mut json = serde_json::to_value(tool("get", None)).unwrap();
        assert!(serde_json::from_value::<Tool>(json.clone()).is_ok());
        json["approve_all"] = serde_json::Value::Bool(true);
        assert!(serde_json::from_value::<Tool>(json).is_err());
    }
}
