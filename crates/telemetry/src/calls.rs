//! What is counted on the path of requests.
//!
//! The numbers of a server are looked up once, when the gateway first meets it; a call then adds to
//! atomics of its own. Refusals may look up: they pay for a journal entry anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use attorn_audit::Outcome;
use attorn_registry::{Class, ReasonCode, ServerId};

use crate::catalogue::families;
use crate::exposition::Exposition;
use crate::limit::Limit;
use crate::metric::{Counter, Gauge, Histogram};

/// The numbers of all calls. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct CallMetrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    servers: RwLock<BTreeMap<ServerId, Arc<ServerMeter>>>,
    /// Shared by all servers beyond `SERVERS_MAX`.
    others: Arc<ServerMeter>,
    refusals: Reasons,
    tokens_issued: Counter,
    tokens_refused: Reasons,
    limits: [Counter; Limit::ALL.len()],
    own: Histogram,
    streams: Gauge,
}

/// The numbers of one server.
#[derive(Debug, Default)]
pub struct ServerMeter {
    permitted: [Counter; CLASSES],
    refused: [Reasons; CLASSES],
    outcomes: [Counter; OUTCOMES.len()],
    /// Time from intent to outcome.
    pub upstream: Histogram,
    /// Calls under way.
    pub in_flight: Gauge,
    /// Set while the circuit is open.
    pub circuit_open: Gauge,
    /// Child processes that run.
    pub children: Gauge,
    /// Child processes started.
    pub child_starts: Counter,
}

/// One counter for each reason code, made when the first is counted.
#[derive(Debug, Default)]
struct Reasons(OnceLock<Box<[Counter]>>);

impl CallMetrics {
    /// The numbers of a server, made when it is first asked for.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Arc<ServerMeter> {
        let known = self.0.servers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.get(id) {
            return Arc::clone(meter);
        }
        drop(known);
        let mut known = self.0.servers.write().unwrap_or_else(PoisonError::into_inner);
        // Bounded: each server is some series in a database that keeps them for ever.
        if known.len() >= SERVERS_MAX && !known.contains_key(id) {
            return Arc::clone(&self.0.others);
        }
        Arc::clone(known.entry(id.clone()).or_default())
    }

    /// One refusal, whoever and whatever it was about.
    pub fn refused(&self, reason: ReasonCode) {
        self.0.refusals.add_one(reason);
    }

    /// A token was issued.
    pub fn token_issued(&self) {
        self.0.tokens_issued.add_one();
    }

    /// A token request was refused.
    pub fn token_refused(&self, reason: ReasonCode) {
        self.0.tokens_refused.add_one(reason);
    }

    /// Somebody ran into a limit.
    pub fn limit_hit(&self, limit: Limit) {
        if let Some((counter, _)) =
            self.0.limits.iter().zip(Limit::ALL).find(|(_, one)| *one == limit)
        {
            counter.add_one();
        }
    }

    /// How often a limit was run into.
    #[must_use]
    pub fn limit_hits(&self, limit: Limit) -> u64 {
        let mut all = self.0.limits.iter().zip(Limit::ALL);
        all.find(|(_, one)| *one == limit).map_or(0, |(counter, _)| counter.count())
    }

    /// Time that the gateway itself takes.
    #[must_use]
    pub fn own(&self) -> &Histogram {
        &self.0.own
    }

    /// Open streams.
    #[must_use]
    pub fn streams(&self) -> &Gauge {
        &self.0.streams
    }

    pub(crate) fn collect(&self, out: &mut Exposition) {
        let inner = &*self.0;
        inner.refusals.each(|reason, count| {
            out.sample(&families::REFUSALS, &[("reason", reason.as_str())], count);
        });
        out.sample(&families::TOKENS, &[("outcome", "issued")], inner.tokens_issued.count());
        inner.tokens_refused.each(|reason, count| {
            out.sample(&families::TOKENS, &[("outcome", reason.as_str())], count);
        });
        for (limit, counter) in Limit::ALL.iter().zip(&inner.limits) {
            out.sample(&families::LIMITS_HIT, &[("limit", limit.as_str())], counter.count());
        }
        out.histogram(&families::OWN_SECONDS, &[], &inner.own);
        out.sample(&families::STREAMS, &[], inner.streams.count());
        for (id, meter) in inner.servers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            meter.collect(id.as_str(), out);
        }
        inner.others.collect("other", out);
    }
}

impl ServerMeter {
    /// A request was permitted and is on record. Lists and handshakes have no class.
    pub fn permitted(&self, class: Option<Class>) {
        if let Some(counter) = self.permitted.get(place(class)) {
            counter.add_one();
        }
    }

    /// A request was refused.
    pub fn refused(&self, class: Option<Class>, reason: ReasonCode) {
        if let Some(reasons) = self.refused.get(place(class)) {
            reasons.add_one(reason);
        }
    }

    /// A forwarded request ended.
    pub fn ended(&self, outcome: Outcome) {
        let place = OUTCOMES.iter().position(|one| *one == outcome);
        if let Some(counter) = place.and_then(|place| self.outcomes.get(place)) {
            counter.add_one();
        }
    }

    fn collect(&self, server: &str, out: &mut Exposition) {
        for (at, class) in CLASS_NAMES.iter().enumerate() {
            let labels = |decision, reason| {
                [("server", server), ("class", *class), ("decision", decision), ("reason", reason)]
            };
            let permitted = self.permitted.get(at).map_or(0, Counter::count);
            if permitted > 0 {
                out.sample(&families::CALLS, &labels("permit", ""), permitted);
            }
            if let Some(refused) = self.refused.get(at) {
                refused.each(|reason, count| {
                    out.sample(&families::CALLS, &labels("deny", reason.as_str()), count);
                });
            }
        }
        for (outcome, counter) in OUTCOMES.iter().zip(&self.outcomes) {
            if counter.count() > 0 {
                let labels = [("server", server), ("outcome", outcome.as_str())];
                out.sample(&families::OUTCOMES, &labels, counter.count());
            }
        }
        let labels = [("server", server)];
        out.histogram(&families::UPSTREAM_SECONDS, &labels, &self.upstream);
        if server == "other" {
            return;
        }
        out.sample(&families::IN_FLIGHT, &labels, self.in_flight.count());
        out.sample(&families::CIRCUIT_OPEN, &labels, self.circuit_open.count());
        if self.child_starts.count() > 0 {
            out.sample(&families::CHILDREN, &labels, self.children.count());
            out.sample(&families::CHILD_STARTS, &labels, self.child_starts.count());
        }
    }
}

impl Reasons {
    fn add_one(&self, reason: ReasonCode) {
        let made = || ReasonCode::ALL.iter().map(|_| Counter::default()).collect();
        let place = ReasonCode::ALL.iter().position(|one| *one == reason);
        if let Some(counter) = place.and_then(|place| self.0.get_or_init(made).get(place)) {
            counter.add_one();
        }
    }

    fn each(&self, mut tell: impl FnMut(ReasonCode, u64)) {
        let Some(counters) = self.0.get() else { return };
        for (reason, counter) in ReasonCode::ALL.iter().zip(counters) {
            if counter.count() > 0 {
                tell(*reason, counter.count());
            }
        }
    }
}

fn place(class: Option<Class>) -> usize {
    match class {
        None => 0,
        Some(Class::Read) => 1,
        Some(Class::Write) => 2,
        Some(Class::Irreversible) => 3,
    }
}

const CLASSES: usize = 4;
const CLASS_NAMES: [&str; CLASSES] = ["none", "read", "write", "irreversible"];
const OUTCOMES: [Outcome; 6] = [
    Outcome::Cancelled,
    Outcome::Ok,
    Outcome::ProtocolError,
    Outcome::ToolError,
    Outcome::Unknown,
    Outcome::UpstreamError,
];
const SERVERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_server_class_decision_and_reason() {
        let metrics = CallMetrics::default();
        let id = ServerId::from_random(&[4; 16]);
        let meter = metrics.server(&id);
        meter.permitted(Some(Class::Read));
        meter.permitted(Some(Class::Read));
        metrics.server(&id).refused(Some(Class::Write), ReasonCode::ScopeMissing);
        meter.ended(Outcome::Ok);
        metrics.limit_hit(Limit::Agent);
        let mut out = Exposition::default();
        metrics.collect(&mut out);
        let text = out.finish();
        for line in [
            format!(
                "attorn_calls_total{{server=\"{id}\",class=\"read\",decision=\"permit\",reason=\"\"}} 2"
            ),
            format!(
                "attorn_calls_total{{server=\"{id}\",class=\"write\",decision=\"deny\",reason=\"scope.missing\"}} 1"
            ),
            format!("attorn_outcomes_total{{server=\"{id}\",outcome=\"ok\"}} 1"),
            "attorn_limits_hit_total{limit=\"agent\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert_eq!(metrics.limit_hits(Limit::Agent), 1);
    }
}
