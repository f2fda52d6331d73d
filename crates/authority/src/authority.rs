//! The running authority: its parts, its start, its services.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use attorn_jose::HeaderCache;
use attorn_journal::Journal;
use attorn_net::{Clock, Random, Shutdown};
use attorn_oauth::evidence::EvidenceKey;
use attorn_oauth::jwt_svid::Holders;
use attorn_oauth::metadata::ClientMethods;
use attorn_oauth::nonce::NonceKey;
use attorn_oauth::replay::ReplaySet;
use attorn_oauth::resource::{IssuerUrl, ResourceIndicator, UrlRefusal};
use attorn_payloads::SealedPayloads;
use attorn_policy::PolicySet;
use attorn_registry::{
    ApprovalAnswer, ApprovalCall, ApprovalId, AskedCall, PolicySource, Published, ReasonCode,
};
use attorn_store::index::AuditIndex;
use attorn_store::{Failure, Mark, MarkError, Store, StoreError};
use attorn_telemetry::{Telemetry, families};

use crate::admin::{AdminService, Asking, Refusal};
use crate::client::ClientKeys;
use crate::code::EnrolmentCode;
use crate::config::{Config, ConfigRefusal};
use crate::ended::Uses;
use crate::followers::Followers;
use crate::keys::{KeyError, KeyRing};
use crate::leases::LeaseSeal;
use crate::limits::Throttle;
use crate::noise::Noise;
use crate::people::{ClientsRefusal, LoginRefusal, People, Provider};
use crate::places::Places;
use crate::public::PublicService;
use crate::rotation::RotationError;
use crate::shared::{PublishError, Shared};
use crate::trusted_issuers::{TrustedIssuers, TrustedIssuersRefusal};
use crate::turns::Turns;
use crate::{TrustDomains, bootstrap, indexer, refresh, restored};

/// What an authority is made of.
#[derive(Debug)]
pub struct Parts {
    /// The authority's part of the configuration.
    pub config: Config,
    /// The registry.
    pub store: Store,
    /// The search index over the journal; rebuilt from it when lost.
    pub index: AuditIndex,
    /// Where everything is recorded.
    pub journal: Journal,
    /// Where this process seals arguments and results.
    pub payloads: SealedPayloads,
    /// Where snapshots are put in force.
    pub published: Arc<Published>,
    /// Wall time.
    pub clock: Clock,
    /// Random bytes.
    pub random: Random,
    /// The folder of the signing keys.
    pub keys_folder: PathBuf,
    /// How clients may authenticate, as the listeners allow.
    pub methods: ClientMethods,
    /// Whose JWT-SVIDs count.
    pub trust_domains: TrustDomains,
    /// Ends the tasks of the authority.
    pub shutdown: Shutdown,
    /// Where it counts and tells.
    pub telemetry: Telemetry,
}

/// A running authority.
#[derive(Clone, Debug)]
pub struct Authority {
    shared: Arc<Shared>,
    issuer: IssuerUrl,
    admin_resource: ResourceIndicator,
}

/// Approvals can be neither looked at nor used now.
#[derive(Debug, thiserror::Error)]
#[error("approvals cannot be used: {0}")]
pub struct ApprovalsUnavailable(String);

impl From<Refusal> for ApprovalsUnavailable {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.message())
    }
}

impl From<PublishError> for ApprovalsUnavailable {
    fn from(error: PublishError) -> Self {
        Self(error.to_string())
    }
}

/// Why an authority does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Clients of people cannot be served as configured.
    #[error("`[authority.clients]`: {0}")]
    Clients(#[from] ClientsRefusal),
    /// The configuration is not one to start with.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// The journal cannot take an entry.
    #[error("the journal cannot take an entry")]
    Journal(#[from] attorn_journal::JournalUnavailable),
    /// People cannot log in at the provider as configured.
    #[error("`[authority.login]`: {0}")]
    Login(#[from] LoginRefusal),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The mark beside the registry cannot be used.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// A name of our own is not one; never happens.
    #[error("a built-in name is not a name")]
    Name(attorn_registry::NameError),
    /// The random source gave no usable key.
    #[error("the key for nonces cannot be made")]
    NonceKey,
    /// The registry cannot be put in force.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The registry cannot be read or written.
    #[error("the registry cannot be read or written")]
    Store(#[from] StoreError),
    /// Other issuers cannot be trusted as configured.
    #[error("`[[authority.trusted_issuers]]`: {0}")]
    TrustedIssuers(#[from] TrustedIssuersRefusal),
    /// A URL of the configuration is not canonical.
    #[error("a url of the configuration is not canonical")]
    Url(#[from] UrlRefusal),
}

impl Authority {
    /// Starts the authority: seeds an empty registry, puts it in force, and follows its changes.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        parts.config.verify()?;
        let issuer = IssuerUrl::parse(&parts.config.issuer)?;
        let admin_resource = ResourceIndicator::parse(&parts.config.admin_resource())?;
        let nonces = NonceKey::new(&parts.random.bytes()).map_err(|_| StartError::NonceKey)?;
        let keys = KeyRing::open(parts.keys_folder.clone())?;
        let people = people(&parts.config, &parts.random)?;
        let (issuers, own) = (&parts.config.trusted_issuers, &parts.config.issuer);
        let trusted_issuers = TrustedIssuers::new(issuers, own, parts.clock.now_s())?;
        let shared = Arc::new(Shared {
            leases: LeaseSeal::new(keys.lease_key(&parts.random)?),
            keys,
            replays: ReplaySet::new(REPLAYS_MAX, parts.clock.now_s()),
            header_cache: HeaderCache::new(HEADERS_MAX),
            policies: ArcSwap::from_pointee(no_policies()?),
            client_keys: ClientKeys::default(),
            methods: parts.methods,
            trust_domains: parts.trust_domains,
            svid_holders: Holders::default(),
            turns: Turns::default(),
            planning: tokio::sync::Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            indexing: tokio::sync::Mutex::default(),
            followers: Followers::new(parts.clock.now_ms()),
            versions: tokio::sync::watch::Sender::new(0),
            last_delta: ArcSwapOption::empty(),
            mark: Mark::open(parts.keys_folder.with_file_name("registry.mark"))?,
            noise: Noise::default(),
            uses: Uses::default(),
            places: Places::default(),
            throttle: Throttle::new(&parts.config.limits),
            people,
            trusted_issuers,
            telemetry: parts.telemetry,
            nonces,
            evidence: EvidenceKey::new(&parts.random.bytes()),
            config: parts.config,
            store: parts.store,
            index: parts.index,
            payloads: parts.payloads,
            journal: parts.journal,
            published: parts.published,
            clock: parts.clock,
            random: parts.random,
        });
        restored::go_beyond(&shared).await?;
        let looked_at = Arc::downgrade(&shared);
        shared.telemetry.add_source(move |out| {
            if let Some(shared) = looked_at.upgrade() {
                let remembered = u64::try_from(shared.replays.len()).unwrap_or(u64::MAX);
                out.sample(&families::REPLAYS, &[("role", "authority")], remembered);
            }
        });
        bootstrap::seed(&shared).await?;
        shared.publish().await?;
        tokio::spawn(indexer::run(Arc::clone(&shared), parts.shutdown.clone()));
        tokio::spawn(refresh::run(Arc::clone(&shared), parts.shutdown));
        Ok(Self { shared, issuer, admin_resource })
    }

    /// The registry in force.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.shared.published)
    }

    /// The token endpoint and its company, for the public listener.
    #[must_use]
    pub fn public_service(&self) -> PublicService {
        PublicService::new(Arc::clone(&self.shared), &self.issuer)
    }

    /// The admin API, for a listener of its own.
    #[must_use]
    pub fn admin_service(&self) -> AdminService {
        AdminService::new(&self.shared, &self.issuer, &self.admin_resource)
    }

    /// A one-time code for the first operator; `None` once one is enrolled.
    ///
    /// Nothing else gives a first right, and no secret stays behind: the code ends after ten
    /// minutes, or with the enrolment, whichever is first. Asking again replaces it.
    ///
    /// # Errors
    /// When the registry or the journal cannot be written.
    pub async fn first_operator_code(&self) -> Result<Option<EnrolmentCode>, StartError> {
        bootstrap::first_operator_code(&self.shared).await
    }

    /// With what the way out of the same process says which of its calls were approved, and which
    /// certificates they came with. Nobody else has it, so nobody else can.
    #[must_use]
    pub fn evidence_key(&self) -> EvidenceKey {
        self.shared.evidence.clone()
    }

    /// Where a call stands that needs a person; asks for it if nobody did. For the gateway of the
    /// same process, which is named `gateway`.
    ///
    /// # Errors
    /// Nobody knows; the call is not made.
    pub async fn ask_approval(
        &self,
        gateway: &str,
        asked: AskedCall,
    ) -> Result<ApprovalAnswer, ApprovalsUnavailable> {
        let shared = &self.shared;
        let _alone = shared.turns.next().await;
        let asking = Asking { shared, gateway, now_ms: shared.clock.now_ms() };
        let answer = asking.ask(asked).await?;
        if answer.reason == ReasonCode::ApprovalRequired {
            shared.publish().await?;
        }
        Ok(answer)
    }

    /// Uses an approval up for one call. The inner error says why the call is not made.
    ///
    /// # Errors
    /// Nobody knows whether it was; the call is not made.
    pub async fn use_approval(
        &self,
        gateway: &str,
        (id, call): (&ApprovalId, &ApprovalCall),
        decision: &str,
    ) -> Result<Result<(), ReasonCode>, ApprovalsUnavailable> {
        let shared = &self.shared;
        let _alone = shared.turns.next().await;
        let asking = Asking { shared, gateway, now_ms: shared.clock.now_ms() };
        let used = asking.use_up(id, call, decision).await?;
        if used.is_ok() {
            shared.publish().await?;
        }
        Ok(used)
    }

    /// Puts the registry as it is now in force, after somebody else changed it.
    ///
    /// # Errors
    /// When the registry cannot be read or does not fit the signing keys.
    pub async fn publish(&self) -> Result<(), PublishError> {
        self.shared.publish().await
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

impl From<RotationError> for StartError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Keys(error) => Self::Keys(error),
            RotationError::Store(error) => Self::Store(error),
        }
    }
}

/// What people need, where they log in.
fn people(config: &Config, random: &Random) -> Result<Option<People>, StartError> {
    let provider = config.login.clone().map(Provider::new).transpose()?;
    match config.clients.clone() {
        Some(clients) => Ok(Some(People::new(clients, provider, (&config.issuer, random))?)),
        None if provider.is_some() => Err(LoginRefusal::ClientsMissing.into()),
        None => Ok(None),
    }
}

/// The empty set, which permits nothing; replaced before anything is served.
fn no_policies() -> Result<PolicySet, StartError> {
    let empty = PolicySource { version: u64::MAX, text: String::new() };
    PolicySet::compile(&empty).map_err(|errors| PublishError::Policies(errors).into())
}

/// Each entry is some 100 bytes and lives a minute: enough for 16,000 requests a second.
const REPLAYS_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 4096;
