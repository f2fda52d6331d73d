//! HPACK (RFC 7541) for one direction of one connection: field blocks become fields.
//!
//! The whole of it: both tables, integers, Huffman coding, changes of the table's size. A malformed
//! block is an error, and the connection is of no use after it.

use std::collections::VecDeque;
use std::io;

/// Name and value of one field.
pub type Field = (Vec<u8>, Vec<u8>);

/// Reads the field blocks of one connection, in the order in which they arrive.
#[derive(Debug)]
pub struct Decoder {
    /// The dynamic table, newest entry first.
    dynamic: VecDeque<Field>,
    size_max: usize,
    codes: HuffmanCodes,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: VecDeque::new(), size_max: SIZE_MAX, codes: HuffmanCodes::new() }
    }
}

impl Decoder {
    /// The fields of one whole block.
    ///
    /// # Errors
    /// When the block is not one of RFC 7541.
    pub fn decode(&mut self, block: &[u8]) -> io::Result<Vec<Field>> {
        let mut input = Input { rest: block };
        let mut fields = Vec::new();
        while let Some(first) = input.rest.first().copied() {
            let field = match first {
                // RFC 7541 section 6.1.
                0x80..=0xff => self.entry(input.integer(7)?)?,
                // RFC 7541 section 6.2.1: it joins the table.
                0x40..=0x7f => {
                    let field = self.literal(&mut input, 6)?;
                    self.add(field.clone());
                    field
                }
                // RFC 7541 section 6.3.
                0x20..=0x3f => {
                    self.resize(input.integer(5)?)?;
                    continue;
                }
                // RFC 7541 sections 6.2.2 and 6.2.3.
                0x00..=0x1f => self.literal(&mut input, 4)?,
            };
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u32) -> io::Result<Field> {
        let name = match input.integer(prefix)? {
            0 => input.text(&self.codes)?,
            index => self.entry(index)?.0,
        };
        Ok((name, input.text(&self.codes)?))
    }

    /// RFC 7541 section 2.3.3: the dynamic table follows the static one; there is no entry 0.
    fn entry(&self, index: usize) -> io::Result<Field> {
        let index = index.checked_sub(1).ok_or_else(|| malformed("entry 0"))?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        let entry = self.dynamic.get(index.saturating_sub(STATIC.len()));
        entry.cloned().ok_or_else(|| malformed("no such entry"))
    }

    fn add(&mut self, field: Field) {
        self.dynamic.push_front(field);
        self.evict();
    }

    fn resize(&mut self, size: usize) -> io::Result<()> {
        // RFC 7541 section 6.3: not beyond what we said, and we said nothing.
        if size > SIZE_MAX {
            return Err(malformed("the table is larger than allowed"));
        }
        self.size_max = size;
        self.evict();
        Ok(())
    }

    /// RFC 7541 sections 4.1 and 4.4: an entry counts 32 bytes more than its texts; the oldest go.
    fn evict(&mut self) {
        let size_of = |(name, value): &Field| name.len() + value.len() + 32;
        let mut size: usize = self.dynamic.iter().map(size_of).sum();
        while size > self.size_max {
            let Some(oldest) = self.dynamic.pop_back() else { return };
            size -= size_of(&oldest);
        }
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    /// RFC 7541 section 5.1: the low bits of one byte, and groups of seven if they do not suffice.
    fn integer(&mut self, prefix: u32) -> io::Result<usize> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = usize::from(self.byte()?);
            value += (byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(malformed("an integer without end"))
    }

    /// RFC 7541 section 5.2.
    fn text(&mut self, codes: &HuffmanCodes) -> io::Result<Vec<u8>> {
        let is_coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| malformed("a text is cut off"))?;
        self.rest = rest;
        if is_coded { codes.decode(text) } else { Ok(text.to_vec()) }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let (first, rest) =
            self.rest.split_first().ok_or_else(|| malformed("a block is cut off"))?;
        self.rest = rest;
        Ok(*first)
    }
}

/// The code of RFC 7541 appendix B. It is canonical: codes of one length follow each other in the
/// order of their symbols, and after the shorter ones, so that the lengths say all.
#[derive(Debug)]
struct HuffmanCodes {
    /// For each length in bits: the first code, and the symbols from there on.
    by_length: Vec<(u32, Vec<u8>)>,
}

impl HuffmanCodes {
    fn new() -> Self {
        let mut by_length = Vec::new();
        let mut code = 0_u32;
        for length in 0..=LENGTH_MAX {
            let symbols: Vec<u8> = (0..=u8::MAX)
                .zip(LENGTHS)
                .filter_map(|(symbol, of)| (of == length).then_some(symbol))
                .collect();
            let count = u32::try_from(symbols.len()).unwrap_or(0);
            by_length.push((code, symbols));
            code = (code + count) << 1;
        }
        Self { by_length }
    }

    fn decode(&self, coded: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let (mut code, mut length) = (0_u32, 0_usize);
        for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| (byte >> at) & 1)) {
            code = (code << 1) | u32::from(bit);
            length += 1;
            // RFC 7541 section 5.2: the symbol that ends a text stands in none.
            let (first, symbols) =
                self.by_length.get(length).ok_or_else(|| malformed("no such code"))?;
            let place = code.checked_sub(*first).and_then(|place| usize::try_from(place).ok());
            if let Some(symbol) = place.and_then(|place| symbols.get(place)) {
                text.push(*symbol);
                (code, length) = (0, 0);
            }
        }
        // RFC 7541 section 5.2: fewer than eight bits are left, all of them ones.
        let is_padding = length < 8 && code == (1 << length) - 1;
        if is_padding { Ok(text) } else { Err(malformed("a text ends within a code")) }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a field block: {what}"))
}

/// RFC 9113 section 6.5.2: the size of a table that nobody speaks of.
const SIZE_MAX: usize = 4096;
const LENGTH_MAX: u8 = 30;

/// RFC 7541 appendix B: bits of the code of each byte.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// Blocks of one connection, and what each holds.
    fn check(blocks: &[(&str, &[(&str, &str)])]) {
        let mut decoder = Decoder::default();
        for (block, expected) in blocks {
            check_next(&mut decoder, block, expected);
        }
    }

    fn check_next(decoder: &mut Decoder, block: &str, expected: &[(&str, &str)]) {
        let fields = decoder.decode(&bytes(block)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
        let found: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(found, expected, "{block}");
    }

    #[test]
    fn integers_of_rfc_7541_appendix_c_1() {
        let check = |hex: &str, prefix: u32, expected: usize| {
            let coded = bytes(hex);
            assert_eq!(Input { rest: &coded }.integer(prefix).unwrap(), expected);
        };
        check("0a", 5, 10);
        check("1f9a0a", 5, 1337);
        check("2a", 8, 42);
    }

    #[test]
    fn fields_of_rfc_7541_appendix_c_2() {
        check(&[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
        )]);
        check(&[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")])]);
        check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")])]);
        check(&[("82", &[(":method", "GET")])]);
    }

    const FIRST: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    const SECOND: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ];
    const THIRD: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];

    #[test]
    fn requests_of_rfc_7541_appendix_c_3() {
        check(&[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD),
        ]);
    }

    #[test]
    fn huffman_coded_requests_of_rfc_7541_appendix_c_4() {
        check(&[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD),
        ]);
    }

    #[test]
    fn huffman_coded_responses_with_eviction_of_rfc_7541_appendix_c_6() {
        let common: &[(&str, &str)] = &[
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        let mut decoder = Decoder { size_max: 256, ..Decoder::default() };
        check_next(
            &mut decoder,
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
             919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            &[&[(":status", "302")], common].concat(),
        );
        check_next(&mut decoder, "4883 640e ffc1 c0bf", &[&[(":status", "307")], common].concat());
        check_next(
            &mut decoder,
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
             821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
             4ee5 b106 3d50 07",
            &[
                (":status", "200"),
                ("cache-control", "private"),
                ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
                ("location", "https://www.example.com"),
                ("content-encoding", "gzip"),
                ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
            ],
        );
        assert_eq!(decoder.dynamic.len(), 3, "the rest was evicted");
    }

    #[test]
    fn malformed_blocks_are_refused() {
        // Entry 0, an entry that is not there, a cut integer and text, an integer without end, a
        // table beyond the limit.
        for block in ["80", "be", "ff", "0003 6162", "ffff ffff ffff 0f", "3fe2 1f"] {
            assert!(Decoder::default().decode(&bytes(block)).is_err(), "{block}");
        }
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        let codes = HuffmanCodes::new();
        assert_eq!(codes.decode(&bytes("1f")).unwrap(), b"a");
        // Zeros, more than seven bits, and the symbol that ends a text.
        for coded in ["18", "1fff", "ffff fffc"] {
            assert!(codes.decode(&bytes(coded)).is_err(), "{coded}");
        }
    }

    #[test]
    fn a_change_of_the_size_empties_the_table() {
        let mut decoder = Decoder::default();
        decoder.decode(&bytes("400a 6375 7374 6f6d 2d6b 6579 0161")).unwrap();
        assert!(decoder.decode(&bytes("be")).is_ok());
        assert!(decoder.decode(&bytes("20be")).is_err());
    }
}
