//! Other people's clients that act for a person, who answers in a real browser: both official SDKs, known by
//! a document and by registration, with proofs of their own and without, and a strict OAuth library.
//!
//! Each SDK is let in for one tool, steps up to a second one when the gateway asks for more, and never sees
//! a third. What the scripts report is judged here, and so is what the journal says of the same.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{interop, node_binary};
use crate::agent::unique;
use crate::bounded::{Background, output_within};
use crate::installation::{Installation, Setting, binary, free_port, wait_for_port};
use crate::pki::Pki;
use crate::step::StepFailed;

/// One SDK, and what it is asked to be.
#[derive(Clone, Copy, Debug)]
struct Run {
    client: &'static str,
    script: &'static str,
    is_document: bool,
    /// How its tokens are bound, by the name that they have.
    token_type: &'static str,
}

const TYPESCRIPT: Run =
    Run { client: "typescript", script: "sdk-code.mjs", is_document: false, token_type: "DPoP" };
const PYTHON: Run =
    Run { client: "python", script: "sdk_code.py", is_document: false, token_type: "Bearer" };
const STRICT: &str = "oauth4webapi-code.mjs";

struct World {
    installation: Installation,
    pki: Pki,
    /// The client that is a document.
    document: String,
    _documents: Background,
}

pub(super) fn run() -> Result<(), StepFailed> {
    let world = World::start()?;
    world.invite()?;
    world.strict(false)?;
    world.strict(true)?;
    world.sdk(TYPESCRIPT)?;
    world.sdk(Run { is_document: true, ..TYPESCRIPT })?;
    // The Python SDK makes no proofs. Until the owner says so, there is nothing for it.
    let report = world.play(PYTHON.script, None)?;
    if report.get("ok") != Some(&Value::Bool(false)) || !report.to_string().contains("proof") {
        return Err(failed(PYTHON.script, "it was let in without a proof", &report));
    }
    let classes = ["--class", "read", "--class", "write", "--reason", "it makes no proofs yet"];
    world.cli(&[&["server", "accept-bearer", SERVER], &classes[..]].concat())?;
    world.sdk(PYTHON)?;
    world.sdk(Run { is_document: true, ..PYTHON })?;
    let entries = world.installation.journal_entries(0)?;
    recorded(&entries).map_err(StepFailed::Check)?;
    world.installation.verify_journal()
}

impl World {
    fn start() -> Result<Self, StepFailed> {
        let pki = Pki::make(&std::env::temp_dir().join(format!("attorn-people-{}", unique())))?;
        let (certificate, key) = (pki.path("server.pem"), pki.path("server.key"));
        let port = free_port()?;
        let documents = documents(port, &certificate, &key)?;
        let clients = format!(
            "\n[authority.clients]\nowner = \"test-team\"\nregistration = \"open\"\ndocuments = true\n\
             metadata_hosts = [\"localhost:{port}\"]\nmetadata_roots = \"{certificate}\"\n"
        );
        let setting = Setting { more: &clients, ..Setting::default() };
        let installation = Installation::start_on(&setting)?;
        let program = binary().display().to_string();
        installation.register_server(SERVER, &["--", &program, "sample-mcp-server"])?;
        installation.approve_all(SERVER)?;
        let document = format!("https://localhost:{port}/app.json");
        Ok(Self { installation, pki, document, _documents: documents })
    }

    fn cli(&self, arguments: &[&str]) -> Result<(), StepFailed> {
        self.installation.cli(arguments).map(drop)
    }

    /// Invites a person, who chooses a password in the browser, and says what they may do.
    fn invite(&self) -> Result<(), StepFailed> {
        let path = self.installation.folder().join("person.code");
        self.cli(&["person", "invite", NAME, "--code-file", &path.display().to_string()])?;
        self.cli(&["person", "grant", NAME, SERVER, "read:*", "write:*"])?;
        let code = std::fs::read_to_string(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        let issuer = &self.installation.addresses().issuer;
        let invite = json!({ "issuer": issuer, "code": code.trim() });
        let given = json!({ "person": person(), "invite": invite });
        let report = report_of("browser.mjs", &given)?;
        succeeded(&report).map_err(|what| failed("the invitation", &what, &report))
    }

    fn strict(&self, is_document: bool) -> Result<(), StepFailed> {
        let report = self.play(STRICT, is_document.then_some(&self.document))?;
        succeeded(&report).map_err(|what| failed(STRICT, &what, &report))?;
        println!("a person by oauth4webapi, which {}: ok", known(is_document));
        Ok(())
    }

    fn sdk(&self, run: Run) -> Result<(), StepFailed> {
        let report = self.play(run.script, run.is_document.then_some(&self.document))?;
        let document = run.is_document.then_some(self.document.as_str());
        judge(run, document, &report).map_err(|what| failed(run.script, &what, &report))?;
        let (known, kind) = (known(run.is_document), run.token_type);
        println!("a person by {}, which {known}, with {kind} tokens: ok", run.client);
        Ok(())
    }

    fn play(&self, script: &str, document: Option<&String>) -> Result<Value, StepFailed> {
        let scene = json!({
            "url": self.installation.addresses().resource(SERVER),
            "node": node_binary(),
            "person": person(),
            "document": document,
            "first": { "tool": "get_invoice", "right": FIRST, "answer": "inv-1001",
                       "arguments": { "id": "inv-1001" } },
            "second": { "tool": "add_note", "right": SECOND, "answer": "looked at",
                        "arguments": { "id": "inv-1001", "note": "looked at" } },
            "hidden": HIDDEN,
        });
        report_of(script, &scene)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(PathBuf::from(self.pki.path(""))));
    }
}

fn documents(port: u16, certificate: &str, key: &str) -> Result<Background, StepFailed> {
    let mut command = Command::new(node_binary());
    command.arg(interop("clients/document.mjs")).args([&port.to_string(), certificate, key]);
    let running = Background::start("document", command.stdout(Stdio::null()))?;
    wait_for_port(port)?;
    Ok(running)
}

/// Runs one of our scripts with its one argument. Whether it went well is in what it says.
fn report_of(script: &str, given: &Value) -> Result<Value, StepFailed> {
    let is_python = PathBuf::from(script).extension().is_some_and(|ending| ending == "py");
    let program = if is_python { interop(".venv/bin/python") } else { node_binary() };
    let mut command = Command::new(program);
    command.arg(interop("clients").join(script)).arg(given.to_string());
    let output = output_within(script, SCRIPT_WITHIN, &mut command)?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        failed(script, "it printed no report", &Value::String(errors))
    })
}

fn succeeded(report: &Value) -> Result<(), String> {
    if report.get("ok") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    Err("it did not succeed".to_owned())
}

/// Whether an SDK got what the person gave, at each of the two times, and nothing else.
fn judge(run: Run, document: Option<&str>, report: &Value) -> Result<(), String> {
    succeeded(report)?;
    let text = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_itself = match document {
        Some(url) => text("client_id") == url,
        None => text("client_id").starts_with("agt_"),
    };
    let names = |value: Option<&Value>| -> Vec<String> {
        let all = value.and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let tools = names(report.get("tools"));
    let has = |tool: &str| tools.iter().any(|name| name == tool);
    let seen = report.get("seen").and_then(Value::as_array);
    let [first, second] = seen.map(Vec::as_slice).unwrap_or_default() else {
        return Err("the person was not asked twice".to_owned());
    };
    let asked = second.get("asked").and_then(Value::as_str).unwrap_or_default();
    let page = first.get("text").and_then(Value::as_str).unwrap_or_default();
    let host = document.and_then(|url| url.split('/').nth(2)).unwrap_or("registered itself");
    for (holds, what) in [
        (is_itself, "it is another client"),
        (text("token_type") == run.token_type, "its tokens are bound in another way"),
        (text("first") == FIRST, "the first token is not for what the person gave"),
        (text("second") == format!("{FIRST} {SECOND}"), "the second token is not for both"),
        (has("get_invoice") && has("add_note"), "what the person can give is not listed"),
        (!has(HIDDEN), "what the person cannot give is listed"),
        (report.get("hidden_refused") == Some(&Value::Bool(true)), "a hidden tool was called"),
        (first.get("logged_in") == Some(&Value::Bool(true)), "the person did not log in"),
        (page.contains(host), "the person was not told how the client is known"),
        (asked.split(' ').any(|scope| scope == SECOND), "the second right was not asked for"),
        (
            names(second.get("fresh")).iter().any(|scope| scope == SECOND),
            "it was not marked as new",
        ),
    ] {
        if !holds {
            return Err(what.to_owned());
        }
    }
    Ok(())
}

/// Whether the journal tells the same story: every answer, every refusal, every step up.
fn recorded(entries: &[Value]) -> Result<(), String> {
    let is = |entry: &Value, name: &str, value: &str| {
        entry.get(name).and_then(Value::as_str) == Some(value)
    };
    for (kind, name, value, expected) in [
        // Two by each run of the strict library, two by each of an SDK, one by the run that got nothing.
        ("consent.given", "decision", "permit", 2 * 2 + 4 * 2 + 1),
        ("consent.refused", "reason", "consent.denied", 2),
        ("token.replayed", "reason", "refresh.replayed", 2),
        // Of each run of an SDK, one step up and one call of what is hidden.
        ("call.decided", "reason", "scope.missing", 8),
    ] {
        let of_kind = entries.iter().filter(|entry| is(entry, "kind", kind));
        let found = of_kind.filter(|entry| is(entry, name, value)).count();
        if found != expected {
            return Err(format!("{found} entries of {kind} {value} instead of {expected}"));
        }
    }
    // The gateway looks at the tools in its own name; every call of one is a person's.
    let calls = entries.iter().filter(|entry| is(entry, "kind", "call.decided"));
    let calls =
        calls.filter(|entry| is(entry, "decision", "permit") && !is(entry, "by", "gateway"));
    let mut of_tools = 0;
    for call in calls {
        let person = call.get("subject").and_then(Value::as_str).unwrap_or_default();
        if !person.starts_with("usr_") {
            return Err(format!("a call is not the person's: {call}"));
        }
        of_tools += usize::from(call.get("tool").is_some());
    }
    // Four by each run of the strict library, three by each of an SDK.
    let expected = 2 * 4 + 4 * 3;
    if of_tools == expected {
        return Ok(());
    }
    Err(format!("{of_tools} calls of tools instead of {expected}"))
}

const fn known(is_document: bool) -> &'static str {
    if is_document { "is a document" } else { "registered itself" }
}

fn person() -> Value {
    json!({ "name": NAME, "password": PASSWORD })
}

fn failed(script: &str, what: &str, report: &Value) -> StepFailed {
    StepFailed::Check(format!("{script}: {what}: {report}"))
}

const SERVER: &str = "invoices";
const FIRST: &str = "read:get_invoice";
const SECOND: &str = "write:add_note";
const HIDDEN: &str = "pay_invoice";
const NAME: &str = "ann";
/// A fixture: the installation is removed when the check is over.
const PASSWORD: &str = "correct horse battery staple";
/// Several starts of a browser on a busy machine.
const SCRIPT_WITHIN: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "https://localhost:1/app.json";

    fn good() -> Value {
        json!({
            "ok": true, "client_id": "agt_a", "token_type": "DPoP", "first": FIRST,
            "second": format!("{FIRST} {SECOND}"), "tools": ["add_note", "get_invoice"],
            "hidden_refused": true,
            "seen": [
                { "logged_in": true, "text": "nobody: it registered itself" },
                { "asked": format!("{FIRST} {SECOND}"), "fresh": [SECOND] },
            ],
        })
    }

    #[test]
    fn each_part_of_a_report_counts() {
        assert_eq!(judge(TYPESCRIPT, None, &good()), Ok(()));
        let wrong = [
            ("/ok", json!(false)),
            ("/client_id", json!(DOCUMENT)),
            ("/token_type", json!("Bearer")),
            ("/first", json!(format!("{FIRST} read:search_invoices"))),
            ("/second", json!(SECOND)),
            ("/tools", json!(["get_invoice"])),
            ("/tools", json!(["add_note", "get_invoice", HIDDEN])),
            ("/hidden_refused", json!(false)),
            ("/seen", json!([])),
            ("/seen/0/logged_in", json!(false)),
            ("/seen/0/text", json!("a document at localhost:1")),
            ("/seen/1/asked", json!(FIRST)),
            ("/seen/1/fresh", json!([])),
        ];
        for (place, value) in wrong {
            let mut report = good();
            *report.pointer_mut(place).unwrap() = value;
            assert!(judge(TYPESCRIPT, None, &report).is_err(), "{place}: {report}");
        }
        assert!(judge(TYPESCRIPT, Some(DOCUMENT), &good()).is_err());
    }
}
