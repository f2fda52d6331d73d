//! `application/x-www-form-urlencoded` bodies, strictly: RFC 6749 appendix B.
//!
//! Implemented: decoding that refuses what two readers could understand differently, and the rule
//! that no parameter is repeated (RFC 6749 section 3.2). Not implemented: other charsets,
//! multipart, parameters in the URL.

use crate::error::TokenError;

/// The largest form, in bytes.
pub const FORM_BYTES_MAX: usize = 64 << 10;
/// More parameters than any request has.
const PARAMETERS_MAX: usize = 64;
/// More rights than any server offers, some of which are classes of one tool.
const CHOICES_MAX: usize = 2048;
/// RFC 8707 section 2 and RFC 8693 section 2.1: the parameters that may be repeated.
const REPEATABLE: [&str; 2] = ["audience", "resource"];

/// A decoded form. Parameters without a value are gone: RFC 6749 section 3.2.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Decodes a body.
    ///
    /// # Errors
    /// [`TokenError::FormMalformed`] or [`TokenError::ParameterRepeated`].
    pub fn parse(body: &[u8]) -> Result<Self, TokenError> {
        Self::parse_up_to(body, PARAMETERS_MAX)
    }

    /// Decodes a body of a page of ours, which may name many choices.
    ///
    /// # Errors
    /// As [`Form::parse`].
    pub fn of_page(body: &[u8]) -> Result<Self, TokenError> {
        Self::parse_up_to(body, CHOICES_MAX)
    }

    fn parse_up_to(body: &[u8], parameters_max: usize) -> Result<Self, TokenError> {
        if body.len() > FORM_BYTES_MAX {
            return Err(TokenError::FormMalformed);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = decode_pair(pair).ok_or(TokenError::FormMalformed)?;
            if pairs.len() >= parameters_max {
                return Err(TokenError::FormMalformed);
            }
            // RFC 6749 section 3.2: parameters must not be included more than once, unknown ones
            // too, even when one of the two is empty.
            let is_repeated = pairs.iter().any(|(earlier, _)| *earlier == name);
            if is_repeated && !REPEATABLE.contains(&name.as_str()) {
                return Err(TokenError::ParameterRepeated);
            }
            pairs.push((name, value));
        }
        // RFC 6749 section 3.2: without a value is treated as if omitted.
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    /// The value of a parameter that is never repeated.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, in their order.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn decode_pair(pair: &[u8]) -> Option<(String, String)> {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    Some((decode(parts.next()?)?, decode(parts.next().unwrap_or_default())?))
}

/// URL Standard, "urlencoded parsing", without its repairs: a broken escape is an error, and so is
/// a byte that should have been escaped.
fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(*bytes.next()?)? << 4 | hex_digit(*bytes.next()?)?,
            0x21..=0x7e => byte,
            _ => return None,
        });
    }
    // No parameter of ours holds control characters; NUL and line ends only confuse logs.
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.chars().all(|character| !character.is_control()).then_some(decoded)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
