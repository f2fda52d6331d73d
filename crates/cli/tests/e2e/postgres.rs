//! The registry on a PostgreSQL server: by one line of configuration, and when it is away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use attorn_testkit::postgres::PostgresServer;

use crate::journey::{installed_with, organised_with};
use crate::support::{Connected, Ended, Folder, Serving, write_config};

const PASSWORD: &str = "marked-password-of-a-test";

/// A server with a database for `attorn`, and what the configuration says of it.
fn server(folder: &Folder) -> (PostgresServer, String) {
    let server = PostgresServer::start().unwrap();
    let role = format!("CREATE ROLE attorn LOGIN PASSWORD '{PASSWORD}'");
    server.query("postgres", &role).unwrap();
    server.query("postgres", "CREATE DATABASE attorn OWNER attorn").unwrap();
    password(folder, PASSWORD);
    let url = format!("postgres://attorn@127.0.0.1:{}/attorn", server.port());
    let more = format!("[registry]\nurl = \"{url}\"\npassword_file = \"db.password\"\n");
    (server, more)
}

fn password(folder: &Folder, text: &str) {
    let path = folder.path().join("db.password");
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn lock(folder: &Folder) -> Ended {
    folder.attorn(&["lock", "create", "agent/reader", "--reason", "test"])
}

#[test]
fn calls_go_on_without_the_registry_and_changes_wait_for_it() {
    let folder = Folder::new("postgres");
    let (mut server, more) = server(&folder);
    let serving = installed_with(&folder, &more);
    assert!(!folder.path().join("state/registry.db").exists());
    assert_eq!(
        server.query("attorn", "SELECT COUNT(*) FROM servers WHERE name = 'invoices'").unwrap(),
        "1"
    );
    let mut connected = Connected::start(&folder, "invoices", "reader");
    let mut passes = |id| {
        let answer = connected.call(id, "get_invoice", r#"{"id":"inv-1001"}"#);
        answer.to_string().contains("Ada Shipping")
    };
    assert!(passes(1));

    server.crash().unwrap();
    let refused = lock(&folder);
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(refused.err.contains("the registry cannot be read or written"), "{}", refused.err);
    assert!(passes(2), "a call needs what is in force, and no registry");

    server.start_again().unwrap();
    assert!(passes(3));
    lock(&folder).expect(0);
    assert!(!passes(4), "locked");
    serving.stop();
    // Nothing of it was in the process alone.
    let again = Serving::start(&folder);
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(1);
    again.stop();
}

/// A standby takes over that lacks the last change: the process goes beyond all that was in force, and
/// changes go on.
#[test]
fn a_registry_that_falls_back_under_the_process_is_noticed() {
    let folder = Folder::new("postgres-back");
    let (server, more) = server(&folder);
    let (serving, _issuer) = organised_with(&folder, &more);
    let numbers = || {
        let row = server.query("attorn", "SELECT version, epoch FROM registry").unwrap();
        let (version, epoch) = row.split_once('|').unwrap();
        (version.parse::<u64>().unwrap(), epoch.parse::<u64>().unwrap())
    };
    let before = numbers();
    let back = "DELETE FROM changes WHERE version = (SELECT version FROM registry);
                UPDATE registry SET version = version - 1";
    server.query("attorn", back).unwrap();
    let mut tries = 0..250;
    while numbers().0 <= before.0 {
        assert!(tries.next().is_some(), "nobody noticed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(numbers().1 > before.1, "every token ended");
    folder.attorn(&["owner", "create", "later"]).expect(0);
    serving.stop();
}

#[test]
fn what_keeps_it_from_starting_is_said_without_the_password() {
    let folder = Folder::new("postgres-refused");
    let (mut server, more) = server(&folder);
    write_config(&folder);
    let path = folder.path().join("attorn.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}{more}")).unwrap();
    folder.attorn(&["init"]).expect(0);
    password(&folder, "marked-password-of-another");
    let wrong = Serving::start_refused(&folder).expect(3);
    assert!(wrong.err.contains("password authentication failed"), "{}", wrong.err);
    server.crash().unwrap();
    let away = Serving::start_refused(&folder).expect(3);
    assert!(away.err.contains("refused"), "{}", away.err);
    for refused in [wrong, away] {
        let next = format!("next: psql postgres://attorn@127.0.0.1:{}/attorn", server.port());
        assert!(refused.err.contains(&next), "{}", refused.err);
        assert!(!refused.err.contains("marked-password"), "{}", refused.err);
    }
    let inside = more.replace("attorn@", "attorn:marked-password@");
    fs::write(&path, format!("{config}{inside}")).unwrap();
    let refused = Serving::start_refused(&folder).expect(2);
    assert!(refused.err.contains("password_file"), "{}", refused.err);
    assert!(!refused.err.contains("marked-password"), "{}", refused.err);
}
