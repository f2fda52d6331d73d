//! Old entries are removed, and what is left says so.
#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use attorn_audit::note::NoteSigner;
use attorn_audit::tombstone::{Tombstone, TombstoneError};
use attorn_audit::verify::{Trust, verify};
use attorn_audit::{Entry, Kind};
use attorn_journal::{
    CheckError, Durability, Journal, OpenError, ReadError, Removal, RemoveError, check, export,
    read_all,
};

use self::common::{Folder, ORIGIN, entry, signer};

const SIZE: u64 = 1_500;

/// A log whose first segments are gone, open.
async fn log() -> (Folder, Journal) {
    let folder = Folder::new();
    let mut config = folder.config();
    config.segment_bytes_max = 8 << 10;
    let (journal, _) = Journal::open(config, signer()).unwrap();
    for number in 0..SIZE {
        assert_eq!(journal.append(entry(number), Durability::Written).await, Ok(number));
    }
    journal.close().await;
    let (journal, _) = Journal::open(folder.config(), signer()).unwrap();
    assert!(journal.removable() >= 1_024, "{}", journal.removable());
    (folder, journal)
}

fn removal(before: u64) -> Removal {
    Removal {
        before,
        by: "test".into(),
        reason: "too old".into(),
        carried: vec![format!("up to {before}")],
        now_ms: 7,
    }
}

/// The same log, with the first 512 entries removed and closed.
async fn shortened() -> Folder {
    let (folder, journal) = log().await;
    journal.remove(removal(512)).await.unwrap();
    journal.close().await;
    folder
}

fn keys() -> [attorn_audit::note::NoteVerifier; 1] {
    [signer().verifier().clone()]
}

fn bundle(folder: &Folder, tile: u64) -> PathBuf {
    folder.path().join(format!("tile/entries/{tile:03}"))
}

fn gap(folder: &Path) -> Option<(u64, u64)> {
    match check(folder, &keys()) {
        Err(CheckError::Gap { first, last }) => Some((first, last)),
        _ => None,
    }
}

#[tokio::test]
async fn what_is_left_verifies_and_what_went_is_told() {
    let (folder, journal) = log().await;
    let old_export = journal.export(&[3, 700]).await.unwrap();
    let earlier = journal.checkpoint().note.to_string();
    journal.remove(removal(512)).await.unwrap();
    assert_eq!(journal.first(), 512);
    assert!(!bundle(&folder, 0).exists() && !bundle(&folder, 1).exists());
    assert!(bundle(&folder, 2).exists() && folder.path().join("tile/0/000").exists());

    let removed = |error| matches!(error, ReadError::Removed { first: 512 });
    assert!(removed(journal.read(511..600).await.unwrap_err()));
    assert!(removed(journal.read_at(vec![3, 700]).await.unwrap_err()));
    assert!(removed(journal.export(&[3]).await.unwrap_err()));
    assert!(journal.read(512..600).await.unwrap().iter().zip(512..).all(|(b, n)| **b == entry(n)));

    // It was announced before, in words of the log.
    let announced = journal.tombstone().unwrap().tombstone.announced;
    let said = Entry::parse(&journal.read(announced..announced + 1).await.unwrap()[0]).unwrap();
    assert_eq!((said.kind, said.by.as_deref()), (Kind::JournalPruned, Some("test")));
    assert_eq!(said.detail.get("why").map(String::as_str), Some("too old"));

    // Every proof is what it would have been: of what is left, of the log's growth since before, and
    // of what went, for who kept it.
    let new_export = journal.export_since(&[512, announced], Some(earlier)).await.unwrap();
    assert!(verify(&new_export, Trust::Pinned(&keys())).unwrap().earlier.is_some());
    assert!(verify(&old_export, Trust::Pinned(&keys())).is_ok());
    journal.close().await;

    let checked = check(folder.path(), &keys()).unwrap();
    assert_eq!(checked.tombstone.unwrap().end, 512);
    assert!(removed(read_all(folder.path()).unwrap_err()));
    let offline = export(folder.path(), &keys(), &[3], None).unwrap_err();
    assert!(matches!(offline, CheckError::Read(ReadError::Removed { first: 512 })));
    assert!(export(folder.path(), &keys(), &[512], None).is_ok());
}

#[tokio::test]
async fn a_shortened_log_opens_and_is_shortened_again() {
    let folder = shortened().await;
    let (journal, recovered) = Journal::open(folder.config(), signer()).unwrap();
    assert_eq!((journal.first(), recovered.size), (512, SIZE + 1));
    assert_eq!(journal.tombstone().unwrap().tombstone.carried, ["up to 512"]);
    journal.remove(removal(1_024)).await.unwrap();
    assert_eq!(journal.first(), 1_024);
    let next = journal.append(entry(0), Durability::Fsync).await.unwrap();
    journal.close().await;
    let checked = check(folder.path(), &keys()).unwrap();
    assert_eq!(checked.signed.checkpoint.size, next + 1);
    let tombstone = checked.tombstone.unwrap();
    assert_eq!((tombstone.end, tombstone.carried), (1_024, vec!["up to 1024".to_owned()]));
}

#[tokio::test]
async fn only_whole_tiles_that_no_restart_needs_are_removed() {
    let (_folder, journal) = log().await;
    let most = journal.removable();
    for before in [1, 511, most + 256, u64::MAX - 255] {
        let refusal = journal.remove(removal(before)).await;
        assert!(matches!(refusal, Err(RemoveError::Boundary { .. })), "{before}: {refusal:?}");
    }
    let (broken, long) = (vec!["two\nlines".into(), String::new()], vec!["x".repeat(1_000_000)]);
    for carried in [broken, long] {
        let refusal = journal.remove(Removal { carried, ..removal(256) }).await;
        assert!(matches!(refusal, Err(RemoveError::Carried)), "{refusal:?}");
    }
    assert_eq!((journal.first(), journal.size()), (0, SIZE), "nothing is removed or announced");
    journal.remove(removal(512)).await.unwrap();
    // Back is no way, and nothing is nothing.
    let refusal = journal.remove(removal(256)).await;
    assert!(matches!(refusal, Err(RemoveError::Boundary { .. })), "{refusal:?}");
    let size = journal.size();
    journal.remove(removal(512)).await.unwrap();
    assert_eq!(journal.size(), size, "nothing to announce");
    journal.close().await;
}

#[tokio::test]
async fn entries_that_are_missing_without_a_word_are_named() {
    let folder = shortened().await;
    let tombstone = folder.path().join("tombstone");
    let note = fs::read_to_string(&tombstone).unwrap();
    fs::remove_file(&tombstone).unwrap();
    assert_eq!(gap(folder.path()), Some((0, 511)));
    fs::write(&tombstone, &note).unwrap();
    assert!(check(folder.path(), &keys()).is_ok());
    // More than it says.
    let third = fs::read(bundle(&folder, 2)).unwrap();
    fs::remove_file(bundle(&folder, 2)).unwrap();
    assert_eq!(gap(folder.path()), Some((512, 767)));
    fs::write(bundle(&folder, 2), third).unwrap();
    // A hash of a removed entry.
    let hashes = folder.path().join("tile/0/000");
    let mut changed = fs::read(&hashes).unwrap();
    changed[100] ^= 1;
    fs::write(&hashes, changed).unwrap();
    assert!(check(folder.path(), &keys()).is_err());
}

#[tokio::test]
async fn a_tombstone_that_the_log_does_not_know_is_refused() {
    let folder = shortened().await;
    let path = folder.path().join("tombstone");
    let note = fs::read_to_string(&path).unwrap();
    let good = Tombstone::open(&note, &keys()).unwrap();
    let checked = |note: &str| {
        fs::write(&path, note).unwrap();
        check(folder.path(), &keys()).unwrap_err()
    };
    let opened = || Journal::open(folder.config(), signer()).unwrap_err();
    let stranger = NoteSigner::from_seed(ORIGIN, &[8; 32]).unwrap();
    for note in [good.sign(&stranger).unwrap(), note.replace("\n512\n", "\n768\n"), "x".into()] {
        let refusal = checked(&note);
        assert!(matches!(refusal, CheckError::Tombstone(TombstoneError::Note(_))), "{refusal:?}");
        assert!(matches!(opened(), OpenError::TombstoneRefused(_)));
    }
    // Signed by the log's own key, and not what the log announced.
    let other_end = Tombstone { end: 256, ..good.clone() };
    let other_root = Tombstone { root: attorn_audit::tree::empty_root(), ..good.clone() };
    let other_entry = Tombstone { announced: good.announced - 1, ..good.clone() };
    let beyond = Tombstone { announced: good.announced + 9, ..good };
    for (tombstone, opens) in
        [(other_end, false), (other_root, false), (other_entry, true), (beyond, true)]
    {
        let refusal = checked(&tombstone.sign(&signer()).unwrap());
        let mismatch = matches!(
            refusal,
            CheckError::TombstoneMismatch { .. } | CheckError::Gap { first: 256, last: 511 }
        );
        assert!(mismatch, "{refusal:?}");
        assert!(opens || matches!(opened(), OpenError::TombstoneMismatch { .. }));
    }
}

#[tokio::test]
async fn a_new_key_signs_the_tombstone_again() {
    let folder = shortened().await;
    let new = || NoteSigner::from_seed(ORIGIN, &[9; 32]).unwrap();
    let mut config = folder.config();
    config.retired_keys = keys().to_vec();
    let (journal, _) = Journal::open(config, new()).unwrap();
    journal.close().await;
    let (journal, _) = Journal::open(folder.config(), new()).unwrap();
    assert_eq!(journal.first(), 512);
    journal.close().await;
    assert!(check(folder.path(), &[new().verifier().clone()]).is_ok());
}
