//! The handle that everybody holds.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::{NoteSigner, NoteVerifier};
use attorn_audit::outcome::unfinished;
use attorn_audit::tile::{ENTRY_BYTES_MAX, TILE_WIDTH};
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::disk::{Disk, FileSystem, publish_durably};
use crate::folder::Folder;
use crate::integrator::{Bell, Integrator, sign};
use crate::mark::Mark;
use crate::prove::Prover;
use crate::queue::{Done, Request, Urgency};
use crate::recover::{Found, recover};
use crate::retention::sign_again;
use crate::shared::{CHECKPOINT_FILE, LOCK_FILE, MARK_FILE, Shared, Start, WAL_DIR};
use crate::syncer::{self, SyncDesk};
use crate::tail::Tail;
use crate::wal::log_mark;
use crate::writer::{RESERVE_BYTES, Writer, create_segment};
use crate::{Config, Durability, JournalUnavailable, OpenError, ReadError, Status};

/// A journal open for writing. Clones write the same log; when the last one is dropped the log is
/// closed in the background. [`Journal::close`] waits for that.
#[derive(Clone, Debug)]
pub struct Journal {
    pub(crate) core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) signer: Arc<NoteSigner>,
    // Invariant: the first one is that of `signer`.
    keys: Vec<NoteVerifier>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// One removal of old entries at a time.
    pub(crate) removing: tokio::sync::Mutex<()>,
}

/// A checkpoint and the signed note it came from.
#[derive(Clone, Debug)]
pub struct SignedCheckpoint {
    /// Size and root.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Arc<str>,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut from the end: a record that was being written and never acknowledged.
    pub cut_bytes: u64,
    /// The entries that were read again, the latest ones: look here for calls without an outcome.
    pub replayed: Range<u64>,
    /// Number of entries.
    pub size: u64,
}

impl Journal {
    /// Opens the log, or begins it. Blocks; call it before serving.
    ///
    /// # Errors
    /// Refuses a log that another process writes, that lost entries, or that was changed.
    pub fn open(config: Config, signer: NoteSigner) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(FileSystem), config, signer)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: Config,
        signer: NoteSigner,
    ) -> Result<(Self, Recovered), OpenError> {
        let signer = Arc::new(signer);
        let mut keys = vec![signer.verifier().clone()];
        keys.extend(config.retired_keys.iter().cloned());
        // C2SP tlog-checkpoint: the key is named as the log is.
        if keys.iter().any(|key| key.name() != config.origin) {
            return Err(OpenError::OriginMismatch);
        }
        let wal_dir = config.dir.join(WAL_DIR);
        // What agents did is for the owner of the process to read, not for the whole machine.
        DirBuilder::new().recursive(true).mode(0o700).create(&wal_dir)?;
        // Before anything is read: what another writer does meanwhile must not look like damage.
        let lock = lock(&config.dir)?;
        let found = recover(&config, &keys, disk.as_ref())?;
        let Found { tiles, tombstone, tail, mut segments, replayed, cut_bytes } = found;
        let size = tiles.size();
        let checkpoint = sign(&config.origin, &tiles, &signer);
        tiles.write_partial(disk.as_ref())?;
        // What it covers was fsynced during recovery. It is there before the first entry is taken,
        // so that a log without a checkpoint is one that lost it.
        let path = config.dir.join(CHECKPOINT_FILE);
        publish_durably(disk.as_ref(), &path, checkpoint.note.as_bytes())?;
        let tombstone = sign_again(disk.as_ref(), &config.dir, &signer, tombstone)?;
        // The folder itself must have its names, too.
        disk.sync(&config.dir)?;
        // Crash here: as after a clean end. The new segment replaces an empty one of that name.
        let log = log_mark(&config.origin);
        let room = config.segment_bytes_max + RESERVE_BYTES;
        let segment = create_segment(disk.as_ref(), &wal_dir, room, &log, size)?;
        segments.retain(|first| *first != size);
        segments.push(size);
        let mark = Mark::open(&wal_dir.join(MARK_FILE))?;

        let desk = SyncDesk::new(Arc::clone(&segment), size);
        let tail = Tail::new(tiles.full_size(), tail);
        let start = Start { config, disk, desk, tail, size, checkpoint, tombstone, segments };
        let shared = Arc::new(Shared::new(start));
        let writer = Writer::new(Arc::clone(&shared), log, segment, size);
        let of_integrator = Arc::clone(&signer);
        let integrator =
            Integrator { shared: Arc::clone(&shared), tiles, signer: of_integrator, lock };
        let threads = Mutex::new(start_threads(&shared, writer, integrator, mark)?);
        let core = Core { shared, signer, keys, threads, removing: tokio::sync::Mutex::default() };
        Ok((Self { core: Arc::new(core) }, Recovered { cut_bytes, replayed, size }))
    }

    /// Adds an entry (RFC 8785 bytes) and gives its index once it is as durable as asked.
    ///
    /// # Errors
    /// Any error means: do not do what the entry announces.
    pub async fn append(
        &self,
        entry: Vec<u8>,
        durability: Durability,
    ) -> Result<u64, JournalUnavailable> {
        self.request(entry, durability, Urgency::Ordinary).await
    }

    /// Adds an entry that tells what has happened already, and does not wait for it. Written within
    /// the process's next moment, on the disk as [`Durability::Written`] entries are.
    ///
    /// # Errors
    /// The journal takes nothing. What goes wrong later is in the log of the process.
    pub fn append_unawaited(&self, entry: Vec<u8>) -> Result<(), JournalUnavailable> {
        let (durability, urgency) = (Durability::Written, Urgency::Ordinary);
        self.push(Request { entry, durability, urgency, done: Done::Untold })
    }

    /// Adds an entry of somebody who takes away what is their own, always with an fsync. It may use a
    /// quarter of the places and the space that are kept free for [`Journal::append_emergency`].
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_own(&self, entry: Vec<u8>) -> Result<u64, JournalUnavailable> {
        self.request(entry, Durability::Fsync, Urgency::Own).await
    }

    /// Adds an entry that takes rights away (a lock or a revocation), always with an fsync. It may
    /// use the places in the queue and the space on the disk that are kept free for it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_emergency(&self, entry: Vec<u8>) -> Result<u64, JournalUnavailable> {
        self.request(entry, Durability::Fsync, Urgency::Emergency).await
    }

    /// Records an unknown outcome for each call that was permitted before the last process ended
    /// and never completed; gives their number. Call it once after opening, before serving.
    ///
    /// # Errors
    /// As [`Journal::append`]. The log is then as if the process had ended once more.
    pub async fn end_interrupted_calls(
        &self,
        recovered: &Recovered,
        now_ms: u64,
    ) -> Result<u64, JournalUnavailable> {
        let range = recovered.replayed.clone();
        // What cannot be read back now was read during recovery: the disk fails.
        let entries = self.read(range.clone()).await.map_err(|_| JournalUnavailable::Failed)?;
        let mut count = 0;
        for interrupted in unfinished(range.zip(entries.iter().map(|bytes| &**bytes))) {
            let entry = interrupted.completion(now_ms).to_canonical();
            self.append(entry, Durability::Fsync).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Number of durable entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.core.shared.size.borrow()
    }

    /// Follows [`Journal::size`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.core.shared.size.subscribe()
    }

    /// The latest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> SignedCheckpoint {
        self.core.shared.checkpoint.borrow().clone()
    }

    /// The public half of the key that signs the checkpoints.
    #[must_use]
    pub fn verifier(&self) -> &NoteVerifier {
        self.core.signer.verifier()
    }

    /// The keys that verify the checkpoints: the one that signs now, then the retired ones.
    #[must_use]
    pub fn keys(&self) -> &[NoteVerifier] {
        &self.core.keys
    }

    /// Whether a write or fsync failed: then every append is refused until a restart.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.core.shared.has_failed()
    }

    /// How the journal is at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.core.shared;
        let (checkpoint_age, waiting, fsync_running) = shared.moments.read();
        let (fsyncs, fsync_time) = shared.moments.fsyncs();
        Status {
            entries: self.size(),
            covered: shared.checkpoint.borrow().checkpoint.size,
            checkpoint_age,
            waiting,
            fsync_running,
            queued: shared.queue.len(),
            fsyncs,
            fsync_time,
            failed: shared.has_failed(),
        }
    }

    /// Entries by index; those beyond [`Journal::size`] are left out.
    ///
    /// # Errors
    /// Refuses entries that were removed, and fails if a tile cannot be read.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
        let shared = Arc::clone(&self.core.shared);
        blocking(move || read(&shared, range)).await
    }

    /// Entries at these places, each with its place, in the order of the log; those beyond
    /// [`Journal::size`] are left out.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub async fn read_at(&self, mut places: Vec<u64>) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let shared = Arc::clone(&self.core.shared);
        places.sort_unstable();
        places.dedup();
        blocking(move || {
            let (width, mut found) = (u64::from(TILE_WIDTH), Vec::with_capacity(places.len()));
            // Places in one tile are read together.
            for near in places.chunk_by(|one, other| one / width == other / width) {
                let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
                let entries = (*first..).zip(read(&shared, *first..*last + 1)?);
                found.extend(entries.filter(|(place, _)| near.binary_search(place).is_ok()));
            }
            Ok(found)
        })
        .await
    }

    /// An export bundle of these entries; waits for a checkpoint that covers them, and for a moment
    /// for one that witnesses cosigned, where there are any.
    ///
    /// # Errors
    /// Refuses an index that is not in the log or was removed, and fails if a tile cannot be read.
    pub async fn export(&self, indices: &[u64]) -> Result<Vec<u8>, ReadError> {
        self.export_since(indices, None).await
    }

    /// As [`Journal::export`], with a proof that the log extends `earlier`, a signed checkpoint of
    /// this log that the auditor kept.
    ///
    /// # Errors
    /// As [`Journal::export`], and refuses an `earlier` that this log did not sign.
    pub async fn export_since(
        &self,
        indices: &[u64],
        earlier: Option<String>,
    ) -> Result<Vec<u8>, ReadError> {
        let size = indices.iter().max().map_or(0, |last| last.saturating_add(1));
        let signed = self.covering(size).await?;
        let signed = self.core.shared.cosigned.covering(size).await.unwrap_or(signed);
        let folder = Folder::new(&self.core.shared.config.dir);
        let (indices, keys) = (indices.to_vec(), self.core.keys.clone());
        let shared = Arc::clone(&self.core.shared);
        blocking(move || {
            let first = indices.iter().min().copied().unwrap_or(u64::MAX);
            unless_removed(&shared, first, || {
                Prover::new(folder, signed).export(&indices, earlier.as_deref(), &keys)
            })
        })
        .await
    }

    /// Records what is waiting, signs a last checkpoint and frees the folder.
    pub async fn close(self) {
        self.core.shared.queue.close(JournalUnavailable::Closed);
        let threads = std::mem::take(&mut *lock_threads(&self.core.threads));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has nothing left to record.
                drop(thread.join());
            }
        });
        drop(joined.await);
    }

    async fn request(
        &self,
        entry: Vec<u8>,
        durability: Durability,
        urgency: Urgency,
    ) -> Result<u64, JournalUnavailable> {
        let (done, acknowledged) = oneshot::channel();
        self.push(Request { entry, durability, urgency, done: Done::Told(done) })?;
        // A disk that hangs must not hold up the caller for ever.
        let time = Duration::from_millis(self.core.shared.config.append_timeout_ms);
        match tokio::time::timeout(time, acknowledged).await {
            Ok(Ok(result)) => result,
            // The thread that should have answered is gone.
            Ok(Err(_)) => Err(JournalUnavailable::Failed),
            Err(_) => Err(JournalUnavailable::TimedOut),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }

    fn push(&self, request: Request) -> Result<(), JournalUnavailable> {
        if request.entry.len() > ENTRY_BYTES_MAX {
            return Err(JournalUnavailable::EntryTooLong);
        }
        let shared = &self.core.shared;
        shared.queue.push(request, shared.tail.bytes())
    }

    /// Waits for a checkpoint over at least `size` entries.
    pub(crate) async fn covering(&self, size: u64) -> Result<SignedCheckpoint, ReadError> {
        let missing = ReadError::Missing { index: size.saturating_sub(1) };
        if size > self.size() {
            return Err(missing);
        }
        let mut checkpoints = self.core.shared.checkpoint.subscribe();
        let covers = |signed: &SignedCheckpoint| signed.checkpoint.size >= size;
        let time = Duration::from_millis(self.core.shared.config.append_timeout_ms);
        match tokio::time::timeout(time, checkpoints.wait_for(covers)).await {
            Ok(Ok(signed)) => Ok(signed.clone()),
            Ok(Err(_)) | Err(_) => Err(missing),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // The threads finish what is waiting and end on their own.
        self.shared.queue.close(JournalUnavailable::Closed);
    }
}

fn start_threads(
    shared: &Arc<Shared>,
    writer: Writer,
    integrator: Integrator,
    mark: Mark,
) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let bell = Arc::new(Bell::default());
    let (syncer_shared, syncer_bell) = (Arc::clone(shared), Arc::clone(&bell));
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    Ok(vec![
        named("journal-write").spawn(move || writer.run())?,
        named("journal-sync").spawn(move || syncer::run(&syncer_shared, &mark, &syncer_bell))?,
        named("journal-tiles").spawn(move || integrator.run(&bell))?,
    ])
}

/// Two writers would give one index to two entries. The kernel frees the lock with the process.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(error)),
    }
}

fn read(shared: &Shared, range: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
    let end = range.end.min(*shared.size.borrow());
    if range.start >= end {
        return Ok(Vec::new());
    }
    unless_removed(shared, range.start, || read_there(shared, range.start..end))
}

/// Reads from `first` on what may be removed while it is read.
fn unless_removed<T>(
    shared: &Shared,
    first: u64,
    read: impl FnOnce() -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let removed = || match shared.first() {
        there if first < there => Some(ReadError::Removed { first: there }),
        _ => None,
    };
    if let Some(error) = removed() {
        return Err(error);
    }
    // The tombstone is there before the first file goes.
    read().map_err(|error| removed().unwrap_or(error))
}

fn read_there(shared: &Shared, range: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
    let end = range.end;
    let mut entries = Vec::new();
    let mut at = range.start;
    while at < end {
        // Memory first: entries leave it only after their tile is there.
        if let Some(rest) = shared.tail.range(at..end) {
            entries.extend(rest);
            break;
        }
        let width = u64::from(TILE_WIDTH);
        let bundle = Folder::new(&shared.config.dir).bundle(at / width, TILE_WIDTH)?;
        let tile_end = (at / width + 1) * width;
        let within = at % width..end.min(tile_end) - at / width * width;
        let skip = usize::try_from(within.start).unwrap_or(usize::MAX);
        let take = usize::try_from(within.end - within.start).unwrap_or(usize::MAX);
        entries.extend(bundle.into_iter().skip(skip).take(take));
        at = tile_end;
    }
    Ok(entries)
}

fn lock_threads(
    threads: &Mutex<Vec<JoinHandle<()>>>,
) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Only when the runtime shuts down.
        Err(error) => Err(ReadError::Io(error.into())),
    }
}
