//! Event streams: cut anywhere the events are the same, and they are those of a reader that sees
//! the stream whole.

use attorn_mcp::sse::{Event, Parser, SseFault, write_event};

use super::corpus::Corpus;
use super::random::Random;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const SSE_PARSER: Target = Target {
    name: "sse_parser",
    oracle: "the same events and the same end for any cut into chunks, equal to those of a second \
             reader of whole lines; an event we write is read back as it was",
    prepare,
};

const WORDS: &[&str] = &[
    "data:",
    "data: ",
    "data",
    "event: x",
    "id: 1",
    "id:\0",
    "retry: 10",
    "retry: x",
    ":",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\u{feff}",
    ": keep-alive",
    "{\"a\":1}",
];

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let seeds = corpus.texts("mcp/sse.json", "/input")?;
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let (events, fault) = read([input]);
    ensure(read(input.chunks(1)) == (events.clone(), fault), "other events byte by byte")?;
    let mut random = Random::of(input);
    for _ in 0..4 {
        let (left, right) = input.split_at(random.below(input.len() + 1));
        let (middle, last) = right.split_at(random.below(right.len() + 1));
        let cut = read([left, middle, last]);
        ensure(cut == (events.clone(), fault), "other events when cut")?;
    }
    if let (Ok(text), None) = (std::str::from_utf8(input), fault) {
        ensure(reference(text) == events, "other events than a second reader finds")?;
    }
    for event in events.iter().filter(|event| !event.data.contains('\n')) {
        let mut written = Vec::new();
        write_event(event.data.as_bytes(), &mut written);
        let (again, fault) = read([written.as_slice()]);
        let data: Vec<&str> = again.iter().map(|event| event.data.as_str()).collect();
        ensure(fault.is_none() && data == [event.data.as_str()], "written and read differently")?;
    }
    match (events.is_empty(), fault) {
        (true, fault) => Ok(Seen::refused(&fault)),
        (false, fault) => Ok(Seen::accepted(&(events.len(), fault))),
    }
}

fn read<'c, C: IntoIterator<Item = &'c [u8]>>(chunks: C) -> (Vec<Event>, Option<SseFault>) {
    let mut parser = Parser::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(chunk);
        loop {
            match parser.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(fault) => return (events, Some(fault)),
            }
        }
    }
    (events, None)
}

/// WHATWG HTML section 9.2.6 on a whole text, with the one addition of ours: a block with only an
/// id or a reconnection time is an event.
fn reference(text: &str) -> Vec<Event> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let text = text.replace('\r', "\n");
    // What follows the last line end is no line yet.
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let mut found = Vec::new();
    let (mut id, mut block) = (None, Block::default());
    if text.contains('\n') {
        for line in whole.split('\n') {
            if line.is_empty() {
                let block = std::mem::take(&mut block);
                if block.counts || !block.data.is_empty() {
                    let data = block.data.join("\n");
                    let Block { kind, retry_ms, .. } = block;
                    found.push(Event { kind, data, id: id.clone(), retry_ms });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            block.field(field, value.strip_prefix(' ').unwrap_or(value), &mut id);
        }
    }
    found
}

#[derive(Default)]
struct Block {
    kind: String,
    data: Vec<String>,
    retry_ms: Option<u64>,
    counts: bool,
}

impl Block {
    fn field(&mut self, field: &str, value: &str, id: &mut Option<String>) {
        match field {
            "data" => self.data.push(value.to_owned()),
            "event" => self.kind = value.to_owned(),
            "id" if !value.contains('\0') => {
                *id = Some(value.to_owned());
                self.counts = true;
            }
            "retry" if value.chars().all(|digit| digit.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
                self.counts = true;
            }
            _ => {}
        }
    }
}
