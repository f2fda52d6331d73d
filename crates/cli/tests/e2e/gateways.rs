//! A gateway in a process of its own: it serves what the authority says, and nothing without it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::{Folder, Serving, write_config};

/// The status of a request without a token: 401 where it would be served, 503 where nothing is.
fn status(address: &str, host: &str, server: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /{server}/mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Asks until the status is the one wanted, 50 times a second.
#[track_caller]
fn until(wanted: u16, within_s: u32, ask: impl Fn() -> u16) {
    let mut tries = 0..within_s * 50;
    while ask() != wanted {
        assert!(tries.next().is_some(), "{} instead of {wanted}", ask());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The config of a gateway that follows the authority of `folder`; gives its address.
fn write_gateway(at: &Folder, public_url: &str, profile: &Path) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    let text = format!(
        "state = \"state\"\n[gateway]\npublic_url = \"{public_url}\"\n\
         [follow]\nprofile = \"{}\"\n[listen]\ngateway = \"{address}\"\n",
        profile.display()
    );
    fs::write(at.path().join("attorn.toml"), text).unwrap();
    address
}

#[test]
fn a_gateway_follows_and_refuses_everything_when_cut_off() {
    let folder = Folder::new("gateways");
    let issuer = write_config(&folder);
    folder.attorn(&["init"]).expect(0);
    let authority = Serving::start(&folder);
    folder.attorn(&["enroll", "--url", &issuer, "--code", "@state/first-admin.code"]).expect(0);
    folder.attorn(&["owner", "create", "ann"]).expect(0);
    let register = ["gateway", "register", "gw-1", "--owner", "ann", "--code-file", "gw.code"];
    folder.attorn(&register).expect(0);
    let gateway = Folder::new("gateways-gw-1");
    let profile = gateway.path().join("profile");
    let profile_text = profile.display().to_string();
    let enroll = ["--profile", &profile_text, "enroll", "--url", &issuer, "--code", "@gw.code"];
    folder.attorn(&enroll).expect(0);
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let public_url = config.split("public_url = \"").nth(1).unwrap().split('"').next().unwrap();
    let host = public_url.trim_start_matches("http://").to_owned();
    let address = write_gateway(&gateway, public_url, &profile);
    let serving = Serving::start(&gateway);

    // What is registered now is known there a moment later, and both sides can tell.
    let upstream =
        ["server", "register", "crm", "--owner", "ann", "--url", "http://127.0.0.1:9/mcp"];
    folder.attorn(&upstream).expect(0);
    until(401, 5, || status(&address, &host, "crm"));
    let lock = ["-o", "json", "lock", "create", "server/crm", "--reason", "test"];
    let lock = folder.attorn(&lock).expect(0).json();
    assert_eq!(lock["gateways"][0]["name"], "gw-1");
    assert_eq!(lock["gateways"][0]["version"], lock["registry_version"]);
    assert!(lock["gateways"][0]["took_ms"].is_u64(), "{lock}");

    // Cut off, it refuses everything; heard again, it goes on.
    authority.stop();
    until(503, 20, || status(&address, &host, "crm"));
    let authority = Serving::start(&folder);
    until(401, 10, || status(&address, &host, "crm"));

    // A suspended gateway is not answered any more.
    folder.attorn(&["agent", "suspend", "gw-1", "--reason", "test"]).expect(0);
    until(503, 20, || status(&address, &host, "crm"));
    serving.stop();
    authority.stop();
}

#[test]
fn a_registry_from_a_backup_is_found_and_ends_every_token() {
    let folder = Folder::new("backup");
    let issuer = write_config(&folder);
    folder.attorn(&["init"]).expect(0);
    let serving = Serving::start(&folder);
    folder.attorn(&["enroll", "--url", &issuer, "--code", "@state/first-admin.code"]).expect(0);
    serving.stop();
    let backup = folder.path().join("backup.db");
    fs::copy(folder.path().join("state/registry.db"), &backup).unwrap();
    let serving = Serving::start(&folder);
    folder.attorn(&["owner", "create", "ann"]).expect(0);
    let before = folder.attorn(&["-o", "json", "status"]).expect(0).json();
    serving.stop();
    for ending in ["", "-wal", "-shm"] {
        drop(fs::remove_file(folder.path().join(format!("state/registry.db{ending}"))));
    }
    fs::copy(&backup, folder.path().join("state/registry.db")).unwrap();
    let serving = Serving::start(&folder);
    let after = folder.attorn(&["-o", "json", "status"]).expect(0).json();
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64(), "{after}");
    assert!(after["registry_version"].as_u64() > before["registry_version"].as_u64(), "{after}");
    serving.stop();
}
