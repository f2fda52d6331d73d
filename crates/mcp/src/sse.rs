//! Server-sent events: the parser of the WHATWG HTML Standard section 9.2.6, bounded, and a
//! writer for one JSON message per event.
//!
//! Stricter than the standard: text that is not UTF-8 ends the stream instead of being replaced.
//! Looser in one point: a block that carries only an id or a reconnection time is reported too,
//! with empty data, because a relay has to pass them on.

use std::collections::VecDeque;
use std::mem;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty means `message`.
    pub kind: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
    /// The last event id of the stream at this point.
    pub id: Option<String>,
    /// Milliseconds to wait before a reconnection, when this block names them.
    pub retry_ms: Option<u64>,
}

/// Why a stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    /// A line is not UTF-8.
    #[error("event stream is not UTF-8")]
    Encoding,
    /// One event, or one line, is larger than allowed.
    #[error("event larger than {max} bytes")]
    EventTooLarge {
        /// Bytes allowed.
        max: usize,
    },
}

/// An incremental parser. Memory is bounded by twice the event limit, however bytes arrive.
#[derive(Debug)]
pub struct Parser {
    event_bytes_max: usize,
    /// Bytes of the line that has not ended yet.
    line: Vec<u8>,
    kind: String,
    /// Present once a `data` field was seen.
    data: Option<String>,
    id: Option<String>,
    /// The block names an id or a reconnection time.
    has_control: bool,
    retry_ms: Option<u64>,
    events: VecDeque<Event>,
    fault: Option<SseFault>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_cr: bool,
    /// No line has ended yet, so a byte order mark may lead.
    at_start: bool,
}

impl Parser {
    /// A parser that refuses events over `event_bytes_max` bytes.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            line: Vec::new(),
            kind: String::new(),
            data: None,
            id: None,
            has_control: false,
            retry_ms: None,
            events: VecDeque::new(),
            fault: None,
            after_cr: false,
            at_start: true,
        }
    }

    /// Takes the next bytes. After a fault they are ignored.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.fault.is_none()
            && let Err(fault) = self.read(chunk)
        {
            self.fault = Some(fault);
        }
    }

    /// The next complete event, in order; none when more bytes are needed.
    ///
    /// # Errors
    /// [`SseFault`] once all events before it are taken; the stream must then be closed.
    pub fn next_event(&mut self) -> Result<Option<Event>, SseFault> {
        match (self.events.pop_front(), self.fault) {
            (Some(event), _) => Ok(Some(event)),
            (None, Some(fault)) => Err(fault),
            (None, None) => Ok(None),
        }
    }

    /// Whether the stream may end here without losing an event: the standard drops what is not
    /// followed by a blank line.
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && self.data.is_none()
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), SseFault> {
        let mut rest = chunk;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.extend_line(line)?;
            rest = match tail {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
            self.end_line()?;
        }
        self.extend_line(rest)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), SseFault> {
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held + bytes.len() > self.event_bytes_max {
            return Err(SseFault::EventTooLarge { max: self.event_bytes_max });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), SseFault> {
        let line = mem::take(&mut self.line);
        let mut text = std::str::from_utf8(&line).map_err(|_| SseFault::Encoding)?;
        if mem::take(&mut self.at_start) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch();
            return Ok(());
        }
        // A line that starts with a colon is a comment: its field name is empty.
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let joined = self.data.take().map(|before| before + "\n" + value);
                self.data = Some(joined.unwrap_or_else(|| value.to_owned()));
            }
            "event" => value.clone_into(&mut self.kind),
            "id" if !value.contains('\0') => {
                self.id = Some(value.to_owned());
                self.has_control = true;
            }
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
                self.has_control = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) {
        let kind = mem::take(&mut self.kind);
        let data = self.data.take();
        let retry_ms = self.retry_ms.take();
        if mem::take(&mut self.has_control) || data.is_some() {
            let data = data.unwrap_or_default();
            self.events.push_back(Event { kind, data, id: self.id.clone(), retry_ms });
        }
    }
}

/// Appends one event that carries a JSON message. Line ends in the JSON stand between tokens only
/// and are left out, so that the message cannot open a field or an event of its own.
pub fn write_event(message: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend(message.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    out.extend_from_slice(b"\n\n");
}

/// A comment that keeps intermediaries from closing a quiet stream: MCP 2026-07-28, Streamable
/// HTTP, Receiving Messages.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]], event_bytes_max: usize) -> Result<Vec<Event>, SseFault> {
        let mut parser = Parser::new(event_bytes_max);
        chunks.iter().for_each(|chunk| parser.push(chunk));
        std::iter::from_fn(|| parser.next_event().transpose()).take(1_000).collect()
    }

    #[test]
    fn memory_is_bounded_whatever_the_stream_does() {
        let too_large = Err(SseFault::EventTooLarge { max: 16 });
        assert_eq!(read(&[b"data: 12345678901\n\n"], 16), too_large);
        assert_eq!(read(&[b"data: 123456\ndata: 1234567\n\n"], 16), too_large);
        assert_eq!(read(&[&[b':'; 17]], 16), too_large);
        assert_eq!(read(&[b"data: 1234567890\n\n"], 16).unwrap().len(), 1);
        assert_eq!(read(&[b":", &[b' '; 15], b"\ndata: a\n\n"], 16).unwrap().len(), 1);
    }

    #[test]
    fn events_before_a_fault_are_not_lost() {
        let mut parser = Parser::new(64);
        parser.push(b"data: a\n\ndata: \xff\n\ndata: b\n\n");
        assert_eq!(parser.next_event().unwrap().unwrap().data, "a");
        assert_eq!(parser.next_event(), Err(SseFault::Encoding));
        parser.push(b"data: c\n\n");
        assert_eq!(parser.next_event(), Err(SseFault::Encoding));
    }

    #[test]
    fn a_character_may_be_split() {
        let text = "data: 😀\n\n".as_bytes();
        let chunks: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&chunks, 64).unwrap().first().unwrap().data, "😀");
    }

    #[test]
    fn a_written_message_is_one_event_of_one_line() {
        let mut out = Vec::new();
        write_event(b"{\"a\":\r\n1,\n\"b\":\"x\\ny\"}", &mut out);
        assert_eq!(out, b"data: {\"a\":1,\"b\":\"x\\ny\"}\n\n");
        assert_eq!(read(&[&out, KEEP_ALIVE], 64).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(
            text in "(data|id|event|retry|:|x)?[: ]{0,2}[a-c0-9\u{e9}]{0,4}(\n|\r|\r\n){0,3}",
            more in "(data: a\n|\r|\n|\r\n|id: b\r|retry:1\n|event:c\r\n|:\n){0,12}",
            first in 0_usize..80,
            second in 0_usize..80,
        ) {
            let stream = format!("{text}{more}");
            let bytes = stream.as_bytes();
            let (head, tail) = bytes.split_at(first.min(bytes.len()));
            let (middle, end) = tail.split_at(second.min(tail.len()));
            prop_assert_eq!(read(&[head, middle, end], 256), read(&[bytes], 256));
        }
    }
}
