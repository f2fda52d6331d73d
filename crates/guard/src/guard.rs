//! The guard as a whole: what it is made of, and how it starts.

use std::pin::Pin;
use std::sync::Arc;

use attorn_audit::digest::PayloadKey;
use attorn_enforce::Freshness;
use attorn_enforce::circuit::Circuit;
use attorn_enforce::proofs::Proofs;
use attorn_enforce::record::Recorder;
use attorn_enforce::view::Views;
use attorn_journal::Journal;
use attorn_net::{Client, Clock, Limits, Listener, Random, Shutdown};
use attorn_oauth::dpop::NonceKey;
use attorn_oauth::resource::IssuerUrl;
use attorn_registry::{Published, ServerId};
use attorn_replay::SharedReplays;
use attorn_telemetry::{Counter, Exposition, Telemetry, families};

use crate::config::{Api, Config};
use crate::layer::GuardLayer;
use crate::limits::Throttle;
use crate::service::GuardService;
use crate::upstream::Upstream;

/// What a guard is made of.
#[derive(Debug)]
pub struct Parts {
    /// What it enforces.
    pub api: Api,
    /// The one issuer whose tokens count.
    pub issuer: IssuerUrl,
    /// The registry as it is now.
    pub published: Arc<Published>,
    /// How long ago `published` was heard to be so.
    pub freshness: Arc<Freshness>,
    /// Where intents, refusals and outcomes go.
    pub journal: Journal,
    /// The key under which targets of requests are recorded as digests.
    pub payload_key: PayloadKey,
    /// The memory of used proofs that it shares with other guards of the API, if there is one.
    pub shared_replays: Option<SharedReplays>,
    /// Wall time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Where it counts.
    pub telemetry: Telemetry,
}

/// A running guard in front of one API. Clones are the same guard.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Inner>);

/// The shared parts of a guard.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) issuer: IssuerUrl,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) views: Views,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) proofs: Proofs,
    pub(crate) throttle: Throttle,
    /// Whether the API is left alone, and by whom.
    pub(crate) circuit: Arc<Circuit<ServerId>>,
    pub(crate) recorder: Recorder,
    pub(crate) telemetry: Telemetry,
    pub(crate) counted: Counted,
}

/// Requests of one API.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) permitted: Counter,
    pub(crate) refused: Counter,
}

/// Why a guard does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The cryptographic library refused a key of the right length.
    #[error("the library refuses its keys")]
    Key,
}

impl Guard {
    /// Starts a guard.
    ///
    /// # Errors
    /// [`StartError`] when a key cannot be used.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { api, issuer, clock, random, telemetry, .. } = parts;
        let nonce_key = NonceKey::new(&random.bytes()).map_err(|_| StartError::Key)?;
        let inner = Arc::new(Inner {
            views: Views::new(parts.published),
            freshness: parts.freshness,
            proofs: Proofs::new(nonce_key, parts.shared_replays, clock.now_s(), random.clone()),
            throttle: Throttle::new(&api.limits),
            circuit: Arc::new(Circuit::new(api.limits.circuit_failures)),
            recorder: Recorder::new(parts.journal, clock.clone(), parts.payload_key),
            counted: Counted::default(),
            telemetry: telemetry.clone(),
            api,
            issuer,
            clock,
            random,
        });
        let looked_at = Arc::downgrade(&inner);
        telemetry.add_source(move |out| {
            looked_at.upgrade().iter().for_each(|guard| guard.collect(out));
        });
        Ok(Self(inner))
    }

    /// The guard as an HTTP service that forwards to the API.
    #[must_use]
    pub fn service(&self, config: &Config, client: Client) -> GuardService {
        let upstream = Upstream::new(client, config.upstream.clone(), config.answer_within());
        GuardService::new(Arc::clone(&self.0), upstream)
    }

    /// The guard as a layer of a service in the same process, which then finds a
    /// [`crate::Caller`] in the extensions of every request it gets.
    #[must_use]
    pub fn layer(&self) -> GuardLayer {
        GuardLayer::new(Arc::clone(&self.0))
    }

    /// Serves an API behind this guard until `shutdown`.
    pub fn serve(
        &self,
        listener: Listener,
        service: GuardService,
        limits: Limits,
        shutdown: Shutdown,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(attorn_net::serve(listener, service, limits, shutdown))
    }
}

impl Inner {
    fn collect(&self, out: &mut Exposition) {
        let api = self.api.url.as_str();
        let Counted { permitted, refused } = &self.counted;
        for (decision, counter) in [("permit", permitted), ("deny", refused)] {
            let labels = [("resource", api), ("decision", decision)];
            out.sample(&families::ACCESSES, &labels, counter.count());
        }
        let is_open = u64::from(self.circuit.is_open());
        out.sample(&families::API_CIRCUIT_OPEN, &[("resource", api)], is_open);
    }
}
