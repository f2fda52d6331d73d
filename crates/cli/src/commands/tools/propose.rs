//! `attorn tools classify --propose`: what the definition of a tool suggests. A proposal is
//! printed as the command that would confirm it, and decides nothing.
//!
//! Annotations and descriptions are the server's own words. A hint never makes a proposal lower
//! than what the name says.

use serde_json::{Value, json};

use super::rules;
use crate::json::{member, text};
use crate::output::quoted;

/// What is suggested for one tool, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) tool: String,
    pub(super) class: &'static str,
    /// Rules as they are typed.
    pub(super) rules: Vec<String>,
    pub(super) because: Vec<String>,
}

/// Looks at one definition.
pub(super) fn proposal(definition: &Value) -> Proposal {
    let tool = text(definition, "name").unwrap_or_default().to_owned();
    let mut because = Vec::new();
    let hinted = class_of_annotations(member(definition, "annotations"), &mut because);
    let named = class_of_words(&tool);
    if let Some(named) = named {
        because.push(format!("the name sounds like {named}"));
    }
    let class = higher(hinted, named.unwrap_or(hinted));
    let rules = rules_of_schema(member(definition, "inputSchema"), class, &mut because);
    // Where the arguments decide, what no rule speaks of has the highest class.
    let class = rules.iter().fold(class, |highest, (_, class)| higher(highest, class));
    let rules = rules.into_iter().filter(|(_, of_rule)| *of_rule != class);
    let rules = rules.map(|(rule, _)| rule).collect();
    Proposal { tool, class, rules, because }
}

impl Proposal {
    /// The command that confirms it.
    pub(super) fn command(&self, server: &str) -> String {
        let mut command = format!(
            "attorn tools classify {} {}",
            quoted(&format!("{server}/{}", self.tool)),
            self.class
        );
        for rule in &self.rules {
            command.push_str(&format!(" --when {}", quoted(rule)));
        }
        command
    }

    pub(super) fn to_json(&self, server: &str) -> Value {
        let rules: Vec<Value> =
            self.rules.iter().filter_map(|rule| rules::parse(rule).ok()).collect();
        json!({
            "tool": self.tool, "class": self.class, "rules": rules, "because": self.because,
            "command": self.command(server),
        })
    }
}

fn class_of_annotations(annotations: &Value, because: &mut Vec<String>) -> &'static str {
    let is = |name: &str| member(annotations, name).as_bool() == Some(true);
    let (class, hint) = match (is("readOnlyHint"), is("destructiveHint")) {
        (_, true) => (IRREVERSIBLE, "the server says it is destructive"),
        (true, false) => (READ, "the server says it only reads"),
        (false, false) => (WRITE, "the server says nothing"),
    };
    because.push(hint.to_owned());
    class
}

/// Enumerated properties that choose what is done: `mode`, `action`, `method`, `operation`.
fn rules_of_schema(
    schema: &Value,
    class: &'static str,
    because: &mut Vec<String>,
) -> Vec<(String, &'static str)> {
    let Some(properties) = member(schema, "properties").as_object() else { return Vec::new() };
    for (name, property) in properties {
        let chooses = CHOOSERS.contains(&name.to_ascii_lowercase().as_str());
        let values: Vec<&str> = member(property, "enum")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !chooses || values.len() < 2 {
            continue;
        }
        because.push(format!("`{name}` chooses among {}", values.join(", ")));
        let of = |value: &str| class_of_words(value).unwrap_or(class);
        return [READ, WRITE, IRREVERSIBLE]
            .into_iter()
            .filter_map(|class| {
                let same: Vec<&str> =
                    values.iter().copied().filter(|value| of(value) == class).collect();
                let plain = |value: &&str| !value.contains(['|', ':', '&', '"']);
                let all_plain = !same.is_empty() && same.iter().all(plain);
                let pointer = name.replace('~', "~0").replace('/', "~1");
                all_plain.then(|| (format!("/{pointer}={}:{class}", same.join("|")), class))
            })
            .collect();
    }
    Vec::new()
}

/// What the words of a name suggest: the strongest of them counts.
fn class_of_words(name: &str) -> Option<&'static str> {
    let mut spaced = String::new();
    for character in name.chars() {
        if character.is_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if character.is_alphanumeric() { character } else { ' ' });
    }
    let spaced = spaced.to_lowercase();
    let has = |list: &[&str]| spaced.split_whitespace().any(|word| list.contains(&word));
    if has(&IRREVERSIBLE_WORDS) {
        Some(IRREVERSIBLE)
    } else if has(&WRITE_WORDS) {
        Some(WRITE)
    } else if has(&READ_WORDS) {
        Some(READ)
    } else {
        None
    }
}

fn higher(one: &'static str, other: &'static str) -> &'static str {
    let rank = |class| [READ, WRITE, IRREVERSIBLE].iter().position(|known| *known == class);
    if rank(one) >= rank(other) { one } else { other }
}

const READ: &str = "read";
const WRITE: &str = "write";
const IRREVERSIBLE: &str = "irreversible";
const CHOOSERS: [&str; 8] =
    ["mode", "action", "method", "operation", "op", "command", "verb", "http_method"];
const READ_WORDS: [&str; 16] = [
    "read", "get", "list", "search", "find", "show", "query", "fetch", "count", "describe", "head",
    "view", "lookup", "check", "select", "options",
];
const WRITE_WORDS: [&str; 17] = [
    "write", "create", "update", "add", "set", "put", "post", "patch", "insert", "edit", "modify",
    "move", "rename", "append", "upload", "save", "upsert",
];
const IRREVERSIBLE_WORDS: [&str; 16] = [
    "delete", "drop", "remove", "send", "pay", "wipe", "purge", "destroy", "execute", "exec",
    "run", "publish", "transfer", "truncate", "refund", "revoke",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enumerated_mode_gives_rules() {
        let found = proposal(&json!({
            "name": "db", "annotations": {"readOnlyHint": true},
            "inputSchema": {"type": "object", "properties": {"mode": {"enum": ["read", "insert", "drop"]}}},
        }));
        assert_eq!(found.class, IRREVERSIBLE);
        assert_eq!(found.rules, ["/mode=read:read", "/mode=insert:write"]);
        assert_eq!(
            found.command("crm"),
            "attorn tools classify crm/db irreversible --when '/mode=read:read' --when '/mode=insert:write'"
        );
    }

    #[test]
    fn a_hint_never_lowers_what_the_name_says() {
        let of =
            |name: &str, hint: Value| proposal(&json!({"name": name, "annotations": hint})).class;
        assert_eq!(of("delete_invoice", json!({"readOnlyHint": true})), IRREVERSIBLE);
        assert_eq!(of("updateNote", json!({"readOnlyHint": true})), WRITE);
        assert_eq!(of("get_invoice", json!({"readOnlyHint": true})), READ);
        assert_eq!(of("get_invoice", json!({})), WRITE);
        assert_eq!(
            of("anything", json!({"destructiveHint": true, "readOnlyHint": true})),
            IRREVERSIBLE
        );
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted("a'b"), r"'a'\''b'");
        assert_eq!(quoted("crm/get_invoice"), "crm/get_invoice");
    }
}
