//! What an operator sees: metrics, readiness, limits in force, and the doctor.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::journey::installed_with;
use crate::support::{Connected, Folder, Serving, free_address};

/// An installation with a metrics listener, and its address.
fn observed(folder: &Folder) -> (Serving, String) {
    let address = free_address();
    let serving = installed_with(folder, &format!("metrics = \"{address}\"\n"));
    (serving, address)
}

fn request(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

fn steps(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn metrics_and_readiness_are_on_a_listener_of_their_own() {
    let folder = Folder::new("metrics");
    let (serving, metrics) = observed(&folder);
    let text = request(&metrics, "GET", "/metrics").1;
    for name in [
        "attorn_tokens_total{outcome=\"issued\"}",
        "attorn_journal_entries ",
        "attorn_journal_failed 0",
        "attorn_connections_total{listener=\"authority\"}",
        "attorn_snapshot_version ",
        "attorn_ready 1",
    ] {
        assert!(text.contains(name), "{name}\n{text}");
    }
    for never in ["reader", "invoices", "eyJ", "agt_"] {
        assert!(!text.contains(never), "{never}\n{text}");
    }
    let ready = request(&metrics, "GET", "/readyz");
    assert_eq!((ready.0, ready.1.contains("\"ready\":true")), (200, true), "{}", ready.1);
    assert_eq!(request(&metrics, "GET", "/healthz").0, 200);
    assert_eq!(request(&metrics, "GET", "/debug/pprof").0, 404);
    assert_eq!(request(&metrics, "POST", "/metrics").0, 405);
    serving.stop();
}

/// Whoever holds every connection of the gateway that they may keeps nobody from the admin API.
#[test]
fn one_address_does_not_fill_a_listener_and_locks_get_in() {
    let folder = Folder::new("crowd");
    let metrics = free_address();
    let more = format!("metrics = \"{metrics}\"\nconnections_per_address = 12\n");
    let serving = installed_with(&folder, &more);
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let gateway = config.split("gateway = \"").nth(1).unwrap().split('"').next().unwrap();
    let answers = |stream: &mut TcpStream| {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {gateway}\r\n\r\n");
        let (_, mut answer) = (stream.write_all(head.as_bytes()).is_ok(), [0; 512]);
        let read = stream.read(&mut answer).unwrap_or(0);
        answer[..read].starts_with(b"HTTP/1.1 200")
    };
    let mut held = Vec::new();
    loop {
        let mut stream = TcpStream::connect(gateway).unwrap();
        if !answers(&mut stream) {
            break;
        }
        held.push(stream);
        assert!(held.len() <= 12, "no bound");
    }
    let lock = ["lock", "create", "agent/reader", "--reason", "test", "--expires", "1h"];
    folder.attorn(&lock).expect(0);
    let text = request(&metrics, "GET", "/metrics").1;
    let counted = "attorn_connections_crowded_out_total{listener=\"gateway\"} 1\n";
    assert!(text.contains(counted), "{text}");
    // Those that are there go on, and their end makes room.
    assert!(answers(held.first_mut().unwrap()));
    drop(held);
    let again = |_| answers(&mut TcpStream::connect(gateway).unwrap());
    assert!((0..500).any(again), "the places did not come back");
    serving.stop();
}

#[test]
fn the_doctor_looks_at_everything_and_says_how_to_mend_it() {
    let folder = Folder::new("doctor");
    let (serving, _) = observed(&folder);
    let told = folder.attorn(&["doctor", "--json"]).expect(0);
    let found = steps(&told.out);
    let names: Vec<_> = found.iter().map(|step| step["step"].as_str().unwrap()).collect();
    for name in [
        "config",
        "profile",
        "key",
        "address",
        "connection",
        "clock",
        "journal",
        "checkpoint",
        "snapshot",
        "authority",
        "keys",
        "token",
        "call",
        "server invoices",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(found.iter().all(|step| step["outcome"] == "ok"), "{}", told.out);

    let values = folder.attorn(&["doctor", "--config", "attorn.toml"]).expect(0).out;
    let line = |key: &str| values.lines().find(|line| line.contains(key)).unwrap().to_owned();
    assert!(line("listen.metrics").contains("attorn.toml:"), "{values}");
    assert!(line("gateway.limits.agent.per_s").ends_with("default"), "{values}");
    assert!(line("authority.token_lifetime_s").ends_with("default"), "{values}");
    assert!(values.contains("attorn.toml is valid; its values:"), "{values}");

    serving.stop();
    let told = folder.attorn(&["doctor"]).expect(3).out;
    assert!(told.contains("FAIL") && told.contains("fix: start it: attorn serve"), "{told}");
    assert!(told.contains("attorn.toml is valid") && !told.contains("its values"), "{told}");
    a_list_is_printed_without_its_secrets(&folder);

    // Each of what is wrong has its line, and the first one its exit code.
    fs::write(folder.path().join("attorn.toml"), "stat = 1\n").unwrap();
    let identity = folder.path().join("profile/operator/identity.toml");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, format!("roots = \"/no/such.pem\"\n{text}")).unwrap();
    let told = folder.attorn(&["doctor", "--json"]).expect(2).out;
    let failed = |name: &str| {
        steps(&told).iter().any(|step| step["step"] == name && step["outcome"] == "FAIL")
    };
    assert!(failed("config") && failed("tls"), "{told}");
}

fn a_list_is_printed_without_its_secrets(folder: &Folder) {
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let ship = "[[ship]]\nname = \"siem\"\nurl = \"https://siem.example/in?token=t0psecret\"\n";
    fs::write(folder.path().join("more.toml"), format!("{config}\n{ship}")).unwrap();
    let values = folder.attorn(&["doctor", "--config", "more.toml"]).expect(3).out;
    let line = values.lines().find(|line| line.contains("ship[0].url")).unwrap();
    assert!(line.contains("https://siem.example/…") && line.contains("more.toml:"), "{line}");
    assert!(!values.contains("t0psecret"), "{values}");
}

#[test]
fn a_refusal_is_explained_past_its_first_failure() {
    let folder = Folder::new("explain");
    let (serving, _) = observed(&folder);
    folder.attorn(&["doctor", "invoices", "--client", "reader"]).expect(0);
    let mut connected = Connected::start(&folder, "invoices", "reader");
    connected.call(1, "pay_invoice", r#"{"id":"inv-1001"}"#);
    drop(connected);
    let why = folder.attorn(&["explain", "--last"]).expect(1).out;
    assert!(why.starts_with("DENIED  reader -> invoices/pay_invoice"), "{why}");
    for line in [
        " 1 transport     ok",
        " 3 possession    ok",
        "FAIL",
        "would pass",
        "permit \"granted-calls\" (policies v1:",
        "Effective right = person n/a",
        "next: attorn ",
    ] {
        assert!(why.contains(line), "{line}\n{why}");
    }
    let answer = folder.attorn(&["explain", "--last", "-o", "json"]).expect(1).json();
    assert_eq!(answer["steps"][0]["basis"], "recorded");
    assert_eq!(answer["policy_version"], 1);
    serving.stop();
}
