//! The installation that the rows run against: canary, agents, keys, journal.

mod start;
mod tokens;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attorn_jose::SigningKey;
use attorn_testkit::canary::Canary;
use attorn_testkit::http2;
use attorn_testkit::wire::{self, RawReply, RawRequest};
use serde_json::{Value, json};

pub(super) use self::start::issuer_key;
pub(super) use self::tokens::{Nonce, Warmth};
use super::fixtures::tools;
use super::modes::{Cache, Combination, Http};
use super::nodes::{Node, settle};
use super::people::Paula;
use super::platforms::Platforms;
use super::verdict::spellings;
use crate::agent::{Addresses, Agent, now_s, unique};
use crate::installation::{Connect, Installation};
use crate::step::StepFailed;
use crate::tls_installation::TlsInstallation;

/// So much of a credential in a log is a leak, in bytes.
const WINDOW: usize = 32;

/// How long a gateway may take to tell of a list.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// An agent of the rows.
pub(super) type Identity = Agent;

/// Everything a case needs.
#[derive(Debug)]
pub(super) struct World {
    installation: Installation,
    canary: Canary,
    other: Canary,
    pub(super) combination: Combination,
    /// The gateways; the authority's own is the first.
    nodes: Vec<Node>,
    /// The one that is asked.
    at: Cell<usize>,
    identities: BTreeMap<&'static str, Identity>,
    tokens: RefCell<BTreeMap<(String, String), (String, u64)>>,
    /// A token to make others from; it is never sent.
    model: RefCell<(String, u64)>,
    /// Tokens last for the row, and not for the case.
    is_keeping: Cell<bool>,
    warmth: Cell<Warmth>,
    authority_nonce: Nonce,
    connector: OnceCell<Connect>,
    tls: OnceCell<TlsInstallation>,
    paula: OnceCell<Paula>,
    sent: RefCell<BTreeSet<String>>,
    issuer_key: SigningKey,
    stranger: SigningKey,
    platforms: Platforms,
}

impl World {
    pub(super) fn identity(&self, name: &str) -> Result<&Identity, StepFailed> {
        self.identities.get(name).ok_or_else(|| StepFailed::Check(format!("no agent `{name}`")))
    }

    /// Asks this gateway from now on.
    pub(super) fn go_to(&self, node: usize) {
        self.at.set(node);
    }

    /// Whether the one that is asked is in a process of its own.
    pub(super) fn is_at_second(&self) -> bool {
        self.at.get() > 0
    }

    /// How many gateways there are.
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn node(&self) -> Result<&Node, StepFailed> {
        let node = self.nodes.get(self.at.get());
        node.ok_or_else(|| StepFailed::Check("no such gateway".to_owned()))
    }

    /// Whose journal a request of this base stands in: the authority shares that of its gateway.
    fn recording_node(&self, base: &str) -> Result<&Node, StepFailed> {
        if is_of_authority(base) || base == "connect" {
            return self.nodes.first().ok_or_else(|| StepFailed::Check("no gateway".to_owned()));
        }
        self.node()
    }

    /// Waits until what the operator changed is in force at every gateway.
    pub(super) fn settle(&self) -> Result<(), StepFailed> {
        if self.nodes.len() == 1 {
            // What the authority answered is in force in its own process.
            return Ok(());
        }
        let operator = self.identity("operator")?;
        let token = operator.token("admin", None)?;
        settle(operator, &token)
    }

    /// After a case in which the canary listed other tools: has every gateway see the usual ones, and
    /// waits until the authority was told of them.
    ///
    /// A gateway tells of one list after the other. So each is shown one more tool, and what it saw
    /// before is told when the authority knows that one.
    pub(super) fn restore_tools(&self) -> Result<(), StepFailed> {
        let operator = self.identity("operator")?;
        let token = operator.token("admin", None)?;
        for node in &self.nodes {
            let name = format!("seen-{}", unique());
            let mut shown = tools();
            if let Some(all) = shown.as_array_mut() {
                all.push(json!({"name": name, "inputSchema": {"type": "object"}}));
            }
            self.canary.set_tools(shown);
            node.show_list()?;
            let started = Instant::now();
            while !operator.look(&token, "/servers/canary/tools")?.to_string().contains(&name) {
                if started.elapsed() > TOLD_WITHIN {
                    return Err(StepFailed::Check("a list was not told in time".to_owned()));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.canary.set_tools(tools());
        self.settle()
    }

    /// Runs a command as the operator.
    pub(super) fn cli(&self, command: &[String]) -> Result<Value, StepFailed> {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let printed = self.installation.cli(&command)?;
        self.settle()?;
        Ok(printed)
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
        self.settle()?;
        Ok(version)
    }

    pub(super) fn restore_policy(&self, version: u64) -> Result<(), StepFailed> {
        let version = version.to_string();
        self.installation.cli(&["policy", "rollback", &version, "--reason", "a row"])?;
        self.settle()
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
            drop(self.tls.set(super::mt::start(&self.canary, self.combination)?));
        }
        self.tls.get().ok_or_else(|| StepFailed::Check("no TLS installation".to_owned()))
    }

    /// The person of the rows; she comes when first asked for.
    pub(super) fn paula(&self) -> Result<&Paula, StepFailed> {
        if self.paula.get().is_none() {
            drop(self.paula.set(Paula::new(self)?));
        }
        self.paula.get().ok_or_else(|| StepFailed::Check("no person".to_owned()))
    }

    /// Where a file of this name is.
    pub(super) fn file(&self, name: &str) -> String {
        self.installation.state().join(name).display().to_string()
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

    pub(super) fn addresses(&self) -> &Addresses {
        self.installation.addresses()
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

    pub(super) fn platforms(&self) -> &Platforms {
        &self.platforms
    }

    pub(super) fn now_s(&self) -> u64 {
        now_s()
    }

    pub(super) fn unique(&self) -> String {
        unique()
    }

    pub(super) fn peer(&self, base: &str) -> Result<SocketAddr, StepFailed> {
        Ok(match base {
            "admin" => self.installation.addresses().admin,
            "connect" => self.connector()?.0,
            base if is_of_authority(base) => self.installation.addresses().authority,
            _ => self.node()?.address,
        })
    }

    pub(super) fn send(&self, base: &str, request: &RawRequest) -> Result<RawReply, StepFailed> {
        let peer = self.peer(base)?;
        // The connector's own port speaks HTTP/1.1.
        let reply = match self.combination.http {
            Http::Two if base != "connect" => http2::exchange(peer, &request.into()),
            Http::One | Http::Two => wire::exchange(peer, request),
        };
        reply.map_err(|error| StepFailed::Check(format!("{error}")))
    }

    pub(super) fn learn_nonce(&self, base: &str, reply: &RawReply) {
        match base {
            "token" | "workload" | "redeem" | "renew" | "admin" => {
                self.authority_nonce.learn(reply);
            }
            "call" | "list" => {
                if let Ok(node) = self.node() {
                    node.nonce.learn(reply);
                }
            }
            _ => {}
        }
    }

    /// What a request of this base has caused in the journal of who was asked, since the case began.
    pub(super) fn entries(&self, base: &str) -> Result<Vec<Value>, StepFailed> {
        self.recording_node(base)?.entries()
    }

    /// What was recorded up to here is not of the case.
    pub(super) fn mark(&self, base: &str) -> Result<(), StepFailed> {
        let node = self.recording_node(base)?;
        if self.combination.cache == Cache::Warm {
            // The outcome of what warmed it is written a moment after its answer.
            drop(node.entries()?);
        }
        node.begin()
    }

    /// Stops everything, verifies the journal, and looks for credentials in the process's output.
    pub(super) fn stop_and_read_leaks(self) -> Result<Vec<String>, StepFailed> {
        self.installation.verify_journal()?;
        self.tls.get().map_or(Ok(()), super::mt::verify)?;
        let mut printed = self.installation.log();
        for entry in self.installation.journal_entries(0)? {
            printed.push_str(&entry.to_string());
        }
        for node in &self.nodes {
            printed.push_str(&node.log());
            printed.push_str(&node.journal_text()?);
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

/// Whether the authority answers requests of this base.
pub(super) fn is_of_authority(base: &str) -> bool {
    matches!(
        base,
        "admin"
            | "authorize"
            | "discovery"
            | "enroll"
            | "introspect"
            | "login"
            | "push"
            | "redeem"
            | "renew"
            | "revoke"
            | "token"
            | "workload"
    )
}
