//! Arguments and results are read by an auditor alone, and by nobody after an erasure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;

use crate::journey::installed_with;
use crate::support::{Connected, Ended, Folder, Serving};

/// An auditor's key pair; gives its public part.
fn auditor(folder: &Folder, file: &str) -> String {
    let identity = Identity::generate();
    let path = folder.path().join(file);
    fs::write(&path, identity.to_string().expose_secret()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    identity.to_public().to_string()
}

fn payload(folder: &Folder, decision: &str, part: &str, identity: &str) -> Ended {
    let read = ["audit", "payload", decision, "--part", part, "--identity", identity];
    folder.attorn(&[&read[..], &["--reason", "incident 7"]].concat())
}

/// Calls once; gives the decision about it.
fn called(folder: &Folder) -> String {
    let mut connected = Connected::start(folder, "invoices", "reader");
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains(SECRET), "{answer}");
    let search = ["audit", "search", "--kind", "call.decided", "--tool", "get_invoice"];
    let search = [&search[..], &["--limit", "1", "-o", "json"]].concat();
    let found = folder.attorn(&search).expect(0).json();
    found[0]["decision_id"].as_str().unwrap().to_owned()
}

/// Whether a file below `folder` holds this text.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

fn copied(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// What the sample server answers with.
const SECRET: &str = "Ada Shipping";

#[test]
fn an_auditor_reads_a_payload_until_its_subject_is_erased() {
    let folder = Folder::new("erasure");
    let recipient = auditor(&folder, "auditor.key");
    auditor(&folder, "somebody.key");
    let serving = installed_with(&folder, &format!("[journal]\nauditors = [\"{recipient}\"]\n"));
    let decision = called(&folder);

    let arguments = payload(&folder, &decision, "arguments", "auditor.key").expect(0);
    assert_eq!(arguments.out.trim(), r#"{"id":"inv-1001"}"#);
    assert!(payload(&folder, &decision, "result", "auditor.key").expect(0).out.contains(SECRET));
    payload(&folder, &decision, "result", "somebody.key").expect(1);
    assert!(!holds(&folder.path().join("state"), SECRET), "a result is on the disk in the clear");
    let opened = ["audit", "search", "--kind", "payload.opened", "-o", "json"];
    let opened = folder.attorn(&opened).expect(0).json();
    assert_eq!(opened.as_array().unwrap().len(), 3, "{opened}");
    assert_eq!(opened[0]["detail"]["reason"], "incident 7");

    let (keys, backup) =
        (folder.path().join("state/sealed/keys"), folder.path().join("backup-of-keys"));
    copied(&keys, &backup);
    let erase = ["audit", "erase", "reader", "--reason", "request 12", "-o", "json"];
    let erased = folder.attorn(&erase).expect(0).json();
    assert_eq!(erased["had_payloads"], true, "{erased}");
    let told = payload(&folder, &decision, "arguments", "auditor.key").expect(1);
    assert!(told.err.contains("erased"), "{}", told.err);
    folder.attorn(&["audit", "export", "--to", "export.json"]).expect(0);
    folder.attorn(&["audit", "verify", "export.json"]).expect(0);
    // Who is erased may act again, under a key that has nothing to do with the old one.
    let later = called(&folder);
    assert!(payload(&folder, &later, "result", "auditor.key").expect(0).out.contains(SECRET));
    serving.stop();

    // A backup brings the key back; the registry knows better.
    copied(&backup, &keys);
    let serving = Serving::start(&folder);
    let mut tries = 0..200;
    while payload(&folder, &decision, "result", "auditor.key").code == 0 {
        assert!(tries.next().is_some(), "the key from the backup was not removed");
    }
    let told = payload(&folder, &decision, "result", "auditor.key").expect(1);
    assert!(told.err.contains("erased"), "{}", told.err);
    serving.stop();
}

#[test]
fn what_was_not_sealed_cannot_be_read_and_who_is_unknown_not_erased() {
    let folder = Folder::new("unsealed");
    auditor(&folder, "auditor.key");
    let serving = installed_with(&folder, "");
    let decision = called(&folder);
    let told = payload(&folder, &decision, "arguments", "auditor.key").expect(1);
    assert!(told.err.contains("never sealed"), "{}", told.err);
    folder.attorn(&["audit", "erase", "nobody", "--reason", "request 12"]).expect(1);
    let erased = ["audit", "erase", "reader", "--reason", "request 12", "-o", "json"];
    assert_eq!(folder.attorn(&erased).expect(0).json()["had_payloads"], false);
    serving.stop();
}

#[test]
fn a_call_whose_arguments_cannot_be_sealed_is_not_forwarded() {
    let folder = Folder::new("unsealable");
    let recipient = auditor(&folder, "auditor.key");
    let serving = installed_with(&folder, &format!("[journal]\nauditors = [\"{recipient}\"]\n"));
    called(&folder);
    // A file where the folder of the keys was: no key can be read or made.
    let keys = folder.path().join("state/sealed/keys");
    fs::rename(&keys, folder.path().join("keys")).unwrap();
    fs::write(&keys, "").unwrap();
    let mut connected = Connected::start(&folder, "invoices", "reader");
    let refused = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(!refused.to_string().contains(SECRET), "{refused}");
    fs::remove_file(&keys).unwrap();
    fs::rename(folder.path().join("keys"), &keys).unwrap();
    let answer = connected.call(2, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains(SECRET), "{answer}");
    drop(connected);
    serving.stop();
}
