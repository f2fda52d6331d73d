//! Runs `vectors/json`: a verdict for each class of text, and the canonical form of the examples.
//!
//! `grammar` says what RFC 8259 says: `valid`, `invalid`, or `undefined` where readers may differ.
//! `expect` is our verdict, and there is one for every undefined text as well.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper fails its test by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use attorn_json::{CanonicalError, JsonError, Limits, Value, canonical, parse};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    section: String,
    input: Option<String>,
    hex: Option<String>,
    repeat: Option<Repeat>,
    grammar: Grammar,
    expect: String,
    why: String,
}

/// A text that is too long to be written down: `open`, `item` so many times, `close`, and `then`
/// as often as `item`. `{n}` in an item is its number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    open: String,
    item: String,
    close: String,
    #[serde(default)]
    then: String,
    times: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Grammar {
    Valid,
    Invalid,
    Undefined,
}

impl Row {
    fn bytes(&self) -> Vec<u8> {
        match (&self.input, &self.hex, &self.repeat) {
            (Some(text), None, None) => text.as_bytes().to_vec(),
            (None, Some(hex), None) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap())
                .collect(),
            (None, None, Some(repeat)) => {
                let items = (0..repeat.times).map(|n| repeat.item.replace("{n}", &n.to_string()));
                let items: String = items.collect();
                let then = repeat.then.repeat(repeat.times);
                format!("{}{items}{}{then}", repeat.open, repeat.close).into_bytes()
            }
            _ => panic!("{}: exactly one of `input`, `hex`, `repeat`", self.name),
        }
    }
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("../../../vectors/json/verdicts.json")).unwrap()
}

fn name_of(error: JsonError) -> &'static str {
    match error {
        JsonError::Bom => "Bom",
        JsonError::ByteLimit { .. } => "ByteLimit",
        JsonError::DepthLimit { .. } => "DepthLimit",
        JsonError::DuplicateKey => "DuplicateKey",
        JsonError::Encoding => "Encoding",
        JsonError::LoneSurrogate { .. } => "LoneSurrogate",
        JsonError::MemberLimit { .. } => "MemberLimit",
        JsonError::NulInKey { .. } => "NulInKey",
        JsonError::NumberRange { .. } => "NumberRange",
        JsonError::Syntax { .. } => "Syntax",
        JsonError::TrailingData { .. } => "TrailingData",
    }
}

#[test]
fn every_text_has_its_verdict() {
    let mut verdicts: BTreeMap<(Grammar, bool), usize> = BTreeMap::new();
    let mut refusals = BTreeSet::new();
    let mut names = BTreeSet::new();
    for row in rows() {
        assert!(row.section.starts_with("RFC ") && !row.why.is_empty(), "{}", row.name);
        assert!(names.insert(row.name.clone()), "{} is there twice", row.name);
        let bytes = row.bytes();
        let verdict = match parse(&bytes, &Limits::MESSAGE) {
            Ok(_document) => "accept",
            Err(error) => name_of(error),
        };
        assert_eq!(verdict, row.expect, "{}: {}", row.name, row.why);
        let accepted = verdict == "accept";
        match row.grammar {
            Grammar::Valid => assert!(accepted, "{}: valid, and refused", row.name),
            Grammar::Invalid => assert!(!accepted, "{}: invalid, and accepted", row.name),
            Grammar::Undefined => {}
        }
        *verdicts.entry((row.grammar, accepted)).or_default() += 1;
        if !accepted {
            refusals.insert(row.expect);
        }
    }
    // Counted, so that rows cannot get lost.
    let count = |grammar, accepted| verdicts.get(&(grammar, accepted)).copied().unwrap_or(0);
    assert_eq!(count(Grammar::Valid, true), VALID);
    assert_eq!(count(Grammar::Invalid, false), INVALID);
    assert_eq!(count(Grammar::Undefined, false), UNDEFINED);
    assert_eq!(count(Grammar::Undefined, true), 0, "an undefined text is refused, or said here");
    assert_eq!(refusals.len(), 11, "a refusal no row shows: only {refusals:?}");
}

/// What RFC 8259 allows and we accept; what it does not allow; what it leaves open and we refuse.
const VALID: usize = 91;
const INVALID: usize = 165;
const UNDEFINED: usize = 35;

#[test]
fn serde_json_agrees_where_the_grammar_decides() {
    let mut compared = 0;
    for row in rows() {
        let bytes = row.bytes();
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
        match (parse(&bytes, &Limits::MESSAGE), row.grammar) {
            (Ok(document), _) => {
                let theirs = theirs.unwrap_or_else(|error| panic!("{}: {error}", row.name));
                assert!(same(document.value(), &theirs), "{}: another value", row.name);
                compared += 1;
            }
            (Err(_), Grammar::Invalid) => assert!(theirs.is_err(), "{}", row.name),
            (Err(_), Grammar::Valid | Grammar::Undefined) => {}
        }
    }
    assert_eq!(compared, VALID);
}

/// Whether two readers see one value. Numbers are compared as doubles.
fn same(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    match theirs {
        serde_json::Value::Null => ours.is_null(),
        serde_json::Value::Bool(value) => ours.boolean() == Some(*value),
        serde_json::Value::Number(value) => {
            let own = ours.number().and_then(|token| token.parse::<f64>().ok());
            // serde_json may be off by the last bit of a double.
            own.zip(value.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-15)
        }
        serde_json::Value::String(text) => ours.string().is_some_and(|own| own == text.as_str()),
        serde_json::Value::Array(items) => {
            let own: Vec<Value<'_>> = ours.items().into_iter().flatten().collect();
            own.len() == items.len() && own.iter().zip(items).all(|(a, b)| same(*a, b))
        }
        serde_json::Value::Object(members) => {
            let own: Vec<_> = ours.members().into_iter().flatten().collect();
            let known = |name: &str| members.get(name);
            own.len() == members.len()
                && own.iter().all(|(name, a)| known(name).is_some_and(|b| same(*a, b)))
        }
    }
}

#[test]
fn the_canonical_form_of_the_examples() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: String,
        section: String,
        input: String,
        expect: String,
    }
    let examples: Vec<Example> =
        serde_json::from_str(include_str!("../../../vectors/json/canonical.json")).unwrap();
    assert_eq!(examples.len(), 30);
    for Example { name, section, input, expect } in examples {
        assert!(section.starts_with("RFC "), "{name}");
        let document = parse(input.as_bytes(), &Limits::MESSAGE).unwrap();
        let form = match canonical(&document) {
            Ok(bytes) => String::from_utf8(bytes).unwrap(),
            Err(CanonicalError::IntegerRange) => "IntegerRange".to_owned(),
        };
        assert_eq!(form, expect, "{name}, {section}");
    }
}
