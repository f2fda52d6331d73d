//! What holds without any server: usage, configs, offline verification.

use std::fs;

use crate::support::{Folder, write_config};

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
}

#[test]
fn policies_are_checked_offline() {
    let folder = Folder::new("policy");
    fs::write(folder.path().join("bad.cedar"), "permit (").unwrap();
    folder.attorn(&["policy", "validate", "bad.cedar"]).expect(1);
}
