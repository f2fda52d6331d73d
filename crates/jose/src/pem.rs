//! One `PRIVATE KEY` block: RFC 7468 section 10. Not implemented: several blocks, headers, text
//! around the block beyond white space.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The DER bytes of the block; `None` if the text is anything else.
pub(crate) fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let mut joined = Zeroizing::new(String::with_capacity(body.len()));
    body.lines().for_each(|line| joined.push_str(line.trim_end()));
    STANDARD.decode(joined.as_bytes()).ok().map(Zeroizing::new)
}

/// RFC 7468 section 2: lines of 64 characters.
pub(crate) fn encode(der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    // Long enough that the text never moves and leaves a copy behind.
    let mut pem = Zeroizing::new(String::with_capacity(encoded.len() * 2 + 128));
    pem.push_str(BEGIN);
    for (index, character) in encoded.chars().enumerate() {
        if index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push('\n');
    pem.push_str(END);
    pem.push('\n');
    pem
}
