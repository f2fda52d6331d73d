//! DPoP proofs: RFC 9449 sections 4.2 and 4.3, made and checked.
//!
//! Implemented: all checks of RFC 9449 section 4.3, in its numbering below, with nonces. Narrower
//! than the RFC: `htu` must be the configured URL byte by byte, without query and fragment; a
//! proof that carries `exp` or `nbf` must be inside them. `dpop_jkt` (section 10) is in
//! [`crate::authorization_request`].
//! What is not checked here: that the request had exactly one `DPoP` header (check 1), which only
//! the HTTP edge can see, and that the `jti` is new, which [`crate::possession`] does last.

use attorn_jose::{
    Algorithm, Compact, HeaderCache, HeaderError, Jkt, JwsError, NewHeader, SignError, SigningKey,
    base64url, from_base64url, sha256,
};
use attorn_planted::{Bug, is_planted};
use attorn_registry::ReasonCode;
use serde::Deserialize;

use crate::claim::{CLOCK_AHEAD_S, PROOF_LIMITS, Text, is_identifier, present};
use crate::error::ErrorCode;
pub use crate::nonce::{NONCE_LIFETIME_S, NONCE_RENEW_S, NonceKey, NonceRefusal};

/// How long after its `iat` a proof is accepted, in seconds.
pub const PROOF_AGE_MAX_S: u64 = 60;
/// RFC 9449 section 4.2.
const TYPE: &str = "dpop+jwt";

/// Whether a proof needs a nonce.
#[derive(Clone, Copy, Debug)]
pub enum NoncePolicy<'a> {
    /// A fresh nonce is required: of this process, or of the key that it shares with other nodes.
    Either {
        /// The key of this process alone.
        own: &'a NonceKey,
        /// The shared one.
        shared: &'a NonceKey,
    },
    /// A fresh nonce of this key is required.
    Required(&'a NonceKey),
    /// No nonce is asked for, and one that is there is not looked at.
    Off,
}

/// What a proof must say to be accepted. All of it comes from configuration and the request line.
#[derive(Clone, Copy, Debug)]
pub struct ProofExpectation<'a> {
    /// The algorithms of the published metadata.
    pub algorithms: &'a [Algorithm],
    /// The method of the request.
    pub htm: &'a str,
    /// The configured URL of the endpoint, never one made from `Host` or `X-Forwarded-*`.
    pub htu: &'a str,
    /// SHA-256 of the access token and the key it is bound to, where one is presented.
    pub access_token: Option<(&'a [u8; 32], &'a Jkt)>,
    /// Whether a nonce is required.
    pub nonce: NoncePolicy<'a>,
    /// Where parsed headers are remembered.
    pub header_cache: Option<&'a HeaderCache>,
}

#[derive(Clone, Copy, Debug)]
struct CheckedNonce {
    age_s: u64,
    is_shared: bool,
}

/// Proof that the sender of a request holds a key. The `jti` is not burned yet: see
/// [`crate::possession`].
#[derive(Debug)]
#[must_use]
pub struct VerifiedProof {
    // Invariant: made by `verify` only.
    jkt: Jkt,
    jti: String,
    issued_s: u64,
    token_digest: Option<[u8; 32]>,
    nonce: Option<CheckedNonce>,
}

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DpopRefusal {
    /// `alg` is unknown or not in the list.
    #[error("the algorithm of the proof is not accepted")]
    Algorithm,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the proof is missing or has the wrong type")]
    Claims,
    /// `iat`, `exp` or `nbf` do not fit the clock.
    #[error("the proof is too old or from the future")]
    Clock,
    /// `jti` is empty, too long, or not visible ASCII.
    #[error("the identifier of the proof is malformed")]
    Jti,
    /// No `jwk`, or one that is not acceptable.
    #[error("the key of the proof is missing or not acceptable")]
    Key,
    /// By another key than the token is bound to.
    #[error("the proof is by another key")]
    KeyMismatch,
    /// Not a compact JWS.
    #[error("the proof is malformed")]
    Malformed,
    /// For another HTTP method.
    #[error("the proof is for another method")]
    Method,
    /// No proof was sent.
    #[error("a proof is required")]
    Missing,
    /// The nonce is too old or not ours.
    #[error("the nonce of the proof is not fresh")]
    Nonce,
    /// A nonce is required.
    #[error("the proof holds no nonce")]
    NonceMissing,
    /// The signature does not hold.
    #[error("the signature of the proof does not verify")]
    Signature,
    /// For another access token, or for none.
    #[error("the proof is for another access token")]
    TokenHash,
    /// Longer than 4 KiB.
    #[error("the proof is too long")]
    TooLong,
    /// Another kind of JWT.
    #[error("the proof has another type")]
    Type,
    /// For another URL, or for one with query or fragment.
    #[error("the proof is for another url")]
    Url,
}

impl DpopRefusal {
    /// What goes on the wire: RFC 9449 sections 5, 7.1 and 8.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            // RFC 9449 section 8: the client repeats the request with the nonce it is given.
            Self::Nonce | Self::NonceMissing => ErrorCode::UseDpopNonce,
            // RFC 9449 section 5 and section 7.1.
            Self::Algorithm
            | Self::Claims
            | Self::Clock
            | Self::Jti
            | Self::Key
            | Self::KeyMismatch
            | Self::Malformed
            | Self::Method
            | Self::Missing
            | Self::Signature
            | Self::TokenHash
            | Self::TooLong
            | Self::Type
            | Self::Url => ErrorCode::InvalidDpopProof,
        }
    }

    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Missing => ReasonCode::PossessionMissing,
            Self::KeyMismatch => ReasonCode::PossessionKeyMismatch,
            Self::Method => ReasonCode::PossessionMethod,
            Self::Url => ReasonCode::PossessionUrl,
            Self::TokenHash => ReasonCode::PossessionTokenHash,
            Self::Nonce | Self::NonceMissing => ReasonCode::PossessionNonce,
            Self::Clock => ReasonCode::PossessionClock,
            Self::Algorithm
            | Self::Claims
            | Self::Jti
            | Self::Key
            | Self::Malformed
            | Self::Signature
            | Self::TooLong
            | Self::Type => ReasonCode::PossessionMalformed,
        }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    jti: Text<'a>,
    #[serde(borrow)]
    htm: Text<'a>,
    #[serde(borrow)]
    htu: Text<'a>,
    iat: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    ath: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    nonce: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
}

/// Verifies a proof: RFC 9449 section 4.3. The numbers are those of its list.
///
/// # Errors
/// [`DpopRefusal`], the first that applies.
pub fn verify(
    proof: &str,
    expected: &ProofExpectation<'_>,
    now_s: u64,
) -> Result<VerifiedProof, DpopRefusal> {
    // Check 2: one well-formed JWT.
    let jws = match expected.header_cache {
        Some(cache) => Compact::parse_cached(proof, &PROOF_LIMITS, cache),
        None => Compact::parse(proof, &PROOF_LIMITS),
    }
    .map_err(|error| refusal_of(&error))?;
    let header = jws.header();
    // Check 4.
    if header.typ.as_deref() != Some(TYPE) {
        return Err(DpopRefusal::Type);
    }
    // Check 5: asymmetric, not `none`, supported, and allowed here.
    if !expected.algorithms.contains(&header.alg) {
        return Err(DpopRefusal::Algorithm);
    }
    // Check 7, that the key is public, was made when the key was parsed.
    let key = header.jwk.clone().ok_or(DpopRefusal::Key)?;
    let jkt = key.thumbprint();
    // Check 12, second half, before the costly part: it needs the key and nothing else.
    let by_another = expected.access_token.is_some_and(|(_, bound_to)| *bound_to != jkt);
    if by_another && !is_planted(Bug::ProofKeyNotCompared) {
        return Err(DpopRefusal::KeyMismatch);
    }
    // Check 6. A header whose `alg` does not fit its key is refused here too.
    let verified = jws.verify(&key).map_err(|_| DpopRefusal::Signature)?;
    let document = verified.claims(&PROOF_LIMITS).map_err(|_| DpopRefusal::Claims)?;
    // Check 3: all required claims, each with its type.
    let wire: Wire<'_> = document.to().map_err(|_| DpopRefusal::Claims)?;
    if !is_identifier(&wire.jti.0) {
        return Err(DpopRefusal::Jti);
    }
    check_request(&wire, expected)?;
    check_clock(&wire, now_s)?;
    let nonce = check_nonce(&wire, expected, now_s)?;
    if let Some(cache) = expected.header_cache {
        verified.remember_header(cache);
    }
    Ok(VerifiedProof {
        jkt,
        jti: wire.jti.0.into_owned(),
        issued_s: wire.iat,
        token_digest: expected.access_token.map(|(digest, _)| *digest),
        nonce,
    })
}

fn refusal_of(error: &JwsError) -> DpopRefusal {
    match error {
        JwsError::TooLong { .. } => DpopRefusal::TooLong,
        JwsError::Header(HeaderError::Algorithm) => DpopRefusal::Algorithm,
        JwsError::Header(HeaderError::Jwk(_)) => DpopRefusal::Key,
        JwsError::Header(
            HeaderError::CriticalExtension
            | HeaderError::Json(_)
            | HeaderError::Shape
            | HeaderError::UnencodedPayload,
        )
        | JwsError::Encoding
        | JwsError::PartCount => DpopRefusal::Malformed,
    }
}

fn check_request(wire: &Wire<'_>, expected: &ProofExpectation<'_>) -> Result<(), DpopRefusal> {
    // Check 8. Methods are case-sensitive: RFC 9110 section 9.1.
    if !wire.htm.is(expected.htm) {
        return Err(DpopRefusal::Method);
    }
    // Check 9. The configured URL has no query and no fragment, so one in the proof differs.
    if !wire.htu.is(expected.htu) && !is_planted(Bug::ProofUrlUnchecked) {
        return Err(DpopRefusal::Url);
    }
    // Check 12, first half: the proof was made for this very token.
    if let Some((digest, _)) = expected.access_token
        && !is_planted(Bug::ProofTokenHashUnchecked)
    {
        let ath = wire.ath.as_ref().ok_or(DpopRefusal::TokenHash)?;
        let ath = from_base64url(&ath.0).map_err(|_| DpopRefusal::TokenHash)?;
        if ath != digest {
            return Err(DpopRefusal::TokenHash);
        }
    }
    Ok(())
}

/// Check 11: within an acceptable window, here 60 seconds back and 5 ahead.
fn check_clock(wire: &Wire<'_>, now_s: u64) -> Result<(), DpopRefusal> {
    let oldest_s = now_s.saturating_sub(PROOF_AGE_MAX_S);
    let newest_s = now_s.saturating_add(CLOCK_AHEAD_S);
    let window = oldest_s..=newest_s;
    // RFC 7519 sections 4.1.4 and 4.1.5: a proof may narrow its own time. A start before our
    // window would claim a longer one.
    let narrowed =
        wire.exp.is_none_or(|exp| exp > now_s) && wire.nbf.is_none_or(|nbf| window.contains(&nbf));
    if window.contains(&wire.iat) && narrowed { Ok(()) } else { Err(DpopRefusal::Clock) }
}

/// Check 10. Gives the age of the nonce, so that the edge can renew it in time, and whose it is.
fn check_nonce(
    wire: &Wire<'_>,
    expected: &ProofExpectation<'_>,
    now_s: u64,
) -> Result<Option<CheckedNonce>, DpopRefusal> {
    let (own, shared) = match expected.nonce {
        NoncePolicy::Off => return Ok(None),
        NoncePolicy::Required(own) => (own, None),
        NoncePolicy::Either { own, shared } => (own, Some(shared)),
    };
    let nonce = &wire.nonce.as_ref().ok_or(DpopRefusal::NonceMissing)?.0;
    let of = |key: &NonceKey, is_shared| {
        let age_s = key.check(nonce, now_s);
        age_s.map(|age_s| CheckedNonce { age_s, is_shared })
    };
    let checked = match shared {
        Some(shared) => of(shared, true).or_else(|_| of(own, false)),
        None => of(own, false),
    };
    if is_planted(Bug::ProofNonceUnchecked) {
        return Ok(Some(checked.unwrap_or(CheckedNonce { age_s: 0, is_shared: false })));
    }
    checked.map(Some).map_err(|_| DpopRefusal::Nonce)
}

impl VerifiedProof {
    /// The thumbprint of the key that was proven.
    #[must_use]
    pub const fn jkt(&self) -> Jkt {
        self.jkt
    }

    /// The identifier of the proof, for the log.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// What is burned: SHA-256 of thumbprint and `jti`, so that nobody burns another's proof.
    #[must_use]
    pub fn replay_key(&self) -> [u8; 32] {
        sha256(&[self.jkt.as_bytes().as_slice(), self.jti.as_bytes()].concat())
    }

    /// The last second at which the proof could be accepted.
    #[must_use]
    pub const fn expires_s(&self) -> u64 {
        self.issued_s.saturating_add(PROOF_AGE_MAX_S).saturating_add(CLOCK_AHEAD_S)
    }

    /// The `iat` of the proof.
    #[must_use]
    pub const fn issued_s(&self) -> u64 {
        self.issued_s
    }

    /// The age of its nonce in seconds; `None` when none was required.
    #[must_use]
    pub fn nonce_age_s(&self) -> Option<u64> {
        self.nonce.map(|nonce| nonce.age_s)
    }

    /// Whether other nodes accept its nonce too: then this node's memory does not suffice.
    pub(crate) fn is_nonce_shared(&self) -> bool {
        self.nonce.is_some_and(|nonce| nonce.is_shared)
    }

    pub(crate) const fn token_digest(&self) -> Option<&[u8; 32]> {
        self.token_digest.as_ref()
    }
}

/// What a client puts into a proof: RFC 9449 section 4.2.
#[derive(Clone, Copy, Debug)]
pub struct NewProof<'a> {
    /// The method of the request.
    pub htm: &'a str,
    /// The URL of the request without query and fragment.
    pub htu: &'a str,
    /// The time, in seconds since 1970.
    pub iat_s: u64,
    /// Unique; 96 random bits or more.
    pub jti: &'a str,
    /// The access token that goes with it.
    pub access_token: Option<&'a str>,
    /// The nonce the server gave last.
    pub nonce: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct NewClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Makes a proof, on the side of the client.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn new_proof(key: &SigningKey, proof: &NewProof<'_>) -> Result<String, SignError> {
    let ath = proof.access_token.map(|token| base64url(&sha256(token.as_bytes())));
    let NewProof { htm, htu, iat_s, jti, nonce, .. } = *proof;
    let claims = NewClaims { ath, htm, htu, iat: iat_s, jti, nonce };
    let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
    attorn_jose::sign(&NewHeader { typ: TYPE, kid: None, jwk: true }, &claims, key)
}
