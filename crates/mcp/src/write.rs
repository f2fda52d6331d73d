//! Writing JSON from parsed parts, on one line.

use attorn_json::Value;

/// Appends a string with its quotes.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Appends a value with its own bytes, but for line ends. In strict JSON a raw line end stands
/// only between tokens; without them the text fits a line of stdio and an SSE data field.
pub(crate) fn write_value(value: Value<'_>, out: &mut String) {
    let text = value.text();
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        out.push_str(text);
    } else {
        out.extend(text.split(['\n', '\r']));
    }
}

/// Writes the members of one object.
#[derive(Debug)]
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut String,
    empty: bool,
}

impl<'o> ObjectWriter<'o> {
    pub(crate) fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Appends the name; the caller appends one value to what is returned.
    pub(crate) fn name(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        write_string(name, self.out);
        self.out.push(':');
        self.out
    }

    pub(crate) fn string(&mut self, name: &str, text: &str) {
        write_string(text, self.name(name));
    }

    pub(crate) fn value(&mut self, name: &str, value: Value<'_>) {
        write_value(value, self.name(name));
    }

    /// In the form of RFC 8785 where the value has one: integers beyond 2^53 have none.
    pub(crate) fn canonical(&mut self, name: &str, value: Value<'_>) {
        match value.canonical().map(String::from_utf8) {
            Ok(Ok(text)) => self.name(name).push_str(&text),
            Ok(Err(_)) | Err(_) => self.value(name, value),
        }
    }

    pub(crate) fn close(self) {
        self.out.push('}');
    }
}
