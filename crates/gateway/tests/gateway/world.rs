//! One agent, one owner, one server, one gateway; a scripted clock and a journal in a fresh folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use attorn_audit::Entry;
use attorn_audit::digest::PayloadKey;
use attorn_audit::note::NoteSigner;
use attorn_gateway::{
    ApprovalDesk, Config, Gateway, Limits, Parts, PublicUrl, SeenTools, ToolObserver,
};
use attorn_jose::{Algorithm, SigningKey, base64url};
use attorn_journal::Journal;
use attorn_mcp::tool_definition::ToolDefinition;
use attorn_net::{Body, Client, ClientConfig, Clock, Peer, Random, Shutdown};
use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::resource::IssuerUrl;
use attorn_oauth::subject::Subject;
use attorn_payloads::SealedPayloads;
use attorn_policy::PolicySet;
use attorn_registry::{
    Agent, AgentId, AgentKey, AgentKind, Approved, Class, Effects, Grant, GrantId, IssuerKey,
    KeyState, LifeCycle, Lock, LockId, LockTarget, McpServer, Name, Owner, OwnerId, PolicySource,
    Published, ScopePattern, ScopeSet, ServerId, Snapshot, SnapshotParts, Tool, UpstreamSpec,
};
use attorn_replay::SharedReplays;
use attorn_telemetry::Telemetry;
use attorn_testkit::canary::Canary;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::Service;
use serde_json::{Value, json};

use crate::desk::Desk;

pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const URL: &str = "http://127.0.0.1:8701/crm/mcp";
const ISSUER: &str = "http://127.0.0.1:8700";

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) canary: Canary,
    pub(crate) gateway: Gateway,
    pub(crate) published: Arc<Published>,
    pub(crate) journal: Journal,
    pub(crate) now_s: Arc<AtomicU64>,
    pub(crate) seen: Arc<Mutex<Vec<SeenTools>>>,
    /// What happens at the end of the next look at the server.
    pub(crate) after_look: Arc<Mutex<Option<Later>>>,
    /// Where the gateway asks about calls that need a person.
    pub(crate) desk: Arc<Desk>,
    pub(crate) parts: Mutex<SnapshotParts>,
    pub(crate) telemetry: Telemetry,
    /// Where requests seem to come from.
    pub(crate) peer: Mutex<Option<Peer>>,
    pub(crate) issuer_key: SigningKey,
    pub(crate) agent_key: SigningKey,
    serial: AtomicU64,
    folder: PathBuf,
    shutdown: Shutdown,
}

/// Something that happens later.
pub(crate) type Later = Box<dyn FnOnce() + Send>;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: head.status, headers: head.headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request before it is signed and sent.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) verb: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

pub(crate) fn tools() -> Value {
    json!([
        { "name": "get", "inputSchema": { "type": "object" } },
        { "name": "set", "inputSchema": { "type": "object" } },
        { "name": "drop", "inputSchema": { "type": "object" } },
        { "name": "hidden", "inputSchema": { "type": "object" } },
        { "name": "region", "inputSchema": { "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" } } } },
    ])
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn tool(value: &Value, class: Option<Class>) -> Tool {
    let text = value.to_string();
    let document = attorn_json::parse(text.as_bytes(), &attorn_json::Limits::MESSAGE).unwrap();
    let definition = ToolDefinition::parse(document.value()).unwrap();
    Tool {
        name: definition.name,
        definition: definition.canonical,
        digest: definition.digest,
        approved: class.map(|class| Approved {
            digest: definition.digest,
            class,
            rules: Vec::new(),
            effects: Effects::default(),
            by: "ann".into(),
            at_s: 0,
        }),
        proposed_class: Class::Write,
        seen_s: 0,
    }
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, tools())
    }

    /// `listed` is what the canary lists; the registry knows [`tools`].
    pub(crate) fn with(test: &str, listed: Value) -> Self {
        Self::limited(test, listed, Limits::default())
    }

    pub(crate) fn limited(test: &str, listed: Value, limits: Limits) -> Self {
        Self::told(test, (listed, limits), Telemetry::default())
    }

    /// One of several gateways that share their memory of used proofs.
    pub(crate) fn sharing(test: &str, shared: &SharedReplays) -> Self {
        Self::sharing_limits(test, shared, Limits::default())
    }

    pub(crate) fn sharing_limits(test: &str, shared: &SharedReplays, limits: Limits) -> Self {
        let limits = (tools(), limits);
        Self::made(test, limits, Telemetry::default(), Some(shared.clone()), |_| ())
    }

    /// With another configuration.
    pub(crate) fn configured(test: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let limits = (tools(), Limits::default());
        Self::made(test, limits, Telemetry::default(), None, configure)
    }

    pub(crate) fn told(test: &str, limits: (Value, Limits), telemetry: Telemetry) -> Self {
        Self::made(test, limits, telemetry, None, |_| ())
    }

    fn made(
        test: &str,
        (listed, limits): (Value, Limits),
        telemetry: Telemetry,
        shared_replays: Option<SharedReplays>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let canary = Canary::start(listed).unwrap();
        let issuer_key = SigningKey::from_seed(Algorithm::EdDsa, &[1; 32]).unwrap();
        let agent_key = SigningKey::from_seed(Algorithm::EdDsa, &[2; 32]).unwrap();
        let parts = snapshot(&canary, &issuer_key, &agent_key);
        let published = Arc::new(Published::new(Snapshot::new(parts.clone())));
        let folder =
            std::env::temp_dir().join(format!("attorn-gateway-test-{}-{test}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let signer = NoteSigner::from_seed("test/gateway/1", &[3; 32]).unwrap();
        let config = attorn_journal::Config::new(&folder, "test/gateway/1");
        let (journal, _) = Journal::open(config, signer).unwrap();
        let now_s = Arc::new(AtomicU64::new(NOW_S));
        let seen: Arc<Mutex<Vec<SeenTools>>> = Arc::default();
        let (clock, counter) = (Arc::clone(&now_s), AtomicU64::new(1));
        let sink = Arc::clone(&seen);
        let after_look: Arc<Mutex<Option<Later>>> = Arc::default();
        let happens = Arc::clone(&after_look);
        let desk = Arc::new(Desk::new(Arc::clone(&now_s)));
        let shutdown = Shutdown::new();
        let mut settings = Config::new(PublicUrl::parse("http://127.0.0.1:8701").unwrap());
        settings.limits = limits;
        configure(&mut settings);
        let gateway = Gateway::start(
            Parts {
                config: settings,
                issuer: IssuerUrl::parse(ISSUER).unwrap(),
                client_certificates: true,
                published: Arc::clone(&published),
                freshness: Arc::new(attorn_gateway::Freshness::own()),
                journal: journal.clone(),
                egress: None,
                payloads: SealedPayloads::open(folder.join("sealed"), &[], || [0; 32]).unwrap(),
                payload_key: PayloadKey::new(&[4; 32]),
                shared_replays,
                clock: Clock::new(move || clock.load(Ordering::SeqCst) * 1000),
                // Distinct, which is all that a test needs.
                random: Random::new(move |target| {
                    let next = counter.fetch_add(1, Ordering::SeqCst);
                    for (at, byte) in target.iter_mut().enumerate() {
                        *byte = next.to_le_bytes()[at % 8] ^ u8::try_from(at % 251).unwrap();
                    }
                }),
                client: Client::new(ClientConfig::default()).unwrap(),
                telemetry: telemetry.clone(),
                tool_observer: observer(sink, happens),
                approvals: Arc::clone(&desk) as Arc<dyn ApprovalDesk>,
            },
            shutdown.clone(),
        )
        .unwrap();
        let (parts, serial) = (Mutex::new(parts), AtomicU64::new(0));
        Self {
            canary,
            gateway,
            published,
            journal,
            now_s,
            seen,
            after_look,
            desk,
            parts,
            telemetry,
            peer: Mutex::default(),
            issuer_key,
            agent_key,
            serial,
            folder,
            shutdown,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut SnapshotParts)) {
        let mut parts = self.parts.lock().unwrap();
        change(&mut parts);
        parts.version += 1;
        self.published.publish(Snapshot::new(parts.clone()));
    }

    /// A change that comes into force when this is called.
    pub(crate) fn later(&self, change: impl FnOnce(&mut SnapshotParts)) -> Later {
        let mut parts = self.parts.lock().unwrap().clone();
        change(&mut parts);
        parts.version += 1;
        let published = Arc::clone(&self.published);
        Box::new(move || published.publish(Snapshot::new(parts)))
    }

    fn unique(&self) -> String {
        format!("jti-{}", self.serial.fetch_add(1, Ordering::SeqCst))
    }

    pub(crate) fn claims(&self, scope: &str) -> AccessTokenClaims {
        let now_s = self.now_s.load(Ordering::SeqCst);
        AccessTokenClaims {
            parent: None,
            act: None,
            attorn_approval: None,
            aud: URL.into(),
            authorization_details: None,
            client_id: agent_id(),
            cnf: Confirmation::Jkt(self.agent_key.public().thumbprint()),
            epoch: 0,
            exp: now_s + 120,
            grt: None,
            iat: now_s,
            iss: ISSUER.into(),
            jti: self.unique(),
            nbf: now_s,
            scope: ScopeSet::parse(scope).unwrap(),
            sub: Subject::Agent(agent_id()),
        }
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.issue(&self.claims(scope))
    }

    pub(crate) fn issue(&self, claims: &AccessTokenClaims) -> String {
        access_token::issue(claims, "key-1", &self.issuer_key).unwrap()
    }

    /// A nonce, got as a client gets one.
    pub(crate) async fn nonce(&self, token: &str) -> String {
        let mut ask = modern("ping", json!({}), None);
        ask.headers.extend(self.credentials("POST", token, &self.agent_key, None));
        let answer = self.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        answer.header("dpop-nonce").to_owned()
    }

    pub(crate) fn credentials(
        &self,
        verb: &str,
        token: &str,
        key: &SigningKey,
        nonce: Option<&str>,
    ) -> Vec<(String, String)> {
        let jti = self.unique();
        let proof = NewProof {
            htm: verb,
            htu: URL,
            iat_s: self.now_s.load(Ordering::SeqCst),
            jti: &jti,
            access_token: Some(token),
            nonce,
        };
        let proof = new_proof(key, &proof).unwrap();
        vec![("authorization".into(), format!("DPoP {token}")), ("dpop".into(), proof)]
    }

    /// Sends with a fresh token of this scope, a fresh proof and a fresh nonce.
    pub(crate) async fn ask(&self, scope: &str, ask: Ask) -> Answer {
        let token = self.token(scope);
        self.ask_with(&token, ask).await
    }

    pub(crate) async fn ask_with(&self, token: &str, mut ask: Ask) -> Answer {
        let nonce = self.nonce(token).await;
        ask.headers.extend(self.credentials(ask.verb, token, &self.agent_key, Some(&nonce)));
        self.send(ask).await
    }

    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        Answer::read(self.respond(ask).await).await
    }

    pub(crate) async fn respond(&self, ask: Ask) -> Response<Body> {
        let body = Full::new(ask.body.clone());
        self.respond_to(ask, body).await
    }

    /// With this body instead of the one in `ask`.
    pub(crate) async fn respond_to<B>(&self, ask: Ask, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
    {
        let mut request = Request::builder().method(ask.verb).uri("/crm/mcp");
        if !ask.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", "127.0.0.1:8701");
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(body).unwrap();
        if let Some(peer) = self.peer.lock().unwrap().clone() {
            request.extensions_mut().insert(peer);
        }
        self.gateway.service().call(request).await.unwrap()
    }

    /// Every entry so far. Waits for outcomes, which are recorded after the answer, until `enough`
    /// says so.
    pub(crate) async fn entries(&self, enough: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        let mut size = self.journal.subscribe();
        loop {
            let bytes = self.journal.read(0..self.journal.size()).await.unwrap();
            let entries: Vec<Entry> =
                bytes.iter().map(|bytes| Entry::parse(bytes).unwrap()).collect();
            if enough(&entries) {
                return entries;
            }
            size.changed().await.unwrap();
        }
    }

    /// Tool calls that reached the canary.
    pub(crate) fn calls(&self) -> Vec<attorn_testkit::canary::Seen> {
        let seen = self.canary.take_seen();
        seen.into_iter().filter(|one| one.rpc_method().as_deref() == Some("tools/call")).collect()
    }

    pub(crate) fn lock(&self, target: LockTarget) {
        self.change(|parts| parts.locks.push(lock(target)));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.start();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn observer(sink: Arc<Mutex<Vec<SeenTools>>>, happens: Arc<Mutex<Option<Later>>>) -> ToolObserver {
    ToolObserver::new(move |tools| {
        sink.lock().unwrap().push(tools);
        happens.lock().unwrap().take().into_iter().for_each(|later| later());
    })
}

pub(crate) fn lock(target: LockTarget) -> Lock {
    Lock {
        id: LockId::from_random(&[6; 16]),
        target,
        reason: "leaked".into(),
        by: "ann".into(),
        created_s: NOW_S,
        expires_s: NOW_S + 1000,
        lifted_s: None,
    }
}

pub(crate) fn agent_id() -> AgentId {
    AgentId::from_random(&[2; 16])
}

pub(crate) fn server_id() -> ServerId {
    ServerId::from_random(&[4; 16])
}

fn billing(agent: &SigningKey, owner: OwnerId) -> Agent {
    Agent {
        id: agent_id(),
        name: name("billing"),
        kind: AgentKind::Agent,
        owner: Some(owner),
        state: LifeCycle::Active,
        keys: vec![AgentKey {
            jkt: agent.public().thumbprint(),
            jwk: agent.public().to_jwk(None),
            state: KeyState::Active,
            not_before_s: 0,
            not_after_s: None,
        }],
        authentication: attorn_registry::Authentication::PrivateKeyJwt,
        binding: attorn_registry::Binding::Dpop,
        created_s: 0,
        stop_ended_s: None,
        expires_s: None,
        client: None,
    }
}

fn snapshot(canary: &Canary, issuer: &SigningKey, agent: &SigningKey) -> SnapshotParts {
    let owner = OwnerId::from_random(&[1; 16]);
    let classes =
        [Some(Class::Read), Some(Class::Write), Some(Class::Irreversible), None, Some(Class::Read)];
    let known = tools();
    let records = known.as_array().unwrap().iter().zip(classes).map(|(value, class)| {
        let tool = tool(value, class);
        (tool.name.clone(), tool)
    });
    SnapshotParts {
        version: 1,
        owners: vec![Owner {
            id: owner.clone(),
            name: name("ann"),
            email: None,
            state: LifeCycle::Active,
            created_s: 0,
            stop_ended_s: None,
            bound_to: None,
            successor: None,
        }],
        agents: vec![billing(agent, owner.clone())],
        servers: vec![McpServer {
            id: server_id(),
            name: name("crm"),
            owner: Some(owner),
            state: LifeCycle::Active,
            upstream: UpstreamSpec::Http { url: canary.url() },
            keys: Vec::new(),
            tools: records.collect(),
            created_s: 0,
            stop_ended_s: None,
            accept_bearer: std::collections::BTreeSet::new(),
        }],
        grants: vec![Grant {
            id: GrantId::from_random(&[5; 16]),
            agent: agent_id(),
            server: server_id(),
            patterns: ["read:*", "write:set", "irreversible:drop"]
                .map(|pattern| ScopePattern::parse(pattern).unwrap())
                .to_vec(),
            constraints: Vec::new(),
            awaits_second: false,
            confirmed_by: None,
            expires_s: None,
            revoked_s: None,
            by: "ann".into(),
            reason: "test".into(),
            created_s: 0,
        }],
        policy: PolicySource { version: 1, text: PolicySet::starter_text().to_owned() },
        issuer_keys: vec![IssuerKey {
            kid: "key-1".into(),
            jwk: issuer.public().to_jwk(Some("key-1")),
            state: KeyState::Active,
        }],
        ..SnapshotParts::default()
    }
}

/// A request of 2026-07-28 with its mirror headers.
pub(crate) fn modern(method: &str, mut params: Value, name: Option<&str>) -> Ask {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": "c-1", "method": method, "params": params });
    let mut headers = post_headers();
    headers.push(("mcp-protocol-version".into(), "2026-07-28".into()));
    headers.push(("mcp-method".into(), method.into()));
    headers.extend(name.map(|name| ("mcp-name".to_owned(), name.to_owned())));
    Ask { verb: "POST", headers, body: Bytes::from(body.to_string()) }
}

pub(crate) fn call(tool: &str, arguments: &Value) -> Ask {
    modern("tools/call", json!({ "name": tool, "arguments": arguments }), Some(tool))
}

/// A message of an older revision.
pub(crate) fn older(body: &Value, session: Option<&str>) -> Ask {
    let mut headers = post_headers();
    headers.extend(session.map(|id| ("mcp-session-id".to_owned(), id.to_owned())));
    Ask { verb: "POST", headers, body: Bytes::from(body.to_string()) }
}

fn post_headers() -> Vec<(String, String)> {
    vec![
        ("content-type".into(), "application/json".into()),
        ("accept".into(), "application/json, text/event-stream".into()),
    ]
}

/// A key nobody registered.
pub(crate) fn thief() -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[9; 32]).unwrap()
}

pub(crate) fn encoded(text: &str) -> String {
    base64url(text.as_bytes())
}
