//! Old entries go, and everybody who looks for them is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use attorn_audit::note::NoteSigner;
use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::{Config, Durability, Journal};

use crate::journey::organised_with;
use crate::support::{Folder, Serving};

const ORIGIN: &str = "example.com/node/1";
const OLD: u64 = 1_000;

/// A state folder with a journal that was begun long ago. Gives the key that verifies it.
fn begun_long_ago(folder: &Folder) -> String {
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let signer = || NoteSigner::from_seed(ORIGIN, &[5; 32]).unwrap();
    let key = state.join("journal.key");
    fs::write(&key, signer().to_skey()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut config = Config::new(state.join("journal"), ORIGIN);
    config.segment_bytes_max = 16 << 10;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (journal, _) = Journal::open(config, signer()).unwrap();
        for number in 0..OLD {
            let mut entry = Entry::new(Kind::CallDecided, 1_600_000_000_000 + number);
            entry.decision = Some(Decision::Deny);
            entry.decision_id = Some(format!("dec_{number}"));
            journal.append(entry.to_canonical(), Durability::Written).await.unwrap();
        }
        journal.close().await;
    });
    signer().verifier().to_vkey()
}

/// Waits until the journal has a tombstone.
fn removed(folder: &Folder) {
    let mut tries = 0..200;
    let checkpoint = || folder.attorn(&["audit", "checkpoint", "-o", "json"]).expect(0).json();
    while checkpoint()["tombstone"].is_null() {
        assert!(tries.next().is_some(), "nothing was removed");
    }
}

#[test]
fn old_entries_go_and_who_looks_for_them_is_told() {
    let folder = Folder::new("retention");
    let key = begun_long_ago(&folder);
    let (serving, _) = organised_with(&folder, "[journal]\nkeep_days = 30\n");
    removed(&folder);
    let gone = "removed by retention";
    for about in [["show", "3"], ["proof", "3"], ["trace", "dec_3"]] {
        let told = folder.attorn(&["audit", about[0], about[1]]).expect(1);
        assert!(told.err.contains(gone), "{about:?}: {}", told.err);
    }
    let told = folder.attorn(&["explain", "dec_3"]).expect(1);
    assert!(told.err.contains(gone), "{}", told.err);
    folder.attorn(&["audit", "search", "--decision-id", "dec_3"]).expect(1);
    let told = folder.attorn(&["audit", "search", "--reason", "entry.removed"]).expect(0);
    assert!(told.err.contains(gone) && told.out.contains("audit.show"), "{}", told.out);
    // The last of the old ones share a tile with newer ones.
    folder.attorn(&["audit", "trace", "dec_999"]).expect(0);
    let export = ["audit", "export", "--kind", "journal.pruned", "--to", "export.json"];
    folder.attorn(&export).expect(0);
    let verified = ["audit", "verify", "export.json", "--key", &key, "-o", "json"];
    assert_eq!(folder.attorn(&verified).expect(0).json()["entries"], 1);
    serving.stop();

    let journal = ["audit", "verify", "state/journal", "--key", &key, "-o", "json"];
    let whole = folder.attorn(&journal).expect(0).json();
    let removed = whole["removed_by_retention"].as_u64().unwrap();
    assert!(removed >= 512 && removed.is_multiple_of(256) && removed < OLD, "{whole}");
    folder.attorn(&["audit", "verify", "state/journal"]).expect(2);
    let tombstone = folder.path().join("state/journal/tombstone");
    let note = fs::read(&tombstone).unwrap();
    fs::remove_file(&tombstone).unwrap();
    let broken = folder.attorn(&journal).expect(4);
    let range = format!("entries 0 to {} are missing", removed - 1);
    assert!(broken.err.contains(&range), "{}", broken.err);
    fs::write(&tombstone, note).unwrap();

    // The search index can still be lost.
    fs::remove_file(folder.path().join("state/index.db")).unwrap();
    let serving = Serving::start(&folder);
    folder.attorn(&["audit", "search", "--kind", "journal.pruned"]).expect(0);
    folder.attorn(&["audit", "trace", "dec_999"]).expect(0);
    serving.stop();
}

#[test]
fn old_entries_go_by_hand_while_nobody_serves() {
    let folder = Folder::new("prune");
    let key = begun_long_ago(&folder);
    let (serving, _) = organised_with(&folder, "");
    let prune = ["audit", "prune", "--keep-days", "30", "--reason", "policy 7", "-o", "json"];
    let refused = folder.attorn(&prune).expect(2);
    assert!(refused.err.contains("stop the other attorn"), "{}", refused.err);
    serving.stop();
    let would = folder.attorn(&[&prune[..], &["--dry-run"]].concat()).expect(0).json();
    assert!(would["removed"].as_u64().unwrap() >= 512, "{would}");
    assert!(!folder.path().join("state/journal/tombstone").exists());
    let done = folder.attorn(&prune).expect(0).json();
    assert_eq!(done["removed"], would["removed"]);
    assert_eq!(folder.attorn(&prune).expect(0).json()["removed"], 0);
    let verified = ["audit", "verify", "state/journal", "--key", &key, "-o", "json"];
    let verified = folder.attorn(&verified).expect(0).json();
    assert_eq!(verified["removed_by_retention"], done["removed"]);
    let serving = Serving::start(&folder);
    let said = folder.attorn(&["audit", "search", "--kind", "journal.pruned", "-o", "json"]);
    assert!(said.expect(0).out.contains("policy 7"));
    serving.stop();
}
