//! Digests as lower-case hexadecimal text in JSON. Used by `serde(with = ..)`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(64);
    for byte in digest {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    to.serialize_str(&text)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(from)?;
    decode(&text).ok_or_else(|| D::Error::custom("a digest is 64 lower-case hexadecimal digits"))
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(digest)
}

/// Lower case only, so that one digest has one text.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Holder(#[serde(with = "super")] [u8; 32]);

    #[test]
    fn a_digest_reads_back() {
        let mut bytes = [0; 32];
        bytes[0] = 0xf0;
        bytes[31] = 0x1a;
        let text = serde_json::to_string(&Holder(bytes)).unwrap();
        assert!(text.starts_with("\"f0") && text.ends_with("1a\""));
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), Holder(bytes));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "f0", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
