//! The scanner: RFC 8259 sections 2 to 7, with an explicit stack instead of recursion.

use std::borrow::Cow;

use attorn_planted::{Bug, is_planted};

use crate::{JsonError, Limits};

/// RFC 8259 section 2: the four white space characters.
pub(crate) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Members of one object. Bounds the cost of the duplicate search.
const MEMBERS_MAX: usize = 65_536;

/// Bytes of one number. Longer ones carry no value a double can hold.
const NUMBER_BYTES_MAX: usize = 1_024;

/// Objects up to this size are searched pair by pair, which needs no sorting.
const PAIRWISE_MAX: usize = 12;

/// Checks that `text` is one strict JSON text.
pub(crate) fn scan(text: &str, limits: &Limits) -> Result<(), JsonError> {
    let cursor = Cursor { text, bytes: text.as_bytes(), at: 0 };
    Scanner { cursor, depth_max: limits.depth_max, frames: Vec::new(), keys: Vec::new() }.run()
}

/// An open array or object.
enum Frame {
    Array,
    Object {
        /// Where the names of this object start in `Scanner::keys`.
        keys_from: usize,
    },
}

/// What the grammar allows next.
enum Next {
    Value,
    Key,
    /// A comma, a closing bracket, or the end.
    Separator,
    End,
}

struct Scanner<'a> {
    cursor: Cursor<'a>,
    depth_max: usize,
    frames: Vec<Frame>,
    keys: Vec<Cow<'a, str>>,
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(), JsonError> {
        let mut next = Next::Value;
        loop {
            self.cursor.skip_space();
            next = match next {
                Next::Value => self.value()?,
                Next::Key => self.key()?,
                Next::Separator => self.separator()?,
                Next::End => return self.cursor.end(),
            };
        }
    }

    fn value(&mut self) -> Result<Next, JsonError> {
        match self.cursor.peek() {
            Some(b'{') => {
                self.open(Frame::Object { keys_from: self.keys.len() })?;
                if self.cursor.eat(b'}') { self.close() } else { Ok(Next::Key) }
            }
            Some(b'[') => {
                self.open(Frame::Array)?;
                if self.cursor.eat(b']') { self.close() } else { Ok(Next::Value) }
            }
            Some(b'"') => self.cursor.string().map(|_| Next::Separator),
            Some(b'-' | b'0'..=b'9') => self.cursor.number().map(|()| Next::Separator),
            Some(b't') => self.cursor.literal("true").map(|()| Next::Separator),
            Some(b'f') => self.cursor.literal("false").map(|()| Next::Separator),
            Some(b'n') => self.cursor.literal("null").map(|()| Next::Separator),
            Some(_) | None => Err(self.cursor.syntax()),
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), JsonError> {
        if self.frames.len() >= self.depth_max {
            return Err(JsonError::DepthLimit { max: self.depth_max });
        }
        self.frames.push(frame);
        self.cursor.at += 1;
        self.cursor.skip_space();
        Ok(())
    }

    fn key(&mut self) -> Result<Next, JsonError> {
        let offset = self.cursor.at;
        let name = unescape(self.cursor.string()?);
        if name.contains('\0') {
            return Err(JsonError::NulInKey { offset });
        }
        let keys_from = match self.frames.last() {
            Some(Frame::Object { keys_from }) => *keys_from,
            Some(Frame::Array) | None => return Err(JsonError::Syntax { offset }),
        };
        if self.keys.len() - keys_from >= MEMBERS_MAX {
            return Err(JsonError::MemberLimit { max: MEMBERS_MAX });
        }
        self.keys.push(name);
        self.cursor.skip_space();
        if self.cursor.eat(b':') { Ok(Next::Value) } else { Err(self.cursor.syntax()) }
    }

    fn separator(&mut self) -> Result<Next, JsonError> {
        match self.frames.last() {
            None => Ok(Next::End),
            Some(Frame::Array) if self.cursor.eat(b',') => Ok(Next::Value),
            Some(Frame::Array) if self.cursor.eat(b']') => self.close(),
            Some(Frame::Object { .. }) if self.cursor.eat(b',') => Ok(Next::Key),
            Some(Frame::Object { .. }) if self.cursor.eat(b'}') => self.close(),
            Some(Frame::Array | Frame::Object { .. }) => Err(self.cursor.syntax()),
        }
    }

    fn close(&mut self) -> Result<Next, JsonError> {
        if let Some(Frame::Object { keys_from }) = self.frames.pop() {
            let names = self.keys.get_mut(keys_from..).unwrap_or_default();
            // RFC 7493 section 2.3: member names within an object are unique.
            if has_duplicate(names) && !is_planted(Bug::LastMemberWins) {
                return Err(JsonError::DuplicateKey);
            }
            self.keys.truncate(keys_from);
        }
        Ok(Next::Separator)
    }
}

fn has_duplicate(names: &mut [Cow<'_, str>]) -> bool {
    if names.len() <= PAIRWISE_MAX {
        let mut rest = &*names;
        while let [first, others @ ..] = rest {
            if others.contains(first) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    names.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

/// A position in the text.
struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { offset: self.at }
    }

    fn end(&self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::TrailingData { offset: self.at }),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        for expected in word.bytes() {
            if !self.eat(expected) {
                return Err(self.syntax());
            }
        }
        Ok(())
    }

    /// Reads a string and returns what stands between its quotes, still escaped.
    fn string(&mut self) -> Result<&'a str, JsonError> {
        if !self.eat(b'"') {
            return Err(self.syntax());
        }
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(run) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(self.syntax());
            };
            // RFC 8259 section 7: control characters must be escaped.
            let plain = rest.get(..run).unwrap_or_default();
            if plain.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
                self.at += plain.iter().position(|byte| *byte < 0x20).unwrap_or(0);
                return Err(self.syntax());
            }
            self.at += run;
            if self.peek() == Some(b'"') {
                let inner = self.text.get(start..self.at).ok_or_else(|| self.syntax())?;
                self.at += 1;
                return Ok(inner);
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let offset = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    // RFC 7493 section 2.1: no surrogate without its partner.
                    0xD800..=0xDBFF => {
                        let lone = JsonError::LoneSurrogate { offset };
                        if !(self.eat(b'\\') && self.eat(b'u')) {
                            return Err(lone);
                        }
                        if !matches!(self.hex4()?, 0xDC00..=0xDFFF) {
                            return Err(lone);
                        }
                    }
                    0xDC00..=0xDFFF => return Err(JsonError::LoneSurrogate { offset }),
                    0..=0xD7FF | 0xE000..=0xFFFF => {}
                }
            }
            Some(_) | None => return Err(self.syntax()),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u16, JsonError> {
        let mut unit = 0_u16;
        for _ in 0..4 {
            let digit = self.peek().and_then(hex_digit).ok_or_else(|| self.syntax())?;
            unit = (unit << 4) | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let token = self.text.get(start..self.at).unwrap_or_default();
        // RFC 7493 section 2.2: nothing a double cannot express.
        if token.len() > NUMBER_BYTES_MAX || !token.parse().is_ok_and(f64::is_finite) {
            return Err(JsonError::NumberRange { offset: start });
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(()) }
    }
}

/// Decodes the escapes of a string that the scanner has accepted.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let mut tail = escaped.chars();
        match tail.next() {
            Some('b') => decoded.push('\u{8}'),
            Some('f') => decoded.push('\u{c}'),
            Some('n') => decoded.push('\n'),
            Some('r') => decoded.push('\r'),
            Some('t') => decoded.push('\t'),
            Some('u') => {
                let mut unit = take_hex4(&mut tail);
                if (0xD800..0xDC00).contains(&unit) {
                    // The scanner has seen the second half: skip its `\u`.
                    tail.nth(1);
                    unit = 0x1_0000 + ((unit & 0x3FF) << 10) + (take_hex4(&mut tail) & 0x3FF);
                }
                decoded.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(plain) => decoded.push(plain),
            None => {}
        }
        rest = tail.as_str();
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn take_hex4(tail: &mut std::str::Chars<'_>) -> u32 {
    tail.by_ref().take(4).fold(0, |unit, digit| (unit << 4) | digit.to_digit(16).unwrap_or(0))
}

fn hex_digit(byte: u8) -> Option<u16> {
    char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
}
