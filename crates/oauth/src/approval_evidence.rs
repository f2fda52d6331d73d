//! Evidence that a person approved a call: from the process that let the call through, to the
//! authority that issues a token for it.
//!
//! Implemented: a parameter of our profile of token exchange (RFC 8693 section 2.1), beside the proof
//! that the subject token came with. It names the approval, and is authenticated (HMAC-SHA-256, RFC
//! 2104) under a key that one process holds: what a server says of its own calls is no evidence. It is
//! for one subject token and one server, so that what leaks is good for nothing else.
//! What is *not* checked here: whether the registry knows the approval, and as used.

use attorn_jose::{base64url, from_base64url};
use attorn_registry::{ApprovalId, ServerId};
use aws_lc_rs::hmac;

/// The parameter of the token request.
pub const APPROVAL_EVIDENCE: &str = "subject_token_approval";

/// The key under which a process says which of its calls were approved. A process makes its own anew
/// at each start. Clones are the same key.
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

/// It is not from this process, or not for this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the evidence of an approval does not hold")]
pub struct EvidenceForged;

impl EvidenceKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random))
    }

    /// The value of the parameter: the approval, and the tag that makes it evidence.
    #[must_use]
    pub fn vouch(&self, approval: &ApprovalId, of: EvidenceFor<'_>) -> String {
        let tag = hmac::sign(&self.0, &message(approval, of));
        format!("{approval}.{}", base64url(tag.as_ref()))
    }

    /// The approval that evidence names.
    ///
    /// # Errors
    /// [`EvidenceForged`], the same for whatever is wrong with it.
    pub fn verify(&self, text: &str, of: EvidenceFor<'_>) -> Result<ApprovalId, EvidenceForged> {
        let (approval, tag) = text.split_once('.').ok_or(EvidenceForged)?;
        let approval = ApprovalId::parse(approval).map_err(|_| EvidenceForged)?;
        let tag = from_base64url(tag).map_err(|_| EvidenceForged)?;
        // In constant time: a tag is not found out byte by byte.
        hmac::verify(&self.0, &message(&approval, of), &tag).map_err(|_| EvidenceForged)?;
        Ok(approval)
    }
}

impl std::fmt::Debug for EvidenceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EvidenceKey([redacted])")
    }
}

/// What is authenticated. All parts but the last have one length: no two calls have one message.
fn message(approval: &ApprovalId, of: EvidenceFor<'_>) -> Vec<u8> {
    let parts: [&[u8]; 4] =
        [PURPOSE, of.subject_token, approval.as_str().as_bytes(), of.server.as_str().as_bytes()];
    parts.concat()
}

/// So that no other tag of the same key could pass.
const PURPOSE: &[u8] = b"attorn approval evidence v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> EvidenceKey {
        EvidenceKey::new(&[byte; 32])
    }

    fn approval(byte: u8) -> ApprovalId {
        ApprovalId::from_random(&[byte; 16])
    }

    #[test]
    fn evidence_is_for_one_call_of_one_process() {
        let (server, other) = (ServerId::from_random(&[1; 16]), ServerId::from_random(&[2; 16]));
        let of = EvidenceFor { server: &server, subject_token: &[3; 32] };
        let text = key(9).vouch(&approval(7), of);
        assert_eq!(key(9).verify(&text, of), Ok(approval(7)));
        assert_eq!(key(8).verify(&text, of), Err(EvidenceForged), "another process");
        let elsewhere = EvidenceFor { server: &other, ..of };
        assert_eq!(key(9).verify(&text, elsewhere), Err(EvidenceForged), "another server");
        let another = EvidenceFor { subject_token: &[4; 32], ..of };
        assert_eq!(key(9).verify(&text, another), Err(EvidenceForged), "another token");
        let (_, tag) = text.split_once('.').unwrap();
        let renamed = format!("{}.{tag}", approval(6));
        assert_eq!(key(9).verify(&renamed, of), Err(EvidenceForged), "another approval");
    }

    #[test]
    fn what_is_no_evidence_is_refused() {
        let server = ServerId::from_random(&[1; 16]);
        let of = EvidenceFor { server: &server, subject_token: &[3; 32] };
        let text = key(9).vouch(&approval(7), of);
        let (name, tag) = text.split_once('.').unwrap();
        let odd = [
            String::new(),
            ".".to_owned(),
            name.to_owned(),
            format!("{name}."),
            format!(".{tag}"),
            format!("{name}.{tag}."),
            format!("{name}.{tag}="),
            format!("{name}.{}", tag.chars().take(20).collect::<String>()),
            format!("{}.{tag}", name.replace("apr_", "dec_")),
            text.to_uppercase(),
        ];
        for text in odd {
            assert_eq!(key(9).verify(&text, of), Err(EvidenceForged), "{text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key(9)), "EvidenceKey([redacted])");
    }
}
