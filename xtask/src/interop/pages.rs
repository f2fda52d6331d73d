//! The pages in a real Chromium, by keyboard alone: a person lets an application act for them, another
//! approves a payment, a third looks at what happened.
//!
//! `tests/interop/pages/run.mjs` is the persons. Then one of them signs in by a passkey of the virtual
//! authenticator of Chromium (`tests/interop/pages/passkeys.mjs`). `ATTORN_PICTURES` names a folder for pictures of every
//! page, at 360 and 1280 pixels, light and dark.

use std::process::Command;
use std::time::{Duration, Instant};

use attorn_testkit::canary::Canary;
use serde_json::{Value, json};

use super::node_binary;
use crate::bounded::output_within;
use crate::installation::{Installation, Setting, binary};
use crate::step::{StepFailed, root};

/// Runs it.
///
/// # Errors
/// At the first page that is not as it should be, or when something is not there.
pub(super) fn run() -> Result<(), StepFailed> {
    let started = Instant::now();
    passkeys()?;
    let installation = Installation::start_on(&Setting { more: CLIENTS, ..Setting::default() })?;
    let server = binary().display().to_string();
    installation.register_server("invoices", &["--", &server, "sample-mcp-server"])?;
    installation.approve_all("invoices")?;
    let people = [("ann", "approver"), ("bob", "approver"), ("eve", "auditor")];
    let codes = invited(&installation, &people)?;
    let grants = ["read:*", "write:*", "irreversible:*"];
    installation.cli(&[&["person", "grant", "ann", "invoices"], &grants[..]].concat())?;
    let canary = foreign(&installation)?;
    let addresses = installation.addresses();
    let setting = json!({
        "issuer": addresses.issuer,
        "resource": addresses.resource("invoices"),
        "codes": codes,
        "pictures": std::env::var("ATTORN_PICTURES").ok(),
        "foreign": {
            "resource": addresses.resource("foreign"),
            "name": NAME, "title": TITLE, "description": DESCRIPTION,
        },
    });
    played(&installation, "pages/run.mjs", &setting)?;
    drop(canary);
    on_record(&installation, &EXPECTED)?;
    println!("pages in Chromium: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// A passkey belongs to a name, and so has an installation of its own.
fn passkeys() -> Result<(), StepFailed> {
    let started = Instant::now();
    let setting = Setting { more: CLIENTS, has_name: true, ..Setting::default() };
    let installation = Installation::start_on(&setting)?;
    let setting = json!({
        "issuer": installation.addresses().issuer,
        "codes": invited(&installation, &[("ann", "viewer")])?,
        "pictures": std::env::var("ATTORN_PICTURES").ok(),
    });
    played(&installation, "pages/passkeys.mjs", &setting)?;
    on_record(&installation, &EXPECTED_OF_PASSKEYS)?;
    let none = installation.cli(&["person", "passkeys", "ann"])?;
    if none != json!([]) {
        return Err(StepFailed::Check(format!("a passkey was removed and is there: {none}")));
    }
    println!("passkeys in Chromium: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Invites people, and gives their codes by name.
fn invited(
    installation: &Installation,
    people: &[(&str, &str)],
) -> Result<serde_json::Map<String, Value>, StepFailed> {
    let mut codes = serde_json::Map::new();
    for (name, role) in people {
        let code = installation.folder().join(format!("{name}.code"));
        let file = code.display().to_string();
        installation.cli(&["person", "invite", name, "--role", role, "--code-file", &file])?;
        let text = std::fs::read_to_string(&code)
            .map_err(|source| StepFailed::File { path: code.clone(), source })?;
        codes.insert((*name).to_owned(), Value::from(text.trim()));
    }
    Ok(codes)
}

/// Runs a script of `tests/interop` that says whether all went as it should.
fn played(installation: &Installation, script: &str, setting: &Value) -> Result<(), StepFailed> {
    let path = installation.folder().join("pages.json");
    std::fs::write(&path, setting.to_string())
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    let mut command = Command::new(node_binary());
    command.arg(script).arg(&path).current_dir(root().join("tests/interop"));
    let output = output_within(script, WITHIN, &mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    if !output.status.success() || report.get("ok") != Some(&Value::Bool(true)) {
        let error = report.get("error").and_then(Value::as_str).unwrap_or(&text);
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(StepFailed::Check(format!("{script}: {error} {told}\n{}", installation.log())));
    }
    Ok(())
}

/// A server that ann may use, whose words would be markup on a page that took them for it.
fn foreign(installation: &Installation) -> Result<Canary, StepFailed> {
    let tool = |name: &str, hint: &str| {
        json!({
            "name": name, "title": TITLE, "description": DESCRIPTION,
            "inputSchema": {"type": "object"}, "annotations": {hint: true},
            "icons": [{"src": "http://127.0.0.1:9/zz.png"}, {"src": "javascript:alert(1)"}],
        })
    };
    let tools = json!([tool("zz_read", "readOnlyHint"), tool("zz_pay", "destructiveHint")]);
    let canary = Canary::start(tools)
        .map_err(|error| StepFailed::Check(format!("the canary does not start: {error}")))?;
    installation.register_server("foreign", &["--url", &canary.url()])?;
    installation.approve_all("foreign")?;
    installation.cli(&["person", "grant", "ann", "foreign", "read:*", "irreversible:*"])?;
    Ok(canary)
}

/// What the persons did is in the journal: so many entries of a kind with a member that begins so.
fn on_record(
    installation: &Installation,
    expected: &[(&str, &str, &str, usize)],
) -> Result<(), StepFailed> {
    let entries = installation.journal_entries(0)?;
    let of = |kind: &str, member: &str, value: &str| {
        let is = |entry: &&Value| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            text("kind") == Some(kind) && text(member).is_some_and(|found| found.starts_with(value))
        };
        entries.iter().filter(is).count()
    };
    for (kind, member, value, count) in expected {
        let found = of(kind, member, value);
        if found != *count {
            let told = format!("{found} entries {kind} with {member} {value}, not {count}");
            return Err(StepFailed::Check(told));
        }
    }
    Ok(())
}

/// An application's name: at most 64 characters are kept.
const NAME: &str = "zz</title><script>alert(1)</script>\"><img src=x onerror=alert()>";
const TITLE: &str = "zz'\"><svg onload=alert(3)></option></select></p>";
const DESCRIPTION: &str = "zz</bdi></pre></textarea><script src=http://127.0.0.1:9/zz.js></script>\
<img src=http://127.0.0.1:9/zz.png onerror=alert(4)><iframe srcdoc='<script>alert(5)</script>'></iframe>\
<a href=javascript:alert(6)>zz</a><style>*{background:url(http://127.0.0.1:9/zz)}</style>\
<input autofocus onfocus=alert(7)><base href=http://127.0.0.1:9/><details open ontoggle=alert(8)>";
/// With their names, and the payment once.
const EXPECTED: [(&str, &str, &str, usize); 7] = [
    ("approval.approved", "by", "usr_", 1),
    ("approval.denied", "by", "usr_", 2),
    ("approval.used", "tool", "pay_invoice", 1),
    ("call.completed", "tool", "pay_invoice", 1),
    ("grant.revoked", "by", "usr_", 2),
    ("admin.refused", "reason", "role.missing", 1),
    ("admin.refused", "reason", "request.precondition", 2),
];
/// Of a passkey: added, used, copied, and gone.
const EXPECTED_OF_PASSKEYS: [(&str, &str, &str, usize); 5] = [
    ("key.added", "by", "usr_", 1),
    ("key.removed", "by", "usr_", 1),
    ("identity.login_refused", "reason", "passkey.counter", 1),
    ("identity.login_refused", "reason", "passkey.unknown", 1),
    // By password twice, by passkey twice.
    ("identity.login", "by", "usr_", 4),
];
const CLIENTS: &str =
    "\n[authority.clients]\nowner = \"test-team\"\nregistration = \"open\"\nconsent_days = 30\n";
/// Some forty pages, each looked at four times, on a busy machine.
const WITHIN: Duration = Duration::from_secs(300);
