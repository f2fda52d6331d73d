//! From an empty folder to a call, a refusal, a lock and a verified export.

use std::fs;

use crate::support::{ATTORN, Connected, Folder, Listening, Serving, write_config};

/// An administrator and an owner, and the address of the issuer.
pub(crate) fn organised(folder: &Folder) -> (Serving, String) {
    organised_with(folder, "")
}

/// The same; `more` is added to the end of the configuration, which is the table `[listen]`.
pub(crate) fn organised_with(folder: &Folder, more: &str) -> (Serving, String) {
    let issuer = write_config(folder);
    let path = folder.path().join("attorn.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + more).unwrap();
    folder.attorn(&["init"]).expect(0);
    let serving = Serving::start(folder);
    folder.attorn(&["enroll", "--url", &issuer, "--code", "@state/first-admin.code"]).expect(0);
    folder.attorn(&["whoami"]).expect(0);
    folder.attorn(&["owner", "create", "finance"]).expect(0);
    (serving, issuer)
}

/// An enrolled agent with these grants.
pub(crate) fn agent(folder: &Folder, issuer: &str, name: &str, grants: &[(&str, &str)]) {
    let code = format!("{name}.code");
    let register = ["agent", "register", name, "--owner", "finance", "--code-file", &code];
    let registered = folder.attorn(&register).expect(0);
    let secret = fs::read_to_string(folder.path().join(&code)).unwrap();
    assert!(
        !registered.out.contains(secret.trim()),
        "the code was shown although a file was named"
    );
    for (server, pattern) in grants {
        folder.attorn(&["grant", "create", name, server, pattern]).expect(0);
    }
    let code = format!("@{code}");
    folder.attorn(&["agent", "enroll", "--url", issuer, "--code", &code]).expect(0);
}

/// An administrator, the sample server with approved tools, and an agent that may read.
pub(crate) fn installed(folder: &Folder) -> Serving {
    installed_with(folder, "")
}

/// The same, with more at the end of the configuration.
pub(crate) fn installed_with(folder: &Folder, more: &str) -> Serving {
    let (serving, issuer) = organised_with(folder, more);
    let register =
        ["server", "register", "invoices", "--owner", "finance", "--", ATTORN, "sample-mcp-server"];
    folder.attorn(&register).expect(0);
    await_tools(folder, "invoices");
    folder.attorn(&["tools", "diff", "invoices"]).expect(1);
    folder.attorn(&["tools", "approve", "invoices"]).expect(0);
    folder.attorn(&["tools", "diff", "invoices"]).expect(0);
    agent(folder, &issuer, "reader", &[("invoices", "read:*")]);
    serving
}

/// The gateway lists a new server by itself; asking again is how a person waits, too.
pub(crate) fn await_tools(folder: &Folder, server: &str) {
    let listed = || folder.attorn(&["server", "tools", server, "-o", "json"]).expect(0).json();
    let mut tries = 0..200;
    while listed().as_array().is_none_or(Vec::is_empty) {
        assert!(tries.next().is_some(), "the gateway never listed the server's tools");
    }
}

#[test]
fn a_granted_call_passes_and_leaves_a_trace() {
    let folder = Folder::new("journey");
    let serving = installed(&folder);
    let mut connected = Connected::start(&folder, "invoices", "reader");

    let names = connected.tool_names(1);
    assert!(names.contains(&"get_invoice".to_owned()), "{names:?}");
    assert!(!names.contains(&"pay_invoice".to_owned()), "a refused tool is listed: {names:?}");
    let answer = connected.call(2, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("inv-1001"), "{answer}");
    let hidden = connected.call(3, "pay_invoice", r#"{"id":"inv-1001"}"#);
    let unknown = connected.call(3, "no_such_tool", r#"{"id":"inv-1001"}"#);
    assert_eq!(hidden.get("result"), None, "{hidden}");
    assert_eq!(hidden["error"]["code"], unknown["error"]["code"]);

    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(0);
    let why = folder.attorn(&["can-i", "reader", "invoices/pay_invoice"]).expect(1);
    assert!(why.out.contains("FAIL"), "{}", why.out);
    folder.attorn(&["explain", "--last"]).expect(1);
    let denied = ["audit", "search", "--decision", "deny", "--kind", "call.decided", "-o", "json"];
    assert_ne!(folder.attorn(&denied).expect(0).json().as_array().unwrap().len(), 0);

    folder.attorn(&["audit", "export", "--to", "export.json"]).expect(0);
    folder.attorn(&["audit", "verify", "export.json"]).expect(0);
    let path = folder.path().join("export.json");
    let changed =
        fs::read_to_string(&path).unwrap().replacen("\"first-operator\"", "\"first-operatos\"", 1);
    fs::write(&path, changed).unwrap();
    let broken = folder.attorn(&["audit", "verify", "export.json", "-o", "json"]).expect(4);
    assert!(broken.json()["index"].is_u64(), "{}", broken.out);
    drop(connected);
    serving.stop();
}

#[test]
fn a_lock_refuses_at_once() {
    let folder = Folder::new("lock");
    let serving = installed(&folder);
    let mut connected = Connected::start(&folder, "invoices", "reader");
    let arguments = r#"{"id":"inv-1001"}"#;
    let answer = connected.call(1, "get_invoice", arguments);
    assert!(answer.get("result").is_some(), "{answer}");

    let dry = ["lock", "create", "agent/reader", "--reason", "test", "--dry-run"];
    folder.attorn(&dry).expect(0);
    assert!(connected.call(2, "get_invoice", arguments).get("result").is_some());

    folder.attorn(&["lock", "create", "agent/reader", "--reason", "test"]).expect(0);
    let refused = connected.call(3, "get_invoice", arguments);
    assert!(!refused.to_string().contains("Ada Shipping"), "{refused}");
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(1);

    let locks = folder.attorn(&["lock", "list", "-o", "json"]).expect(0).json();
    let lock = locks[0]["id"].as_str().unwrap().to_owned();
    folder.attorn(&["lock", "lift", &lock, "--reason", "test is over"]).expect(0);
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(0);
    serving.stop();
}

#[test]
fn a_restart_keeps_everything() {
    let folder = Folder::new("restart");
    installed(&folder).stop();
    let again = Serving::start(&folder);
    folder.attorn(&["doctor"]).expect(0);
    folder.attorn(&["doctor", "invoices", "--client", "reader"]).expect(0);
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(0);
    let second = Serving::start_refused(&folder);
    assert_eq!(second.code, 2, "{}", second.err);
    again.stop();
}

#[test]
fn a_loopback_port_wants_its_secret_path() {
    let folder = Folder::new("listen");
    let serving = installed(&folder);
    let listening = Listening::start(&folder, "invoices", "reader");
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let answer = listening.post(&listening.path, hello);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("serverInfo"), "{answer}");
    let refused = listening.post("/mcp", hello);
    assert!(!refused.starts_with("HTTP/1.1 200") && !refused.contains("serverInfo"), "{refused}");
    drop(listening);
    serving.stop();
}
