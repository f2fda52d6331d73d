//! The way out as a whole: what it is made of, and how it starts.

use std::fmt;
use std::sync::Arc;

use attorn_connect::World;
use attorn_connect::exchange::{Exchanger, ServerIdentity};
use attorn_enforce::Freshness;
use attorn_enforce::record::Recorder;
use attorn_net::{Client, Clock, Random};
use attorn_oauth::evidence::EvidenceKey;
use attorn_registry::{McpServer, Published, ServerId, Snapshot};
use attorn_telemetry::Telemetry;
use tokio::sync::Semaphore;
use url::Url;

use crate::calls::Calls;
use crate::config::Config;
use crate::lane::{Current, Lanes};
use crate::secret::Secret;
use crate::service::EgressService;
use crate::walk::By;

/// What it is made of.
#[derive(Debug)]
pub struct Parts {
    /// Which server reaches which API, how, and with what: it trusts the authorities of the rule.
    pub rules: Vec<(Config, Client)>,
    /// The one issuer.
    pub issuer: String,
    /// The registry as it is now.
    pub published: Arc<Published>,
    /// How long ago `published` was heard to be so.
    pub freshness: Arc<Freshness>,
    /// Where intents, refusals and outcomes go.
    pub recorder: Recorder,
    /// The keys that stand for servers.
    pub keys: Keys,
    /// With what it tells the authority which calls were approved, and which certificates they came
    /// with.
    pub evidence: EvidenceKey,
    /// Wall time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Where it counts.
    pub telemetry: Telemetry,
}

/// The private keys that this process holds in the name of servers.
#[derive(Clone)]
pub struct Keys(Arc<dyn FindKey>);

/// How a key is found.
trait FindKey: Send + Sync {
    fn find(&self, server: &McpServer) -> Option<ServerIdentity>;
}

impl<F> FindKey for F
where
    F: Fn(&McpServer) -> Option<ServerIdentity> + Send + Sync,
{
    fn find(&self, server: &McpServer) -> Option<ServerIdentity> {
        self(server)
    }
}

impl Keys {
    /// `find` gives the active key of a server, and blocks for a moment.
    pub fn new(
        find: impl Fn(&McpServer) -> Option<ServerIdentity> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }

    pub(crate) fn find(&self, server: &McpServer) -> Option<ServerIdentity> {
        self.0.find(server)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// The way out of every server of this process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Egress(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) published: Arc<Published>,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) recorder: Recorder,
    pub(crate) keys: Keys,
    pub(crate) calls: Calls,
    pub(crate) evidence: EvidenceKey,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) telemetry: Telemetry,
}

/// One way: from a server to an API.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) config: Config,
    /// Reaches the API.
    pub(crate) client: Client,
    /// Reaches the issuer.
    pub(crate) exchanger: Exchanger,
    pub(crate) secret: Secret,
    /// Requests under way: their bodies are in memory.
    pub(crate) places: Semaphore,
}

/// Why there is no way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The issuer has no token endpoint below it.
    #[error("the issuer `{0}` is no URL")]
    Issuer(String),
    /// A key has no source, or two.
    #[error("the key of `{0}` comes from `file` or from `command`, and from one of them")]
    Key(String),
    /// A rule is no way in.
    #[error("the egress of `{0}` has neither `listen` nor `variable`")]
    NoWay(String),
    /// A listener that others could reach.
    #[error("the egress of `{0}` listens off loopback, where anybody could ask in its name")]
    OffLoopback(String),
}

impl Egress {
    /// Starts nothing but what is asked for: see [`Egress::listeners`] and [`Egress::lanes`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(parts: Parts) -> Result<Self, StartError> {
        for (rule, _client) in &parts.rules {
            verify(rule)?;
        }
        let endpoint = format!("{}/token", parts.issuer.trim_end_matches('/'));
        let endpoint =
            Url::parse(&endpoint).map_err(|_| StartError::Issuer(parts.issuer.clone()))?;
        let rule = |(config, client): (Config, Client)| {
            let (clock, random) = (parts.clock.clone(), parts.random.clone());
            let world = World { client: client.clone(), clock, random };
            let exchanger = Exchanger::new(world, parts.issuer.clone(), endpoint.clone());
            let (secret, places) = (Secret::default(), Semaphore::new(PLACES));
            Arc::new(Rule { config, client, exchanger, secret, places })
        };
        Ok(Self(Arc::new(Inner {
            rules: parts.rules.into_iter().map(rule).collect(),
            published: parts.published,
            freshness: parts.freshness,
            recorder: parts.recorder,
            keys: parts.keys,
            calls: Calls::default(),
            evidence: parts.evidence,
            clock: parts.clock,
            random: parts.random,
            telemetry: parts.telemetry,
        })))
    }

    /// The calls that something can be asked for.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Whether a server has a way out at all.
    #[must_use]
    pub fn is_of(&self, server: &McpServer) -> bool {
        self.0.rules.iter().any(|rule| rule.config.server == server.name.as_str())
    }

    /// The addresses of servers that pass their trace context on, each with what is served there.
    #[must_use]
    pub fn listeners(&self) -> Vec<(std::net::SocketAddr, EgressService)> {
        let listening = |rule: &Arc<Rule>| {
            let service = EgressService::new(Arc::clone(&self.0), Arc::clone(rule), By::Trace);
            let address = rule.config.listen?;
            Some((address, service.at(address)))
        };
        self.0.rules.iter().filter_map(listening).collect()
    }

    /// The ways out of the children of a server, if it has any.
    #[must_use]
    pub fn lanes(&self, server: &ServerId) -> Option<Lanes> {
        let any = self.rules_of(server).any(|rule| rule.config.variable.is_some());
        any.then(|| Lanes { egress: self.clone(), server: server.clone() })
    }

    pub(crate) fn of_children(
        &self,
        server: &ServerId,
        current: &Current,
    ) -> Vec<(String, EgressService)> {
        let with_variable = |rule: &Arc<Rule>| {
            let by = By::Child(current.clone());
            let service = EgressService::new(Arc::clone(&self.0), Arc::clone(rule), by);
            Some((rule.config.variable.clone()?, service))
        };
        self.rules_of(server).filter_map(with_variable).collect()
    }

    fn rules_of(&self, server: &ServerId) -> impl Iterator<Item = &Arc<Rule>> {
        let snapshot = self.0.published.load();
        let name = snapshot.server(server).map(|server| server.name.as_str().to_owned());
        self.0.rules.iter().filter(move |rule| name.as_deref() == Some(rule.config.server.as_str()))
    }
}

impl Rule {
    /// The server as it is registered now.
    pub(crate) fn server<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s McpServer> {
        snapshot.server_named(&self.config.server)
    }
}

/// Requests under way from one server to one API.
const PLACES: usize = 64;

fn verify(rule: &Config) -> Result<(), StartError> {
    let name = || rule.server.clone();
    if rule.listen.is_none() && rule.variable.is_none() {
        return Err(StartError::NoWay(name()));
    }
    if rule.listen.is_some_and(|address| !address.ip().is_loopback()) {
        return Err(StartError::OffLoopback(name()));
    }
    match &rule.key {
        Some(key) if key.file.is_some() == key.command.is_some() => Err(StartError::Key(name())),
        Some(_) | None => Ok(()),
    }
}
