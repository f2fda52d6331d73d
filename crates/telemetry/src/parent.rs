//! W3C Trace Context, `traceparent` of version 00 (section 3.2).

use std::fmt::Write as _;

/// A well-formed `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// 32 lower-case hex digits, not all zero.
    pub trace_id: &'a str,
    /// 16 lower-case hex digits, not all zero.
    pub span_id: &'a str,
    /// Two hex digits.
    pub flags: &'a str,
}

impl<'a> TraceParent<'a> {
    /// Reads a value; any other shape is not used.
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut fields = value.split('-');
        let (version, trace_id) = (fields.next()?, fields.next()?);
        let (span_id, flags) = (fields.next()?, fields.next()?);
        let whole = fields.next().is_none() && version == "00";
        let usable =
            |id: &str, digits: usize| is_hex(id, digits) && id.bytes().any(|digit| digit != b'0');
        (whole && usable(trace_id, 32) && usable(span_id, 16) && is_hex(flags, 2)).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }
}

/// The hex digits of random bytes, as trace and span identifiers are written.
#[must_use]
pub fn hex_id(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
