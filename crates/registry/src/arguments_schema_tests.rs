use serde_json::json;

use super::*;

fn schema(value: &Value) -> Result<ArgumentsSchema, SchemaRefusal> {
    ArgumentsSchema::parse(&value.to_string())
}

fn refused(value: &Value, why: SchemaRefusal) {
    assert_eq!(schema(value).map(|_| ()), Err(why), "{value}");
}

#[test]
fn a_schema_is_enforced() {
    let limit = schema(&json!({
        "$schema": DIALECT, "type": "object", "required": ["amount"],
        "properties": {"amount": {"$ref": "#/$defs/cents"}, "to": {"pattern": "^acct-[0-9]+$"}},
        "additionalProperties": false, "$defs": {"cents": {"type": "integer", "maximum": 5000}}
    }))
    .unwrap();
    for (arguments, holds) in [
        (json!({"amount": 5000}), true),
        (json!({"amount": 5000.0, "to": "acct-7"}), true),
        (json!({"amount": 5001}), false),
        (json!({"amount": "5000"}), false),
        (json!({"amount": 1, "to": "elsewhere"}), false),
        (json!({"amount": 1, "more": 1}), false),
        (json!({}), false),
    ] {
        assert_eq!(limit.is_satisfied_by(&arguments), holds, "{arguments}");
    }
}

#[test]
fn nothing_is_fetched() {
    for reference in [
        "http://127.0.0.1:9/s.json",
        "file:///etc/passwd",
        "other.json",
        "//host/s",
        "urn:a:b",
        "#a",
    ] {
        refused(&json!({"$ref": reference}), SchemaRefusal::Reference);
    }
    refused(&json!({"$ref": "#/$defs/gone"}), SchemaRefusal::Reference);
    refused(&json!({"$ref": "#/%24defs/a", "$defs": {"a": true}}), SchemaRefusal::Reference);
    for keyword in ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary"] {
        refused(&json!({keyword: "a"}), SchemaRefusal::Keyword);
    }
    refused(&json!({"$schema": "http://json-schema.org/draft-07/schema#"}), SchemaRefusal::Keyword);
}

#[test]
fn a_keyword_that_would_not_be_enforced_is_refused() {
    for keyword in ["maximun", "format", "contentEncoding", "definitions", "dependencies"] {
        refused(&json!({"properties": {"a": {keyword: 1}}}), SchemaRefusal::Keyword);
    }
    // A property may have any name, and a value any content.
    assert!(schema(&json!({"properties": {"format": true}, "const": {"$id": 1}})).is_ok());
}

#[test]
fn work_is_bounded() {
    refused(&json!({"$ref": "#"}), SchemaRefusal::TooLarge);
    refused(&json!({"properties": {"a": {"$ref": "#"}}}), SchemaRefusal::TooLarge);
    let mut defs = Map::new();
    for level in 0..12 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    defs.insert("d12".to_owned(), json!(true));
    refused(&json!({"$ref": "#/$defs/d0", "$defs": defs}), SchemaRefusal::TooLarge);
    let mut deep = json!(true);
    for _ in 0..9 {
        deep = json!({"not": deep});
    }
    refused(&deep, SchemaRefusal::TooLarge);
    refused(&json!({"description": "x".repeat(3000)}), SchemaRefusal::TooLarge);
}

#[test]
fn patterns_do_not_backtrack() {
    // Without a linear engine this one takes until the end of time.
    let bounded = schema(&json!({"properties": {"a": {"pattern": "^(a+)+$"}}})).unwrap();
    let long = json!({"a": format!("{}!", "a".repeat(50_000))});
    assert!(!bounded.is_satisfied_by(&long));
    for pattern in ["(?=a)b", r"(a)\1", "a{1000}{1000}"] {
        refused(&json!({"pattern": pattern}), SchemaRefusal::Compile);
    }
}

#[test]
fn what_is_no_schema_is_refused() {
    refused(&json!({"type": "integr"}), SchemaRefusal::Compile);
    refused(&json!({"maximum": "5"}), SchemaRefusal::Compile);
    refused(&json!({"properties": {"a": 1}}), SchemaRefusal::Compile);
    refused(&json!(true), SchemaRefusal::NotAnObject);
    refused(&json!([]), SchemaRefusal::NotAnObject);
    let twin = r#"{"maximum":1,"maximum":2}"#;
    assert_eq!(ArgumentsSchema::parse(twin).map(|_| ()), Err(SchemaRefusal::NotAnObject));
    assert!(ArgumentsSchema::parse(r#"{"maximum":9007199254740993}"#).is_err());
}

#[test]
fn combined_schemas_keep_their_references() {
    let of = |maximum: u64| {
        schema(&json!({"properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"maximum": maximum}}}))
            .unwrap()
    };
    let (five, ten) = (of(5), of(10));
    let all = ArgumentsSchema::all_of(&[five.clone(), ten.clone()]).unwrap();
    let any = ArgumentsSchema::any_of(&[five.clone(), ten]).unwrap();
    for (n, of_all, of_any) in [(5, true, true), (7, false, true), (11, false, false)] {
        let value = json!({"n": n});
        assert_eq!(all.is_satisfied_by(&value), of_all, "{n}");
        assert_eq!(any.is_satisfied_by(&value), of_any, "{n}");
    }
    assert_eq!(ArgumentsSchema::all_of(std::slice::from_ref(&five)), Ok(five));
}
