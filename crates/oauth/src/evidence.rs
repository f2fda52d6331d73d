//! The word of the process that let a call through, to the authority that issues a token for it.
//!
//! Implemented: two parameters of our profile of token exchange (RFC 8693 section 2.1). One says that
//! a person approved the call, beside the evidence of possession. The other one is evidence of
//! possession, for tokens bound to a certificate (RFC 8705 section 3): a handshake leaves nothing that
//! could be shown to somebody else, so who saw it says so. Both are authenticated (HMAC-SHA-256, RFC
//! 2104) under a key that one process holds: what a server says of its own calls is no evidence. Each
//! is for one subject token and one server, so that what leaks is good for nothing else.
//! What is *not* checked here: whether the registry knows the approval, and as used; whether the
//! certificate still stands for its agent; whether evidence was used before: one call may need several
//! tokens.

use attorn_jose::{CertificateThumbprint, base64url, from_base64url};
use attorn_registry::{ApprovalId, ServerId};
use aws_lc_rs::hmac;

use crate::claim::CLOCK_AHEAD_S;
use crate::dpop::PROOF_AGE_MAX_S;

/// The parameter that names an approval.
pub const APPROVAL_EVIDENCE: &str = "subject_token_approval";
/// The parameter that says which certificate the subject token came with.
pub const CERTIFICATE_EVIDENCE: &str = "subject_token_certificate";

/// The key under which a process says what it knows of its calls. A process makes its own anew at each
/// start. Clones are the same key.
#[derive(Clone)]
pub struct EvidenceKey(hmac::Key);

/// What evidence is good for.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceFor<'a> {
    /// The server that was called, and that exchanges.
    pub server: &'a ServerId,
    /// SHA-256 of the token of the call.
    pub subject_token: &'a [u8; 32],
}

/// Proof that a token came over a connection whose certificate it is bound to. Only
/// [`crate::mtls::bind`] makes one:
///
/// ```compile_fail,E0451
/// use attorn_jose::CertificateThumbprint;
/// use attorn_oauth::evidence::HeldCertificate;
///
/// fn forge(thumbprint: CertificateThumbprint) -> HeldCertificate {
///     HeldCertificate { thumbprint, token: [0; 32], held_s: 0 }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HeldCertificate {
    // Invariant: what a token said and a handshake showed, both at once.
    thumbprint: CertificateThumbprint,
    /// SHA-256 of the token.
    token: [u8; 32],
    /// When.
    held_s: u64,
}

/// It is not from this process, or not for this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the evidence of an approval does not hold")]
pub struct EvidenceForged;

/// Why evidence of a certificate is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CertificateEvidenceRefusal {
    /// The call began too long ago, or has not begun.
    #[error("the evidence of a certificate is too old or from the future")]
    Clock,
    /// It is not from this process, or not for this call and certificate.
    #[error("the evidence of a certificate does not hold")]
    Forged,
    /// The token is bound to a certificate, and nobody says that it came with it.
    #[error("evidence of the certificate is required")]
    Missing,
    /// It is evidence of another kind than the token is bound in.
    #[error("the subject token is bound in another way")]
    OtherMethod,
}

impl HeldCertificate {
    /// For [`crate::mtls::bind`], which has compared the two.
    pub(crate) const fn new(
        thumbprint: CertificateThumbprint,
        token: [u8; 32],
        held_s: u64,
    ) -> Self {
        Self { thumbprint, token, held_s }
    }
}

impl EvidenceKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random))
    }

    /// The value of [`APPROVAL_EVIDENCE`]: the approval, and the tag that makes it evidence.
    #[must_use]
    pub fn vouch_approval(&self, approval: &ApprovalId, of: EvidenceFor<'_>) -> String {
        let tag = hmac::sign(&self.0, &about_approval(approval, of));
        format!("{approval}.{}", base64url(tag.as_ref()))
    }

    /// The approval that evidence names.
    ///
    /// # Errors
    /// [`EvidenceForged`], the same for whatever is wrong with it.
    pub fn verify_approval(
        &self,
        text: &str,
        of: EvidenceFor<'_>,
    ) -> Result<ApprovalId, EvidenceForged> {
        let (approval, tag) = text.split_once('.').ok_or(EvidenceForged)?;
        let approval = ApprovalId::parse(approval).map_err(|_| EvidenceForged)?;
        self.verify_tag(&about_approval(&approval, of), tag)?;
        Ok(approval)
    }

    /// The value of [`CERTIFICATE_EVIDENCE`] for a server: when the token came with its certificate, and
    /// the tag that makes it evidence. Which certificate, the token says itself.
    #[must_use]
    pub fn vouch_certificate(&self, held: &HeldCertificate, server: &ServerId) -> String {
        let of = EvidenceFor { server, subject_token: &held.token };
        let message = about_certificate(&held.thumbprint, held.held_s, of);
        let tag = hmac::sign(&self.0, &message);
        format!("{}.{}", held.held_s, base64url(tag.as_ref()))
    }

    /// Whether evidence says that this token came with this certificate, within the last minute. A
    /// proof by a key is good for as long: see [`PROOF_AGE_MAX_S`].
    ///
    /// # Errors
    /// [`CertificateEvidenceRefusal`]; nothing is said of the time of what is not ours.
    pub fn verify_certificate(
        &self,
        text: &str,
        (thumbprint, of): (&CertificateThumbprint, EvidenceFor<'_>),
        now_s: u64,
    ) -> Result<(), CertificateEvidenceRefusal> {
        let forged = CertificateEvidenceRefusal::Forged;
        let (written, tag) = text.split_once('.').ok_or(forged)?;
        let held_s: u64 = written.parse().map_err(|_| forged)?;
        // One spelling: `+7` and `07` are numbers, too.
        if held_s.to_string() != written {
            return Err(forged);
        }
        let message = about_certificate(thumbprint, held_s, of);
        self.verify_tag(&message, tag).map_err(|_| forged)?;
        let window = now_s.saturating_sub(PROOF_AGE_MAX_S)..=now_s.saturating_add(CLOCK_AHEAD_S);
        if window.contains(&held_s) { Ok(()) } else { Err(CertificateEvidenceRefusal::Clock) }
    }

    fn verify_tag(&self, message: &[u8], tag: &str) -> Result<(), EvidenceForged> {
        let tag = from_base64url(tag).map_err(|_| EvidenceForged)?;
        // In constant time: a tag is not found out byte by byte.
        hmac::verify(&self.0, message, &tag).map_err(|_| EvidenceForged)
    }
}

impl std::fmt::Debug for EvidenceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EvidenceKey([redacted])")
    }
}

/// What is authenticated. All parts but the last have one length: no two calls have one message.
fn about_approval(approval: &ApprovalId, of: EvidenceFor<'_>) -> Vec<u8> {
    let parts: [&[u8]; 4] =
        [APPROVED, of.subject_token, approval.as_str().as_bytes(), of.server.as_str().as_bytes()];
    parts.concat()
}

/// The same. It begins otherwise, so that no word about one thing is a word about the other.
fn about_certificate(
    thumbprint: &CertificateThumbprint,
    held_s: u64,
    of: EvidenceFor<'_>,
) -> Vec<u8> {
    let held_s = held_s.to_be_bytes();
    let server = of.server.as_str().as_bytes();
    let parts: [&[u8]; 5] = [HELD, of.subject_token, thumbprint.as_bytes(), &held_s, server];
    parts.concat()
}

/// So that no other tag of the same key could pass. Neither is the beginning of the other.
const APPROVED: &[u8] = b"attorn approval evidence v1";
const HELD: &[u8] = b"attorn certificate evidence v1";

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
