use attorn_json::Limits;
use proptest::prelude::*;
use serde::Deserialize;

use super::{Decision, Entry, EntryError, Outcome};
use crate::Kind;
use crate::tile::ENTRY_BYTES_MAX;

/// An entry with every field set to `text` and every number to `number`.
fn full(text: &str, number: u64) -> Entry {
    let text = || Some(text.to_owned());
    Entry {
        actor_chain: text(),
        agent: text(),
        agent_key: text(),
        approval: text(),
        arguments_bytes: Some(number),
        arguments_digest: text(),
        audience: text(),
        by: text(),
        class: text(),
        client_id: text(),
        constraint_digest: text(),
        decision: Some(Decision::Permit),
        decision_id: text(),
        detail: (0..40).map(|i| (format!("{i}{}", text().unwrap()), text().unwrap())).collect(),
        downstream_request_id: text(),
        downstream_resource: text(),
        downstream_status: text(),
        duration_us: Some(number),
        exchanged_jti: text(),
        grant: text(),
        kind: Kind::CallDecided,
        mcp_version: text(),
        method: text(),
        outcome: Some(Outcome::Unknown),
        owner: text(),
        policy_version: text(),
        proof_jti: text(),
        proof_key: text(),
        reason: text(),
        request_id: text(),
        result_bytes: Some(number),
        result_digest: text(),
        role: text(),
        rule: text(),
        scope: text(),
        server: text(),
        server_key: text(),
        subject: text(),
        time_ms: number,
        token_jti: text(),
        tool: text(),
        tool_digest: text(),
        trace_id: text(),
    }
}

/// The canonical form as another implementation of RFC 8785 sees it.
fn canonical_by_oracle(bytes: &[u8]) -> Vec<u8> {
    attorn_json::canonical(&attorn_json::parse(bytes, &Limits::MESSAGE).unwrap()).unwrap()
}

#[test]
fn entry_vectors() {
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        input: String,
        expect: String,
    }
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../../../vectors/audit/entry.json")).unwrap();
    for Vector { name, input, expect } in vectors {
        let got = match Entry::parse(input.as_bytes()) {
            Ok(entry) => {
                assert_eq!(entry.to_canonical(), input.as_bytes(), "{name}");
                "entry"
            }
            Err(EntryError::NotAnEntry) => "not_an_entry",
            Err(EntryError::NotCanonical) => "not_canonical",
            Err(EntryError::NotJson) => "not_json",
        };
        assert_eq!(got, expect, "{name}");
    }
}

#[test]
fn every_kind_and_outcome_reads_back() {
    for kind in Kind::ALL {
        let entry = Entry::new(kind, 5);
        assert_eq!(Entry::parse(&entry.to_canonical()), Ok(entry));
    }
    for outcome in [
        Outcome::Cancelled,
        Outcome::Ok,
        Outcome::ProtocolError,
        Outcome::ToolError,
        Outcome::Unknown,
        Outcome::UpstreamError,
    ] {
        let mut entry = Entry::new(Kind::CallCompleted, 5);
        entry.outcome = Some(outcome);
        entry.decision = Some(Decision::Deny);
        assert_eq!(Entry::parse(&entry.to_canonical()), Ok(entry));
    }
}

#[test]
fn hostile_text_is_one_escaped_record() {
    let mut entry = Entry::new(Kind::CallDecided, 5);
    entry.tool = Some("a\r\n{\"kind\":\"lock.lifted\"}\u{1b}[2J=cmd()${jndi}\0".into());
    let bytes = entry.to_canonical();
    assert!(bytes.iter().all(|byte| *byte >= 0x20));
    assert_eq!(Entry::parse(&bytes), Ok(entry));
}

#[test]
fn long_text_keeps_its_beginning_and_gains_its_digest() {
    let mut entry = Entry::new(Kind::CallDecided, 5);
    entry.tool = Some("\u{1f600}".repeat(1 << 18));
    let first = Entry::parse(&entry.to_canonical()).unwrap().tool.unwrap();
    assert!(first.starts_with("\u{1f600}\u{1f600}") && first.contains("…[sha256:"));
    assert!(first.len() <= 768);
    entry.tool = Some(format!("{}!", entry.tool.unwrap()));
    assert_ne!(Entry::parse(&entry.to_canonical()).unwrap().tool.unwrap(), first);
}

#[test]
fn the_largest_entry_fits_a_bundle() {
    for text in ["\u{1}", "\"", "x", "é", "\u{1f600}"] {
        let bytes = full(&text.repeat(5_000), u64::MAX).to_canonical();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        let entry = Entry::parse(&bytes).unwrap();
        assert_eq!(entry.time_ms, (1 << 53) - 1);
        assert_eq!(entry.detail["~omitted"], "17");
        assert_eq!(entry.to_canonical(), bytes);
    }
}

proptest! {
    #[test]
    fn canonical_bytes_are_those_of_rfc_8785(
        text in any::<String>(),
        number in any::<u64>(),
        detail in prop::collection::btree_map("[^\u{0}]{0,9}", any::<String>(), 0..30),
    ) {
        let mut entry = full(&text, number);
        entry.detail = detail;
        let bytes = entry.to_canonical();
        prop_assert_eq!(&canonical_by_oracle(&bytes), &bytes);
        prop_assert_eq!(Entry::parse(&bytes).unwrap().to_canonical(), bytes);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Entry::parse(&bytes).is_err());
    }
}
