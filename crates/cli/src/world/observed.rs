//! What an operator sees of this process: its metrics, its readiness, and its traces.

use std::sync::Arc;

use attorn_journal::Journal;
use attorn_net::Connections;
use attorn_telemetry::{Exporter, Exposition, Resource, Telemetry, families};
use tokio::time::Instant;

use crate::config::Config;
use crate::exit::Failure;
use crate::outside::{causes, connect_world};

use super::Followed;

/// The telemetry of the process, and what sends it away where a collector is configured.
pub(super) struct Observed {
    pub(super) telemetry: Telemetry,
    pub(super) exporter: Option<Exporter>,
}

impl Observed {
    /// Nothing is watched yet; see [`watch`].
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let mut telemetry = Telemetry::default();
        let exporter = match &config.otlp {
            None => None,
            Some(otlp) => {
                let client = connect_world(otlp.roots.as_deref())?.client;
                let resource =
                    Resource { version: env!("CARGO_PKG_VERSION"), instance: instance(config) };
                let (exporter, tracer) = Exporter::new(client, &otlp.endpoint, &resource)
                    .map_err(|e| Failure::usage(format!("`otlp.endpoint`: {}", causes(&e))))?;
                telemetry.tracer = tracer;
                Some(exporter)
            }
        };
        Ok(Self { telemetry, exporter })
    }
}

/// What this process is called in traces: where it is reached.
fn instance(config: &Config) -> String {
    match (&config.authority, &config.gateway) {
        (Some(authority), _) => authority.issuer.clone(),
        (None, Some(gateway)) => gateway.public_url.as_str().to_owned(),
        (None, None) => {
            config.guard.first().map_or_else(String::new, |one| one.public_url.as_str().to_owned())
        }
    }
}

/// Watches journal, snapshot and connections from now on.
pub(super) fn watch(
    telemetry: &Telemetry,
    journal: &Journal,
    followed: &Followed,
    connections: Vec<(&'static str, Connections)>,
) {
    telemetry.health.watch_journal(journal);
    let freshness = Arc::clone(&followed.freshness);
    telemetry.health.add(move || (!freshness.is_fresh()).then_some("snapshot.stale"));
    let journal = journal.clone();
    telemetry.add_source(move |out| collect_journal(&journal, out));
    telemetry.add_source(|out| {
        out.sample(&families::LOG_LINES_LEFT_OUT, &[], crate::logging::left_out());
    });
    let (freshness, published) = (Arc::clone(&followed.freshness), Arc::clone(&followed.published));
    telemetry.add_source(move |out| {
        out.sample(&families::SNAPSHOT_VERSION, &[], published.load().version);
        // Before it was heard for the first time there is no age to tell.
        if let Some(silent) = freshness.silent(Instant::now()) {
            out.sample(&families::SNAPSHOT_AGE, &[], silent);
        }
    });
    for (name, connections) in connections {
        telemetry.add_source(move |out| collect_connections(name, &connections, out));
    }
}

fn collect_journal(journal: &Journal, out: &mut Exposition) {
    let status = journal.status();
    let waiting = status.waiting.unwrap_or_default();
    out.sample(&families::JOURNAL_ENTRIES, &[], status.entries);
    out.sample(&families::JOURNAL_COVERED, &[], status.covered);
    out.sample(&families::JOURNAL_CHECKPOINT_AGE, &[], status.checkpoint_age);
    out.sample(&families::JOURNAL_WAITING, &[], waiting);
    out.sample(&families::JOURNAL_QUEUE, &[], u64::try_from(status.queued).unwrap_or(u64::MAX));
    out.sample(&families::JOURNAL_FSYNCS, &[], status.fsyncs);
    out.sample(&families::JOURNAL_FSYNC_SECONDS, &[], status.fsync_time);
    out.sample(&families::JOURNAL_FAILED, &[], u64::from(status.failed));
}

fn collect_connections(listener: &str, connections: &Connections, out: &mut Exposition) {
    let labels = [("listener", listener)];
    out.sample(&families::CONNECTIONS, &labels, connections.open());
    out.sample(&families::CONNECTIONS_TOTAL, &labels, connections.accepted());
    out.sample(&families::CONNECTIONS_CROWDED_OUT, &labels, connections.crowded_out());
    out.sample(&families::HANDSHAKES_FAILED, &labels, connections.handshakes_failed());
}
