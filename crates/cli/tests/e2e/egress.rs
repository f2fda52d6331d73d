//! An MCP server that knows nothing of Attorn calls its API through us: each request in the name of the
//! call that caused it, and of no other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::delegation::{SampleApi, send};
use crate::journey::{agent, installed_with};
use crate::support::{Connected, Folder, Serving, free_address};

/// The server `invoices`, its way out, a guard, and the sample API behind that.
struct World {
    folder: Folder,
    serving: Serving,
    api: SampleApi,
    /// An address of the way out for servers that pass their trace on.
    traced: String,
}

impl World {
    fn new(test: &str) -> Self {
        Self::with(test, "")
    }

    /// With more of a configuration.
    fn with(test: &str, more: &str) -> Self {
        let (folder, api) = (Folder::new(test), SampleApi::start());
        let (guard, traced) = (free_address(), free_address());
        let url = format!("http://{guard}/billing");
        let serving = installed_with(
            &folder,
            &format!(
                "[[guard]]\npublic_url = \"{url}\"\nlisten = \"{guard}\"\n\
                 upstream = \"http://{}\"\n\
                 [[egress]]\nserver = \"invoices\"\nresource = \"{url}\"\n\
                 variable = \"INVOICES_API_URL\"\nlisten = \"{traced}\"\n{more}",
                api.address
            ),
        );
        register_billing(&folder, &url);
        Self { folder, serving, api, traced }
    }

    /// The entries of one role with this reason, newest first.
    fn refused(&self, reason: &str) -> Vec<Value> {
        let search = ["audit", "search", "--reason", reason, "--limit", "20", "-o", "json"];
        let found = self.folder.attorn(&search).json();
        let all = found.as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|entry| entry["role"] == "egress").collect()
    }
}

/// One operation, and a rule that gives it for one tool.
pub(crate) fn register_billing(folder: &Folder, url: &str) {
    let run = |arguments: &[&str]| folder.attorn(arguments).expect(0);
    run(&["resource", "register", "billing", "--owner", "finance", "--url", url]);
    let operation = |id: &str, path: &str| {
        let add = ["resource", "operation", "add", "billing", id, "--method", "GET"];
        run(&[&add[..], &["--path", path, "--class", "read"]].concat());
    };
    operation("invoice.get", "/invoices/{id}");
    let rule = ["--from", "read:get_invoice", "--to", "read:invoice.get"];
    run(&[&["server", "downstream", "allow", "invoices", "billing"][..], &rule].concat());
}

fn agent_ids(folder: &Folder) -> BTreeMap<String, String> {
    let listed = folder.attorn(&["agent", "list", "-o", "json"]).expect(0).json();
    let text = |agent: &Value, member: &str| agent[member].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|one| (text(one, "id"), text(one, "name"))).collect()
}

#[test]
fn an_unmodified_server_asks_its_api_in_the_name_of_each_call() {
    let world = World::new("egress");
    let World { folder, api, .. } = &world;
    let told = folder.attorn(&["doctor"]).expect(0).out;
    let has = |line: &str| told.contains(line);
    assert!(has("billing, active, 1 operations") && has("egress invoices ok"), "{told}");
    let mut connected = Connected::start(folder, "invoices", "reader");
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    let names = agent_ids(folder);
    let calls = api.calls();
    let call = &calls.as_array().unwrap()[0];
    assert_eq!(names[call["agent"].as_str().unwrap()], "reader");
    assert_eq!(call["subject"], call["agent"]);
    let actors = call["actors"].as_array().unwrap();
    assert!(actors.len() == 1 && actors[0].as_str().unwrap().starts_with("srv_"), "{call}");

    // The chain, from the API's own record back to the token.
    let decision = call["decision"].as_str().unwrap();
    let trace = folder.attorn(&["audit", "trace", decision, "-o", "json"]).expect(0);
    for kind in ["token.issued", "call.decided", "token.exchanged", "resource.accessed"] {
        assert!(trace.out.contains(kind), "{kind} is missing: {}", trace.out);
    }

    // A tool whose operation the API does not list, then one that no rule gives.
    let search = r#"{"query":"ada"}"#;
    let answer = connected.call(2, "search_invoices", search);
    assert!(!answer.to_string().contains("Ada Shipping"), "{answer}");
    assert_eq!(world.refused("operation.unknown").len(), 1);
    let add = ["resource", "operation", "add", "billing", "invoice.search", "--method", "GET"];
    folder.attorn(&[&add[..], &["--path", "/invoices", "--class", "read"]].concat()).expect(0);
    let answer = connected.call(3, "search_invoices", search);
    assert!(!answer.to_string().contains("Ada Shipping"), "{answer}");
    let missing = world.refused("scope.missing");
    assert_eq!(missing[0]["detail"]["operation"], "invoice.search", "{missing:?}");
    let rule = ["--from", "read:search_invoices", "--to", "read:invoice.search"];
    let allow = ["server", "downstream", "allow", "invoices", "billing"];
    folder.attorn(&[&allow[..], &rule].concat()).expect(0);
    let answer = connected.call(4, "search_invoices", search);
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    assert_eq!(api.calls().as_array().unwrap().len(), 2, "refused requests reached the API");

    // A lock on the API reaches the way out.
    let lock = ["lock", "create", "resource/billing", "--reason", "test", "--expires", "1h"];
    folder.attorn(&lock).expect(0);
    let answer = connected.call(5, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(!answer.to_string().contains("Ada Shipping"), "{answer}");
    assert!(!world.refused("lock.active").is_empty());
    drop(connected);
    world.serving.stop();
}

/// A person approved the call: the API's own record, the guard's, ours and the token's name it.
#[test]
fn what_a_person_approved_is_known_by_its_name_as_far_as_the_api() {
    let world = World::new("egress-approved");
    let World { folder, api, .. } = &world;
    let run = |arguments: &[&str]| folder.attorn(arguments).expect(0);
    let add = ["resource", "operation", "add", "billing", "invoice.pay", "--method", "POST"];
    run(&[&add[..], &["--path", "/invoices/{id}/pay", "--class", "irreversible"]].concat());
    let rule = ["--from", "irreversible:pay_invoice", "--to", "irreversible:invoice.pay"];
    run(&[&["server", "downstream", "allow", "invoices", "billing"][..], &rule].concat());
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let issuer = config.split("issuer = \"").nth(1).unwrap().split('"').next().unwrap();
    let grants = [("invoices", "read:get_invoice"), ("invoices", "irreversible:pay_invoice")];
    agent(folder, issuer, "payer", &grants);
    let mut connected = Connected::start(folder, "invoices", "payer");
    let invoice = r#"{"id":"inv-1001"}"#;
    // The same caller reads, and nobody was asked about that.
    connected.call(1, "get_invoice", invoice);
    let waits = connected.call(2, "pay_invoice", invoice);
    let id = waits["result"]["_meta"]["dev.attorn/approval"].as_str().unwrap().to_owned();
    run(&["request", "approve", &id, "--reason", "looked at it"]);
    let paid = connected.call(3, "pay_invoice", invoice);
    assert!(paid.to_string().contains("paid"), "{paid}");
    let calls = api.calls();
    let [read, pay] = calls.as_array().unwrap().as_slice() else { panic!("{calls}") };
    assert_eq!((&read["approval"], &pay["approval"]), (&Value::Null, &id.as_str().into()));

    let found = |kind: &str| {
        let search = ["audit", "search", "--kind", kind, "--limit", "50", "-o", "json"];
        folder.attorn(&search).json().as_array().cloned().unwrap_or_default()
    };
    let is_of = |entry: &&Value| entry["approval"] == id.as_str();
    let exchanged = found("token.exchanged");
    assert_eq!((exchanged.len(), exchanged.iter().filter(is_of).count()), (2, 1), "{exchanged:?}");
    let accessed = found("resource.accessed");
    let roles: Vec<_> = accessed.iter().filter(is_of).map(|entry| &entry["role"]).collect();
    assert!(roles.len() == 2 && roles.contains(&&"egress".into()), "{accessed:?}");
    assert!(roles.contains(&&"guard".into()), "{accessed:?}");
    // From the approval to all of it, and in the trace of the call itself.
    let trace = folder.attorn(&["audit", "trace", &id, "-o", "json"]).expect(0);
    for kind in ["approval.approved", "call.decided", "token.exchanged", "resource.accessed"] {
        assert!(trace.out.contains(kind), "{kind} is missing: {}", trace.out);
    }
    assert!(!trace.out.contains("exchange_untraced"), "{}", trace.out);
    drop(connected);
    world.serving.stop();
}

/// What a collector of spans was sent, over OTLP in JSON.
struct Collector {
    address: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
        let told = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split('\r').next()?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                if stream.read_exact(&mut body).is_err() {
                    continue;
                }
                let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
                let found = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"];
                told.lock().unwrap().extend(found.as_array().cloned().unwrap_or_default());
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { address, spans }
    }

    /// Waits for a span of this name.
    fn wait(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..500 {
            let told = self.spans.lock().unwrap();
            if let Some(found) = told.iter().find(|span| span["name"] == name && is_it(span)) {
                return found.clone();
            }
            drop(told);
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no `{name}`: {:?}", self.spans.lock().unwrap());
    }
}

/// One trace has the call, the way out, the exchange and the guard, each below what caused it.
#[test]
fn one_trace_has_all_that_a_call_did() {
    let collector = Collector::start();
    let otlp = format!("[otlp]\nendpoint = \"http://{}\"\n", collector.address);
    let world = World::with("egress-spans", &otlp);
    let World { folder, api, .. } = &world;
    let mut connected = Connected::start(folder, "invoices", "reader");
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    let calls = api.calls();
    let parent = calls[0]["traceparent"].as_str().unwrap();
    let at_api: Vec<&str> = parent.split('-').collect();
    let guards = collector.wait("api request", |span| span["spanId"] == at_api[2]);
    assert_eq!(guards["traceId"], at_api[1]);
    let of = |id: &Value| {
        let id = id.clone();
        move |span: &Value| span["spanId"] == id
    };
    let way_out = collector.wait("egress request", of(&guards["parentSpanId"]));
    let whole = collector.wait("mcp request", of(&way_out["parentSpanId"]));
    // The first attempt may have wanted a nonce only.
    let is_below =
        |span: &Value| span["parentSpanId"] == way_out["spanId"] && span["status"]["code"] == 0;
    let exchange = collector.wait("token request", is_below);
    for span in [&way_out, &whole, &exchange] {
        assert_eq!(span["traceId"], guards["traceId"], "{span}");
        assert_eq!(span["status"]["code"], 0, "{span}");
    }
    // What does not leave says why, in the trace of its own call.
    connected.call(2, "search_invoices", r#"{"query":"ada"}"#);
    let is_refused = |span: &Value| span.to_string().contains("operation.unknown");
    let refused = collector.wait("egress request", is_refused);
    assert_eq!(refused["status"]["code"], 2);
    let whole = collector.wait("mcp request", of(&refused["parentSpanId"]));
    assert_eq!(whole["traceId"], refused["traceId"]);
    drop(connected);
    world.serving.stop();
}

#[test]
fn eight_callers_at_once_are_told_apart() {
    let world = World::new("egress-eight");
    let World { folder, api, .. } = &world;
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let issuer = config.split("issuer = \"").nth(1).unwrap().split('"').next().unwrap();
    let callers: Vec<String> = (0..8).map(|number| format!("caller-{number}")).collect();
    for name in &callers {
        agent(folder, issuer, name, &[("invoices", "read:get_invoice")]);
    }
    std::thread::scope(|scope| {
        for name in &callers {
            scope.spawn(move || {
                let mut connected = Connected::start(folder, "invoices", name);
                for number in 0..4 {
                    // No such invoice: the API is asked all the same.
                    let id = format!(r#"{{"id":"{name}.{number}"}}"#);
                    let answer = connected.call(number + 1, "get_invoice", &id);
                    assert!(answer.to_string().contains("no such invoice"), "{answer}");
                }
            });
        }
    });
    let names = agent_ids(folder);
    let calls = api.calls();
    let calls = calls.as_array().unwrap();
    assert_eq!(calls.len(), 32, "each call asked once");
    for call in calls {
        let asked = call["path"].as_str().unwrap().trim_start_matches("/invoices/");
        let (name, _) = asked.rsplit_once('.').unwrap();
        assert_eq!(names[call["agent"].as_str().unwrap()], name, "{call}");
    }
    world.serving.stop();
}

#[test]
fn a_request_that_belongs_to_no_call_does_not_leave() {
    let world = World::new("egress-nobody");
    let World { folder, api, traced, .. } = &world;
    let mut connected = Connected::start(folder, "invoices", "reader");
    let stranger = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    for headers in [&[][..], &stranger, &[("traceparent", "nonsense")]] {
        let reply = send(traced, "GET", "/invoices/inv-1001", headers, "");
        assert_eq!((reply.status, reply.reason()), (403, "downstream.unattributed".to_owned()));
    }
    assert_eq!(world.refused("downstream.unattributed").len(), 3);
    // The trace of a call that has ended belongs to nobody either.
    connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    let calls = api.calls();
    let calls = calls.as_array().unwrap();
    assert_eq!(calls.len(), 1, "only the call asked");
    let parent = calls[0]["traceparent"].as_str().unwrap();
    let reply = send(traced, "GET", "/invoices/inv-1001", &[("traceparent", parent)], "");
    assert_eq!(reply.reason(), "downstream.unattributed");
    drop(connected);
    world.serving.stop();
}

/// An API that keeps the heads of requests and knows nothing but a key.
fn keyed_api() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap().to_string(), Arc::default());
    let heads: Arc<Mutex<Vec<String>>> = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            heads.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
            let body = r#"{"id":"inv-1001","customer":"Ada Shipping"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 x-request-id: api-7\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (address, seen)
}

#[test]
fn a_static_key_is_added_on_the_way_out_and_known_to_nobody_else() {
    let folder = Folder::new("egress-key");
    let (api, seen) = keyed_api();
    let key = folder.path().join("billing.key");
    fs::write(&key, "s3cret-of-the-api\n").unwrap();
    let url = format!("http://{api}/billing");
    let serving = installed_with(
        &folder,
        &format!(
            "[[egress]]\nserver = \"invoices\"\nresource = \"{url}\"\n\
             variable = \"INVOICES_API_URL\"\n\
             key = {{ header = \"X-Api-Key\", file = \"billing.key\" }}\n"
        ),
    );
    register_billing(&folder, &url);
    let mut connected = Connected::start(&folder, "invoices", "reader");
    let ask = r#"{"id":"inv-1001"}"#;
    // A key that others can read is no secret.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let answer = connected.call(1, "get_invoice", ask);
    assert!(!answer.to_string().contains("Ada Shipping"), "{answer}");
    assert!(seen.lock().unwrap().is_empty(), "asked without a key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let answer = connected.call(2, "get_invoice", ask);
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    let head = seen.lock().unwrap().pop().unwrap();
    assert!(head.contains("x-api-key: s3cret-of-the-api\r\n"), "{head}");
    assert!(!head.contains("authorization") && !head.contains("dpop"), "{head}");
    let found = folder.attorn(&["audit", "trace", "--downstream-id", "api-7"]).expect(0);
    assert!(found.out.contains("get_invoice"), "{}", found.out);
    let export = ["audit", "export", "--to", "export.json"];
    folder.attorn(&export).expect(0);
    let all = fs::read_to_string(folder.path().join("export.json")).unwrap();
    assert!(!all.contains("s3cret"), "the key is in the journal");
    drop(connected);
    serving.stop();
}
