//! Request ids and progress tokens: a string or an integer.

use std::borrow::Cow;

use attorn_json::Value;

use crate::write::write_string;

/// A JSON-RPC id, or a progress token, which has the same form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestId<'a> {
    /// An integer within ±(2^53 - 1), where all readers agree on its value.
    Integer(i64),
    /// A string of at most [`RequestId::TEXT_BYTES_MAX`] bytes without control characters.
    Text(Cow<'a, str>),
}

impl<'a> RequestId<'a> {
    /// Bytes of a string id. It is held for as long as its request is open.
    pub const TEXT_BYTES_MAX: usize = 256;

    /// MCP 2026-07-28, Base Protocol, Requests: a string or an integer, never `null`. Floats,
    /// exponents and minus zero are refused because readers differ on them.
    pub fn parse(value: Value<'a>) -> Option<Self> {
        if let Some(token) = value.number() {
            let integer = token.parse::<i64>().ok()?;
            return (integer.unsigned_abs() < 1 << 53 && token != "-0")
                .then_some(Self::Integer(integer));
        }
        let text = value.string()?;
        (text.len() <= Self::TEXT_BYTES_MAX && !text.contains(char::is_control))
            .then_some(Self::Text(text))
    }

    /// Detaches the id from the message it came with.
    pub fn into_owned(self) -> RequestId<'static> {
        match self {
            Self::Integer(integer) => RequestId::Integer(integer),
            Self::Text(text) => RequestId::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// The id as JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Integer(integer) => out.push_str(&integer.to_string()),
            Self::Text(text) => write_string(text, out),
        }
    }
}

impl std::fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
