//! The part of CBOR (RFC 8949) that an answer of an authenticator is made of, in its one spelling.
//!
//! WebAuthn Level 3 section 2.4: a decoder should reject what is not in the CTAP2 canonical form, and a
//! map with a key twice. CTAP 2.1 section 8 is that form: shortest integers, no indefinite length, no tag,
//! keys in order, at most four levels. Not implemented, and refused: tags and floating-point numbers.

/// Why bytes are not such CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Maps and arrays nest deeper than four levels.
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    /// The bytes end before the item does.
    #[error("the item is cut off")]
    End,
    /// The keys of a map are not in their order, or one is there twice.
    #[error("the keys of a map are not in their order")]
    MapOrder,
    /// A length or number has a shorter spelling, or none.
    #[error("a length or number is not in its shortest form")]
    NotShortest,
    /// A number beyond 64 bits with a sign.
    #[error("a number is out of range")]
    Range,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// Something follows the item.
    #[error("something follows the item")]
    Trailing,
    /// An item of another type than expected, or of one that is never accepted.
    #[error("an item of another type")]
    Type,
}

/// The key of an entry in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Integer(i64),
    Text(&'a str),
}

/// Reads items from the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading: nothing may follow.
    pub(crate) const fn end(self) -> Result<(), CborError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CborError::Trailing) }
    }

    /// The next item, an integer.
    pub(crate) fn integer(&mut self) -> Result<i64, CborError> {
        let (major, argument) = self.head()?;
        let argument = i64::try_from(argument).map_err(|_| CborError::Range)?;
        match major {
            UNSIGNED => Ok(argument),
            // RFC 8949 section 3.1: -1 minus the argument.
            NEGATIVE => Ok(-1 - argument),
            _ => Err(CborError::Type),
        }
    }

    /// The next item, a byte string.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        match self.head()? {
            (BYTES, length) => self.take(length),
            _ => Err(CborError::Type),
        }
    }

    /// The next item, a text.
    pub(crate) fn text(&mut self) -> Result<&'a str, CborError> {
        match self.head()? {
            (TEXT, length) => text(self.take(length)?),
            _ => Err(CborError::Type),
        }
    }

    /// The next item, a map. Everything in it was looked at: a reader of a value holds one item.
    pub(crate) fn map(&mut self) -> Result<Vec<(Key<'a>, Self)>, CborError> {
        match self.head()? {
            (MAP, count) => self.entries(count, 1)?.into_iter().map(Entry::read).collect(),
            _ => Err(CborError::Type),
        }
    }

    /// Steps over one item that is `depth` levels down, and gives its bytes.
    fn item(&mut self, depth: usize) -> Result<&'a [u8], CborError> {
        let before = self.rest;
        match self.head()? {
            (UNSIGNED | NEGATIVE, _) | (SIMPLE, FALSE..=NULL) => {}
            (BYTES, length) => {
                self.take(length)?;
            }
            (TEXT, length) => {
                text(self.take(length)?)?;
            }
            (ARRAY | MAP, _) if depth >= DEPTH_MAX => return Err(CborError::Depth),
            (ARRAY, count) => {
                // No room is made for what is announced: each round reads a byte, or ends.
                for _ in 0..count {
                    self.item(depth + 1)?;
                }
            }
            (MAP, count) => {
                self.entries(count, depth + 1)?;
            }
            _ => return Err(CborError::Type),
        }
        let length = before.len().saturating_sub(self.rest.len());
        before.get(..length).ok_or(CborError::End)
    }

    /// The entries of a map whose head was read, as the bytes of key and value.
    fn entries(&mut self, count: u64, depth: usize) -> Result<Vec<Entry<'a>>, CborError> {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        for _ in 0..count {
            // A key is no container.
            let key = self.item(DEPTH_MAX)?;
            // Equal keys are no order either: CTAP 2.1 section 8 forbids duplicates.
            if entries.last().is_some_and(|last| order(last.key) >= order(key)) {
                return Err(CborError::MapOrder);
            }
            entries.push(Entry { key, value: self.item(depth)? });
        }
        Ok(entries)
    }

    /// RFC 8949 section 3: the major type and the argument, in the shortest form.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let initial = self.number(1)?;
        let major = u8::try_from(initial >> 5).map_err(|_| CborError::Type)?;
        let (argument, least) = match initial & 0x1f {
            short @ 0..=23 => (short, 0),
            24 => (self.number(1)?, 24),
            25 => (self.number(2)?, 1 << 8),
            26 => (self.number(4)?, 1 << 16),
            27 => (self.number(8)?, 1 << 32),
            // Reserved, or of indefinite length.
            _ => return Err(CborError::NotShortest),
        };
        if argument < least { Err(CborError::NotShortest) } else { Ok((major, argument)) }
    }

    /// A big-endian number of at most eight bytes.
    fn number(&mut self, length: u64) -> Result<u64, CborError> {
        Ok(self.take(length)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError::End)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CborError::End)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// An entry of a map, as the bytes of its two items.
struct Entry<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(self) -> Result<(Key<'a>, Reader<'a>), CborError> {
        let mut key = Reader::new(self.key);
        let is_text = self.key.first().is_some_and(|initial| initial >> 5 == TEXT);
        let key = if is_text { Key::Text(key.text()?) } else { Key::Integer(key.integer()?) };
        Ok((key, Reader::new(self.value)))
    }
}

/// CTAP 2.1 section 8: keys by major type, then by length, then byte by byte.
fn order(key: &[u8]) -> (u8, usize, &[u8]) {
    (key.first().map_or(0, |initial| initial >> 5), key.len(), key)
}

fn text(bytes: &[u8]) -> Result<&str, CborError> {
    std::str::from_utf8(bytes).map_err(|_| CborError::Text)
}

/// RFC 8949 section 3.1: the major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
/// RFC 8949 section 3.3: `false`, `true` and `null` follow each other.
const FALSE: u64 = 20;
const NULL: u64 = 22;
/// CTAP 2.1 section 8.
const DEPTH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<(), CborError> {
        let mut reader = Reader::new(bytes);
        reader.item(0)?;
        reader.end()
    }

    #[test]
    fn examples_of_the_rfc_are_read() {
        // RFC 8949 appendix A.
        for (bytes, number) in [
            (&[0x00][..], 0),
            (&[0x17], 23),
            (&[0x18, 0x18], 24),
            (&[0x19, 0x03, 0xe8], 1000),
            (&[0x1a, 0x00, 0x0f, 0x42, 0x40], 1_000_000),
            (&[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00], 1_000_000_000_000),
            (&[0x20], -1),
            (&[0x38, 0x63], -100),
            (&[0x39, 0x03, 0xe7], -1000),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.integer(), Ok(number));
            assert_eq!(reader.end(), Ok(()));
        }
        assert_eq!(Reader::new(&[0x44, 1, 2, 3, 4]).bytes(), Ok(&[1, 2, 3, 4][..]));
        assert_eq!(Reader::new(&[0x62, 0xc3, 0xbc]).text(), Ok("\u{fc}"));
        assert_eq!(Reader::new(&[0x62, 0xc3, 0xbc]).bytes(), Err(CborError::Type));
        let mut map = Reader::new(&[0xa2, 0x01, 0x02, 0x61, b'a', 0xf5]);
        let entries = map.map().unwrap();
        assert_eq!(
            entries.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            [Key::Integer(1), Key::Text("a")]
        );
    }

    #[test]
    fn one_number_has_one_spelling() {
        for bytes in [
            &[0x18, 0x17][..],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0x00, 0x00, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0x58, 0x01, 0x00],
            &[0x1c],
            &[0x1f],
        ] {
            assert_eq!(whole(bytes), Err(CborError::NotShortest), "{bytes:02x?}");
        }
        let largest = [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&largest).integer(), Err(CborError::Range));
        assert_eq!(whole(&largest), Ok(()));
    }

    #[test]
    fn lengths_are_definite_and_within() {
        for bytes in [&[0x5f, 0x41, 0x00, 0xff][..], &[0x9f, 0xff], &[0xbf, 0xff], &[0x7f, 0xff]] {
            assert_eq!(whole(bytes), Err(CborError::NotShortest), "{bytes:02x?}");
        }
        for bytes in [
            &[][..],
            &[0x18],
            &[0x42, 0x00],
            &[0x82, 0x00],
            &[0xa1, 0x00],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(whole(bytes), Err(CborError::End), "{bytes:02x?}");
        }
        assert_eq!(whole(&[0x00, 0x00]), Err(CborError::Trailing));
    }

    #[test]
    fn a_map_has_its_keys_in_order_and_once() {
        // Integers before texts, shorter before longer, then byte by byte.
        let ordered = [0xa5, 0x03, 0x00, 0x18, 0x64, 0x00, 0x20, 0x00, 0x61, b'z', 0x00, 0x62];
        let ordered = [&ordered[..], b"aa\x00"].concat();
        assert_eq!(whole(&ordered), Ok(()));
        for bytes in [
            &[0xa2, 0x01, 0x00, 0x01, 0x00][..],
            &[0xa2, 0x20, 0x00, 0x01, 0x00],
            &[0xa2, 0x62, b'a', b'a', 0x00, 0x61, b'z', 0x00],
            &[0x81, 0xa2, 0x61, b'b', 0x00, 0x61, b'a', 0x00],
        ] {
            assert_eq!(whole(bytes), Err(CborError::MapOrder), "{bytes:02x?}");
        }
        // A key that is a container, and one that is no name here.
        assert_eq!(whole(&[0xa1, 0x80, 0x00]), Err(CborError::Depth));
        assert!(matches!(Reader::new(&[0xa1, 0x41, 0x00, 0x00]).map(), Err(CborError::Type)));
    }

    #[test]
    fn four_levels_and_no_more() {
        assert_eq!(whole(&[0x81, 0x81, 0x81, 0x81, 0x00]), Ok(()));
        assert_eq!(whole(&[0x81, 0x81, 0x81, 0x81, 0x80]), Err(CborError::Depth));
        assert_eq!(whole(&[0xa1, 0, 0xa1, 0, 0xa1, 0, 0xa1, 0, 0]), Ok(()));
        assert_eq!(whole(&[0xa1, 0, 0xa1, 0, 0xa1, 0, 0xa1, 0, 0xa0]), Err(CborError::Depth));
        // Below a map that is read by its entries it is the same.
        let deep = [0xa1, 0, 0x81, 0x81, 0x81, 0x80];
        assert!(matches!(Reader::new(&deep).map(), Err(CborError::Depth)));
        assert!(Reader::new(&[0xa1, 0, 0x81, 0x81, 0x81, 0]).map().is_ok());
    }

    #[test]
    fn tags_and_floats_are_refused_and_simple_values_are_three() {
        for bytes in [&[0xc0, 0x00][..], &[0xf9, 0x3c, 0x00], &[0xf7], &[0xf0], &[0xf8, 0xff]] {
            assert_eq!(whole(bytes), Err(CborError::Type), "{bytes:02x?}");
        }
        for simple in [0xf4, 0xf5, 0xf6] {
            assert_eq!(whole(&[simple]), Ok(()));
        }
        assert_eq!(whole(&[0x61, 0xff]), Err(CborError::Text));
    }
}
