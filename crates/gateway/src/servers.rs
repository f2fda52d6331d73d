//! The servers behind the gateway, as they were last seen.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use attorn_egress::Egress;
use attorn_jose::sha256;
use attorn_mcp::tool_definition::ToolDefinition;
use attorn_mcp::{ParamHeader, Revision};
use attorn_net::Client;
use attorn_registry::{LifeCycle, McpServer, ServerId, Snapshot, UpstreamSpec};
use attorn_telemetry::{CallMetrics, ServerMeter};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::catalogue::TOOLS_MAX;
use crate::config::Config;
use crate::door::Door;
use crate::http_upstream::HttpUpstream;
use crate::limits::Limits;
use crate::stdio::{ChildCommand, ChildLimits, StdioUpstream};
use crate::upstream::{Upstream, UpstreamSession};

/// One server: how it is reached and what it showed of itself.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) id: ServerId,
    /// Unlike any other registration of this or another server.
    pub(crate) serial: u64,
    pub(crate) upstream: Upstream,
    pub(crate) door: Arc<Door>,
    /// Set once the server was asked for its era and tools.
    pub(crate) first_seen: OnceCell<()>,
    /// Set once a server of both eras was also asked in the older one.
    pub(crate) older_seen: OnceCell<()>,
    /// The gateway's own session with a server of an older revision.
    pub(crate) own_session: ArcSwapOption<UpstreamSession>,
    seen: ArcSwap<Seen>,
    failed: Mutex<Option<Instant>>,
    /// Digests last reported, by name, as long as the registry may not know them.
    reported: Mutex<HashMap<String, [u8; 32]>>,
    /// Definitions by the SHA-256 of the page they were read from: a list is asked for far more
    /// often than it changes.
    pages: Mutex<HashMap<[u8; 32], Arc<Vec<ToolDefinition>>>>,
    spec: UpstreamSpec,
    last_id: AtomicU64,
    /// When a whole listing was asked for last that was answered, in Unix seconds.
    looked_s: AtomicU64,
    /// Held while the server is asked anew.
    pub(crate) relisting: tokio::sync::Mutex<()>,
    /// Held while a call waits for a look: those that wait for the same one look once.
    pub(crate) looking: tokio::sync::Mutex<()>,
    /// Somebody waits to ask anew; nobody else has to.
    pub(crate) relist_wanted: AtomicBool,
}

/// What a server showed of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) era: Era,
    tools: HashMap<String, SeenTool>,
    /// What a server of both eras lists in the older one, where it is not the same.
    older: HashMap<String, SeenTool>,
}

/// Which revisions a server speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Era {
    /// Only those with a handshake.
    #[default]
    Older,
    /// 2026-07-28; these are the revisions it names, as far as they are known here.
    Modern(Vec<Revision>),
}

/// A tool as the server defines it now.
#[derive(Clone, Debug)]
pub(crate) struct SeenTool {
    pub(crate) digest: [u8; 32],
    pub(crate) param_headers: Vec<ParamHeader>,
}

impl Behind {
    fn new(server: &McpServer, upstream: Upstream, door: Door, serial: u64) -> Self {
        Self {
            id: server.id.clone(),
            serial,
            upstream,
            door: Arc::new(door),
            first_seen: OnceCell::new(),
            older_seen: OnceCell::new(),
            own_session: ArcSwapOption::empty(),
            seen: ArcSwap::from_pointee(Seen::default()),
            failed: Mutex::new(None),
            reported: Mutex::default(),
            pages: Mutex::default(),
            spec: server.upstream.clone(),
            last_id: AtomicU64::new(0),
            looked_s: AtomicU64::new(0),
            relisting: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            relist_wanted: AtomicBool::new(false),
        }
    }

    /// Sessions that one client may have there: at a stdio server each is a child process.
    pub(crate) fn sessions_per_client_max(&self, limits: &Limits) -> usize {
        match self.upstream {
            Upstream::Http(_) => usize::MAX,
            Upstream::Stdio(_) => limits.stdio_sessions_per_client,
        }
    }

    /// An identifier for one request; never used again.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Whether the server ever showed itself.
    pub(crate) fn was_listed(&self) -> bool {
        self.first_seen.initialized()
    }

    /// Whether the last whole listing was asked for at this second or later.
    pub(crate) fn looked_since(&self, second: u64) -> bool {
        self.looked_s.load(Ordering::Relaxed) >= second
    }

    /// Notes when a listing that was answered was asked for.
    pub(crate) fn note_look(&self, asked_s: u64) {
        self.looked_s.fetch_max(asked_s, Ordering::Relaxed);
    }

    /// Takes a whole listing: tools it does not name are gone.
    pub(crate) fn replace_seen(&self, era: &Era, tools: &[ToolDefinition]) {
        self.seen.rcu(|old| {
            let older = if era.is_modern() { old.older.clone() } else { HashMap::new() };
            let mut seen = Seen { era: era.clone(), tools: HashMap::new(), older };
            seen.add(tools, true);
            seen
        });
    }

    /// Takes one page, or a listing in another era: what it does not name stays. `is_modern` is
    /// that of the revision it came in.
    pub(crate) fn add_seen(&self, tools: &[ToolDefinition], is_modern: bool) {
        let seen = self.seen();
        let known = |tool: &ToolDefinition| {
            seen.tool(&tool.name, is_modern).is_some_and(|known| known.digest == tool.digest)
        };
        if tools.iter().all(known) {
            return;
        }
        self.seen.rcu(|old| {
            let mut seen = Seen::clone(old);
            seen.add(tools, is_modern || !seen.era.is_modern());
            seen
        });
    }

    /// Whether the server failed to show itself a moment ago. Not every caller has to find out
    /// anew, one after the other.
    pub(crate) fn failed_lately(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < PAUSE)
    }

    /// The definitions on a page of a tool list; `read` reads them when they are not known.
    pub(crate) fn page(
        &self,
        text: &str,
        read: impl FnOnce() -> Vec<ToolDefinition>,
    ) -> Arc<Vec<ToolDefinition>> {
        let digest = sha256(text.as_bytes());
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pages.get(&digest) {
            return Arc::clone(known);
        }
        if pages.len() >= PAGES_MAX {
            pages.clear();
        }
        let tools = Arc::new(read());
        pages.insert(digest, Arc::clone(&tools));
        tools
    }

    /// Notes a definition that is being compared with the registry; says whether it looks other
    /// than when it was last reported.
    pub(crate) fn note_report(&self, tool: &ToolDefinition, is_known: bool) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let last = reported.get(&tool.name).copied();
        if last.is_some() || (!is_known && reported.len() < TOOLS_MAX) {
            reported.insert(tool.name.clone(), tool.digest);
        }
        last.is_some_and(|last| last != tool.digest)
    }

    pub(crate) fn note_failure(&self, failed: bool) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed.then(Instant::now);
    }
}

impl Seen {
    /// The tool as a client of this era is shown it: what its list holds back must not be called
    /// because the other era's list looks better.
    pub(crate) fn tool(&self, name: &str, is_modern: bool) -> Option<&SeenTool> {
        let older = self.older.get(name).filter(|_| !is_modern);
        older.or_else(|| self.tools.get(name))
    }

    fn add(&mut self, tools: &[ToolDefinition], is_newest: bool) {
        let known = if is_newest { &mut self.tools } else { &mut self.older };
        for tool in tools {
            // A tool that is not seen is not called.
            if known.len() >= TOOLS_MAX && !known.contains_key(&tool.name) {
                continue;
            }
            let param_headers = tool.param_headers.clone();
            known.insert(tool.name.clone(), SeenTool { digest: tool.digest, param_headers });
        }
    }
}

impl Era {
    /// The revisions a client may be told about.
    pub(crate) fn supported(&self) -> Vec<Revision> {
        match self {
            Self::Older => Revision::ALL.into_iter().filter(|one| !one.is_modern()).collect(),
            Self::Modern(revisions) => revisions.clone(),
        }
    }

    pub(crate) fn is_modern(&self) -> bool {
        match self {
            Self::Older => false,
            Self::Modern(_) => true,
        }
    }
}

/// The servers by identifier.
#[derive(Debug)]
pub(crate) struct Servers {
    client: Client,
    config: Config,
    metrics: CallMetrics,
    egress: Option<Egress>,
    known: Mutex<HashMap<ServerId, Arc<Behind>>>,
    last_serial: AtomicU64,
}

impl Servers {
    pub(crate) fn new(
        client: Client,
        config: Config,
        (metrics, egress): (CallMetrics, Option<Egress>),
    ) -> Self {
        let (known, last_serial) = (Mutex::new(HashMap::new()), AtomicU64::new(0));
        Self { client, config, metrics, egress, known, last_serial }
    }

    /// The server as it is registered now. A changed registration is another server: no session,
    /// connection or knowledge of the old one is used for it.
    pub(crate) fn behind(&self, server: &McpServer) -> Option<Arc<Behind>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(behind) = known.get(&server.id)
            && behind.spec == server.upstream
        {
            return Some(Arc::clone(behind));
        }
        let serial = self.last_serial.fetch_add(1, Ordering::Relaxed) + 1;
        let meter = self.metrics.server(&server.id);
        let upstream = self.connect(server, &meter)?;
        let door = Door::new(&self.config.limits, meter);
        let behind = Arc::new(Behind::new(server, upstream, door, serial));
        known.insert(server.id.clone(), Arc::clone(&behind));
        Some(behind)
    }

    /// Lets go of every server that is no longer served: its child must not outlive it. What is
    /// under way there ends first. Gives the serials of those that stay.
    pub(crate) fn forget_unserved(&self, snapshot: &Snapshot) -> HashSet<u64> {
        let is_active = |one: &McpServer| one.state == LifeCycle::Active;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| snapshot.server(id).is_some_and(is_active));
        known.values().map(|behind| behind.serial).collect()
    }

    fn connect(&self, server: &McpServer, meter: &Arc<ServerMeter>) -> Option<Upstream> {
        match &server.upstream {
            UpstreamSpec::Http { url } => {
                let (answer, idle) = (self.config.answer_within(), self.config.idle_within());
                let url = url.parse().ok()?;
                Some(Upstream::Http(HttpUpstream::new(url, self.client.clone(), answer, idle)))
            }
            UpstreamSpec::Stdio { command, args, env, sha256 } => {
                let mut environment = self.config.child_environment.clone();
                environment.extend(env.clone());
                let command = ChildCommand {
                    program: command.clone(),
                    arguments: args.clone(),
                    environment,
                    limits: ChildLimits::of(&self.config.limits),
                    meter: Arc::clone(meter),
                    sha256: sha256.clone(),
                    found: Arc::default(),
                };
                let answer = self.config.answer_within();
                let lanes = self.egress.as_ref().and_then(|egress| egress.lanes(&server.id));
                Some(Upstream::Stdio(StdioUpstream::new(command, answer, lanes)))
            }
            // The admin API enforces itself.
            UpstreamSpec::Builtin => None,
        }
    }
}

/// Pages of tool lists that are remembered for one server.
const PAGES_MAX: usize = 16;
/// How long a server that failed is left alone.
const PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use attorn_net::ClientConfig;
    use attorn_registry::{Name, SnapshotParts};

    use super::*;
    use crate::config::PublicUrl;

    #[test]
    fn a_server_that_is_no_longer_served_is_let_go() {
        let mut server = McpServer {
            id: ServerId::from_random(&[1; 16]),
            name: Name::parse("crm").unwrap(),
            owner: None,
            state: LifeCycle::Active,
            upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() },
            keys: Vec::new(),
            tools: HashMap::new(),
            created_s: 0,
            stop_ended_s: None,
            accept_bearer: std::collections::BTreeSet::new(),
        };
        let snapshot = |server: &McpServer| {
            let servers = vec![server.clone()];
            Snapshot::new(SnapshotParts { servers, ..SnapshotParts::default() })
        };
        let config = Config::new(PublicUrl::parse("http://127.0.0.1:8701").unwrap());
        let servers = Servers::new(
            Client::new(ClientConfig::default()).unwrap(),
            config,
            (CallMetrics::default(), None),
        );
        let behind = Arc::downgrade(&servers.behind(&server).unwrap());
        let serial = behind.upgrade().unwrap().serial;
        assert_eq!(servers.forget_unserved(&snapshot(&server)), HashSet::from([serial]));
        server.state = LifeCycle::Suspended;
        assert!(servers.forget_unserved(&snapshot(&server)).is_empty());
        assert!(behind.upgrade().is_none());
    }
}
