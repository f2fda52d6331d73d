//! Server nonces for proofs: RFC 9449 sections 8 and 9.
//!
//! Implemented: a nonce is the time it was made, sealed with AES-256-GCM under a key that only this
//! process holds. So it needs no store, nobody else can make one, and a nonce of another role or
//! from before a restart is worth nothing. Nodes that share a memory of used proofs may share a key
//! as well; where that key comes from is theirs to say.

use attorn_jose::{base64url, from_base64url};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::claim::CLOCK_AHEAD_S;

/// How long a nonce is accepted, in seconds.
pub const NONCE_LIFETIME_S: u64 = 60;
/// From this age on a response should carry a new nonce, so that no client ever sees a refusal.
pub const NONCE_RENEW_S: u64 = 30;

const PREFIX: usize = 12;
const TIME: usize = 8;
const TAG: usize = 16;
/// So that no other sealed value of the same key could pass.
const PURPOSE: &[u8] = b"attorn dpop nonce v1";

/// The key that seals nonces. One process makes its own anew at each start.
pub struct NonceKey(LessSafeKey);

/// Why a nonce is not accepted. The answer is the same for all: a fresh nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NonceRefusal {
    /// Made too long ago.
    #[error("the nonce is too old")]
    Expired,
    /// Not made by this key.
    #[error("the nonce is not ours")]
    Foreign,
}

/// The library refused the key; cannot happen with 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the nonce key cannot be used")]
pub struct NonceKeyError;

impl NonceKey {
    /// Takes 32 random bytes.
    ///
    /// # Errors
    /// [`NonceKeyError`] if the library refuses the key.
    pub fn new(random: &[u8; 32]) -> Result<Self, NonceKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, random).map_err(|_| NonceKeyError)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Makes a nonce. `random` must never repeat under one key: with random values, make fewer than
    /// 2^32 (NIST SP 800-38D section 8.3).
    #[must_use]
    pub fn mint(&self, now_s: u64, random: &[u8; PREFIX]) -> String {
        let mut time = now_s.to_be_bytes();
        let nonce = Nonce::assume_unique_for_key(*random);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(PURPOSE), &mut time);
        let mut sealed = Vec::with_capacity(PREFIX + TIME + TAG);
        // Sealing eight bytes cannot fail. If it did, the text below would be no valid nonce.
        if let Ok(tag) = tag {
            sealed.extend(random);
            sealed.extend(time);
            sealed.extend(tag.as_ref());
        }
        base64url(&sealed)
    }

    /// The age of a nonce of ours, in seconds.
    ///
    /// # Errors
    /// [`NonceRefusal`]: RFC 9449 section 8 answers both with `use_dpop_nonce`.
    pub fn check(&self, text: &str, now_s: u64) -> Result<u64, NonceRefusal> {
        let mut sealed = from_base64url(text).map_err(|_| NonceRefusal::Foreign)?;
        let (random, body) = sealed.split_at_mut_checked(PREFIX).ok_or(NonceRefusal::Foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(random).map_err(|_| NonceRefusal::Foreign)?;
        let time = self
            .0
            .open_in_place(nonce, Aad::from(PURPOSE), body)
            .map_err(|_| NonceRefusal::Foreign)?;
        let time: &[u8] = time;
        let minted_s = u64::from_be_bytes(time.try_into().map_err(|_| NonceRefusal::Foreign)?);
        // Our own clock may have been set back a little since.
        if minted_s > now_s.saturating_add(CLOCK_AHEAD_S) {
            return Err(NonceRefusal::Expired);
        }
        let age_s = now_s.saturating_sub(minted_s);
        if age_s > NONCE_LIFETIME_S { Err(NonceRefusal::Expired) } else { Ok(age_s) }
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> NonceKey {
        NonceKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_nonce_is_accepted_for_its_lifetime() {
        let nonce = key(1).mint(1000, &[7; 12]);
        assert_eq!(key(1).check(&nonce, 1000), Ok(0));
        assert_eq!(key(1).check(&nonce, 1060), Ok(60));
        assert_eq!(key(1).check(&nonce, 1061), Err(NonceRefusal::Expired));
        assert_eq!(key(1).check(&nonce, 995), Ok(0));
        assert_eq!(key(1).check(&nonce, 994), Err(NonceRefusal::Expired));
    }

    #[test]
    fn a_nonce_of_another_key_is_foreign() {
        let nonce = key(1).mint(1000, &[7; 12]);
        assert_eq!(key(2).check(&nonce, 1000), Err(NonceRefusal::Foreign));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let nonce = key(1).mint(1000, &[7; 12]);
        for place in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(key(1).check(&forged, 1000), Err(NonceRefusal::Foreign), "{place}");
        }
    }

    #[test]
    fn other_lengths_are_foreign() {
        for text in ["", "AA", "AAAAAAAAAAAAAAAA", &"A".repeat(400)] {
            assert_eq!(key(1).check(text, 1000), Err(NonceRefusal::Foreign), "{text}");
        }
    }
}
