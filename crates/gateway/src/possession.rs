//! Proof of possession for every request: RFC 9449 with nonces of our own, or the certificate of
//! the connection (RFC 8705 section 3). A token's own binding says which. One that is bound to nothing
//! is taken only where the server's owner said so.

use attorn_jose::{Algorithm, CertificateThumbprint, HeaderCache};
use attorn_net::{Peer, Random};
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{
    self, DpopRefusal, NONCE_RENEW_S, NonceKey, NoncePolicy, ProofExpectation, VerifiedProof,
};
use attorn_oauth::mtls::{self, PresentedCertificate};
use attorn_oauth::possession::{BoundToken, PossessionRefusal, bind_here};
use attorn_oauth::replay::ReplaySet;
use attorn_planted::{Bug, is_planted};
use attorn_registry::{McpServer, ReasonCode, Snapshot};
use attorn_replay::{Current, SharedReplays};
use http::{HeaderMap, HeaderName, request};

use crate::front::Verb;
use crate::limits::Throttle;
use crate::refusal::CredentialRefusal;

/// What proofs are checked with.
#[derive(Debug)]
pub(crate) struct Possession {
    nonce_key: NonceKey,
    replays: ReplaySet,
    shared: Option<SharedReplays>,
    headers: HeaderCache,
    random: Random,
}

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
        Self {
            nonce_key,
            replays: ReplaySet::new(REPLAY_ENTRIES_MAX, started_s),
            shared,
            headers: HeaderCache::new(HEADER_ENTRIES_MAX),
            random,
        }
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
        let current = self.current();
        let own = &self.nonce_key;
        let expected = ProofExpectation {
            algorithms: &Algorithm::ALL,
            htm: verb.as_str(),
            htu: url,
            access_token: Some((token.digest(), &jkt)),
            nonce: current.as_ref().map_or(NoncePolicy::Required(own), |current| {
                NoncePolicy::Either { own, shared: current.nonce_key() }
            }),
            header_cache: Some(&self.headers),
        };
        let text = proof_text(headers)?;
        let proof = dpop::verify(text, &expected, now_s).map_err(|refusal| {
            if is_planted(Bug::ProofBurnedEarly) {
                let lax = ProofExpectation { access_token: None, ..expected };
                let burn = |proof: VerifiedProof| proof.burn(&self.replays, now_s);
                drop(dpop::verify(text, &lax, now_s).map(burn));
            }
            CredentialRefusal::Proof(refusal)
        })?;
        let old = proof.nonce_age_s().is_none_or(|age_s| age_s >= NONCE_RENEW_S);
        throttle
            .admit(&token.claims().client_id, Confirmation::Jkt(jkt))
            .await
            .map_err(CredentialRefusal::Limited)?;
        // RFC 9449 section 11.1: burned last, when nothing else can refuse the credential.
        let burned =
            bind_here(token, proof, &self.replays, now_s).map_err(CredentialRefusal::Possession)?;
        let answer = match (burned.shared_use(), &current) {
            (Some(shared_use), Some(current)) => Some(current.burn(shared_use).await),
            (None, _) | (_, None) => None,
        };
        let token = burned.settle(answer).map_err(CredentialRefusal::Possession)?;
        // RFC 9449 section 8.2: a new nonce on any response, before the old one ends.
        Ok(Proven { token, nonce: old.then(|| self.nonce(now_s)) })
    }

    /// How many used proofs are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.replays.len()
    }

    /// A fresh nonce: one that all gateways of the shared memory accept, while it is there.
    pub(crate) fn nonce(&self, now_s: u64) -> String {
        let current = self.current();
        let key = current.as_ref().map_or(&self.nonce_key, Current::nonce_key);
        key.mint(now_s, &self.random.bytes())
    }

    /// Whether used proofs are shared; nothing where that is not configured.
    pub(crate) fn is_shared(&self) -> Option<bool> {
        self.shared.as_ref().map(SharedReplays::is_there)
    }

    fn current(&self) -> Option<Current> {
        self.shared.as_ref()?.current()
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
    let confirmation = *token.confirmation();
    let token = mtls::bind(token, presented.as_ref(), &agent.authentication, now_s)
        .map_err(CredentialRefusal::Possession)?;
    throttle.admit(&agent.id, confirmation).await.map_err(CredentialRefusal::Limited)?;
    Ok(Proven { token, nonce: None })
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

/// RFC 9449 section 4.3, check 1: exactly one `DPoP` header.
fn proof_text(headers: &HeaderMap) -> Result<&str, CredentialRefusal> {
    let mut values = headers.get_all(DPOP).iter();
    let value = values.next().ok_or(CredentialRefusal::Proof(DpopRefusal::Missing))?;
    if values.next().is_some() {
        return Err(CredentialRefusal::ProofRepeated);
    }
    value.to_str().map_err(|_| CredentialRefusal::Proof(DpopRefusal::Malformed))
}

const DPOP: HeaderName = HeaderName::from_static("dpop");
// A proof is remembered for 65 seconds: room for 15,000 proofs a second.
const REPLAY_ENTRIES_MAX: usize = 1 << 20;
const HEADER_ENTRIES_MAX: usize = 16_384;
