//! Signatures of authenticators, verified as those of JOSE are.
//!
//! WebAuthn Level 3 section 6.5.5: with `ES256` a signature is the DER of an `ECDSA-Sig-Value` (RFC 3279
//! section 2.2.3). RFC 7518 section 3.4 has the same two numbers at a fixed length. With `EdDSA` both are
//! the bytes of RFC 8032 section 5.1.6.

use attorn_jose::{Algorithm, PublicKey};

use crate::refusal::WebauthnRefusal;

/// Verifies a signature by a passkey.
pub(crate) fn verify(
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), WebauthnRefusal> {
    let held = match key.algorithm() {
        Algorithm::Es256 => {
            let signature = fixed(signature).ok_or(WebauthnRefusal::Signature)?;
            key.verify(message, &signature)
        }
        Algorithm::EdDsa => key.verify(message, signature),
        // No passkey with such a key can be read.
        Algorithm::Ps256 | Algorithm::Rs256 => return Err(WebauthnRefusal::Algorithm),
    };
    held.map_err(|_| WebauthnRefusal::Signature)
}

/// The signature with both numbers at 32 bytes. `None` where it is not strict DER (X.690 section 8.3), or
/// a number is zero or has more than 256 bits: one signature has one spelling.
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    // Two numbers of at most 33 bytes: the length takes one byte.
    let [SEQUENCE, length, rest @ ..] = der else { return None };
    if usize::from(*length) != rest.len() || *length >= LONG_FORM {
        return None;
    }
    let mut signature = [0; 64];
    let (r, s) = signature.split_at_mut(32);
    let rest = integer(rest, r)?;
    let rest = integer(rest, s)?;
    rest.is_empty().then_some(signature)
}

/// Reads one positive number into the end of `into`, and gives what follows it.
fn integer<'a>(bytes: &'a [u8], into: &mut [u8]) -> Option<&'a [u8]> {
    let [INTEGER, length, rest @ ..] = bytes else { return None };
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    let digits = match digits {
        // X.690 section 8.3.2: the first nine bits are not all alike.
        [0, next, ..] if *next < SIGN => return None,
        [0, digits @ ..] => digits,
        [first, ..] if *first >= SIGN => return None,
        digits => digits,
    };
    let start = into.len().checked_sub(digits.len())?;
    into.get_mut(start..)?.copy_from_slice(digits);
    (!digits.is_empty()).then_some(rest)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The highest bit: of a number its sign, of a length that it takes more bytes.
const SIGN: u8 = 0x80;
const LONG_FORM: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let integer =
            |digits: &[u8]| [&[2, u8::try_from(digits.len()).unwrap()][..], digits].concat();
        let body = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(body.len()).unwrap()][..], &body].concat()
    }

    #[test]
    fn both_numbers_get_their_length() {
        let mut expected = [0; 64];
        expected[31] = 1;
        expected[32] = 0x80;
        let long = [&[0, 0x80][..], &[0; 31]].concat();
        assert_eq!(fixed(&der(&[1], &long)), Some(expected));
        let largest = [&[0][..], &[0xff; 32]].concat();
        assert_eq!(fixed(&der(&largest, &largest)), Some([0xff; 64]));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let good = der(&[1], &[2]);
        assert!(fixed(&good).is_some());
        for (r, s) in [
            (&[][..], &[1][..]),
            (&[0], &[1]),
            (&[1], &[0]),
            (&[0, 1], &[1]),
            (&[0x80], &[1]),
            (&[1], &[0, 0, 0x80]),
            (&[1; 33], &[1]),
            (&[1], &[1; 33]),
        ] {
            assert_eq!(fixed(&der(r, s)), None, "{r:02x?} {s:02x?}");
        }
        for length in 0..good.len() {
            assert_eq!(fixed(&good[..length]), None, "{length}");
        }
        assert_eq!(fixed(&[&good[..], &[0]].concat()), None);
        for at in [0, 1, 2, 3, 5, 6] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert_eq!(fixed(&other), None, "{at}");
        }
        // A long form of the length, and something behind the second number.
        assert_eq!(fixed(&[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2]), None);
        assert_eq!(fixed(&[0x30, 7, 2, 1, 1, 2, 1, 2, 0]), None);
    }
}
