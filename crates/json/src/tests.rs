use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const SMALL: Limits = Limits { bytes_max: 256, depth_max: 4 };

fn accepts(text: &str) {
    assert!(parse(text.as_bytes(), &Limits::MESSAGE).is_ok(), "{text} should be accepted");
}

fn refuses(bytes: &[u8]) {
    assert!(parse(bytes, &Limits::MESSAGE).is_err(), "{bytes:?} should be refused");
}

fn check(bytes: &[u8], expected: JsonError) {
    assert_eq!(parse(bytes, &SMALL).err(), Some(expected), "{bytes:?}");
}

/// Texts that are accepted, one space apart.
const ACCEPTED: &str = r#"
    {} [] null true false 0 -0 -1 10 1.5 1e3 1E-3 1.0e+2 1e-400 0.10 123456789012345678901234567890
    "" "\"\\\/\b\f\n\r\t\u0041" "\uD83D\uDE00" "a\u0000b" [[],{}] {"":0} {"a\u0062":1,"a":2}
    {"a":{"a":1},"b":[{"a":1},{"a":2}]} "é" "日本" {"é":[1]}
"#;

#[test]
fn accepts_the_grammar_of_rfc_8259() {
    for text in ACCEPTED.split_whitespace() {
        accepts(text);
    }
    for text in [" [1 , 2 ,[ ] ,{ } ]\n", "\"\u{2028}\"", "\"\u{7f}\"", "\r\n\t {\"\":0} "] {
        accepts(text);
    }
}

/// Texts that are refused, one space apart so that the table stays readable.
const REFUSED: &str = r#"
    [ ] { } [1 [1, [1,] [,1] [,] [1,,2] [1} [1]] [1][
    {,} {"a"} {"a":} {"a":1,} {"a":1"b":2} {a:1} {1:1} {'a':1} {"a":1] {"a"::1} {:1} {"a":1 {"a
    {null:1} {[]:1} {}{} [][] {}x {}] {}, ,{}
    01 -01 00 +1 .5 1. - -- --1 1e 1e+ 1e- 1.e1 1.2.3 0x10 1_000 0e -.5 1ee2 1e1.5 1a 0b1 -a
    NaN Infinity -Infinity nan True TRUE tru nul nulll truee undefined none
    " "a "\ "\x" "\u" "\u12" "\u12G4" "\a" "\'" "\u{41}" 'a' "a"b "\U0041" "\0"
    /**/1 1// #1 * `1` @ \u0031 <a/> a=1
"#;

#[test]
fn refuses_what_the_grammar_does_not_allow() {
    for text in REFUSED.split_whitespace() {
        refuses(text.as_bytes());
    }
    for text in [
        "",
        " ",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "1 2",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"a\0b\"",
        "\u{a0}1",
        "\u{2028}1",
        "\u{c}1",
        "1\u{b}",
        "[]\0",
        "\0",
        "\u{200b}{}",
        "- 1",
        "1 .5",
    ] {
        refuses(text.as_bytes());
    }
}

#[test]
fn names_the_offset() {
    check(b"[1,]", JsonError::Syntax { offset: 3 });
    check(b"{\"a\":tru}", JsonError::Syntax { offset: 8 });
    check(b"\"ab\ncd\"", JsonError::Syntax { offset: 3 });
    check(b"{} {}", JsonError::TrailingData { offset: 3 });
    check(b"[1e400]", JsonError::NumberRange { offset: 1 });
    check(b"[-1e400]", JsonError::NumberRange { offset: 1 });
}

#[test]
fn refuses_duplicate_names_in_any_spelling_and_depth() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"x":{"y":[{"k":1,"k":2}]}}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"\uD83D\uDE00":1,"😀":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        check(text.as_bytes(), JsonError::DuplicateKey);
    }
    accepts(r#"{"a":1,"A":2,"a ":3}"#);
    // Composed and decomposed letters are different names.
    accepts("{\"\u{e9}\":1,\"e\u{301}\":2}");
}

#[test]
fn finds_a_duplicate_in_a_large_object() {
    let names: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":{n}")).collect();
    accepts(&format!("{{{}}}", names.join(",")));
    refuses(format!("{{{},\"k17\":0}}", names.join(",")).as_bytes());
}

#[test]
fn refuses_encodings_other_than_plain_utf_8() {
    check(b"\xEF\xBB\xBF{}", JsonError::Bom);
    check(b"\xFF\xFE{\0}\0", JsonError::Bom);
    check(b"\xFE\xFF\0{\0}", JsonError::Bom);
    check(b"\"\xFF\"", JsonError::Encoding);
    check(b"\"\xC0\xAF\"", JsonError::Encoding);
    check(b"\"\xED\xA0\x80\"", JsonError::Encoding);
    check(b"{\0}\0", JsonError::Syntax { offset: 1 });
    check(b"\0{\0}", JsonError::Syntax { offset: 0 });
}

#[test]
fn refuses_lone_surrogates_and_nul_in_names() {
    check(br#""\uD800""#, JsonError::LoneSurrogate { offset: 1 });
    check(br#""\uDC00""#, JsonError::LoneSurrogate { offset: 1 });
    check(br#""\uD800\uD800""#, JsonError::LoneSurrogate { offset: 1 });
    check(br#""\uD800x""#, JsonError::LoneSurrogate { offset: 1 });
    check(br#"{"\uDFFF":1}"#, JsonError::LoneSurrogate { offset: 2 });
    check(br#"{"a\u0000":1}"#, JsonError::NulInKey { offset: 1 });
}

#[test]
fn holds_the_limits() {
    check(&[b' '; 257], JsonError::ByteLimit { max: 256 });
    check(b"[[[[[]]]]]", JsonError::DepthLimit { max: 4 });
    assert!(parse(b"[[[[1]]]]", &SMALL).is_ok());
    assert!(parse(&b"[".repeat(100_000), &Limits::MESSAGE).is_err());
    refuses("1".repeat(2_000).as_bytes());
    let many: Vec<String> = (0..70_000).map(|n| format!("\"{n}\":0")).collect();
    let error = parse(format!("{{{}}}", many.join(",")).as_bytes(), &Limits::MESSAGE).err();
    assert_eq!(error, Some(JsonError::MemberLimit { max: 65_536 }));
}

#[derive(Debug, Deserialize, PartialEq)]
struct Pair<'a> {
    left: &'a str,
    right: u8,
}

#[test]
fn reads_an_object_but_no_array_into_a_struct() {
    let object = parse(br#"{"left":"l","right":2}"#, &SMALL).unwrap();
    assert_eq!(object.to::<Pair<'_>>().unwrap(), Pair { left: "l", right: 2 });
    let array = parse(br#"["l",2]"#, &SMALL).unwrap();
    assert!(matches!(array.to::<Pair<'_>>(), Err(ShapeError::NotAnObject)));
    let other = parse(br#"{"left":1}"#, &SMALL).unwrap();
    assert!(matches!(other.to::<Pair<'_>>(), Err(ShapeError::Members(_))));
}

#[test]
fn views_members_and_items_without_copying() {
    let text = br#" {"a" : [1, "x\n", {"b":"]}"} , null], "c\u0064":true, "e":{} } "#;
    let value = parse(text, &Limits::MESSAGE).unwrap().value();
    let names: Vec<String> = value.members().unwrap().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["a", "cd", "e"]);
    let items: Vec<&str> = value.member("a").unwrap().items().unwrap().map(Value::text).collect();
    assert_eq!(items, ["1", r#""x\n""#, r#"{"b":"]}"}"#, "null"]);
    assert_eq!(value.member("cd").and_then(Value::boolean), Some(true));
    assert_eq!(value.member("e").unwrap().members().unwrap().count(), 0);
    assert!(value.member("b").is_none());
}

/// RFC 8785 section 3.2.4 and the sorting example of section 3.2.3.
#[test]
fn writes_the_examples_of_rfc_8785() {
    let example = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(canonical_text(example), expected);
    let sorting = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
    let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
    assert_eq!(canonical_text(sorting), expected);
    assert_eq!(canonical_text("[-0, 1.0, 9007199254740991]"), "[0,1,9007199254740991]");
}

#[test]
fn refuses_integers_a_double_cannot_hold() {
    for text in [
        "9007199254740992",
        "[-9007199254740993]",
        "{\"a\":18446744073709551616}",
        "9007199254740993.0",
    ] {
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        assert_eq!(canonical(&document), Err(CanonicalError::IntegerRange), "{text}");
    }
}

fn canonical_text(text: &str) -> String {
    let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
    String::from_utf8(canonical(&document).unwrap()).unwrap()
}

proptest! {
    /// What the scanner accepts, an independent reader accepts too.
    #[test]
    fn accepts_nothing_that_serde_json_refuses(text in r#"[\[\]{}:, "\\a0-1.eEtrufnls-]{0,24}"#) {
        if parse(text.as_bytes(), &Limits::MESSAGE).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(document) = parse(&bytes, &Limits::MESSAGE) {
            prop_assert!(document.text().len() <= bytes.len());
        }
    }

    #[test]
    fn canonical_form_is_stable_and_equal_in_value(words in proptest::collection::btree_map(".{0,6}", any::<f64>(), 0..8)) {
        let words: std::collections::BTreeMap<_, _> =
            words.into_iter().filter(|(name, number)| !name.contains('\0') && number.abs() < 1e15).collect();
        let text = serde_json::to_string(&words).unwrap();
        let once = canonical_text(&text);
        prop_assert_eq!(&canonical_text(&once), &once);
        let back: std::collections::BTreeMap<String, f64> = serde_json::from_str(&once).unwrap();
        prop_assert_eq!(back.len(), words.len());
    }
}
