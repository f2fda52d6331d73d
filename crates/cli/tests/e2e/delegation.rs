//! The chain of a delegated call, made by hand: an agent's token and call, the exchange by a server
//! with a key of its own, and the API behind a guard.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::UNIX_EPOCH;

use attorn_connect::key_file;
use attorn_jose::{Algorithm, SigningKey, base64url};
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::token_request::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use attorn_registry::{AgentId, ServerId};
use serde_json::{Value, json};

use crate::journey::installed_with;
use crate::support::{ATTORN, Folder, Serving, free_address};

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map_or_else(String::new, |(_, value)| value.to_owned())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request over a connection of its own.
pub(crate) fn send(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
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

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
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

pub(crate) fn jti() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    base64url(&bytes)
}

const OPENAPI: &str = r#"{ "openapi": "3.1.0", "info": { "title": "Billing", "version": "1" },
  "servers": [{ "url": "http://billing.internal:8080/" }],
  "paths": {
    "/invoices/{id}": { "get": { "operationId": "invoice.get" }, "options": {} },
    "/invoices/{id}/pay": { "post": { "operationId": "invoice.pay", "x-attorn-class": "read" } },
    "/invoices/{id}.pdf": { "get": { "operationId": "invoice.pdf" } } } }"#;

/// The operations of the API out of its document: shown, and then taken.
fn import_operations(folder: &Folder) {
    let file = folder.path().join("openapi.json");
    fs::write(&file, OPENAPI).unwrap();
    let import = |more: &[&str]| {
        let import = ["resource", "operation", "import", "billing", "openapi.json"];
        folder.attorn(&[&import[..], more].concat())
    };
    let shown = import(&["-o", "json"]).expect(1).json();
    let reasons = shown["left_out"].as_array().unwrap().iter();
    let reasons: Vec<_> = reasons.map(|one| one["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["method", "partial_variable"]);
    let digest = shown["digest"].as_str().unwrap();
    let done = import(&["--accept-classes", digest]).expect(0);
    assert!(done.out.contains("2 changes made, 0 as they are, 2 left out"), "{}", done.out);
    // A slip in the document makes no operation of it go.
    fs::write(&file, OPENAPI.replace(r#""read""#, r#""Read""#)).unwrap();
    let refused = import(&["--remove-others"]).expect(1);
    assert!(refused.err.contains("would take away `invoice.pay`"), "{}", refused.err);
    assert!(!refused.out.contains("--accept-classes"), "{}", refused.out);
}

/// The sample API in a process of its own.
pub(crate) struct SampleApi {
    child: Child,
    pub(crate) address: String,
}

impl SampleApi {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(ATTORN);
        let mut child = command.arg("sample-api").stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("http://").unwrap();
        Self { address: address.to_owned(), child }
    }

    pub(crate) fn calls(&self) -> Value {
        send(&self.address, "GET", "/calls", &[], "").json()
    }
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Without a call of the operating system's clock: when a file was written.
pub(crate) fn now_s(folder: &Folder) -> u64 {
    let path = folder.path().join("now");
    fs::write(&path, "").unwrap();
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    written.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An authority with a gateway, the server `invoices` with a key of the test, the API behind it, and a
/// guard in front of that.
pub(crate) struct Chain {
    pub(crate) folder: Folder,
    pub(crate) serving: Serving,
    pub(crate) api: SampleApi,
    pub(crate) authority: String,
    pub(crate) gateway: String,
    /// Where the guard listens; also the host of the API's URL.
    pub(crate) guard: String,
    pub(crate) agent: AgentId,
    pub(crate) agent_key: SigningKey,
    pub(crate) server: ServerId,
    pub(crate) server_key: SigningKey,
}

/// A token and the proof that it came with at the server.
pub(crate) struct Evidence {
    pub(crate) token: String,
    pub(crate) proof: String,
}

impl Chain {
    /// `is_alone` leaves the guard to a process of its own.
    pub(crate) fn new(test: &str, is_alone: bool) -> Self {
        let (folder, api, guard) = (Folder::new(test), SampleApi::start(), free_address());
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
        import_operations(&folder);
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

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.authority)
    }

    fn now_s(&self) -> u64 {
        now_s(&self.folder)
    }

    pub(crate) fn proof(
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
    pub(crate) fn call(&self) -> Evidence {
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
    pub(crate) fn exchange(&self, evidence: &Evidence) -> String {
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

    pub(crate) fn ask_api(
        &self,
        key: &SigningKey,
        token: &str,
        (method, below): (&str, &str),
    ) -> Reply {
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

    pub(crate) fn get(&self, token: &str) -> Reply {
        self.ask_api(&self.server_key, token, ("GET", "/invoices/inv-1001"))
    }
}
