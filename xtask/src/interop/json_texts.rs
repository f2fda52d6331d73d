//! The texts of `JSONTestSuite` through our reader of JSON.
//!
//! The package has them as text: where a file is no UTF-8, it has a replacement character instead.
//! Those are counted and left out; `vectors/json` has such bytes of our own.

use std::process::Command;
use std::time::Duration;

use attorn_json::{Limits, parse};
use serde::Deserialize;

use super::{interop, node_binary};
use crate::bounded::output_within;
use crate::step::StepFailed;

#[derive(Debug, Deserialize)]
struct Text {
    name: String,
    input: String,
}

/// Texts that any reader has to accept, and ours refuses: two readers of a message could see two
/// different ones.
const REFUSED_ON_PURPOSE: [&str; 3] = [
    "y_object_duplicated_key.json",
    "y_object_duplicated_key_and_value.json",
    "y_object_escaped_null_in_key.json",
];

/// Texts that readers may take or not, and ours takes.
const TAKEN: [&str; 5] = [
    "i_number_double_huge_neg_exp.json",
    "i_number_real_underflow.json",
    "i_number_too_big_neg_int.json",
    "i_number_too_big_pos_int.json",
    "i_number_very_big_negative_int.json",
];

/// Judged, of them accepted, and left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    judged: usize,
    accepted: usize,
    left_out: usize,
}

/// As many as the pinned version has.
const EXPECTED: Tally = Tally { judged: 293, accepted: 97, left_out: 25 };

/// Judges every text.
///
/// # Errors
/// At the first text with another verdict than it must have, or when there are more or fewer.
pub(super) fn run() -> Result<(), StepFailed> {
    let mut command = Command::new(node_binary());
    command.arg("clients/json-texts.mjs").current_dir(interop(""));
    let output = output_within("json", Duration::from_secs(30), &mut command)?;
    let texts: Vec<Text> = serde_json::from_slice(&output.stdout)
        .map_err(|error| StepFailed::Check(format!("the texts of JSONTestSuite: {error}")))?;
    let mut tally = Tally::default();
    for text in &texts {
        if text.input.contains(char::REPLACEMENT_CHARACTER) {
            tally.left_out += 1;
            continue;
        }
        let verdict = parse(text.input.as_bytes(), &Limits::MESSAGE);
        if verdict.is_ok() != is_to_accept(&text.name)? {
            let name = &text.name;
            return Err(StepFailed::Check(format!("JSONTestSuite {name}: {verdict:?}")));
        }
        tally.judged += 1;
        tally.accepted += usize::from(verdict.is_ok());
    }
    if tally != EXPECTED {
        return Err(StepFailed::Check(format!("JSONTestSuite: {tally:?}")));
    }
    println!(
        "JSONTestSuite: {} texts, {} accepted, {} that are no text left out",
        tally.judged, tally.accepted, tally.left_out
    );
    Ok(())
}

/// By the first letter of its name: `y` must be accepted, `n` refused, `i` may be either.
fn is_to_accept(name: &str) -> Result<bool, StepFailed> {
    match name.as_bytes().first() {
        Some(b'y') => Ok(!REFUSED_ON_PURPOSE.contains(&name)),
        Some(b'n') => Ok(false),
        Some(b'i') => Ok(TAKEN.contains(&name)),
        _ => Err(StepFailed::Check(format!("JSONTestSuite has an unknown kind: {name}"))),
    }
}
