//! The fault table: what holds when one step on the disk fails, persisted or not.

mod disk;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use attorn_audit::note::NoteSigner;
use bytes::Bytes;

use self::disk::{Effect, Fault, FaultyDisk, Step, fault};
use crate::disk::{Disk, FileSystem};
use crate::retention::remove_below;
use crate::{Config, Durability, Journal, JournalUnavailable, OpenError, Removal, check, read_all};

struct World {
    dir: PathBuf,
    disk: FaultyDisk,
    config: Config,
    /// Every entry that was acknowledged.
    acknowledged: Vec<(u64, Vec<u8>)>,
    number: u32,
}

impl World {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-journal-faults-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let mut config = Config::new(&dir, "test");
        config.integrate_ms = 5;
        config.segment_bytes_max = 16 << 10;
        Self { dir, disk: FaultyDisk::new(), config, acknowledged: Vec::new(), number: 0 }
    }

    fn open(&self) -> Result<Journal, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Journal::open_on(disk, self.config.clone(), signer()).map(|(journal, _)| journal)
    }

    async fn append(
        &mut self,
        journal: &Journal,
        durability: Durability,
    ) -> Result<u64, JournalUnavailable> {
        self.number += 1;
        let entry = format!("{{\"n\":{}}}", self.number).into_bytes();
        let index = journal.append(entry.clone(), durability).await?;
        self.acknowledged.push((index, entry));
        Ok(index)
    }

    /// Appends until a refusal, at most `most` entries.
    async fn fill(&mut self, journal: &Journal, most: u32) -> Result<(), JournalUnavailable> {
        for _ in 0..most {
            self.append(journal, Durability::Fsync).await?;
        }
        Ok(())
    }

    /// After whatever happened: the log opens, holds what was acknowledged where it was said to
    /// be, takes entries again, and verifies as a whole.
    async fn holds(&mut self) {
        self.disk.heal();
        let all = read_all(&self.dir).unwrap();
        self.compare(&all);
        let journal = self.open().unwrap();
        let next = journal.size();
        assert_eq!(self.append(&journal, Durability::Fsync).await, Ok(next));
        journal.close().await;
        let all = read_all(&self.dir).unwrap();
        self.compare(&all);
        let key = signer().verifier().clone();
        let checked = check(&self.dir, &[key]).unwrap();
        assert_eq!(checked.signed.checkpoint.size, next + 1);
    }

    fn compare(&self, all: &[Bytes]) {
        for (index, entry) in &self.acknowledged {
            let there = usize::try_from(*index).ok().and_then(|index| all.get(index));
            assert_eq!(there.map(|bytes| &**bytes), Some(entry.as_slice()), "entry {index}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn signer() -> NoteSigner {
    NoteSigner::from_seed("test", &[1; 32]).unwrap()
}

const IO: io::ErrorKind = io::ErrorKind::Other;
const FULL: io::ErrorKind = io::ErrorKind::StorageFull;

/// Steps whose failure ends the journal: nothing more is acknowledged, nothing acknowledged is lost.
#[tokio::test]
async fn failed_step_poisons_the_writer() {
    for fault in [
        fault(Step::AppendToSegment, "wal", IO, Effect::None),
        fault(Step::AppendToSegment, "wal", IO, Effect::Half),
        fault(Step::AppendToSegment, "wal", IO, Effect::Done),
        fault(Step::SyncSegment, "wal", IO, Effect::None),
        fault(Step::SyncSegment, "wal", IO, Effect::Done),
        // "No space" from an fsync means that data may be gone: never survivable.
        fault(Step::SyncSegment, "wal", FULL, Effect::None),
        fault(Step::SyncSegment, "wal", FULL, Effect::Done),
        fault(Step::CreateSegment, "wal", IO, Effect::None),
        fault(Step::Sync, "wal", IO, Effect::None),
        fault(Step::Sync, "wal", IO, Effect::Done),
        fault(Step::Write, "tile/entries", IO, Effect::None),
        fault(Step::Write, "tile/0", IO, Effect::Half),
        fault(Step::Rename, "tile/entries", IO, Effect::None),
        fault(Step::Rename, "tile/0", IO, Effect::Done),
        fault(Step::Write, "checkpoint", IO, Effect::Half),
        fault(Step::Sync, "checkpoint", IO, Effect::None),
        fault(Step::Rename, "checkpoint", IO, Effect::None),
        fault(Step::Rename, "checkpoint", IO, Effect::Done),
        fault(Step::Sync, "tile/entries", FULL, Effect::None),
        fault(Step::Sync, "tile/0", IO, Effect::None),
        fault(Step::Remove, "wal", IO, Effect::None),
        fault(Step::Remove, "wal", IO, Effect::Done),
    ] {
        let mut world = World::new();
        let journal = world.open().unwrap();
        world.fill(&journal, 10).await.unwrap();
        world.disk.arm(fault.clone());
        // Far enough for a full tile, a full segment, and the end of the first segment.
        let refusal = world.fill(&journal, 20_000).await;
        assert_eq!(refusal, Err(JournalUnavailable::Failed), "{fault:?}");
        assert!(journal.has_failed());
        assert_eq!(
            world.append(&journal, Durability::Written).await,
            Err(JournalUnavailable::Failed)
        );
        assert_eq!(journal.append_emergency(b"{}".to_vec()).await, Err(JournalUnavailable::Failed));
        journal.close().await;
        world.holds().await;
    }
}

/// A full disk is survived: refused while it lasts, without a hole afterwards.
#[tokio::test]
async fn lack_of_space_passes() {
    for effect in [Effect::None, Effect::Half, Effect::Done] {
        let mut world = World::new();
        let journal = world.open().unwrap();
        world.fill(&journal, 10).await.unwrap();
        world.disk.arm(fault(Step::AppendToSegment, "wal", FULL, effect));
        let refusal = world.append(&journal, Durability::Fsync).await;
        assert_eq!(refusal, Err(JournalUnavailable::StorageFull));
        assert_eq!(world.append(&journal, Durability::Fsync).await, Ok(10));
        world.fill(&journal, 600).await.unwrap();
        journal.close().await;
        world.holds().await;
    }
}

#[tokio::test]
async fn batch_that_cannot_be_taken_back_poisons() {
    let mut world = World::new();
    let journal = world.open().unwrap();
    world.disk.arm(fault(Step::AppendToSegment, "wal", FULL, Effect::Half));
    world.disk.arm(fault(Step::CutSegment, "wal", IO, Effect::None));
    let refusal = world.append(&journal, Durability::Fsync).await;
    assert_eq!(refusal, Err(JournalUnavailable::Failed));
    journal.close().await;
    world.holds().await;
}

/// Without space for another segment only locks and revocations are taken, into space set aside.
#[tokio::test]
async fn emergencies_are_recorded_on_a_full_disk() {
    let mut world = World::new();
    let journal = world.open().unwrap();
    world.disk.arm(Fault { times: 0, ..fault(Step::CreateSegment, "wal", FULL, Effect::None) });
    let refusal = world.fill(&journal, 20_000).await;
    assert_eq!(refusal, Err(JournalUnavailable::StorageFull));
    for _ in 0..50 {
        let index = journal.append_emergency(b"{\"lock\":1}".to_vec()).await.unwrap();
        world.acknowledged.push((index, b"{\"lock\":1}".to_vec()));
    }
    let refusal = world.append(&journal, Durability::Fsync).await;
    assert_eq!(refusal, Err(JournalUnavailable::StorageFull));
    assert!(!journal.has_failed());
    // There is space again.
    world.disk.heal();
    world.fill(&journal, 1_000).await.unwrap();
    journal.close().await;
    world.holds().await;
}

/// Who takes away what is their own uses up a part of what is set aside, however often, and no more.
#[tokio::test]
async fn what_is_kept_for_operators_is_used_up_by_nobody_else() {
    let mut world = World::new();
    let journal = world.open().unwrap();
    world.disk.arm(Fault { times: 0, ..fault(Step::CreateSegment, "wal", FULL, Effect::None) });
    world.fill(&journal, 20_000).await.unwrap_err();
    let own = vec![b'1'; 8 << 10];
    let mut taken = 0;
    for _ in 0..200 {
        if let Ok(index) = journal.append_own(own.clone()).await {
            world.acknowledged.push((index, own.clone()));
            taken += 1;
        }
    }
    assert!((1..=32).contains(&taken), "{taken}");
    let refusal = journal.append_own(b"1".to_vec()).await;
    assert!(matches!(refusal, Ok(_) | Err(JournalUnavailable::StorageFull)), "{refusal:?}");
    world.acknowledged.extend(refusal.ok().map(|index| (index, b"1".to_vec())));
    for _ in 0..50 {
        let index = journal.append_emergency(b"{\"lock\":1}".to_vec()).await.unwrap();
        world.acknowledged.push((index, b"{\"lock\":1}".to_vec()));
    }
    journal.close().await;
    world.holds().await;
}

/// Tiles and checkpoint wait for space; entries do not.
#[tokio::test]
async fn full_disk_delays_tiles_only() {
    let mut world = World::new();
    let journal = world.open().unwrap();
    world.disk.arm(Fault { times: 5, ..fault(Step::Write, "tile", FULL, Effect::Half) });
    world.disk.arm(Fault { times: 2, ..fault(Step::Write, "checkpoint", FULL, Effect::Half) });
    world.fill(&journal, 700).await.unwrap();
    // Waits for a checkpoint over everything.
    assert!(journal.export(&[699]).await.is_ok());
    assert!(world.disk.struck());
    journal.close().await;
    world.holds().await;
}

/// A failed step while opening leaves the log as it was.
#[tokio::test]
async fn failed_open_changes_nothing_that_counts() {
    for fault in [
        fault(Step::FinishSegment, "wal", IO, Effect::None),
        fault(Step::FinishSegment, "wal", IO, Effect::Done),
        fault(Step::Write, "tile", IO, Effect::Half),
        fault(Step::Rename, "tile", IO, Effect::None),
        fault(Step::Write, "checkpoint", FULL, Effect::Half),
        fault(Step::Rename, "checkpoint", IO, Effect::Done),
        fault(Step::CreateSegment, "wal", FULL, Effect::None),
        fault(Step::AppendToSegment, "wal", IO, Effect::Half),
        fault(Step::SyncSegment, "wal", IO, Effect::None),
    ] {
        let after = disk::fault;
        let mut world = World::new();
        let journal = world.open().unwrap();
        world.fill(&journal, 300).await.unwrap();
        // Dies in the middle of a batch, and before its tiles are written.
        world.disk.arm(Fault { times: 0, ..after(Step::Write, "tile", FULL, Effect::None) });
        world.disk.arm(after(Step::AppendToSegment, "wal", IO, Effect::Half));
        assert!(world.fill(&journal, 1).await.is_err());
        journal.close().await;
        world.disk.heal();

        world.disk.arm(fault.clone());
        assert!(matches!(world.open(), Err(OpenError::Io(_))), "{fault:?}");
        world.holds().await;
    }
}

#[tokio::test]
async fn full_queue_is_an_error_and_keeps_places_for_emergencies() {
    let mut world = World::new();
    world.config.queue_entries_max = 4;
    world.config.queue_entries_reserved = 2;
    let journal = world.open().unwrap();
    // The disk hangs: the writer may have one batch, what comes after stays in the queue.
    world.disk.hold();
    let mut appends = Vec::new();
    let mut refused = 0;
    for _ in 0..64 {
        let mut append = append(&journal, Durability::Written);
        match poll_once(append.as_mut()).await {
            None => appends.push(append),
            Some(result) => {
                assert_eq!(result, Err(JournalUnavailable::Busy));
                refused += 1;
            }
        }
    }
    assert!(refused >= 64 - 8, "{refused}");
    for _ in 0..2 {
        let mut append: Append<'_> = Box::pin(journal.append_emergency(b"{}".to_vec()));
        assert_eq!(poll_once(append.as_mut()).await, None);
        appends.push(append);
    }
    world.disk.release();
    for append in appends {
        assert!(append.await.is_ok());
    }
    journal.close().await;
}

#[tokio::test]
async fn disk_that_hangs_is_given_up_on() {
    let mut world = World::new();
    world.config.append_timeout_ms = 10;
    let journal = world.open().unwrap();
    world.disk.hold();
    let timed_out = world.append(&journal, Durability::Fsync).await;
    assert_eq!(timed_out, Err(JournalUnavailable::TimedOut));
    world.disk.release();
    journal.close().await;
    world.holds().await;
}

type Append<'a> = Pin<Box<dyn Future<Output = Result<u64, JournalUnavailable>> + 'a>>;

fn append(journal: &Journal, durability: Durability) -> Append<'_> {
    Box::pin(journal.append(b"{}".to_vec(), durability))
}

async fn poll_once<T>(mut future: Pin<&mut dyn Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// Whatever line the removal of old entries fails at: the log goes on, nothing is missing that no
/// tombstone names, and the next removal ends what this one began.
#[tokio::test]
async fn a_removal_can_fail_anywhere() {
    let removal = |before| Removal {
        before,
        by: "test".into(),
        reason: "test".into(),
        carried: Vec::new(),
        now_ms: 1,
    };
    for fault in [
        fault(Step::Write, "tombstone", IO, Effect::None),
        fault(Step::Write, "tombstone", FULL, Effect::Half),
        fault(Step::Sync, "tombstone", IO, Effect::None),
        fault(Step::Rename, "tombstone", IO, Effect::None),
        fault(Step::Rename, "tombstone", IO, Effect::Done),
        fault(Step::Remove, "tile/entries", IO, Effect::None),
        fault(Step::Remove, "tile/entries", IO, Effect::Done),
        fault(Step::Remove, "tile/entries/001", IO, Effect::None),
        fault(Step::Sync, "tile/entries", IO, Effect::None),
    ] {
        let mut world = World::new();
        let journal = world.open().unwrap();
        world.fill(&journal, 2_000).await.unwrap();
        journal.close().await;
        let journal = world.open().unwrap();
        assert!(journal.removable() >= 512, "{}", journal.removable());
        world.disk.arm(fault.clone());
        assert!(journal.remove(removal(512)).await.is_err(), "{fault:?}");
        assert!(world.disk.struck(), "{fault:?}");
        // The calls go on, and so does a process that is started now.
        assert!(world.append(&journal, Durability::Fsync).await.is_ok(), "{fault:?}");
        journal.close().await;
        let keys = [signer().verifier().clone()];
        let checked = check(&world.dir, &keys).unwrap();
        let journal = world.open().unwrap();
        assert_eq!(journal.first(), checked.tombstone.map_or(0, |it| it.end), "{fault:?}");
        journal.remove(removal(512)).await.unwrap();
        assert!(!world.dir.join("tile/entries/000").exists());
        assert!(!world.dir.join("tile/entries/001").exists());
        let kept = journal.read(512..journal.size()).await.unwrap();
        for (index, entry) in world.acknowledged.iter().filter(|(index, _)| *index >= 512) {
            let there = kept.get(usize::try_from(index - 512).unwrap());
            assert_eq!(there.map(|bytes| &**bytes), Some(entry.as_slice()), "entry {index}");
        }
        journal.close().await;
        assert!(check(&world.dir, &keys).is_ok(), "{fault:?}");
    }
}

/// Tiles beyond the first thousand stand in folders of folders.
#[test]
fn tiles_are_removed_by_their_number() {
    use attorn_audit::tile::{TileId, TileKind};
    let world = World::new();
    let entries = world.dir.join("tile/entries");
    let path = |index| world.dir.join(TileId::full(TileKind::Entries, index).path());
    let tiles = [0, 7, 999, 1_000, 1_001, 2_000, 999_999, 1_000_000, 1_001_000, 1_001_001];
    for index in tiles {
        FileSystem.write(&path(index), b"x").unwrap();
    }
    FileSystem.write(&path(999).with_file_name("998.p/3"), b"x").unwrap();
    FileSystem.write(&path(999).with_file_name("998.tmp"), b"x").unwrap();
    for end in [0, 1, 999, 1_001, 1_000_000, 1_001_001] {
        remove_below(&FileSystem, &entries, 0, end).unwrap();
        for index in tiles {
            assert_eq!(path(index).exists(), index >= end, "{index} of {end}");
        }
        let others = ["998.p", "998.tmp"].map(|name| entries.join(name).exists());
        assert_eq!(others, [end < 999; 2], "{end}");
    }
    assert!(!entries.join("x001/000").exists() && !entries.join("x002").exists());
}
