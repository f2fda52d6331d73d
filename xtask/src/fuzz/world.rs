//! A small registry to decide in, read from JSON as a gateway reads it.

use attorn_policy::{Operation, PolicySet, Request};
use attorn_registry::{AgentId, Jkt, ScopeSet, Snapshot, SnapshotParts};
use serde_json::{Value, json};

pub(crate) const NOW_S: u64 = 1_000;
const JKT: Jkt = Jkt::from_bytes([8; 32]);

/// What decisions are asked in.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    agent: AgentId,
}

/// One question.
pub(crate) struct Ask<'a> {
    pub(crate) server: &'a str,
    pub(crate) operation: Operation<'a>,
    pub(crate) scope: &'a ScopeSet,
    pub(crate) arguments: Option<&'a str>,
}

impl World {
    pub(crate) fn new() -> Result<Self, String> {
        let parts: SnapshotParts = serde_json::from_value(parts()?).map_err(|e| e.to_string())?;
        let agent = AgentId::from_random(&[2; 16]);
        Ok(Self { snapshot: Snapshot::new(parts), agent })
    }

    /// Asks something under these policies. `None` where there is no such server.
    pub(crate) fn ask<T>(
        &self,
        policies: &PolicySet,
        ask: &Ask<'_>,
        with: impl FnOnce(&Request<'_>) -> T,
    ) -> Option<T> {
        Some(with(&Request {
            snapshot: &self.snapshot,
            policies,
            server: self.snapshot.server_named(ask.server)?,
            agent: &self.agent,
            person: None,
            token_scope: ask.scope,
            token_jti: "t1",
            token_key: Some(JKT),
            token_details: None,
            token_epoch: 0,
            token_issued_s: u64::MAX,
            operation: ask.operation,
            arguments: ask.arguments,
            now_s: NOW_S,
        }))
    }
}

/// The registry as JSON.
pub(crate) fn parts() -> Result<Value, String> {
    let owner = attorn_registry::OwnerId::from_random(&[1; 16]);
    let agent = AgentId::from_random(&[2; 16]);
    let digest = "03".repeat(32);
    let tool = |name: &str, class: Option<&str>| {
        let approved =
            class.map(|class| json!({"digest": digest, "class": class, "by": "ann", "at_s": 0}));
        json!({
            "name": name, "definition": "{}", "digest": digest, "approved": approved,
            "proposed_class": "write", "seen_s": 0,
        })
    };
    let server = |name: &str, seed: u8| {
        let tools = [
            ("get", Some("read")),
            ("pay", Some("write")),
            ("drop", Some("irreversible")),
            ("new", None),
        ];
        let tools: serde_json::Map<String, Value> =
            tools.iter().map(|(name, class)| ((*name).to_owned(), tool(name, *class))).collect();
        json!({
            "id": attorn_registry::ServerId::from_random(&[seed; 16]), "name": name,
            "owner": owner, "state": "active",
            "upstream": {"kind": "http", "url": "http://127.0.0.1:9/mcp"},
            "keys": [], "tools": tools, "created_s": 0,
        })
    };
    let grant = |seed: u8| {
        json!({
            "id": attorn_registry::GrantId::from_random(&[seed; 16]), "agent": agent,
            "server": attorn_registry::ServerId::from_random(&[seed; 16]),
            "patterns": ["read:*", "write:*", "irreversible:*"], "expires_s": null,
            "revoked_s": null, "by": "ann", "reason": "test", "created_s": 0,
        })
    };
    Ok(json!({
        "version": 3, "made_ms": 5, "epoch": 0,
        "owners": [{
            "id": owner, "name": "ann", "email": null, "state": "active", "created_s": 0,
        }],
        "agents": [{
            "id": agent, "name": "billing", "kind": "agent", "owner": owner, "state": "active",
            "keys": [{
                "jkt": JKT, "jwk": "{}", "state": "active", "not_before_s": 0, "not_after_s": null,
            }],
            "created_s": 0,
        }],
        "servers": [server("crm", 10), server("erp", 11)],
        "grants": [grant(10), grant(11)],
        "locks": [], "revoked": [],
        "policy": {"version": 7, "text": PolicySet::starter_text()},
        "issuer_keys": [],
    }))
}
