//! A release is judged by its files and a key that came another way.

use std::fs;

use attorn_audit::note::NoteSigner;
use attorn_audit::release::{Build, Source, Sums, provenance_name};

use crate::support::Folder;

const NAME: &str = "attorn-1.0.0-test.tar";

fn hex(bytes: &[u8]) -> String {
    attorn_jose::sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A release in a folder; the public key it is signed by.
fn released(folder: &Folder, build: Build) -> String {
    let signer = NoteSigner::from_seed("releases", &[7; 32]).unwrap();
    let source = Source {
        commit: "c".repeat(40),
        lock_sha256: hex(b"lock"),
        compiler: "rustc".to_owned(),
        target: "test".to_owned(),
        build,
    };
    let statement = source.statement(NAME, &hex(b"a release")).unwrap();
    let files = vec![
        (hex(b"a release"), NAME.to_owned()),
        (hex(statement.as_bytes()), provenance_name(NAME)),
    ];
    let sums = Sums { version: "1.0.0".to_owned(), files }.sign(&signer);
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    write(NAME, b"a release");
    write(&provenance_name(NAME), statement.as_bytes());
    write(&format!("{NAME}.sums"), sums.as_bytes());
    signer.verifier().to_vkey()
}

#[test]
fn only_a_whole_release_of_the_right_key_verifies() {
    let folder = Folder::new("release");
    let key = released(&folder, Build::Builder);
    let verify = |file: &str, key: &str, more: &[&str]| {
        folder.attorn(&[&["release", "verify", file, "--key", key, "-o", "json"], more].concat())
    };
    let verified = verify(NAME, &key, &[]).expect(0).json();
    assert_eq!((&verified["version"], &verified["key"]), (&"1.0.0".into(), &"releases".into()));
    assert_eq!(verified["commit"], "c".repeat(40));
    assert_eq!(verified["binary"], "built from the commit");

    let refused = |file: &str, key: &str, more: &[&str], reason: &str| {
        let ended = verify(file, key, more).expect(4);
        assert!(ended.err.contains(reason), "{}", ended.err);
        assert_eq!(ended.json()["verified"], false);
    };
    let other = NoteSigner::from_seed("releases", &[8; 32]).unwrap().verifier().to_vkey();
    refused(NAME, &other, &[], "not signed by the given key");
    verify(NAME, "no key", &[]).expect(2);

    let sums = format!("{NAME}.sums");
    let statement = provenance_name(NAME);
    fs::copy(folder.path().join(NAME), folder.path().join("renamed.tar")).unwrap();
    let both = ["--sums", sums.as_str(), "--provenance", statement.as_str()];
    refused("renamed.tar", &key, &both, "not for a file of this name");
    refused(NAME, &key, &["--provenance", &sums], "the provenance is not the one");
    fs::rename(folder.path().join(&statement), folder.path().join("away.json")).unwrap();
    refused(NAME, &key, &[], "no provenance");
    fs::rename(folder.path().join("away.json"), folder.path().join(&statement)).unwrap();
    fs::write(folder.path().join(NAME), b"b release").unwrap();
    refused(NAME, &key, &[], "its bytes differ");
    released(&folder, Build::Given);
    refused(NAME, &key, &[], "given to the builder");
    let given = verify(NAME, &key, &["--accept-given-binary"]).expect(0).json();
    assert_eq!(given["binary"], "given to the builder");
}
