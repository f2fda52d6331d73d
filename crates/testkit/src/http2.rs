//! HTTP/2 as raw frames: a field block may hold what no library would send.
//!
//! One request on one connection, with prior knowledge (RFC 9113 section 3.3). Fields go out as
//! literals without indexing (RFC 7541 section 6.2.2). Content goes out as the peer's windows let
//! it; ours are as large as can be, so that no reply has to wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::hpack::{Decoder, Field};
use crate::wire::{REPLY_WITHIN, RawReply, RawRequest};

/// A request as the two lists of fields that frame it.
#[derive(Debug, Clone, Default)]
pub struct Http2Request {
    /// Pseudo fields and fields, in order, exactly as sent.
    pub fields: Vec<Field>,
    /// The content.
    pub body: Vec<u8>,
    /// Trailers; none when empty.
    pub trailers: Vec<Field>,
    /// The stream stays open after the content: more of it was announced.
    pub unfinished: bool,
}

impl From<&RawRequest> for Http2Request {
    /// The same request as frames: RFC 9113 section 8.3.1.
    fn from(request: &RawRequest) -> Self {
        let named = |wanted: &str| {
            let found = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        let pseudo = [
            (":method", Some(request.method.clone().into_bytes())),
            (":scheme", Some(b"http".to_vec())),
            (":path", Some(request.target.clone().into_bytes())),
            (":authority", named("host")),
        ];
        let pseudo =
            pseudo.into_iter().filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?)));
        let rest = request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
        let rest =
            rest.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.clone()));
        let declared = named("content-length")
            .and_then(|length| String::from_utf8_lossy(&length).parse::<usize>().ok());
        Self {
            fields: pseudo.chain(rest).collect(),
            body: request.body.clone(),
            trailers: Vec::new(),
            unfinished: declared.is_some_and(|declared| declared > request.body.len()),
        }
    }
}

/// Sends one request and reads its reply; status 0 when the stream or the connection is reset.
///
/// # Errors
/// When the peer cannot be reached or sends no whole reply in time.
pub fn exchange(peer: SocketAddr, request: &Http2Request) -> io::Result<RawReply> {
    exchange_over(connected(peer)?, request)
}

/// As [`exchange`], over a connection that is there already, such as one with TLS.
///
/// # Errors
/// When the peer sends no whole reply in time.
pub fn exchange_over(
    mut stream: impl Read + Write,
    request: &Http2Request,
) -> io::Result<RawReply> {
    let sending = begun(&mut stream, request);
    Conversation { stream, sending, decoder: Decoder::default(), block: Vec::new() }.reply()
}

/// Sends one request and leaves the reply unread. Of the content goes out what fits the first
/// window.
///
/// # Errors
/// When the peer cannot be reached.
pub fn send(peer: SocketAddr, request: &Http2Request) -> io::Result<TcpStream> {
    let mut stream = connected(peer)?;
    let _rest = begun(&mut stream, request);
    Ok(stream)
}

pub(crate) fn connected(peer: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&peer, REPLY_WITHIN)?;
    stream.set_read_timeout(Some(REPLY_WITHIN))?;
    stream.set_write_timeout(Some(REPLY_WITHIN))?;
    Ok(stream)
}

fn begun<'r>(stream: &mut impl Write, request: &'r Http2Request) -> Sending<'r> {
    let mut sending = Sending {
        rest: &request.body,
        request,
        connection: WINDOW,
        stream: WINDOW,
        initial: WINDOW,
        ended: false,
    };
    let largest = i32::MAX.to_be_bytes();
    let settings = [&SETTINGS_INITIAL_WINDOW_SIZE.to_be_bytes(), largest.as_slice()].concat();
    let more = (i32::MAX - 65_535).to_be_bytes();
    let mut bytes = [PREFACE, &framed(SETTINGS, 0, 0, &settings)].concat();
    bytes.extend(framed(WINDOW_UPDATE, 0, 0, &more));
    bytes.extend(sending.head());
    bytes.extend(sending.next());
    // A peer may refuse before it has read everything; what it said is still worth reading.
    let _written = stream.write_all(&bytes);
    sending
}

/// The part of a request that has not gone out yet.
struct Sending<'r> {
    request: &'r Http2Request,
    rest: &'r [u8],
    /// What the peer takes on the connection, on the stream, and on a stream at its start.
    connection: i64,
    stream: i64,
    initial: i64,
    ended: bool,
}

impl Sending<'_> {
    fn head(&mut self) -> Vec<u8> {
        let request = self.request;
        self.ended = request.body.is_empty() && request.trailers.is_empty() && !request.unfinished;
        let end = if self.ended { END_STREAM } else { 0 };
        fields_framed(end, &block(&request.fields))
    }

    /// As much as the windows let out now; the last frame ends the stream.
    fn next(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.ended {
            if self.rest.is_empty() {
                self.ended = true;
                if !self.request.trailers.is_empty() {
                    bytes.extend(fields_framed(END_STREAM, &block(&self.request.trailers)));
                }
                break;
            }
            let open = usize::try_from(self.connection.min(self.stream)).unwrap_or(0);
            if open == 0 {
                break;
            }
            let (piece, rest) = self.rest.split_at(self.rest.len().min(open).min(FRAME_BYTES));
            let is_last =
                rest.is_empty() && self.request.trailers.is_empty() && !self.request.unfinished;
            bytes.extend(framed(DATA, if is_last { END_STREAM } else { 0 }, 1, piece));
            let taken = i64::try_from(piece.len()).unwrap_or(i64::MAX);
            (self.rest, self.connection, self.stream) =
                (rest, self.connection - taken, self.stream - taken);
        }
        bytes
    }

    /// RFC 9113 section 6.9.2: a change of the size changes the window by the difference.
    fn take_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let [a, b, value @ ..] = setting else { continue };
            let Ok(value) = <[u8; 4]>::try_from(value) else { continue };
            if u16::from_be_bytes([*a, *b]) == SETTINGS_INITIAL_WINDOW_SIZE {
                let initial = i64::from(u32::from_be_bytes(value));
                self.stream += initial - std::mem::replace(&mut self.initial, initial);
            }
        }
    }

    fn take_update(&mut self, frame: &Frame) {
        let Some(more) = frame.payload.first_chunk::<4>() else { return };
        let more = i64::from(u32::from_be_bytes(*more) & 0x7fff_ffff);
        if frame.stream == 0 { self.connection += more } else { self.stream += more }
    }
}

struct Conversation<'r, S> {
    stream: S,
    sending: Sending<'r>,
    decoder: Decoder,
    /// The field block that is being read.
    block: Vec<u8>,
}

impl<S: Read + Write> Conversation<'_, S> {
    fn reply(mut self) -> io::Result<RawReply> {
        let mut reply = RawReply::default();
        let mut ends = false;
        while let Some(frame) = read_frame(&mut self.stream)? {
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    self.sending.take_settings(&frame.payload);
                    self.write(&framed(SETTINGS, ACK, 0, &[]));
                }
                PING if frame.flags & ACK == 0 => {
                    self.write(&framed(PING, ACK, 0, &frame.payload));
                }
                WINDOW_UPDATE => self.sending.take_update(&frame),
                HEADERS | CONTINUATION => {
                    self.block.extend(&frame.payload);
                    ends |= frame.kind == HEADERS && frame.flags & END_STREAM != 0;
                    if frame.flags & END_HEADERS != 0 {
                        let block = std::mem::take(&mut self.block);
                        take_fields(&mut reply, &self.decoder.decode(&block)?);
                        if ends {
                            return Ok(reply);
                        }
                    }
                }
                DATA => {
                    reply.body.extend(&frame.payload);
                    if frame.flags & END_STREAM != 0 {
                        return Ok(reply);
                    }
                }
                RST_STREAM | GOAWAY => return Ok(reply),
                _ => {}
            }
            let more = self.sending.next();
            self.write(&more);
        }
        Ok(reply)
    }

    fn write(&mut self, bytes: &[u8]) {
        // As at the start: a peer that has had enough may have answered.
        let _written = self.stream.write_all(bytes);
    }
}

/// RFC 9113 section 8.1: fields before the content are the head, after interim ones with 1xx.
fn take_fields(reply: &mut RawReply, fields: &[Field]) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = fields.iter().find(|(name, _)| name == b":status");
    let Some(status) = status.and_then(|(_, value)| text(value).parse().ok()) else { return };
    if status < 200 {
        return;
    }
    reply.status = status;
    let named = fields.iter().filter(|(name, _)| !name.starts_with(b":"));
    reply.headers = named.map(|(name, value)| (text(name), text(value))).collect();
}

/// RFC 9113 section 6.2: a block that does not fit one frame goes on in others.
fn fields_framed(end: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(FRAME_BYTES).peekable();
    let mut bytes = Vec::new();
    let (mut kind, mut flags) = (HEADERS, end);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(framed(kind, flags | last, 1, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    bytes
}

/// RFC 9113 section 4.1.
fn framed(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame: Vec<u8> = length.into_iter().skip(1).collect();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        block.extend(literal(name));
        block.extend(literal(value));
    }
    block
}

/// RFC 7541 section 5.2, without Huffman coding.
fn literal(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(length) = u8::try_from(text.len()).ok().filter(|length| *length < 127) {
        bytes.push(length);
    } else {
        // RFC 7541 section 5.1: what does not fit follows in groups of seven bits.
        bytes.push(127);
        let mut rest = text.len().saturating_sub(127);
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap_or(0));
    }
    bytes.extend(text);
    bytes
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn read_frame(stream: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0_u8; 9];
    match stream.read_exact(&mut head) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let [a, b, c, kind, flags, id @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
    let mut payload = vec![0_u8; length];
    stream.read_exact(&mut payload)?;
    Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(id) & 0x7fff_ffff, payload }))
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
/// RFC 9113 section 6.9.2: every window at the start.
const WINDOW: i64 = 65_535;
/// RFC 9113 section 4.2: what every peer takes.
const FRAME_BYTES: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes and gives back what it read until the client left.
    fn peer(answer: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answer).unwrap();
            let mut read = Vec::new();
            drop(stream.read_to_end(&mut read));
            read
        });
        (address, served)
    }

    fn request(body: Vec<u8>) -> Http2Request {
        Http2Request {
            fields: vec![(b":method".to_vec(), b"POST".to_vec())],
            body,
            ..Http2Request::default()
        }
    }

    #[test]
    fn reads_status_fields_and_body() {
        let head = b"\x48\x03401\x0f\x2e\x04DPoP".as_slice();
        let (first, second) = head.split_at(7);
        let mut answer = framed(SETTINGS, 0, 0, &[]);
        answer.extend(framed(HEADERS, END_HEADERS, 1, b"\x08\x03103"));
        answer.extend(framed(HEADERS, 0, 1, first));
        answer.extend(framed(CONTINUATION, END_HEADERS, 1, second));
        answer.extend(framed(DATA, 0, 1, b"he"));
        answer.extend(framed(DATA, END_STREAM, 1, b"llo"));
        let (address, served) = peer(answer);
        let reply = exchange(address, &request(Vec::new())).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (401, "hello"));
        assert_eq!(reply.header("WWW-Authenticate"), Some("DPoP"));
        served.join().unwrap();
    }

    #[test]
    fn a_reset_stream_is_status_0() {
        let mut answer = framed(SETTINGS, 0, 0, &[]);
        answer.extend(framed(RST_STREAM, 0, 1, &[0, 0, 0, 1]));
        let (address, served) = peer(answer);
        assert_eq!(exchange(address, &request(Vec::new())).unwrap().status, 0);
        served.join().unwrap();
    }

    #[test]
    fn long_content_waits_for_the_windows() {
        let mut answer = framed(SETTINGS, 0, 0, b"\x00\x04\x00\x02\x00\x00");
        answer.extend(framed(WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes()));
        answer.extend(framed(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]));
        let (address, served) = peer(answer);
        assert_eq!(exchange(address, &request(vec![b'x'; 200_000])).unwrap().status, 200);
        let read = served.join().unwrap();
        // What the stream took: the connection had more room.
        assert_eq!(read.iter().filter(|byte| **byte == b'x').count(), 131_072);
    }

    #[test]
    fn the_host_becomes_the_authority() {
        let request = RawRequest {
            method: "POST".to_owned(),
            target: "/mcp".to_owned(),
            headers: vec![
                ("Host".to_owned(), b"a.example".to_vec()),
                ("Content-Length".to_owned(), b"5".to_vec()),
            ],
            body: b"1234".to_vec(),
            verbatim: None,
        };
        let frames = Http2Request::from(&request);
        let expected: Vec<Field> = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/mcp"),
            (":authority", "a.example"),
            ("content-length", "5"),
        ]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .into();
        assert_eq!(frames.fields, expected);
        assert!(frames.unfinished, "a byte is still to come");
    }

    #[test]
    fn writes_long_literals_in_groups_of_seven_bits() {
        assert_eq!(literal(b"ab"), b"\x02ab");
        let long = literal(&[b'x'; 300]);
        assert_eq!(long.get(..3), Some([127, 173, 1].as_slice()));
        assert_eq!(long.len(), 303);
    }
}
