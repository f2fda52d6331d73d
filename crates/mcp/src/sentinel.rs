//! Header values that plain ASCII cannot carry: MCP 2026-07-28, Streamable HTTP, Value Encoding.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// The value when it holds nothing but visible ASCII, space and tab.
pub(crate) fn visible(value: &[u8]) -> Option<&str> {
    let fits = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if fits { std::str::from_utf8(value).ok() } else { None }
}

/// Reads a value, decoding it when it carries the sentinel; none when the encoding is broken.
pub(crate) fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX))
    else {
        return Some(Cow::Borrowed(value));
    };
    // RFC 4648 section 4, padded and without stray bits: one text has one encoding.
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Writes a value, encoded when it must be.
pub(crate) fn encode(value: &str) -> String {
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    let like_sentinel = value.starts_with(PREFIX) && value.ends_with(SUFFIX);
    let plain = visible(value.as_bytes()).is_some() && !padded && !like_sentinel;
    if plain { value.to_owned() } else { format!("{PREFIX}{}{SUFFIX}", STANDARD.encode(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of MCP 2026-07-28, Streamable HTTP, Value Encoding.
    #[test]
    fn follows_the_table_of_the_specification() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("", ""),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(value), header);
            assert_eq!(decode(header).unwrap(), value);
        }
    }

    #[test]
    fn refuses_broken_encodings() {
        for header in [
            "=?base64?SGVsbG8sIOS4lueVjA?=",
            "=?base64?!!!!?=",
            "=?base64?IHBhZGRlZCB=?=",
            "=?base64?/w==?=",
        ] {
            assert!(decode(header).is_none(), "{header}");
        }
        for value in ["=?BASE64?YQ==?=", "=?base64?=", "a=?base64?YQ==?="] {
            assert_eq!(decode(value).unwrap(), value);
        }
    }

    #[test]
    fn allows_only_visible_ascii_space_and_tab() {
        assert_eq!(visible(b"a\tb c~"), Some("a\tb c~"));
        for value in [&b"a\x7f"[..], b"a\r\nb", b"\0", "é".as_bytes()] {
            assert!(visible(value).is_none());
        }
    }
}
