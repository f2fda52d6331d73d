//! An installation that asks its clients for certificates, and agents known by theirs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use attorn_testkit::wire::RawReply;
use serde_json::{Value, json};

use crate::agent::{call_body, unique};
use crate::curl::{self, Request};
use crate::installation::{GatewayProcess, Installation, Setting};
use crate::pki::{Pki, SPIFFE_ID, URI};
use crate::step::StepFailed;

/// How long a change may take to be in force at the second gateway.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The installation and the certificates made for it.
#[derive(Debug)]
pub struct TlsInstallation {
    /// The running binary.
    pub installation: Installation,
    /// Certificates and their keys.
    pub pki: Pki,
    /// A gateway in a process of its own, where there is one.
    pub second: Option<GatewayProcess>,
    /// Whether requests go out over HTTP/2.
    pub http2: bool,
    /// Whether calls go to the second gateway.
    at_second: Cell<bool>,
    clients: BTreeMap<&'static str, String>,
    tokens: RefCell<BTreeMap<String, String>>,
}

impl TlsInstallation {
    /// Starts it and registers one agent for each way to be known by a certificate.
    ///
    /// # Errors
    /// When it does not start in time or a command fails.
    pub fn start() -> Result<Self, StepFailed> {
        Self::start_with(false)
    }

    /// As [`Self::start`], with a second gateway in a process of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(second: bool) -> Result<Self, StepFailed> {
        let folder = std::env::temp_dir().join(format!("attorn-pki-{}", unique()));
        let pki = Pki::make(&folder)?;
        let installation = Installation::start_with_tls(&pki)?;
        let setting = Setting { pki: Some(&pki), ..Setting::default() };
        let second = second.then(|| installation.add_gateway_on("second", &setting)).transpose()?;
        let mut clients = BTreeMap::new();
        let registered = pki.path("registered.pem");
        let ways: [(&'static str, &[&str]); 4] = [
            ("billing", &["--tls-san-uri", URI]),
            ("hosted", &["--tls-san-dns", "a.example"]),
            ("selfmade", &["--certificate", &registered]),
            ("workload", &["--spiffe-id", SPIFFE_ID]),
        ];
        for (name, way) in ways {
            let register = ["agent", "register", name, "--owner", "test-team"];
            let made = installation.cli(&[&register[..], way].concat())?;
            let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
            clients.insert(name, id.to_owned());
        }
        Ok(Self {
            installation,
            pki,
            second,
            http2: false,
            at_second: Cell::new(false),
            clients,
            tokens: RefCell::default(),
        })
    }

    /// Sends calls to the second gateway, or to the first one again.
    pub fn go_to_second(&self, is_second: bool) {
        self.at_second.set(is_second);
    }

    /// The entries of the journal that calls stand in now; that of the authority for all else.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entries(&self, of_call: bool, from: u64) -> Result<Vec<Value>, StepFailed> {
        match self.asked().filter(|_| of_call) {
            None => self.installation.journal_entries(from),
            Some(gateway) => crate::installation::entries_of(&gateway.journal(), from),
        }
    }

    fn asked(&self) -> Option<&GatewayProcess> {
        self.second.as_ref().filter(|_| self.at_second.get())
    }

    /// Waits until the second gateway has in force what the authority has.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn settle(&self) -> Result<(), StepFailed> {
        let version = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        let status = self.installation.cli(&["status"])?;
        let wanted = version(&status, "registry_version");
        let started = Instant::now();
        loop {
            let gateways = self.installation.cli(&["gateway", "list"])?;
            let all = gateways.as_array().cloned().unwrap_or_default();
            if wanted.is_some() && all.iter().all(|one| version(one, "version") >= wanted) {
                return Ok(());
            }
            if started.elapsed() > SETTLED_WITHIN {
                return Err(StepFailed::Check(format!("{status} is not at: {gateways}")));
            }
        }
    }

    fn send(&self, request: &Request<'_>) -> Result<RawReply, StepFailed> {
        if self.http2 { curl::send_http2(request) } else { curl::send(request) }
    }

    /// The `client_id` of an agent.
    ///
    /// # Errors
    /// When there is no such agent.
    pub fn client_id(&self, agent: &str) -> Result<&str, StepFailed> {
        let known = self.clients.get(agent).map(String::as_str);
        known.ok_or_else(|| StepFailed::Check(format!("no agent `{agent}`")))
    }

    /// Grants an agent scopes at a server.
    ///
    /// # Errors
    /// When it is refused.
    pub fn grant(&self, agent: &str, server: &str, scope: &str) -> Result<(), StepFailed> {
        self.installation.cli(&["grant", "create", agent, server, scope]).map(drop)
    }

    /// A token request with one certificate, or none.
    ///
    /// # Errors
    /// When `curl` cannot be started.
    pub fn token_reply(
        &self,
        form: &[(&str, &str)],
        certificate: Option<&str>,
        headers: Vec<String>,
        options: Vec<&str>,
    ) -> Result<RawReply, StepFailed> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let url = format!("{}/token", self.installation.addresses().issuer);
        self.send(&Request {
            url: &url,
            at: None,
            roots: &self.pki.path("server.pem"),
            certificate: certificate.map(|name| self.files(name)),
            headers,
            body: body.finish(),
            options,
        })
    }

    /// A token of an agent, bound to this certificate; got once.
    ///
    /// # Errors
    /// When it is refused.
    pub fn token(
        &self,
        agent: &str,
        certificate: &str,
        server: &str,
    ) -> Result<String, StepFailed> {
        let known = format!("{agent} {certificate} {server}");
        if let Some(token) = self.tokens.borrow().get(&known) {
            return Ok(token.clone());
        }
        let resource = self.resource(server);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id(agent)?),
            ("resource", &resource),
        ];
        let reply = self.token_reply(&form, Some(certificate), Vec::new(), Vec::new())?;
        let token =
            reply.json().and_then(|body| body.get("access_token")?.as_str().map(str::to_owned));
        let token =
            token.ok_or_else(|| StepFailed::Check(format!("no token: {}", reply.text())))?;
        self.tokens.borrow_mut().insert(known, token.clone());
        Ok(token)
    }

    /// Has every token got anew.
    pub fn forget_tokens(&self) {
        self.tokens.borrow_mut().clear();
    }

    /// One `tools/call` with these headers added.
    ///
    /// # Errors
    /// When `curl` cannot be started.
    pub fn call(
        &self,
        (server, tool, arguments): (&str, &str, &Value),
        certificate: Option<&str>,
        headers: Vec<String>,
        options: Vec<&str>,
    ) -> Result<RawReply, StepFailed> {
        let body = call_body(tool, arguments).to_string();
        let certificate = certificate.map(|name| self.files(name));
        let at = self.asked().map(|gateway| gateway.address);
        let (url, roots) = (self.resource(server), self.pki.path("server.pem"));
        let headers = with_own(tool, headers);
        self.send(&Request { url: &url, at, roots: &roots, certificate, headers, body, options })
    }

    /// A request that is refused for its method and stands in the journal: no case is about that.
    ///
    /// # Errors
    /// When it is not refused so.
    pub fn mark(&self, of_call: bool) -> Result<(), StepFailed> {
        let at = self.asked().filter(|_| of_call).map(|gateway| gateway.address);
        let reply = curl::send(&Request {
            url: &self.resource("canary"),
            at,
            roots: &self.pki.path("server.pem"),
            certificate: None,
            headers: with_own("echo", Vec::new()),
            body: call_body("echo", &hello()).to_string(),
            options: vec!["-X", "PUT"],
        })?;
        match reply.status {
            405 => Ok(()),
            status => Err(StepFailed::Check(format!("the marker: {status} {}", reply.text()))),
        }
    }
}

/// What every call has, after what a case adds.
fn with_own(tool: &str, mut headers: Vec<String>) -> Vec<String> {
    let own = [
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        &format!("Mcp-Name: {tool}"),
    ];
    headers.extend(own.map(str::to_owned));
    headers
}

impl TlsInstallation {
    /// The resource identifier of a server.
    #[must_use]
    pub fn resource(&self, server: &str) -> String {
        let port = self.installation.addresses().gateway.port();
        format!("https://localhost:{port}/{server}/mcp")
    }

    /// Keeps an agent's certificate in the profile, as `attorn connect` wants it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn enroll(&self, agent: &str, certificate: &str) -> Result<(), StepFailed> {
        let (pem, key) = self.files(certificate);
        let gateway = format!("https://localhost:{}", self.installation.addresses().gateway.port());
        let issuer = &self.installation.addresses().issuer;
        let roots = self.pki.path("server.pem");
        self.installation
            .cli(&[
                "agent",
                "enroll",
                "--url",
                issuer,
                "--roots",
                &roots,
                "--name",
                agent,
                "--client-id",
                self.client_id(agent)?,
                "--gateway",
                &gateway,
                "--certificate",
                &pem,
                "--key",
                &key,
            ])
            .map(drop)
    }

    fn files(&self, certificate: &str) -> (String, String) {
        let path = |ending: &str| self.pki.path(&format!("{certificate}.{ending}"));
        (path("pem"), path("key"))
    }
}

impl Drop for TlsInstallation {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.pki.path("")));
    }
}

/// The arguments that the tests' tools take.
#[must_use]
pub fn hello() -> Value {
    json!({"message": "hello"})
}
