//! Each server has a key, made and held by the process that fronts it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::journey::installed;
use crate::support::{Connected, Folder, Serving};

fn keys(folder: &Folder) -> Value {
    folder.attorn(&["server", "show", "invoices", "-o", "json"]).expect(0).json()["keys"].clone()
}

fn kinds_about_keys(folder: &Folder, kind: &str) -> Value {
    let search = ["audit", "search", "--kind", kind, "--server", "invoices", "-o", "json"];
    folder.attorn(&search).expect(0).json()
}

#[test]
fn a_server_has_a_key_that_survives_a_restart_and_ends_with_it() {
    let folder = Folder::new("server-keys");
    let serving = installed(&folder);
    let made = keys(&folder);
    assert_eq!(made.as_array().unwrap().len(), 1, "{made}");
    assert_eq!(made[0]["state"], "active");
    assert_eq!(made[0]["jwk"]["kty"], "OKP");
    assert_eq!(made[0]["jwk"].get("d"), None);
    assert_eq!(kinds_about_keys(&folder, "key.added")[0]["server_key"], made[0]["jkt"]);

    let place = folder.path().join("state/server-keys");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.clone()), 0o700);
    let files: Vec<_> = fs::read_dir(&place).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(mode(files[0].clone()), 0o600);

    // A call names the key of the server it went to.
    let mut connected = Connected::start(&folder, "invoices", "reader");
    connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    drop(connected);
    assert_eq!(kinds_about_keys(&folder, "call.decided")[0]["server_key"], made[0]["jkt"]);

    serving.stop();
    let serving = Serving::start(&folder);
    assert_eq!(keys(&folder), made);
    folder.attorn(&["server", "retire", "invoices", "--reason", "test"]).expect(0);
    let mut tries = 0..200;
    while keys(&folder)[0]["state"] != "retired" || files[0].exists() {
        assert!(tries.next().is_some(), "the key of a retired server stayed");
    }
    assert_eq!(kinds_about_keys(&folder, "key.retired")[0]["server_key"], made[0]["jkt"]);
    serving.stop();
}
