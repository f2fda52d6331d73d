//! One record of the journal.
//!
//! Canonical bytes are RFC 8785: members in the order of their names, which is the order of the
//! fields below. Absent members are left out; there is no `null`.

use std::collections::BTreeMap;

use attorn_json::Limits;
use serde::Deserialize;

use crate::encode::Writer;
use crate::kind::Kind;
use crate::tile::ENTRY_BYTES_MAX;

/// One record of the journal. Values may come from a peer: they are escaped and capped when written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The chain of actors of the token, current one first.
    pub actor_chain: Option<String>,
    /// The agent that acts.
    pub agent: Option<String>,
    /// Thumbprint (RFC 7638) of the agent's key.
    pub agent_key: Option<String>,
    /// The approval that allowed an irreversible call.
    pub approval: Option<String>,
    /// Size of the arguments in bytes.
    pub arguments_bytes: Option<u64>,
    /// Digest of the arguments; see [`crate::digest`].
    pub arguments_digest: Option<String>,
    /// Audience of the token.
    pub audience: Option<String>,
    /// The operator or role that did it.
    pub by: Option<String>,
    /// Class of the tool.
    pub class: Option<String>,
    /// The OAuth client.
    pub client_id: Option<String>,
    /// Digest of the constraint that applied.
    pub constraint_digest: Option<String>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Joins the entries of one call.
    pub decision_id: Option<String>,
    /// What has no field of its own.
    #[serde(default)]
    pub detail: BTreeMap<String, String>,
    /// The name that the API behind the server gave the request.
    pub downstream_request_id: Option<String>,
    /// The resource behind the server.
    pub downstream_resource: Option<String>,
    /// Status the downstream gave.
    pub downstream_status: Option<String>,
    /// How long it took, in microseconds.
    pub duration_us: Option<u64>,
    /// `jti` of the token got by exchange.
    pub exchanged_jti: Option<String>,
    /// The grant used.
    pub grant: Option<String>,
    /// What the entry is about.
    pub kind: Kind,
    /// Revision of MCP.
    pub mcp_version: Option<String>,
    /// Method of MCP or HTTP.
    pub method: Option<String>,
    /// How a call ended.
    pub outcome: Option<Outcome>,
    /// The owner answerable for it.
    pub owner: Option<String>,
    /// Version of the policy set.
    pub policy_version: Option<String>,
    /// `jti` of the proof of possession.
    pub proof_jti: Option<String>,
    /// Thumbprint of the key that made the proof.
    pub proof_key: Option<String>,
    /// Reason code.
    pub reason: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// Size of the result in bytes.
    pub result_bytes: Option<u64>,
    /// Digest of the result.
    pub result_digest: Option<String>,
    /// Role of the process that wrote the entry.
    pub role: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Scope used.
    pub scope: Option<String>,
    /// The MCP server.
    pub server: Option<String>,
    /// Thumbprint of the server's key.
    pub server_key: Option<String>,
    /// Subject of the token.
    pub subject: Option<String>,
    /// When, in milliseconds since 1970 by the clock of the writer. Not ordered: the index is.
    pub time_ms: u64,
    /// `jti` of the access token.
    pub token_jti: Option<String>,
    /// The tool.
    pub tool: Option<String>,
    /// Digest of the tool's definition.
    pub tool_digest: Option<String>,
    /// Trace id.
    pub trace_id: Option<String>,
}

impl Entry {
    /// An entry that says no more than what it is about and when. `time_ms` is since 1970.
    #[must_use]
    pub fn new(kind: Kind, time_ms: u64) -> Self {
        Self {
            actor_chain: None,
            agent: None,
            agent_key: None,
            approval: None,
            arguments_bytes: None,
            arguments_digest: None,
            audience: None,
            by: None,
            class: None,
            client_id: None,
            constraint_digest: None,
            decision: None,
            decision_id: None,
            detail: BTreeMap::new(),
            downstream_request_id: None,
            downstream_resource: None,
            downstream_status: None,
            duration_us: None,
            exchanged_jti: None,
            grant: None,
            kind,
            mcp_version: None,
            method: None,
            outcome: None,
            owner: None,
            policy_version: None,
            proof_jti: None,
            proof_key: None,
            reason: None,
            request_id: None,
            result_bytes: None,
            result_digest: None,
            role: None,
            rule: None,
            scope: None,
            server: None,
            server_key: None,
            subject: None,
            time_ms,
            token_jti: None,
            tool: None,
            tool_digest: None,
            trace_id: None,
        }
    }

    /// The canonical bytes (RFC 8785), at most [`ENTRY_BYTES_MAX`] long whatever the fields hold.
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write_a_to_e(&mut writer);
        self.write_g_to_z(&mut writer);
        writer.finish()
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// Refuses what is not strict JSON, not an entry, or not in canonical form.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        // Two levels: the entry and its `detail`.
        let limits = Limits { bytes_max: ENTRY_BYTES_MAX, depth_max: 2 };
        let document = attorn_json::parse(bytes, &limits).map_err(|_| EntryError::NotJson)?;
        let entry: Self = document.to().map_err(|_| EntryError::NotAnEntry)?;
        if entry.to_canonical() != bytes {
            return Err(EntryError::NotCanonical);
        }
        Ok(entry)
    }

    // Split in two because 43 members do not fit on a screen. The order is that of the names.
    fn write_a_to_e(&self, writer: &mut Writer) {
        writer.text("actor_chain", self.actor_chain.as_deref());
        writer.text("agent", self.agent.as_deref());
        writer.text("agent_key", self.agent_key.as_deref());
        writer.text("approval", self.approval.as_deref());
        writer.integer("arguments_bytes", self.arguments_bytes);
        writer.text("arguments_digest", self.arguments_digest.as_deref());
        writer.text("audience", self.audience.as_deref());
        writer.text("by", self.by.as_deref());
        writer.text("class", self.class.as_deref());
        writer.text("client_id", self.client_id.as_deref());
        writer.text("constraint_digest", self.constraint_digest.as_deref());
        writer.text("decision", self.decision.map(Decision::as_str));
        writer.text("decision_id", self.decision_id.as_deref());
        writer.pairs("detail", &self.detail);
        writer.text("downstream_request_id", self.downstream_request_id.as_deref());
        writer.text("downstream_resource", self.downstream_resource.as_deref());
        writer.text("downstream_status", self.downstream_status.as_deref());
        writer.integer("duration_us", self.duration_us);
        writer.text("exchanged_jti", self.exchanged_jti.as_deref());
    }

    fn write_g_to_z(&self, writer: &mut Writer) {
        writer.text("grant", self.grant.as_deref());
        writer.text("kind", Some(self.kind.as_str()));
        writer.text("mcp_version", self.mcp_version.as_deref());
        writer.text("method", self.method.as_deref());
        writer.text("outcome", self.outcome.map(Outcome::as_str));
        writer.text("owner", self.owner.as_deref());
        writer.text("policy_version", self.policy_version.as_deref());
        writer.text("proof_jti", self.proof_jti.as_deref());
        writer.text("proof_key", self.proof_key.as_deref());
        writer.text("reason", self.reason.as_deref());
        writer.text("request_id", self.request_id.as_deref());
        writer.integer("result_bytes", self.result_bytes);
        writer.text("result_digest", self.result_digest.as_deref());
        writer.text("role", self.role.as_deref());
        writer.text("rule", self.rule.as_deref());
        writer.text("scope", self.scope.as_deref());
        writer.text("server", self.server.as_deref());
        writer.text("server_key", self.server_key.as_deref());
        writer.text("subject", self.subject.as_deref());
        writer.integer("time_ms", Some(self.time_ms));
        writer.text("token_jti", self.token_jti.as_deref());
        writer.text("tool", self.tool.as_deref());
        writer.text("tool_digest", self.tool_digest.as_deref());
        writer.text("trace_id", self.trace_id.as_deref());
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Refused; nothing was forwarded.
    Deny,
    /// Allowed.
    Permit,
}

impl Decision {
    /// The word as it stands in an entry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Permit => "permit",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The caller gave up.
    Cancelled,
    /// A result came back.
    Ok,
    /// The server answered with a JSON-RPC error.
    ProtocolError,
    /// The tool reported an error.
    ToolError,
    /// Nobody knows: the process ended between decision and outcome.
    Unknown,
    /// The server could not be reached or broke off.
    UpstreamError,
}

impl Outcome {
    /// The word as it stands in an entry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Ok => "ok",
            Self::ProtocolError => "protocol_error",
            Self::ToolError => "tool_error",
            Self::Unknown => "unknown",
            Self::UpstreamError => "upstream_error",
        }
    }
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Strict JSON, but a member is unknown, missing or of the wrong type.
    #[error("the JSON is not an entry")]
    NotAnEntry,
    /// RFC 8785: the bytes differ from the canonical form of what they say.
    #[error("the entry is not in canonical form")]
    NotCanonical,
    /// Not strict JSON, or too long.
    #[error("the entry is not strict JSON")]
    NotJson,
}

#[cfg(test)]
mod tests;
