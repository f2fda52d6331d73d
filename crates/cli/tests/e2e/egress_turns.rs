//! A caller who leaves while the server works for it does not hand its call to the next one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::delegation::SampleApi;
use crate::journey::{agent, await_tools, organised_with};
use crate::support::{Connected, Folder, Serving, free_address};

/// One process for all callers. Its tool asks the API for one invoice after the other, and before each
/// but the first it waits for a file.
const SERVER: &str = r#"
import json, os, sys, time, urllib.error, urllib.request
def ask(number, id, file):
    while number and not os.path.exists(file):
        time.sleep(0.01)
    try:
        urllib.request.urlopen(os.environ["API_URL"] + "/invoices/" + id).read()
    except urllib.error.HTTPError as error:
        return error.code
    return 200
tool = {"name": "ask", "description": "ask", "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True}}
for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message["method"], message.get("id"), message.get("params", {})
    if id is None:
        continue
    answer = {"error": {"code": -32601, "message": "no"}}
    result = {"resultType": "complete"}
    if method == "server/discover":
        answer = {"result": dict(result, supportedVersions=["2026-07-28"], capabilities={"tools": {}})}
    elif method == "tools/list":
        answer = {"result": dict(result, tools=[tool])}
    elif method == "tools/call":
        given = params["arguments"]
        told = [ask(number, id, given["file"]) for number, id in enumerate(given["ids"])]
        answer = {"result": dict(result, content=[{"type": "text", "text": json.dumps(told)}])}
    print(json.dumps(dict({"jsonrpc": "2.0", "id": id}, **answer)), flush=True)
"#;

struct World {
    folder: Folder,
    serving: Serving,
    api: SampleApi,
}

impl World {
    fn new(test: &str) -> Self {
        let (folder, api, guard) = (Folder::new(test), SampleApi::start(), free_address());
        let url = format!("http://{guard}/billing");
        let (serving, issuer) = organised_with(
            &folder,
            &format!(
                "[[guard]]\npublic_url = \"{url}\"\nlisten = \"{guard}\"\n\
                 upstream = \"http://{}\"\n\
                 [[egress]]\nserver = \"slow\"\nresource = \"{url}\"\nvariable = \"API_URL\"\n",
                api.address
            ),
        );
        let run = |arguments: &[&str]| folder.attorn(arguments).expect(0);
        run(&["server", "register", "slow", "--owner", "finance", "--", "python3", "-c", SERVER]);
        await_tools(&folder, "slow");
        run(&["tools", "approve", "slow"]);
        run(&["resource", "register", "billing", "--owner", "finance", "--url", &url]);
        let add = ["resource", "operation", "add", "billing", "invoice.get", "--method", "GET"];
        run(&[&add[..], &["--path", "/invoices/{id}", "--class", "read"]].concat());
        let allow = ["server", "downstream", "allow", "slow", "billing"];
        run(&[&allow[..], &["--from", "read:ask", "--to", "read:invoice.get"]].concat());
        for name in ["first", "second"] {
            agent(&folder, &issuer, name, &[("slow", "read:ask")]);
        }
        Self { folder, serving, api }
    }

    fn search(&self, options: &[&str]) -> Vec<Value> {
        let search = [&["audit", "search", "-o", "json"], options].concat();
        self.folder.attorn(&search).json().as_array().cloned().unwrap_or_default()
    }

    /// The decision about the one call of an agent.
    fn decision(&self, agent: &str) -> Option<Value> {
        let found = self.search(&["--kind", "call.decided", "--agent", agent]);
        found
            .into_iter()
            .find(|entry| entry["tool"] == "ask")
            .map(|entry| entry["decision_id"].clone())
    }

    /// Whether the one call of an agent has ended.
    fn has_ended(&self, agent: &str) -> bool {
        let decision = self.decision(agent);
        let completed = self.search(&["--kind", "call.completed", "--limit", "20"]);
        decision.is_some_and(|id| completed.iter().any(|entry| entry["decision_id"] == id))
    }

    fn connected(&self, agent: &str) -> Connected {
        Connected::bare(Connected::command(&self.folder, "slow", agent))
    }

    fn asked(&self) -> Vec<String> {
        let calls = self.api.calls();
        let paths = calls.as_array().unwrap().iter().map(|call| &call["path"]);
        paths.map(|path| path.as_str().unwrap().to_owned()).collect()
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut tries = 0..1_000;
    while !is_so() {
        assert!(tries.next().is_some(), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ask(ids: &[&str], file: &Path) -> String {
    let arguments = json!({ "ids": ids, "file": file });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "ask", "arguments": arguments, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

#[test]
fn a_caller_who_leaves_does_not_hand_its_call_to_the_next() {
    let world = World::new("egress-left");
    let World { folder, .. } = &world;
    let file = folder.path().join("go");
    let mut first = world.connected("first");
    first.tell(&ask(&["first-1", "first-2"], &file));
    until("the first call never asked", || world.asked() == ["/invoices/first-1"]);
    drop(first);
    until("the first call never ended", || world.has_ended("first"));

    // The server still works for who left. The second call waits for it.
    let answer = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut second = world.connected("second");
            second.ask(&ask(&["second-1"], &file))
        });
        until("no second call", || world.decision("second").is_some());
        fs::write(&file, "").unwrap();
        second.join().unwrap()
    });
    // The sample API knows no such invoice, and was asked for it.
    assert!(answer.to_string().contains("[404]"), "{answer}");
    assert_eq!(world.asked(), ["/invoices/first-1", "/invoices/second-1"]);
    let search = ["audit", "search", "--reason", "downstream.unattributed", "-o", "json"];
    let refused = folder.attorn(&search).expect(0).json();
    assert_eq!(refused.as_array().map(Vec::len), Some(1), "{refused}");
    let is_of_nobody = |entry: &Value| entry["role"] == "egress" && entry["agent"].is_null();
    assert!(refused.as_array().unwrap().iter().all(is_of_nobody), "{refused}");
    world.serving.stop();
}

/// The twin: who stays is asked for to the end.
#[test]
fn a_caller_who_stays_gets_all_its_requests() {
    let world = World::new("egress-stayed");
    let file = world.folder.path().join("go");
    fs::write(&file, "").unwrap();
    let mut first = world.connected("first");
    let answer = first.ask(&ask(&["first-1", "first-2"], &file));
    assert!(answer.to_string().contains("[404, 404]"), "{answer}");
    assert_eq!(world.asked(), ["/invoices/first-1", "/invoices/first-2"]);
    drop(first);
    world.serving.stop();
}
