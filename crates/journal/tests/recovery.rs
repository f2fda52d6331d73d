//! Restarts after a crash, and after somebody changed the folder.
#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use attorn_audit::{Entry, Kind, Outcome};
use attorn_journal::{Config, Durability, Journal, OpenError, read_all};

use self::common::{Folder, ORIGIN, entry, signer};

/// Copies a folder as a killed process leaves it: all that was written, and no lock.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// A log of `count` acknowledged entries whose process was killed before a checkpoint.
async fn killed_after(count: u64) -> Folder {
    let live = Folder::new();
    let mut config = live.config();
    config.integrate_ms = 3_600_000;
    let (journal, _) = Journal::open(config, signer()).unwrap();
    for number in 0..count {
        assert_eq!(journal.append(entry(number), Durability::Fsync).await, Ok(number));
    }
    let dead = Folder::new();
    copy(live.path(), dead.path());
    journal.close().await;
    dead
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("wal/00000000000000000000")
}

fn open(dir: &Path) -> Result<u64, OpenError> {
    let (journal, recovered) = Journal::open(Config::new(dir, ORIGIN), signer())?;
    assert_eq!(journal.size(), recovered.size);
    Ok(recovered.size)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn killed_process_loses_nothing() {
    for count in [0, 1, 255, 256, 257, 600] {
        let dead = killed_after(count).await;
        assert_eq!(read_all(dead.path()).unwrap().len() as u64, count);
        let (journal, recovered) = Journal::open(dead.config(), signer()).unwrap();
        assert_eq!((recovered.size, recovered.cut_bytes), (count, 0));
        assert_eq!(recovered.replayed, 0..count);
        let entries = journal.read(0..count).await.unwrap();
        assert!(entries.iter().zip(0..).all(|(bytes, number)| **bytes == entry(number)));
        assert_eq!(journal.append(entry(count), Durability::Fsync).await, Ok(count));
        journal.close().await;
    }
}

#[tokio::test]
async fn torn_tail_of_every_length_is_cut() {
    let (before, after) = (killed_after(1).await, killed_after(2).await);
    let whole = fs::read(segment(after.path())).unwrap();
    let good = fs::read(segment(before.path())).unwrap().len();
    for length in good..whole.len() {
        let dead = Folder::new();
        copy(before.path(), dead.path());
        fs::write(segment(dead.path()), &whole[..length]).unwrap();
        let (journal, recovered) = Journal::open(dead.config(), signer()).unwrap();
        let torn = (length - good) as u64;
        assert_eq!((recovered.size, recovered.cut_bytes), (1, torn), "{length}");
        journal.close().await;
        assert_eq!(read_all(dead.path()).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn loss_of_an_acknowledged_entry_is_refused() {
    let before = killed_after(2).await;
    let whole = fs::read(segment(before.path())).unwrap();
    for length in 0..whole.len() {
        let dead = Folder::new();
        copy(before.path(), dead.path());
        fs::write(segment(dead.path()), &whole[..length]).unwrap();
        let refusal = open(dead.path());
        let lost =
            matches!(refusal, Err(OpenError::AcknowledgedLost { acknowledged: 2, found: 0..2 }));
        assert!(lost, "{length}: {refusal:?}");
        // Nothing was cut: an operator can still look at it.
        assert_eq!(fs::read(segment(dead.path())).unwrap().len(), length);
    }
}

#[tokio::test]
async fn changed_bit_in_any_byte_is_refused() {
    let before = killed_after(2).await;
    let whole = fs::read(segment(before.path())).unwrap();
    for place in 0..whole.len() {
        let dead = Folder::new();
        copy(before.path(), dead.path());
        change(&segment(dead.path()), |bytes| bytes[place] ^= 1 << (place % 8));
        let refusal = open(dead.path());
        let refused = matches!(
            refusal,
            Err(OpenError::AcknowledgedLost { .. } | OpenError::RecordBroken { .. })
        );
        assert!(refused, "{place}: {refusal:?}");
    }
}

#[tokio::test]
async fn broken_middle_is_refused_even_without_the_mark() {
    let dead = killed_after(4).await;
    fs::remove_file(dead.path().join("wal/durable")).unwrap();
    // The first batch begins after the header of 56 bytes.
    change(&segment(dead.path()), |bytes| bytes[60] ^= 1);
    assert!(matches!(open(dead.path()), Err(OpenError::RecordBroken { index: 0 })));
}

/// A log with a checkpoint over everything, closed in order.
async fn closed_after(count: u64) -> Folder {
    let folder = Folder::new();
    let mut config = folder.config();
    config.segment_bytes_max = 8 << 10;
    let (journal, _) = Journal::open(config, signer()).unwrap();
    for number in 0..count {
        assert_eq!(journal.append(entry(number), Durability::Fsync).await, Ok(number));
    }
    journal.close().await;
    folder
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("wal")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| !path.ends_with("durable")).collect();
    files.sort();
    files
}

#[tokio::test]
async fn missing_or_foreign_parts_are_refused() {
    let good = closed_after(700).await;
    assert!(segments(good.path()).len() >= 2);
    let fresh = || {
        let folder = Folder::new();
        copy(good.path(), folder.path());
        folder
    };
    assert_eq!(open(fresh().path()).unwrap(), 700);

    let folder = fresh();
    fs::remove_file(folder.path().join("checkpoint")).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::CheckpointMissing)));

    let folder = fresh();
    change(&folder.path().join("checkpoint"), |bytes| bytes[20] ^= 1);
    assert!(matches!(open(folder.path()), Err(OpenError::CheckpointRefused(_))));

    let folder = fresh();
    fs::remove_file(segments(folder.path()).last().unwrap()).unwrap();
    let refusal = open(folder.path());
    assert!(matches!(refusal, Err(OpenError::AcknowledgedLost { .. })), "{refusal:?}");

    let folder = fresh();
    for segment in segments(folder.path()) {
        fs::remove_file(segment).unwrap();
    }
    assert!(matches!(open(folder.path()), Err(OpenError::AcknowledgedLost { .. })));

    // A tile that no segment can bring back.
    let folder = fresh();
    fs::remove_file(folder.path().join("tile/0/000")).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::TileBroken { index: 0 })));

    let folder = fresh();
    change(&folder.path().join("tile/0/000"), |bytes| bytes[100] ^= 1);
    assert!(open(folder.path()).is_err());
}

#[tokio::test]
async fn rewritten_history_does_not_match_the_checkpoint() {
    // Two logs of one key and name, as a restored backup would give: the checkpoint of one does not
    // fit the entries of the other.
    let (ours, theirs) = (killed_after(0).await, killed_after(0).await);
    for (folder, offset) in [(&ours, 0), (&theirs, 100)] {
        let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
        for number in offset..offset + 5 {
            journal.append(entry(number), Durability::Fsync).await.unwrap();
        }
        journal.close().await;
    }
    fs::copy(theirs.path().join("checkpoint"), ours.path().join("checkpoint")).unwrap();
    assert!(matches!(open(ours.path()), Err(OpenError::CheckpointMismatch { size: 5 })));
}

#[tokio::test]
async fn damaged_tiles_that_segments_cover_are_made_again() {
    let dead = killed_after(300).await;
    let (journal, _) = Journal::open(dead.config(), signer()).unwrap();
    journal.close().await;
    change(&dead.path().join("tile/entries/000"), |bytes| bytes.truncate(100));
    fs::remove_dir_all(dead.path().join("tile/0")).unwrap();
    let (journal, recovered) = Journal::open(dead.config(), signer()).unwrap();
    assert_eq!(recovered.size, 300);
    journal.close().await;
    assert!(attorn_journal::check(dead.path(), &[signer().verifier().clone()]).is_ok());
}

#[tokio::test]
async fn interrupted_calls_end_as_unknown_once() {
    // Permitted calls, none of them completed.
    let dead = killed_after(3).await;
    let (journal, recovered) = Journal::open(dead.config(), signer()).unwrap();
    assert_eq!(journal.end_interrupted_calls(&recovered, 9).await, Ok(3));
    let last = Entry::parse(&journal.read(5..6).await.unwrap()[0]).unwrap();
    assert_eq!((last.kind, last.outcome), (Kind::CallCompleted, Some(Outcome::Unknown)));
    assert_eq!(last.decision_id.as_deref(), Some("dec_2"));
    journal.close().await;
    let (journal, recovered) = Journal::open(dead.config(), signer()).unwrap();
    assert_eq!(journal.end_interrupted_calls(&recovered, 9).await, Ok(0));
    journal.close().await;
}
