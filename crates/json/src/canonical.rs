//! RFC 8785: one byte sequence for one JSON value, so that a digest means the value.
//!
//! Beyond the RFC, an integer that a double cannot hold exactly is refused: two different
//! arguments must never have one digest.

use crate::{Document, Value, number};

/// Writes the document in canonical form.
///
/// # Errors
/// [`CanonicalError::IntegerRange`] for integers beyond 2^53 - 1 in size.
pub fn canonical(document: &Document<'_>) -> Result<Vec<u8>, CanonicalError> {
    document.value().canonical()
}

impl Value<'_> {
    /// Writes this value in canonical form.
    ///
    /// # Errors
    /// [`CanonicalError::IntegerRange`] for integers beyond 2^53 - 1 in size.
    pub fn canonical(self) -> Result<Vec<u8>, CanonicalError> {
        let mut out = String::with_capacity(self.text().len());
        write_value(self, &mut out)?;
        Ok(out.into_bytes())
    }
}

/// Why a document has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer is larger than a double holds exactly.
    #[error("integer beyond 2^53 - 1")]
    IntegerRange,
}

/// Recursion is bounded by the depth limit the document was parsed under.
fn write_value(value: Value<'_>, out: &mut String) -> Result<(), CanonicalError> {
    if let Some(members) = value.members() {
        let mut members: Vec<_> = members.collect();
        // RFC 8785 section 3.2.3: by UTF-16 code units, not by bytes.
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        out.push('{');
        for (index, (name, member)) in members.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(&name, out);
            out.push(':');
            write_value(member, out)?;
        }
        out.push('}');
    } else if let Some(items) = value.items() {
        out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_value(item, out)?;
        }
        out.push(']');
    } else if let Some(text) = value.string() {
        write_string(&text, out);
    } else if let Some(token) = value.number() {
        write_number(token, out)?;
    } else {
        out.push_str(value.text());
    }
    Ok(())
}

/// RFC 8785 section 3.2.2.2: the shortest escape, and only where JSON demands one.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn write_number(token: &str, out: &mut String) -> Result<(), CanonicalError> {
    // The scanner has shown that the token is a finite double.
    let value: f64 = token.parse().unwrap_or_default();
    let integer_literal = !token.contains(['.', 'e', 'E']);
    // RFC 7493 section 2.2. From 1e21 on a number is written with its exponent, which no reader
    // takes for an exact integer.
    if value.abs() > INTEGER_MAX && (integer_literal || value.abs() < 1e21) {
        return Err(CanonicalError::IntegerRange);
    }
    number::write(value, out);
    Ok(())
}

/// 2^53 - 1.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
