//! Proof Key for Code Exchange: RFC 7636, with `S256` alone.
//!
//! Implemented: the challenge of RFC 7636 section 4.2 and its verification (section 4.6). Not
//! implemented: `plain`, which RFC 9700 section 2.1.1 forbids to rely on; a request without a
//! challenge is refused, so there is nothing to downgrade to.

use attorn_jose::{base64url, from_base64url, sha256};
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// RFC 7636 section 4.1.
const VERIFIER_LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;
/// RFC 7636 section 4.3: compared verbatim; without the parameter the method would be `plain`.
const METHOD: &str = "S256";

/// The SHA-256 of a verifier that only the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeChallenge([u8; 32]);

/// Why a challenge or verifier is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PkceRefusal {
    /// Not the base64url form of a SHA-256.
    #[error("the code challenge is malformed")]
    ChallengeMalformed,
    /// No challenge.
    #[error("the code challenge is missing")]
    ChallengeMissing,
    /// Another method than `S256`, or none.
    #[error("the code challenge method is not S256")]
    Method,
    /// Not 43 to 128 unreserved characters.
    #[error("the code verifier is malformed")]
    VerifierMalformed,
    /// Its digest is another one.
    #[error("the code verifier does not fit the challenge")]
    VerifierMismatch,
}

impl CodeChallenge {
    /// Reads the two parameters of RFC 7636 section 4.3.
    ///
    /// # Errors
    /// [`PkceRefusal`].
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceRefusal> {
        let challenge = challenge.ok_or(PkceRefusal::ChallengeMissing)?;
        if method != Some(METHOD) {
            return Err(PkceRefusal::Method);
        }
        Self::from_text(challenge)
    }

    /// Reads a challenge back from where it was kept.
    ///
    /// # Errors
    /// [`PkceRefusal::ChallengeMalformed`].
    pub fn from_text(text: &str) -> Result<Self, PkceRefusal> {
        // RFC 7636 section 4.2: base64url of 32 bytes, so exactly 43 characters.
        let bytes = from_base64url(text).map_err(|_| PkceRefusal::ChallengeMalformed)?;
        let digest = bytes.try_into().map_err(|_| PkceRefusal::ChallengeMalformed)?;
        Ok(Self(digest))
    }

    /// RFC 7636 section 4.6.
    ///
    /// # Errors
    /// [`PkceRefusal`].
    pub fn verify(&self, verifier: &str) -> Result<(), PkceRefusal> {
        // RFC 7636 section 4.1: unreserved characters, 43 to 128 of them.
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !VERIFIER_LENGTHS.contains(&verifier.len()) || !verifier.bytes().all(is_unreserved) {
            return Err(PkceRefusal::VerifierMalformed);
        }
        verify_slices_are_equal(&sha256(verifier.as_bytes()), &self.0)
            .map_err(|_| PkceRefusal::VerifierMismatch)
    }
}

impl std::fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_verifies() {
        let challenge = CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap();
        assert_eq!(challenge.verify(VERIFIER), Ok(()));
        assert_eq!(challenge.to_string(), CHALLENGE);
        assert_eq!(CodeChallenge::from_text(CHALLENGE), Ok(challenge));
    }

    #[test]
    fn s256_and_nothing_else() {
        for method in [Some("plain"), Some("s256"), Some("S512"), None] {
            let refused = CodeChallenge::parse(Some(CHALLENGE), method);
            assert_eq!(refused, Err(PkceRefusal::Method), "{method:?}");
        }
        let missing = CodeChallenge::parse(None, Some("S256"));
        assert_eq!(missing, Err(PkceRefusal::ChallengeMissing));
    }

    #[test]
    fn a_challenge_is_43_characters_of_base64url() {
        let (long, huge) = ("A".repeat(129), "A".repeat(65_536));
        let padded = format!("{CHALLENGE}=");
        let plus = CHALLENGE.replace('-', "+");
        let short: String = CHALLENGE.chars().take(42).collect();
        for text in [short.as_str(), &long, &padded, &plus, &huge, "é"] {
            assert_eq!(
                CodeChallenge::parse(Some(text), Some("S256")),
                Err(PkceRefusal::ChallengeMalformed),
                "{text:.60}"
            );
        }
    }

    #[test]
    fn a_verifier_has_its_length_and_its_digest() {
        let challenge = CodeChallenge::from_text(CHALLENGE).unwrap();
        let (short, long) = ("a".repeat(42), "a".repeat(129));
        for text in [short.as_str(), &long, "", &format!("{VERIFIER}+")] {
            assert_eq!(challenge.verify(text), Err(PkceRefusal::VerifierMalformed), "{text}");
        }
        for text in ["a".repeat(43), "a".repeat(128), VERIFIER.replace('k', "l")] {
            assert_eq!(challenge.verify(&text), Err(PkceRefusal::VerifierMismatch), "{text}");
        }
    }
}
