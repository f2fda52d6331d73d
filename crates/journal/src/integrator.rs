//! The integrator thread: turns durable entries into tiles, signs checkpoints, and removes the
//! segments that are no longer needed.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::NoteSigner;

use crate::disk::{is_full, publish_durably};
use crate::journal::SignedCheckpoint;
use crate::shared::{CHECKPOINT_FILE, Shared, segment_name};
use crate::tiles::TileWriter;

/// Owns the tree and the signing key.
#[derive(Debug)]
pub(crate) struct Integrator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tiles: TileWriter,
    pub(crate) signer: Arc<NoteSigner>,
    /// Held until the last checkpoint is signed: nobody else may write before that.
    pub(crate) lock: File,
}

impl Integrator {
    /// The thread's work until the syncer has ended.
    pub(crate) fn run(mut self, bell: &Bell) {
        let pause = Duration::from_millis(self.shared.config.integrate_ms);
        let mut whole = true;
        loop {
            let last = bell.wait(pause);
            match if whole { self.integrate() } else { Ok(()) } {
                Ok(()) => {}
                // Entries are still safe in the segments; the next round tries again.
                Err(error) if is_full(&error) => {
                    tracing::warn!("no space for tiles and checkpoint");
                }
                Err(error) => {
                    whole = false;
                    self.shared.fail("integration", &error);
                }
            }
            if last {
                break;
            }
        }
        drop(self.lock);
    }

    /// One round: tiles, then the checkpoint that covers them, then what that makes superfluous.
    pub(crate) fn integrate(&mut self) -> io::Result<()> {
        let durable = *self.shared.size.borrow();
        let covered = self.shared.checkpoint.borrow().checkpoint.size;
        for entry in self.shared.tail.range(self.tiles.size()..durable).unwrap_or_default() {
            self.tiles.push(&entry);
        }
        let disk = Arc::clone(&self.shared.disk);
        self.tiles.write_full(disk.as_ref())?;
        // From here on readers find these entries in the tiles.
        self.shared.tail.drop_before(self.tiles.full_size());
        if self.tiles.size() == covered {
            return Ok(());
        }
        self.tiles.write_partial(disk.as_ref())?;
        // Crash here: tiles without a checkpoint. The segments have the entries; a restart writes
        // the same tiles again.
        let signed = sign(&self.shared.config.origin, &self.tiles, &self.signer);
        let path = self.shared.config.dir.join(CHECKPOINT_FILE);
        // All it covers was fsynced in the segments before `size` grew.
        publish_durably(disk.as_ref(), &path, signed.note.as_bytes())?;
        // Crash here: the checkpoint is out, and every entry below it comes back from the segments.
        self.shared.moments.signed(signed.checkpoint.size);
        self.shared.checkpoint.send_replace(signed);
        self.retire_segments()
    }

    /// Removes the segments whose entries all stand in durable full tiles under the checkpoint.
    fn retire_segments(&mut self) -> io::Result<()> {
        let full = self.tiles.full_size();
        let segments = self.shared.segments().clone();
        let ends = segments.iter().skip(1);
        let retired: Vec<u64> =
            segments.iter().zip(ends).filter(|(_, end)| **end <= full).map(|(at, _)| *at).collect();
        if retired.is_empty() {
            return Ok(());
        }
        let disk = self.shared.disk.as_ref();
        // Only now do the tiles have to survive a loss of power on their own.
        // A second fsync after a failed one proves nothing, so not even "no space" may be retried.
        self.tiles.sync(disk).map_err(io::Error::other)?;
        let folder = self.shared.wal_dir();
        for first in &retired {
            // Oldest first. Crash here: fewer segments, and those that are left still join the tiles.
            disk.remove(&folder.join(segment_name(*first)))?;
            self.shared.segments().retain(|segment| segment != first);
        }
        disk.sync(&folder)
    }
}

/// The checkpoint of the tree as it is now.
pub(crate) fn sign(origin: &str, tiles: &TileWriter, signer: &NoteSigner) -> SignedCheckpoint {
    let checkpoint =
        Checkpoint { origin: origin.to_owned(), size: tiles.size(), root: tiles.root() };
    let note = checkpoint.sign(signer).into();
    SignedCheckpoint { checkpoint, note }
}

/// Wakes the integrator before its time.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    last: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// Everything is durable, nothing will come: one more round, and then the end.
    pub(crate) fn ring_last(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_all();
    }

    /// Waits; whether it is the last time.
    fn wait(&self, pause: Duration) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.rung.wait_timeout_while(last, pause, |last| !*last);
        *woken.unwrap_or_else(PoisonError::into_inner).0
    }
}
