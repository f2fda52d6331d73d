//! Every metric there is. The documentation is made from this list.

/// The kinds of Prometheus' text format that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static str,
    pub(crate) help: &'static str,
}

impl Family {
    /// The name that a query uses.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// `counter`, `gauge` or `histogram`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// The names of its labels, separated by commas.
    #[must_use]
    pub const fn labels(&self) -> &'static str {
        self.labels
    }

    /// What it counts.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }
}

// A macro, so that no metric can be left out of the list.
macro_rules! catalogue {
    ($($constant:ident = $kind:ident $name:literal [$labels:literal], $help:literal;)*) => {
        /// The metrics by name.
        pub mod families {
            use super::{Family, Kind};
            $(#[doc = $help] pub const $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        }

        /// Every metric, in the order of the documentation.
        pub const FAMILIES: &[Family] = &[$(families::$constant,)*];
    };
}

catalogue! {
    CALLS = Counter "attorn_calls_total" ["server,class,decision,reason"], "Requests decided about, by server, class, decision and reason code";
    ACCESSES = Counter "attorn_accesses_total" ["resource,decision"], "Requests to an API behind a guard, by decision";
    REFUSALS = Counter "attorn_refusals_total" ["reason"], "Requests that the gateway refused, by reason code; those of no known server included";
    OUTCOMES = Counter "attorn_outcomes_total" ["server,outcome"], "How forwarded requests ended";
    OWN_SECONDS = Histogram "attorn_gateway_seconds" [""], "Time that the gateway itself took for a permitted call, without the server";
    UPSTREAM_SECONDS = Histogram "attorn_upstream_seconds" ["server"], "Time from a recorded intent to the answer of the server, or to the head of its stream";
    IN_FLIGHT = Gauge "attorn_calls_in_flight" ["server"], "Calls under way at a server";
    CIRCUIT_OPEN = Gauge "attorn_circuit_open" ["server"], "1 while a server that failed too often is left alone";
    API_CIRCUIT_OPEN = Gauge "attorn_api_circuit_open" ["resource"], "1 while an API behind a guard that failed too often is left alone";
    CHILDREN = Gauge "attorn_stdio_children" ["server"], "Child processes of a stdio server that run";
    CHILD_STARTS = Counter "attorn_stdio_starts_total" ["server"], "Child processes of a stdio server that were started";
    LIMITS_HIT = Counter "attorn_limits_hit_total" ["limit"], "Requests refused because a limit was reached";
    SESSIONS = Gauge "attorn_sessions" [""], "Open sessions of MCP revisions before 2026-07-28";
    STREAMS = Gauge "attorn_streams" [""], "Open event streams to clients";
    CONNECTIONS = Gauge "attorn_connections" ["listener"], "Open connections";
    CONNECTIONS_TOTAL = Counter "attorn_connections_total" ["listener"], "Connections accepted";
    CONNECTIONS_CROWDED_OUT = Counter "attorn_connections_crowded_out_total" ["listener"], "Connections closed at once, because their address had as many as it may";
    HANDSHAKES_FAILED = Counter "attorn_tls_handshakes_failed_total" ["listener"], "TLS handshakes that failed or took too long";
    REPLAYS = Gauge "attorn_replay_entries" ["role"], "Used proofs and assertions that are remembered";
    REPLAYS_SHARED = Gauge "attorn_replay_shared" [""], "Whether the memory of used proofs that gateways share is there; absent where none is configured";
    TOKENS = Counter "attorn_tokens_total" ["outcome"], "Answers of the token endpoint: `issued`, or the reason code of the refusal";
    SNAPSHOT_VERSION = Gauge "attorn_snapshot_version" [""], "Number of the last change of the registry that is in force";
    SNAPSHOT_AGE = Gauge "attorn_snapshot_age_seconds" [""], "Seconds since the authority was last heard from";
    JOURNAL_ENTRIES = Gauge "attorn_journal_entries" [""], "Durable entries of the journal";
    JOURNAL_COVERED = Gauge "attorn_journal_checkpoint_entries" [""], "Entries that the last checkpoint covers";
    JOURNAL_CHECKPOINT_AGE = Gauge "attorn_journal_checkpoint_age_seconds" [""], "Seconds since the last checkpoint was signed";
    JOURNAL_COSIGNED = Gauge "attorn_journal_cosigned_entries" ["witness"], "Entries that the last checkpoint covers which this witness cosigned; far behind `attorn_journal_checkpoint_entries` is a witness that does not answer";
    JOURNAL_FORKED = Gauge "attorn_journal_forked" ["witness"], "1 while this witness has seen another history of the journal";
    JOURNAL_WAITING = Gauge "attorn_journal_waiting_seconds" [""], "Seconds that the oldest entry without a checkpoint has waited";
    JOURNAL_QUEUE = Gauge "attorn_journal_queue_entries" [""], "Entries that wait to be written";
    JOURNAL_FSYNCS = Counter "attorn_journal_fsyncs_total" [""], "Group commits of the journal";
    JOURNAL_FSYNC_SECONDS = Counter "attorn_journal_fsync_seconds_total" [""], "Time spent in them";
    JOURNAL_FAILED = Gauge "attorn_journal_failed" [""], "1 after a write or fsync failed: everything is refused until a restart";
    SHIP_BEHIND = Gauge "attorn_ship_behind_entries" ["ship"], "Entries of the journal that a system of `[[ship]]` has not accepted yet";
    SHIP_FAILURES = Counter "attorn_ship_failures_total" ["ship"], "Batches that it did not accept; each is sent again";
    SHIP_REFUSED = Counter "attorn_ship_refused_total" ["ship"], "Entries that it refused for what is in them; a line stands in place of each";
    READY = Gauge "attorn_ready" [""], "1 while `/readyz` answers 200";
    LOG_LINES_LEFT_OUT = Counter "attorn_log_lines_left_out_total" [""], "Warnings and errors that were not written to standard error, because their place in the code wrote many in that second";
    TRACES_DROPPED = Counter "attorn_otlp_dropped_total" [""], "Spans and log records that were not exported";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_say_their_unit() {
        let mut seen = std::collections::BTreeSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{} stands twice", family.name);
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Kind::Counter, "{}", family.name);
            assert!(!family.help.contains(['\n', '\\']) && !family.help.ends_with('.'));
        }
    }
}
