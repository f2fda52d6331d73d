//! Which dependencies may be linked: licences, and libraries that must not be there.
#![expect(clippy::unwrap_used, reason = "a rule fails its test by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Licences of which a dependency must offer at least one.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not be in the build, each with the reason.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one cryptographic provider: aws-lc-rs"),
    ("openssl", "one TLS library: rustls"),
    ("openssl-sys", "one TLS library: rustls"),
    ("native-tls", "one TLS library: rustls"),
    ("reqwest", "outbound calls go through net::Client"),
];

/// The packages that are linked into the product or used to build it.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--workspace", "-e", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}\t{l}"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<Value> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(package, licence)| {
            let name = package.split(' ').next().unwrap_or_default();
            serde_json::json!({"name": name, "licence": licence.trim_end_matches(" (*)")})
        })
        .collect();
    found.dedup();
    assert!(found.len() > 100, "cargo tree listed too little to mean anything");
    found
}

#[test]
fn every_licence_is_one_we_may_link() {
    for package in packages() {
        let licence = package["licence"].as_str().unwrap();
        assert!(is_fine(licence), "{}: licence `{licence}`", package["name"]);
    }
}

#[test]
fn banned_crates_are_not_there() {
    for package in packages() {
        for (name, reason) in BANNED {
            assert!(package["name"] != *name, "{name} is in the build; {reason}");
        }
    }
}

/// What is linked, each with its features: what cargo compiles once for all who ask for the same.
fn built(of: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(of)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    let found: BTreeSet<_> = lines.collect();
    assert!(found.len() > 100, "cargo tree listed too little to mean anything");
    found
}

/// A feature that only other members turn on would have `cargo xtask ci` compile much of everything
/// twice: for itself, and for the tests.
#[test]
fn xtask_is_built_of_what_the_tests_are_built_of() {
    let own = built(&["--package", "xtask", "--edges", "normal,build"]);
    let all = built(&["--workspace", "--edges", "normal,build,dev"]);
    let twice: Vec<_> = own.difference(&all).collect();
    assert!(twice.is_empty(), "other features than in the workspace: {twice:?}");
}

#[test]
fn expressions_are_read() {
    assert!(is_fine("MIT OR Apache-2.0"));
    assert!(is_fine("GPL-3.0 OR MIT"));
    assert!(is_fine("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(is_fine("MIT/Apache-2.0"));
    assert!(!is_fine("GPL-3.0"));
    assert!(!is_fine("MIT AND AGPL-3.0"));
    assert!(!is_fine(""));
}

/// SPDX as far as crates use it: `AND` of parts, each an `OR` of licences.
fn is_fine(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(|c| c == '(' || c == ')');
        part.split(" OR ").flat_map(|choice| choice.split('/')).any(|licence| {
            LICENCES.contains(&licence.trim_matches(|c| c == '(' || c == ')').trim())
        })
    })
}
