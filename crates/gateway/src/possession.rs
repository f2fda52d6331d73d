//! Proof of possession for every request: RFC 9449 with nonces of our own, always required.
//!
//! Not here: certificates (RFC 8705) and bearer tokens; both are refused.

use attorn_jose::{Algorithm, HeaderCache};
use attorn_net::Random;
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::dpop::{
    self, DpopRefusal, NONCE_RENEW_S, NonceKey, NoncePolicy, ProofExpectation,
};
use attorn_oauth::possession::{BoundToken, bind};
use attorn_oauth::replay::ReplaySet;
use http::{HeaderMap, HeaderName};

use crate::front::Verb;
use crate::refusal::CredentialRefusal;

/// What proofs are checked with.
#[derive(Debug)]
pub(crate) struct Possession {
    nonce_key: NonceKey,
    replays: ReplaySet,
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
    pub(crate) fn new(nonce_key: NonceKey, started_s: u64, random: Random) -> Self {
        Self {
            nonce_key,
            replays: ReplaySet::new(REPLAY_ENTRIES_MAX, started_s),
            headers: HeaderCache::new(HEADER_ENTRIES_MAX),
            random,
        }
    }

    /// Verifies the proof of a request and burns it. `url` is the configured one.
    pub(crate) fn prove(
        &self,
        headers: &HeaderMap,
        verb: Verb,
        url: &str,
        token: VerifiedToken,
        now_s: u64,
    ) -> Result<Proven, CredentialRefusal> {
        let expected = ProofExpectation {
            algorithms: &Algorithm::ALL,
            htm: verb.as_str(),
            htu: url,
            access_token: Some((token.digest(), token.jkt())),
            nonce: NoncePolicy::Required(&self.nonce_key),
            header_cache: Some(&self.headers),
        };
        let proof = dpop::verify(proof_text(headers)?, &expected, now_s)
            .map_err(CredentialRefusal::Proof)?;
        let old = proof.nonce_age_s().is_none_or(|age_s| age_s >= NONCE_RENEW_S);
        // RFC 9449 section 11.1: burned last, when nothing else can refuse the credential.
        let token =
            bind(token, proof, &self.replays, now_s).map_err(CredentialRefusal::Possession)?;
        // RFC 9449 section 8.2: a new nonce on any response, before the old one ends.
        Ok(Proven { token, nonce: old.then(|| self.nonce(now_s)) })
    }

    /// A fresh nonce.
    pub(crate) fn nonce(&self, now_s: u64) -> String {
        self.nonce_key.mint(now_s, &self.random.bytes())
    }
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
