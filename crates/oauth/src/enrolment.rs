//! How an agent's key becomes known: a one-time code, and a proof that its bearer holds the key.
//!
//! Implemented: our own JWT, type `attorn-enrolment+jwt`, signed by the new key and carrying it,
//! bound to the issuer and to the code by the code's hash (in the manner of RFC 7591 section 3 with
//! the possession RFC 7523 leaves out). Not implemented: the code itself and its single use, which
//! the store keeps; so the `jti` needs no burning here.

use attorn_jose::{
    Compact, NewHeader, PublicKey, SignError, SigningKey, base64url, from_base64url, sha256,
};
use attorn_registry::ReasonCode;
use serde::{Deserialize, Serialize};

use crate::claim::{CLOCK_AHEAD_S, PROOF_LIMITS, Text, is_identifier};

/// How long after its `iat` a proof is accepted, in seconds.
pub const ENROLMENT_AGE_MAX_S: u64 = 60;
const TYPE: &str = "attorn-enrolment+jwt";

/// What a proof must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer of this authorization server, from configuration.
    pub issuer: &'a str,
    /// The code that came beside the proof.
    pub code: &'a str,
}

/// Proof that the bearer of a code holds a key. Made by [`verify`] only.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedEnrolment {
    key: PublicKey,
    jti: String,
}

/// Why an enrolment is not accepted. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EnrolmentRefusal {
    /// For another server.
    #[error("the proof is for another authorization server")]
    Audience,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the proof is missing or has the wrong type")]
    Claims,
    /// Too old or from the future.
    #[error("the proof is too old or from the future")]
    Clock,
    /// For another code.
    #[error("the proof is for another code")]
    Code,
    /// No key, or not an acceptable one.
    #[error("the proof carries no acceptable key")]
    Key,
    /// Not a compact JWS.
    #[error("the proof is malformed")]
    Malformed,
    /// The signature does not hold.
    #[error("the signature of the proof does not verify")]
    Signature,
    /// Another kind of JWT.
    #[error("the proof has another type")]
    Type,
}

impl EnrolmentRefusal {
    /// The stable code for the log: one for all, as for the client.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        ReasonCode::EnrolmentRefused
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    aud: Text<'a>,
    #[serde(borrow)]
    code_hash: Text<'a>,
    iat: u64,
    #[serde(borrow)]
    jti: Text<'a>,
}

/// Verifies a proof of enrolment.
///
/// # Errors
/// [`EnrolmentRefusal`], the first that applies.
pub fn verify(
    proof: &str,
    expected: &Expected<'_>,
    now_s: u64,
) -> Result<VerifiedEnrolment, EnrolmentRefusal> {
    let jws = Compact::parse(proof, &PROOF_LIMITS).map_err(|_| EnrolmentRefusal::Malformed)?;
    // RFC 8725 section 3.11: a DPoP proof also carries a key, and must not enrol it.
    if jws.header().typ.as_deref() != Some(TYPE) {
        return Err(EnrolmentRefusal::Type);
    }
    let key = jws.header().jwk.clone().ok_or(EnrolmentRefusal::Key)?;
    let verified = jws.verify(&key).map_err(|_| EnrolmentRefusal::Signature)?;
    let document = verified.claims(&PROOF_LIMITS).map_err(|_| EnrolmentRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| EnrolmentRefusal::Claims)?;
    // RFC 8725 section 3.9: one server cannot use a proof that was made for another.
    if !wire.aud.is(expected.issuer) {
        return Err(EnrolmentRefusal::Audience);
    }
    // A proof that was seen without its code is worth nothing with another.
    let code_hash = from_base64url(&wire.code_hash.0).map_err(|_| EnrolmentRefusal::Claims)?;
    if code_hash != sha256(expected.code.as_bytes()) {
        return Err(EnrolmentRefusal::Code);
    }
    let oldest_s = now_s.saturating_sub(ENROLMENT_AGE_MAX_S);
    if !(oldest_s..=now_s.saturating_add(CLOCK_AHEAD_S)).contains(&wire.iat) {
        return Err(EnrolmentRefusal::Clock);
    }
    if !is_identifier(&wire.jti.0) {
        return Err(EnrolmentRefusal::Claims);
    }
    Ok(VerifiedEnrolment { key, jti: wire.jti.0.into_owned() })
}

impl VerifiedEnrolment {
    /// The key to register.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The identifier of the proof, for the log.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }
}

/// What an agent puts into its proof.
#[derive(Clone, Copy, Debug)]
pub struct NewEnrolment<'a> {
    /// The issuer of the metadata.
    pub issuer: &'a str,
    /// The one-time code; only its hash goes into the proof.
    pub code: &'a str,
    /// The time, in seconds since 1970.
    pub iat_s: u64,
    /// Unique; 96 random bits or more.
    pub jti: &'a str,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    aud: &'a str,
    code_hash: String,
    iat: u64,
    jti: &'a str,
}

/// Makes a proof of enrolment, on the side of the agent.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn new_enrolment(key: &SigningKey, enrolment: &NewEnrolment<'_>) -> Result<String, SignError> {
    let NewEnrolment { issuer, code, iat_s, jti } = *enrolment;
    let code_hash = base64url(&sha256(code.as_bytes()));
    let claims = NewClaims { aud: issuer, code_hash, iat: iat_s, jti };
    let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
    attorn_jose::sign(&NewHeader { typ: TYPE, kid: None, jwk: true }, &claims, key)
}
