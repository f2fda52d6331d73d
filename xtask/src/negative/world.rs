//! The installation that the rows run against: canary, agents, keys, journal.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attorn_jose::{Algorithm, SigningKey};
use attorn_testkit::canary::Canary;
use attorn_testkit::wire::{RawReply, RawRequest, exchange};
use serde_json::{Value, json};

use super::fixtures::{tools, tools_before, tools_of_other};
use super::verdict::spellings;
use crate::agent::{Agent, now_s, unique};
use crate::installation::{Connect, Installation};
use crate::step::StepFailed;
use crate::tls_installation::TlsInstallation;

/// How long the journal may take to show an entry.
const RECORDED_WITHIN: Duration = Duration::from_millis(1500);

/// So much of a credential in a log is a leak, in bytes.
const WINDOW: usize = 32;

/// An agent of the rows.
pub(super) type Identity = Agent;

/// What the operator grants on the first canary.
const GRANTED: &[&str] =
    &["read:echo", "read:param_tool", "read:drifting", "write:write_note", "irreversible:wipe"];

/// Everything a case needs.
#[derive(Debug)]
pub(super) struct World {
    installation: Installation,
    canary: Canary,
    other: Canary,
    identities: BTreeMap<&'static str, Identity>,
    tokens: RefCell<BTreeMap<(String, String), (String, u64)>>,
    nonces: RefCell<[String; 2]>,
    connector: OnceCell<Connect>,
    tls: OnceCell<TlsInstallation>,
    sent: RefCell<BTreeSet<String>>,
    issuer_key: SigningKey,
    stranger: SigningKey,
}

impl World {
    pub(super) fn start() -> Result<Self, StepFailed> {
        let canary = started(tools_before())?;
        let other = started(tools_of_other())?;
        let installation = Installation::start()?;
        installation.register_server("canary", &["--url", &canary.url()])?;
        installation.register_server("other", &["--url", &other.url()])?;
        installation.register_server("gone", &["--url", &other.url()])?;
        approve(&installation, &canary)?;
        fall_silent(&installation)?;
        let grants: &[(&str, &[&str])] = &[
            ("canary", GRANTED),
            ("other", &["read:echo", "read:other_tool"]),
            ("down", &["read:echo"]),
            ("gone", &["read:echo"]),
        ];
        let mut identities = BTreeMap::from([
            ("operator", installation.operator()?),
            ("pending", pending(&installation)?),
        ]);
        for name in ["alpha", "beta", "gamma", "suspended", "retired"] {
            identities.insert(name, installation.enroll(name, grants)?);
        }
        installation.cli(&["agent", "suspend", "suspended", "--reason", "a fixture"])?;
        installation.cli(&["agent", "retire", "retired", "--reason", "a fixture"])?;
        installation.cli(&["server", "retire", "gone", "--reason", "a fixture"])?;
        let issuer_key = issuer_key(&installation)?;
        let world = Self {
            installation,
            canary,
            other,
            identities,
            tokens: RefCell::default(),
            nonces: RefCell::default(),
            connector: OnceCell::new(),
            tls: OnceCell::new(),
            sent: RefCell::default(),
            issuer_key,
            stranger: fixture_key(7)?,
        };
        Ok(world)
    }

    pub(super) fn identity(&self, name: &str) -> Result<&Identity, StepFailed> {
        self.identities.get(name).ok_or_else(|| StepFailed::Check(format!("no agent `{name}`")))
    }

    /// A real token of an agent, fetched again before it ends.
    pub(super) fn token(&self, agent: &Identity, server: &str) -> Result<String, StepFailed> {
        let mut tokens = self.tokens.borrow_mut();
        let key = (agent.client_id.clone(), server.to_owned());
        if let Some((token, until)) = tokens.get(&key)
            && *until > now_s()
        {
            return Ok(token.clone());
        }
        let scope = (server == "canary").then_some("read:echo read:param_tool read:drifting");
        let token = agent.token(server, scope)?;
        tokens.insert(key, (token.clone(), now_s() + 60));
        Ok(token)
    }

    /// Runs a command as the operator.
    pub(super) fn cli(&self, command: &[String]) -> Result<Value, StepFailed> {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.installation.cli(&command)
    }

    /// Puts Cedar policies in force and gives back the version they replaced.
    pub(super) fn apply_policy(&self, text: &str) -> Result<u64, StepFailed> {
        let shown = self.installation.cli(&["policy", "show"])?;
        let version = shown.get("version").and_then(Value::as_u64);
        let version =
            version.ok_or_else(|| StepFailed::Check(format!("no policy version: {shown}")))?;
        let path = self.installation.state().join("row.cedar");
        std::fs::write(&path, text)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        let path = path.display().to_string();
        self.installation.cli(&["policy", "apply", &path, "--reason", "a row"])?;
        Ok(version)
    }

    pub(super) fn restore_policy(&self, version: u64) -> Result<(), StepFailed> {
        let version = version.to_string();
        self.installation.cli(&["policy", "rollback", &version, "--reason", "a row"]).map(drop)
    }

    /// The code of an agent that nobody enrolled yet, made for this call.
    pub(super) fn enrolment_code(&self) -> Result<String, StepFailed> {
        let name = format!("new-{}", unique());
        let path = self.installation.state().join(&name);
        let file = path.display().to_string();
        let register = ["agent", "register", &name, "--owner", "test-team", "--code-file", &file];
        self.installation.cli(&register)?;
        let code = std::fs::read_to_string(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        Ok(code.trim().to_owned())
    }

    /// Address and path of `attorn connect --listen` for alpha; started when first asked for.
    pub(super) fn connector(&self) -> Result<(SocketAddr, String), StepFailed> {
        if self.connector.get().is_none() {
            let started = self.installation.connect_listen("canary", "alpha")?;
            drop(self.connector.set(started));
            // Its first call is answered with a nonce, which is no fault of the row.
            let request = super::bases::connect(self, &super::rows::Case::default())?;
            self.send("connect", &request)?;
        }
        let url = self.connector.get().map(|connector| connector.url.as_str()).unwrap_or_default();
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = address
            .parse()
            .map_err(|error| StepFailed::Check(format!("the connector's `{address}`: {error}")))?;
        Ok((address, format!("/{path}")))
    }

    /// The installation that asks for client certificates; started when first asked for.
    pub(super) fn tls(&self) -> Result<&TlsInstallation, StepFailed> {
        if self.tls.get().is_none() {
            drop(self.tls.set(super::mt::start(&self.canary)?));
        }
        self.tls.get().ok_or_else(|| StepFailed::Check("no TLS installation".to_owned()))
    }

    /// Remembers credentials that were sent, to look for them in the logs at the end.
    pub(super) fn remember_sent(&self, secrets: &[String]) {
        self.sent.borrow_mut().extend(secrets.iter().cloned());
    }

    pub(super) fn other(&self) -> &Canary {
        &self.other
    }

    pub(super) fn admin_host(&self) -> String {
        self.installation.addresses().admin.to_string()
    }

    pub(super) fn canary(&self) -> &Canary {
        &self.canary
    }

    pub(super) fn resource(&self, server: &str) -> String {
        self.installation.addresses().resource(server)
    }

    pub(super) fn gateway_host(&self) -> String {
        self.installation.addresses().gateway.to_string()
    }

    pub(super) fn authority_host(&self) -> String {
        self.installation.addresses().authority.to_string()
    }

    pub(super) fn issuer(&self) -> String {
        self.installation.addresses().issuer.clone()
    }

    pub(super) fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    pub(super) fn issuer_key(&self) -> &SigningKey {
        &self.issuer_key
    }

    pub(super) fn stranger(&self) -> &SigningKey {
        &self.stranger
    }

    pub(super) fn now_s(&self) -> u64 {
        now_s()
    }

    pub(super) fn unique(&self) -> String {
        unique()
    }

    pub(super) fn peer(&self, base: &str) -> Result<SocketAddr, StepFailed> {
        Ok(match base {
            "token" | "revoke" | "enroll" => self.installation.addresses().authority,
            "admin" => self.installation.addresses().admin,
            "connect" => self.connector()?.0,
            _ => self.installation.addresses().gateway,
        })
    }

    /// The gateway's newest nonce; the first one is asked for with an empty request.
    pub(super) fn gateway_nonce(&self) -> Result<String, StepFailed> {
        self.nonce(1)
    }

    pub(super) fn authority_nonce(&self) -> Result<String, StepFailed> {
        self.nonce(0)
    }

    fn nonce(&self, index: usize) -> Result<String, StepFailed> {
        let known = self.nonces.borrow().get(index).cloned().unwrap_or_default();
        if !known.is_empty() {
            return Ok(known);
        }
        let agent = self.identity("beta")?;
        let (base, request) = if index == 0 {
            ("token", agent.token_request("canary", Some("read:echo"))?)
        } else {
            let token = self.token(agent, "canary")?;
            ("call", agent.call_request(&token, "canary", "echo", &json!({}), "")?)
        };
        let reply = self.send(base, &request)?;
        self.learn_nonce(base, &reply);
        let known = self.nonces.borrow().get(index).cloned().unwrap_or_default();
        if known.is_empty() {
            return Err(StepFailed::Check(format!("no nonce: {} {}", reply.status, reply.text())));
        }
        Ok(known)
    }

    fn send(&self, base: &str, request: &RawRequest) -> Result<RawReply, StepFailed> {
        exchange(self.peer(base)?, request).map_err(|error| StepFailed::Check(format!("{error}")))
    }

    pub(super) fn learn_nonce(&self, base: &str, reply: &RawReply) {
        let index = match base {
            "token" | "admin" => 0,
            "call" | "list" => 1,
            _ => return,
        };
        if let Some(fresh) = reply.header("dpop-nonce")
            && let Some(known) = self.nonces.borrow_mut().get_mut(index)
        {
            fresh.clone_into(known);
        }
    }

    /// How many entries the journal has now.
    pub(super) fn journal_mark(&self) -> Result<u64, StepFailed> {
        Ok(self.installation.journal_entries(0)?.len() as u64)
    }

    /// The entries recorded since; waits until they hold what is looked for, but not for ever.
    pub(super) fn entries_since(
        &self,
        mark: u64,
        complete: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>, StepFailed> {
        let started = Instant::now();
        loop {
            let entries = self.installation.journal_entries(mark)?;
            if complete(&entries) || started.elapsed() > RECORDED_WITHIN {
                return Ok(entries);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops everything, verifies the journal, and looks for credentials in the process's output.
    pub(super) fn stop_and_read_leaks(self) -> Result<Vec<String>, StepFailed> {
        self.installation.verify_journal()?;
        self.tls.get().map_or(Ok(()), super::mt::verify)?;
        let mut printed = self.installation.log();
        for entry in self.installation.journal_entries(0)? {
            printed.push_str(&entry.to_string());
        }
        let mut leaks = Vec::new();
        let signatures = self.sent.borrow();
        let signatures = signatures.iter().filter_map(|sent| sent.rsplit('.').next());
        let spelled: BTreeSet<String> =
            signatures.filter(|text| text.len() >= WINDOW).flat_map(spellings).collect();
        // One pass over the text, however many credentials were sent.
        let starts: BTreeSet<&[u8]> =
            spelled.iter().filter_map(|text| text.as_bytes().get(..WINDOW)).collect();
        if printed.as_bytes().windows(WINDOW).any(|window| starts.contains(window)) {
            leaks.push("a log or the journal holds a credential that was sent".to_owned());
        }
        for marker in ["planted-marker", "PRIVATE KEY", "panicked at"] {
            if printed.contains(marker) {
                leaks.push(format!("a log or the journal holds `{marker}`"));
            }
        }
        Ok(leaks)
    }
}

fn started(tools: Value) -> Result<Canary, StepFailed> {
    Canary::start(tools)
        .map_err(|error| StepFailed::Check(format!("the canary does not start: {error}")))
}

/// A server whose tools were confirmed and that went away since.
fn fall_silent(installation: &Installation) -> Result<(), StepFailed> {
    let silent = started(tools_of_other())?;
    installation.register_server("down", &["--url", &silent.url()])?;
    installation.approve_all("down")
}

/// An agent that was registered and never enrolled a key.
fn pending(installation: &Installation) -> Result<Agent, StepFailed> {
    let file = installation.state().join("pending.code").display().to_string();
    let register = ["agent", "register", "pending", "--owner", "test-team", "--code-file", &file];
    installation.cli(&register)?;
    let shown = installation.cli(&["agent", "show", "pending"])?;
    let id = shown.get("id").and_then(Value::as_str).unwrap_or_default();
    Ok(Agent::with_key(id, fixture_key(8)?, installation.addresses().clone()))
}

fn fixture_key(seed: u8) -> Result<SigningKey, StepFailed> {
    SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32])
        .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))
}

/// Confirms the canary's tools, then lets `drifting` drift and hides what must be hidden.
fn approve(installation: &Installation, canary: &Canary) -> Result<(), StepFailed> {
    installation.approve_all("canary")?;
    installation.approve_all("other")?;
    installation.approve_all("gone")?;
    canary.set_tools(tools());
    // A list that passes shows the gateway the change.
    let agent = installation.enroll("lister", &[("canary", &["read:echo"])])?;
    let token = agent.token("canary", None)?;
    let list = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": crate::agent::meta()}
    });
    agent.send(&token, "canary", &list)?;
    Ok(())
}

pub(super) fn issuer_key(installation: &Installation) -> Result<SigningKey, StepFailed> {
    let keys = installation.cli(&["key", "list"])?;
    let active = keys.as_array().into_iter().flatten().find(|key| {
        key.get("state").and_then(Value::as_str).is_some_and(|state| state == "active")
    });
    let kid = active.and_then(|key| key.get("kid")).and_then(Value::as_str).unwrap_or_default();
    let path = installation.state().join("keys").join(format!("{kid}.pem"));
    let pem = std::fs::read_to_string(&path)
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|error| StepFailed::Check(format!("{}: {error}", path.display())))
}
