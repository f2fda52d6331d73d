//! House rules as tests: they read the repository as text and need nothing but the standard library.
//!
//! Each rule that has exceptions lists them here with the reason. A list may only shrink: an
//! exception that no longer applies fails the test as well.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a rule fails its test by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which workspace crates a crate may depend on. `ARCHITECTURE.md` draws the same table.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("json", &["planted"]),
    ("jose", &["json", "planted"]),
    ("registry", &["json", "jose"]),
    ("oauth", &["json", "jose", "registry", "planted"]),
    ("policy", &["json", "registry", "planted"]),
    ("mcp", &["json", "planted"]),
    ("audit", &["json"]),
    ("webauthn", &["json", "jose"]),
    ("net", &[]),
    ("console", &[]),
    ("replay", &["jose", "oauth", "net"]),
    ("payloads", &["registry", "jose"]),
    ("store", &["jose", "registry", "audit", "webauthn"]),
    ("journal", &["audit"]),
    ("telemetry", &["registry", "audit", "net", "journal"]),
    (
        "authority",
        &[
            "json",
            "jose",
            "oauth",
            "registry",
            "policy",
            "audit",
            "net",
            "store",
            "journal",
            "payloads",
            "telemetry",
            "console",
            "webauthn",
        ],
    ),
    (
        "enforce",
        &[
            "jose",
            "oauth",
            "registry",
            "policy",
            "audit",
            "net",
            "journal",
            "payloads",
            "telemetry",
            "replay",
            "planted",
        ],
    ),
    (
        "guard",
        &[
            "jose",
            "oauth",
            "registry",
            "policy",
            "audit",
            "net",
            "journal",
            "telemetry",
            "replay",
            "enforce",
        ],
    ),
    (
        "gateway",
        &[
            "json",
            "jose",
            "oauth",
            "registry",
            "policy",
            "mcp",
            "audit",
            "net",
            "journal",
            "payloads",
            "telemetry",
            "replay",
            "enforce",
            "egress",
            "planted",
        ],
    ),
    (
        "egress",
        &[
            "jose",
            "oauth",
            "registry",
            "audit",
            "net",
            "journal",
            "telemetry",
            "enforce",
            "guard",
            "connect",
        ],
    ),
    ("connect", &["json", "jose", "oauth", "mcp", "net"]),
    ("testkit", &["json", "jose", "oauth"]),
];

/// Crates that know the rules and nothing of the outside world.
const PURE: &[&str] = &[
    "planted", "json", "jose", "registry", "oauth", "policy", "mcp", "audit", "console", "webauthn",
];

/// What a pure crate must not name.
const OUTSIDE_WORLD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemRandom",
    "tokio",
    "hyper",
    "axum",
    "sqlx",
    "reqwest",
    "async fn",
];

/// Words of the outside world in a pure crate, each with the reason.
const OUTSIDE_WORLD_EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "crates/jose/src/signing_key.rs",
    "SystemRandom",
    "the library's ECDSA signing asks for one; signatures need no randomness of ours",
)];

/// Files over 500 lines without tests, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

const LINES_MAX: usize = 500;

#[test]
fn rule_1_dependency_direction_equals_the_table() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_DEPEND_ON.iter().map(|(name, on)| (*name, on.iter().copied().collect())).collect();
    for folder in folders("crates") {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "cli" {
            continue; // the binary wires everything
        }
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crates/{name} is not in the table"));
        let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for dependency in dependencies.into_iter().flatten().map(|(key, _)| key) {
            if let Some(other) = dependency.strip_prefix("attorn-") {
                assert!(allowed.contains(other), "crates/{name} must not depend on {other}");
            }
        }
    }
}

#[test]
fn rule_2_pure_crates_name_no_outside_world() {
    for name in PURE {
        let sources = rust_files(&root().join("crates").join(name).join("src"));
        assert!(!sources.is_empty(), "crates/{name} has no source");
        for file in sources {
            for (number, line) in code_lines(&file) {
                if line.trim_start().starts_with("//") {
                    continue;
                }
                for word in OUTSIDE_WORLD {
                    let name = shown(&file);
                    let excepted = OUTSIDE_WORLD_EXCEPTIONS
                        .iter()
                        .any(|(path, known, _)| *path == name && known == word);
                    assert!(
                        excepted || !line.contains(word),
                        "{}:{number} names `{word}`: a pure crate takes it as an argument",
                        shown(&file)
                    );
                }
            }
        }
    }
}

#[test]
fn rule_3_every_crate_inherits_the_lints() {
    let mut manifests: Vec<PathBuf> =
        folders("crates").into_iter().chain(folders("samples")).collect();
    manifests.push(root().join("xtask"));
    assert!(manifests.len() > 10);
    for folder in manifests {
        let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().unwrap();
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{} needs `[lints] workspace = true`", shown(&folder));
    }
}

#[test]
fn rule_4_a_file_is_a_topic_of_at_most_500_lines() {
    let exceptions: BTreeMap<&str, &str> = LONG_FILES.iter().copied().collect();
    let mut used = BTreeSet::new();
    for file in all_sources() {
        let lines = code_lines(&file).count();
        let name = shown(&file);
        if lines > LINES_MAX {
            let known = exceptions.get_key_value(name.as_str());
            assert!(known.is_some(), "{name} has {lines} lines: cut it along its topics");
            used.extend(known.map(|(key, _)| *key));
        }
    }
    for (name, _) in LONG_FILES {
        assert!(used.contains(name), "{name} is short again: take it off the list");
    }
}

#[test]
fn rule_5_citations_have_one_form() {
    for file in all_sources().into_iter().chain(markdown()) {
        for (number, line) in read(&file).lines().enumerate().map(|(i, l)| (i + 1, l)) {
            let place = format!("{}:{number}", shown(&file));
            if place.starts_with("xtask/tests/tidy.rs") {
                continue;
            }
            assert!(!line.contains('\u{a7}'), "{place}: write `section`, not the paragraph sign");
            for (at, _) in line.match_indices("RFC") {
                let rest = line.get(at + 3..).unwrap_or_default();
                let glued = rest.starts_with(|c: char| c.is_ascii_digit() || c == '-');
                assert!(!glued, "{place}: write `RFC 9449 section 4.3`");
                if let Some(rest) = rest.strip_prefix(' ') {
                    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                    let short = [" sec. ", " s. ", " ss ", " Sec", " Section "];
                    assert!(
                        !short.iter().any(|form| after.starts_with(form)),
                        "{place}: write `RFC 9449 section 4.3`"
                    );
                }
            }
        }
    }
}

#[test]
fn rule_8_generated_documents_are_fresh() {
    for (path, expected) in xtask::generated::documents(&root()) {
        let found = fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(found == expected, "{path} is stale: run `cargo xtask docs`");
    }
}

#[test]
fn rule_9_a_gap_that_is_named_is_written_down() {
    let gaps = read(&root().join("docs/gaps.md"));
    let known: BTreeSet<&str> =
        gaps.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
    // The ways in which texts name one.
    assert_eq!(gaps_named("see `a-b` in\n[gaps.md](gaps.md#c-d)."), ["a-b", "c-d"]);
    let mut found = 0;
    let clients = files_below(&root().join("tests/interop/clients"), "mjs");
    for file in markdown().into_iter().chain(all_sources()).chain(clients) {
        // This file names some that are not there.
        let text = if file.ends_with("tidy.rs") { String::new() } else { read(&file) };
        for name in gaps_named(&text) {
            assert!(known.contains(&*name), "{}: docs/gaps.md has no `{name}`", shown(&file));
            found += 1;
        }
    }
    assert!(found > 0, "nothing names a gap");
}

#[test]
fn rule_10_every_reason_code_is_expected_by_a_negative_row_or_waits_by_name() {
    let mut expected = BTreeSet::new();
    for file in files_below(&root().join("vectors/negative"), "json") {
        let rows: serde_json::Value = serde_json::from_str(&read(&file)).unwrap();
        collect_reasons(&rows, &mut expected);
    }
    let waiting: BTreeMap<&str, &str> =
        xtask::generated::REASONS_WITHOUT_A_ROW.iter().copied().collect();
    for code in attorn_registry::ReasonCode::ALL {
        let code = code.as_str();
        let has_row = expected.contains(code);
        assert!(
            has_row || waiting.contains_key(code),
            "`{code}` is expected by no row of vectors/negative"
        );
        assert!(
            !(has_row && waiting.contains_key(code)),
            "`{code}` has a row: take it off the list"
        );
    }
}

#[test]
fn rule_11_templates_take_no_text_for_markup() {
    let templates = files_below(&root().join("crates/console/templates"), "html");
    assert!(!templates.is_empty(), "there are no templates");
    // The one script there is, for passkeys.
    let ours = ["form", "nav"]
        .map(|from| format!("<script src=\"{{{{ {from}.base }}}}/passkeys.js\" defer></script>"));
    for file in templates {
        let text = ours.iter().fold(read(&file), |text, script| text.replace(script, ""));
        // Askama escapes what it writes into `.html`, unless a template says otherwise.
        for word in ["|safe", "| safe", "|escape", "| escape", "autoescape"] {
            assert!(!text.contains(word), "{}: `{word}` writes text as markup", shown(&file));
        }
        for word in ["<script", "<style", "style=", "<img", "<iframe", "javascript:", "//"] {
            assert!(!text.contains(word), "{}: `{word}` is not on a page", shown(&file));
        }
        let is_handler = |word: &str| {
            let name =
                word.split_once('=').map(|(name, _)| name.rsplit('"').next().unwrap_or(name));
            name.is_some_and(|name| {
                name.starts_with("on") && name.chars().all(|c| c.is_ascii_lowercase())
            })
        };
        let handler = text.split_whitespace().find(|word| is_handler(word));
        assert_eq!(handler, None, "{}: pages have no handlers", shown(&file));
        // An attribute without quotes ends at a space, and escaping does not help there.
        let mut before = String::new();
        for part in text.split_inclusive("={{") {
            before.push_str(part);
            let tag = before.rsplit('<').next().unwrap_or_default();
            let is_within = tag.matches('"').count() % 2 == 1;
            assert!(is_within || !part.ends_with("={{"), "{}: {tag} has no quotes", shown(&file));
        }
    }
}

/// The gaps that a text names: as `gaps.md#name`, or in backquotes before the link.
fn gaps_named(text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    for way in ["` in [gaps", "` in the gaps"] {
        let mut before: Vec<&str> = text.split(way).collect();
        before.pop();
        names.extend(before.into_iter().filter_map(|part| part.rsplit('`').next()));
    }
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let linked = text.split("gaps.md#").skip(1);
    names.extend(linked.filter_map(|rest| rest.split(|c| !is_of_name(c)).next()));
    names.into_iter().map(str::to_owned).collect()
}

fn collect_reasons(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                if key == "reason" {
                    let one = member.as_str().into_iter();
                    let many = member.as_array().into_iter().flatten();
                    let many = many.filter_map(serde_json::Value::as_str);
                    into.extend(one.chain(many).map(str::to_owned));
                } else {
                    collect_reasons(member, into);
                }
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| collect_reasons(item, into));
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn folders(below: &str) -> Vec<PathBuf> {
    fs::read_dir(root().join(below))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect()
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            found.extend(files_below(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files_below(folder, "rs")
}

fn all_sources() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = ["crates", "samples", "xtask", "fuzz"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .collect();
    assert!(found.len() > 50, "the walk found too few files to mean anything");
    found
}

fn markdown() -> Vec<PathBuf> {
    let mut found = files_below(&root().join("docs"), "md");
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    found
}

/// The lines of a file that are neither a test module nor a test file.
fn code_lines(file: &Path) -> impl Iterator<Item = (usize, String)> + use<> {
    let name = shown(file);
    let test_file = name.ends_with("tests.rs") || name.contains("/tests/");
    let text = if test_file { String::new() } else { read(file) };
    let mut lines = Vec::new();
    let mut all = text.lines().enumerate().peekable();
    while let Some((index, line)) = all.next() {
        let test_module = line == "#[cfg(test)]"
            && all.peek().is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
        if test_module {
            break; // by house order the tests stand last
        }
        lines.push((index + 1, line.to_owned()));
    }
    lines.into_iter()
}
