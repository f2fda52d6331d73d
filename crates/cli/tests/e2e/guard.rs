//! A guard in front of an API: the chain from an agent through a server to the API, its journal and
//! its trace, with the guard beside the authority and in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use attorn_connect::key_file;
use attorn_jose::{Algorithm, SigningKey, base64url};
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::token_request::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use attorn_registry::{AgentId, ServerId};
use serde_json::{Value, json};

use crate::journey::installed_with;
use crate::support::{ATTORN, Folder, Serving};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map_or_else(String::new, |(_, value)| value.to_owned())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request over a connection of its own.
fn send(address: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let each = text.bytes().map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        });
        each.collect::<String>()
    };
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn jti() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    base64url(&bytes)
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The sample API in a process of its own.
struct SampleApi {
    child: Child,
    address: String,
}

impl SampleApi {
    fn start() -> Self {
        let mut command = Command::new(ATTORN);
        let mut child = command.arg("sample-api").stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("http://").unwrap();
        Self { address: address.to_owned(), child }
    }

    fn calls(&self) -> Value {
        send(&self.address, "GET", "/calls", &[], "").json()
    }
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An authority with a gateway, the server `invoices` with a key of the test, the API behind it, and a
/// guard in front of that.
struct Chain {
    folder: Folder,
    serving: Serving,
    api: SampleApi,
    authority: String,
    gateway: String,
    /// Where the guard listens; also the host of the API's URL.
    guard: String,
    agent: AgentId,
    agent_key: SigningKey,
    server: ServerId,
    server_key: SigningKey,
}

/// A token and the proof that it came with at the server.
struct Evidence {
    token: String,
    proof: String,
}

impl Chain {
    /// `is_alone` leaves the guard to a process of its own.
    fn new(test: &str, is_alone: bool) -> Self {
        let (folder, api, guard) = (Folder::new(test), SampleApi::start(), free_port());
        let beside = format!(
            "[[guard]]\npublic_url = \"http://{guard}/billing\"\nlisten = \"{guard}\"\n\
             upstream = \"http://{}\"\n",
            api.address
        );
        let serving = installed_with(&folder, if is_alone { "" } else { &beside });
        let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
        let host = |key: &str| {
            let rest = config.split(&format!("{key} = \"http://")).nth(1).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let (authority, gateway) = (host("issuer"), host("gateway_url"));
        let run = |arguments: &[&str]| folder.attorn(arguments).expect(0);
        let url = format!("http://{guard}/billing");
        run(&["resource", "register", "billing", "--owner", "finance", "--url", &url]);
        for (id, method, path, class) in [
            ("invoice.get", "GET", "/invoices/{id}", "read"),
            ("invoice.pay", "POST", "/invoices/{id}/pay", "write"),
        ] {
            run(&[
                "resource",
                "operation",
                "add",
                "billing",
                id,
                "--method",
                method,
                "--path",
                path,
                "--class",
                class,
            ]);
        }
        let rule = ["--from", "read:get_invoice", "--to", "read:invoice.get"];
        run(&[&["server", "downstream", "allow", "invoices", "billing"][..], &rule].concat());
        let server_key = SigningKey::from_seed(Algorithm::EdDsa, &[7; 32]).unwrap();
        let jwk = server_key.public().to_jwk(None);
        fs::write(folder.path().join("server.jwk"), jwk).unwrap();
        run(&["server", "key", "invoices", "--jwk-file", "server.jwk"]);
        let show = run(&["-o", "json", "server", "show", "invoices"]).json();
        let server = show["id"].as_str().unwrap().parse().unwrap();
        let profile = folder.path().join("profile/agents/reader");
        let agent_key = key_file::load(&profile, "key").unwrap();
        let identity = fs::read_to_string(profile.join("identity.toml")).unwrap();
        let id = identity.split("client_id = \"").nth(1).unwrap().split('"').next().unwrap();
        let agent = id.parse().unwrap();
        Self {
            folder,
            serving,
            api,
            authority,
            gateway,
            guard,
            agent,
            agent_key,
            server,
            server_key,
        }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Without a call of the operating system's clock: when a file was written.
    fn now_s(&self) -> u64 {
        let path = self.folder.path().join("now");
        fs::write(&path, "").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        written.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn proof(
        &self,
        key: &SigningKey,
        (htm, htu): (&str, &str),
        token: Option<&str>,
        nonce: &str,
    ) -> String {
        let nonce = Some(nonce).filter(|nonce| !nonce.is_empty());
        let (jti, iat_s) = (jti(), self.now_s());
        let new = NewProof { htm, htu, iat_s, jti: &jti, access_token: token, nonce };
        new_proof(key, &new).unwrap()
    }

    /// Twice where the first answer only gives a nonce.
    fn with_nonce(&self, ask: impl Fn(&str) -> Reply) -> Reply {
        let first = ask("");
        let nonce = first.header("dpop-nonce");
        let wants = first.body.contains("nonce") || first.head.contains("use_dpop_nonce");
        if wants { ask(&nonce) } else { first }
    }

    fn token_request(&self, key: &SigningKey, more: impl Fn() -> String) -> Reply {
        let htu = format!("{}/token", self.issuer());
        self.with_nonce(|nonce| {
            let proof = self.proof(key, ("POST", &htu), None, nonce);
            let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
            let headers = [
                ("content-type", "application/x-www-form-urlencoded"),
                ("dpop", proof.as_str()),
                ("traceparent", parent.as_str()),
            ];
            send(&self.authority, "POST", "/token", &headers, &more())
        })
    }

    /// The agent's token for the server, and a call with it that the server would see.
    fn call(&self) -> Evidence {
        let resource = format!("http://{}/invoices/mcp", self.gateway);
        let (client_id, issuer) = (&self.agent, &self.issuer());
        let reply = self.token_request(&self.agent_key, || {
            let (jti, now_s) = (jti(), self.now_s());
            let assertion = NewAssertion { client_id, issuer, now_s, jti: &jti };
            form(&[
                ("grant_type", "client_credentials"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &new_assertion(&self.agent_key, &assertion).unwrap()),
                ("resource", &resource),
                ("scope", "read:get_invoice"),
            ])
        });
        assert_eq!(reply.status, 200, "{reply:?}");
        let token = reply.json()["access_token"].as_str().unwrap().to_owned();
        let proof = std::cell::RefCell::new(String::new());
        let reply = self.with_nonce(|nonce| {
            *proof.borrow_mut() =
                self.proof(&self.agent_key, ("POST", &resource), Some(&token), nonce);
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": "get_invoice", "arguments": { "id": "inv-1001" },
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"),
                },
            }});
            let (proof, bearer) = (proof.borrow().clone(), format!("DPoP {token}"));
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "get_invoice"),
                ("authorization", bearer.as_str()),
                ("dpop", proof.as_str()),
            ];
            send(&self.gateway, "POST", "/invoices/mcp", &headers, &body.to_string())
        });
        assert!(reply.body.contains("inv-1001"), "{reply:?}");
        Evidence { token, proof: proof.into_inner() }
    }

    /// The server's own token for the API.
    fn exchange(&self, evidence: &Evidence) -> String {
        let (client_id, issuer) = (&self.server, &self.issuer());
        let resource = format!("http://{}/billing", self.guard);
        let reply = self.token_request(&self.server_key, || {
            let (jti, now_s) = (jti(), self.now_s());
            let assertion = NewAssertion { client_id, issuer, now_s, jti: &jti };
            form(&[
                ("grant_type", TOKEN_EXCHANGE),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &new_assertion(&self.server_key, &assertion).unwrap()),
                ("subject_token", &evidence.token),
                ("subject_token_type", ACCESS_TOKEN),
                ("subject_token_proof", &evidence.proof),
                ("resource", &resource),
            ])
        });
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn ask_api(&self, key: &SigningKey, token: &str, (method, below): (&str, &str)) -> Reply {
        let htu = format!("http://{}/billing{below}", self.guard);
        self.with_nonce(|nonce| {
            let proof = self.proof(key, (method, &htu), Some(token), nonce);
            let (bearer, parent) =
                (format!("DPoP {token}"), format!("00-{TRACE}-00f067aa0ba902b7-01"));
            let headers = [
                ("authorization", bearer.as_str()),
                ("dpop", proof.as_str()),
                ("traceparent", parent.as_str()),
                ("attorn-subject", "eve"),
                ("Attorn_Subject", "eve"),
            ];
            send(&self.guard, method, &format!("/billing{below}"), &headers, "")
        })
    }

    fn get(&self, token: &str) -> Reply {
        self.ask_api(&self.server_key, token, ("GET", "/invoices/inv-1001"))
    }
}

const INVOICE: (&str, &str) = ("GET", "/invoices/inv-1001");

/// Kinds and findings, deepest last.
fn shape(node: &Value) -> String {
    let children: Vec<String> = node["children"].as_array().unwrap().iter().map(shape).collect();
    let findings: Vec<&str> =
        node["findings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let marks: String = findings.iter().map(|one| format!("!{one}")).collect();
    format!("{}{marks}({})", node["kind"].as_str().unwrap(), children.join(","))
}

const WHOLE: &str = "token.issued(call.decided(call.completed(),\
                     token.exchanged(resource.accessed(call.completed()))))";

#[test]
fn the_chain_from_agent_to_api_is_enforced_and_found_by_the_name_that_the_api_gave() {
    let chain = Chain::new("guard", false);
    let evidence = chain.call();
    let token = chain.exchange(&evidence);
    let reply = chain.get(&token);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("inv-1001"));
    let request_id = reply.header("x-request-id");
    let calls = chain.api.calls();
    let seen = calls.as_array().unwrap().last().unwrap();
    assert_eq!(seen["subject"], chain.agent.as_str(), "{calls}");
    assert_eq!(seen["actors"], json!([chain.server.as_str()]));
    assert_eq!(seen["agent"], chain.agent.as_str());

    // Nobody else's key, nobody else's token, nothing else than was given.
    let thief = SigningKey::from_seed(Algorithm::EdDsa, &[9; 32]).unwrap();
    for key in [&thief, &chain.agent_key] {
        assert_eq!(chain.ask_api(key, &token, INVOICE).reason(), "possession.key_mismatch");
    }
    let own = chain.ask_api(&chain.agent_key, &evidence.token, INVOICE);
    assert_eq!((own.status, own.reason().as_str()), (401, "token.audience"));
    let pay = ("POST", "/invoices/inv-1001/pay");
    assert_eq!(chain.ask_api(&chain.server_key, &token, pay).reason(), "scope.missing");
    let other = ("GET", "/customers");
    assert_eq!(chain.ask_api(&chain.server_key, &token, other).reason(), "operation.unknown");
    let resource = format!("http://{}/invoices/mcp", chain.gateway);
    let proof = chain.proof(&chain.server_key, ("POST", &resource), Some(&token), "");
    let bearer = format!("DPoP {token}");
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", bearer.as_str()),
        ("dpop", proof.as_str()),
    ];
    let at_gateway = send(&chain.gateway, "POST", "/invoices/mcp", &headers, "{}");
    assert_eq!(at_gateway.status, 401, "{at_gateway:?}");
    let refused = |reason: &str| {
        let search = ["-o", "json", "audit", "search", "--reason", reason, "--limit", "1"];
        let found = chain.folder.attorn(&search).expect(0).json();
        found[0]["role"].as_str().unwrap().to_owned()
    };
    for reason in ["possession.key_mismatch", "scope.missing", "operation.unknown"] {
        assert_eq!(refused(reason), "guard");
    }
    assert_eq!(refused("token.audience"), "gateway");

    let trace = ["-o", "json", "audit", "trace", "--downstream-id", &request_id];
    let found = chain.folder.attorn(&trace).expect(0).json();
    let roots = found["chain"].as_array().unwrap();
    let first = roots.iter().find(|root| root["kind"] == "token.issued").unwrap();
    assert!(shape(first).starts_with(WHOLE.trim_end_matches(')')), "{}", shape(first));
    let shown = chain.folder.attorn(&["audit", "trace", "--downstream-id", &request_id]).expect(0);
    assert!(shown.out.contains("resource.accessed") && shown.out.contains(&request_id));
    chain.folder.attorn(&["audit", "trace", "--downstream-id", "nobody"]).expect(1);

    let export = ["audit", "export", "--downstream-id", &request_id, "--to", "case"];
    chain.folder.attorn(&export).expect(0);
    chain.folder.attorn(&["audit", "verify", "case"]).expect(0);

    let reason = ["--reason", "test", "--expires", "1h"];
    chain.folder.attorn(&[&["lock", "create", "resource/billing"][..], &reason].concat()).expect(0);
    let locked = chain.get(&token);
    assert_eq!((locked.status, locked.reason().as_str()), (403, "lock.active"), "{locked:?}");
    chain.serving.stop();
}

/// Asks until the reason is the one wanted, 50 times a second.
#[track_caller]
fn until(wanted: &str, within_s: u32, ask: impl Fn() -> Reply) {
    let mut tries = 0..within_s * 50;
    loop {
        let reply = ask();
        if reply.reason() == wanted || (wanted == "ok" && reply.status == 200) {
            return;
        }
        assert!(tries.next().is_some(), "{reply:?} instead of {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts `attorn guard` in a folder of its own; gives the key of its log.
fn guard_alone(chain: &Chain, at: &Folder) -> (Serving, String) {
    let run = |arguments: &[&str]| chain.folder.attorn(arguments).expect(0);
    run(&["gateway", "register", "guard-1", "--owner", "finance", "--code-file", "guard.code"]);
    let profile = at.path().join("profile").display().to_string();
    let issuer = chain.issuer();
    run(&["--profile", &profile, "enroll", "--url", &issuer, "--code", "@guard.code"]);
    let (url, upstream) =
        (format!("http://{}/billing", chain.guard), format!("http://{}", chain.api.address));
    let mut command = Command::new(ATTORN);
    command.args(["guard", &url, "--upstream", &upstream, "--listen", &chain.guard]);
    command.args(["--profile", &profile]).current_dir(at.path());
    let serving = Serving::started(&mut command);
    let key = log_key(&at.path().join("guard-state"));
    (serving, key)
}

/// The public key of the log in a state folder.
fn log_key(state: &Path) -> String {
    let secret = fs::read_to_string(state.join("journal.key")).unwrap();
    let signer = attorn_audit::note::NoteSigner::from_skey(secret.trim_end()).unwrap();
    signer.verifier().to_vkey()
}

#[test]
fn a_guard_alone_follows_keeps_its_own_journal_and_refuses_when_cut_off() {
    let chain = Chain::new("guard-alone", true);
    let at = Folder::new("guard-alone-1");
    let (guard, key) = guard_alone(&chain, &at);
    assert!(key.contains("/guard/guard-1+"), "{key}");
    let token = chain.exchange(&chain.call());
    until("ok", 10, || chain.get(&token));
    let reply = chain.get(&token);
    let request_id = reply.header("x-request-id");

    // The authority's journal alone does not know what the API called it.
    chain.folder.attorn(&["audit", "trace", "--downstream-id", &request_id]).expect(1);
    let journal = at.path().join("guard-state/journal").display().to_string();
    let with = ["--journal", &journal, "--key", &key];
    let trace = [&["-o", "json", "audit", "trace", "--downstream-id", &request_id][..], &with];
    let found = chain.folder.attorn(&trace.concat()).expect(0).json();
    let first = &found["chain"][0];
    assert!(shape(first).starts_with(WHOLE.trim_end_matches(')')), "{}", shape(first));
    assert_eq!(found["remarks"], json!([]));
    let logs = found.to_string();
    assert!(logs.contains("/guard/guard-1") && logs.contains("/node/1"), "{logs}");

    // A lock reaches it, and what is cut off refuses. Its own journal knows both.
    let expires = ["--reason", "test", "--expires", "1h"];
    let lock = [&["lock", "create", "agent/reader"][..], &expires].concat();
    chain.folder.attorn(&lock).expect(0);
    until("lock.active", 2, || chain.get(&token));

    // One export for each log, that verify by themselves.
    let export = [&["audit", "export", "--downstream-id", &request_id, "--to", "case"][..], &with];
    chain.folder.attorn(&export.concat()).expect(0);
    let case = chain.folder.path().join("case");
    let mut files: Vec<_> = fs::read_dir(&case).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    chain.folder.attorn(&["audit", "verify", "case"]).expect(0);
    let node_key = log_key(&chain.folder.path().join("state"));
    let pinned = ["audit", "verify", "case", "--key", &key, "--key", &node_key];
    chain.folder.attorn(&pinned).expect(0);
    // And they are the whole chain, without asking anybody.
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let offline = ["--offline", "--journal", &files[0], "--journal", &files[1]];
    let trace = [&["-o", "json", "audit", "trace", TRACE][..], &offline].concat();
    let offline = chain.folder.attorn(&trace).expect(0).json();
    assert!(shape(&offline["chain"][0]).starts_with(WHOLE.trim_end_matches(')')), "{offline}");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // One byte of the last entry.
        let place = text.rfind("\"trace_id\":\"").unwrap() + "\"trace_id\":\"".len();
        let mut bytes = text.clone().into_bytes();
        bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
        fs::write(file, bytes).unwrap();
        let ended = chain.folder.attorn(&["audit", "verify", "case"]).expect(4);
        let log = if file.contains("guard-1") { "/guard/guard-1" } else { "/node/1" };
        assert!(ended.err.contains(log) && ended.err.contains("entry "), "{}", ended.err);
        fs::write(file, text).unwrap();
    }

    chain.serving.kill();
    let get = || {
        let headers = [("host", chain.guard.as_str())];
        send(&chain.guard, "GET", "/billing/invoices/inv-1001", &headers, "")
    };
    until("authority.stale", 20, get);
    guard.stop();
}
