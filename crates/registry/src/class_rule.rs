//! Classes by argument: one tool that reads or writes, depending on what it is told.
//!
//! The rules of a tool stand in order and the first that matches gives the class; without a match
//! it is the default. Arguments that a rule cannot judge have the highest class of the tool: who
//! sends something unexpected is asked for the most.

use attorn_json::{Limits, Value, parse};
use serde::{Deserialize, Serialize};

use crate::Class;
use crate::condition::{Condition, Judged};

/// One rule: all its conditions hold, or it does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// What must hold of the arguments.
    pub when: Vec<Condition>,
    /// The class of such a call.
    pub class: Class,
}

/// Why rules are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassRuleRefusal {
    /// A rule without conditions would be another default.
    #[error("a rule has between 1 and {CONDITIONS_MAX} conditions")]
    Conditions,
    /// Too many rules.
    #[error("a tool has at most {RULES_MAX} rules")]
    Rules,
    /// A text or a list is empty, too long, or a prefix that no path starts with.
    #[error("a value in a condition is empty, too long, or no plain path")]
    Value,
}

/// Checks rules before they are recorded.
///
/// # Errors
/// See [`ClassRuleRefusal`].
pub fn verify_class_rules(rules: &[ClassRule]) -> Result<(), ClassRuleRefusal> {
    if rules.len() > RULES_MAX {
        return Err(ClassRuleRefusal::Rules);
    }
    for rule in rules {
        if rule.when.is_empty() || rule.when.len() > CONDITIONS_MAX {
            return Err(ClassRuleRefusal::Conditions);
        }
        if !rule.when.iter().all(Condition::is_bounded) {
            return Err(ClassRuleRefusal::Value);
        }
    }
    Ok(())
}

/// The class of one call. `arguments` is the raw text; a call without arguments has none.
pub(crate) fn class_of(default: Class, rules: &[ClassRule], arguments: Option<&str>) -> Class {
    if rules.is_empty() {
        return default;
    }
    let highest = rules.iter().map(|rule| rule.class).fold(default, Class::max);
    let Ok(document) = parse(arguments.unwrap_or("{}").as_bytes(), &Limits::MESSAGE) else {
        return highest;
    };
    if !document.is_object() {
        return highest;
    }
    for rule in rules {
        match rule.judge(document.value()) {
            Judged::Holds => return rule.class,
            Judged::Not => {}
            Judged::Unreadable => return highest,
        }
    }
    default
}

impl ClassRule {
    /// All conditions are judged: one that does not hold must not hide one that cannot be read.
    fn judge(&self, arguments: Value<'_>) -> Judged {
        let mut judged = Judged::Holds;
        for condition in &self.when {
            match condition.judge(arguments) {
                Judged::Holds => {}
                Judged::Not => judged = Judged::Not,
                Judged::Unreadable => return Judged::Unreadable,
            }
        }
        judged
    }
}

const RULES_MAX: usize = 32;
const CONDITIONS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> Vec<ClassRule> {
        serde_json::from_str(text).unwrap()
    }

    fn sql() -> Vec<ClassRule> {
        rules(
            r#"[{"when":[{"at":"/mode","is":{"equals":"read"}}],"class":"read"},
                {"when":[{"at":"/mode","is":{"equals":"drop"}}],"class":"irreversible"}]"#,
        )
    }

    fn class(arguments: &str) -> Class {
        class_of(Class::Write, &sql(), Some(arguments))
    }

    #[test]
    fn the_first_match_gives_the_class() {
        assert_eq!(class(r#"{"mode":"read"}"#), Class::Read);
        assert_eq!(class(r#"{"mode":"drop"}"#), Class::Irreversible);
        assert_eq!(class(r#"{"mode":"insert"}"#), Class::Write);
        assert_eq!(class("{}"), Class::Write);
        assert_eq!(class_of(Class::Write, &sql(), None), Class::Write);
    }

    #[test]
    fn what_cannot_be_judged_has_the_highest_class() {
        for arguments in [
            r#"{"mode":["read"]}"#,
            r#"{"mode":null}"#,
            r#"{"mode":{"mode":"read"}}"#,
            r#"{"mode":1}"#,
            r#"{"mode":"read","mode":"read"}"#,
            r#"["read"]"#,
            "\"read\"",
            "",
            "{",
        ] {
            assert_eq!(class(arguments), Class::Irreversible, "{arguments}");
        }
    }

    #[test]
    fn without_rules_nothing_is_read() {
        assert_eq!(class_of(Class::Read, &[], Some("not json")), Class::Read);
    }

    #[test]
    fn all_conditions_of_a_rule_hold_or_it_does_not_match() {
        let rules = rules(
            r#"[{"when":[{"at":"/mode","is":{"equals":"read"}},{"at":"/limit","is":{"at_most":10}}],"class":"read"}]"#,
        );
        let class = |text| class_of(Class::Write, &rules, Some(text));
        assert_eq!(class(r#"{"mode":"read","limit":10}"#), Class::Read);
        assert_eq!(class(r#"{"mode":"read","limit":11}"#), Class::Write);
        assert_eq!(class(r#"{"mode":"read"}"#), Class::Write);
    }

    #[test]
    fn rules_are_bounded() {
        let refused = |text: &str| verify_class_rules(&rules(text));
        assert_eq!(refused(r#"[{"when":[],"class":"read"}]"#), Err(ClassRuleRefusal::Conditions));
        for is in [r#"{"one_of":[]}"#, r#"{"prefix":""}"#, r#"{"prefix":"/a/../b"}"#] {
            let text = format!(r#"[{{"when":[{{"at":"/a","is":{is}}}],"class":"read"}}]"#);
            assert_eq!(refused(&text), Err(ClassRuleRefusal::Value), "{is}");
        }
        let many = vec![sql()[0].clone(); RULES_MAX + 1];
        assert_eq!(verify_class_rules(&many), Err(ClassRuleRefusal::Rules));
        assert_eq!(verify_class_rules(&sql()), Ok(()));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("\"read\"".to_owned()),
            Just("\"drop\"".to_owned()),
            "[a-z]{0,4}".prop_map(|text| format!("\"{text}\"")),
            any::<i64>().prop_map(|number| number.to_string()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                inner.clone().prop_map(|value| format!("{{\"mode\":{value}}}")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("{{\"mode\":{a},\"other\":{b}}}")),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_arguments_have_exactly_one_class_of_the_tool(arguments in json()) {
            let class = class(&arguments);
            prop_assert!(Class::ALL.contains(&class));
            // The lowest class is for exactly those who say so.
            let value: serde_json::Value = serde_json::from_str(&arguments).unwrap();
            let mode = value.get("mode");
            let expected = match (value.is_object(), mode) {
                (false, _) => Class::Irreversible,
                (true, None) => Class::Write,
                (true, Some(mode)) => match mode.as_str() {
                    Some("read") => Class::Read,
                    Some("drop") | None => Class::Irreversible,
                    Some(_) => Class::Write,
                },
            };
            prop_assert_eq!(class, expected);
        }

        #[test]
        fn text_that_is_no_json_has_the_highest_class(text in "[^{].*") {
            prop_assume!(!text.trim_start().starts_with('{'));
            prop_assert_eq!(class(&text), Class::Irreversible);
        }
    }
}
