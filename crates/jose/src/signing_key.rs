//! Private keys: made from a seed or PKCS #8, used to sign, never printed.
//!
//! Implemented: Ed25519 (RFC 8032) and ECDSA on P-256 (RFC 7518 section 3.4), PKCS #8 (RFC 5958)
//! in PEM (RFC 7468 section 10). Not implemented: RSA (slow to sign, large to carry), encrypted
//! PKCS #8 (the file's own protection is its mode), hardware keys.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::jwk::{Material, from_material};
use crate::pem;
use crate::public_key::PublicKey;

/// A private key with its public half. Cloning shares it. It has no `PartialEq`.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    public: PublicKey,
}

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// Signing with this algorithm is not implemented.
    #[error("signing with this algorithm is not supported")]
    Algorithm,
    /// Not an Ed25519 or P-256 key in PKCS #8.
    #[error("not an Ed25519 or P-256 private key in PKCS #8")]
    Pkcs8,
    /// Not a PEM text with one `PRIVATE KEY` block.
    #[error("not a PEM text with one PRIVATE KEY block")]
    Pem,
    /// The seed is zero or not below the group order; happens to one P-256 seed in 2^32.
    #[error("the seed is not a private key")]
    Seed,
}

/// The library could not sign. Not the fault of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be made")]
pub struct SignError;

impl SigningKey {
    /// Takes 32 random bytes: the seed of RFC 8032 section 5.1.5, or the private integer `d` of
    /// RFC 7518 section 6.2.2.1.
    ///
    /// # Errors
    /// [`SigningKeyError::Seed`] asks for another seed; [`SigningKeyError::Algorithm`] for RSA.
    pub fn from_seed(algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, SigningKeyError> {
        match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed);
                Self::from_ed25519(pair.map_err(|_| SigningKeyError::Seed)?)
            }
            Algorithm::Es256 => {
                let der = sec1_der(seed);
                let pair =
                    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
                Self::from_p256(pair.map_err(|_| SigningKeyError::Seed)?)
            }
            Algorithm::Ps256 | Algorithm::Rs256 => Err(SigningKeyError::Algorithm),
        }
    }

    /// Reads one `PRIVATE KEY` block. The key itself says its algorithm.
    ///
    /// # Errors
    /// [`SigningKeyError::Pem`] or [`SigningKeyError::Pkcs8`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, SigningKeyError> {
        let der = pem::decode(text).ok_or(SigningKeyError::Pem)?;
        // RFC 8410 section 7: version 1 carries no public key, so there may be nothing to compare.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            return Self::from_ed25519(pair);
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
        Self::from_p256(pair.map_err(|_| SigningKeyError::Pkcs8)?)
    }

    /// Writes one `PRIVATE KEY` block, version 1, which every tool reads. Wiped when dropped.
    ///
    /// # Errors
    /// [`SignError`] if the library cannot encode its own key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SignError> {
        let document = match &*self.pair {
            Pair::EdDsa(pair) => pair.to_pkcs8v1(),
            Pair::Es256(pair) => pair.to_pkcs8v1(),
        };
        document.map(|document| pem::encode(document.as_ref())).map_err(|_| SignError)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Makes a raw JWS signature: 64 bytes for both algorithms.
    ///
    /// # Errors
    /// [`SignError`] if the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match &*self.pair {
            Pair::EdDsa(pair) => pair.try_sign(message),
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), message),
        };
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| SignError)
    }

    fn from_ed25519(pair: Ed25519KeyPair) -> Result<Self, SigningKeyError> {
        let x = pair.public_key().as_ref().try_into().map_err(|_| SigningKeyError::Pkcs8)?;
        let public = from_material(Material::Okp { x }).map_err(|_| SigningKeyError::Pkcs8)?;
        Ok(Self { pair: Arc::new(Pair::EdDsa(pair)), public })
    }

    fn from_p256(pair: EcdsaKeyPair) -> Result<Self, SigningKeyError> {
        // SEC 1 section 2.3.3: 4, then both coordinates.
        let coordinates = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(32).ok_or(SigningKeyError::Pkcs8)?;
        let x = x.try_into().map_err(|_| SigningKeyError::Pkcs8)?;
        let y = y.try_into().map_err(|_| SigningKeyError::Pkcs8)?;
        let public = from_material(Material::Ec { x, y }).map_err(|_| SigningKeyError::Pkcs8)?;
        Ok(Self { pair: Arc::new(Pair::Es256(pair)), public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// RFC 5915 section 3: version 1, the private integer, and the curve; the public key is computed.
fn sec1_der(scalar: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(51));
    der.extend([0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20]);
    der.extend(scalar);
    der.extend([0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    der
}
