//! Rules as people type them: `/mode=read:read`, several conditions joined by ` && `.

use serde_json::{Value, json};

use crate::json::member;

/// Reads one rule into the form the admin API takes.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let (conditions, class) =
        text.rsplit_once(':').ok_or("a rule ends with `:CLASS`, for example `/mode=read:read`")?;
    if !["read", "write", "irreversible"].contains(&class) {
        return Err(format!("`{class}` is no class; use read, write or irreversible"));
    }
    let when: Result<Vec<Value>, String> = conditions.split(" && ").map(condition).collect();
    Ok(json!({ "when": when?, "class": class }))
}

fn condition(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if let Some(pointer) = text.strip_prefix('!') {
        return Ok(json!({ "at": pointer_of(pointer)?, "is": "absent" }));
    }
    if let Some(pointer) = text.strip_suffix('?').filter(|rest| !rest.contains(OPERATORS)) {
        return Ok(json!({ "at": pointer_of(pointer)?, "is": "exists" }));
    }
    let at = text.find(OPERATORS).ok_or_else(|| format!("`{text}` has no test"))?;
    let (pointer, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let (test, value) = [
        ("^=", "prefix"),
        ("<=", "at_most"),
        (">=", "at_least"),
        ("<", "less"),
        (">", "more"),
        ("=", "equals"),
    ]
    .into_iter()
    .find_map(|(operator, test)| Some((test, rest.strip_prefix(operator)?)))
    .ok_or_else(|| format!("`{text}` has no test"))?;
    let is = match test {
        "prefix" => json!({ test: value }),
        "equals" if value.contains('|') => {
            json!({ "one_of": value.split('|').map(scalar).collect::<Vec<_>>() })
        }
        "equals" => json!({ test: scalar(value) }),
        _ => {
            let number: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
            json!({ test: number })
        }
    };
    Ok(json!({ "at": pointer_of(pointer)?, "is": is }))
}

fn pointer_of(text: &str) -> Result<&str, String> {
    if text.starts_with('/') {
        Ok(text)
    } else {
        Err(format!("`{text}` is no JSON pointer; it starts with `/`, for example `/mode`"))
    }
}

/// `5`, `true` and `null` are values; everything else is text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_array() && !value.is_object() => value,
        Ok(_) | Err(_) => Value::String(text.to_owned()),
    }
}

/// A rule as it is typed, for people.
pub(super) fn shown(rule: &Value) -> String {
    let conditions: Vec<String> =
        member(rule, "when").as_array().into_iter().flatten().map(shown_condition).collect();
    format!("{}:{}", conditions.join(" && "), member(rule, "class").as_str().unwrap_or_default())
}

fn shown_condition(condition: &Value) -> String {
    let at = member(condition, "at").as_str().unwrap_or_default();
    let is = member(condition, "is");
    match is.as_str() {
        Some("absent") => return format!("!{at}"),
        Some(_) => return format!("{at}?"),
        None => {}
    }
    let Some((test, value)) = is.as_object().and_then(|members| members.iter().next()) else {
        return at.to_owned();
    };
    let operator = match test.as_str() {
        "prefix" => "^=",
        "at_most" => "<=",
        "at_least" => ">=",
        "less" => "<",
        "more" => ">",
        _ => "=",
    };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = match value.as_array() {
        Some(all) => all.iter().map(plain).collect::<Vec<_>>().join("|"),
        None => plain(value),
    };
    format!("{at}{operator}{value}")
}

const OPERATORS: [char; 4] = ['^', '<', '>', '='];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Value) {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn each_form_is_read() {
        let one = |condition: Value, class: &str| json!({ "when": [condition], "class": class });
        check("/mode=read:read", one(json!({"at": "/mode", "is": {"equals": "read"}}), "read"));
        check("/n=5:read", one(json!({"at": "/n", "is": {"equals": 5}}), "read"));
        check("/n=\"5\":read", one(json!({"at": "/n", "is": {"equals": "5"}}), "read"));
        let many = json!({"at": "/mode", "is": {"one_of": ["read", "list"]}});
        check("/mode=read|list:read", one(many, "read"));
        check("/path^=/a:b/:read", one(json!({"at": "/path", "is": {"prefix": "/a:b/"}}), "read"));
        check("/n<=100:write", one(json!({"at": "/n", "is": {"at_most": 100.0}}), "write"));
        check("/force?:irreversible", one(json!({"at": "/force", "is": "exists"}), "irreversible"));
        check("!/force:read", one(json!({"at": "/force", "is": "absent"}), "read"));
        let both = json!({"when": [{"at": "/a", "is": {"equals": true}}, {"at": "/b", "is": "absent"}], "class": "read"});
        check("/a=true && !/b:read", both);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["/mode=read", "/mode=read:admin", "mode=read:read", "/mode:read", "/n<x:read"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_shown_as_it_is_typed() {
        for text in ["/mode=read|list:read", "/path^=/a/ && !/b:write", "/force?:irreversible"] {
            assert_eq!(shown(&parse(text).unwrap()), text);
        }
    }
}
