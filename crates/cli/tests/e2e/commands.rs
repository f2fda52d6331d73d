//! What holds without any server: usage, configs, offline verification.

use std::fs;

use crate::support::{Folder, Serving, write_config};

#[test]
fn every_command_helps_with_an_example() {
    let folder = Folder::new("help");
    for command in [
        "dev",
        "serve",
        "init",
        "wrap",
        "connect",
        "enroll",
        "doctor",
        "can-i",
        "explain",
        "agent register",
        "server register",
        "server import",
        "server accept",
        "apply",
        "release verify",
        "tools approve",
        "grant create",
        "lock create",
        "policy apply",
        "audit verify",
        "token inspect",
        "key rotate",
        "owner create",
    ] {
        let mut line: Vec<_> = command.split(' ').collect();
        line.push("--help");
        let ended = folder.attorn(&line).expect(0);
        assert!(ended.out.contains("Example"), "{command}\n{}", ended.out);
    }
}

#[test]
fn usage_errors_are_2() {
    let folder = Folder::new("usage");
    folder.attorn(&["no-such-command"]).expect(2);
    folder.attorn(&["lock", "create", "agent/a"]).expect(2);
    folder.attorn(&["grant", "revoke", "grt_x"]).expect(2);
    let refused = folder.attorn(&["enroll", "--url", "http://127.0.0.1:1", "--code", "s3cret"]);
    let refused = refused.expect(2);
    assert!(refused.err.contains("@FILE"), "{}", refused.err);
    let ended = folder.attorn(&["agent", "list"]).expect(2);
    assert!(ended.err.contains("next: attorn enroll"), "{}", ended.err);
}

#[test]
fn a_silent_authority_is_3() {
    let folder = Folder::new("silent");
    fs::write(folder.path().join("code"), "x").unwrap();
    let line = ["enroll", "--url", "http://127.0.0.1:9", "--code", "@code"];
    folder.attorn(&line).expect(3);
}

#[test]
fn an_unknown_key_in_the_config_is_named() {
    let folder = Folder::new("config");
    write_config(&folder);
    let path = folder.path().join("attorn.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("spelled_wrong = 1\n{text}")).unwrap();
    let ended = folder.attorn(&["serve"]).expect(2);
    assert!(ended.err.contains("spelled_wrong"), "{}", ended.err);
}

#[test]
fn what_is_no_export_is_4() {
    let folder = Folder::new("verify");
    fs::write(folder.path().join("x.json"), "{}").unwrap();
    folder.attorn(&["audit", "verify", "x.json"]).expect(4);
    folder.attorn(&["audit", "verify", "missing.json"]).expect(2);
    // One version of 255, an empty file, an empty folder, and a file that claims a terabyte.
    fs::write(folder.path().join("255.json"), r#"{"version":"attorn/bundle/255"}"#).unwrap();
    fs::write(folder.path().join("empty.json"), "").unwrap();
    for name in ["255.json", "empty.json"] {
        folder.attorn(&["audit", "verify", name]).expect(4);
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    folder.attorn(&["audit", "verify", "empty"]).expect(2);
    let sparse = fs::File::create(folder.path().join("sparse.json")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let refused = folder.attorn(&["audit", "verify", "sparse.json"]).expect(4);
    assert!(refused.err.contains("is over"), "{}", refused.err);
}

#[test]
fn policies_are_checked_offline() {
    let folder = Folder::new("policy");
    fs::write(folder.path().join("bad.cedar"), "permit (").unwrap();
    folder.attorn(&["policy", "validate", "bad.cedar"]).expect(1);
}

/// A registry that cannot be read is no empty registry: nothing is served, and nothing is made anew.
#[test]
fn without_its_registry_nothing_starts() {
    let folder = Folder::new("no-registry");
    write_config(&folder);
    folder.attorn(&["init"]).expect(0);
    Serving::start(&folder).stop();
    let path = folder.path().join("state/registry.db");
    let kept = fs::read(&path).unwrap();
    fs::write(&path, "this is no database, and longer than the head of one would be").unwrap();
    let refused = Serving::start_refused(&folder);
    assert_ne!(refused.code, 0, "{}", refused.err);
    assert!(!refused.err.contains("ready"), "{}", refused.err);
    assert!(fs::read(&path).unwrap().starts_with(b"this is no database"));
    fs::write(&path, kept).unwrap();
    Serving::start(&folder).stop();
}
