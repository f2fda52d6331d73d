//! The fixtures: servers, agents in every state, and the gateways.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;

use attorn_jose::{Algorithm, SigningKey};
use attorn_testkit::canary::Canary;
use serde_json::{Value, json};

use super::super::fixtures::{tools, tools_before, tools_of_other};
use super::super::modes::{Combination, Nodes};
use super::super::nodes::{Node, settle};
use super::super::people::CLIENTS;
use super::super::platforms::Platforms;
use super::{Identity, Nonce, World};
use crate::agent::Agent;
use crate::installation::{Installation, Setting};
use crate::step::StepFailed;

/// What the operator grants on the first canary.
const GRANTED: &[&str] =
    &["read:echo", "read:param_tool", "read:drifting", "write:write_note", "irreversible:wipe"];

impl World {
    /// Starts everything that a combination needs.
    ///
    /// # Errors
    /// When something does not start in time.
    pub(in crate::negative) fn start(combination: Combination) -> Result<Self, StepFailed> {
        let canary = started(tools_before())?;
        let other = started(tools_of_other())?;
        let platforms = Platforms::new()?;
        let more = format!("{CLIENTS}{}", platforms.config());
        let installation = Installation::start_on(&Setting { more: &more, ..Setting::default() })?;
        let second = match combination.nodes {
            Nodes::One => None,
            // First of all, so that it sees the servers as the other one does.
            Nodes::Two => Some(installation.add_gateway("second")?),
        };
        installation.register_server("canary", &["--url", &canary.url()])?;
        installation.register_server("other", &["--url", &other.url()])?;
        installation.register_server("gone", &["--url", &other.url()])?;
        let read: &[(&str, &[&str])] = &[("canary", &["read:echo"])];
        let (lister, marker) =
            (installation.enroll("lister", read)?, installation.enroll("marker", read)?);
        let own = installation.addresses().gateway;
        let mut nodes = vec![Node::new(own, &installation.journal(), None, &marker)?];
        if let Some(second) = second {
            let (address, journal) = (second.address, second.journal());
            nodes.push(Node::new(address, &journal, Some(second), &marker)?);
        }
        approve(&installation, &canary, (&lister, &nodes))?;
        fall_silent(&installation)?;
        let identities = identities(&installation)?;
        Platforms::register(&installation)?;
        installation.cli(&["server", "retire", "gone", "--reason", "a fixture"])?;
        let issuer_key = issuer_key(&installation)?;
        let world = Self {
            installation,
            canary,
            other,
            combination,
            nodes,
            at: Cell::new(0),
            identities,
            tokens: RefCell::default(),
            model: RefCell::default(),
            is_keeping: Cell::new(false),
            warmth: Cell::default(),
            authority_nonce: Nonce::default(),
            connector: OnceCell::new(),
            tls: OnceCell::new(),
            paula: OnceCell::new(),
            sent: RefCell::default(),
            issuer_key,
            stranger: fixture_key(7)?,
            platforms,
        };
        world.settle()?;
        Ok(world)
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
fn approve(
    installation: &Installation,
    canary: &Canary,
    (lister, nodes): (&Identity, &[Node]),
) -> Result<(), StepFailed> {
    installation.approve_all("canary")?;
    installation.approve_all("other")?;
    installation.approve_all("gone")?;
    canary.set_tools(tools());
    let token = lister.token("canary", None)?;
    if nodes.len() > 1 {
        let operator = installation.operator()?;
        settle(&operator, &operator.token("admin", None)?)?;
    }
    // A list that passes shows a gateway the change.
    let list = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": crate::agent::meta()}
    });
    for node in nodes {
        let reply = lister.at(node.address).send(&token, "canary", &list)?;
        if reply.status != 200 {
            return Err(StepFailed::Check(format!("no list: {} {}", reply.status, reply.text())));
        }
    }
    Ok(())
}

/// The agents of the rows, each in its state.
fn identities(installation: &Installation) -> Result<BTreeMap<&'static str, Identity>, StepFailed> {
    let grants: &[(&str, &[&str])] = &[
        ("canary", GRANTED),
        ("other", &["read:echo", "read:other_tool"]),
        ("down", &["read:echo"]),
        ("gone", &["read:echo"]),
    ];
    let mut identities = BTreeMap::from([
        ("operator", installation.operator()?),
        ("pending", pending(installation)?),
    ]);
    for name in ["alpha", "beta", "gamma", "suspended", "retired"] {
        identities.insert(name, installation.enroll(name, grants)?);
    }
    installation.cli(&["agent", "suspend", "suspended", "--reason", "a fixture"])?;
    installation.cli(&["agent", "retire", "retired", "--reason", "a fixture"])?;
    Ok(identities)
}

/// The key that the authority signs with.
pub(in crate::negative) fn issuer_key(
    installation: &Installation,
) -> Result<SigningKey, StepFailed> {
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
