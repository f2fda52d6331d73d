//! JOSE as Attorn needs it: JWS in the compact form, public JWKs, thumbprints, and nothing else.
//!
//! Implemented: RFC 7515 (JWS compact serialization), RFC 7517 and RFC 7518 (public JWKs,
//! `ES256`, `PS256`, and `RS256` of other issuers), RFC 7638 (thumbprints), RFC 8037 and RFC 9864
//! (`EdDSA`, `Ed25519`), and the advice of RFC 8725.
//!
//! Not implemented, on purpose: the JSON serialization, JWE, symmetric keys, `none`, any `crit`
//! extension, keys fetched by `jku` or `x5u`, chains of certificates. What is not implemented is refused,
//! never skipped, where it could change the meaning of a signature.
//!
//! The crate has no clock and no I/O. Keys are parsed once and shared by cheap clones. The one
//! source of randomness is inside the library's ECDSA signer, which draws its own nonces.

mod algorithm;
mod base64url;
mod certificate;
mod compact;
mod ed25519_point;
mod header;
mod header_cache;
mod jwk;
mod pem;
mod public_key;
mod rsa_modulus;
mod sign;
mod signing_key;
mod thumbprint;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use base64url::{Base64urlError, base64url, from_base64url};
pub use certificate::CertificateThumbprint;
pub use compact::{Compact, JwsError, Verified};
pub use header::{Header, HeaderError};
pub use header_cache::HeaderCache;
pub use jwk::JwkError;
pub use public_key::{PublicKey, SignatureError};
pub use sign::{NewHeader, sign};
pub use signing_key::{SignError, SigningKey, SigningKeyError};
pub use thumbprint::{Jkt, JktError};

/// SHA-256, FIPS 180-4.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    // Both sides are 32 bytes long: SHA-256 knows no other length.
    out.copy_from_slice(digest.as_ref());
    out
}
