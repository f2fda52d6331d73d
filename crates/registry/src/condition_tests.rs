use attorn_json::{Limits, parse};

use super::*;

fn judge(is: &str, value: &str) -> Judged {
    let condition: Condition =
        serde_json::from_str(&format!(r#"{{"at":"/a","is":{is}}}"#)).unwrap();
    let arguments = format!(r#"{{"a":{value}}}"#);
    condition.judge(parse(arguments.as_bytes(), &Limits::MESSAGE).unwrap().value())
}

fn check(is: &str, expected: Judged, values: &[&str]) {
    for value in values {
        assert_eq!(judge(is, value), expected, "{is} on {value}");
    }
}

#[test]
fn equality_is_of_values_and_not_of_spellings() {
    check(r#"{"equals":"read"}"#, Judged::Holds, &[r#""read""#, r#""r\u0065ad""#]);
    check(r#"{"equals":"read"}"#, Judged::Not, &[r#""Read""#, r#""read ""#, r#""""#]);
    check(r#"{"equals":100}"#, Judged::Holds, &["100", "100.0", "1e2", "1000E-1"]);
    check(r#"{"equals":0}"#, Judged::Holds, &["0", "-0", "0.0"]);
    check(r#"{"equals":true}"#, Judged::Not, &["false"]);
    check(r#"{"equals":null}"#, Judged::Holds, &["null"]);
}

#[test]
fn another_type_is_not_judged() {
    check(r#"{"equals":"1"}"#, Judged::Unreadable, &["1", "true", "null", "[\"1\"]", "{}"]);
    check(r#"{"equals":1}"#, Judged::Unreadable, &["\"1\"", "true", "null", "[1]", "{}"]);
    check(r#"{"equals":true}"#, Judged::Unreadable, &["1", "\"true\"", "null", "[true]"]);
    check(r#"{"equals":null}"#, Judged::Unreadable, &["0", "\"\"", "false"]);
    check(r#"{"less":5}"#, Judged::Unreadable, &["\"4\"", "null", "[4]"]);
    check(r#"{"prefix":"/p/"}"#, Judged::Unreadable, &["4", "null", "[\"/p/\"]"]);
    check(r#"{"one_of":["a",1]}"#, Judged::Unreadable, &["true", "null", "[]"]);
    check(r#"{"one_of":["a",1]}"#, Judged::Not, &["\"b\"", "2"]);
    check(r#"{"one_of":["a",1]}"#, Judged::Holds, &["\"a\"", "1.0"]);
}

#[test]
fn numbers_that_readers_disagree_about_are_not_judged() {
    for number in ["9007199254740992", "9007199254740993", "-1e300", "1.00000000000000000001"] {
        check(r#"{"more":5}"#, Judged::Unreadable, &[number]);
    }
    check(r#"{"more":5}"#, Judged::Holds, &["5.5", "9007199254740991"]);
    check(r#"{"at_most":5}"#, Judged::Holds, &["5", "-7"]);
    check(r#"{"at_least":5}"#, Judged::Not, &["4.999"]);
    for bad in ["1e400", "9007199254740992"] {
        assert!(serde_json::from_str::<Number>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_prefix_is_not_fooled_by_another_way_to_a_place() {
    let prefix = r#"{"prefix":"/public/"}"#;
    check(prefix, Judged::Holds, &[r#""/public/a""#, r#""\u002fpublic/a.b""#]);
    check(prefix, Judged::Not, &[r#""/private""#, r#""public/""#]);
    check(
        prefix,
        Judged::Unreadable,
        &[
            r#""/public/../etc""#,
            r#""/public/./a""#,
            r#""/public/\u002e\u002e/etc""#,
            r#""/public\\..\\etc""#,
            r#""/public/%2e%2e/etc""#,
            r#""/public/a\u0000b""#,
        ],
    );
    // One letter in two normal forms.
    check(r#"{"prefix":"/caf\u00e9"}"#, Judged::Unreadable, &["\"/cafe\u{301}/x\""]);
    check(r#"{"equals":"caf\u00e9"}"#, Judged::Unreadable, &["\"cafe\u{301}\""]);
}

#[test]
fn presence_is_a_fact_of_its_own() {
    check("\"exists\"", Judged::Holds, &["null", "false", "[]"]);
    check("\"absent\"", Judged::Not, &["null"]);
    let absent: Condition = serde_json::from_str(r#"{"at":"/b","is":"absent"}"#).unwrap();
    let arguments = parse(b"{\"a\":1}", &Limits::MESSAGE).unwrap();
    assert_eq!(absent.judge(arguments.value()), Judged::Holds);
}

#[test]
fn an_unknown_test_is_refused() {
    for is in [r#"{"matches":".*"}"#, r#"{"equals":[1]}"#, r#"{"equals":{}}"#, "null", "\"any\""] {
        let text = format!(r#"{{"at":"/a","is":{is}}}"#);
        assert!(serde_json::from_str::<Condition>(&text).is_err(), "{is}");
    }
}
