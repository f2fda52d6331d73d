//! HTTP/2 as raw frames: a field block may hold what no library would send.
//!
//! One request on one connection, with prior knowledge (RFC 9113 section 3.3). Fields go out as
//! literals without indexing (RFC 7541 section 6.2.2). Of the answer, the status and the body are
//! read; header fields are not decoded.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wire::{REPLY_WITHIN, RawReply};

/// A request as the two lists of fields that frame it.
#[derive(Debug, Clone, Default)]
pub struct Http2Request {
    /// Pseudo fields and fields, in order, exactly as sent.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content, in one frame.
    pub body: Vec<u8>,
    /// Trailers; none when empty.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Sends one request and reads its reply; status 0 when the stream or the connection is reset.
///
/// # Errors
/// When the peer cannot be reached or sends no whole reply in time.
pub fn exchange(peer: SocketAddr, request: &Http2Request) -> io::Result<RawReply> {
    let mut stream = TcpStream::connect_timeout(&peer, REPLY_WITHIN)?;
    stream.set_read_timeout(Some(REPLY_WITHIN))?;
    stream.set_write_timeout(Some(REPLY_WITHIN))?;
    // A peer may refuse before it has read everything; what it said is still worth reading.
    let _written = stream.write_all(&sent(request));
    let mut reply = RawReply::default();
    while let Some(frame) = read_frame(&mut stream)? {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                drop(stream.write_all(&framed(SETTINGS, ACK, 0, &[])));
            }
            HEADERS => reply.status = status(&frame.payload).unwrap_or(reply.status),
            DATA => reply.body.extend(&frame.payload),
            RST_STREAM | GOAWAY => return Ok(reply),
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            return Ok(reply);
        }
    }
    Ok(reply)
}

fn sent(request: &Http2Request) -> Vec<u8> {
    let last = |is_last: bool| if is_last { END_STREAM } else { 0 };
    let (has_body, has_trailers) = (!request.body.is_empty(), !request.trailers.is_empty());
    let flags = END_HEADERS | last(!has_body && !has_trailers);
    let mut bytes = [PREFACE, &framed(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(framed(HEADERS, flags, 1, &block(&request.fields)));
    if has_body {
        bytes.extend(framed(DATA, last(!has_trailers), 1, &request.body));
    }
    if has_trailers {
        bytes.extend(framed(HEADERS, END_HEADERS | END_STREAM, 1, &block(&request.trailers)));
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

fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
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
    payload: Vec<u8>,
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Option<Frame>> {
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
    let [a, b, c, kind, flags, ..] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
    let mut payload = vec![0_u8; length];
    stream.read_exact(&mut payload)?;
    Ok(Some(Frame { kind, flags, payload }))
}

/// The status of a field block: always its first field (RFC 9113 section 8.3.2).
fn status(block: &[u8]) -> Option<u16> {
    // RFC 7541 section 6.3: changes of the table size come before the first field.
    let skip = block.iter().take_while(|byte| **byte & 0b1110_0000 == 0b0010_0000).count();
    let field = block.get(skip..)?;
    // RFC 7541 appendix A: entries 8 to 14.
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match *field.first()? {
        first @ 0x88..=0x8e => indexed.get(usize::from(first - 0x88)).copied(),
        // The name by index, the value as a literal.
        0x48 | 0x08 | 0x18 => {
            let length = *field.get(1)?;
            let value = field.get(2..2 + usize::from(length & 0x7f))?;
            let text = if length & 0x80 == 0 { value.to_vec() } else { digits(value) };
            String::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// RFC 7541 appendix B, as far as a status needs it: the ten digits.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |number, bit| number * 2 + bit);
    let mut rest = bits.as_slice();
    let mut text = Vec::new();
    while text.len() < 3 {
        let (Some(five), six) = (rest.get(..5), rest.get(..6)) else { break };
        // `0` to `2` have five bits; `3` to `9` have six, from 011001 on.
        let (digit, taken) = match number(five) {
            short @ 0..=2 => (short, 5),
            _ => (number(six.unwrap_or(five)).saturating_sub(0b01_1001) + 3, 6),
        };
        text.push(b'0' + digit);
        rest = rest.get(taken..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_status_in_each_form() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(b"\x48\x03401"), Some(401));
        // 403, Huffman coded: 011010 00000 011001, padded with ones.
        assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0000_1100, 0b1111_1111]), Some(403));
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn writes_long_literals_in_groups_of_seven_bits() {
        assert_eq!(literal(b"ab"), b"\x02ab");
        let long = literal(&[b'x'; 300]);
        assert_eq!(long.get(..3), Some([127, 173, 1].as_slice()));
        assert_eq!(long.len(), 303);
    }
}
