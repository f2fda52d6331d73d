//! `add-checkpoint` of C2SP tlog-witness: what a log asks of a witness, and what a witness judges.
//!
//! Implemented: the body of the request, read and written, and all checks in the order of the
//! specification. What the witness knows of a log, and keeping it, is the caller's.

use std::fmt::Write as _;

use crate::checkpoint::Checkpoint;
use crate::note::{NoteVerifier, open, split_note};
use crate::tree::{Hash, empty_root, verify_consistency};

/// A checkpoint, and the proof that it extends the one the witness knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint<'a> {
    /// Size of the tree that the witness cosigned last; 0 for none.
    pub old_size: u64,
    /// RFC 6962 section 2.1.2.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub note: &'a str,
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// The old size is not that of the checkpoint cosigned last, which is given.
    #[error("the checkpoint cosigned last has {size} entries")]
    Conflict {
        /// Size cosigned last.
        size: u64,
    },
    /// Another root was cosigned for a tree of this size: the log has two histories.
    #[error("another tree of {size} entries was cosigned before")]
    Forked {
        /// The size of both trees.
        size: u64,
    },
    /// The request does not have the form, or its old size is beyond the checkpoint.
    #[error("the request does not have the form of `add-checkpoint`")]
    Malformed,
    /// The tree does not extend the one cosigned last, or the proof does not show it.
    #[error("the proof does not show that the log only grew")]
    NotConsistent,
    /// The log is not one this witness knows.
    #[error("the log is not known here")]
    OriginUnknown,
    /// No known key of the log signed the checkpoint.
    #[error("no known key of the log signed the checkpoint")]
    Unsigned,
}

impl WitnessRefusal {
    /// The HTTP status of C2SP tlog-witness, `add-checkpoint`.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unsigned => 403,
            Self::OriginUnknown => 404,
            Self::Conflict { .. } | Self::Forked { .. } => 409,
            Self::NotConsistent => 422,
        }
    }
}

impl<'a> AddCheckpoint<'a> {
    /// The body of the request.
    #[must_use]
    pub fn to_body(&self) -> String {
        let mut body = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            let _ = writeln!(body, "{hash}");
        }
        body.push('\n');
        body.push_str(self.note);
        body
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`WitnessRefusal::Malformed`].
    pub fn parse(body: &'a str) -> Result<Self, WitnessRefusal> {
        let parse = || {
            let (head, note) = body.split_once("\n\n")?;
            let mut lines = head.split('\n');
            let size = lines.next()?.strip_prefix("old ")?;
            let old_size: u64 = size.parse().ok()?;
            // Decimal without leading zeroes and without a sign.
            if old_size.to_string() != size {
                return None;
            }
            let proof: Vec<_> =
                lines.take(PROOF_LINES_MAX + 1).map(Hash::from_base64).collect::<Option<_>>()?;
            (proof.len() <= PROOF_LINES_MAX).then_some(Self { old_size, proof, note })
        };
        parse().ok_or(WitnessRefusal::Malformed)
    }

    /// The text of the checkpoint, which is what a cosignature signs.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        split_note(self.note).map(|(text, _)| text)
    }

    /// Verifies that one of these keys of logs signed the checkpoint.
    ///
    /// # Errors
    /// [`WitnessRefusal`], by the order of the specification.
    pub fn open(&self, logs: &[NoteVerifier]) -> Result<Checkpoint, WitnessRefusal> {
        let text = self.text().ok_or(WitnessRefusal::Malformed)?;
        let checkpoint = Checkpoint::parse(text).ok_or(WitnessRefusal::Malformed)?;
        let keys: Vec<_> =
            logs.iter().filter(|key| key.name() == checkpoint.origin).cloned().collect();
        if keys.is_empty() {
            return Err(WitnessRefusal::OriginUnknown);
        }
        open(self.note, &keys).map_err(|_| WitnessRefusal::Unsigned)?;
        if self.old_size > checkpoint.size {
            return Err(WitnessRefusal::Malformed);
        }
        Ok(checkpoint)
    }

    /// Verifies that `checkpoint` extends what the witness cosigned last, if anything.
    ///
    /// # Errors
    /// [`WitnessRefusal`], by the order of the specification.
    pub fn verify(
        &self,
        checkpoint: &Checkpoint,
        known: Option<(u64, Hash)>,
    ) -> Result<(), WitnessRefusal> {
        let (size, root) = known.unwrap_or_else(|| (0, empty_root()));
        if self.old_size != size {
            return Err(WitnessRefusal::Conflict { size });
        }
        if size == checkpoint.size && root != checkpoint.root {
            return Err(WitnessRefusal::Forked { size });
        }
        let (old, new) = ((size, &root), (checkpoint.size, &checkpoint.root));
        if verify_consistency(old, new, &self.proof) {
            Ok(())
        } else {
            Err(WitnessRefusal::NotConsistent)
        }
    }
}

/// C2SP tlog-witness: not more consistency proof lines than this.
const PROOF_LINES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::NoteSigner;
    use crate::tree::{Node, leaf_hash, perfect_root, prove_consistency, range_hash};

    fn log() -> NoteSigner {
        NoteSigner::from_seed("log.example", &[9; 32]).unwrap()
    }

    /// The trees of one history; another `seed` is another history from entry 5 on.
    struct Tree(u8);

    impl Tree {
        fn hash_of(&self, node: Node) -> Result<Hash, ()> {
            let first = node.index << node.level;
            let leaves: Vec<_> = (first..first + (1 << node.level))
                .map(|index| {
                    leaf_hash(&[if index < 5 { 0 } else { self.0 }, u8::try_from(index).unwrap()])
                })
                .collect();
            Ok(perfect_root(&leaves))
        }

        fn checkpoint(&self, size: u64) -> Checkpoint {
            let root = range_hash(0, size, &mut |node| self.hash_of(node)).unwrap();
            Checkpoint { origin: "log.example".to_owned(), size, root }
        }

        fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
            prove_consistency(old, new, &mut |node| self.hash_of(node)).unwrap().unwrap()
        }
    }

    fn judged(
        tree: &Tree,
        (old, new): (u64, u64),
        known: Option<&Checkpoint>,
    ) -> Result<(), WitnessRefusal> {
        let checkpoint = tree.checkpoint(new);
        let note = checkpoint.sign(&log());
        let request = AddCheckpoint { old_size: old, proof: tree.proof(old, new), note: &note };
        let body = request.to_body();
        let read = AddCheckpoint::parse(&body)?;
        assert_eq!(read, request);
        let opened = read.open(&[log().verifier().clone()])?;
        read.verify(&opened, known.map(|known| (known.size, known.root)))
    }

    #[test]
    fn a_log_that_grew_is_cosigned() {
        let tree = Tree(1);
        assert_eq!(judged(&tree, (0, 7), None), Ok(()));
        assert_eq!(judged(&tree, (7, 9), Some(&tree.checkpoint(7))), Ok(()));
        assert_eq!(judged(&tree, (7, 7), Some(&tree.checkpoint(7))), Ok(()));
        let unknown = judged(&tree, (0, 9), Some(&tree.checkpoint(7)));
        assert_eq!(unknown, Err(WitnessRefusal::Conflict { size: 7 }));
    }

    #[test]
    fn a_second_history_is_not() {
        let (tree, fork) = (Tree(1), Tree(2));
        let known = tree.checkpoint(7);
        for new in 8..12 {
            let refused = judged(&fork, (7, new), Some(&known));
            assert_eq!(refused, Err(WitnessRefusal::NotConsistent), "{new}");
        }
        let refused = judged(&fork, (7, 7), Some(&known));
        assert_eq!(refused, Err(WitnessRefusal::Forked { size: 7 }));
        // A shorter one, also of the same history, is not what was cosigned last.
        let refused = judged(&tree, (6, 6), Some(&known));
        assert_eq!(refused, Err(WitnessRefusal::Conflict { size: 7 }));
        // Up to where they are one, they are.
        assert_eq!(judged(&fork, (5, 9), Some(&tree.checkpoint(5))), Ok(()));
    }

    #[test]
    fn only_known_logs_are_cosigned_and_only_their_own_checkpoints() {
        let note = Tree(1).checkpoint(7).sign(&log());
        let request = AddCheckpoint { old_size: 0, proof: Vec::new(), note: &note };
        let key = |name, seed| NoteSigner::from_seed(name, &[seed; 32]).unwrap().verifier().clone();
        assert_eq!(request.open(&[key("other", 9)]), Err(WitnessRefusal::OriginUnknown));
        assert_eq!(request.open(&[key("log.example", 8)]), Err(WitnessRefusal::Unsigned));
        assert!(request.open(&[key("log.example", 8), key("log.example", 9)]).is_ok());
        let beyond = AddCheckpoint { old_size: 8, ..request };
        assert_eq!(beyond.open(&[key("log.example", 9)]), Err(WitnessRefusal::Malformed));
    }

    #[test]
    fn only_the_exact_form_is_read() {
        let note = Tree(1).checkpoint(7).sign(&log());
        let hash = empty_root().to_base64();
        assert!(AddCheckpoint::parse(&format!("old 7\n{hash}\n\n{note}")).is_ok());
        let long = format!("{hash}\n").repeat(64);
        for head in
            ["old 07", "old +7", "old", "Old 7", "7", "old 7\nAAAA", &format!("old 7\n{long}")]
        {
            let read = AddCheckpoint::parse(&format!("{head}\n\n{note}")).map(|_| ());
            assert_eq!(read, Err(WitnessRefusal::Malformed), "{head}");
        }
        assert!(AddCheckpoint::parse("old 7\n").is_err());
    }
}
