//! The export bundle: everything an auditor needs to verify some entries, in one JSON document.
//!
//! ```json
//! {"checkpoint":"<signed note>",
//!  "consistency":{"checkpoint":"<earlier signed note>","proof":["<base64>"]},
//!  "entries":[{"entry":{},"index":4,"proof":["<base64>"]}],
//!  "keys":["<vkey>"],
//!  "version":"attorn-audit-bundle/1"}
//! ```
//!
//! `entry` is the logged JSON itself, so a person can read the bundle. `consistency` is there when
//! the auditor named an earlier checkpoint. Entries stand in ascending order of their index.
//!
//! `proof` is the audit path of RFC 6962 section 2.1.1, from the leaf up. Paths of neighbours meet:
//! the hashes with which the path of the entry before it ends as well may be left out at the end.
//! How many are missing follows from index and size. For entries in a row this leaves two of twenty.

use crate::encode::push_string;
use crate::note::NoteVerifier;
use crate::tree::Hash;

/// The value of `version`.
pub const VERSION: &str = "attorn-audit-bundle/1";

/// A bundle to be written.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The checkpoint that all proofs lead to, a signed note.
    pub checkpoint: String,
    /// An earlier checkpoint and the proof that this log extends it.
    pub consistency: Option<Consistency>,
    /// The entries, ascending by index.
    pub entries: Vec<ProvenEntry>,
    /// Keys that signed the checkpoints.
    pub keys: Vec<NoteVerifier>,
}

/// An earlier checkpoint of the same log.
#[derive(Clone, Debug)]
pub struct Consistency {
    /// The earlier checkpoint, a signed note.
    pub checkpoint: String,
    /// RFC 6962 section 2.1.2.
    pub proof: Vec<Hash>,
}

/// An entry and its inclusion proof.
#[derive(Clone, Debug)]
pub struct ProvenEntry {
    /// Position in the log.
    pub index: u64,
    /// The logged bytes: canonical JSON.
    pub entry: Vec<u8>,
    /// RFC 6962 section 2.1.1.
    pub proof: Vec<Hash>,
}

impl Bundle {
    /// The JSON document.
    ///
    /// # Errors
    /// Gives the index of an entry that is not a JSON object and cannot stand in a JSON document.
    pub fn to_json(&self) -> Result<Vec<u8>, EntryNotJson> {
        let mut out = b"{\"checkpoint\":".to_vec();
        push_string(&mut out, &self.checkpoint);
        if let Some(consistency) = &self.consistency {
            out.extend_from_slice(b",\"consistency\":{\"checkpoint\":");
            push_string(&mut out, &consistency.checkpoint);
            push_proof(&mut out, &consistency.proof);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"entries\":[");
        let mut before: &[Hash] = &[];
        for (position, proven) in self.entries.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            // Nothing that could close the object early may slip into the document unparsed.
            attorn_json::parse(&proven.entry, &attorn_json::Limits::MESSAGE)
                .ok()
                .filter(attorn_json::Document::is_object)
                .ok_or(EntryNotJson { index: proven.index })?;
            out.extend_from_slice(b"{\"entry\":");
            out.extend_from_slice(&proven.entry);
            out.extend_from_slice(b",\"index\":");
            out.extend_from_slice(proven.index.to_string().as_bytes());
            let met = met(before, &proven.proof);
            push_proof(&mut out, proven.proof.get(..met).unwrap_or_default());
            before = &proven.proof;
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"keys\":[");
        for (position, key) in self.keys.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_string(&mut out, &key.to_vkey());
        }
        out.extend_from_slice(b"],\"version\":");
        push_string(&mut out, VERSION);
        out.push(b'}');
        Ok(out)
    }
}

/// The entry at this index is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} is not a JSON object")]
pub struct EntryNotJson {
    /// Position in the log.
    pub index: u64,
}

/// How many hashes of `path` come before the end that it has in common with `before`.
fn met(before: &[Hash], path: &[Hash]) -> usize {
    let pairs = before.iter().rev().zip(path.iter().rev());
    path.len() - pairs.take_while(|(a, b)| a == b).count()
}

fn push_proof(out: &mut Vec<u8>, proof: &[Hash]) {
    out.extend_from_slice(b",\"proof\":[");
    for (position, hash) in proof.iter().enumerate() {
        out.extend_from_slice(if position > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(hash.to_base64().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
}
