//! Journal entries, Merkle tree, checkpoints, proofs and the offline verifier.
//!
//! Pure: bytes in, values or refusals out. No file, no clock, no randomness.
//!
//! Implemented:
//! - entries as RFC 8785 canonical JSON: [`Entry`];
//! - the tree of RFC 6962 section 2.1 with inclusion and consistency proofs: [`tree`];
//! - tiles, tile paths and entry bundles of [C2SP tlog-tiles](https://c2sp.org/tlog-tiles): [`tile`];
//! - Ed25519 notes of [C2SP signed-note](https://c2sp.org/signed-note): [`note`];
//! - checkpoints of [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint): [`checkpoint`];
//! - cosignatures of [C2SP tlog-cosignature](https://c2sp.org/tlog-cosignature), Ed25519:
//!   [`cosignature`];
//! - what a witness of [C2SP tlog-witness](https://c2sp.org/tlog-witness) judges: [`witness`];
//! - an export bundle that needs nothing else to be verified: [`bundle`], [`verify`];
//! - signed notes about entries that were removed: [`tombstone`];
//! - what belongs to one chain, across logs, and what it lacks: [`trace`];
//! - entries on lines for other systems, as they are or as events of OCSF: [`LineForm`].
//!
//! Not implemented: cosignatures with ML-DSA-44. Payloads are not here: `attorn-payloads` seals them.

pub mod bundle;
pub mod checkpoint;
pub mod cosignature;
pub mod digest;
mod encode;
mod entry;
mod kind;
mod lines;
pub mod note;
mod ocsf;
pub mod outcome;
pub mod release;
pub mod tile;
pub mod tombstone;
pub mod trace;
pub mod tree;
pub mod verify;
pub mod witness;

pub use self::entry::{Decision, Entry, EntryError, Outcome};
pub use self::kind::Kind;
pub use self::lines::LineForm;
