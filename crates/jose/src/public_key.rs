//! A public key that was parsed once, and what can be asked of it.
//!
//! Implemented: verification by RFC 7518 sections 3.3 to 3.5 and RFC 8037 section 3.1, thumbprint
//! by RFC 7638, canonical JWK. Not implemented: anything private.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;

use crate::algorithm::Algorithm;
use crate::jwk::{self, JwkError, Material, Padding, Source};
use crate::sha256;
use crate::thumbprint::Jkt;

/// A public key of one algorithm. Cloning shares it; two keys are equal when their thumbprints are.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    // Invariant: `verifier` was made from `material`, and `thumbprint` is the hash of its members.
    material: Material,
    verifier: ParsedPublicKey,
    thumbprint: Jkt,
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header names another algorithm than the key's own.
    #[error("the algorithm is `{header}` but the key is for `{key}`")]
    AlgorithmMismatch {
        /// The `alg` of the header.
        header: Algorithm,
        /// The only algorithm of the key.
        key: Algorithm,
    },
    /// The bytes were not signed by this key.
    #[error("the signature does not verify")]
    Invalid,
    /// The signature has not the one length its algorithm knows.
    #[error("the signature has the wrong length")]
    Length,
}

impl PublicKey {
    pub(crate) fn new(material: Material, verifier: ParsedPublicKey) -> Self {
        let thumbprint = Jkt::from_bytes(sha256(material.required_members().as_bytes()));
        Self(Arc::new(Inner { material, verifier, thumbprint }))
    }

    /// Parses one public JWK, strictly.
    ///
    /// # Errors
    /// [`JwkError`]: a private member, another key type, a malformed or weak key.
    pub fn parse_jwk(text: &str) -> Result<Self, JwkError> {
        jwk::parse(text, Source::Known)
    }

    /// Parses one public JWK of another issuer's set, which may be for `RS256` as well. `unnamed` is
    /// the algorithm of an RSA key that names none.
    ///
    /// # Errors
    /// [`JwkError`], as [`PublicKey::parse_jwk`].
    pub fn parse_jwk_of_issuer(text: &str, unnamed: Algorithm) -> Result<Self, JwkError> {
        let padding = if unnamed == Algorithm::Rs256 { Padding::Pkcs1 } else { Padding::Pss };
        jwk::parse(text, Source::Issuer(padding))
    }

    /// The only algorithm this key verifies: RFC 8725 section 3.1.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.material.algorithm()
    }

    /// RFC 7638 section 3, computed when the key was parsed.
    #[must_use]
    pub fn thumbprint(&self) -> Jkt {
        self.0.thumbprint
    }

    /// The key as canonical JSON (RFC 8785). Without `kid`: the members of the thumbprint, as in a
    /// DPoP header. With `kid`: a member of a published set, with `alg` and `use` (RFC 7517
    /// section 4).
    #[must_use]
    pub fn to_jwk(&self, kid: Option<&str>) -> String {
        match kid {
            None => self.0.material.required_members(),
            Some(kid) => self.0.material.set_member(&json_string(kid)),
        }
    }

    /// Verifies a raw JWS signature over `message`.
    ///
    /// # Errors
    /// [`SignatureError::Length`] before any cryptography, else [`SignatureError::Invalid`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let length_is_right = match &self.0.material {
            // RFC 7518 section 3.4: R and S, 32 bytes each; DER would be longer or shorter.
            Material::Ec { .. } => signature.len() == 64,
            // RFC 8032 section 5.1.6. S below the group order is checked by the library.
            Material::Okp { .. } => signature.len() == 64,
            // RFC 8017 sections 8.1.2 and 8.2.2: as long as the modulus.
            Material::Rsa { n, .. } => signature.len() == n.len(),
        };
        if !length_is_right {
            return Err(SignatureError::Length);
        }
        self.0.verifier.verify_sig(message, signature).map_err(|_| SignatureError::Invalid)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.thumbprint == other.0.thumbprint
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm(), self.0.thumbprint)
    }
}

/// A JSON string literal. Serializing a string cannot fail.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
