//! Proofs of possession after RFC 9449: checked, and burned last, here and in the memory that nodes
//! share.

use attorn_jose::{Algorithm, HeaderCache, Jkt};
use attorn_net::Random;
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::dpop::{
    self, DpopRefusal, NONCE_RENEW_S, NonceKey, NoncePolicy, ProofExpectation, VerifiedProof,
};
use attorn_oauth::possession::{BoundToken, PossessionRefusal, bind_here};
use attorn_oauth::replay::ReplaySet;
use attorn_planted::{Bug, is_planted};
use attorn_replay::{Current, SharedReplays};
use http::{HeaderMap, HeaderName};

/// What proofs are checked with.
#[derive(Debug)]
pub struct Proofs {
    nonce_key: NonceKey,
    replays: ReplaySet,
    shared: Option<SharedReplays>,
    headers: HeaderCache,
    random: Random,
}

/// What the proof of a request must be about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub htm: &'a str,
    /// The URL, made from the configuration.
    pub htu: &'a str,
}

/// A proof that holds and is not burned yet. [`Proofs::burn`] makes it count.
#[derive(Debug)]
#[must_use]
pub struct Held {
    proof: VerifiedProof,
    // The memory that its nonce is from: it says whether the proof was used.
    current: Option<Current>,
    is_old: bool,
}

/// A token used by its own key, for the first time with this proof.
#[derive(Debug)]
pub struct Proven<C> {
    /// The token.
    pub token: BoundToken<C>,
    /// A nonce to send along, because the one in use is about to end.
    pub nonce: Option<String>,
}

/// Why a request does not prove possession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofRefusal {
    /// The token is bound to a certificate, or the proof is not the one that was checked.
    Possession(PossessionRefusal),
    /// The proof does not hold.
    Proof(DpopRefusal),
    /// More than one proof came with the request.
    Repeated,
}

impl Proofs {
    /// No proof was used yet. `started_s` is when the process started.
    #[must_use]
    pub fn new(
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

    /// Verifies the proof of a request, all but that it is new.
    ///
    /// # Errors
    /// [`ProofRefusal`].
    pub fn verify<C>(
        &self,
        headers: &HeaderMap,
        asked: Asked<'_>,
        token: &VerifiedToken<C>,
        now_s: u64,
    ) -> Result<Held, ProofRefusal> {
        let jkt: &Jkt =
            token.jkt().ok_or(ProofRefusal::Possession(PossessionRefusal::OtherMethod))?;
        let current = self.current();
        let own = &self.nonce_key;
        let expected = ProofExpectation {
            algorithms: &Algorithm::ALL,
            htm: asked.htm,
            htu: asked.htu,
            access_token: Some((token.digest(), jkt)),
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
            ProofRefusal::Proof(refusal)
        })?;
        let is_old = proof.nonce_age_s().is_none_or(|age_s| age_s >= NONCE_RENEW_S);
        Ok(Held { proof, current, is_old })
    }

    /// Burns a proof: RFC 9449 section 11.1. Call it last, when nothing else can refuse the
    /// credential.
    ///
    /// # Errors
    /// [`PossessionRefusal`] when the proof was used before, or that cannot be known.
    pub async fn burn<C>(
        &self,
        held: Held,
        token: VerifiedToken<C>,
        now_s: u64,
    ) -> Result<Proven<C>, PossessionRefusal> {
        let Held { proof, current, is_old } = held;
        let burned = bind_here(token, proof, &self.replays, now_s)?;
        let answer = match (burned.shared_use(), &current) {
            (Some(shared_use), Some(current)) => Some(current.burn(shared_use).await),
            (None, _) | (_, None) => None,
        };
        let token = burned.settle(answer)?;
        // RFC 9449 section 8.2: a new nonce on any response, before the old one ends.
        Ok(Proven { token, nonce: is_old.then(|| self.nonce(now_s)) })
    }

    /// How many used proofs are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.replays.len()
    }

    /// A fresh nonce: one that all nodes of the shared memory accept, while it is there.
    #[must_use]
    pub fn nonce(&self, now_s: u64) -> String {
        let current = self.current();
        let key = current.as_ref().map_or(&self.nonce_key, Current::nonce_key);
        key.mint(now_s, &self.random.bytes())
    }

    /// Whether used proofs are shared; nothing where that is not configured.
    #[must_use]
    pub fn is_shared(&self) -> Option<bool> {
        self.shared.as_ref().map(SharedReplays::is_there)
    }

    fn current(&self) -> Option<Current> {
        self.shared.as_ref()?.current()
    }
}

/// RFC 9449 section 4.3, check 1: exactly one `DPoP` header.
fn proof_text(headers: &HeaderMap) -> Result<&str, ProofRefusal> {
    let mut values = headers.get_all(DPOP).iter();
    let value = values.next().ok_or(ProofRefusal::Proof(DpopRefusal::Missing))?;
    if values.next().is_some() {
        return Err(ProofRefusal::Repeated);
    }
    value.to_str().map_err(|_| ProofRefusal::Proof(DpopRefusal::Malformed))
}

/// The header of a proof: RFC 9449 section 4.1.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
// A proof is remembered for 65 seconds: room for 15,000 proofs a second.
const REPLAY_ENTRIES_MAX: usize = 1 << 20;
const HEADER_ENTRIES_MAX: usize = 16_384;
