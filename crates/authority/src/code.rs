//! One-time enrolment codes.

use std::fmt;

use attorn_jose::{base64url, sha256};
use attorn_net::Random;
use attorn_store::ENROLMENT_LIFETIME_S;

/// A code as it is shown once. Only its hash is kept.
pub struct EnrolmentCode {
    text: String,
    /// First second at which it is not accepted any more.
    pub expires_s: u64,
}

impl EnrolmentCode {
    /// A fresh code: 192 random bits, so that guessing needs no rate limit.
    pub(crate) fn new(random: &Random, now_s: u64) -> Self {
        let text = base64url(&random.bytes::<24>());
        Self { text, expires_s: now_s.saturating_add(ENROLMENT_LIFETIME_S) }
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(self.text.as_bytes())
    }

    /// The text, to be handed over once.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A code for a person, as it is shown once. Only its hash is kept.
pub(crate) struct OneTimeCode {
    text: String,
    /// First second at which it is not accepted any more.
    pub(crate) expires_s: u64,
}

impl OneTimeCode {
    /// A fresh code: 192 random bits, so that guessing needs no rate limit.
    pub(crate) fn new(random: &Random, now_s: u64, lifetime_s: u64) -> Self {
        let text = base64url(&random.bytes::<24>());
        Self { text, expires_s: now_s.saturating_add(lifetime_s) }
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(self.text.as_bytes())
    }

    /// The text, to be handed over once.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentCode([redacted])")
    }
}
