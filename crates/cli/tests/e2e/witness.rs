//! Witnesses: two histories of one log are not cosigned by one witness.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{ATTORN, Folder, Serving, free_address, write_config};

/// A running `attorn witness serve`.
struct Witness {
    child: Child,
    key: String,
}

impl Witness {
    fn start(state: &Path, log: &str, address: &str) -> Self {
        let mut child = Command::new(ATTORN)
            .args(["witness", "serve", "--name", "witness.example/w1", "--log", log])
            .args(["--listen", address, "--state"])
            .arg(state)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut key = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().any(|line| {
            let line = line.unwrap();
            if let Some(told) = line.strip_prefix("witness key ") {
                told.clone_into(&mut key);
            }
            line == "ready"
        });
        assert!(ready, "`attorn witness serve` ended before it was ready");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, key }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap_or_default();
        drop(self.child.wait());
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn copy(from: &Path, to: &Path) {
    let from = format!("{}/.", from.display());
    assert!(Command::new("cp").args(["-a", &from]).arg(to).status().unwrap().success());
}

/// Starts with an entry of its own, exports everything and stops. Gives what the auditor is shown.
fn run_with(folder: &Folder, owner: &str, export: &str, meanwhile: impl FnOnce()) {
    let serving = Serving::start(folder);
    folder.attorn(&["owner", "create", owner]).expect(0);
    folder.attorn(&["audit", "export", "--to", export]).expect(0);
    meanwhile();
    serving.stop();
}

#[test]
fn of_two_histories_shown_to_two_auditors_one_is_cosigned() {
    let folder = Folder::new("witness");
    let issuer = write_config(&folder);
    folder.attorn(&["init"]).expect(0);
    let serving = Serving::start(&folder);
    folder.attorn(&["enroll", "--url", &issuer, "--code", "@state/first-admin.code"]).expect(0);
    let told = folder.attorn(&["-o", "json", "audit", "checkpoint"]).expect(0).json();
    let log = told["keys"][0].as_str().unwrap().to_owned();
    serving.stop();

    let (at, metrics) = (free_address(), free_address());
    let witness_state = folder.path().join("witness");
    let witness = Witness::start(&witness_state, &log, &at);
    let key = witness.key.clone();
    let config = folder.path().join("attorn.toml");
    let text = fs::read_to_string(&config).unwrap();
    let more = format!(
        "metrics = \"{metrics}\"\n[journal]\nwitness_every_s = 1\n\
         [[journal.witnesses]]\nurl = \"http://{at}\"\nkey = \"{key}\"\n"
    );
    fs::write(&config, text + &more).unwrap();
    let verify = |export: &str, witness_key: &str, code| {
        let pinned = ["audit", "verify", export, "--key", &log, "--witness-key", witness_key];
        folder.attorn(&pinned).expect(code);
    };

    // The second history begins from here.
    let (state, kept) = (folder.path().join("state"), folder.path().join("kept"));
    copy(&state, &kept);
    run_with(&folder, "ann", "one.json", || {
        let ready = get(&metrics, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let told = folder.attorn(&["-o", "json", "audit", "checkpoint"]).expect(0).json();
        assert!(told["cosigned_note"].as_str().unwrap().contains("witness.example/w1"), "{told}");
    });
    verify("one.json", &key, 0);
    assert!(state.join("journal/cosigned-checkpoint").is_file());
    // The witness forgets nothing when it starts again.
    drop(witness);
    let witness = Witness::start(&witness_state, &log, &at);
    assert_eq!(witness.key, key);
    run_with(&folder, "bob", "two.json", || ());
    verify("two.json", &key, 0);

    fs::remove_dir_all(&state).unwrap();
    copy(&kept, &state);
    run_with(&folder, "eve", "fork.json", || {
        let search = ["-o", "json", "audit", "search", "--kind", "journal.forked"];
        let mut tries = 0..500;
        let found = loop {
            let found = folder.attorn(&search).expect(0).json();
            if found[0].is_object() {
                break found;
            }
            assert!(tries.next().is_some(), "no entry tells of the fork");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(found[0]["detail"]["witness"], "witness.example/w1", "{found}");
        // A witness could say so of any log, so its word alone stops nothing.
        let ready = get(&metrics, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let numbers = get(&metrics, "/metrics");
        assert!(numbers.contains("attorn_journal_forked{witness=\"witness.example/w1\"} 1"));
    });
    // By itself each history verifies; that is what the witness is for.
    folder.attorn(&["audit", "verify", "fork.json", "--key", &log]).expect(0);
    verify("fork.json", &key, 4);
    // Of two witnesses one is enough where the auditor says so, and none is not.
    let other = "witness.example/w2";
    let other = format!("{other}{}", key.strip_prefix("witness.example/w1").unwrap());
    folder.attorn(&["audit", "verify", "one.json", "--witness-key", &other]).expect(2);
    let quorum = ["audit", "verify", "one.json", "--witness-key", &key, "--quorum", "2"];
    folder.attorn(&quorum).expect(2);
}
