//! A token and a proof become one: the token is used by the key it is bound to, for the first time
//! with this proof. RFC 9449 section 7.
//!
//! Implemented: the binding of a DPoP proof. The binding of a certificate is [`crate::mtls::bind`],
//! which needs no memory: the handshake of the connection was the proof.
//!
//! A proof with a nonce of this node is accepted by no other: burning it here suffices. One with a
//! nonce that nodes share counts only when the memory they share has answered that it is the first.

use attorn_jose::Jkt;
use attorn_planted::{Bug, is_planted};
use attorn_registry::{AgentId, McpServer, ReasonCode};

use crate::access_token::{AccessTokenClaims, VerifiedToken};
use crate::claim::CLOCK_AHEAD_S;
use crate::dpop::VerifiedProof;
use crate::evidence::HeldCertificate;
use crate::replay::{ReplayRefusal, ReplaySet};

/// Proof that a token was presented by its own key, or that none is asked for. Only
/// [`BurnedHere::settle`], [`crate::mtls::bind`] and [`BoundToken::accepted`] make one:
///
/// ```compile_fail,E0451
/// use attorn_oauth::{access_token::VerifiedToken, possession::BoundToken};
///
/// fn forge(token: VerifiedToken) -> BoundToken {
///     BoundToken { token, proof_jti: None, certificate: None }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct BoundToken<C = AgentId> {
    token: VerifiedToken<C>,
    proof_jti: Option<String>,
    certificate: Option<HeldCertificate>,
}

/// A token with a proof that was burned at this node. [`Self::settle`] makes it count.
#[derive(Debug)]
#[must_use]
pub struct BurnedHere<C = AgentId> {
    token: BoundToken<C>,
    shared: Option<SharedUse>,
}

/// What the memory that nodes share must remember.
#[derive(Clone, Copy, Debug)]
pub struct SharedUse {
    /// SHA-256 of thumbprint and `jti`.
    pub replay_key: [u8; 32],
    /// The last second at which the proof could be accepted, since 1970.
    pub expires_s: u64,
}

/// What that memory said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedAnswer {
    /// Nobody used it before.
    First,
    /// It did not say, in time or at all.
    Unavailable,
    /// It was used before.
    Used,
}

/// Proof that a request without a token came from the holder of a key, once. Only
/// [`VerifiedProof::burn`] makes one.
#[derive(Debug)]
#[must_use]
pub struct ProvenKey {
    jkt: Jkt,
    proof_jti: String,
}

/// Why token and proof do not belong together, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PossessionRefusal {
    /// The certificate has ended, or does not stand for the client any more.
    #[error("the client certificate does not count any more")]
    CertificateInvalid,
    /// Another certificate than the one the token is bound to.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// The connection has no client certificate.
    #[error("the token is bound to a certificate and none was presented")]
    CertificateMissing,
    /// A token that is bound by DPoP came without its proof, or one bound to a certificate with one.
    #[error("the token is bound in another way")]
    OtherMethod,
    /// The proof was checked against another token.
    #[error("the proof was checked against another token")]
    OtherToken,
    /// The proof was used before, or that cannot be known.
    #[error(transparent)]
    Replay(#[from] ReplayRefusal),
}

impl PossessionRefusal {
    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::CertificateInvalid => ReasonCode::PossessionCertificateInvalid,
            Self::CertificateMismatch => ReasonCode::PossessionKeyMismatch,
            Self::CertificateMissing => ReasonCode::PossessionCertificateMissing,
            // RFC 9449 section 7.2: a token bound by DPoP is never taken as a bearer token.
            Self::OtherMethod => ReasonCode::TokenBearerNotAllowed,
            Self::OtherToken => ReasonCode::PossessionTokenHash,
            Self::Replay(refusal) => refusal.reason(),
        }
    }
}

/// Binds a token to the proof that came with it, and burns the proof, where no memory is shared.
///
/// # Errors
/// [`PossessionRefusal`]. Nothing is burned unless the result is `Ok`.
pub fn bind<C>(
    token: VerifiedToken<C>,
    proof: VerifiedProof,
    replays: &ReplaySet,
    now_s: u64,
) -> Result<BoundToken<C>, PossessionRefusal> {
    bind_here(token, proof, replays, now_s)?.settle(None)
}

/// Binds a token to the proof that came with it, and burns the proof at this node.
///
/// # Errors
/// [`PossessionRefusal`]. Nothing is burned unless the result is `Ok`.
pub fn bind_here<C>(
    token: VerifiedToken<C>,
    proof: VerifiedProof,
    replays: &ReplaySet,
    now_s: u64,
) -> Result<BurnedHere<C>, PossessionRefusal> {
    // RFC 9449 section 4.3, check 12. The proof says itself what it was checked against, so that
    // mixing up two requests cannot pass.
    let by_another = Some(&proof.jkt()) != token.jkt() && !is_planted(Bug::ProofKeyNotCompared);
    if proof.token_digest() != Some(token.digest()) || by_another {
        return Err(PossessionRefusal::OtherToken);
    }
    let (ProvenKey { proof_jti, .. }, shared) = proof.burn_here(replays, now_s)?;
    let token = BoundToken { token, proof_jti: Some(proof_jti), certificate: None };
    Ok(BurnedHere { token, shared })
}

impl<C> BurnedHere<C> {
    /// What to ask the shared memory; nothing when this node's own suffices.
    #[must_use]
    pub const fn shared_use(&self) -> Option<&SharedUse> {
        self.shared.as_ref()
    }

    /// The token, if the proof counts. `answer` is what the shared memory said to
    /// [`Self::shared_use`].
    ///
    /// # Errors
    /// [`PossessionRefusal::Replay`] when the proof was used at another node, or that is not known.
    pub fn settle(self, answer: Option<SharedAnswer>) -> Result<BoundToken<C>, PossessionRefusal> {
        match (self.shared, answer) {
            (None, _) | (Some(_), Some(SharedAnswer::First)) => Ok(self.token),
            (Some(_), Some(SharedAnswer::Used)) => Err(ReplayRefusal::Replayed.into()),
            (Some(_), Some(SharedAnswer::Unavailable) | None) => {
                Err(ReplayRefusal::SharedUnavailable.into())
            }
        }
    }
}

impl VerifiedProof {
    /// Burns the proof: RFC 9449 section 11.1. Call it last.
    ///
    /// # Errors
    /// [`ReplayRefusal`], also for a nonce that other nodes accept.
    pub fn burn(self, replays: &ReplaySet, now_s: u64) -> Result<ProvenKey, ReplayRefusal> {
        let (key, shared) = self.burn_here(replays, now_s)?;
        if shared.is_none() { Ok(key) } else { Err(ReplayRefusal::SharedUnavailable) }
    }

    fn burn_here(
        self,
        replays: &ReplaySet,
        now_s: u64,
    ) -> Result<(ProvenKey, Option<SharedUse>), ReplayRefusal> {
        // A nonce of this process is younger than the process, so the proof is too. A shared nonce
        // is younger than the shared memory.
        if self.nonce_age_s().is_none() {
            // A proof may be dated ahead of our clock, so one dated just after the start may still
            // have been used just before it, in the same second.
            replays.refuse_older_than_start(self.issued_s(), CLOCK_AHEAD_S + 1)?;
        }
        let shared = SharedUse { replay_key: self.replay_key(), expires_s: self.expires_s() };
        if !is_planted(Bug::ProofReused) {
            replays.insert(shared.replay_key, shared.expires_s, now_s)?;
        }
        let key = ProvenKey { jkt: self.jkt(), proof_jti: self.jti().to_owned() };
        Ok((key, self.is_nonce_shared().then_some(shared)))
    }
}

impl BoundToken {
    /// Takes a token that is bound to no key, where the server's owner said that such tokens are
    /// taken for everything that this one unlocks. One that is bound is refused: RFC 9449 section
    /// 7.2.
    ///
    /// # Errors
    /// [`PossessionRefusal::OtherMethod`].
    pub fn accepted(token: VerifiedToken, server: &McpServer) -> Result<Self, PossessionRefusal> {
        let claims = token.claims();
        if claims.cnf.is_bearer() && server.accepts_bearer(&claims.scope) {
            return Ok(Self { token, proof_jti: None, certificate: None });
        }
        Err(PossessionRefusal::OtherMethod)
    }
}

impl<C> BoundToken<C> {
    /// For [`crate::mtls`], which has compared the certificate.
    pub(crate) const fn by_certificate(token: VerifiedToken<C>, held: HeldCertificate) -> Self {
        Self { token, proof_jti: None, certificate: Some(held) }
    }

    /// The claims of the token.
    #[must_use]
    pub fn claims(&self) -> &AccessTokenClaims<C> {
        self.token.claims()
    }

    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken<C> {
        &self.token
    }

    /// The key that was proven, or the thumbprint of the certificate.
    #[must_use]
    pub fn proof_key(&self) -> Jkt {
        self.token.confirmation().key()
    }

    /// That the token came with its certificate; nothing where a key was proven, or none.
    #[must_use]
    pub const fn certificate(&self) -> Option<HeldCertificate> {
        self.certificate
    }

    /// The identifier of the proof, for the log; a certificate has none.
    #[must_use]
    pub fn proof_jti(&self) -> Option<&str> {
        self.proof_jti.as_deref()
    }
}

impl ProvenKey {
    /// The key that was proven.
    #[must_use]
    pub const fn jkt(&self) -> Jkt {
        self.jkt
    }

    /// The identifier of the proof, for the log.
    #[must_use]
    pub fn proof_jti(&self) -> &str {
        &self.proof_jti
    }
}
