//! Limits on arguments: what a second evaluator refuses is refused, and narrowing never widens.

use attorn_json::{Limits, canonical, parse};
use attorn_registry::{
    Approved, AuthorizationDetails, CallConstraint, Class, ClassRule, verify_class_rules,
};
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const SCHEMA_CHECK: Target = Target {
    name: "schema_check",
    oracle: "a second evaluator of the plain keywords agrees; the spelling of arguments does not \
             matter; two limits together hold exactly where both hold; written back they are equal",
    prepare: schema_check,
};

pub(crate) const ARGUMENT_RULE: Target = Target {
    name: "argument_rule",
    oracle: "the class is one of the tool's, the same in any spelling, never lower than a second \
             reader of the rules finds, and the highest where arguments cannot be read",
    prepare: argument_rule,
};

fn schema_check(_corpus: &Corpus) -> Result<Subject, String> {
    let schemas = [
        json!({"properties": {"amount": {"type": "integer", "maximum": 50}},
               "required": ["amount"]}),
        json!({"type": "object", "properties": {"to": {"enum": ["a", "b", 1, null]}}}),
        json!({"properties": {"x": {"type": "string", "minLength": 2, "maxLength": 4}},
               "additionalProperties": false}),
        json!({"properties": {"n": {"minimum": -1.5, "exclusiveMaximum": 10}}, "minProperties": 1}),
        json!({"properties": {"list": {"type": "array", "maxItems": 2,
                                       "items": {"type": "number"}}}}),
        json!({"$defs": {"d": {"const": 7}}, "properties": {"k": {"$ref": "#/$defs/d"}}}),
        json!({"allOf": [{"required": ["a"]}, {"not": {"required": ["b"]}}]}),
        json!({"patternProperties": {"^x": {"pattern": "^[a-z]+$"}}}),
    ];
    let arguments = [
        json!({"amount": 50}),
        json!({"amount": 51.0, "to": "a"}),
        json!({"to": 1, "x": "abc", "n": 9.99}),
        json!({"x": "\u{1f600}\u{1f600}"}),
        json!({"list": [1, 2.5], "k": 7, "a": true}),
        json!({"list": [1, 2, 3], "b": null, "xy": "Q"}),
        json!({}),
    ];
    let mut seeds = Vec::new();
    for (number, one) in schemas.iter().enumerate() {
        let other = schemas.get((number + 1) % schemas.len()).unwrap_or(one);
        for arguments in &arguments {
            let row = json!({"one": one, "other": other, "arguments": arguments});
            seeds.push(row.to_string().into_bytes());
        }
    }
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_schemas) })
}

/// Three members of the input, as they are spelled in it.
fn members<'t>(input: &'t [u8], names: [&str; 3]) -> Option<[&'t str; 3]> {
    let document = parse(input, &super::spell::LIMITS).ok()?;
    let [a, b, c] = names.map(|name| document.value().member(name).map(attorn_json::Value::text));
    Some([a?, b?, c?])
}

fn constraint(schema: &str) -> Result<AuthorizationDetails, String> {
    let text = format!(r#"[{{"type":"mcp_tool_call","tool":"pay","arguments":{schema}}}]"#);
    AuthorizationDetails::parse(&text).map_err(|refusal| format!("{refusal:?}"))
}

fn holds(details: &AuthorizationDetails, arguments: &str) -> bool {
    details.as_slice().iter().all(|one| one.holds(Some(arguments)))
}

fn check_schemas(input: &[u8]) -> Result<Seen, String> {
    let Some([one, other, arguments]) = members(input, ["one", "other", "arguments"]) else {
        return Ok(Seen::refused(&"input"));
    };
    let (first, second) = match (constraint(one), constraint(other)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(refusal), _) | (_, Err(refusal)) => return Ok(Seen::refused(&refusal)),
    };
    let (by_first, by_second) = (holds(&first, arguments), holds(&second, arguments));
    let spelled = respelled_bytes(arguments.as_bytes(), &mut Random::of(input));
    let spelled = String::from_utf8_lossy(&spelled).into_owned();
    if spelled.len() < 60_000 {
        ensure(holds(&first, &spelled) == by_first, "the spelling of arguments matters")?;
    }
    for (schema, held) in [(one, by_first), (other, by_second)] {
        let reference = reference(schema, arguments);
        ensure(reference.is_none_or(|agrees| agrees == held), "a second evaluator disagrees")?;
    }
    let text = first.to_text();
    let again = AuthorizationDetails::parse_made(&text);
    ensure(again.as_ref() == Ok(&first), "written back, they are other details")?;
    let granted: Vec<Vec<CallConstraint>> = vec![second.as_slice().to_vec()];
    if let Ok(Some(both)) = AuthorizationDetails::narrow(Some(&first), &granted) {
        let together = holds(&both, arguments);
        ensure(!together || (by_first && by_second), "two limits together allow more")?;
        ensure(together || !(by_first && by_second), "two limits together allow less than both")?;
    }
    Ok(Seen::accepted(&(by_first, by_second)))
}

/// What an evaluator of the plain keywords says; `None` where the schema uses another.
fn reference(schema: &str, arguments: &str) -> Option<bool> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let document = parse(arguments.as_bytes(), &Limits { bytes_max: 64 << 10, depth_max: 32 });
    let Some(document) = document.ok().filter(attorn_json::Document::is_object) else {
        return Some(false);
    };
    let Ok(form) = canonical(&document) else { return Some(false) };
    let value: Value = serde_json::from_slice(&form).ok()?;
    satisfies(&schema, &value)
}

fn satisfies(schema: &Value, value: &Value) -> Option<bool> {
    let keywords = match schema {
        Value::Bool(allowed) => return Some(*allowed),
        Value::Object(keywords) => keywords,
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return None,
    };
    let mut all = true;
    for (keyword, rule) in keywords {
        all &= match keyword.as_str() {
            "type" => is_of_type(rule.as_str()?, value)?,
            "minimum" => compared(value, rule, |a, b| a >= b)?,
            "maximum" => compared(value, rule, |a, b| a <= b)?,
            "exclusiveMaximum" => compared(value, rule, |a, b| a < b)?,
            "minLength" => length(value, rule, |a, b| a >= b)?,
            "maxLength" => length(value, rule, |a, b| a <= b)?,
            "required" => {
                let names: Option<Vec<&str>> = rule.as_array()?.iter().map(Value::as_str).collect();
                let names = names?;
                value.as_object().is_none_or(|has| names.iter().all(|name| has.contains_key(*name)))
            }
            "properties" => {
                let mut fits = true;
                for (name, part) in rule.as_object()? {
                    if let Some(member) = value.as_object().and_then(|has| has.get(name)) {
                        fits &= satisfies(part, member)?;
                    }
                }
                fits
            }
            _ => return None,
        };
    }
    Some(all)
}

fn is_of_type(name: &str, value: &Value) -> Option<bool> {
    Some(match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => return None,
    })
}

/// A rule about numbers says nothing of what is none.
fn compared(value: &Value, rule: &Value, holds: fn(f64, f64) -> bool) -> Option<bool> {
    let rule = rule.as_f64()?;
    Some(value.as_f64().is_none_or(|number| holds(number, rule)))
}

fn length(value: &Value, rule: &Value, holds: fn(u64, u64) -> bool) -> Option<bool> {
    let rule = rule.as_u64()?;
    let count = |text: &str| u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    Some(value.as_str().is_none_or(|text| holds(count(text), rule)))
}

fn argument_rule(_corpus: &Corpus) -> Result<Subject, String> {
    let rules = [
        json!([{"when": [{"at": "/mode", "is": {"equals": "write"}}], "class": "write"}]),
        json!([{"when": [{"at": "/amount", "is": {"at_most": 100}}], "class": "read"},
               {"when": [{"at": "/amount", "is": {"more": 100}}], "class": "irreversible"}]),
        json!([{"when": [{"at": "/path", "is": {"prefix": "tmp/"}},
                         {"at": "/force", "is": "absent"}], "class": "read"}]),
        json!([{"when": [{"at": "/a/0/b~1c", "is": {"one_of": ["x", 1, null, true]}}],
                "class": "irreversible"}]),
        json!([{"when": [{"at": "/dry", "is": "exists"}], "class": "read"}]),
    ];
    let arguments = [
        json!({"mode": "write", "amount": 100}),
        json!({"mode": "read", "amount": 101.5, "path": "tmp/x"}),
        json!({"path": "tmp/../etc", "force": null}),
        json!({"a": [{"b/c": "x"}], "dry": false}),
        json!({}),
    ];
    let mut seeds = Vec::new();
    for rules in &rules {
        for arguments in &arguments {
            let row = json!({"class": "write", "rules": rules, "arguments": arguments});
            seeds.push(row.to_string().into_bytes());
        }
    }
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_rules) })
}

fn check_rules(input: &[u8]) -> Result<Seen, String> {
    let Some([class, rules, arguments]) = members(input, ["class", "rules", "arguments"]) else {
        return Ok(Seen::refused(&"input"));
    };
    let Ok(default) = serde_json::from_str::<Class>(class) else {
        return Ok(Seen::refused(&"class"));
    };
    let rules: Vec<ClassRule> = match serde_json::from_str(rules) {
        Ok(rules) => rules,
        Err(_) => return Ok(Seen::refused(&"rules")),
    };
    if let Err(refusal) = verify_class_rules(&rules) {
        return Ok(Seen::refused(&refusal));
    }
    let digest = "03".repeat(32);
    let approved =
        json!({"digest": digest, "class": default, "rules": rules, "by": "ann", "at_s": 0});
    let tool: Approved = serde_json::from_value(approved).map_err(|error| error.to_string())?;
    let found = tool.class_of(Some(arguments));
    ensure(tool.classes().any(|class| class == found), "a class the tool does not have")?;
    let spelled = respelled_bytes(arguments.as_bytes(), &mut Random::of(input));
    let spelled = String::from_utf8_lossy(&spelled).into_owned();
    ensure(tool.class_of(Some(&spelled)) == found, "the spelling of arguments matters")?;
    let highest = rules.iter().map(|rule| rule.class).fold(default, Class::max);
    for broken in ["", "{", "[]", "1", r#"{"a":1,"a":2}"#] {
        ensure(tool.class_of(Some(broken)) == highest || rules.is_empty(), "unreadable, and low")?;
    }
    if let Some(expected) = second_reader(&rules, default, arguments)? {
        ensure(found >= expected, "a lower class than a second reader finds")?;
        ensure(found == expected || found == highest, "neither this class nor the highest")?;
    }
    Ok(Seen::accepted(&(found, highest)))
}

/// The class as `serde_json` and its pointers see it. `None` where a rule needs judgement: prefixes,
/// and values of another kind than the rule is about.
fn second_reader(
    rules: &[ClassRule],
    default: Class,
    arguments: &str,
) -> Result<Option<Class>, String> {
    let Ok(arguments) = serde_json::from_str::<Value>(arguments) else { return Ok(None) };
    if !arguments.is_object() {
        return Ok(None);
    }
    for rule in rules {
        let written = serde_json::to_value(&rule.when).map_err(|error| error.to_string())?;
        let mut all = true;
        for condition in written.as_array().into_iter().flatten() {
            match judge(condition, &arguments) {
                Some(holds) => all &= holds,
                None => return Ok(None),
            }
        }
        if all {
            return Ok(Some(rule.class));
        }
    }
    Ok(Some(default))
}

fn judge(condition: &Value, arguments: &Value) -> Option<bool> {
    let at = arguments.pointer(condition.get("at")?.as_str()?);
    let test = condition.get("is")?;
    match test.as_str() {
        Some("absent") => return Some(at.is_none()),
        Some("exists") => return Some(at.is_some()),
        Some(_) | None => {}
    }
    let Some(at) = at else { return Some(false) };
    let (name, limit) = test.as_object()?.iter().next()?;
    if name == "equals" && limit.is_string() {
        return Some(at.as_str()? == limit.as_str()?);
    }
    let (number, limit) = (at.as_f64()?, limit.as_f64()?);
    match name.as_str() {
        "less" => Some(number < limit),
        "at_most" => Some(number <= limit),
        "more" => Some(number > limit),
        "at_least" => Some(number >= limit),
        "equals" => Some((number - limit).abs() <= 0.0),
        _ => None,
    }
}
