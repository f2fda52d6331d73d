//! Runs `vectors/oauth` and `vectors/dpop`.
//!
//! A row names what differs from a good token, proof or request, and the one outcome. An outcome
//! nobody knows fails, and so does a refusal that no row shows.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper fails its test by panicking, and says which row it was"
)]

mod access_token;
mod client_assertion;
mod dpop;
mod enrolment;
mod errors;
mod forge;
mod token_request;

use std::collections::BTreeSet;

use serde::Deserialize;

/// The time of every row that names none.
const NOW_S: u64 = 1_800_000_000;
const ISSUER: &str = "https://auth.example";
const RESOURCE: &str = "https://gateway.example/billing/mcp";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<T> {
    name: String,
    section: String,
    input: T,
    expect: String,
}

/// Runs all rows, and checks that every refusal in `refusals` occurs.
fn run<T: for<'de> Deserialize<'de>>(
    file: &str,
    refusals: &[&str],
    outcome_of: impl Fn(&T) -> String,
) {
    let rows: Vec<Row<T>> = serde_json::from_str(file).unwrap();
    let mut missing: BTreeSet<_> = refusals.iter().copied().collect();
    for row in rows {
        assert!(row.section.starts_with("RFC "), "{}: cites nothing", row.name);
        assert_eq!(outcome_of(&row.input), row.expect, "{}, {}", row.name, row.section);
        missing.remove(row.expect.as_str());
    }
    assert!(missing.is_empty(), "no row shows {missing:?}");
}
