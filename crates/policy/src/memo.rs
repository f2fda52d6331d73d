//! Remembers what the policies said, where nothing but the names in the question can change it.
//!
//! A set of policies is never altered, so its answer depends on the question alone. Where no policy
//! reads the clock or an argument, few questions are ever asked, again and again. The whole question
//! is the key; nothing is taken for equal that is not. A full part is emptied, which costs time and
//! nothing else.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

use attorn_registry::Person;

use crate::Operation;
use crate::cedar::{Question, Verdict};

/// Answers by question.
pub(crate) struct Memo {
    hasher: RandomState,
    parts: [RwLock<HashMap<Box<str>, Verdict>>; PARTS],
}

impl Default for Memo {
    fn default() -> Self {
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl Memo {
    /// The answer that is known, or the one that `ask` gives.
    pub(crate) fn recall(&self, question: &Question<'_>, ask: impl FnOnce() -> Verdict) -> Verdict {
        self.recall_by(key(question), ask)
    }

    /// The same, of a question with this key.
    pub(crate) fn recall_by(&self, key: String, ask: impl FnOnce() -> Verdict) -> Verdict {
        let parts = u64::try_from(PARTS).unwrap_or(1);
        let place = usize::try_from(self.hasher.hash_one(&key) % parts).unwrap_or(0);
        let Some(part) = self.parts.get(place) else { return ask() };
        let known = part.read().unwrap_or_else(PoisonError::into_inner).get(key.as_str()).cloned();
        if let Some(known) = known {
            return known;
        }
        let verdict = ask();
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= PART_ENTRIES_MAX {
            part.clear();
        }
        part.insert(key.into_boxed_str(), verdict.clone());
        verdict
    }
}

/// Everything policies can look at but clock and arguments. Each text with its length: a tool's
/// name may hold any character.
fn key(question: &Question<'_>) -> String {
    let Question { kind, agent, agent_owner, server, server_owner, is_builtin, .. } = question;
    let Question { operation, class, scope, person: _, arguments: _, now_s: _, .. } = question;
    let texts = [*agent, *agent_owner, *server, *server_owner, operation.name()];
    let mut key = key_of(&texts, question.person);
    // A tool may be called as the operations of resources and prompts are.
    let is_tool = matches!(operation, Operation::Tool(_));
    let (kind, class) = (kind.as_str(), class.as_str());
    let _written = write!(key, "{kind} {class} {is_tool} {is_builtin} {scope}");
    key
}

/// Texts, each with its length, and a person.
pub(crate) fn key_of(texts: &[&str], person: Option<&Person>) -> String {
    let mut key = String::with_capacity(160);
    // Writing to a `String` cannot fail.
    for text in texts {
        let _written = write!(key, "{}:{text},", text.len());
    }
    // Two people are never one question, and neither is one person before and after a change.
    if let Some(person) = person {
        let _written = write!(key, "{},{}:", person.id, person.name);
        for group in &person.groups {
            let _written = write!(key, "{group},");
        }
        for role in &person.roles {
            let _written = write!(key, "@{role},");
        }
    }
    key
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

const PARTS: usize = 16;
const PART_ENTRIES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use attorn_registry::{AgentKind, Class, Scope};

    use super::*;

    fn question<'a>(agent: &'a str, tool: &'a str, scope: &'a Scope) -> Question<'a> {
        Question {
            kind: AgentKind::Agent,
            agent,
            agent_owner: "ann",
            person: None,
            server: "crm",
            server_owner: "ann",
            is_builtin: false,
            operation: Operation::Tool(tool),
            class: Class::Read,
            scope,
            arguments: None,
            now_s: 1,
        }
    }

    #[test]
    fn the_same_question_is_asked_once_and_another_one_anew() {
        let (memo, scope) = (Memo::default(), Scope::of_tool(Class::Read, "get"));
        let permit = |rule: &str| Verdict::Permit { rule: rule.to_owned(), terms: None };
        let ask = |agent: &str, tool: &str, rule: &str| {
            memo.recall(&question(agent, tool, &scope), || permit(rule))
        };
        assert_eq!(ask("billing", "get", "one"), permit("one"));
        assert_eq!(ask("billing", "get", "two"), permit("one"));
        assert_eq!(ask("billing", "put", "three"), permit("three"));
        // Names that would run together without their lengths.
        assert_eq!(ask("billing", "a,3:b", "four"), permit("four"));
        assert_eq!(ask("billinga", "3:b", "five"), permit("five"));
        let prompts = |operation, rule: &str| {
            let asked = Question { operation, ..question("billing", "", &scope) };
            memo.recall(&asked, || permit(rule))
        };
        assert_eq!(prompts(Operation::Prompts, "six"), permit("six"));
        assert_eq!(prompts(Operation::Tool("@prompts"), "seven"), permit("seven"));
    }

    #[test]
    fn a_person_is_part_of_the_question() {
        use crate::fixtures::{name, person};
        let (memo, scope) = (Memo::default(), Scope::of_tool(Class::Read, "get"));
        let permit = |rule: &str| Verdict::Permit { rule: rule.to_owned(), terms: None };
        let ask = |person: Option<&Person>, rule: &str| {
            let asked = Question { person, ..question("billing", "get", &scope) };
            memo.recall(&asked, || permit(rule))
        };
        assert_eq!(ask(None, "none"), permit("none"));
        let paula = person();
        assert_eq!(ask(Some(&paula), "paula"), permit("paula"));
        let mut moved = paula.clone();
        moved.groups.insert(name("hr"));
        assert_eq!(ask(Some(&moved), "moved"), permit("moved"));
        let mut raised = paula.clone();
        raised.roles.insert(attorn_registry::Role::Admin);
        assert_eq!(ask(Some(&raised), "raised"), permit("raised"));
        assert_eq!(ask(Some(&paula), "again"), permit("paula"));
    }

    #[test]
    fn the_answers_are_bounded() {
        let (memo, scope) = (Memo::default(), Scope::of_tool(Class::Read, "get"));
        for number in 0..PARTS * PART_ENTRIES_MAX * 2 {
            memo.recall(&question("a", &number.to_string(), &scope), || Verdict::NoPermit);
        }
        let held = |part: &RwLock<HashMap<_, _>>| part.read().unwrap().len();
        assert!(memo.parts.iter().map(held).sum::<usize>() <= PARTS * PART_ENTRIES_MAX);
    }
}
