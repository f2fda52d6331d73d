//! The gateway as a whole: what it is made of, and how it starts.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use attorn_audit::digest::PayloadKey;
use attorn_egress::Egress;
use attorn_enforce::Freshness;
use attorn_enforce::view::Views;
use attorn_journal::Journal;
use attorn_net::{Client, Clock, Limits, Listener, Random, Shutdown};
use attorn_oauth::dpop::NonceKey;
use attorn_oauth::resource::IssuerUrl;
use attorn_payloads::SealedPayloads;
use attorn_registry::{Class, LifeCycle, Published};
use attorn_replay::SharedReplays;
use attorn_telemetry::{Exposition, Telemetry, families};
use tokio::task::JoinSet;

use crate::approvals::ApprovalDesk;
use crate::budget::Budgets;
use crate::catalogue::ToolObserver;
use crate::config::Config;
use crate::cursor::CursorKey;
use crate::front::Names;
use crate::held::HeldBytes;
use crate::limits::Throttle;
use crate::possession::Possession;
use crate::record::Recorder;
use crate::resting::Resting;
use crate::servers::{Behind, Servers};
use crate::service::GatewayService;
use crate::sessions::Sessions;
use crate::tokens::Tokens;
use crate::upstream::UpstreamFailure;

/// What a gateway is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its part of the configuration.
    pub config: Config,
    /// The one issuer whose tokens count.
    pub issuer: IssuerUrl,
    /// Whether the listener asks for client certificates, so that tokens can be bound to them.
    pub client_certificates: bool,
    /// The registry as it is now.
    pub published: Arc<Published>,
    /// How long ago `published` was heard to be so.
    pub freshness: Arc<Freshness>,
    /// Where intents, refusals and outcomes go.
    pub journal: Journal,
    /// The memory of used proofs that it shares with other gateways, if there is one.
    pub shared_replays: Option<SharedReplays>,
    /// The key under which arguments and results are recorded as digests.
    pub payload_key: PayloadKey,
    /// The way out of the servers, where any has one.
    pub egress: Option<Egress>,
    /// Where arguments and results are sealed, if they are to be.
    pub payloads: SealedPayloads,
    /// Wall time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Reaches the servers.
    pub client: Client,
    /// Hears of tools the registry does not know as they are.
    pub tool_observer: ToolObserver,
    /// Where it asks about calls that need a person.
    pub approvals: Arc<dyn ApprovalDesk>,
    /// Where it counts and tells.
    pub telemetry: Telemetry,
}

/// A running gateway. Clones are the same gateway.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

/// The shared parts of a gateway.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) issuer: IssuerUrl,
    pub(crate) client_certificates: bool,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) names: Names,
    pub(crate) views: Views,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) tokens: Tokens,
    pub(crate) possession: Possession,
    pub(crate) throttle: Throttle,
    pub(crate) held: HeldBytes,
    pub(crate) telemetry: Telemetry,
    pub(crate) cursors: CursorKey,
    pub(crate) sessions: Sessions,
    pub(crate) resting: Resting,
    pub(crate) servers: Servers,
    pub(crate) recorder: Recorder,
    pub(crate) egress: Option<Egress>,
    pub(crate) budgets: Budgets,
    pub(crate) observer: ToolObserver,
    pub(crate) approvals: Arc<dyn ApprovalDesk>,
    // Tasks that need the whole gateway find it here.
    itself: std::sync::Weak<Self>,
}

/// Why a gateway does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The cryptographic library refused a key of the right length.
    #[error("the library refuses its keys")]
    Key,
}

impl Gateway {
    /// Starts a gateway. It asks every active server for its tools in the background, again and
    /// again until `shutdown`; call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when a key cannot be used.
    pub fn start(parts: Parts, shutdown: Shutdown) -> Result<Self, StartError> {
        let Parts {
            config,
            issuer,
            client_certificates,
            published,
            journal,
            payload_key,
            payloads,
            egress,
            shared_replays,
            clock,
            random,
            client,
            telemetry,
            ..
        } = parts;
        let nonce_key = NonceKey::new(&random.bytes()).map_err(|_| StartError::Key)?;
        let cursors = CursorKey::new(&random.bytes()).map_err(|_| StartError::Key)?;
        let throttle = Throttle::new(&config.limits, shared_replays.clone(), &published);
        let possession = Possession::new(nonce_key, shared_replays, clock.now_s(), random.clone());
        let inner = Arc::new_cyclic(|itself| Inner {
            names: Names::new(&config),
            views: Views::new(published),
            freshness: parts.freshness,
            tokens: Tokens::new(issuer.as_str().to_owned(), clock.clone()),
            possession,
            throttle,
            held: HeldBytes::new(config.limits.held_body_bytes),
            cursors,
            sessions: Sessions::new(config.session_idle_s),
            resting: Resting::default(),
            servers: Servers::new(
                client,
                config.clone(),
                (telemetry.calls.clone(), egress.clone()),
            ),
            budgets: Budgets::new(journal.clone()),
            recorder: Recorder::sealing(journal, clock.clone(), (payload_key, payloads)),
            egress,
            observer: parts.tool_observer,
            approvals: parts.approvals,
            telemetry: telemetry.clone(),
            config,
            issuer,
            client_certificates,
            clock,
            random,
            itself: itself.clone(),
        });
        let looked_at = Arc::downgrade(&inner);
        telemetry.add_source(move |out| {
            looked_at.upgrade().iter().for_each(|gateway| gateway.collect(out));
        });
        drop(tokio::spawn(keep_house(Arc::clone(&inner), shutdown)));
        Ok(Self(inner))
    }

    /// Serves all servers behind this gateway until `shutdown`.
    ///
    /// Boxed here, so that the HTTP code around each call is compiled with this crate's optimisation
    /// and not with that of the program that starts it.
    pub fn serve(
        &self,
        listener: Listener,
        limits: Limits,
        shutdown: Shutdown,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(attorn_net::serve(listener, self.service(), limits, shutdown))
    }

    /// The HTTP service of all servers behind this gateway.
    pub fn service(&self) -> GatewayService {
        GatewayService::new(Arc::clone(&self.0))
    }

    /// Asks the server of this name for its tools now.
    ///
    /// # Errors
    /// [`ListError`] when there is no such server, or it does not answer.
    pub async fn list_tools(&self, server: &str) -> Result<(), ListError> {
        let view = self.0.views.current();
        let server = view.server(server).ok_or(ListError::ServerUnknown)?;
        let behind = self.0.servers.behind(server).ok_or(ListError::ServerUnknown)?;
        self.0.learn(&behind).await.map_err(|_failure| ListError::Unreachable)?;
        let _first = behind.first_seen.set(()).is_ok();
        self.0.seen_older(&behind).await;
        Ok(())
    }
}

/// Why a server's tools could not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No server of that name is behind this gateway.
    #[error("no such server")]
    ServerUnknown,
    /// It does not answer, or not in MCP.
    #[error("the server cannot be reached")]
    Unreachable,
}

impl Inner {
    fn collect(&self, out: &mut Exposition) {
        let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        out.sample(&families::SESSIONS, &[], whole(self.sessions.count()));
        let remembered = whole(self.possession.remembered());
        out.sample(&families::REPLAYS, &[("role", "gateway")], remembered);
        if let Some(is_shared) = self.possession.is_shared() {
            out.sample(&families::REPLAYS_SHARED, &[], u64::from(is_shared));
        }
    }

    /// Asks a server anew, in the background. However often it says that it changed, one listing
    /// runs and one waits: a peer must not make the gateway ask, and record, without end.
    pub(crate) fn relist(&self, behind: &Arc<Behind>) {
        if behind.relist_wanted.swap(true, Ordering::AcqRel) {
            return;
        }
        let (Some(gateway), behind) = (self.itself.upgrade(), Arc::clone(behind)) else { return };
        drop(tokio::spawn(async move {
            let _alone = behind.relisting.lock().await;
            // From here on a change may be missed by this listing, and wants another.
            behind.relist_wanted.store(false, Ordering::Release);
            let _learned = gateway.learn(&behind).await.is_ok();
            tokio::time::sleep(RELIST_PAUSE).await;
        }));
    }
}

impl Inner {
    /// Looks at a server again when the last look is old, before a tool of it is called. What
    /// writes waits for the look, so that it never passes under a definition that changed before
    /// it; what reads does not, and the look that it causes counts for the next call.
    pub(crate) async fn look_before_call(
        &self,
        behind: &Arc<Behind>,
        class: Class,
        now_s: u64,
    ) -> Result<(), UpstreamFailure> {
        if behind.looked_since(now_s.saturating_sub(self.config.call_look_s.get())) {
            return Ok(());
        }
        match class {
            Class::Read => {
                self.relist(behind);
                Ok(())
            }
            Class::Write | Class::Irreversible => {
                let _alone = behind.looking.lock().await;
                // Somebody else may have looked meanwhile.
                if behind.looked_since(now_s) {
                    return Ok(());
                }
                self.learn(behind).await
            }
        }
    }
}

/// Lists every active server at once and at intervals, and lets unused sessions go.
async fn keep_house(gateway: Arc<Inner>, shutdown: Shutdown) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = gateway.config.relist_s.jittered(gateway.random.bytes());
        let served = gateway.servers.forget_unserved(&gateway.views.current().snapshot);
        gateway.sessions.close_unused(&served, gateway.clock.now_s());
        list_all(&gateway).await;
    }
}

async fn list_all(gateway: &Arc<Inner>) {
    let mut listing = JoinSet::new();
    let view = gateway.views.current();
    for server in view.snapshot.servers().filter(|server| server.state == LifeCycle::Active) {
        while listing.len() >= LISTED_AT_ONCE {
            let _listed = listing.join_next().await;
        }
        let (gateway, server) = (Arc::clone(gateway), server.clone());
        listing.spawn(async move { list_one(&gateway, &server).await });
    }
    while listing.join_next().await.is_some() {}
}

async fn list_one(gateway: &Inner, server: &attorn_registry::McpServer) {
    let Some(behind) = gateway.servers.behind(server) else { return };
    let listed = if behind.was_listed() {
        gateway.learn(&behind).await
    } else {
        gateway.seen_server(server).await.map(drop)
    };
    gateway.seen_older(&behind).await;
    if let Err(failure) = listed {
        tracing::warn!(server = %server.name, %failure, "the tools could not be listed");
    }
}

const LISTED_AT_ONCE: usize = 16;
const RELIST_PAUSE: Duration = Duration::from_secs(1);
