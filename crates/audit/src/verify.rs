//! The offline verifier of an export bundle.
//!
//! It shares the format with the writer and nothing else: it reads the JSON on its own, and climbs
//! proofs instead of making them. Input is hostile until proven otherwise: size and depth are
//! bounded, duplicate members are refused, and nothing is read but the bundle.
//!
//! Checks, in order: shape; keys; checkpoint signature and origin; consistency with the earlier
//! checkpoint; cosignatures of witnesses, where some are asked for; then per entry its order and its
//! inclusion proof. Not checked: that the log shows the same checkpoint to others, unless witnesses
//! are asked for; and the time in an entry, which is the writer's word.

use std::fmt;

use attorn_json::Limits;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::bundle::VERSION;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, CosignerKey, cosignatures};
use crate::note::{KeyError, NoteError, NoteVerifier};
use crate::tree::{Hash, InclusionVerifier, leaf_hash, path_len, verify_consistency};

/// Whose signature counts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The keys named in the bundle. Shows that the bundle is whole, not who made it.
    Embedded,
    /// These keys, known from elsewhere.
    Pinned(&'a [NoteVerifier]),
}

/// Who must have seen the checkpoint as well, so that it is not shown to this auditor alone.
#[derive(Clone, Copy, Debug)]
pub struct Witnesses<'a> {
    /// Keys of witnesses, known from elsewhere.
    pub keys: &'a [CosignerKey],
    /// How many of them must have cosigned.
    pub quorum: usize,
}

impl Witnesses<'_> {
    /// Nobody.
    pub const NONE: Self = Self { keys: &[], quorum: 0 };
}

/// What a good bundle proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Size and root that the log signed.
    pub checkpoint: Checkpoint,
    /// The earlier checkpoint that the log still honours.
    pub earlier: Option<Checkpoint>,
    /// The indices of the entries, ascending.
    pub indices: Vec<u64>,
    /// Whether the signing key was known from elsewhere.
    pub pinned: bool,
    /// The witnesses asked for that cosigned the checkpoint.
    pub cosignatures: Vec<Cosignature>,
}

/// Verifies a bundle that no witness has to stand by.
///
/// # Errors
/// The first thing that is broken; for an entry, its index.
pub fn verify(bundle: &[u8], trust: Trust<'_>) -> Result<Report, Broken> {
    verify_witnessed(bundle, trust, &Witnesses::NONE)
}

/// Verifies a bundle whose checkpoint must be cosigned by enough of these witnesses.
///
/// # Errors
/// The first thing that is broken; for an entry, its index.
pub fn verify_witnessed(
    bundle: &[u8],
    trust: Trust<'_>,
    witnesses: &Witnesses<'_>,
) -> Result<Report, Broken> {
    let document = attorn_json::parse(bundle, &LIMITS).map_err(|_| Broken::NotJson)?;
    let shape: BundleShape<'_> = document.to().map_err(|_| Broken::NotABundle)?;
    if shape.version != VERSION {
        return Err(Broken::Version);
    }
    let embedded;
    let (keys, pinned) = match trust {
        Trust::Pinned(keys) => (keys, true),
        Trust::Embedded => {
            embedded = shape
                .keys
                .iter()
                .map(|key| NoteVerifier::from_vkey(key))
                .collect::<Result<Vec<_>, KeyError>>()
                .map_err(Broken::Key)?;
            (embedded.as_slice(), false)
        }
    };
    let checkpoint = Checkpoint::open(&shape.checkpoint, keys).map_err(Broken::Checkpoint)?;
    let cosignatures =
        cosignatures(&shape.checkpoint, witnesses.keys).map_err(Broken::Cosignature)?;
    if cosignatures.len() < witnesses.quorum {
        let (found, needed) = (cosignatures.len(), witnesses.quorum);
        return Err(Broken::NotWitnessed { found, needed });
    }
    let earlier = match &shape.consistency {
        Some(consistency) => Some(verify_earlier(consistency, &checkpoint, keys)?),
        None => None,
    };
    let indices = verify_entries(&shape.entries, &checkpoint)?;
    Ok(Report { checkpoint, earlier, indices, pinned, cosignatures })
}

/// What is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The checkpoint is malformed, or not signed by a key that counts.
    #[error("checkpoint: {0}")]
    Checkpoint(CheckpointError),
    /// RFC 6962 section 2.1.2: the log does not extend the earlier checkpoint.
    #[error("the log does not extend its earlier checkpoint of {size} entries")]
    Consistency {
        /// Size of the earlier tree.
        size: u64,
    },
    /// A witness that was asked for is named, but the cosignature is not its own.
    #[error("cosignature: {0}")]
    Cosignature(NoteError),
    /// The earlier checkpoint is malformed, or not signed by a key that counts.
    #[error("earlier checkpoint: {0}")]
    EarlierCheckpoint(CheckpointError),
    /// There are no entries: nothing was proven.
    #[error("the bundle has no entries")]
    Empty,
    /// RFC 6962 section 2.1.1: the entry or its proof was changed.
    #[error("entry {index} is not the one that was logged")]
    Entry {
        /// Position in the log.
        index: u64,
    },
    /// A key in the bundle is not a key.
    #[error("key: {0}")]
    Key(KeyError),
    /// Strict JSON, but not a bundle.
    #[error("not an audit bundle")]
    NotABundle,
    /// Not strict JSON, or too large.
    #[error("not strict JSON, or larger than 256 MiB")]
    NotJson,
    /// Too few of the witnesses asked for have seen this checkpoint.
    #[error("{found} of the {needed} witnesses that are needed have seen this checkpoint")]
    NotWitnessed {
        /// Good cosignatures.
        found: usize,
        /// How many were asked for.
        needed: usize,
    },
    /// An entry repeats, or stands before an earlier one.
    #[error("entry {index} is out of order")]
    Order {
        /// Position in the log.
        index: u64,
    },
    /// A bundle of a version that is not known here.
    #[error("unknown version of the bundle format")]
    Version,
}

fn verify_earlier(
    consistency: &ConsistencyShape,
    checkpoint: &Checkpoint,
    keys: &[NoteVerifier],
) -> Result<Checkpoint, Broken> {
    let earlier =
        Checkpoint::open(&consistency.checkpoint, keys).map_err(Broken::EarlierCheckpoint)?;
    let proof: Vec<Hash> = consistency.proof.iter().map(|hash| hash.0).collect();
    let old = (earlier.size, &earlier.root);
    let new = (checkpoint.size, &checkpoint.root);
    if earlier.origin != checkpoint.origin || !verify_consistency(old, new, &proof) {
        return Err(Broken::Consistency { size: earlier.size });
    }
    Ok(earlier)
}

fn verify_entries(entries: &[EntryShape<'_>], checkpoint: &Checkpoint) -> Result<Vec<u64>, Broken> {
    // Nothing verified is not the same as verified.
    if entries.is_empty() {
        return Err(Broken::Empty);
    }
    let mut verifier = InclusionVerifier::new(checkpoint.size, checkpoint.root);
    let mut indices = Vec::with_capacity(entries.len());
    let mut proof: Vec<Hash> = Vec::new();
    for EntryShape { entry, index, proof: shapes } in entries {
        let index = *index;
        if indices.last().is_some_and(|last| *last >= index) {
            return Err(Broken::Order { index });
        }
        // What is left out at the end stands in the path before. If that is too short, so is this
        // path, and it does not lead to the root.
        let left_out = path_len(index, checkpoint.size).saturating_sub(shapes.len());
        let own = proof.len().saturating_sub(left_out);
        proof.splice(..own, shapes.iter().map(|hash| hash.0));
        let leaf = leaf_hash(entry.get().as_bytes());
        if !verifier.verify(&leaf, index, &proof) {
            // A tool may have reformatted the document: what was logged is the canonical form.
            let leaf = canonical_leaf(entry).ok_or(Broken::Entry { index })?;
            if !verifier.verify(&leaf, index, &proof) {
                return Err(Broken::Entry { index });
            }
        }
        indices.push(index);
    }
    Ok(indices)
}

fn canonical_leaf(entry: &RawValue) -> Option<Hash> {
    let document = attorn_json::parse(entry.get().as_bytes(), &LIMITS).ok()?;
    Some(leaf_hash(&attorn_json::canonical(&document).ok()?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleShape<'a> {
    checkpoint: String,
    consistency: Option<ConsistencyShape>,
    #[serde(borrow)]
    entries: Vec<EntryShape<'a>>,
    keys: Vec<String>,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistencyShape {
    checkpoint: String,
    proof: Vec<HashShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryShape<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    index: u64,
    proof: Vec<HashShape>,
}

/// A hash in base64, decoded without keeping the text.
struct HashShape(Hash);

impl<'de> Deserialize<'de> for HashShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HashVisitor)
    }
}

struct HashVisitor;

impl Visitor<'_> for HashVisitor {
    type Value = HashShape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes in base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HashShape, E> {
        Hash::from_base64(text).map(HashShape).ok_or_else(|| E::custom("not a hash"))
    }
}

/// A bundle has five levels; an entry adds two.
const LIMITS: Limits = Limits { bytes_max: 256 << 20, depth_max: 8 };

#[cfg(test)]
mod tests;
