//! The moments of one request, and the spans they become: the whole, the decision, and what was asked
//! of whoever stands behind.

use std::time::Duration;

use attorn_audit::Entry;
use attorn_net::Random;
use attorn_registry::ReasonCode;
use attorn_telemetry::{Attribute, Record, Span, SpanKind, Tracer};
use tokio::time::Instant;

use crate::trace::TraceContext;

/// The moments of one request, and the span it is.
#[derive(Debug)]
pub struct Course {
    started: Instant,
    recorded: Option<Instant>,
    replied: Option<Instant>,
    // Invariant: `Some` only while somebody wants spans.
    trace: Option<TraceContext>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is an answer.
    Answered,
    /// It was permitted, and there is none: whoever stands behind failed.
    Failed(ReasonCode),
    /// It was refused.
    Refused(ReasonCode),
}

/// What is told of a request.
#[derive(Debug)]
pub struct Told {
    /// What the whole is called.
    pub name: &'static str,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
    /// How it ended.
    pub ended: Ended,
    /// What is known about it: see [`attributes`].
    pub attributes: Vec<Attribute>,
}

impl Default for Course {
    fn default() -> Self {
        Self { started: Instant::now(), recorded: None, replied: None, trace: None }
    }
}

impl Course {
    /// The intent is on record.
    pub fn note_recorded(&mut self) {
        self.recorded = Some(Instant::now());
    }

    /// Whoever stands behind answered, or its answer began.
    pub fn note_replied(&mut self) {
        self.replied = Some(Instant::now());
    }

    /// Wants spans of this trace, if anybody does. The span of the trace is the whole.
    pub fn note_trace(&mut self, tracer: &Tracer, trace: &TraceContext) {
        if tracer.is_on() {
            self.trace = Some(trace.clone());
        }
    }

    /// Whether spans are wanted and belong to a trace.
    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    /// From the intent to the reply, where both were.
    pub fn behind(&self) -> Option<Duration> {
        self.recorded.zip(self.replied).map(|(recorded, replied)| replied - recorded)
    }

    /// What it took here until now: before the intent, and since the reply.
    pub fn own(&self) -> Option<Duration> {
        let (recorded, replied) = self.recorded.zip(self.replied)?;
        Some((recorded - self.started) + replied.elapsed())
    }

    /// Tells of the request, which ends now. A refusal is a log record as well, also without a trace.
    pub fn tell(&self, (tracer, random): (&Tracer, &Random), told: Told) {
        if !tracer.is_on() {
            return;
        }
        let start_ns = told.started_ms.saturating_mul(1_000_000);
        let at = |moment: Instant| start_ns.saturating_add(nanoseconds(moment - self.started));
        let now = Instant::now();
        if let Ended::Refused(_) = told.ended {
            tracer.tell(Record::Log {
                time_ns: at(now),
                trace_id: self.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
                body: "refused",
                attributes: told.attributes.clone(),
            });
        }
        let Some(trace) = &self.trace else { return };
        let inside = |name, kind, (from, to)| Span {
            trace_id: trace.trace_id().to_owned(),
            span_id: TraceContext::new_span_id(random.bytes()),
            parent_id: Some(trace.span_id().to_owned()),
            name,
            kind,
            start_ns: from,
            end_ns: to,
            failed: false,
            attributes: Vec::new(),
        };
        let whole = Span {
            span_id: trace.span_id().to_owned(),
            parent_id: trace.parent_id().map(str::to_owned),
            failed: told.ended != Ended::Answered,
            attributes: told.attributes,
            ..inside(told.name, SpanKind::Server, (start_ns, at(now)))
        };
        let decided = self.recorded.unwrap_or(now);
        let decision = inside("decision", SpanKind::Internal, (start_ns, at(decided)));
        let behind = self.recorded.zip(self.replied);
        let failed = matches!(told.ended, Ended::Failed(_));
        let behind = behind.map(|(recorded, replied)| Span {
            failed,
            ..inside("upstream", SpanKind::Client, (at(recorded), at(replied)))
        });
        for span in [Some(whole), Some(decision), behind].into_iter().flatten() {
            tracer.tell(Record::Span(span));
        }
    }
}

impl Ended {
    const fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::Answered => None,
            Self::Failed(reason) | Self::Refused(reason) => Some(reason),
        }
    }

    const fn decision(self) -> &'static str {
        match self {
            Self::Answered | Self::Failed(_) => "permit",
            Self::Refused(_) => "deny",
        }
    }
}

/// What every request is told of by: identifiers and codes. No subject, no key, no argument.
pub fn attributes(entry: &Entry, ended: Ended) -> Vec<Attribute> {
    let known = [
        Attribute::some("attorn.server.id", entry.server.as_deref()),
        Attribute::some("attorn.agent.id", entry.agent.as_deref()),
        Attribute::some("attorn.approval.id", entry.approval.as_deref()),
        Attribute::some("attorn.class", entry.class.as_deref()),
        Attribute::some("attorn.decision", Some(ended.decision())),
        Attribute::some("attorn.decision.id", entry.decision_id.as_deref()),
        Attribute::some("attorn.reason", ended.reason().map(ReasonCode::as_str)),
        Attribute::some("attorn.resource.id", entry.downstream_resource.as_deref()),
        Attribute::some("attorn.role", entry.role.as_deref()),
        Attribute::some("attorn.rule", entry.rule.as_deref()),
    ];
    known.into_iter().flatten().collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
