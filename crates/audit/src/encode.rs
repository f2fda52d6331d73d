//! The RFC 8785 writer for entries: one pass, one buffer, no failure.
//!
//! Members are written by the caller in ascending order of their ASCII names, which for ASCII is
//! the order of RFC 8785 section 3.2.3. Strings follow RFC 8785 section 3.2.2.2, integers
//! section 3.2.2.3.
//!
//! Two rules of our own keep every entry writable and within the 65,535 bytes that an entry bundle
//! allows, whatever a peer sent:
//! - a string of more than [`TEXT_BYTES_MAX`] escaped bytes keeps its beginning and gains the
//!   SHA-256 of the whole;
//! - an integer above 2^53 - 1, which I-JSON (RFC 7493 section 2.2) cannot hold, is written as that.

use std::collections::BTreeMap;

use crate::tree::{hex, sha256};

/// The most a string may take between its quotes, in escaped bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 768;
/// The most a name in `detail` may take, in escaped bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// The most pairs in `detail`. If there are more, the last one says how many were left out.
pub(crate) const PAIRS_MAX: usize = 24;
/// The name that counts the pairs left out of `detail`.
pub(crate) const OMITTED: &str = "~omitted";
/// 2^53 - 1, RFC 7493 section 2.2.
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;
/// `…[sha256:<64 digits>]` in bytes.
const DIGEST_MARK_BYTES: usize = 3 + 8 + 64 + 1;

#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        // Most entries take 400 to 900 bytes: one allocation serves them.
        Self { out: Vec::with_capacity(1024) }
    }

    pub(crate) fn text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.member(name);
            push_text(&mut self.out, value, TEXT_BYTES_MAX);
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.member(name);
            self.out.extend_from_slice(value.min(INTEGER_MAX).to_string().as_bytes());
        }
    }

    pub(crate) fn pairs(&mut self, name: &'static str, pairs: &BTreeMap<String, String>) {
        if pairs.is_empty() {
            return;
        }
        self.member(name);
        let mut kept: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let omitted;
        if kept.len() > PAIRS_MAX {
            omitted = (kept.len() - (PAIRS_MAX - 1)).to_string();
            kept.truncate(PAIRS_MAX - 1);
            kept.retain(|(key, _)| *key != OMITTED);
            kept.push((OMITTED, &omitted));
        }
        // RFC 8785 section 3.2.3: names are ordered by their UTF-16 code units.
        kept.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        let mut opening = b'{';
        for (key, value) in kept {
            self.out.push(opening);
            opening = b',';
            push_text(&mut self.out, key, NAME_BYTES_MAX);
            self.out.push(b':');
            push_text(&mut self.out, value, TEXT_BYTES_MAX);
        }
        self.out.push(b'}');
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.out.is_empty() {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        self.out.shrink_to_fit();
        self.out
    }

    fn member(&mut self, name: &'static str) {
        self.out.push(if self.out.is_empty() { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// A whole JSON string, quotes and all, without a cap.
pub(crate) fn push_string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    push_escaped(out, value);
    out.push(b'"');
}

fn push_text(out: &mut Vec<u8>, value: &str, bytes_max: usize) {
    out.push(b'"');
    // Six bytes is the longest escape, so a short string needs no count.
    if value.len() <= bytes_max / 6 || escaped_len(value) <= bytes_max {
        push_escaped(out, value);
    } else {
        let room = bytes_max - DIGEST_MARK_BYTES;
        let mut used = 0;
        let end = value
            .char_indices()
            .find(|(_, c)| {
                used += escaped_char_len(*c);
                used > room
            })
            .map_or(value.len(), |(at, _)| at);
        push_escaped(out, value.get(..end).unwrap_or_default());
        out.extend_from_slice("…[sha256:".as_bytes());
        out.extend_from_slice(hex(&sha256(value.as_bytes())).as_bytes());
        out.push(b']');
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, value: &str) {
    if value.bytes().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            // RFC 8785 section 3.2.2.2: other control characters as `\u00xx`, lower case.
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

fn escaped_len(value: &str) -> usize {
    value.chars().map(escaped_char_len).sum()
}

const fn escaped_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}
