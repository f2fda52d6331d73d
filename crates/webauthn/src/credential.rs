//! The name of a passkey, which its authenticator chose.

use std::fmt;
use std::str::FromStr;

use attorn_jose::{base64url, from_base64url};

/// WebAuthn Level 3 section 7.1: a relying party should refuse longer ones.
pub const CREDENTIAL_ID_BYTES_MAX: usize = 1023;

/// A credential ID: WebAuthn Level 3 section 4. Written as base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(Vec<u8>);

/// It is empty, too long, or its text is not canonical base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a credential id has 1 to {CREDENTIAL_ID_BYTES_MAX} bytes, written as base64url")]
pub struct CredentialIdError;

impl CredentialId {
    /// Takes the bytes of an authenticator.
    ///
    /// # Errors
    /// None, or more than [`CREDENTIAL_ID_BYTES_MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, CredentialIdError> {
        let fits = (1..=CREDENTIAL_ID_BYTES_MAX).contains(&bytes.len());
        if fits { Ok(Self(bytes.to_vec())) } else { Err(CredentialIdError) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl FromStr for CredentialId {
    type Err = CredentialIdError;

    fn from_str(text: &str) -> Result<Self, CredentialIdError> {
        Self::new(&from_base64url(text).map_err(|_| CredentialIdError)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_length_and_one_spelling() {
        let longest = [7; CREDENTIAL_ID_BYTES_MAX];
        let id = CredentialId::new(&longest).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(CredentialId::new(&[]), Err(CredentialIdError));
        assert_eq!(CredentialId::new(&[7; CREDENTIAL_ID_BYTES_MAX + 1]), Err(CredentialIdError));
        for text in ["", "QR", "QQ==", "Q", "+w"] {
            assert_eq!(text.parse::<CredentialId>(), Err(CredentialIdError), "{text}");
        }
        assert_eq!("QQ".parse::<CredentialId>().unwrap().as_bytes(), b"A");
    }
}
