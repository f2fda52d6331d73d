//! The `[guard.limits]` part of the configuration, and who has used up what.
//!
//! A server proves its key here, and the agent proved its own when it called the server. So the shares of
//! agents and of their keys are those at one server: another server cannot use them up.

use std::net::IpAddr;

use attorn_enforce::limited::Limited;
use attorn_jose::Jkt;
use attorn_net::{Buckets, NoiseGate, Noisy, Rate};
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_registry::{AgentId, ServerId};
use attorn_telemetry::Limit;
use serde::{Deserialize, Serialize};

/// How much of everything somebody gets. Rates are `{ per_s = …, burst = … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests of one MCP server. Default 1000 a second, 2000 at once.
    pub server: Rate,
    /// Requests of one agent through one MCP server. Default 1000 a second, 2000 at once.
    pub agent: Rate,
    /// Requests for calls under one key of an agent, through one MCP server. Default 1000 a second,
    /// 2000 at once.
    pub key: Rate,
    /// Credentials from one address that fail; after that its credentials are not looked at. An
    /// IPv6 /64 is one address; loopback and listed proxies are none. Default 20 a second, 200 at once.
    pub failures_per_address: Rate,
    /// Credentials from everywhere that fail; after that those from addresses that failed lately are
    /// not looked at. Default 2000 a second, 4000 at once.
    pub failures: Rate,
    /// Failures in a row after which the API is left alone for a moment; 0 for never. No connection,
    /// no answer in time, and 502, 503 and 504 are failures. If one MCP server saw them all, only its
    /// requests are refused. Default 5.
    pub circuit_failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            server: Rate::new(1_000, 2_000),
            agent: Rate::new(1_000, 2_000),
            key: Rate::new(1_000, 2_000),
            failures_per_address: Rate::new(20, 200),
            failures: Rate::new(2_000, 4_000),
            circuit_failures: 5,
        }
    }
}

/// Who has used up what.
#[derive(Debug)]
pub(crate) struct Throttle {
    servers: Buckets<ServerId>,
    /// By the server's key and the agent.
    agents: Buckets<(Jkt, AgentId)>,
    /// By the server's key and the agent's.
    keys: Buckets<(Jkt, Jkt)>,
    noise: NoiseGate,
}

impl Throttle {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            servers: Buckets::new(limits.server, ENTRIES_MAX),
            agents: Buckets::new(limits.agent, ENTRIES_MAX),
            keys: Buckets::new(limits.key, ENTRIES_MAX),
            noise: NoiseGate::new(limits.failures_per_address, limits.failures),
        }
    }

    /// Whether the credentials of a request are looked at.
    pub(crate) fn look(&self, from: Option<IpAddr>) -> Result<(), Limited> {
        self.noise.admit(from).map_err(|noisy| match noisy {
            Noisy::Address(soon) => Limited::by(Limit::Address)(soon),
            Noisy::Everybody(soon) => Limited::by(Limit::Unauthenticated)(soon),
        })
    }

    /// The credentials of a request failed.
    pub(crate) fn failed(&self, from: Option<IpAddr>) {
        self.noise.charge(from);
    }

    /// Takes one request from the shares of a server whose proof holds, and of the agent it asks for.
    /// Before the proof is burned: what is refused here is not remembered.
    pub(crate) fn admit(&self, claims: &AccessTokenClaims<ServerId>) -> Result<(), Limited> {
        self.servers.take(&claims.client_id).map_err(Limited::by(Limit::Server))?;
        // A token of this kind that verified has a parent.
        let Some(parent) = &claims.parent else { return Ok(()) };
        let server = claims.cnf.key();
        let agent = (server, parent.client_id.clone());
        self.agents.take(&agent).map_err(Limited::by(Limit::Agent))?;
        self.keys.take(&(server, parent.key)).map_err(Limited::by(Limit::Key))
    }
}

const ENTRIES_MAX: usize = 65_536;
