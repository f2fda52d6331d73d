//! An agent as a test needs it: its key, its tokens, its proofs, over raw HTTP.

mod token_requests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use attorn_jose::{NewHeader, SigningKey, base64url, sha256, sign};
use attorn_testkit::wire::{RawReply, RawRequest, exchange};
use serde_json::{Value, json};

pub use self::token_requests::Redemption;
use crate::step::StepFailed;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Where an installation listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The issuer identifier.
    pub issuer: String,
    /// Where the authority listens.
    pub authority: SocketAddr,
    /// Where operators are served.
    pub admin: SocketAddr,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
}

impl Addresses {
    /// The resource identifier of a server; `admin` is the authority's own.
    #[must_use]
    pub fn resource(&self, server: &str) -> String {
        if server == "admin" {
            return format!("http://{}/admin", self.admin);
        }
        format!("http://{}/{server}/mcp", self.gateway)
    }
}

/// An enrolled agent.
#[derive(Debug)]
pub struct Agent {
    /// Its client id.
    pub client_id: String,
    /// Its private key.
    pub key: SigningKey,
    addresses: Addresses,
    /// The gateway to connect to, where several serve one address.
    node: SocketAddr,
    nonces: Mutex<[String; 3]>,
}

/// Whose nonce.
#[derive(Debug, Clone, Copy)]
enum Issuer {
    Authority,
    Gateway,
    Admin,
}

impl Agent {
    /// Reads the key that enrolment wrote.
    ///
    /// # Errors
    /// When the file is not there or holds no key.
    pub fn load(client_id: &str, key: &Path, addresses: Addresses) -> Result<Self, StepFailed> {
        let pem = std::fs::read_to_string(key)
            .map_err(|source| StepFailed::File { path: key.to_path_buf(), source })?;
        let key = SigningKey::from_pkcs8_pem(&pem)
            .map_err(|error| StepFailed::Check(format!("{}: {error}", key.display())))?;
        Ok(Self::with_key(client_id, key, addresses))
    }

    /// Somebody with this key, enrolled or not.
    #[must_use]
    pub fn with_key(client_id: &str, key: SigningKey, addresses: Addresses) -> Self {
        let node = addresses.gateway;
        let nonces = Mutex::default();
        Self { client_id: client_id.to_owned(), key, addresses, node, nonces }
    }

    /// The same agent, connecting to one of several gateways behind one address.
    #[must_use]
    pub fn at(&self, node: SocketAddr) -> Self {
        let same = Self::with_key(&self.client_id, self.key.clone(), self.addresses.clone());
        Self { node, ..same }
    }

    /// A token for one server, all that is granted or the scopes named.
    ///
    /// # Errors
    /// When the authority refuses.
    pub fn token(&self, server: &str, scope: Option<&str>) -> Result<String, StepFailed> {
        for _ in 0..2 {
            let reply =
                self.exchange(self.addresses.authority, &self.token_request(server, scope)?)?;
            self.learn(Issuer::Authority, &reply);
            if let Some(token) = reply.json().as_ref().and_then(|body| body.get("access_token")) {
                return Ok(token.as_str().unwrap_or_default().to_owned());
            }
            if !reply.text().contains("use_dpop_nonce") {
                return Err(StepFailed::Check(format!(
                    "no token: {} {}",
                    reply.status,
                    reply.text()
                )));
            }
        }
        Err(StepFailed::Check("no token: the nonce was refused twice".to_owned()))
    }

    /// The bytes of one token request with the newest nonce.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token_request(
        &self,
        server: &str,
        scope: Option<&str>,
    ) -> Result<RawRequest, StepFailed> {
        self.token_request_with(server, scope, &self.nonce(Issuer::Authority))
    }

    /// Calls one tool and gives back the reply, a renewed nonce taken into account.
    ///
    /// # Errors
    /// When the gateway cannot be reached.
    pub fn call(
        &self,
        token: &str,
        server: &str,
        tool: &str,
        arguments: &Value,
    ) -> Result<RawReply, StepFailed> {
        self.send(token, server, &call_body(tool, arguments))
    }

    /// Sends any request of MCP 2026-07-28, a renewed nonce taken into account.
    ///
    /// # Errors
    /// When the gateway cannot be reached.
    pub fn send(&self, token: &str, server: &str, body: &Value) -> Result<RawReply, StepFailed> {
        for _ in 0..2 {
            let nonce = self.nonce(Issuer::Gateway);
            let request = self.request(token, server, body, &nonce)?;
            let reply = self.exchange(self.node, &request)?;
            self.learn(Issuer::Gateway, &reply);
            let again =
                reply.header("www-authenticate").is_some_and(|c| c.contains("use_dpop_nonce"));
            if !again {
                return Ok(reply);
            }
        }
        Err(StepFailed::Check("the gateway refused two nonces in a row".to_owned()))
    }

    /// The bytes of one `tools/call` of MCP 2026-07-28 with a fresh proof.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn call_request(
        &self,
        token: &str,
        server: &str,
        tool: &str,
        arguments: &Value,
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        self.request(token, server, &call_body(tool, arguments), nonce)
    }

    /// The gateway it connects to.
    #[must_use]
    pub fn node(&self) -> SocketAddr {
        self.node
    }

    /// As [`Self::request`], with the newest nonce.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn next_request(
        &self,
        token: &str,
        server: &str,
        body: &Value,
    ) -> Result<RawRequest, StepFailed> {
        self.request(token, server, body, &self.nonce(Issuer::Gateway))
    }

    /// The bytes of any request of MCP 2026-07-28.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn request(
        &self,
        token: &str,
        server: &str,
        body: &Value,
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        let url = self.addresses.resource(server);
        let proof = self.proof(("POST", &url), Some(token), nonce)?;
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut headers: Vec<(String, Vec<u8>)> = [
            ("Host", self.addresses.gateway.to_string()),
            ("Content-Type", "application/json".to_owned()),
            ("Accept", "application/json, text/event-stream".to_owned()),
            ("MCP-Protocol-Version", "2026-07-28".to_owned()),
            ("Mcp-Method", text("/method").to_owned()),
            ("Authorization", format!("DPoP {token}")),
            ("DPoP", proof),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
        if body.pointer("/params/name").is_some() {
            headers.push(("Mcp-Name".to_owned(), text("/params/name").into()));
        }
        Ok(RawRequest {
            method: "POST".to_owned(),
            target: format!("/{server}/mcp"),
            headers,
            body: body.to_string().into_bytes(),
            verbatim: None,
        })
    }

    /// One POST to the admin API, with a token for it; `path` is below `/admin/v1`.
    ///
    /// # Errors
    /// When it is refused or cannot be reached.
    pub fn administer(&self, token: &str, path: &str, body: &Value) -> Result<Value, StepFailed> {
        self.at_admin(token, ("POST", path), &body.to_string())
    }

    /// One GET at the admin API; `path` is below `/admin/v1` and may hold a query.
    ///
    /// # Errors
    /// When it is refused or cannot be reached.
    pub fn look(&self, token: &str, path: &str) -> Result<Value, StepFailed> {
        self.at_admin(token, ("GET", path), "")
    }

    fn at_admin(
        &self,
        token: &str,
        (method, path): (&str, &str),
        body: &str,
    ) -> Result<Value, StepFailed> {
        let host = self.addresses.admin.to_string();
        let target = format!("/admin/v1{path}");
        // RFC 9449 section 4.2: without the query.
        let bare = target.split('?').next().unwrap_or_default();
        let url = format!("http://{host}{bare}");
        for _ in 0..2 {
            let proof = self.proof((method, &url), Some(token), &self.nonce(Issuer::Admin))?;
            let headers = [
                ("Host", host.clone()),
                ("Content-Type", "application/json".to_owned()),
                ("Authorization", format!("DPoP {token}")),
                ("DPoP", proof),
            ];
            let request = RawRequest {
                method: method.to_owned(),
                target: target.clone(),
                headers: headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).into(),
                body: body.as_bytes().to_vec(),
                verbatim: None,
            };
            let reply = self.exchange(self.addresses.admin, &request)?;
            self.learn(Issuer::Admin, &reply);
            if reply.status == 200 {
                return Ok(reply.json().unwrap_or_default());
            }
            if !reply.header("www-authenticate").is_some_and(|c| c.contains("use_dpop_nonce")) {
                let text = reply.text();
                return Err(StepFailed::Check(format!("{path}: {} {text}", reply.status)));
            }
        }
        Err(StepFailed::Check(format!("{path}: the nonce was refused twice")))
    }

    fn proof(
        &self,
        (method, url): (&str, &str),
        token: Option<&str>,
        nonce: &str,
    ) -> Result<String, StepFailed> {
        let mut claims = json!({"jti": unique(), "htm": method, "htu": url, "iat": now_s()});
        if let Some(members) = claims.as_object_mut() {
            if let Some(token) = token {
                members.insert("ath".to_owned(), base64url(&sha256(token.as_bytes())).into());
            }
            if !nonce.is_empty() {
                members.insert("nonce".to_owned(), nonce.into());
            }
        }
        self.jwt(&NewHeader { typ: "dpop+jwt", kid: None, jwk: true }, &claims)
    }

    fn jwt(&self, header: &NewHeader<'_>, claims: &Value) -> Result<String, StepFailed> {
        sign(header, claims.to_string().as_bytes(), &self.key)
            .map_err(|error| StepFailed::Check(format!("cannot sign: {error}")))
    }

    /// The nonce the gateway gave last; empty before its first answer.
    #[must_use]
    pub fn gateway_nonce(&self) -> String {
        self.nonce(Issuer::Gateway)
    }

    /// Sends a request as it stands to the gateway, once.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn send_to_gateway(&self, request: &RawRequest) -> Result<RawReply, StepFailed> {
        let reply = self.exchange(self.node, request)?;
        self.learn(Issuer::Gateway, &reply);
        Ok(reply)
    }

    /// Sends a request as it stands to the authority, once.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn send_to_authority(&self, request: &RawRequest) -> Result<RawReply, StepFailed> {
        let reply = self.exchange(self.addresses.authority, request)?;
        self.learn(Issuer::Authority, &reply);
        Ok(reply)
    }

    fn exchange(&self, peer: SocketAddr, request: &RawRequest) -> Result<RawReply, StepFailed> {
        exchange(peer, request).map_err(|error| StepFailed::Check(format!("{peer}: {error}")))
    }

    fn nonce(&self, of: Issuer) -> String {
        let nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let [authority, gateway, admin] = &*nonces;
        match of {
            Issuer::Authority => authority.clone(),
            Issuer::Gateway => gateway.clone(),
            Issuer::Admin => admin.clone(),
        }
    }

    fn learn(&self, of: Issuer, reply: &RawReply) {
        let Some(fresh) = reply.header("dpop-nonce") else { return };
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let [authority, gateway, admin] = &mut *nonces;
        match of {
            Issuer::Authority => *authority = fresh.to_owned(),
            Issuer::Gateway => *gateway = fresh.to_owned(),
            Issuer::Admin => *admin = fresh.to_owned(),
        }
    }
}

/// One `tools/call`.
#[must_use]
pub fn call_body(tool: &str, arguments: &Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": meta()}
    })
}

/// The `_meta` that every request of MCP 2026-07-28 carries.
#[must_use]
pub fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "xtask", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    })
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// A text that was not used before, by this process or another.
#[must_use]
pub fn unique() -> String {
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_nanos());
    format!("{}-{}-{count}", std::process::id(), nanos.unwrap_or_default())
}
