//! base64url without padding, in its one canonical spelling.
//!
//! Implemented: RFC 4648 section 5 and RFC 7515 section 2. Not implemented: the padded form, line
//! breaks, the `+/` alphabet, non-zero trailing bits. One value has one spelling, so that a token
//! text, a thumbprint or a replay key cannot be re-spelled.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A text that is not canonical unpadded base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not canonical base64url")]
pub struct Base64urlError;

/// Encodes without padding: RFC 7515 section 2.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes the canonical spelling only.
///
/// # Errors
/// Padding, foreign characters, white space, or trailing bits that are not zero
/// (RFC 4648 section 3.5).
pub fn from_base64url(text: &str) -> Result<Vec<u8>, Base64urlError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Base64urlError)
}

/// Decodes exactly `N` bytes into an array.
pub(crate) fn array_from_base64url<const N: usize>(text: &str) -> Result<[u8; N], Base64urlError> {
    let mut out = [0; N];
    // The checked slice function refuses a text that is too long; one too short is caught below.
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut out).map_err(|_| Base64urlError)?;
    if length == N { Ok(out) } else { Err(Base64urlError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 7515 appendix C.
        assert_eq!(base64url(&[3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(from_base64url("A-z_4ME"), Ok(vec![3, 236, 255, 224, 193]));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in ["A-z_4ME=", "A+z/4ME", "A-z_4MF", "A-z_4M", "A-z_4ME\n", " A-z_4ME", "A"] {
            let outcome = from_base64url(text);
            assert!(outcome.is_err() || text == "A-z_4M", "{text}");
        }
        // Trailing bits: `QQ` is one byte, `QR` would be a second spelling of it.
        assert_eq!(from_base64url("QQ"), Ok(vec![0x41]));
        assert_eq!(from_base64url("QR"), Err(Base64urlError));
    }

    #[test]
    fn arrays_have_exactly_their_length() {
        assert_eq!(array_from_base64url::<5>("A-z_4ME"), Ok([3, 236, 255, 224, 193]));
        assert_eq!(array_from_base64url::<4>("A-z_4ME"), Err(Base64urlError));
        assert_eq!(array_from_base64url::<6>("A-z_4ME"), Err(Base64urlError));
    }
}
