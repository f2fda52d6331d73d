//! Checkpoints: the signed statement of a log's size and root, after C2SP tlog-checkpoint.

use crate::note::{NoteError, NoteSigner, NoteVerifier, open};
use crate::tree::Hash;

/// A log's statement about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log: `<deployment>/<role>/<node>`. Equal to the name of its key.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The signed note. The signer's name should be the origin; [`Checkpoint::open`] insists on it.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.to_text())
    }

    /// Reads a signed checkpoint of the log that `verifiers` belong to.
    ///
    /// # Errors
    /// Refuses a note without a good signature of one of them, and a malformed checkpoint.
    pub fn open(note: &str, verifiers: &[NoteVerifier]) -> Result<Self, CheckpointError> {
        let opened = open(note, verifiers).map_err(CheckpointError::Note)?;
        let checkpoint = Self::parse(opened.text).ok_or(CheckpointError::Malformed)?;
        // A key of one log must not speak for another: the name of the key is the origin.
        if opened.verified_by.name() != checkpoint.origin {
            return Err(CheckpointError::OriginMismatch);
        }
        Ok(checkpoint)
    }

    /// Reads the text of a checkpoint. Extension lines are allowed and not interpreted.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?;
        let size_text = lines.next()?;
        let size: u64 = size_text.parse().ok()?;
        // "ASCII decimal without leading zeroes", and no sign, which `parse` would take.
        if size.to_string() != size_text {
            return None;
        }
        let root = Hash::from_base64(lines.next()?)?;
        if lines.any(str::is_empty) {
            return None;
        }
        Some(Self { origin: origin.to_owned(), size, root })
    }
}

/// Why a note is not a checkpoint of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The signed text is not a checkpoint.
    #[error("the signed text is not a checkpoint")]
    Malformed,
    /// The note is malformed or not signed by the log.
    #[error(transparent)]
    Note(NoteError),
    /// The key that signed has another name than the log.
    #[error("the checkpoint is signed by the key of another log")]
    OriginMismatch,
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointError};
    use crate::note::{NoteError, NoteSigner};
    use crate::tree::empty_root;

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint { origin: "test/gateway/1".into(), size, root: empty_root() }
    }

    #[test]
    fn signed_checkpoint_reads_back() {
        let signer = NoteSigner::from_seed("test/gateway/1", &[1; 32]).unwrap();
        let note = checkpoint(7).sign(&signer);
        assert_eq!(Checkpoint::open(&note, &[signer.verifier().clone()]), Ok(checkpoint(7)));
        let stranger = NoteSigner::from_seed("test/gateway/1", &[2; 32]).unwrap();
        assert_eq!(
            Checkpoint::open(&note, &[stranger.verifier().clone()]),
            Err(CheckpointError::Note(NoteError::Unverified))
        );
    }

    #[test]
    fn key_of_another_log_is_refused() {
        let signer = NoteSigner::from_seed("other", &[1; 32]).unwrap();
        let note = checkpoint(7).sign(&signer);
        assert_eq!(
            Checkpoint::open(&note, &[signer.verifier().clone()]),
            Err(CheckpointError::OriginMismatch)
        );
    }

    #[test]
    fn only_the_exact_form_is_a_checkpoint() {
        let root = empty_root();
        assert!(Checkpoint::parse(&format!("o\n0\n{root}\n")).is_some());
        assert!(Checkpoint::parse(&format!("o\n0\n{root}\nextension\n")).is_some());
        for text in [
            String::new(),
            format!("\n0\n{root}\n"),
            format!("o\n00\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\n"),
            "o\n1\nAAAA\n".to_owned(),
            "o\n1\n".to_owned(),
        ] {
            assert_eq!(Checkpoint::parse(&text), None, "{text:?}");
        }
    }
}
