//! The same JSON value in another spelling: order of members, white space, escapes.

use attorn_json::{Document, Limits, Value, parse};

use super::random::Random;

/// For everything a target reads.
pub(crate) const LIMITS: Limits = Limits { bytes_max: 8 << 20, depth_max: 64 };

/// Writes a document anew. Numbers keep their digits.
pub(crate) fn respelled(document: &Document<'_>, random: &mut Random) -> Vec<u8> {
    let mut out = String::new();
    write(document.value(), random, &mut out);
    out.into_bytes()
}

/// As [`respelled`] where the bytes are strict JSON, and otherwise the bytes.
pub(crate) fn respelled_bytes(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    match parse(bytes, &LIMITS) {
        Ok(document) => respelled(&document, random),
        Err(_) => bytes.to_vec(),
    }
}

fn write(value: Value<'_>, random: &mut Random, out: &mut String) {
    space(random, out);
    if let Some(members) = value.members() {
        let mut members: Vec<_> = members.collect();
        if random.one_in(2) {
            members.reverse();
        }
        out.push('{');
        for (index, (name, member)) in members.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            space(random, out);
            string(&name, random, out);
            space(random, out);
            out.push(':');
            write(member, random, out);
        }
        out.push('}');
    } else if let Some(items) = value.items() {
        out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(item, random, out);
        }
        out.push(']');
    } else if let Some(text) = value.string() {
        string(&text, random, out);
    } else {
        out.push_str(value.text());
    }
    space(random, out);
}

fn space(random: &mut Random, out: &mut String) {
    if random.one_in(6) {
        out.push_str(random.pick(&[" ", "\n", "\t", "\r\n", "  "]).copied().unwrap_or_default());
    }
}

fn string(text: &str, random: &mut Random, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' if random.one_in(4) => out.push_str("\\/"),
            '\0'..='\u{1f}' => escape(character, random, out),
            _ if random.one_in(12) => escape(character, random, out),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn escape(character: char, random: &mut Random, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let digits =
            if random.one_in(2) { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
        out.push_str(&digits);
    }
}
