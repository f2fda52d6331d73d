//! W3C trace context: taken over when well formed, made otherwise, and passed on with a span of
//! our own, so that the journal, the upstream and the caller's tracing meet in one trace.
//!
//! Implements `traceparent` of version 00 (W3C Trace Context section 3.2) and the transport of
//! `tracestate`. `baggage` is not passed on: it is the caller's free text.

use std::fmt::Write as _;

/// The trace a request belongs to, and the span that the gateway adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    // Invariant: 32 lower-case hex digits, not all zero.
    trace_id: String,
    // Invariant: 16 lower-case hex digits, not all zero.
    span_id: String,
    flags: String,
    state: Option<String>,
}

impl TraceContext {
    /// Continues `parent` (a `traceparent` value) when it is well formed, else starts a trace.
    /// `random` gives the new identifiers.
    pub(crate) fn continued(parent: Option<&str>, state: Option<&str>, random: &[u8; 24]) -> Self {
        let (trace_bytes, span_bytes) = random.split_at(16);
        let span_id = hex(span_bytes);
        match parent.and_then(parse_parent) {
            Some((trace_id, flags)) => Self {
                trace_id: trace_id.to_owned(),
                span_id,
                flags: flags.to_owned(),
                state: state.filter(|state| is_state(state)).map(str::to_owned),
            },
            // W3C Trace Context section 4.3: a malformed `traceparent` starts a new trace, and
            // then `tracestate` has no meaning.
            None => {
                Self { trace_id: hex(trace_bytes), span_id, flags: "00".to_owned(), state: None }
            }
        }
    }

    pub(crate) fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The `traceparent` to send on: same trace, our span.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }

    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Trace identifier and flags of a version 00 value; any other shape is not used.
fn parse_parent(value: &str) -> Option<(&str, &str)> {
    let mut fields = value.split('-');
    let (version, trace_id) = (fields.next()?, fields.next()?);
    let (span_id, flags) = (fields.next()?, fields.next()?);
    let whole = fields.next().is_none() && version == "00";
    let usable =
        |id: &str, digits: usize| is_hex(id, digits) && id.bytes().any(|digit| digit != b'0');
    (whole && usable(trace_id, 32) && usable(span_id, 16) && is_hex(flags, 2))
        .then_some((trace_id, flags))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// W3C Trace Context section 3.3.1.5: 512 characters are to be propagated at least; more is cut
/// off here by dropping the value.
fn is_state(state: &str) -> bool {
    !state.is_empty()
        && state.len() <= 512
        && state.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
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
