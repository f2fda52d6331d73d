//! A token request as a span, in the trace of who asks.

use attorn_registry::ReasonCode;
use attorn_telemetry::{Attribute, Record, Span, SpanKind, TraceParent, hex_id};
use http::request::Parts;
use tokio::time::Instant;

use crate::shared::Shared;

/// The trace that a request says it belongs to.
pub(crate) fn trace_id(head: &Parts) -> Option<String> {
    parent(head).map(|parent| parent.trace_id.to_owned())
}

fn parent(head: &Parts) -> Option<TraceParent<'_>> {
    let header = head.headers.get("traceparent").and_then(|value| value.to_str().ok());
    header.and_then(TraceParent::parse)
}

/// Tells that a token request ended, if anybody listens. A refusal is a log record as well. Neither
/// holds who asked: before a client is authenticated that is anybody's text.
pub(crate) fn tell(
    shared: &Shared,
    head: &Parts,
    (started_ms, started): (u64, Instant),
    refused: Option<ReasonCode>,
) {
    if !shared.telemetry.tracer.is_on() {
        return;
    }
    let parent = parent(head);
    let trace_id =
        parent.map_or_else(|| hex_id(&shared.random.bytes::<16>()), |one| one.trace_id.to_owned());
    let start_ns = started_ms.saturating_mul(1_000_000);
    let took_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let decision = if refused.is_some() { "deny" } else { "permit" };
    let known = [
        Attribute::some("attorn.decision", Some(decision)),
        Attribute::some("attorn.reason", refused.map(ReasonCode::as_str)),
    ];
    let attributes: Vec<_> = known.into_iter().flatten().collect();
    if refused.is_some() {
        shared.telemetry.tracer.tell(Record::Log {
            time_ns: start_ns.saturating_add(took_ns),
            trace_id: Some(trace_id.clone()),
            body: "token refused",
            attributes: attributes.clone(),
        });
    }
    shared.telemetry.tracer.tell(Record::Span(Span {
        trace_id,
        span_id: hex_id(&shared.random.bytes::<8>()),
        parent_id: parent.map(|one| one.span_id.to_owned()),
        name: "token request",
        kind: SpanKind::Server,
        start_ns,
        end_ns: start_ns.saturating_add(took_ns),
        failed: refused.is_some(),
        attributes,
    }));
}
