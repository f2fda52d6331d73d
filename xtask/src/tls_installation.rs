//! An installation that asks its clients for certificates, and agents known by theirs.

use std::cell::RefCell;
use std::collections::BTreeMap;

use attorn_testkit::wire::RawReply;
use serde_json::{Value, json};

use crate::agent::{call_body, unique};
use crate::curl::{self, Request};
use crate::installation::Installation;
use crate::pki::{Pki, SPIFFE_ID, URI};
use crate::step::StepFailed;

/// The installation and the certificates made for it.
#[derive(Debug)]
pub struct TlsInstallation {
    /// The running binary.
    pub installation: Installation,
    /// Certificates and their keys.
    pub pki: Pki,
    clients: BTreeMap<&'static str, String>,
    tokens: RefCell<BTreeMap<String, String>>,
}

impl TlsInstallation {
    /// Starts it and registers one agent for each way to be known by a certificate.
    ///
    /// # Errors
    /// When it does not start in time or a command fails.
    pub fn start() -> Result<Self, StepFailed> {
        let folder = std::env::temp_dir().join(format!("attorn-pki-{}", unique()));
        let pki = Pki::make(&folder)?;
        let installation = Installation::start_with_tls(&pki)?;
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
        Ok(Self { installation, pki, clients, tokens: RefCell::default() })
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
        curl::send(&Request {
            url: &url,
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
        mut headers: Vec<String>,
        options: Vec<&str>,
    ) -> Result<RawReply, StepFailed> {
        let own = [
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            &format!("Mcp-Name: {tool}"),
        ];
        headers.extend(own.map(str::to_owned));
        curl::send(&Request {
            url: &self.resource(server),
            roots: &self.pki.path("server.pem"),
            certificate: certificate.map(|name| self.files(name)),
            headers,
            body: call_body(tool, arguments).to_string(),
            options,
        })
    }

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
