//! The `[guard.limits]` part of the configuration, and who has used up what.

use std::net::IpAddr;
use std::time::Duration;

use attorn_net::{Buckets, NoiseGate, Noisy, Rate, TooSoon};
use attorn_registry::ServerId;
use attorn_telemetry::Limit;
use serde::{Deserialize, Serialize};

/// How much of everything somebody gets. Rates are `{ per_s = …, burst = … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests of one MCP server. Default 1000 a second, 2000 at once.
    pub server: Rate,
    /// Credentials from one address that fail; after that its credentials are not looked at. An
    /// IPv6 /64 is one address; loopback and listed proxies are none. Default 20 a second, 200 at once.
    pub failures_per_address: Rate,
    /// Credentials from everywhere that fail; after that those from addresses that failed lately are
    /// not looked at. Default 2000 a second, 4000 at once.
    pub failures: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            server: Rate::new(1_000, 2_000),
            failures_per_address: Rate::new(20, 200),
            failures: Rate::new(2_000, 4_000),
        }
    }
}

/// A limit was reached. It says how long to stay away, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) limit: Limit,
    pub(crate) wait: Duration,
}

impl Limited {
    fn by(limit: Limit) -> impl FnOnce(TooSoon) -> Self {
        move |TooSoon(wait)| Self { limit, wait }
    }

    /// RFC 9110 section 10.2.3: whole seconds, never zero.
    pub(crate) fn retry_after_s(&self) -> u64 {
        self.wait.as_secs().saturating_add(1)
    }
}

/// Who has used up what.
#[derive(Debug)]
pub(crate) struct Throttle {
    servers: Buckets<ServerId>,
    noise: NoiseGate,
}

impl Throttle {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            servers: Buckets::new(limits.server, ENTRIES_MAX),
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

    /// Takes one request from the share of a server whose proof holds. Before the proof is burned:
    /// what is refused here is not remembered.
    pub(crate) fn admit(&self, server: &ServerId) -> Result<(), Limited> {
        self.servers.take(server).map_err(Limited::by(Limit::Server))
    }
}

const ENTRIES_MAX: usize = 65_536;
