//! A borrowed, lazy view of a scanned text. Nothing is copied but names and strings with escapes.

use std::borrow::Cow;

use crate::scan::unescape;

/// One value inside a [`Document`](crate::Document).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    // Invariant: one scanned JSON value without surrounding white space.
    text: &'a str,
}

impl<'a> Value<'a> {
    pub(crate) fn from_scanned(text: &'a str) -> Self {
        Self { text }
    }

    /// The raw text of the value.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// The members in their order when this is an object.
    pub fn members(self) -> Option<Members<'a>> {
        self.text.strip_prefix('{').map(|rest| Members { walk: Walk { rest } })
    }

    /// The first member of this name when this is an object that has it.
    pub fn member(self, name: &str) -> Option<Self> {
        self.members()?.find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The items in their order when this is an array.
    pub fn items(self) -> Option<Items<'a>> {
        self.text.strip_prefix('[').map(|rest| Items { walk: Walk { rest } })
    }

    /// The decoded text when this is a string.
    pub fn string(self) -> Option<Cow<'a, str>> {
        self.text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(unescape)
    }

    /// The raw token when this is a number.
    pub fn number(self) -> Option<&'a str> {
        self.text
            .starts_with(|first: char| first == '-' || first.is_ascii_digit())
            .then_some(self.text)
    }

    /// The value when this is `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Whether this is an object.
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// Whether this is an array.
    pub fn is_array(self) -> bool {
        self.text.starts_with('[')
    }
}

/// Iterates over the members of an object, names unescaped.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.walk.value()?.string()?;
        Some((name, self.walk.value()?))
    }
}

/// Iterates over the items of an array.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.value()
    }
}

/// Steps over values in a text that the scanner has accepted, so that separators need no check.
#[derive(Clone, Debug)]
struct Walk<'a> {
    rest: &'a str,
}

impl<'a> Walk<'a> {
    fn value(&mut self) -> Option<Value<'a>> {
        let rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        let (text, tail) = rest.split_at_checked(extent(rest.as_bytes())?)?;
        self.rest = tail;
        Some(Value { text })
    }
}

/// The bytes that the first value takes; none when a bracket closes instead.
fn extent(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b']' | b'}' => None,
        b'"' => string_extent(bytes),
        b'[' | b'{' => container_extent(bytes),
        _ => Some(
            bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))
                .unwrap_or(bytes.len()),
        ),
    }
}

fn string_extent(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn container_extent(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_extent(bytes.get(at..)?)?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
