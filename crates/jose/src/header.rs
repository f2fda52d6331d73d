//! The protected header of a JWS: RFC 7515 section 4.
//!
//! Implemented: `alg`, `typ`, `kid`, `jwk`; `jku`, `x5u` and `x5c` are noticed and never followed.
//! Not implemented: every `crit` extension (all are refused), and with them the unencoded payload
//! of RFC 7797. Other members are ignored, RFC 7515 section 4.

use attorn_json::{JsonError, Limits};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::algorithm::{Algorithm, UnknownAlgorithm};
use crate::jwk::{self, JwkError, Text, present};
use crate::public_key::PublicKey;

/// The members of a header that Attorn reads.
#[derive(Clone, Debug)]
pub struct Header {
    /// The signature algorithm.
    pub alg: Algorithm,
    /// The media type, verbatim; every kind of token compares it with its own (RFC 8725
    /// section 3.11).
    pub typ: Option<String>,
    /// The name of the key, an octet string to be looked up in a map and nowhere else.
    pub kid: Option<String>,
    /// The embedded public key. Only proofs of possession may use it.
    pub jwk: Option<PublicKey>,
    /// Whether `jku`, `x5u`, `x5c`, `x5t` or `x5t#S256` is present.
    pub has_key_reference: bool,
}

/// Why a header is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// `alg` is not one of [`Algorithm`]; `none` is one such.
    #[error("the `alg` is not supported")]
    Algorithm,
    /// A `crit` member is present, whatever it holds.
    #[error("a critical extension is not supported")]
    CriticalExtension,
    /// Not strict JSON.
    #[error("the header is not strict JSON")]
    Json(#[from] JsonError),
    /// The embedded key is not acceptable.
    #[error("the `jwk` is not acceptable: {0}")]
    Jwk(#[from] JwkError),
    /// A member is missing or has the wrong type.
    #[error("a member of the header is missing or has the wrong type")]
    Shape,
    /// A `b64` member is present.
    #[error("an unencoded payload is not supported")]
    UnencodedPayload,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    alg: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    typ: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    kid: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    jwk: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    jku: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    x5u: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    x5c: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    x5t: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present", rename = "x5t#S256")]
    x5t_s256: Option<IgnoredAny>,
}

impl Header {
    /// Parses the decoded header bytes. RFC 7515 section 5.2, steps 3 and 4. `algorithm` reads
    /// `alg`.
    pub(crate) fn parse(
        bytes: &[u8],
        limits: &Limits,
        algorithm: fn(&str) -> Result<Algorithm, UnknownAlgorithm>,
    ) -> Result<Self, HeaderError> {
        // RFC 7515 section 4: member names must be unique; the strict parser refuses duplicates.
        let document = attorn_json::parse(bytes, limits)?;
        let members: Members<'_> = document.to().map_err(|_| HeaderError::Shape)?;
        // RFC 7515 section 4.1.11: an extension that is not understood makes the JWS invalid. None
        // is understood here, and an empty or duplicated list is invalid anyway.
        if members.crit.is_some() {
            return Err(HeaderError::CriticalExtension);
        }
        // RFC 7797 section 6: `b64` needs `crit`; without it the two sides would differ.
        if members.b64.is_some() {
            return Err(HeaderError::UnencodedPayload);
        }
        // RFC 7515 section 4.1.1: `alg` is required.
        let alg = algorithm(&members.alg.0).map_err(|_| HeaderError::Algorithm)?;
        let jwk = members.jwk.map(|raw| jwk::parse_scanned(raw.get())).transpose()?;
        let Members { jku, x5u, x5c, x5t, x5t_s256, .. } = &members;
        let has_key_reference = [jku, x5u, x5c, x5t, x5t_s256].iter().any(|m| m.is_some());
        Ok(Self {
            alg,
            typ: members.typ.map(|text| text.0.into_owned()),
            kid: members.kid.map(|text| text.0.into_owned()),
            jwk,
            has_key_reference,
        })
    }
}
