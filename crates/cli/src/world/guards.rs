//! The guards of this process: one for each API, each on a port of its own.

use std::sync::Arc;
use std::time::Duration;

use attorn_guard::{Guard, GuardService, Parts};
use attorn_net::{Client, ClientConfig, Clock, Limits, Listener, Shutdown};
use attorn_oauth::resource::IssuerUrl;
use attorn_replay::SharedReplays;
use attorn_telemetry::Telemetry;

use crate::config::Config;
use crate::exit::Failure;
use crate::outside::{causes, system_random};

use super::Followed;
use super::node::Node;

/// A guard that listens and is not served yet.
pub(super) struct Ready {
    guard: Guard,
    listener: Listener,
    service: GuardService,
}

impl Ready {
    pub(super) fn serve(
        self,
        limits: Limits,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.guard.serve(self.listener, self.service, limits, shutdown)
    }
}

/// Makes the guards that the configuration names. They follow what the gateway follows.
pub(super) fn start(
    config: &Config,
    issuer: &str,
    node: &Node,
    (followed, shared_replays, telemetry, clock): (
        &Followed,
        Option<SharedReplays>,
        &Telemetry,
        &Clock,
    ),
    listeners: Vec<Listener>,
) -> Result<Vec<Ready>, Failure> {
    let client = ClientConfig { http2: true, body_timeout: Some(REST), ..ClientConfig::default() };
    let client = Client::new(client)
        .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))?;
    let mut ready = Vec::with_capacity(config.guard.len());
    for (settings, listener) in config.guard.iter().zip(listeners) {
        let issuer = IssuerUrl::parse(issuer)
            .map_err(|e| Failure::usage(format!("the issuer `{issuer}`: {e}")))?;
        let guard = Guard::start(Parts {
            api: settings.api(),
            issuer,
            published: Arc::clone(&followed.published),
            freshness: Arc::clone(&followed.freshness),
            journal: node.journal.clone(),
            payload_key: node.payload_key.clone(),
            shared_replays: shared_replays.clone(),
            clock: clock.clone(),
            random: system_random(),
            telemetry: telemetry.clone(),
        });
        let guard = guard.map_err(|e| Failure::usage(causes(&e)))?;
        let service = guard.service(settings, client.clone());
        ready.push(Ready { guard, listener, service });
    }
    Ok(ready)
}

/// Time between two pieces of an answer.
const REST: Duration = Duration::from_secs(300);
