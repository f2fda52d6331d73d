//! The keys of another issuer: fetched by URL, kept for minutes, asked for again when a token names
//! one that is new.
//!
//! Implemented: RFC 7517 sets with the rules of `attorn_oauth::trusted_keys`; rotation by `kid`
//! (OpenID Connect Core 1.0 section 10.1.1); one question at a time, and one in half a minute however
//! many unknown keys are named. Not implemented: `Cache-Control` of the answer. Sets in files are in
//! `trusted_issuers`.
//!
//! The issuer, its algorithms and its hosts are the operator's word. A key counts for the issuer
//! whose set it is in, and for no other: each trusted issuer has an [`IssuerKeys`] of its own.

mod fetch;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use attorn_jose::{Algorithm, Compact, JwkError, PublicKey, Verified};
use attorn_oauth::trusted_keys::{JWKS_BYTES_MAX, KeyRefusal, LeftOut, NoKey, TrustedKeys};

pub use fetch::{FetchRefusal, IssuerClientError};
pub(crate) use fetch::{IssuerClient, is_plain_json};

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    client: Arc<IssuerClient>,
    algorithms: Vec<Algorithm>,
    state: Mutex<State>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// When the issuer was asked last, whatever it said.
    asked_s: Option<u64>,
}

/// A set as it was fetched.
#[derive(Clone, Debug)]
struct Kept {
    url: String,
    keys: Arc<TrustedKeys>,
    fetched_s: u64,
    /// Counts up with every answer.
    number: u64,
}

/// Why a token is not known to be from the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureRefusal {
    /// By no key that the issuer has now.
    #[error("the token is by no key of its issuer")]
    Key(#[from] NoKey),
    /// The key of that name did not sign it, or with another algorithm.
    #[error("the signature of the token does not hold")]
    Signature,
    /// The keys cannot be had, which is not the fault of the token.
    #[error("the keys of the issuer cannot be had at the moment")]
    Unavailable,
}

impl IssuerKeys {
    /// The keys of an issuer. Nothing is asked yet. A key of another algorithm than these counts for
    /// nothing.
    pub(crate) fn new(client: Arc<IssuerClient>, algorithms: &[Algorithm]) -> Self {
        Self {
            client,
            algorithms: algorithms.to_vec(),
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Verifies the signature of a token under the keys at `url`. What the token says is for the
    /// caller to judge, its issuer first.
    pub(crate) async fn verify<'t>(
        &self,
        url: &str,
        token: Compact<'t>,
        now_s: u64,
    ) -> Result<Verified<'t>, SignatureRefusal> {
        let key = self.key_of(url, &token, now_s).await?;
        token.verify(&key).map_err(|_| SignatureRefusal::Signature)
    }

    async fn key_of(
        &self,
        url: &str,
        token: &Compact<'_>,
        now_s: u64,
    ) -> Result<PublicKey, SignatureRefusal> {
        let kept = self.current(url, now_s).await?;
        match kept.keys.find(token.header()) {
            Ok(key) => Ok(key.clone()),
            // A name that is not in the set may be newer than the set.
            Err(NoKey::Unknown) => {
                let newer = self.newer(url, kept, now_s).await;
                Ok(newer.keys.find(token.header())?.clone())
            }
            Err(NoKey::Unnamed) => Err(NoKey::Unnamed.into()),
        }
    }

    /// The set of the last minutes; asks where there is none.
    async fn current(&self, url: &str, now_s: u64) -> Result<Kept, SignatureRefusal> {
        if let Some(kept) = self.kept(url, KEEP_S, now_s) {
            return Ok(kept);
        }
        let _alone = self.asking.lock().await;
        // Whoever was before us may have asked.
        if let Some(kept) = self.kept(url, KEEP_S, now_s) {
            return Ok(kept);
        }
        if self.asked_before(RETRY_S, now_s) {
            self.ask(url, now_s).await;
        }
        // Where the issuer is down, its keys of a moment ago count.
        self.kept(url, STALE_MAX_S, now_s).ok_or(SignatureRefusal::Unavailable)
    }

    /// A set that is newer than `known`, if the issuer may be asked for one and has one.
    async fn newer(&self, url: &str, known: Kept, now_s: u64) -> Kept {
        let _alone = self.asking.lock().await;
        let is_known = |kept: &Kept| kept.number == known.number;
        let is_still = self.kept(url, STALE_MAX_S, now_s).is_none_or(|kept| is_known(&kept));
        if is_still && self.asked_before(COOL_DOWN_S, now_s) {
            self.ask(url, now_s).await;
        }
        self.kept(url, STALE_MAX_S, now_s).unwrap_or(known)
    }

    async fn ask(&self, url: &str, now_s: u64) {
        // Before the question: one that is given up half-way was asked all the same.
        self.locked().asked_s = Some(now_s);
        let document = match self.client.document(url, JWKS_BYTES_MAX).await {
            Ok(document) => document,
            Err(error) => return tracing::warn!(url, %error, "the keys of an issuer are not read"),
        };
        match TrustedKeys::parse(&document, &self.algorithms) {
            Ok((keys, left_out)) => {
                left_out.iter().for_each(|left_out| tell(url, left_out));
                let mut state = self.locked();
                let number = state.kept.as_ref().map_or(0, |kept| kept.number + 1);
                let (url, keys) = (url.to_owned(), Arc::new(keys));
                state.kept = Some(Kept { url, keys, fetched_s: now_s, number });
            }
            Err(error) => tracing::warn!(url, %error, "the keys of an issuer are not usable"),
        }
    }

    fn kept(&self, url: &str, age_max_s: u64, now_s: u64) -> Option<Kept> {
        let kept = self.locked().kept.clone().filter(|kept| kept.url == url)?;
        age(kept.fetched_s, now_s).is_some_and(|age_s| age_s < age_max_s).then_some(kept)
    }

    /// Whether the last question is at least so old.
    fn asked_before(&self, pause_s: u64, now_s: u64) -> bool {
        let asked_s = self.locked().asked_s;
        asked_s.and_then(|asked_s| age(asked_s, now_s)).is_none_or(|age_s| age_s >= pause_s)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago something was. What lies ahead of a clock that was set back is of no known age.
const fn age(then_s: u64, now_s: u64) -> Option<u64> {
    now_s.checked_sub(then_s)
}

/// Whether a set has such a key for another purpose. A weak one is not usual.
pub(crate) const fn is_usual(why: &KeyRefusal) -> bool {
    match why {
        KeyRefusal::Algorithm(_)
        | KeyRefusal::Jwk(
            JwkError::AlgorithmMismatch | JwkError::Curve | JwkError::KeyType | JwkError::Usage,
        ) => true,
        KeyRefusal::Duplicate
        | KeyRefusal::Jwk(
            JwkError::Coordinate
            | JwkError::Json(_)
            | JwkError::Point
            | JwkError::PrivateMember
            | JwkError::RsaWeak
            | JwkError::Shape,
        ) => false,
    }
}

fn tell(url: &str, left_out: &LeftOut) {
    let LeftOut { kid, why } = left_out;
    if is_usual(why) {
        tracing::debug!(url, ?kid, %why, "a key of an issuer is left out");
    } else {
        tracing::warn!(url, ?kid, %why, "a key of an issuer is left out");
    }
}

/// A key that the issuer took out of its set counts no longer than this.
const KEEP_S: u64 = 300;
/// Where the issuer does not answer, its keys of the last quarter of an hour count.
const STALE_MAX_S: u64 = 900;
/// Between two questions because of a name that is not known.
const COOL_DOWN_S: u64 = 30;
/// Between two questions while the issuer does not answer.
const RETRY_S: u64 = 5;
