//! Proof of possession for every request: RFC 9449 with nonces of our own, or the certificate of
//! the connection (RFC 8705 section 3). A token's own binding says which. One that is bound to nothing
//! is taken only where the server's owner said so.

use attorn_enforce::proofs::{Asked, ProofRefusal, Proofs};
use attorn_jose::CertificateThumbprint;
use attorn_net::{Peer, Random};
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::NonceKey;
use attorn_oauth::mtls::{self, PresentedCertificate};
use attorn_oauth::possession::{BoundToken, PossessionRefusal};
use attorn_registry::{McpServer, ReasonCode, Snapshot};
use attorn_replay::SharedReplays;
use http::{HeaderMap, request};

use crate::front::Verb;
use crate::limits::Throttle;
use crate::refusal::CredentialRefusal;

/// What proofs are checked with.
#[derive(Debug)]
pub(crate) struct Possession(Proofs);

/// A caller who holds the key its token is bound to.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) token: BoundToken,
    /// A nonce to send along, because the one in use is about to end.
    pub(crate) nonce: Option<String>,
}

impl Possession {
    pub(crate) fn new(
        nonce_key: NonceKey,
        shared: Option<SharedReplays>,
        started_s: u64,
        random: Random,
    ) -> Self {
        Self(Proofs::new(nonce_key, shared, started_s, random))
    }

    /// Verifies the proof of a request and burns it, here and in the memory that gateways share.
    /// `url` is the configured one.
    pub(crate) async fn prove(
        &self,
        headers: &HeaderMap,
        verb: Verb,
        url: &str,
        token: VerifiedToken,
        (throttle, now_s): (&Throttle, u64),
    ) -> Result<Proven, CredentialRefusal> {
        let jkt = token.jkt().copied();
        let jkt = jkt.ok_or(CredentialRefusal::Possession(PossessionRefusal::OtherMethod))?;
        let asked = Asked { htm: verb.as_str(), htu: url };
        let held = self.0.verify(headers, asked, &token, now_s)?;
        throttle
            .admit(&token.claims().client_id, Confirmation::Jkt(jkt))
            .await
            .map_err(CredentialRefusal::Limited)?;
        let burned = self.0.burn(held, token, now_s).await;
        let burned = burned.map_err(CredentialRefusal::Possession)?;
        Ok(Proven { token: burned.token, nonce: burned.nonce })
    }

    /// How many used proofs are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.0.remembered()
    }

    /// A fresh nonce: one that all gateways of the shared memory accept, while it is there.
    pub(crate) fn nonce(&self, now_s: u64) -> String {
        self.0.nonce(now_s)
    }

    /// Whether used proofs are shared; nothing where that is not configured.
    pub(crate) fn is_shared(&self) -> Option<bool> {
        self.0.is_shared()
    }
}

impl From<ProofRefusal> for CredentialRefusal {
    fn from(refusal: ProofRefusal) -> Self {
        match refusal {
            ProofRefusal::Possession(refusal) => Self::Possession(refusal),
            ProofRefusal::Proof(refusal) => Self::Proof(refusal),
            ProofRefusal::Repeated => Self::ProofRepeated,
        }
    }
}

/// Compares a token with the certificate of its connection. Nothing is burned: the handshake was
/// the proof, here or at a listed proxy, and it holds for this connection alone.
pub(crate) async fn by_certificate(
    head: &request::Parts,
    token: VerifiedToken,
    snapshot: &Snapshot,
    (throttle, now_s): (&Throttle, u64),
) -> Result<Proven, CredentialRefusal> {
    let (agent, confirmation) = (token.claims().client_id.clone(), *token.confirmation());
    let token = bound(head, token, snapshot, now_s)?;
    throttle.admit(&agent, confirmation).await.map_err(CredentialRefusal::Limited)?;
    Ok(Proven { token, nonce: None })
}

/// The token, where the certificate of its connection is the one it is bound to and stands for the agent
/// now.
pub(crate) fn bound(
    head: &request::Parts,
    token: VerifiedToken,
    snapshot: &Snapshot,
    now_s: u64,
) -> Result<BoundToken, CredentialRefusal> {
    let certificate = head.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref());
    let presented = certificate.map(|certificate| PresentedCertificate {
        thumbprint: CertificateThumbprint::from_bytes(certificate.thumbprint),
        not_before_s: certificate.not_before_s,
        not_after_s: certificate.not_after_s,
        anchors: &certificate.anchors,
        dns_names: &certificate.dns_names,
        uris: &certificate.uris,
    });
    let agent = snapshot.agent(&token.claims().client_id);
    let agent = agent.ok_or(CredentialRefusal::Caller(ReasonCode::AgentUnknown))?;
    mtls::bind(token, presented.as_ref(), &agent.authentication, now_s)
        .map_err(CredentialRefusal::Possession)
}

/// Takes a token that is bound to no key, where the server does. Nothing is proven.
pub(crate) async fn by_nothing(
    token: VerifiedToken,
    server: &McpServer,
    (throttle, _now_s): (&Throttle, u64),
) -> Result<Proven, CredentialRefusal> {
    let (agent, confirmation) = (token.claims().client_id.clone(), *token.confirmation());
    let token = BoundToken::accepted(token, server).map_err(CredentialRefusal::Possession)?;
    throttle.admit(&agent, confirmation).await.map_err(CredentialRefusal::Limited)?;
    Ok(Proven { token, nonce: None })
}
