//! Certificate thumbprints with SHA-256. Nothing of a certificate is parsed here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sha256;
use crate::thumbprint::{Jkt, JktError};

/// The SHA-256 thumbprint of a certificate's DER: RFC 7515 section 4.1.8 and RFC 8705 section 3.1,
/// `x5t#S256`.
///
/// Text form: 43 characters of base64url without padding. SHA-1, hexadecimal and padded forms are
/// not read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// The thumbprint of a certificate in DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// Takes a digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Jkt::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateThumbprint({self})")
    }
}

impl FromStr for CertificateThumbprint {
    type Err = JktError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|digest: Jkt| Self(*digest.as_bytes()))
    }
}

impl Serialize for CertificateThumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CertificateThumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Jkt::deserialize(deserializer).map(|digest| Self(*digest.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_the_digest_of_the_whole_certificate() {
        let thumbprint = CertificateThumbprint::of_der(b"abc");
        assert_eq!(thumbprint.to_string(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert_eq!(thumbprint.to_string().parse(), Ok(thumbprint));
    }

    #[test]
    fn sha1_hexadecimal_and_padded_forms_are_refused() {
        for text in [
            "qZk-NkcGgWq6PiVxeFDCbJzQ2J0",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0=",
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
        ] {
            assert_eq!(text.parse::<CertificateThumbprint>(), Err(JktError), "{text}");
        }
    }
}
