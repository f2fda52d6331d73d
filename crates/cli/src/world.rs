//! The roles of this process, started in order and stopped in reverse.
//!
//! ```text
//! state (registry, journal, index) ─► authority ─► gateway ─► listeners
//! ```
//!
//! One journal serves all roles of a process: a node has one log.

mod embedded;
mod listeners;
mod seen;
mod server_keys;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use attorn_authority::Authority;
use attorn_gateway::{Gateway, ToolObserver};
use attorn_net::{Client, ClientConfig, Limits, Shutdown, serve};
use attorn_oauth::resource::IssuerUrl;
use attorn_registry::{Published, Snapshot, SnapshotParts};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::Failure;
use crate::outside::{causes, system_clock, system_random};

use self::listeners::Listeners;
use self::server_keys::ServerKeys;
use self::state::State;

/// Running roles.
#[derive(Debug)]
pub(crate) struct World {
    config: Config,
    state: State,
    authority: Authority,
    shutdown: Shutdown,
    serving: JoinSet<()>,
    encrypted: bool,
}

impl World {
    /// Starts every role the config names.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        // Ports first: a second process must not touch the state of a running one.
        let listeners = Listeners::bind(&config).await?;
        let state = State::open(&config.state, &config.authority.issuer).await?;
        let shutdown = Shutdown::new();
        let published = Arc::new(Published::new(Snapshot::new(SnapshotParts::default())));
        let authority = start_authority(&config, &state, &published, &shutdown).await?;
        let seen = seen::observer(&state, &authority);
        let server_keys = ServerKeys::open(&config.state, &state, &authority)?;
        let gateway = start_gateway(&config, &state, &published, seen, &shutdown)?;
        let encrypted = listeners.gateway.is_encrypted();
        let mut serving = JoinSet::new();
        let (limits, stop) = (Limits::default(), || shutdown.clone());
        serving.spawn(serve(listeners.authority, authority.public_service(), limits, stop()));
        serving.spawn(serve(listeners.admin, authority.admin_service(), limits, stop()));
        serving.spawn(serve(listeners.gateway, gateway.service(), limits, stop()));
        serving.spawn(seen::list_new_servers(Arc::clone(&published), gateway, stop()));
        serving.spawn(server_keys.follow(published, stop()));
        Ok(Self { config, state, authority, shutdown, serving, encrypted })
    }

    /// A one-time code for the first administrator, without serving anything.
    pub(crate) async fn first_admin_code(config: Config) -> Result<Zeroizing<String>, Failure> {
        let state = State::open(&config.state, &config.authority.issuer).await?;
        let shutdown = Shutdown::new();
        let published = Arc::new(Published::new(Snapshot::new(SnapshotParts::default())));
        let authority = start_authority(&config, &state, &published, &shutdown).await?;
        let code = authority.first_operator_code().await;
        shutdown.start();
        drop(authority);
        state.close().await;
        let code = code.map_err(|e| Failure::usage(causes(&e)))?.ok_or_else(|| {
            Failure::no("an administrator is enrolled already")
                .next("attorn agent register NAME --owner OWNER --operator")
        })?;
        Ok(Zeroizing::new(code.into_text()))
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.authority.issuer
    }

    pub(crate) fn admin_url(&self) -> &str {
        &self.config.authority.admin_url
    }

    pub(crate) fn gateway_url(&self) -> &str {
        self.config.gateway.public_url.as_str()
    }

    /// The resource identifier of a server.
    pub(crate) fn resource(&self, server: &str) -> String {
        self.config.gateway.public_url.resource(server)
    }

    /// What a person wants to know at the start.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut lines = vec![
            format!("state      {}", self.config.state.display()),
            format!("authority  {}", self.issuer()),
            format!("admin API  {}", self.admin_url()),
            format!("gateway    {}", self.gateway_url()),
        ];
        let keys = self.state.journal.keys().iter();
        lines.extend(keys.map(|key| format!("log key    {}", key.to_vkey())));
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
        drop(self.authority);
        self.state.close().await;
    }

    /// A call that the stop cut off records its outcome in a task of its own: the journal stays
    /// open until nothing comes any more.
    async fn last_outcomes(&self) {
        let mut size = self.state.journal.size();
        for _ in 0..OUTCOME_PAUSES_MAX {
            tokio::time::sleep(OUTCOME_PAUSE).await;
            let grown = self.state.journal.size();
            if std::mem::replace(&mut size, grown) == grown {
                return;
            }
        }
    }
}

async fn start_authority(
    config: &Config,
    state: &State,
    published: &Arc<Published>,
    shutdown: &Shutdown,
) -> Result<Authority, Failure> {
    let parts = attorn_authority::Parts {
        config: config.authority.clone(),
        store: state.store.clone(),
        index: state.index.clone(),
        journal: state.journal.clone(),
        published: Arc::clone(published),
        clock: system_clock(),
        random: system_random(),
        keys_folder: config.state.join("keys"),
        shutdown: shutdown.clone(),
    };
    Authority::start(parts).await.map_err(|e| Failure::usage(causes(&e)))
}

fn start_gateway(
    config: &Config,
    state: &State,
    published: &Arc<Published>,
    tool_observer: ToolObserver,
    shutdown: &Shutdown,
) -> Result<Gateway, Failure> {
    let client = Client::new(ClientConfig::default())
        .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))?;
    let issuer = IssuerUrl::parse(&config.authority.issuer)
        .map_err(|e| Failure::usage(format!("`authority.issuer`: {e}")))?;
    let mut gateway = config.gateway.clone();
    gateway.child_environment = child_environment();
    let parts = attorn_gateway::Parts {
        config: gateway,
        issuer,
        published: Arc::clone(published),
        journal: state.journal.clone(),
        payload_key: state.payload_key.clone(),
        clock: system_clock(),
        random: system_random(),
        client,
        tool_observer,
    };
    Gateway::start(parts, shutdown.clone()).map_err(|e| Failure::usage(causes(&e)))
}

/// What the children of stdio servers see of our environment, beside what is registered for them.
fn child_environment() -> BTreeMap<String, String> {
    let names = attorn_gateway::Config::CHILD_VARIABLES.into_iter();
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

const OUTCOME_PAUSE: Duration = Duration::from_millis(100);
const OUTCOME_PAUSES_MAX: usize = 10;
