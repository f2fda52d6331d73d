//! The roles of this process, started in order and stopped in reverse.
//!
//! ```text
//! node (journal) ─► registry ─► authority ─┐
//!                └► follower of another ───┴─► gateway ─► listeners
//! ```
//!
//! One journal serves all roles of a process: a node has one log.

mod approvals;
mod bundles;
mod clock_steps;
mod egress;
mod embedded;
mod erasures;
mod follow;
mod guards;
mod lease;
mod listeners;
pub(crate) mod node;
mod observed;
mod registry;
mod replays;
pub(crate) mod retention;
mod seen;
mod server_keys;
mod shipping;
mod tls;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use attorn_authority::Authority;
use attorn_egress::Egress;
use attorn_enforce::{Freshness, SILENT_MAX};
use attorn_gateway::{ApprovalDesk, Gateway, ToolObserver};
use attorn_net::{Client, ClientConfig, Clock, Shutdown, serve};
use attorn_oauth::resource::IssuerUrl;
use attorn_registry::{Published, Snapshot, SnapshotParts};
use attorn_replay::SharedReplays;
use attorn_store::Mark;
use attorn_telemetry::{ObservationService, Shipping, Telemetry};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::Failure;
use crate::outside::{causes, system_clock, system_random};

use self::follow::{Follower, Kept};
use self::lease::LeaseFile;
use self::listeners::Listeners;
use self::node::{Node, log_name};
use self::observed::Observed;
use self::registry::Registry;
use self::server_keys::ServerKeys;
use self::tls::ProcessTls;

/// Running roles.
#[derive(Debug)]
pub(crate) struct World {
    config: Config,
    issuer: String,
    node: Node,
    own: Option<Own>,
    shutdown: Shutdown,
    serving: JoinSet<()>,
    encrypted: bool,
}

/// An authority in this process.
#[derive(Debug)]
struct Own {
    registry: Registry,
    authority: Authority,
}

/// What a gateway is given by its authority, wherever that is.
struct Followed {
    published: Arc<Published>,
    freshness: Arc<Freshness>,
    observer: ToolObserver,
    approvals: Arc<dyn ApprovalDesk>,
}

impl World {
    /// Starts every role the config names.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        #[cfg(feature = "planted")]
        crate::planted::verify_loopback(&config)?;
        // Ports first: a second process must not touch the state of a running one.
        let mut tls = ProcessTls::new(&config)?;
        let listeners = Listeners::bind(&config, &mut tls).await?;
        let (shutdown, mut serving) = (Shutdown::new(), JoinSet::new());
        let encrypted = listeners.is_encrypted();
        let connections = listeners.connections();
        let Observed { telemetry, exporter } = Observed::new(&config)?;
        // One clock for all roles: they see the same step of it.
        let clock = system_clock();
        let (node, own, followed, issuer) = if config.authority.is_some() {
            let (node, own) =
                start_authority(&config, (&tls, &clock), &shutdown, &telemetry).await?;
            let followed = own.followed(&node, &config, &mut serving, &shutdown)?;
            let issuer = config.authority.as_ref().map(|own| own.issuer.clone());
            (node, Some(own), followed, issuer.unwrap_or_default())
        } else {
            let (node, followed, issuer) =
                start_following(&config, &clock, &mut serving, &shutdown).await?;
            (node, None, followed, issuer)
        };
        serving.spawn(clock_steps::mark(clock.clone(), node.journal.clone(), shutdown.clone()));
        witnesses::start(&config, &node.journal, (&mut serving, &shutdown), &telemetry)?;
        let published = Arc::clone(&followed.published);
        serving.spawn(erasures::follow(node.payloads.clone(), published, shutdown.clone()));
        observed::watch(&telemetry, &node.journal, &followed, connections);
        let (limits, stop) = (config.listen.limits(), || shutdown.clone());
        let shared_replays = replays::start(&config, &shutdown)?;
        let guarded = (&followed, shared_replays.clone(), &telemetry, &clock);
        for guard in guards::start(&config, &issuer, &node, guarded, listeners.guards)? {
            serving.spawn(guard.serve(limits, stop()));
        }
        if let (Some(own), Some(public), Some(admin)) = (&own, listeners.authority, listeners.admin)
        {
            serving.spawn(serve(public, own.authority.public_service(), limits, stop()));
            serving.spawn(serve(admin, own.authority.admin_service(), limits, stop()));
        }
        if let (Some(gateway), Some(listener)) = (&config.gateway, listeners.gateway) {
            let published = Arc::clone(&followed.published);
            let asks = tls.methods().certificates;
            let ways = (&telemetry, &clock);
            let running = (&mut serving, &shutdown);
            let authority = own.as_ref().map(|own| &own.authority);
            let of = (&node, &followed, authority);
            let egress = egress::start(&config, &issuer, of, ways, running).await?;
            let gateway = (gateway, asks, shared_replays, egress);
            let seen = (followed, &telemetry, clock.clone());
            let gateway = start_gateway(gateway, &issuer, &node, seen, &shutdown)?;
            serving.spawn(gateway.serve(listener, limits, stop()));
            serving.spawn(seen::list_new_servers(published, gateway, stop()));
        }
        let told = (&telemetry, &mut serving);
        let shipping = shipping::start(&config, (&node, &clock), told, stop).await?;
        if let Some(keep_days) = config.journal.keep_days {
            let kept = move || shipping.iter().map(Shipping::next).min();
            let of = (node.journal.clone(), node.payloads.clone());
            serving.spawn(retention::follow(of, keep_days, kept, stop()));
        }
        serving.spawn(tls.bundles.clone().follow(node.journal.clone(), stop()));
        serving.spawn(tls.follow(node.journal.clone(), stop()));
        if let Some(listener) = listeners.metrics {
            let service = ObservationService::new(telemetry);
            serving.spawn(serve(listener, service, limits, stop()));
        }
        if let Some(exporter) = exporter {
            serving.spawn(exporter.run(stop()));
        }
        Ok(Self { config, issuer, node, own, shutdown, serving, encrypted })
    }

    /// A one-time code for the first administrator, without serving anything.
    pub(crate) async fn first_admin_code(config: Config) -> Result<Zeroizing<String>, Failure> {
        let shutdown = Shutdown::new();
        let (tls, telemetry) = (ProcessTls::none(), Telemetry::default());
        let with = (&tls, &system_clock());
        let (node, own) = start_authority(&config, with, &shutdown, &telemetry).await?;
        let code = own.authority.first_operator_code().await;
        shutdown.start();
        close(node, Some(own)).await;
        let code = code.map_err(|e| Failure::usage(causes(&e)))?.ok_or_else(|| {
            Failure::no("an administrator is enrolled already")
                .next("attorn agent register NAME --owner OWNER --operator")
        })?;
        Ok(Zeroizing::new(code.into_text()))
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn admin_url(&self) -> &str {
        self.config.authority.as_ref().map_or("", |authority| &authority.admin_url)
    }

    pub(crate) fn gateway_url(&self) -> &str {
        self.config.gateway.as_ref().map_or("", |gateway| gateway.public_url.as_str())
    }

    /// The URL of the one API that a guard stands in front of.
    pub(crate) fn api_resource(&self) -> &str {
        self.config.guard.first().map_or("", |guard| guard.public_url.as_str())
    }

    /// The resource identifier of a server.
    pub(crate) fn resource(&self, server: &str) -> String {
        let gateway = self.config.gateway.as_ref();
        gateway.map_or_else(String::new, |gateway| gateway.public_url.resource(server))
    }

    /// What a person wants to know at the start.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!("state      {}", self.config.state.display())];
        if self.own.is_some() {
            lines.push(format!("authority  {}", self.issuer));
            lines.push(format!("admin API  {}", self.admin_url()));
        } else {
            lines.push(format!("follows    {}", self.issuer));
        }
        if self.config.gateway.is_some() {
            lines.push(format!("gateway    {}", self.gateway_url()));
        }
        for guard in &self.config.guard {
            lines.push(format!("guard      {} on {}", guard.public_url.as_str(), guard.listen));
        }
        let keys = self.node.journal.keys().iter();
        lines.extend(keys.map(|key| format!("log key    {}", key.to_vkey())));
        if let Some(metrics) = self.config.listen.metrics {
            lines.push(format!("metrics    http://{metrics}/metrics"));
        }
        if !self.encrypted {
            lines.push("plain HTTP: the listeners are on loopback and speak no TLS".to_owned());
        }
        lines
    }

    /// Lets running requests finish, then closes the journal.
    pub(crate) async fn stop(mut self) {
        self.shutdown.start();
        while self.serving.join_next().await.is_some() {}
        self.last_outcomes().await;
        close(self.node, self.own).await;
    }

    /// A call that the stop cut off records its outcome in a task of its own: the journal stays
    /// open until nothing comes any more.
    async fn last_outcomes(&self) {
        let mut size = self.node.journal.size();
        for _ in 0..OUTCOME_PAUSES_MAX {
            tokio::time::sleep(OUTCOME_PAUSE).await;
            let grown = self.node.journal.size();
            if std::mem::replace(&mut size, grown) == grown {
                return;
            }
        }
    }
}

impl Own {
    /// What the gateway of the same process follows: there is nothing to be cut off from.
    fn followed(
        &self,
        node: &Node,
        config: &Config,
        serving: &mut JoinSet<()>,
        shutdown: &Shutdown,
    ) -> Result<Followed, Failure> {
        let (store, journal) = (&self.registry.store, &node.journal);
        let published = self.authority.published();
        let observer = seen::observer(store, journal, &self.authority);
        if config.gateway.is_some() {
            let keys = ServerKeys::open(&config.state, store, journal, &self.authority)?;
            serving.spawn(keys.follow(Arc::clone(&published), shutdown.clone()));
        }
        let approvals = approvals::beside(&self.authority);
        Ok(Followed { published, freshness: Arc::new(Freshness::own()), observer, approvals })
    }
}

async fn start_authority(
    config: &Config,
    (tls, clock): (&ProcessTls, &Clock),
    shutdown: &Shutdown,
    telemetry: &Telemetry,
) -> Result<(Node, Own), Failure> {
    let missing = || Failure::usage("this configuration has no `[authority]`");
    let authority = config.authority.clone().ok_or_else(missing)?;
    let name = log_name(&authority.issuer, "node", "1");
    let node = Node::open(config, &name, clock).await?;
    let registry = Registry::open(config).await?;
    let parts = attorn_authority::Parts {
        config: authority,
        store: registry.store.clone(),
        index: registry.index.clone(),
        journal: node.journal.clone(),
        payloads: node.payloads.clone(),
        published: Arc::new(Published::new(Snapshot::new(SnapshotParts::default()))),
        clock: clock.clone(),
        random: system_random(),
        keys_folder: config.state.join("keys"),
        methods: tls.methods(),
        trust_domains: tls.trust_domains.clone(),
        shutdown: shutdown.clone(),
        telemetry: telemetry.clone(),
    };
    let authority = Authority::start(parts).await.map_err(|e| Failure::usage(causes(&e)))?;
    Ok((node, Own { registry, authority }))
}

/// A gateway or guard alone. It starts without its authority, and refuses everything until it heard it.
async fn start_following(
    config: &Config,
    clock: &Clock,
    serving: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<(Node, Followed, String), Failure> {
    let missing = || Failure::usage("this configuration has no `[follow]`");
    let follow = config.follow.as_ref().ok_or_else(missing)?;
    let profile = follow::load_profile(&follow.profile)?;
    let issuer = profile.identity.issuer.clone();
    let role = if config.gateway.is_some() { "gateway" } else { "guard" };
    let name = log_name(&issuer, role, &profile.identity.name);
    let node = Node::open(config, &name, clock).await?;
    let mark = Mark::open(config.state.join("registry.mark"));
    let mark = mark.map_err(|e| Failure::usage(causes(&e)))?;
    let published = Arc::new(Published::new(Snapshot::new(SnapshotParts::default())));
    let freshness = Arc::new(Freshness::followed(SILENT_MAX));
    let (observer, seen) = seen::reporter();
    serving.spawn(follow::report(profile.clone(), seen, shutdown.clone()));
    let (of_follower, heard) = (Arc::clone(&published), Arc::clone(&freshness));
    let lease = LeaseFile::open(config.state.join("gateway.lease"));
    let lease = lease.map_err(|e| Failure::usage(causes(&e)))?;
    let kept = Kept { mark, lease, journal: node.journal.clone() };
    let approvals = approvals::elsewhere(profile.clone());
    let follower = Follower::new(profile, of_follower, heard, kept);
    serving.spawn(follower.run(shutdown.clone()));
    Ok((node, Followed { published, freshness, observer, approvals }, issuer))
}

fn start_gateway(
    (config, client_certificates, shared_replays, egress): (
        &attorn_gateway::Config,
        bool,
        Option<SharedReplays>,
        Option<Egress>,
    ),
    issuer: &str,
    node: &Node,
    (followed, telemetry, clock): (Followed, &Telemetry, Clock),
    shutdown: &Shutdown,
) -> Result<Gateway, Failure> {
    let client = Client::new(ClientConfig { http2: true, ..ClientConfig::default() })
        .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))?;
    let issuer = IssuerUrl::parse(issuer)
        .map_err(|e| Failure::usage(format!("the issuer `{issuer}`: {e}")))?;
    let mut config = config.clone();
    config.child_environment = child_environment();
    let parts = attorn_gateway::Parts {
        config,
        issuer,
        client_certificates,
        published: followed.published,
        freshness: followed.freshness,
        journal: node.journal.clone(),
        payload_key: node.payload_key.clone(),
        payloads: node.payloads.clone(),
        egress,
        shared_replays,
        clock,
        random: system_random(),
        client,
        tool_observer: followed.observer,
        approvals: followed.approvals,
        telemetry: telemetry.clone(),
    };
    Gateway::start(parts, shutdown.clone()).map_err(|e| Failure::usage(causes(&e)))
}

/// Writes the last checkpoint and closes the files.
async fn close(node: Node, own: Option<Own>) {
    let registry = own.map(|Own { registry, authority }| {
        drop(authority);
        registry
    });
    node.journal.close().await;
    if let Some(registry) = registry {
        registry.store.close().await;
    }
}

/// What the children of stdio servers see of our environment, beside what is registered for them.
fn child_environment() -> BTreeMap<String, String> {
    let names = attorn_gateway::Config::CHILD_VARIABLES.into_iter();
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

const OUTCOME_PAUSE: Duration = Duration::from_millis(100);
const OUTCOME_PAUSES_MAX: usize = 10;
