//! The Merkle tree of RFC 6962 section 2.1: hashes, and the proofs built from them.
//!
//! Implemented: leaf and node hashes, roots, inclusion proofs (section 2.1.1) and consistency
//! proofs (section 2.1.2), made from any source of hashes and verified as in RFC 9162
//! sections 2.1.3.2 and 2.1.4.2, which verify the same proofs.

mod consistency;
mod inclusion;
mod node;

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::consistency::{prove_consistency, verify_consistency};
pub use self::inclusion::{InclusionVerifier, path_len, prove_inclusion, verify_inclusion};
pub use self::node::{Node, perfect_root, range_hash};

/// A hash of the tree: of a leaf, an inner node or the root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 32 bytes; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Standard base64 with padding, as in a checkpoint.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] wrote.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        // 44 characters hold 31 to 33 bytes; a longer text does not fit and is refused.
        let mut bytes = [0; 33];
        let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
        bytes.get(..length).and_then(Self::from_slice)
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// RFC 6962 section 2.1: the hash of a leaf is SHA-256(0x00 || entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    // One call into the library is a third cheaper than three; most entries fit the buffer.
    let mut buffer = [0_u8; 1024];
    if let Some(room) = buffer.get_mut(1..=entry.len()) {
        room.copy_from_slice(entry);
        return Hash(sha256(buffer.get(..=entry.len()).unwrap_or_default()));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[0x00]);
    context.update(entry);
    Hash(digest_bytes(&context.finish()))
}

/// RFC 6962 section 2.1: the hash of a node is SHA-256(0x01 || left || right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [0x01_u8; 65];
    let (_, children) = buffer.split_at_mut(1);
    let (first, second) = children.split_at_mut(32);
    first.copy_from_slice(&left.0);
    second.copy_from_slice(&right.0);
    Hash(sha256(&buffer))
}

/// RFC 6962 section 2.1: the root of an empty tree is SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash(sha256(&[]))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest_bytes(&digest::digest(&digest::SHA256, bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn digest_bytes(digest: &digest::Digest) -> [u8; 32] {
    // SHA-256 gives 32 bytes; the fallback is never taken and would match no real hash.
    digest.as_ref().try_into().unwrap_or([0; 32])
}
