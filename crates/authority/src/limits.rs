//! The `[authority.limits]` part of the configuration, and who has used up what.

use std::net::IpAddr;
use std::time::Duration;

use attorn_net::{Buckets, NoiseGate, Noisy, Peer, Rate, TooSoon};
use attorn_telemetry::Limit;
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// How much of everything somebody gets. Rates are `{ per_s = …, burst = … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Token requests of one client. Default 50 a second, 200 at once.
    pub client: Rate,
    /// Questions of one client about tokens (introspection). Default 500 a second, 1000 at once.
    pub introspection: Rate,
    /// Tokens that one client gives back (revocation). Default 20 a second, 200 at once.
    pub revocation: Rate,
    /// Credentials from one address that fail; after that its credentials are not looked at. An
    /// IPv6 /64 is one address; loopback and listed proxies are none. Default 20 a second, 200 at once.
    pub failures_per_address: Rate,
    /// Credentials from everywhere that fail; after that those of addresses that failed lately are
    /// not looked at. Default 1000 a second, 2000 at once.
    pub failures: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client: Rate::new(50, 200),
            introspection: Rate::new(500, 1_000),
            revocation: Rate::new(20, 200),
            failures_per_address: Rate::new(20, 200),
            failures: Rate::new(1_000, 2_000),
        }
    }
}

/// A limit was reached. It says how long to stay away, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) limit: Limit,
    wait: Duration,
}

impl Limited {
    /// RFC 9110 section 10.2.3: whole seconds, and never zero.
    pub(crate) fn retry_after_s(self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

/// Who has used up what.
#[derive(Debug)]
pub(crate) struct Throttle {
    clients: Buckets<String>,
    introspections: Buckets<String>,
    revocations: Buckets<String>,
    noise: NoiseGate,
}

impl Throttle {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            clients: Buckets::new(limits.client, ENTRIES_MAX),
            introspections: Buckets::new(limits.introspection, ENTRIES_MAX),
            revocations: Buckets::new(limits.revocation, ENTRIES_MAX),
            noise: NoiseGate::new(limits.failures_per_address, limits.failures),
        }
    }

    /// Whether the credentials of a request are looked at.
    pub(crate) fn look(&self, head: &Parts) -> Result<(), Limited> {
        self.noise.admit(address(head)).map_err(|noisy| match noisy {
            Noisy::Address(TooSoon(wait)) => Limited { limit: Limit::Address, wait },
            Noisy::Everybody(TooSoon(wait)) => Limited { limit: Limit::Unauthenticated, wait },
        })
    }

    /// The credentials of a request failed.
    pub(crate) fn failed(&self, head: &Parts) {
        self.noise.charge(address(head));
    }

    /// Takes one token request from the share of an authenticated client.
    pub(crate) fn admit(&self, client: &str) -> Result<(), Limited> {
        take(&self.clients, client)
    }

    /// As [`Throttle::admit`], for a question about a token.
    pub(crate) fn admit_introspection(&self, client: &str) -> Result<(), Limited> {
        take(&self.introspections, client)
    }

    /// As [`Throttle::admit`], for a token that is given back: each is a change of the registry.
    pub(crate) fn admit_revocation(&self, client: &str) -> Result<(), Limited> {
        take(&self.revocations, client)
    }
}

fn take(from: &Buckets<String>, client: &str) -> Result<(), Limited> {
    let taken = from.take(&client.to_owned());
    taken.map_err(|TooSoon(wait)| Limited { limit: Limit::TokenClient, wait })
}

fn address(head: &Parts) -> Option<IpAddr> {
    head.extensions.get::<Peer>().and_then(Peer::charged)
}

const ENTRIES_MAX: usize = 65_536;
