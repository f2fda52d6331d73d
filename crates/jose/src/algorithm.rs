//! The signature algorithms Attorn speaks: RFC 7518 section 3.1, RFC 8037, RFC 9864.
//!
//! Not implemented: `none`, every HMAC and the larger curves. They have no variant, so
//! no code can accept them by mistake (RFC 8725 section 3.1). `RS256` is read in tokens and key sets of
//! other issuers alone: no name that a client writes becomes it.

use std::fmt;
use std::str::FromStr;

/// A signature algorithm. A key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `ES256`: ECDSA on P-256 with SHA-256, RFC 7518 section 3.4.
    Es256,
    /// `EdDSA` on Ed25519, RFC 8037 section 3.1; `Ed25519` in RFC 9864 section 2.2.
    EdDsa,
    /// `PS256`: RSASSA-PSS with SHA-256, RFC 7518 section 3.5. Verified only, never signed with.
    Ps256,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256, RFC 7518 section 3.3. Verified only, and only under
    /// keys of other issuers: most providers sign with nothing else (OpenID Connect Core 1.0 section
    /// 15.1).
    Rs256,
}

impl Algorithm {
    /// Every algorithm of clients and of our own, in the order of preference of metadata documents.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Ps256];
    /// Every algorithm of other issuers.
    pub const OF_ISSUERS: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Ps256, Self::Rs256];

    /// The `alg` value this crate writes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// Reads the `alg` of another issuer, which may be `RS256` as well.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`].
    pub fn of_issuer(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "RS256" => Ok(Self::Rs256),
            _ => text.parse(),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An `alg` that is not in the list, including `none` in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm is not supported")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ES256" => Ok(Self::Es256),
            // RFC 9864 section 2.2: `Ed25519` is the fully specified name of the same algorithm.
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            "PS256" => Ok(Self::Ps256),
            // RFC 8725 section 3.1: an algorithm nobody allowed is an error, whatever its name.
            _ => Err(UnknownAlgorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn an_issuer_may_name_one_more() {
        for algorithm in Algorithm::OF_ISSUERS {
            assert_eq!(Algorithm::of_issuer(algorithm.name()), Ok(algorithm));
        }
        for name in ["none", "HS256", "rs256", "RS384", "RS512", ""] {
            assert_eq!(Algorithm::of_issuer(name), Err(UnknownAlgorithm), "{name}");
        }
    }

    #[test]
    fn names_are_case_sensitive_and_none_is_unknown() {
        for name in ["none", "None", "nOnE", "", "es256", "HS256", "RS256", "ES384", "Ed448"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
