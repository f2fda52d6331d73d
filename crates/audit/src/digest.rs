//! Digests of arguments and results.
//!
//! A plain hash of a short value, such as an account number, can be found by trying them all.
//! The digest is therefore keyed (HMAC-SHA-256, RFC 2104) with a key that stays with the log.
//! Equal values give equal digests within one log, and an auditor who holds the key can check one.

use std::fmt;

use aws_lc_rs::hmac;

use crate::tree::hex;

/// The key of one log for digests of payloads.
#[derive(Clone)]
pub struct PayloadKey(hmac::Key);

impl PayloadKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// `hmac-sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self, payload: &[u8]) -> String {
        format!("hmac-sha256:{}", hex(hmac::sign(&self.0, payload).as_ref()))
    }
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::PayloadKey;

    #[test]
    fn depends_on_key_and_payload_and_shows_neither() {
        let key = PayloadKey::new(&[7; 32]);
        let digest = key.digest(b"078-05-1120");
        assert_eq!(digest.len(), 12 + 64);
        assert_eq!(digest, PayloadKey::new(&[7; 32]).digest(b"078-05-1120"));
        assert_ne!(digest, PayloadKey::new(&[8; 32]).digest(b"078-05-1120"));
        assert_ne!(digest, key.digest(b"078-05-1121"));
        assert_eq!(format!("{key:?}"), "PayloadKey([redacted])");
    }
}
