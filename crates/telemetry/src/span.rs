//! Spans and log records, and the bounded way out of the path of a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

/// A name of ours and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// A name of OpenTelemetry's conventions, or one that begins with `attorn.`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// The kinds of OpenTelemetry's spans that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside.
    Internal,
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
}

/// One piece of work that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits, when it belongs to another span.
    pub parent_id: Option<String>,
    /// What was done.
    pub name: &'static str,
    /// Which side of a request.
    pub kind: SpanKind,
    /// Unix time in nanoseconds.
    pub start_ns: u64,
    /// Unix time in nanoseconds.
    pub end_ns: u64,
    /// Whether it failed.
    pub failed: bool,
    /// What is known about it.
    pub attributes: Vec<Attribute>,
}

/// What leaves the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A span of a trace.
    Span(Span),
    /// A log record: a refusal.
    Log {
        /// Unix time in nanoseconds.
        time_ns: u64,
        /// The trace it belongs to, where there is one.
        trace_id: Option<String>,
        /// What happened, a text of ours.
        body: &'static str,
        /// What is known about it.
        attributes: Vec<Attribute>,
    },
}

/// Takes records without waiting. Without an exporter it takes nothing. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Record>,
    dropped: AtomicU64,
}

impl Tracer {
    /// A tracer and what comes out at its other end; at most `records_max` wait.
    pub(crate) fn new(records_max: usize) -> (Self, mpsc::Receiver<Record>) {
        let (sender, receiver) = mpsc::channel(records_max.max(1));
        (Self(Some(Arc::new(Queue { sender, dropped: AtomicU64::new(0) }))), receiver)
    }

    /// Whether anybody wants records. Ask before making one.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a record over. When the queue is full it is dropped and counted: a collector that is
    /// slow must not slow a call down.
    pub fn tell(&self, record: Record) {
        if let Some(queue) = &self.0
            && queue.sender.try_send(record).is_err()
        {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts records that were taken and then not delivered.
    pub(crate) fn lost(&self, records: u64) {
        if let Some(queue) = &self.0 {
            queue.dropped.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// How many records were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |queue| queue.dropped.load(Ordering::Relaxed))
    }
}

impl Attribute {
    /// An attribute, if there is a value.
    pub fn some(key: &'static str, value: Option<&str>) -> Option<Self> {
        value.map(|value| Self { key, value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Record {
        Record::Log { time_ns: 1, trace_id: None, body: "refused", attributes: Vec::new() }
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (tracer, mut receiver) = Tracer::new(1);
        assert!(tracer.is_on());
        tracer.tell(log());
        tracer.tell(log());
        assert_eq!(tracer.dropped(), 1);
        assert_eq!(receiver.recv().await, Some(log()));
        tracer.tell(log());
        assert_eq!(tracer.dropped(), 1);
    }

    #[test]
    fn without_an_exporter_nothing_is_kept() {
        let tracer = Tracer::default();
        assert!(!tracer.is_on());
        tracer.tell(log());
        assert_eq!(tracer.dropped(), 0);
    }
}
