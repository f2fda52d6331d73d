//! What every endpoint of the authority works with, and the two effects they share: recording and
//! publishing.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use attorn_audit::{Decision, Entry, Kind};
use attorn_jose::HeaderCache;
use attorn_journal::{Durability, Journal, JournalUnavailable};
use attorn_net::{Clock, Peer, Random};
use attorn_oauth::evidence::EvidenceKey;
use attorn_oauth::jwt_svid::Holders;
use attorn_oauth::metadata::ClientMethods;
use attorn_oauth::nonce::NonceKey;
use attorn_oauth::replay::ReplaySet;
use attorn_payloads::SealedPayloads;
use attorn_policy::{PolicyErrors, PolicySet};
use attorn_registry::{DecisionId, Published, ReasonCode, SnapshotDelta};
use attorn_store::index::AuditIndex;
use attorn_store::{Act, Failure, InForce, Mark, Store, StoreError};
use attorn_telemetry::Telemetry;
use http::request::Parts;
use tokio::sync::watch;

use crate::client::ClientKeys;
use crate::ended::Uses;
use crate::followers::Followers;
use crate::keys::{KeyError, KeyRing};
use crate::leases::LeaseSeal;
use crate::limits::Throttle;
use crate::news::next_snapshot;
use crate::noise::Noise;
use crate::people::People;
use crate::places::Places;
use crate::trusted_issuers::TrustedIssuers;
use crate::turns::Turns;
use crate::{Config, TrustDomains};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) index: AuditIndex,
    pub(crate) journal: Journal,
    pub(crate) payloads: SealedPayloads,
    pub(crate) published: Arc<Published>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) keys: KeyRing,
    pub(crate) leases: LeaseSeal,
    pub(crate) nonces: NonceKey,
    /// With what the gateway of the same process says what it knows of its calls.
    pub(crate) evidence: EvidenceKey,
    /// The policies in force, compiled.
    pub(crate) policies: ArcSwap<PolicySet>,
    pub(crate) client_keys: ClientKeys,
    /// How clients may authenticate, as the listeners allow.
    pub(crate) methods: ClientMethods,
    /// Whose JWT-SVIDs count, and with which key each was used first.
    pub(crate) trust_domains: TrustDomains,
    pub(crate) svid_holders: Holders,
    /// Proofs and assertions that were used.
    pub(crate) replays: ReplaySet,
    pub(crate) header_cache: HeaderCache,
    /// One change at a time: what is checked against a snapshot must still hold when it is stored.
    pub(crate) turns: Turns,
    /// One plan of a file at a time: each keeps the registry to itself while it lasts.
    pub(crate) planning: tokio::sync::Mutex<()>,
    /// One snapshot at a time, so that a slow one cannot undo the keys or policies of a newer one.
    pub(crate) publishing: tokio::sync::Mutex<()>,
    pub(crate) noise: Noise,
    pub(crate) uses: Uses,
    pub(crate) places: Places,
    /// Gateways in processes of their own.
    pub(crate) followers: Followers,
    /// The version in force, for those who wait for the next one.
    pub(crate) versions: watch::Sender<u64>,
    /// What led to the version in force, so that it is not read again for each gateway.
    pub(crate) last_delta: ArcSwapOption<SnapshotDelta>,
    pub(crate) mark: Mark,
    pub(crate) throttle: Throttle,
    /// What people need; absent where nobody logs in.
    pub(crate) people: Option<People>,
    /// Whose assertions are taken.
    pub(crate) trusted_issuers: TrustedIssuers,
    pub(crate) telemetry: Telemetry,
    /// One indexer at a time.
    pub(crate) indexing: tokio::sync::Mutex<()>,
}

/// Proof that an entry is in the journal. Only [`Shared::record`] makes one.
#[derive(Debug)]
#[must_use]
pub(crate) struct Recorded(());

/// A picture of the registry that cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The signing keys do not fit the registry.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// How far the registry got cannot be noted beside it.
    #[error("cannot note how far the registry got")]
    Mark(#[source] std::io::Error),
    /// The policies in the registry do not compile.
    #[error("the policies in the registry do not compile")]
    Policies(#[from] PolicyErrors),
    /// The registry cannot be read.
    #[error("the registry cannot be read")]
    Store(#[from] StoreError),
}

impl From<Failure> for PublishError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

impl Shared {
    /// An entry of this role.
    pub(crate) fn entry(&self, kind: Kind, now_ms: u64) -> Entry {
        Entry { role: Some(ROLE.to_owned()), ..Entry::new(kind, now_ms) }
    }

    /// As [`Shared::entry`], with the address the request came from, and the listed proxy there: an
    /// investigator asks for it.
    pub(crate) fn entry_from(&self, head: &Parts, kind: Kind, now_ms: u64) -> Entry {
        let mut entry = self.entry(kind, now_ms);
        let Some(peer) = head.extensions.get::<Peer>() else { return entry };
        entry.detail.insert("peer".to_owned(), peer.address.ip().to_string());
        let proxy = peer.proxy.as_ref().map(|proxy| ("proxy".to_owned(), proxy.to_string()));
        let refused = peer.client_cert.err();
        let refused = refused.map(|refusal| ("client_cert".to_owned(), refusal.to_string()));
        entry.detail.extend(proxy.into_iter().chain(refused));
        entry
    }

    /// Records an entry on the disk. What it announces may happen only afterwards.
    pub(crate) async fn record(&self, entry: &Entry) -> Result<Recorded, JournalUnavailable> {
        self.journal.append(entry.to_canonical(), Durability::Fsync).await?;
        Ok(Recorded(()))
    }

    /// Records an entry that nothing depends on but the trail: a refusal, or something looked at.
    /// It has left the process when this returns.
    pub(crate) async fn note(&self, entry: &Entry) -> Result<Recorded, JournalUnavailable> {
        self.journal.append(entry.to_canonical(), Durability::Written).await?;
        Ok(Recorded(()))
    }

    /// Records a refusal that anybody can cause; beyond a rate it is only counted.
    pub(crate) async fn note_refusal(
        &self,
        entry: Entry,
        reason: ReasonCode,
    ) -> Result<(), JournalUnavailable> {
        match self.denied(entry, reason) {
            Some(entry) => self.note(&entry).await.map(|_recorded| ()),
            None => Ok(()),
        }
    }

    /// As [`Shared::note_refusal`], where the answer must not tell that there is an entry: not by
    /// its time, and not by failing.
    pub(crate) fn note_aside(&self, entry: Entry, reason: ReasonCode) {
        let Some(entry) = self.denied(entry, reason) else { return };
        if let Err(error) = self.journal.append_unawaited(entry.to_canonical()) {
            tracing::warn!(%error, reason = reason.as_str(), "an attempt is not recorded");
        }
    }

    /// The entry of a refusal, unless there were too many of its kind just now.
    fn denied(&self, mut entry: Entry, reason: ReasonCode) -> Option<Entry> {
        entry.decision = Some(Decision::Deny);
        entry.reason = Some(reason.as_str().to_owned());
        let suppressed = self.noise.admit(reason, entry.time_ms / 1000)?;
        if suppressed > 0 {
            entry.detail.insert("suppressed".to_owned(), suppressed.to_string());
        }
        Some(entry)
    }

    /// Records something that was noticed and changes nothing. Does not wait.
    pub(crate) fn event(&self, entry: &Entry) {
        if let Err(error) = self.journal.append_unawaited(entry.to_canonical()) {
            tracing::error!(kind = %entry.kind, %error, "an event is not recorded");
        }
    }

    /// Records that somebody takes away what is their own, or what they were given. Works while the journal
    /// refuses all else, but in a part of what is kept free: the rest is for operators.
    pub(crate) async fn record_own(&self, entry: &Entry) -> Result<Recorded, JournalUnavailable> {
        self.journal.append_own(entry.to_canonical()).await?;
        Ok(Recorded(()))
    }

    /// Records an entry of an operator that takes rights away; works while the journal refuses all else.
    pub(crate) async fn record_emergency(
        &self,
        entry: &Entry,
    ) -> Result<Recorded, JournalUnavailable> {
        self.journal.append_emergency(entry.to_canonical()).await?;
        Ok(Recorded(()))
    }

    /// Records entries in their order. All of them are on the disk when this returns; after an error
    /// some may be.
    pub(crate) async fn record_all(&self, entries: &[Entry]) -> Result<(), JournalUnavailable> {
        let Some((last, before)) = entries.split_last() else { return Ok(()) };
        for entry in before {
            self.note(entry).await.map(|_recorded| ())?;
        }
        // What came before it is on the disk with it.
        self.record(last).await.map(|_recorded| ())
    }

    /// Puts the registry as it is now in force.
    pub(crate) async fn publish(&self) -> Result<(), PublishError> {
        let _alone = self.publishing.lock().await;
        let now_ms = self.clock.now_ms();
        let now = self.published.load();
        let (snapshot, delta) = next_snapshot(&self.store, &now, now_ms).await?;
        self.keys.load(&snapshot.issuer_keys)?;
        if self.policies.load().version() != snapshot.policy.version {
            self.policies.store(Arc::new(PolicySet::compile(&snapshot.policy)?));
        }
        let in_force = InForce { version: snapshot.version, epoch: snapshot.epoch };
        // Before it is in force: what anybody may know of is in the mark, or a backup of the moment
        // before would not be found. Where the mark cannot be written a lock holds all the same, and
        // its caller is told that it is not confirmed.
        let marked = self.mark.raise(in_force);
        self.published.publish(snapshot);
        self.followers.note_published(in_force.version, now_ms);
        self.last_delta.store(delta.map(Arc::new));
        self.versions.send_if_modified(|version| {
            let is_new = *version != in_force.version;
            *version = in_force.version;
            is_new
        });
        marked.map_err(PublishError::Mark)
    }

    /// Ends one token before its time, everywhere at once.
    pub(crate) async fn revoke_token(
        &self,
        act: &Act<'_>,
        jti: &str,
        expires_s: u64,
    ) -> Result<(), PublishError> {
        let _alone = self.turns.next().await;
        self.store.revoke_token(act, jti, expires_s).await?;
        self.publish().await
    }

    pub(crate) fn new_decision_id(&self) -> DecisionId {
        DecisionId::from_random(&self.random.bytes())
    }

    /// A nonce for the next proof of a client: RFC 9449 section 8.
    pub(crate) fn new_nonce(&self) -> String {
        self.nonces.mint(self.clock.now_s(), &self.random.bytes())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The role of this process in its entries.
const ROLE: &str = "authority";
