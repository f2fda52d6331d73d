//! W3C trace context: taken over when well formed, made otherwise, and passed on with a span of
//! our own, so that the journal, the upstream and the caller's tracing meet in one trace.
//!
//! Implements `traceparent` of version 00 (W3C Trace Context section 3.2) and the transport of
//! `tracestate`. `baggage` is not passed on: it is the caller's free text.

use attorn_telemetry::{TraceParent, hex_id};

/// The trace a request belongs to, and the span that the gateway adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    // Invariant: 32 lower-case hex digits, not all zero.
    trace_id: String,
    // Invariant: 16 lower-case hex digits, not all zero.
    span_id: String,
    // Invariant: as the span.
    parent_id: Option<String>,
    flags: String,
    state: Option<String>,
}

impl TraceContext {
    /// Continues `parent` (a `traceparent` value) when it is well formed, else starts a trace.
    /// `random` gives the new identifiers.
    pub fn continued(parent: Option<&str>, state: Option<&str>, random: &[u8; 24]) -> Self {
        let (trace_bytes, span_bytes) = random.split_at(16);
        let span_id = hex_id(span_bytes);
        match parent.and_then(TraceParent::parse) {
            Some(TraceParent { trace_id, span_id: parent_id, flags }) => Self {
                trace_id: trace_id.to_owned(),
                span_id,
                parent_id: Some(parent_id.to_owned()),
                flags: flags.to_owned(),
                state: state.filter(|state| is_state(state)).map(str::to_owned),
            },
            // W3C Trace Context section 4.3: a malformed `traceparent` starts a new trace, and
            // then `tracestate` has no meaning.
            None => Self {
                trace_id: hex_id(trace_bytes),
                span_id,
                parent_id: None,
                flags: "00".to_owned(),
                state: None,
            },
        }
    }

    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The span that this request is.
    pub fn span_id(&self) -> &str {
        &self.span_id
    }

    /// The caller's span, where it named one.
    pub fn parent_id(&self) -> Option<&str> {
        self.parent_id.as_deref()
    }

    /// An identifier for a span inside.
    pub fn new_span_id(random: [u8; 8]) -> String {
        hex_id(&random)
    }

    /// The `traceparent` to send on: same trace, our span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// W3C Trace Context section 3.3.1.5: 512 characters are to be propagated at least; more is cut
/// off here by dropping the value.
fn is_state(state: &str) -> bool {
    !state.is_empty()
        && state.len() <= 512
        && state.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_well_formed_parent_is_continued_with_a_new_span() {
        let context = TraceContext::continued(Some(PARENT), Some("a=1"), &[7; 24]);
        assert_eq!(
            context.traceparent(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01"
        );
        assert_eq!(context.tracestate(), Some("a=1"));
    }

    #[test]
    fn anything_else_starts_a_trace() {
        for parent in [
            None,
            Some(""),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
            Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            Some("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx"),
        ] {
            let context = TraceContext::continued(parent, Some("a=1"), &[9; 24]);
            assert_eq!(context.trace_id(), "09".repeat(16), "{parent:?}");
            assert_eq!(context.tracestate(), None);
        }
    }
}
