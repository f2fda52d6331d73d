//! Classes by argument, constraints of grants, and the second owner, as people type them.

use std::fs;

use attorn_testkit::canary::Canary;
use serde_json::{Value, json};

use crate::journey::{agent, organised};
use crate::support::{Connected, Folder, Serving};

fn tools() -> Value {
    json!([
        {"name": "db", "description": "Asks or changes the database.", "inputSchema": {
            "type": "object", "properties": {"mode": {"enum": ["read", "write", "drop"]}}}},
        {"name": "pay", "description": "Pays.", "inputSchema": {"type": "object"}}
    ])
}

fn live(folder: &Folder, canary: &Canary) -> (Serving, String) {
    let (serving, issuer) = organised(folder);
    let url = canary.url();
    folder.attorn(&["server", "register", "crm", "--owner", "finance", "--url", &url]).expect(0);
    let listed = || folder.attorn(&["tools", "list", "crm", "-o", "json"]).expect(0).json();
    let mut tries = 0..200;
    while listed().as_array().is_none_or(Vec::is_empty) {
        assert!(tries.next().is_some(), "the gateway never listed the server's tools");
    }
    folder.attorn(&["tools", "approve", "crm"]).expect(0);
    (serving, issuer)
}

#[test]
fn a_tool_whose_arguments_decide_has_several_scopes() {
    let folder = Folder::new("classes");
    let canary = Canary::start(tools()).unwrap();
    let (serving, issuer) = live(&folder, &canary);
    // What the definition suggests is printed, and nothing is changed by it.
    let proposed = folder.attorn(&["tools", "classify", "crm/db", "--propose"]).expect(0).out;
    assert!(
        proposed.contains("--when /mode=read:read") || proposed.contains("'/mode=read:read'"),
        "{proposed}"
    );
    let shown = folder.attorn(&["tools", "list", "crm", "-o", "json"]).expect(0).json();
    assert_eq!(shown[0]["rules"], json!([]));

    let classify = [
        "tools",
        "classify",
        "crm/db",
        "write",
        "--when",
        "/mode=read:read",
        "--when",
        "/mode=drop:irreversible",
    ];
    folder.attorn(&classify).expect(0);
    let listed = folder.attorn(&["tools", "list", "crm"]).expect(0).out;
    assert!(listed.contains("/mode=read:read; /mode=drop:irreversible"), "{listed}");
    agent(&folder, &issuer, "reader", &[("crm", "read:db")]);
    let mut connected = Connected::start(&folder, "crm", "reader");
    assert_eq!(connected.tool_names(1), ["db"]);
    let read = connected.call(2, "db", r#"{"mode":"read"}"#);
    assert!(read.get("result").is_some_and(|result| result["isError"] != true), "{read}");
    for arguments in [r#"{"mode":"write"}"#, r#"{"mode":"drop"}"#, r#"{"mode":["read"]}"#, "{}"] {
        let refused = connected.call(3, "db", arguments);
        assert_eq!(refused["result"]["isError"], true, "{arguments}: {refused}");
    }
    for (arguments, code) in [(r#"{"mode":"read"}"#, 0), (r#"{"mode":"write"}"#, 1)] {
        fs::write(folder.path().join("arguments.json"), arguments).unwrap();
        folder.attorn(&["can-i", "reader", "crm/db", "--args", "@arguments.json"]).expect(code);
    }
    for wrong in ["/mode=read", "mode=read:read", "/mode=read:admin"] {
        folder.attorn(&["tools", "classify", "crm/db", "write", "--when", wrong]).expect(2);
    }
    let calls = canary.take_seen();
    let forwarded = calls.iter().filter(|seen| seen.rpc_method().as_deref() == Some("tools/call"));
    assert_eq!(forwarded.count(), 1);
    drop(connected);
    serving.stop();
}

#[test]
fn a_grant_may_say_which_arguments_and_how_many_calls() {
    let folder = Folder::new("constraints");
    let canary = Canary::start(tools()).unwrap();
    let (serving, issuer) = live(&folder, &canary);
    agent(&folder, &issuer, "payer", &[]);
    let detail = json!({"type": "mcp_tool_call", "tool": "pay", "max_calls": 2, "arguments":
        {"required": ["amount"], "properties": {"amount": {"maximum": 50}}}});
    fs::write(folder.path().join("small.json"), detail.to_string()).unwrap();
    let create = [
        "grant",
        "create",
        "payer",
        "crm",
        "write:pay",
        "--constraint",
        "@small.json",
        "--expires",
        "1h",
    ];
    folder.attorn(&create).expect(0);
    let mut connected = Connected::start(&folder, "crm", "payer");
    let is_paid =
        |answer: &Value| answer["result"].is_object() && answer["result"]["isError"] != true;
    let paid = connected.call(1, "pay", r#"{"amount":50}"#);
    assert!(is_paid(&paid), "{paid}");
    let beyond = connected.call(2, "pay", r#"{"amount":51}"#);
    assert!(!is_paid(&beyond) && beyond.to_string().contains("constraint.violated"), "{beyond}");
    assert!(beyond.to_string().contains("dec_"), "{beyond}");
    assert!(is_paid(&connected.call(3, "pay", r#"{"amount":1}"#)));
    let spent = connected.call(4, "pay", r#"{"amount":1}"#);
    assert!(!is_paid(&spent) && spent.to_string().contains("constraint.violated"), "{spent}");
    drop(connected);
    serving.stop();

    // A restart does not give the calls back.
    let serving = Serving::start(&folder);
    let mut connected = Connected::start(&folder, "crm", "payer");
    let spent = connected.call(1, "pay", r#"{"amount":1}"#);
    assert!(!is_paid(&spent), "{spent}");
    for bad in [
        json!({"type": "payment", "tool": "pay", "max_calls": 1}),
        json!({"type": "mcp_tool_call", "tool": "pay", "arguments": {"$ref": "http://127.0.0.1:9/s"}}),
        json!({"type": "mcp_tool_call", "tool": "pay", "arguments": {"maximun": 5}}),
        json!([]),
    ] {
        fs::write(folder.path().join("bad.json"), bad.to_string()).unwrap();
        let create = ["grant", "create", "payer", "crm", "write:pay", "--constraint", "@bad.json"];
        folder.attorn(&create).expect(2);
    }
    drop(connected);
    serving.stop();
}

#[test]
fn a_grant_that_joins_all_three_effects_waits_for_a_second_owner() {
    let folder = Folder::new("triple");
    let canary = Canary::start(tools()).unwrap();
    let (serving, issuer) = live(&folder, &canary);
    serving.stop();
    let path = folder.path().join("attorn.toml");
    let config = fs::read_to_string(&path).unwrap();
    let config = config.replace("[authority]\n", "[authority]\nsecond_owner_for_triple = true\n");
    fs::write(&path, config).unwrap();
    let serving = Serving::start(&folder);
    let effects = ["--effect", "reads-private", "--effect", "takes-untrusted"];
    folder.attorn(&[&["tools", "classify", "crm/db"][..], &effects].concat()).expect(0);
    folder.attorn(&["tools", "classify", "crm/pay", "--effect", "sends-outside"]).expect(0);
    agent(&folder, &issuer, "mixer", &[("crm", "write:db")]);
    folder.attorn(&["can-i", "mixer", "crm/db"]).expect(0);
    let made = folder.attorn(&["grant", "create", "mixer", "crm", "write:pay", "-o", "json"]);
    let made = made.expect(0).json();
    assert_eq!(made["awaits_second"], true, "{made}");
    let id = made["id"].as_str().unwrap();
    folder.attorn(&["can-i", "mixer", "crm/pay"]).expect(1);
    let listed = folder.attorn(&["grant", "list"]).expect(0).out;
    assert!(listed.contains("finding:") && listed.contains("grant confirm"), "{listed}");
    assert!(folder.attorn(&["doctor"]).expect(0).out.contains("FIND"));
    // Not by who gave it.
    let own = folder.attorn(&["grant", "confirm", id, "--reason", "mine"]).expect(1);
    assert!(own.err.contains("approval.self"), "{}", own.err);
    // By another operator under another owner.
    folder.attorn(&["owner", "create", "security"]).expect(0);
    let second = [
        "agent",
        "register",
        "second",
        "--owner",
        "security",
        "--operator",
        "--code-file",
        "code2",
    ];
    folder.attorn(&second).expect(0);
    folder
        .attorn(&["grant", "create", "second", "admin", "write:grant.confirm", "read:grant.list"])
        .expect(0);
    let profile = folder.path().join("second").display().to_string();
    folder
        .attorn(&["enroll", "--profile", &profile, "--url", &issuer, "--code", "@code2"])
        .expect(0);
    folder
        .attorn(&["grant", "confirm", id, "--reason", "asked ann", "--profile", &profile])
        .expect(0);
    folder.attorn(&["can-i", "mixer", "crm/pay"]).expect(0);
    serving.stop();
}
