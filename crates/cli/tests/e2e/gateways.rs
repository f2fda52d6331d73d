//! A gateway in a process of its own: it serves what the authority says, and nothing without it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Folder, Serving, free_address, write_config};

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
    let address = free_address();
    let text = format!(
        "state = \"state\"\n[gateway]\npublic_url = \"{public_url}\"\n\
         [follow]\nprofile = \"{}\"\n[listen]\ngateway = \"{address}\"\n",
        profile.display()
    );
    fs::write(at.path().join("attorn.toml"), text).unwrap();
    address
}

/// An authority with one enrolled gateway `gw-1`, in its own folder.
struct Enrolled {
    folder: Folder,
    gateway: Folder,
    authority: Serving,
    host: String,
    public_url: String,
    address: String,
}

impl Enrolled {
    fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let issuer = write_config(&folder);
        folder.attorn(&["init"]).expect(0);
        let authority = Serving::start(&folder);
        let enroll = ["enroll", "--url", &issuer, "--code", "@state/first-admin.code"];
        folder.attorn(&enroll).expect(0);
        folder.attorn(&["owner", "create", "ann"]).expect(0);
        let register = ["gateway", "register", "gw-1", "--owner", "ann", "--code-file", "gw.code"];
        folder.attorn(&register).expect(0);
        let gateway = Folder::new(&format!("{test}-gw-1"));
        let profile = gateway.path().join("profile");
        let profile_text = profile.display().to_string();
        let enroll = ["--profile", &profile_text, "enroll", "--url", &issuer, "--code", "@gw.code"];
        folder.attorn(&enroll).expect(0);
        let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
        let public_url = config.split("public_url = \"").nth(1).unwrap();
        let public_url = public_url.split('"').next().unwrap().to_owned();
        let host = public_url.trim_start_matches("http://").to_owned();
        let address = write_gateway(&gateway, &public_url, &profile);
        Self { folder, gateway, authority, host, public_url, address }
    }

    fn register_crm(&self) {
        let upstream =
            ["server", "register", "crm", "--owner", "ann", "--url", "http://127.0.0.1:9/mcp"];
        self.folder.attorn(&upstream).expect(0);
        // The process of the authority has a gateway of its own, which makes the server's key a
        // moment later. It is the last change of the registry that nobody asked for.
        let mut tries = 0..500;
        let show = ["-o", "json", "server", "show", "crm"];
        while self.folder.attorn(&show).expect(0).json()["keys"].as_array().unwrap().is_empty() {
            assert!(tries.next().is_some(), "the server never got a key");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A copy of the gateway's folder as it is now, with a port of its own.
    fn copy(&self, test: &str) -> (Folder, String) {
        let copy = Folder::new(test);
        let from = format!("{}/.", self.gateway.path().display());
        let copied = Command::new("cp").args(["-a", &from]).arg(copy.path()).status().unwrap();
        assert!(copied.success());
        let address = write_gateway(&copy, &self.public_url, &copy.path().join("profile"));
        (copy, address)
    }

    fn until(&self, wanted: u16, address: &str) {
        until(wanted, 30, || status(address, &self.host, "crm"));
    }

    /// Refused questions of processes that asked as the gateway.
    fn refused(&self) -> u64 {
        let listed = self.folder.attorn(&["-o", "json", "gateway", "list"]).expect(0).json();
        let gateway = &listed[0];
        if gateway["refused_times"] != 0 {
            assert_eq!(gateway["refused"], "gateway.copied", "{listed}");
        }
        gateway["refused_times"].as_u64().unwrap()
    }

    fn until_refused(&self) {
        let mut tries = 0..500;
        while self.refused() == 0 {
            assert!(tries.next().is_some(), "nothing was refused");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_gateway_follows_and_refuses_everything_when_cut_off() {
    let Enrolled { folder, gateway, authority, host, address, .. } = Enrolled::new("gateways");
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
fn an_old_copy_of_a_gateway_is_refused_and_the_gateway_goes_on() {
    let world = Enrolled::new("copied");
    world.register_crm();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    serving.stop();
    let (copy, copy_address) = world.copy("copied-copy");
    // Since then the gateway was given another lease: it started once more.
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    assert_eq!(world.refused(), 0);

    let copy_serving = Serving::start(&copy);
    world.until_refused();
    assert_eq!(status(&copy_address, &world.host, "crm"), 503);
    assert_eq!(status(&world.address, &world.host, "crm"), 401);
    let search = ["-o", "json", "audit", "search", "--reason", "gateway.copied"];
    let entries = world.folder.attorn(&search).expect(0).json();
    assert_eq!(entries[0]["by"], "gw-1", "{entries}");
    assert!(entries[0]["detail"]["peer"].is_string(), "{entries}");
    let told = world.folder.attorn(&["-o", "json", "status"]).expect(0).json();
    assert_eq!(told["gateways_copied"], 1, "{told}");

    // A restart is no copy: the gateway goes on, and the other one never gets in.
    serving.stop();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    assert_eq!(status(&copy_address, &world.host, "crm"), 503);
    serving.stop();
    copy_serving.stop();
}

#[test]
fn a_fresh_copy_goes_on_alone_until_the_gateway_is_reset() {
    let world = Enrolled::new("taken");
    world.register_crm();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    serving.stop();
    // Both hold the newest lease. Whoever presents it first goes on, and the other one does not.
    let (copy, copy_address) = world.copy("taken-copy");
    let copy_serving = Serving::start(&copy);
    world.until(401, &copy_address);
    let serving = Serving::start(&world.gateway);
    world.until_refused();
    assert_eq!(status(&world.address, &world.host, "crm"), 503);
    assert_eq!(status(&copy_address, &world.host, "crm"), 401);
    let hint = world.folder.attorn(&["gateway", "list"]).expect(0).out;
    assert!(hint.contains("attorn gateway reset gw-1"), "{hint}");

    // The owner stops the one that should not run, and says so.
    copy_serving.stop();
    assert_eq!(status(&world.address, &world.host, "crm"), 503);
    world.folder.attorn(&["gateway", "reset", "gw-1", "--reason", "copy stopped"]).expect(0);
    world.until(401, &world.address);
    assert_eq!(world.refused(), 0);
    // What was copied does not come back.
    let copy_serving = Serving::start(&copy);
    world.until_refused();
    assert_eq!(status(&copy_address, &world.host, "crm"), 503);
    assert_eq!(status(&world.address, &world.host, "crm"), 401);
    copy_serving.stop();
    serving.stop();
}

#[test]
fn a_gateway_that_serves_is_fenced_at_once() {
    let world = Enrolled::new("fenced");
    world.register_crm();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    // A copy of the running gateway: both hold the newest lease, and the copy presents its next
    // one first.
    let (copy, copy_address) = world.copy("fenced-copy");
    let copy_serving = Serving::start(&copy);
    world.until_refused();
    // By silence alone it would refuse no sooner than eight seconds after its last question was
    // refused: it was heard when it asked before, which is two seconds ago at most.
    until(503, 4, || status(&world.address, &world.host, "crm"));
    world.until(401, &copy_address);
    copy_serving.stop();
    serving.stop();
}

/// What stands in the registry's files, in the folder of the installation.
fn put_registry(folder: &Folder, from: &str, to: &str) {
    for ending in ["", "-wal", "-shm"] {
        let (from, to) = (format!("{from}{ending}"), format!("{to}{ending}"));
        drop(fs::remove_file(folder.path().join(&to)));
        if folder.path().join(&from).exists() {
            fs::copy(folder.path().join(&from), folder.path().join(&to)).unwrap();
        }
    }
}

#[test]
fn a_recent_backup_of_the_registry_locks_no_gateway_out() {
    let mut world = Enrolled::new("recent");
    world.register_crm();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    world.authority = stopped_and_started(world.authority, &world.folder, |folder| {
        put_registry(folder, "state/registry.db", "backup.db");
    });
    // A lease of later than the backup: another start. No change of the registry.
    serving.stop();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    let version = |world: &Enrolled| {
        let status = world.folder.attorn(&["-o", "json", "status"]).expect(0).json();
        status["registry_version"].as_u64().unwrap()
    };
    let before = version(&world);
    world.authority = stopped_and_started(world.authority, &world.folder, |folder| {
        put_registry(folder, "backup.db", "state/registry.db");
    });
    assert_eq!(version(&world), before, "nothing tells that it is a backup");
    serving.stop();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    assert_eq!(world.refused(), 0);
    serving.stop();
}

fn stopped_and_started(
    authority: Serving,
    folder: &Folder,
    between: impl FnOnce(&Folder),
) -> Serving {
    authority.stop();
    between(folder);
    Serving::start(folder)
}

#[test]
fn a_new_key_makes_the_gateway_another_one() {
    let world = Enrolled::new("rekeyed");
    world.register_crm();
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    serving.stop();
    let (copy, copy_address) = world.copy("rekeyed-copy");
    // The copy runs somewhere; nobody knows where.
    let copy_serving = Serving::start(&copy);
    world.until(401, &copy_address);
    world.folder.attorn(&["agent", "code", "gw-1", "--code-file", "again.code"]).expect(0);
    let profile = world.gateway.path().join("profile").display().to_string();
    let issuer = fs::read_to_string(world.folder.path().join("attorn.toml")).unwrap();
    let issuer = issuer.split("issuer = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let enroll = ["--profile", &profile, "enroll", "--url", &issuer, "--code", "@again.code"];
    world.folder.attorn(&enroll).expect(0);
    world.until(503, &copy_address);
    let serving = Serving::start(&world.gateway);
    world.until(401, &world.address);
    assert_eq!(status(&copy_address, &world.host, "crm"), 503);
    copy_serving.stop();
    serving.stop();
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
