//! What an operator sees of a running process: metrics, readiness and traces.
//!
//! Implemented: counters and histograms whose cost on the path of a call is a few relaxed additions
//! on handles that were looked up before; their Prometheus text; named checks of readiness; spans
//! and log records over OTLP/HTTP in JSON, sent from a bounded queue that drops and counts; the
//! entries of the journal, sent to another system without a gap.
//!
//! Not implemented: exemplars, exponential histograms, OTLP metrics, protobuf and gRPC.
//!
//! Labels are identifiers of servers, URLs of APIs, names of witnesses and of `[[ship]]`, listeners, classes,
//! reason codes and words of Attorn's own. None holds a tool, an agent, a person or a secret; no attribute
//! holds a secret, a person or free text.

mod calls;
mod catalogue;
mod exposition;
mod health;
mod limit;
mod metric;
mod otlp;
mod parent;
mod service;
mod ship;
mod span;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use calls::{CallMetrics, ServerMeter};
pub use catalogue::{FAMILIES, Family, families};
pub use exposition::{Exposition, Value};
pub use health::{Check, Health};
pub use limit::Limit;
pub use metric::{Counter, Gauge, Histogram, Occupied};
pub use otlp::{Exporter, Resource};
pub use parent::{TraceParent, hex_id};
pub use service::ObservationService;
pub use ship::{CursorError, Destination, Shipper, Shipping, shipped};
pub use span::{Attribute, Record, Span, SpanKind, Tracer};

/// The metrics, the checks and the traces of one process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Counted on the path of calls and token requests.
    pub calls: CallMetrics,
    /// Whether the process can do its work.
    pub health: Health,
    /// Where spans and log records go.
    pub tracer: Tracer,
    sources: Sources,
}

/// What is asked for its numbers when somebody looks.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<Vec<Source>>>);

type Source = Box<dyn Fn(&mut Exposition) + Send + Sync>;

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Telemetry {
    /// Adds a source of samples that are read when the metrics are.
    pub fn add_source(&self, source: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        let mut sources = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push(Box::new(source));
    }

    /// All metrics as Prometheus text.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut out = Exposition::default();
        self.calls.collect(&mut out);
        out.sample(&families::TRACES_DROPPED, &[], self.tracer.dropped());
        out.sample(&families::READY, &[], u64::from(self.health.problems().is_empty()));
        for source in self.sources.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut out);
        }
        out.finish()
    }
}
