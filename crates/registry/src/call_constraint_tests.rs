use proptest::prelude::*;

use super::*;

fn details(text: &str) -> Result<AuthorizationDetails, DetailsRefusal> {
    AuthorizationDetails::parse(text)
}

fn one(members: &str) -> CallConstraint {
    let text = format!(r#"[{{"type":"mcp_tool_call","tool":"pay",{members}}}]"#);
    details(&text).unwrap().0.remove(0)
}

#[test]
fn arguments_are_within_the_schema_or_the_call_is_not() {
    let limit =
        one(r#""arguments":{"properties":{"amount":{"maximum":50}},"required":["amount"]}"#);
    assert!(limit.holds(Some(r#"{"amount":50}"#)));
    assert!(limit.holds(Some(r#"{"amo\u0075nt":5e1}"#)));
    for arguments in [r#"{"amount":51}"#, "{}", "[]", "", "{", r#"{"amount":1,"amount":1}"#] {
        assert!(!limit.holds(Some(arguments)), "{arguments}");
    }
    assert!(!limit.holds(None));
    assert!(!limit.holds(Some(r#"{"amount":1,"n":9007199254740993}"#)));
    let long = format!(r#"{{"amount":1,"x":"{}"}}"#, "x".repeat(70_000));
    assert!(!limit.holds(Some(&long)));
}

#[test]
fn a_digest_means_exactly_these_arguments() {
    let digest = attorn_jose::base64url(&sha256(br#"{"a":1,"b":"x"}"#));
    let exact = one(&format!(r#""arguments_digest":"{digest}""#));
    assert!(exact.holds(Some(r#"{"b":"\u0078", "a":1.0}"#)));
    assert!(!exact.holds(Some(r#"{"a":1,"b":"y"}"#)));
    assert!(!exact.holds(None));
}

#[test]
fn malformed_details_are_refused() {
    for (text, why) in [
        ("[]", DetailsRefusal::Form),
        ("{}", DetailsRefusal::Form),
        ("null", DetailsRefusal::Form),
        ("[1]", DetailsRefusal::Form),
        (r#"[{"tool":"pay","max_calls":1}]"#, DetailsRefusal::Form),
        (r#"[{"type":"payment","tool":"pay"}]"#, DetailsRefusal::Type),
        (r#"[{"type":"mcp_tool_call","tool":"pay"}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","max_calls":1}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","tool":"","max_calls":1}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","tool":["pay"],"max_calls":1}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","tool":"pay","max_calls":0}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","tool":"pay","max_calls":"1"}]"#, DetailsRefusal::Form),
        (r#"[{"type":"mcp_tool_call","tool":"pay","max_calls":null}]"#, DetailsRefusal::Form),
        (
            r#"[{"type":"mcp_tool_call","tool":"pay","max_calls":1,"actions":[]}]"#,
            DetailsRefusal::Form,
        ),
        (
            r#"[{"type":"mcp_tool_call","tool":"pay","arguments_digest":"AA"}]"#,
            DetailsRefusal::Form,
        ),
        (
            r#"[{"type":"mcp_tool_call","tool":"pay","arguments":true}]"#,
            DetailsRefusal::Schema(SchemaRefusal::NotAnObject),
        ),
        (
            r#"[{"type":"mcp_tool_call","tool":"pay","tool":"x","max_calls":1}]"#,
            DetailsRefusal::Form,
        ),
    ] {
        assert_eq!(details(text), Err(why), "{text}");
    }
    let many = vec![r#"{"type":"mcp_tool_call","tool":"pay","max_calls":1}"#; DETAILS_MAX + 1];
    assert_eq!(details(&format!("[{}]", many.join(","))), Err(DetailsRefusal::TooLarge));
}

#[test]
fn details_read_back() {
    let text =
        r#"[{"arguments":{"maxProperties":3},"max_calls":2,"tool":"pay","type":"mcp_tool_call"}]"#;
    let read = details(text).unwrap();
    assert_eq!(read.to_text(), text);
    assert_eq!(AuthorizationDetails::parse_made(text), Ok(read.clone()));
    let kept: Vec<CallConstraint> = serde_json::from_str(text).unwrap();
    assert_eq!(kept, read.as_slice());
}

fn narrowed(asked: Option<&CallConstraint>, granted: &[CallConstraint]) -> Option<CallConstraint> {
    let asked = asked.map(|asked| AuthorizationDetails(vec![asked.clone()]));
    let narrowed = AuthorizationDetails::narrow(asked.as_ref(), &[granted.to_vec()]).unwrap();
    narrowed.map(|mut details| details.0.remove(0))
}

#[test]
fn what_was_asked_and_what_was_granted_both_hold() {
    let asked = one(r#""arguments":{"properties":{"n":{"minimum":3}}},"max_calls":9"#);
    let granted = one(r#""arguments":{"properties":{"n":{"maximum":5}}},"max_calls":2"#);
    let both = narrowed(Some(&asked), std::slice::from_ref(&granted)).unwrap();
    assert_eq!(both.max_calls, Some(2));
    for (n, holds) in [(2, false), (3, true), (5, true), (6, false)] {
        assert_eq!(both.holds(Some(&format!(r#"{{"n":{n}}}"#))), holds, "{n}");
    }
    assert_eq!(narrowed(None, std::slice::from_ref(&granted)), Some(granted));
    assert_eq!(narrowed(Some(&asked), &[]), Some(asked));
}

#[test]
fn two_digests_contradict_each_other() {
    let of = |text: &[u8]| {
        one(&format!(r#""arguments_digest":"{}""#, attorn_jose::base64url(&sha256(text))))
    };
    let asked = AuthorizationDetails(vec![of(b"{}")]);
    let refused = AuthorizationDetails::narrow(Some(&asked), &[vec![of(b"[]")]]);
    assert_eq!(refused, Err(DetailsRefusal::Contradiction));
}

fn bound() -> impl Strategy<Value = CallConstraint> {
    (proptest::option::of(0..8_u8), proptest::option::of(0..8_u8), proptest::option::of(1..5_u64))
        .prop_filter("limits something", |(low, high, calls)| {
            low.is_some() || high.is_some() || calls.is_some()
        })
        .prop_map(|(low, high, calls)| {
            let mut n = serde_json::Map::new();
            n.extend(low.map(|low| ("minimum".to_owned(), low.into())));
            n.extend(high.map(|high| ("maximum".to_owned(), high.into())));
            let schema = serde_json::json!({"properties": {"n": n}}).to_string();
            let arguments =
                (low.is_some() || high.is_some()).then(|| ArgumentsSchema::parse(&schema).unwrap());
            CallConstraint {
                tool: "pay".into(),
                arguments,
                arguments_digest: None,
                max_calls: calls,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn narrowing_never_widens(
        asked in proptest::option::of(bound()),
        granted in proptest::collection::vec(bound(), 0..3),
        n in 0..8_u8,
    ) {
        let Some(token) = narrowed(asked.as_ref(), &granted) else { return Ok(()) };
        let call = format!(r#"{{"n":{n}}}"#);
        if token.holds(Some(&call)) {
            prop_assert!(asked.as_ref().is_none_or(|asked| asked.holds(Some(&call))));
        }
        if let Some(asked) = &asked {
            prop_assert!(token.max_calls.unwrap_or(u64::MAX) <= asked.max_calls.unwrap_or(u64::MAX));
        }
        if let [only] = &granted[..] {
            prop_assert!(!token.holds(Some(&call)) || only.holds(Some(&call)));
            prop_assert!(token.max_calls.unwrap_or(u64::MAX) <= only.max_calls.unwrap_or(u64::MAX));
        }
        // What every grant refuses, the token refuses, unless no one detail can say it.
        let says_it = granted.iter().all(|one| one.arguments.is_some()) && !granted.is_empty();
        if says_it && !granted.iter().any(|one| one.holds(Some(&call))) {
            prop_assert!(!token.holds(Some(&call)));
        }
    }
}
