//! Other people's clients that act for a person, who answers in a real browser: both official SDKs, known by
//! a document and by registration, with proofs of their own and without, and a strict OAuth library.
//!
//! Each SDK is let in for one tool, steps up to a second one when the gateway asks for more, never sees a third,
//! and goes on when its token has ended. What the scripts report is judged here, and so is what the journal says of the same.

use serde_json::{Value, json};

use super::node_binary;
use crate::peopled_installation::{PeopledInstallation, SERVER, script};
use crate::step::StepFailed;

/// One SDK, and what it is asked to be.
#[derive(Clone, Copy, Debug)]
struct Run {
    client: &'static str,
    script: &'static str,
    is_document: bool,
    /// How its tokens are bound, by the name that they have.
    token_type: &'static str,
    /// How often the person is asked: without a refresh token, once more when the token has ended.
    asked: usize,
}

const TYPESCRIPT: Run = Run {
    client: "typescript",
    script: "sdk-code.mjs",
    is_document: false,
    token_type: "DPoP",
    asked: 2,
};
const PYTHON: Run = Run {
    client: "python",
    script: "sdk_code.py",
    is_document: false,
    token_type: "Bearer",
    asked: 3,
};
const CONNECT: &str = "connect-code.mjs";
const STRICT: &str = "oauth4webapi-code.mjs";

pub(super) fn run() -> Result<(), StepFailed> {
    let world = PeopledInstallation::start()?;
    strict(&world, false)?;
    strict(&world, true)?;
    connect(&world)?;
    sdk(&world, TYPESCRIPT)?;
    sdk(&world, Run { is_document: true, ..TYPESCRIPT })?;
    // The Python SDK makes no proofs. Until the owner says so, there is nothing for it.
    let report = play(&world, PYTHON.script, None)?;
    if report.get("ok") != Some(&Value::Bool(false)) || !report.to_string().contains("proof") {
        return Err(failed(PYTHON.script, "it was let in without a proof", &report));
    }
    world.accept_bearer()?;
    sdk(&world, PYTHON)?;
    sdk(&world, Run { is_document: true, ..PYTHON })?;
    let entries = world.installation.journal_entries(0)?;
    recorded(&entries).map_err(StepFailed::Check)?;
    world.installation.verify_journal()
}

fn strict(world: &PeopledInstallation, is_document: bool) -> Result<(), StepFailed> {
    let report = play(world, STRICT, is_document.then_some(&world.document))?;
    succeeded(&report).map_err(|what| failed(STRICT, &what, &report))?;
    println!("a person by oauth4webapi, which {}: ok", known(is_document));
    Ok(())
}

fn sdk(world: &PeopledInstallation, run: Run) -> Result<(), StepFailed> {
    let report = play(world, run.script, run.is_document.then_some(&world.document))?;
    let document = run.is_document.then_some(world.document.as_str());
    judge(run, document, &report).map_err(|what| failed(run.script, &what, &report))?;
    let (known, kind) = (known(run.is_document), run.token_type);
    println!("a person by {}, which {known}, with {kind} tokens: ok", run.client);
    Ok(())
}

/// `attorn connect` as the command of a client that knows nothing of all this.
fn connect(world: &PeopledInstallation) -> Result<(), StepFailed> {
    let report = play(world, CONNECT, None)?;
    judge_connect(&report).map_err(|what| failed(CONNECT, &what, &report))?;
    println!("a person by attorn connect, asked twice, and not again after a restart: ok");
    Ok(())
}

fn judge_connect(report: &Value) -> Result<(), String> {
    succeeded(report)?;
    let seen = report.get("seen").and_then(Value::as_array);
    let [first, second] = seen.map(Vec::as_slice).unwrap_or_default() else {
        return Err("the person was not asked twice".to_owned());
    };
    let opened = |seen: &Value| seen.get("opened").and_then(Value::as_str).map(str::to_owned);
    let pushed = [first, second].map(|seen| opened(seen).unwrap_or_default());
    let tools = names(report.get("tools"));
    for (holds, what) in [
        (first.get("logged_in") == Some(&Value::Bool(true)), "the person did not log in"),
        (pushed.iter().all(|url| url.contains("request_uri=")), "a request was not pushed"),
        (!pushed.iter().any(|url| url.contains("scope=")), "the address says what is asked for"),
        (tools.iter().any(|name| name == "add_note"), "what the person can give is not listed"),
        (!tools.iter().any(|name| name == HIDDEN), "what the person cannot give is listed"),
        (report.get("hidden_refused") == Some(&Value::Bool(true)), "a hidden tool was called"),
        (names(second.get("fresh")).iter().any(|one| one == SECOND), "it was not marked as new"),
    ] {
        if !holds {
            return Err(what.to_owned());
        }
    }
    Ok(())
}

fn names(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Lets one script act for the person.
fn play(
    world: &PeopledInstallation,
    name: &str,
    document: Option<&String>,
) -> Result<Value, StepFailed> {
    let scene = json!({
        "url": world.installation.addresses().resource(SERVER),
        "node": node_binary(),
        "attorn": crate::installation::binary(),
        "person": PeopledInstallation::person(),
        "document": document,
        "first": { "tool": "get_invoice", "right": FIRST, "answer": "inv-1001",
                   "arguments": { "id": "inv-1001" } },
        "second": { "tool": "add_note", "right": SECOND, "answer": "looked at",
                    "arguments": { "id": "inv-1001", "note": "looked at" } },
        "hidden": HIDDEN,
    });
    let text = script(name, &scene)?;
    serde_json::from_str(&text)
        .map_err(|_| failed(name, "it printed no report", &Value::String(text)))
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
    let tools = names(report.get("tools"));
    let has = |tool: &str| tools.iter().any(|name| name == tool);
    let seen = report.get("seen").and_then(Value::as_array);
    let seen = seen.map(Vec::as_slice).unwrap_or_default();
    let [first, second, ..] = seen else {
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
        (seen.len() == run.asked, "the person was asked too often, or not again"),
        (report.get("outlived") == Some(&Value::Bool(true)), "it has the token that ended"),
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
        // Two by each run of the strict library, the TypeScript SDK and `connect`, three by each of the Python SDK, and
        // one by the run that got nothing.
        ("consent.given", "decision", "permit", 2 * 2 + 3 * 2 + 2 * 3 + 1),
        ("consent.refused", "reason", "consent.denied", 2),
        ("token.replayed", "reason", "refresh.replayed", 2),
        // Of each run of an SDK and of `connect`, one step up and one call of what is hidden.
        ("call.decided", "reason", "scope.missing", 5 * 2),
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
    // Four by each of seven runs.
    let expected = 7 * 4;
    if of_tools == expected {
        return Ok(());
    }
    Err(format!("{of_tools} calls of tools instead of {expected}"))
}

const fn known(is_document: bool) -> &'static str {
    if is_document { "is a document" } else { "registered itself" }
}

fn failed(script: &str, what: &str, report: &Value) -> StepFailed {
    StepFailed::Check(format!("{script}: {what}: {report}"))
}

const FIRST: &str = "read:get_invoice";
const SECOND: &str = "write:add_note";
const HIDDEN: &str = "pay_invoice";

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "https://localhost:1/app.json";

    fn good() -> Value {
        json!({
            "ok": true, "client_id": "agt_a", "token_type": "DPoP", "first": FIRST,
            "second": format!("{FIRST} {SECOND}"), "tools": ["add_note", "get_invoice"],
            "hidden_refused": true, "outlived": true,
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
            ("/outlived", json!(false)),
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
        let once_more = Run { asked: 3, ..TYPESCRIPT };
        assert!(judge(once_more, None, &good()).is_err());
    }

    #[test]
    fn each_part_of_a_report_of_connect_counts() {
        let seen = |fresh: &[&str]| json!({ "logged_in": true, "opened": "http://i/authorize?request_uri=u", "fresh": fresh });
        let good = json!({
            "ok": true, "tools": ["add_note", "get_invoice"], "hidden_refused": true,
            "seen": [seen(&[]), seen(&[SECOND])],
        });
        assert_eq!(judge_connect(&good), Ok(()));
        for (place, value) in [
            ("/ok", json!(false)),
            ("/tools", json!(["get_invoice"])),
            ("/tools", json!(["add_note", HIDDEN])),
            ("/hidden_refused", json!(false)),
            ("/seen", json!([seen(&[]), seen(&[SECOND]), seen(&[])])),
            ("/seen/0/logged_in", json!(false)),
            ("/seen/0/opened", json!("http://i/authorize?scope=read%3Aa")),
            ("/seen/1/fresh", json!([])),
        ] {
            let mut report = good.clone();
            *report.pointer_mut(place).unwrap() = value;
            assert!(judge_connect(&report).is_err(), "{place}: {report}");
        }
    }
}
