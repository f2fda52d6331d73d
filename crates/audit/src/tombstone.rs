//! Tombstones: the signed statement that the oldest entries of a log were removed, and which.
//!
//! The tree still has the hash of each removed entry, so every later proof stays what it was. The
//! form is our own, a C2SP signed note:
//!
//! ```text
//! attorn-audit-tombstone/1
//! <origin>
//! <number of entries removed, from the first one on>
//! <root over exactly these, base64>
//! <index of the entry that announced the removal>
//! <time of the removal, milliseconds since 1970>
//! <what removed entries still count for, one a line>
//! ```
//!
//! A checkpoint has the origin in its first line and a number in its second, so neither can be taken
//! for the other. The last lines mean something to who wrote them; here they are text.

use crate::note::{NoteError, NoteSigner, NoteVerifier, open};
use crate::tile::TILE_WIDTH;
use crate::tree::Hash;

/// A log's statement about the entries it does not have any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Names the log, as in its checkpoints.
    pub origin: String,
    /// Entries before this one are removed. A multiple of [`TILE_WIDTH`], and not 0.
    pub end: u64,
    /// Root of the tree over the removed entries.
    pub root: Hash,
    /// Index of the entry that announced the removal; it is not among the removed ones.
    pub announced: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What removed entries still count for.
    pub carried: Vec<String>,
}

impl Tombstone {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { origin, end, root, announced, time_ms, carried } = self;
        let mut text = format!("{VERSION}\n{origin}\n{end}\n{root}\n{announced}\n{time_ms}\n");
        for line in carried {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The signed note; `None` if [`Tombstone::open`] would not read it back.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> Option<String> {
        let note = signer.sign(&self.to_text());
        let read = Self::open(&note, std::slice::from_ref(signer.verifier()));
        (read.as_ref() == Ok(self)).then_some(note)
    }

    /// Reads a signed tombstone of the log that `verifiers` belong to.
    ///
    /// # Errors
    /// Refuses a note without a good signature of one of them, and a malformed tombstone.
    pub fn open(note: &str, verifiers: &[NoteVerifier]) -> Result<Self, TombstoneError> {
        let opened = open(note, verifiers).map_err(TombstoneError::Note)?;
        let tombstone = Self::parse(opened.text).ok_or(TombstoneError::Malformed)?;
        // As with checkpoints: a key of one log must not speak for another.
        if opened.verified_by.name() != tombstone.origin {
            return Err(TombstoneError::OriginMismatch);
        }
        Ok(tombstone)
    }

    /// Reads the text of a tombstone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(VERSION) {
            return None;
        }
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let end = number(lines.next()?)?;
        let root = Hash::from_base64(lines.next()?)?;
        let (announced, time_ms) = (number(lines.next()?)?, number(lines.next()?)?);
        let whole_tiles = end > 0 && end.is_multiple_of(u64::from(TILE_WIDTH));
        if !whole_tiles || announced < end {
            return None;
        }
        let carried: Vec<String> = lines.map(str::to_owned).collect();
        if carried.iter().any(String::is_empty) {
            return None;
        }
        Some(Self { origin, end, root, announced, time_ms, carried })
    }
}

/// Why a note is not a tombstone of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TombstoneError {
    /// The signed text is not a tombstone.
    #[error("the signed text is not a tombstone")]
    Malformed,
    /// The note is malformed or not signed by the log.
    #[error(transparent)]
    Note(NoteError),
    /// The key that signed has another name than the log.
    #[error("the tombstone is signed by the key of another log")]
    OriginMismatch,
}

/// ASCII decimal without leading zeroes, and no sign, which `parse` would take.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The first line, which says what the note is.
pub const VERSION: &str = "attorn-audit-tombstone/1";

#[cfg(test)]
mod tests {
    use super::{Tombstone, TombstoneError};
    use crate::checkpoint::{Checkpoint, CheckpointError};
    use crate::note::{NoteError, NoteSigner};
    use crate::tree::empty_root;

    const ORIGIN: &str = "test/gateway/1";

    fn tombstone() -> Tombstone {
        Tombstone {
            origin: ORIGIN.into(),
            end: 512,
            root: empty_root(),
            announced: 900,
            time_ms: 7,
            carried: vec!["[\"grt_1/pay\",3]".into()],
        }
    }

    fn signer(name: &str, seed: u8) -> NoteSigner {
        NoteSigner::from_seed(name, &[seed; 32]).unwrap()
    }

    #[test]
    fn signed_tombstone_reads_back() {
        let (ours, stranger) = (signer(ORIGIN, 1), signer(ORIGIN, 2));
        let note = tombstone().sign(&ours).unwrap();
        assert_eq!(Tombstone::open(&note, &[ours.verifier().clone()]), Ok(tombstone()));
        let refused = Tombstone::open(&note, &[stranger.verifier().clone()]);
        assert_eq!(refused, Err(TombstoneError::Note(NoteError::Unverified)));
        let other = signer("other", 1);
        let note = other.sign(&tombstone().to_text());
        let refused = Tombstone::open(&note, &[other.verifier().clone()]);
        assert_eq!(refused, Err(TombstoneError::OriginMismatch));
    }

    #[test]
    fn checkpoint_and_tombstone_are_not_taken_for_each_other() {
        let signer = signer(ORIGIN, 1);
        let keys = [signer.verifier().clone()];
        let note = tombstone().sign(&signer).unwrap();
        assert_eq!(Checkpoint::open(&note, &keys), Err(CheckpointError::Malformed));
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 512, root: empty_root() };
        let refused = Tombstone::open(&checkpoint.sign(&signer), &keys);
        assert_eq!(refused, Err(TombstoneError::Malformed));
    }

    #[test]
    fn only_the_exact_form_is_a_tombstone() {
        let good = tombstone().to_text();
        assert_eq!(Tombstone::parse(&good), Some(tombstone()));
        for (from, to) in [
            ("/1\n", "/2\n"),
            ("test/gateway/1\n", "\n"),
            ("\n512\n", "\n0512\n"),
            ("\n512\n", "\n0\n"),
            ("\n512\n", "\n511\n"),
            ("\n512\n", "\n1024\n"),
            ("\n900\n", "\n+900\n"),
            ("\n7\n", "\n-7\n"),
            ("\n7\n", "\n\n7\n"),
            (",3]\n", ",3]"),
            (",3]\n", ",3]\n\n"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from:?}");
            assert_eq!(Tombstone::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn what_would_not_read_back_is_not_signed() {
        for line in ["", "two\nlines\n", "bell\u{7}"] {
            let mut bad = tombstone();
            bad.carried.push(line.to_owned());
            assert_eq!(bad.sign(&signer(ORIGIN, 1)), None, "{line:?}");
        }
    }
}
