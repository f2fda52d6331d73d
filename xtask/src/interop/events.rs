//! Events of OCSF, judged by a schema that others publish: what a journal holds after a few calls, as
//! `attorn audit export --format ocsf` writes it, and an entry of every kind.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use attorn_audit::{Decision, Entry, Kind, LineForm, Outcome};
use serde_json::{Value, json};

use super::interop;
use crate::bounded::output_within;
use crate::installation::{Installation, binary};
use crate::step::{StepFailed, root};

/// Runs it.
///
/// # Errors
/// At the first event that the schema refuses, or where our description of the schema is another.
pub(super) fn run() -> Result<(), StepFailed> {
    let started = Instant::now();
    let installation = Installation::start()?;
    let server = binary().display().to_string();
    installation.register_server("invoices", &["--", &server, "sample-mcp-server"])?;
    installation.approve_all("invoices")?;
    let agent = installation.enroll("reader", &[("invoices", &["read:*"])])?;
    let token = agent.token("invoices", None)?;
    for tool in ["get_invoice", "pay_invoice"] {
        agent.call(&token, "invoices", tool, &json!({ "id": "inv-1001" }))?;
    }
    let exported = installation.folder().join("journal.ndjson");
    let to = exported.display().to_string();
    installation.cli(&["audit", "export", "--format", "ocsf", "--to", &to])?;
    let kinds = installation.folder().join("kinds.ndjson");
    std::fs::write(&kinds, every_kind())
        .map_err(|source| StepFailed::File { path: kinds.clone(), source })?;
    let report = judged(&[&exported, &kinds])?;
    let mut told = String::new();
    for (class, count) in report.get("events").and_then(Value::as_object).into_iter().flatten() {
        let _ = write!(told, ", {class} {count}");
    }
    println!("events by the schema of OCSF{told}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Lines of entries that no installation has all at once.
fn every_kind() -> Vec<u8> {
    let (mut lines, text) = (Vec::new(), |text: &str| Some(text.to_owned()));
    let ways = [
        (None, None),
        (Some(Decision::Deny), None),
        (Some(Decision::Permit), None),
        (None, Some(Outcome::ToolError)),
    ];
    let entries = Kind::ALL.into_iter().flat_map(|kind| {
        ways.map(|(decision, outcome)| Entry {
            agent: text("agt_1"),
            by: text("first-operator"),
            class: text("write"),
            client_id: text("agt_1"),
            decision,
            decision_id: text("dec_1"),
            detail: [("peer".to_owned(), "2001:db8::7".to_owned())].into(),
            downstream_resource: text("res_1"),
            downstream_status: text("500"),
            grant: text("grt_1"),
            outcome,
            policy_version: text("3"),
            reason: text("scope.missing"),
            rule: text("readers"),
            server: text("srv_1"),
            subject: text("usr_1"),
            token_jti: text("jti_1"),
            tool: text("get_invoice"),
            trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
            ..Entry::new(kind, 1_785_750_000_000)
        })
    });
    for (index, entry) in (0..).zip(entries) {
        LineForm::Ocsf.push(("test/node", index), &entry.to_canonical(), &mut lines);
    }
    lines
}

fn judged(files: &[&Path]) -> Result<Value, StepFailed> {
    let mut command = Command::new(interop(".venv/bin/python"));
    command.arg("clients/ocsf.py").arg(root().join("vectors/audit/ocsf-1.9.0.json")).args(files);
    command.current_dir(root().join("tests/interop"));
    let output = output_within("events", WITHIN, &mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    if output.status.success() && report.get("ok") == Some(&Value::Bool(true)) {
        return Ok(report);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(StepFailed::Check(format!("events: {text} {told}")))
}

/// Reading three megabytes of schema and making JSON Schemas of it takes seconds.
const WITHIN: Duration = Duration::from_secs(60);
