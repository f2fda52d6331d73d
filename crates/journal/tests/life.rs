//! A log from its first entry to its end, through restarts.
#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use attorn_audit::note::NoteSigner;
use attorn_audit::verify::{Trust, verify};
use attorn_journal::{Config, Durability, Journal, JournalUnavailable, OpenError, check, read_all};
use tokio::task::JoinSet;

use self::common::{Folder, ORIGIN, entry, signer};

#[tokio::test]
async fn entries_come_back_in_order_and_verify() {
    let folder = Folder::new();
    let (journal, recovered) = Journal::open(folder.config(), signer()).unwrap();
    assert_eq!(recovered.size, 0);
    for number in 0..600 {
        let durability = if number % 2 == 0 { Durability::Fsync } else { Durability::Written };
        assert_eq!(journal.append(entry(number), durability).await, Ok(number));
    }
    let mut sizes = journal.subscribe();
    sizes.wait_for(|size| *size == 600).await.unwrap();
    let read = journal.read(250..520).await.unwrap();
    assert_eq!(read.len(), 270);
    assert!(read.iter().zip(250..).all(|(bytes, number)| **bytes == entry(number)));

    let bundle = journal.export(&[599, 3, 256, 255]).await.unwrap();
    let keys = [signer().verifier().clone()];
    let report = verify(&bundle, Trust::Pinned(&keys)).unwrap();
    assert_eq!(report.indices, [3, 255, 256, 599]);
    assert_eq!(report.checkpoint.origin, ORIGIN);
    journal.close().await;

    let checked = check(folder.path(), &keys).unwrap();
    assert_eq!(checked.signed.checkpoint.size, 600);
    let all = read_all(folder.path()).unwrap();
    assert_eq!(all.len(), 600);
    assert!(all.iter().zip(0..).all(|(bytes, number)| **bytes == entry(number)));
}

#[tokio::test]
async fn restart_goes_on_where_the_log_ended() {
    let folder = Folder::new();
    let mut earlier = None;
    for round in 0..5_u64 {
        let (journal, recovered) = Journal::open(folder.config(), signer()).unwrap();
        let begin = round * 301;
        assert_eq!((recovered.size, recovered.cut_bytes), (begin, 0));
        for number in begin..begin + 300 {
            assert_eq!(journal.append(entry(number), Durability::Written).await, Ok(number));
        }
        assert_eq!(journal.append_emergency(entry(begin + 300)).await, Ok(begin + 300));
        journal.close().await;
        let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
        let bundle = journal.export_since(&[0], earlier).await.unwrap();
        assert!(verify(&bundle, Trust::Embedded).is_ok());
        earlier = Some(journal.checkpoint().note.to_string());
        journal.close().await;
    }
}

#[tokio::test]
async fn segments_go_once_durable_tiles_cover_them() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.segment_bytes_max = 64 << 10;
    let (journal, _) = Journal::open(config.clone(), signer()).unwrap();
    for begin in (0..4_000).step_by(100) {
        let mut appends = JoinSet::new();
        for number in begin..begin + 100 {
            let journal = journal.clone();
            appends.spawn(async move { journal.append(entry(number), Durability::Fsync).await });
        }
        let indices = appends.join_all().await.into_iter().map(Result::unwrap);
        assert!(indices.collect::<BTreeSet<u64>>().into_iter().eq(begin..begin + 100));
    }
    journal.close().await;
    let wal = folder.path().join("wal");
    let segments = std::fs::read_dir(&wal).unwrap().count() - 1;
    assert!(segments <= 3, "{segments} segments are left");
    let (journal, recovered) = Journal::open(config, signer()).unwrap();
    assert_eq!(recovered.size, 4_000);
    assert!(recovered.replayed.start > 2_000, "{recovered:?}");
    assert_eq!(journal.append(entry(1), Durability::Fsync).await, Ok(4_000));
    journal.close().await;
    assert_eq!(read_all(folder.path()).unwrap().len(), 4_001);
    assert!(check(folder.path(), &[signer().verifier().clone()]).is_ok());
}

#[tokio::test]
async fn only_one_writer_holds_a_folder() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
    let second = Journal::open(folder.config(), signer());
    assert!(matches!(second, Err(OpenError::Locked)), "{second:?}");
    journal.close().await;
    assert!(Journal::open(folder.config(), signer()).is_ok());
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_and_nothing_else() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
    let too_long = journal.append(vec![b'x'; 65_536], Durability::Fsync).await;
    assert_eq!(too_long, Err(JournalUnavailable::EntryTooLong));
    assert_eq!(journal.append(vec![b'x'; 65_535], Durability::Fsync).await, Ok(0));
    let clone = journal.clone();
    journal.close().await;
    let closed = clone.append(entry(0), Durability::Fsync).await;
    assert_eq!(closed, Err(JournalUnavailable::Closed));
    assert_eq!(clone.append_emergency(entry(0)).await, Err(JournalUnavailable::Closed));
}

#[test]
fn key_of_another_log_is_refused() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.origin = "test/gateway/2".into();
    assert!(matches!(Journal::open(config, signer()), Err(OpenError::OriginMismatch)));
}

#[tokio::test]
async fn folder_is_for_its_owner_only() {
    let parent = Folder::new();
    let folder = parent.path().join("journal");
    let (journal, _) = Journal::open(Config::new(&folder, ORIGIN), signer()).unwrap();
    journal.close().await;
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test]
async fn new_key_takes_over_only_from_a_known_one() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
    journal.append(entry(0), Durability::Fsync).await.unwrap();
    journal.close().await;
    let old = signer().verifier().clone();
    let next = || NoteSigner::from_seed(ORIGIN, &[8; 32]).unwrap();

    let refusal = Journal::open(folder.config(), next());
    assert!(matches!(refusal, Err(OpenError::CheckpointRefused(_))), "{refusal:?}");
    let mut config = folder.config();
    config.retired_keys.push(old.clone());
    let (journal, _) = Journal::open(config, next()).unwrap();
    journal.append(entry(1), Durability::Fsync).await.unwrap();
    assert_eq!(journal.keys(), [next().verifier().clone(), old]);
    journal.close().await;
    let (journal, recovered) = Journal::open(folder.config(), next()).unwrap();
    assert_eq!(recovered.size, 2);
    journal.close().await;
}

#[tokio::test]
async fn restarts_do_not_hoard_space() {
    let folder = Folder::new();
    for number in 0..5 {
        let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
        journal.append(entry(number), Durability::Fsync).await.unwrap();
        journal.close().await;
    }
    let wal = std::fs::read_dir(folder.path().join("wal")).unwrap();
    let blocks: Vec<u64> = wal.map(|file| file.unwrap().metadata().unwrap().blocks()).collect();
    // Only the newest segment has room set aside.
    let large = blocks.iter().filter(|blocks| **blocks * 512 > 1 << 20).count();
    assert!(blocks.len() > 5 && large <= 1, "{blocks:?}");
}

/// What is exported while others write is complete up to a checkpoint that verifies.
#[tokio::test(flavor = "multi_thread")]
async fn exports_are_whole_while_entries_come() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
    for number in 0..50 {
        journal.append(entry(number), Durability::Fsync).await.unwrap();
    }
    let writing = tokio::spawn({
        let journal = journal.clone();
        async move {
            for number in 50..1_500 {
                journal.append(entry(number), Durability::Written).await.unwrap();
            }
            journal.append(entry(1_500), Durability::Fsync).await.unwrap();
        }
    });
    let keys = [signer().verifier().clone()];
    let mut earlier: Option<String> = None;
    let mut exports = 0;
    while !writing.is_finished() || exports < 3 {
        let indices: Vec<u64> = (0..50).collect();
        let bundle = journal.export_since(&indices, earlier.take()).await.unwrap();
        let report = verify(&bundle, Trust::Pinned(&keys)).unwrap();
        assert_eq!(report.indices, indices);
        assert!(report.checkpoint.size >= 50);
        earlier = Some(journal.checkpoint().note.to_string());
        exports += 1;
    }
    writing.await.unwrap();
    let bundle = journal.export_since(&[1_500], earlier).await.unwrap();
    assert_eq!(verify(&bundle, Trust::Pinned(&keys)).unwrap().checkpoint.size, 1_501);
    journal.close().await;
}
