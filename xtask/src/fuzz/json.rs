//! Strict JSON: accepted means that other readers read the same value.

use attorn_json::{JsonError, canonical, parse};
use serde_json::Value;

use super::corpus::Corpus;
use super::random::Random;
use super::spell::{LIMITS, respelled};
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const JSON_STRICT: Target = Target {
    name: "json_strict",
    oracle: "accepted: serde_json reads an equal value, and the canonical form is its own and the \
             same in any spelling; refused: serde_json refuses too, or the rule is one it lacks",
    prepare,
};

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds = corpus.texts("mcp/frames.json", "/input")?;
    seeds.extend(corpus.texts("jose/jwk.json", "/input")?);
    seeds.extend(corpus.texts("audit/entry.json", "/input")?);
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let reference = serde_json::from_slice::<Value>(input);
    let document = match parse(input, &LIMITS) {
        Ok(document) => document,
        Err(refusal) => {
            let grammar = matches!(
                refusal,
                JsonError::Encoding
                    | JsonError::Syntax { .. }
                    | JsonError::TrailingData { .. }
                    | JsonError::LoneSurrogate { .. }
                    | JsonError::Bom
            );
            ensure(!grammar || reference.is_err(), "serde_json takes what the grammar refuses")?;
            return Ok(Seen::refused(&refusal));
        }
    };
    let reference = reference.map_err(|error| format!("serde_json refuses it: {error}"))?;
    let again = serde_json::from_str::<Value>(document.text()).ok();
    ensure(again.as_ref() == Some(&reference), "the text without its white space differs")?;
    let Ok(form) = canonical(&document) else { return Ok(Seen::refused(&"no canonical form")) };
    let value: Value = serde_json::from_slice(&form).map_err(|error| error.to_string())?;
    ensure(same(&value, &reference), "the canonical form has another value")?;
    let reread = parse(&form, &LIMITS).map_err(|error| error.to_string())?;
    ensure(canonical(&reread).ok().as_ref() == Some(&form), "two canonical forms")?;
    let spelled = respelled(&document, &mut Random::of(input));
    let spelled = parse(&spelled, &LIMITS).map_err(|error| format!("spelling: {error}"))?;
    ensure(canonical(&spelled).ok() == Some(form), "the canonical form depends on the spelling")?;
    Ok(Seen::accepted(&document.is_object()))
}

/// `serde_json` may be off by the last bit of a double, depending on the digits it is given.
fn near(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-15,
        (a, b) => a == b,
    }
}

/// Equal, where `1.0` and `1` are one number.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => near(a.as_f64(), b.as_f64()),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
