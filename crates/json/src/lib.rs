//! Strict JSON (RFC 8259, restricted as RFC 7493 asks) and its RFC 8785 canonical form.
//!
//! Every byte from outside becomes a [`Document`] first. Holding one proves:
//! - one JSON text in UTF-8, without a byte order mark and without trailing data;
//! - no member name twice in one object, compared after unescaping, at any depth;
//! - no lone surrogate escape, and no NUL in a member name;
//! - nesting, size and members per object within limits, and every number finite.
//!
//! Two readers that disagree about such a text are what request smuggling lives on, so the text is
//! refused rather than repaired.
//!
//! Not here: JSON Schema, streaming input, and shape checks of nested structs. serde's derived
//! structs accept an array in place of an object below the top level; where that matters, read
//! with [`Value`] instead.

mod canonical;
mod number;
mod scan;
#[cfg(test)]
mod tests;
mod text;
mod value;

use serde::Deserialize;

pub use crate::canonical::{CanonicalError, canonical};
pub use crate::text::{
    TextFinding, TextPlace, escape_hidden, hidden_places, is_hidden, text_findings,
};
pub use crate::value::{Items, Members, Value};

/// How large and how deep a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes_max: usize,
    /// Open arrays and objects at one point; a scalar has depth 0.
    pub depth_max: usize,
}

impl Limits {
    /// Configuration and administration: 1 MiB, depth 32.
    pub const CONFIG: Self = Self { bytes_max: 1 << 20, depth_max: 32 };
    /// Header or claims of a JWT: 8 KiB, depth 16.
    pub const JWT: Self = Self { bytes_max: 8 << 10, depth_max: 16 };
    /// An MCP message: 4 MiB, depth 64.
    pub const MESSAGE: Self = Self { bytes_max: 4 << 20, depth_max: 64 };
}

/// Proof that a text is strict JSON; see the crate documentation for what it proves.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    // Invariant: scanned by `scan::scan`, without white space at either end.
    text: &'a str,
}

impl<'a> Document<'a> {
    /// The text without surrounding white space.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the top level is an object.
    pub fn is_object(&self) -> bool {
        self.text.starts_with('{')
    }

    /// A borrowed view that is read without serde.
    pub fn value(&self) -> Value<'a> {
        Value::from_scanned(self.text)
    }

    /// Reads the document into a type. Only an object is accepted at the top level, because
    /// derived structs would also take an array of their fields.
    ///
    /// # Errors
    /// [`ShapeError`] when the top level is no object or the members do not fit `T`.
    pub fn to<T: Deserialize<'a>>(&self) -> Result<T, ShapeError> {
        if !self.is_object() {
            return Err(ShapeError::NotAnObject);
        }
        serde_json::from_str(self.text).map_err(ShapeError::Members)
    }
}

/// Scans `bytes` once and refuses everything that two readers could understand differently.
///
/// # Errors
/// [`JsonError`] names the first rule that is broken.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Document<'a>, JsonError> {
    if bytes.len() > limits.bytes_max {
        return Err(JsonError::ByteLimit { max: limits.bytes_max });
    }
    // RFC 8259 section 8.1: a byte order mark must not be sent; UTF-16 announces itself by one.
    if bytes.starts_with(b"\xEF\xBB\xBF")
        || bytes.starts_with(b"\xFF\xFE")
        || bytes.starts_with(b"\xFE\xFF")
    {
        return Err(JsonError::Bom);
    }
    // RFC 8259 section 8.1: UTF-8 and nothing else.
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Encoding)?;
    scan::scan(text, limits)?;
    Ok(Document { text: text.trim_matches(scan::SPACE) })
}

/// Why a text is not strict JSON. Offsets are bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It starts with a byte order mark.
    #[error("byte order mark")]
    Bom,
    /// It is longer than allowed.
    #[error("longer than {max} bytes")]
    ByteLimit {
        /// Bytes allowed.
        max: usize,
    },
    /// It nests deeper than allowed.
    #[error("nested deeper than {max}")]
    DepthLimit {
        /// Open arrays and objects allowed.
        max: usize,
    },
    /// A member name occurs twice in one object, after unescaping.
    #[error("duplicate member name")]
    DuplicateKey,
    /// It is not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// A `\u` escape is half of a surrogate pair.
    #[error("lone surrogate at byte {offset}")]
    LoneSurrogate {
        /// Where the escape starts.
        offset: usize,
    },
    /// One object has more members than allowed.
    #[error("more than {max} members in one object")]
    MemberLimit {
        /// Members allowed.
        max: usize,
    },
    /// A member name holds U+0000.
    #[error("NUL in a member name at byte {offset}")]
    NulInKey {
        /// Where the name starts.
        offset: usize,
    },
    /// A number is longer than allowed, or no finite IEEE 754 double is near it.
    #[error("number out of range at byte {offset}")]
    NumberRange {
        /// Where the number starts.
        offset: usize,
    },
    /// The grammar of RFC 8259 does not allow what stands here.
    #[error("syntax error at byte {offset}")]
    Syntax {
        /// Where reading stopped.
        offset: usize,
    },
    /// Something follows the first JSON text.
    #[error("trailing data at byte {offset}")]
    TrailingData {
        /// Where it starts.
        offset: usize,
    },
}

/// Why a strict document does not fit the type asked for.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// Members are missing, unknown, or of another type.
    #[error("unexpected members")]
    Members(#[source] serde_json::Error),
    /// The top level is no object.
    #[error("not an object")]
    NotAnObject,
}
