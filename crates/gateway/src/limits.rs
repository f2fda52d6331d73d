//! The `[gateway.limits]` part of the configuration, and who has used up what.
//!
//! Rates are charged only to those who proved their key: nobody spends the share of somebody else.
//! Before that, what fails is charged to where it came from.
//!
//! Shared with other gateways, where they have a memory in common: the rates of agents and keys.
//! Everything else is counted by each gateway for itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use attorn_enforce::limited::Limited;
use attorn_net::{Buckets, NoiseGate, Noisy, Rate};
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{Agent, AgentId, AgentKind, LifeCycle, Published};
use attorn_replay::{SharedRate, SharedReplays, SharedTake};
use attorn_telemetry::Limit;
use serde::{Deserialize, Serialize};

/// How much of everything somebody gets. Rates are `{ per_s = …, burst = … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests of one agent. With the 65 s a proof is remembered it is also the agent's share of
    /// the set of used proofs. Default 1000 a second, 2000 at once.
    pub agent: Rate,
    /// Requests under one key. Default 1000 a second, 2000 at once.
    pub key: Rate,
    /// Requests to one server. Default 10000 a second, 20000 at once.
    pub server: Rate,
    /// Credentials from one address that fail; after that its credentials are not looked at. An
    /// IPv6 /64 is one address; loopback and listed proxies are none. Default 20 a second, 200 at once.
    pub failures_per_address: Rate,
    /// Credentials from everywhere that fail; after that, from addresses that failed lately, only
    /// tokens seen before are looked at. Default 2000 a second, 4000 at once.
    pub failures: Rate,
    /// Calls under way at one server. Default 1024.
    pub calls_per_server: usize,
    /// Failures in a row after which a server is left alone for a moment; 0 for never. If one agent saw
    /// them all, only its calls are refused. Default 5.
    pub circuit_failures: u32,
    /// Bytes of request bodies held at the same time, all callers together. Default 64 MiB.
    pub held_body_bytes: usize,
    /// Sessions of one client at one stdio server, each a child process. Default 16.
    pub stdio_sessions_per_client: usize,
    /// Bytes of data a child of a stdio server may have, on Linux; 0 for no limit. Default 4 GiB.
    pub child_memory_bytes: u64,
    /// Bytes of a file that a child may write; 0 for no limit. Default 1 GiB.
    pub child_file_bytes: u64,
    /// Files a child may have open; 0 for no limit. Default 1024.
    pub child_open_files: u64,
    /// Processes and threads that the user of this process may have once a child starts more; 0
    /// for no limit. Default 0, because it counts everything that runs as this user.
    pub child_processes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            agent: Rate::new(1_000, 2_000),
            key: Rate::new(1_000, 2_000),
            server: Rate::new(10_000, 20_000),
            failures_per_address: Rate::new(20, 200),
            failures: Rate::new(2_000, 4_000),
            calls_per_server: 1_024,
            circuit_failures: 5,
            held_body_bytes: 64 << 20,
            stdio_sessions_per_client: 16,
            child_memory_bytes: 4 << 30,
            child_file_bytes: 1 << 30,
            child_open_files: 1_024,
            child_processes: 0,
        }
    }
}

/// Who has used up what.
#[derive(Debug)]
pub(crate) struct Throttle {
    agents: Buckets<AgentId>,
    keys: Buckets<Confirmation>,
    shared: Option<Shared>,
    noise: NoiseGate,
}

/// Rates that are counted together with other gateways.
#[derive(Debug)]
struct Shared {
    memory: SharedReplays,
    agents: SharedRate,
    keys: SharedRate,
    published: Arc<Published>,
    /// A version of the registry, and the gateways that may run by it.
    gateways: Mutex<(u64, u32)>,
}

impl Shared {
    /// How many gateways may run: those that are registered, and one in the authority's process,
    /// whether there is one or not. More than there are only makes each share smaller.
    fn gateways(&self) -> u32 {
        let snapshot = self.published.load();
        let mut known = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != snapshot.version {
            let runs = |agent: &&Agent| {
                agent.kind == AgentKind::Gateway && agent.state == LifeCycle::Active
            };
            let count = u32::try_from(snapshot.agents().filter(runs).count()).unwrap_or(u32::MAX);
            *known = (snapshot.version, count.saturating_add(1));
        }
        known.1.max(1)
    }
}

impl Throttle {
    pub(crate) fn new(
        limits: &Limits,
        memory: Option<SharedReplays>,
        published: &Arc<Published>,
    ) -> Self {
        let shared = memory.map(|memory| Shared {
            memory,
            agents: SharedRate::new("agent", limits.agent),
            keys: SharedRate::new("key", limits.key),
            published: Arc::clone(published),
            gateways: Mutex::default(),
        });
        Self {
            shared,
            agents: Buckets::new(limits.agent, ENTRIES_MAX),
            keys: Buckets::new(limits.key, ENTRIES_MAX),
            noise: NoiseGate::new(limits.failures_per_address, limits.failures),
        }
    }

    /// Whether the credentials of a request are looked at. `is_known` says that its token was
    /// verified before, and is asked only when everybody's share is used up.
    pub(crate) fn look(
        &self,
        from: Option<IpAddr>,
        is_known: impl FnOnce() -> bool,
    ) -> Result<(), Limited> {
        match self.noise.admit(from) {
            Ok(()) => Ok(()),
            Err(Noisy::Everybody(_)) if is_known() => Ok(()),
            Err(Noisy::Everybody(soon)) => Err(Limited::by(Limit::Unauthenticated)(soon)),
            Err(Noisy::Address(soon)) => Err(Limited::by(Limit::Address)(soon)),
        }
    }

    /// The credentials of a request failed.
    pub(crate) fn failed(&self, from: Option<IpAddr>) {
        self.noise.charge(from);
    }

    /// Takes one request from the share of a caller whose proof holds. Before the proof is burned:
    /// what is refused here is not remembered.
    ///
    /// With a shared memory the share is one at all gateways. Where it does not answer, each gives
    /// its part: the share divided by the gateways that may run.
    pub(crate) async fn admit(&self, agent: &AgentId, key: Confirmation) -> Result<(), Limited> {
        let Some(shared) = &self.shared else { return self.admit_here(agent, &key, 1) };
        let parts = || shared.gateways();
        if !shared.memory.is_there() {
            return self.admit_here(agent, &key, parts());
        }
        let key_text = key.key().to_string();
        // Who is over one share takes nothing from the other.
        for (rate, text, limit) in [
            (&shared.agents, agent.as_str(), Limit::Agent),
            (&shared.keys, key_text.as_str(), Limit::Key),
        ] {
            if let Some(wait) = rate.known_refusal(text).await {
                return Err(Limited { limit, wait });
            }
        }
        let taken = tokio::join!(
            shared.agents.take(&shared.memory, agent.as_str()),
            shared.keys.take(&shared.memory, &key_text),
        );
        for (take, limit) in [(taken.0, Limit::Agent), (taken.1, Limit::Key)] {
            if let SharedTake::TooSoon(wait) = take {
                return Err(Limited { limit, wait });
            }
        }
        // Here as well, once: no gateway alone gives more than all may, whatever the memory says;
        // and no more than its part where the memory said nothing.
        let is_silent = [taken.0, taken.1].contains(&SharedTake::Unavailable);
        self.admit_here(agent, &key, if is_silent { parts() } else { 1 })
    }

    /// By what this gateway has given alone, as one of so many.
    fn admit_here(&self, agent: &AgentId, key: &Confirmation, parts: u32) -> Result<(), Limited> {
        self.agents.take_as_one_of(agent, parts).map_err(Limited::by(Limit::Agent))?;
        self.keys.take_as_one_of(key, parts).map_err(Limited::by(Limit::Key))
    }
}

/// Shares that are used up in part; more than a gateway has busy callers.
const ENTRIES_MAX: usize = 262_144;

#[cfg(test)]
mod tests {
    use attorn_registry::{Snapshot, SnapshotParts};

    use super::*;

    fn throttle(limits: &Limits) -> Throttle {
        let nobody = Snapshot::new(SnapshotParts::default());
        Throttle::new(limits, None, &Arc::new(Published::new(nobody)))
    }

    #[tokio::test]
    async fn one_agent_with_many_keys_has_one_share() {
        let limits = Limits { agent: Rate::new(1, 2), ..Limits::default() };
        let throttle = throttle(&limits);
        let agent = AgentId::from_random(&[1; 16]);
        let key = |byte| Confirmation::Jkt(attorn_jose::base64url(&[byte; 32]).parse().unwrap());
        assert_eq!(throttle.admit(&agent, key(1)).await, Ok(()));
        assert_eq!(throttle.admit(&agent, key(2)).await, Ok(()));
        assert_eq!(throttle.admit(&agent, key(3)).await.unwrap_err().limit, Limit::Agent);
        let other = AgentId::from_random(&[2; 16]);
        assert_eq!(throttle.admit(&other, key(3)).await, Ok(()));
    }

    #[test]
    fn when_everybody_is_noisy_known_tokens_are_still_looked_at() {
        let limits = Limits { failures: Rate::new(1, 1), ..Limits::default() };
        let throttle = throttle(&limits);
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(throttle.look(from, || false), Ok(()));
        throttle.failed(from);
        assert_eq!(throttle.look(from, || true), Ok(()));
        assert_eq!(throttle.look(from, || false).unwrap_err().limit, Limit::Unauthenticated);
    }
}
