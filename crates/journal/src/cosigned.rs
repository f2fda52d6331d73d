//! The newest checkpoint that witnesses cosigned, beside the newest one.
//!
//! Whoever asks the witnesses is outside; here is what they are given and what came of it. It lags
//! behind the checkpoint and is never read back: after a restart the witnesses are asked anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use attorn_audit::tree::Hash;
use tokio::sync::{Notify, watch};

use crate::disk::publish_durably;
use crate::folder::Folder;
use crate::journal::blocking;
use crate::prove::Prover;
use crate::shared::COSIGNED_FILE;
use crate::{Journal, ReadError, SignedCheckpoint};

/// What witnesses have seen.
#[derive(Debug)]
pub(crate) struct Cosigned {
    latest: watch::Sender<Option<SignedCheckpoint>>,
    wanted: Notify,
    /// Witnesses that are asked.
    expected: AtomicUsize,
}

impl Default for Cosigned {
    fn default() -> Self {
        let latest = watch::Sender::new(None);
        Self { latest, wanted: Notify::new(), expected: AtomicUsize::new(0) }
    }
}

impl Cosigned {
    /// A cosigned checkpoint over at least `size` entries; `None` without witnesses, and when they
    /// do not answer in time. One with the cosignatures of all is preferred, for a moment.
    pub(crate) async fn covering(&self, size: u64) -> Option<SignedCheckpoint> {
        let expected = self.expected.load(Ordering::SeqCst);
        if expected == 0 {
            return None;
        }
        let covers = |signed: &Option<SignedCheckpoint>| {
            signed.as_ref().is_some_and(|signed| signed.checkpoint.size >= size)
        };
        let mut latest = self.latest.subscribe();
        if !covers(&latest.borrow()) {
            self.wanted.notify_one();
        }
        let found = tokio::time::timeout(COSIGNED_WITHIN, latest.wait_for(covers)).await;
        let found = found.ok()?.ok()?.clone();
        let by_all = |signed: &Option<SignedCheckpoint>| {
            // The log's own signature is one more.
            covers(signed) && signed.as_ref().is_some_and(|one| signatures(&one.note) > expected)
        };
        drop(tokio::time::timeout(ALL_WITHIN, latest.wait_for(by_all)).await);
        // A newer one may have come meanwhile, with fewer.
        let now = latest.borrow().clone().filter(|one| one.checkpoint.size >= size);
        found.into_iter().chain(now).max_by_key(|one| signatures(&one.note))
    }
}

impl Journal {
    /// Says how many witnesses are asked: from now on exports wait a moment for them.
    pub fn expect_cosignatures(&self, witnesses: usize) {
        self.shared().cosigned.expected.store(witnesses, Ordering::SeqCst);
    }

    /// Ends when somebody waits for a cosigned checkpoint.
    pub async fn cosignature_wanted(&self) {
        self.shared().cosigned.wanted.notified().await;
    }

    /// The newest checkpoint with cosignatures.
    #[must_use]
    pub fn cosigned(&self) -> Option<SignedCheckpoint> {
        self.shared().cosigned.latest.borrow().clone()
    }

    /// Puts a checkpoint of this log with cosignatures into the folder, and into exports.
    ///
    /// # Errors
    /// The file cannot be written. Exports have it all the same, and the journal goes on.
    pub async fn publish_cosigned(&self, signed: SignedCheckpoint) -> io::Result<()> {
        let shared = Arc::clone(self.shared());
        shared.cosigned.latest.send_replace(Some(signed.clone()));
        let writing = tokio::task::spawn_blocking(move || {
            let path = shared.config.dir.join(COSIGNED_FILE);
            publish_durably(shared.disk.as_ref(), &path, signed.note.as_bytes())
        });
        writing.await.map_err(io::Error::from)?
    }

    /// RFC 6962 section 2.1.2: the proof that the tree of this checkpoint extends one of `old_size`
    /// entries; `None` if it is smaller.
    ///
    /// # Errors
    /// Fails if a tile cannot be read.
    pub async fn prove_extension(
        &self,
        old_size: u64,
        signed: &SignedCheckpoint,
    ) -> Result<Option<Vec<Hash>>, ReadError> {
        let (folder, signed) = (Folder::new(&self.shared().config.dir), signed.clone());
        blocking(move || Prover::new(folder, signed).extension(old_size)).await
    }
}

/// C2SP signed-note: a line for each signature.
fn signatures(note: &str) -> usize {
    note.lines().filter(|line| line.starts_with("\u{2014} ")).count()
}

/// An export waits so long for the first witness.
const COSIGNED_WITHIN: Duration = Duration::from_secs(3);
/// And so long for the others, once one has answered.
const ALL_WITHIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use attorn_audit::checkpoint::Checkpoint;
    use attorn_audit::tree::empty_root;

    use super::*;

    /// With the log's own signature and so many of witnesses.
    fn signed(size: u64, witnesses: usize) -> Option<SignedCheckpoint> {
        let checkpoint = Checkpoint { origin: "log".to_owned(), size, root: empty_root() };
        let note = format!("log\n\n{}", "\u{2014} key signature\n".repeat(witnesses + 1));
        Some(SignedCheckpoint { checkpoint, note: note.into() })
    }

    #[tokio::test]
    async fn an_export_has_the_note_with_most_cosignatures() {
        // What comes first and what comes next, of three witnesses; the note that is taken.
        for (first, next, taken) in [
            (signed(5, 1), signed(5, 3), (5, 4)),
            (signed(5, 2), signed(6, 1), (5, 3)),
            (signed(5, 1), signed(6, 2), (6, 3)),
        ] {
            let cosigned = Cosigned::default();
            cosigned.expected.store(3, Ordering::SeqCst);
            cosigned.latest.send_replace(first);
            let coming = async {
                tokio::task::yield_now().await;
                cosigned.latest.send_replace(next);
            };
            let (found, ()) = tokio::join!(cosigned.covering(5), coming);
            let found = found.unwrap();
            assert_eq!((found.checkpoint.size, signatures(&found.note)), taken);
        }
    }

    #[tokio::test]
    async fn without_witnesses_nobody_waits() {
        assert!(Cosigned::default().covering(5).await.is_none());
    }
}
