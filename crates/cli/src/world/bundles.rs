//! Trust bundles of SPIFFE trust domains that come from bundle endpoints: SPIFFE Federation section 5.
//!
//! Implemented: the profile `https_web` (section 5.2.1), refreshed by the bundle's own hint within
//! bounds. The last good bundle counts on while the endpoint is not there, for a bounded time, and
//! then none does. Not implemented: the profile `https_spiffe` (section 5.2.2); a bundle is not kept
//! over a restart, so until the endpoint was asked nobody vouches for the domain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_journal::{Durability, Journal};
use attorn_net::{Client, ClientConfig, Roots, Shutdown};
use attorn_oauth::spiffe_bundle::SpiffeBundle;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock;
use crate::config;
use crate::exit::Failure;
use crate::files;
use crate::outside::causes;

/// The bundles that were fetched, by trust domain. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Bundles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    endpoints: Vec<Endpoint>,
    held: Mutex<HashMap<String, Held>>,
    again: Notify,
}

/// Where the bundle of one domain comes from.
#[derive(Clone, Debug)]
struct Endpoint {
    trust_domain: String,
    url: String,
    age_max_s: u64,
    client: Client,
}

/// The last good bundle of one domain.
#[derive(Clone, Debug)]
struct Held {
    bundle: SpiffeBundle,
    /// Counts up with every bundle that differs.
    number: u64,
    fetched_s: u64,
    age_max_s: u64,
}

impl Held {
    fn counts_at(&self, now_s: u64) -> bool {
        now_s.saturating_sub(self.fetched_s) <= self.age_max_s
    }
}

impl Bundles {
    /// Reads whom the endpoints are trusted by; nothing is fetched yet.
    pub(super) fn new(domains: &[config::TrustDomain]) -> Result<Self, Failure> {
        let mut endpoints = Vec::new();
        for domain in domains {
            let Some(url) = domain.bundle_endpoint.clone() else { continue };
            // SPIFFE Federation section 5.2.1.4: Web PKI, or the authorities that were agreed on.
            let roots = match &domain.bundle_endpoint_roots {
                Some(path) => Roots::Pem(files::read_text(path)?),
                None => Roots::Public,
            };
            let body_timeout = Some(FETCH_WITHIN);
            let client = Client::new(ClientConfig { roots, body_timeout, ..Default::default() })
                .map_err(|e| {
                    Failure::usage(causes(&e)).next("see [[tls.spiffe]] in attorn.toml")
                })?;
            let (trust_domain, age_max_s) = (domain.trust_domain.clone(), domain.bundle_age_max_s);
            endpoints.push(Endpoint { trust_domain, url, age_max_s, client });
        }
        Ok(Self(Arc::new(Inner { endpoints, ..Inner::default() })))
    }

    /// The bundle of a domain and its number, while it counts.
    pub(super) fn current(&self, trust_domain: &str, now_s: u64) -> Option<(u64, SpiffeBundle)> {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get(trust_domain).filter(|held| held.counts_at(now_s))?;
        Some((held.number, held.bundle.clone()))
    }

    /// Has every endpoint asked now.
    pub(super) fn ask_again(&self) {
        self.0.again.notify_waiters();
    }

    /// Asks the endpoints again and again until `shutdown`.
    pub(super) async fn follow(self, journal: Journal, shutdown: Shutdown) {
        let mut following = JoinSet::new();
        for endpoint in self.0.endpoints.clone() {
            following.spawn(self.clone().follow_one(endpoint, journal.clone()));
        }
        shutdown.started().await;
        following.shutdown().await;
    }

    async fn follow_one(self, endpoint: Endpoint, journal: Journal) {
        let mut is_well = true;
        loop {
            let again = self.0.again.notified();
            let fetched = fetch(&endpoint).await;
            let hint_s = fetched.as_ref().ok().map(|bundle| bundle.refresh_hint_s);
            let kept = fetched.and_then(|bundle| self.keep(&endpoint, bundle, clock::now_s()));
            if let Err(what) = &kept {
                let what = format!("the bundle of {}: {what}", endpoint.trust_domain);
                tracing::error!(%what, "the bundle stays as it was until it is too old");
                // The first of several failures is enough for the record.
                if is_well {
                    note(&journal, what).await;
                }
            }
            is_well = kept.is_ok();
            let pause_s = match hint_s {
                Some(hint_s) if is_well => pause_s(hint_s, endpoint.age_max_s),
                Some(_) | None => pause_s(Some(0), endpoint.age_max_s),
            };
            tokio::select! {
                () = again => {}
                () = tokio::time::sleep(Duration::from_secs(pause_s)) => {}
            }
        }
    }

    /// Puts a bundle in the place of the last one, unless it is older.
    fn keep(&self, endpoint: &Endpoint, bundle: SpiffeBundle, now_s: u64) -> Result<(), String> {
        let mut all = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&endpoint.trust_domain);
        // Trust Domain and Bundle section 4.1.1: a number that goes back is an old bundle, which may
        // hold what was taken away since. What does not count any more is no measure.
        let known =
            before.filter(|held| held.counts_at(now_s)).and_then(|held| held.bundle.sequence);
        if known.is_some_and(|known| bundle.sequence.is_none_or(|new| new < known)) {
            return Err("it is older than the one in force".to_owned());
        }
        let number = match before {
            Some(held) if held.bundle == bundle && held.counts_at(now_s) => held.number,
            Some(held) => held.number + 1,
            None => 0,
        };
        let held = Held { bundle, number, fetched_s: now_s, age_max_s: endpoint.age_max_s };
        all.insert(endpoint.trust_domain.clone(), held);
        Ok(())
    }
}

/// SPIFFE Federation section 7.5.1: redirects are not followed, so a URL names one server.
async fn fetch(endpoint: &Endpoint) -> Result<SpiffeBundle, String> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = endpoint.url.parse().map_err(|_| "it has no address".to_owned())?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let answer = endpoint.client.send_within(request, FETCH_WITHIN).await;
    let answer = answer.map_err(|e| causes(&e))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("its endpoint answered {}", answer.status()));
    }
    let body = answer.into_body().bytes(BUNDLE_BYTES_MAX).await.map_err(|e| causes(&e))?;
    let bundle = SpiffeBundle::parse(&body).map_err(|e| e.to_string())?;
    // What another domain publishes must not stop the reloads of our own trust.
    if !attorn_net::are_authorities(&bundle.x509_authorities) {
        return Err("a certificate in it is none of an authority".to_owned());
    }
    Ok(bundle)
}

/// Trust Domain and Bundle section 4.1.2: as often as the bundle says, but not all the time, and often
/// enough that a few attempts can fail before it is too old.
fn pause_s(hint_s: Option<u64>, age_max_s: u64) -> u64 {
    let longest = (age_max_s / 4).clamp(1, LONGEST_S);
    hint_s.unwrap_or(USUAL_S).clamp(SHORTEST_S.min(longest), longest)
}

async fn note(journal: &Journal, what: String) {
    let mut entry = Entry::new(Kind::TlsReloadRefused, clock::now_ms());
    entry.role = Some("node".to_owned());
    entry.detail.insert("error".to_owned(), what);
    if let Err(error) = journal.append(entry.to_canonical(), Durability::Written).await {
        tracing::error!(%error, "a failed fetch could not be recorded");
    }
}

const FETCH_WITHIN: Duration = Duration::from_secs(10);
const BUNDLE_BYTES_MAX: usize = 1 << 20;
const SHORTEST_S: u64 = 30;
/// SPIFFE Federation section 5.1 leaves it open; five minutes is what others do.
const USUAL_S: u64 = 300;
const LONGEST_S: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(sequence: Option<u64>, authority: u8) -> SpiffeBundle {
        let x509_authorities = vec![vec![authority]];
        SpiffeBundle { sequence, x509_authorities, ..SpiffeBundle::default() }
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            trust_domain: "example.org".to_owned(),
            url: String::new(),
            age_max_s: 100,
            client: Client::new(ClientConfig::default()).unwrap(),
        }
    }

    #[test]
    fn a_bundle_counts_for_a_bounded_time() {
        let bundles = Bundles::default();
        let number = |now_s| bundles.current("example.org", now_s).map(|(number, _)| number);
        assert_eq!(number(0), None);
        bundles.keep(&endpoint(), bundle(None, 1), 1000).unwrap();
        assert_eq!((number(1000), number(1100), number(1101)), (Some(0), Some(0), None));
        assert!(bundles.current("example.com", 1000).is_none());
        // The same again lasts longer; another one is another one, as is one that counts again.
        bundles.keep(&endpoint(), bundle(None, 1), 1100).unwrap();
        assert_eq!(number(1101), Some(0));
        bundles.keep(&endpoint(), bundle(None, 2), 1102).unwrap();
        assert_eq!(number(1102), Some(1));
        bundles.keep(&endpoint(), bundle(None, 2), 1300).unwrap();
        assert_eq!(number(1300), Some(2));
    }

    #[test]
    fn an_older_bundle_is_refused_while_the_newer_one_counts() {
        let bundles = Bundles::default();
        bundles.keep(&endpoint(), bundle(Some(5), 1), 1000).unwrap();
        bundles.keep(&endpoint(), bundle(Some(5), 1), 1001).unwrap();
        for older in [Some(4), None] {
            assert!(bundles.keep(&endpoint(), bundle(older, 2), 1002).is_err());
        }
        assert_eq!(bundles.current("example.org", 1002).unwrap().1, bundle(Some(5), 1));
        bundles.keep(&endpoint(), bundle(Some(6), 2), 1002).unwrap();
        bundles.keep(&endpoint(), bundle(Some(1), 3), 2000).unwrap();
    }

    #[test]
    fn the_hint_is_followed_within_bounds() {
        let day_s = 86_400;
        assert_eq!(pause_s(None, day_s), 300);
        assert_eq!(pause_s(Some(600), day_s), 600);
        assert_eq!(pause_s(Some(0), day_s), 30);
        assert_eq!(pause_s(Some(u64::MAX), day_s), 3600);
        assert_eq!(pause_s(Some(600), 80), 20);
        assert_eq!(pause_s(None, 1), 1);
    }
}
