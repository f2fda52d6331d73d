//! One authority with everything around it, and the clients that talk to it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use attorn_audit::note::NoteSigner;
use attorn_audit::{Entry, Kind};
use attorn_authority::{AdminService, Authority, Config, Limits, Operation, Parts, TrustDomains};
use attorn_jose::{Algorithm, SigningKey, sha256};
use attorn_journal::{Durability, Journal};
use attorn_net::{Clock, Random, Shutdown};
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::enrolment::{NewEnrolment, new_enrolment};
use attorn_oauth::metadata::ClientMethods;
use attorn_payloads::SealedPayloads;
use attorn_registry::{AgentId, KeyState, Published, Snapshot, SnapshotParts};
use attorn_store::Store;
use attorn_store::index::AuditIndex;
use attorn_telemetry::Telemetry;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::Service;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const ADMIN: &str = "https://admin.example";
pub(crate) const CRM: &str = "https://gw.example/crm/mcp";
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// An authority that lives as long as the test.
pub(crate) struct World {
    pub(crate) authority: Authority,
    /// Made once: describing every operation takes a while.
    admin_service: AdminService,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) published: Arc<Published>,
    now_ms: Arc<AtomicU64>,
    folder: PathBuf,
    shutdown: Shutdown,
    pub(crate) trust_domains: TrustDomains,
    pub(crate) telemetry: Telemetry,
    config: Config,
    /// Where requests seem to come from.
    pub(crate) from: Mutex<Option<std::net::IpAddr>>,
    /// `If-Match` of what is run.
    pub(crate) replaces: Mutex<Option<String>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The body as it is.
    pub(crate) page: String,
}

/// A client with its key.
pub(crate) struct Client {
    pub(crate) id: AgentId,
    pub(crate) key: SigningKey,
}

static WORLDS: AtomicU64 = AtomicU64::new(0);
static SEEDS: AtomicU64 = AtomicU64::new(1);

/// Bytes that never repeat within a run and need no operating system.
fn random() -> Random {
    Random::new(|target| {
        for chunk in target.chunks_mut(32) {
            let seed = SEEDS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            chunk.copy_from_slice(&sha256(&seed)[..chunk.len()]);
        }
    })
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &random().bytes()).unwrap()
}

fn jti() -> String {
    attorn_jose::base64url(&random().bytes::<16>())
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::limited(Limits::default()).await
    }

    /// With other limits than the usual ones.
    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::configured(|config| config.limits = limits).await
    }

    /// With agents stopped that nobody used for so many days.
    pub(crate) async fn stopping_unused(days: u32) -> Self {
        Self::configured(|config| config.agents_unused_days = days.try_into().ok()).await
    }

    pub(crate) async fn configured(configure: impl FnOnce(&mut Config)) -> Self {
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-authority-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // Of a run that was killed and had the same number.
        drop(std::fs::remove_dir_all(&folder));
        let mut config = Config {
            issuer: ISSUER.to_owned(),
            admin_url: ADMIN.to_owned(),
            gateway_url: "https://gw.example".to_owned(),
            token_lifetime_s: 120,
            irreversible_token_lifetime_s: 60,
            second_owner_for_triple: false,
            import_keys: vec![import_key().verifier().to_vkey()],
            agents_unused_days: None,
            approval_lifetime_s: 1800,
            several_places: attorn_net::SeveralPlaces::default(),
            limits: Limits::default(),
            clients: None,
            login: None,
            trusted_issuers: Vec::new(),
        };
        configure(&mut config);
        Self::at(folder, Store::in_memory().await.unwrap(), config, |_| ()).await
    }

    /// The same state in a new process whose journal is configured otherwise.
    pub(crate) async fn reopened(
        mut self,
        change: impl FnOnce(&mut attorn_journal::Config),
    ) -> Self {
        self.shutdown.start();
        self.journal.clone().close().await;
        // Taken, so that the end of the old world does not remove it.
        let (folder, store) = (std::mem::take(&mut self.folder), self.store.clone());
        let config = self.config.clone();
        drop(self);
        Self::at(folder, store, config, change).await
    }

    async fn at(
        folder: PathBuf,
        store: Store,
        settings: Config,
        change: impl FnOnce(&mut attorn_journal::Config),
    ) -> Self {
        let origin = "example/authority/test";
        let signer = NoteSigner::from_seed(origin, &[7; 32]).unwrap();
        let mut config = attorn_journal::Config::new(folder.join("journal"), origin);
        change(&mut config);
        let (journal, _) = Journal::open(config, signer).unwrap();
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let published = Arc::new(Published::new(Snapshot::new(SnapshotParts::default())));
        let (shutdown, telemetry) = (Shutdown::new(), Telemetry::default());
        let clock = Clock::new({
            let now_ms = Arc::clone(&now_ms);
            move || now_ms.load(Ordering::SeqCst)
        });
        let trust_domains = TrustDomains::default();
        let authority = Authority::start(Parts {
            config: settings.clone(),
            store: store.clone(),
            index: AuditIndex::in_memory().await.unwrap(),
            journal: journal.clone(),
            payloads: SealedPayloads::open(folder.join("sealed"), &[], || [0; 32]).unwrap(),
            published: Arc::clone(&published),
            clock,
            random: random(),
            keys_folder: folder.join("keys"),
            methods: ClientMethods { certificates: true, spiffe: true },
            trust_domains: trust_domains.clone(),
            shutdown: shutdown.clone(),
            telemetry: telemetry.clone(),
        })
        .await
        .unwrap();
        Self {
            admin_service: authority.admin_service(),
            authority,
            store,
            journal,
            published,
            now_ms,
            folder,
            shutdown,
            trust_domains,
            telemetry,
            config: settings,
            from: Mutex::default(),
            replaces: Mutex::new(Some("*".to_owned())),
        }
    }

    pub(crate) fn now_s(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst) / 1000
    }

    pub(crate) fn pass_s(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub(crate) fn go_back_s(&self, seconds: u64) {
        self.now_ms.fetch_sub(seconds * 1000, Ordering::SeqCst);
    }

    /// The key that the authority signs with now.
    pub(crate) fn signing_key(&self) -> (String, SigningKey) {
        let snapshot = self.published.load();
        let is_active = |key: &&attorn_registry::IssuerKey| key.state == KeyState::Active;
        let kid = snapshot.issuer_keys.iter().find(is_active).unwrap().kid.clone();
        let pem = std::fs::read_to_string(self.keys_folder().join(format!("{kid}.pem"))).unwrap();
        (kid, SigningKey::from_pkcs8_pem(&pem).unwrap())
    }

    pub(crate) fn keys_folder(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Sends a request to the public endpoints.
    pub(crate) async fn public(&self, request: Request<Full<Bytes>>) -> Answer {
        let mut request = request;
        if let Some(from) = *self.from.lock().unwrap() {
            let peer = attorn_net::Peer::new(std::net::SocketAddr::new(from, 1), false);
            request.extensions_mut().insert(peer);
        }
        let answer = self.authority.public_service().call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        Answer::read(head, &body.collect().await.unwrap().to_bytes())
    }

    /// Sends a request to the admin endpoints.
    pub(crate) async fn admin(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.admin_service.call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        Answer::read(head, &body.collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.public(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.public(form_request(path, form, None)).await
    }

    /// Redeems a code with a fresh key.
    pub(crate) async fn enroll(&self, code: &str) -> (Client, Answer) {
        let key = new_key();
        let answer = self.enroll_key(code, &key).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let id = AgentId::parse(answer.text("client_id")).unwrap();
        (Client { id, key }, answer)
    }

    pub(crate) async fn enroll_key(&self, code: &str, key: &SigningKey) -> Answer {
        let new = NewEnrolment { issuer: ISSUER, code, iat_s: self.now_s(), jti: &jti() };
        let proof = new_enrolment(key, &new).unwrap();
        let body = json!({ "code": code, "proof": proof }).to_string();
        let request = Request::post("/enroll").header("content-type", "application/json");
        self.public(request.body(Full::from(body)).unwrap()).await
    }

    /// The first operator, enrolled.
    pub(crate) async fn operator(&self) -> Client {
        let code = self.authority.first_operator_code().await.unwrap().unwrap();
        self.enroll(&code.into_text()).await.0
    }

    pub(crate) fn assertion(&self, client: &Client) -> String {
        let new = NewAssertion {
            client_id: &client.id,
            issuer: ISSUER,
            now_s: self.now_s(),
            jti: &jti(),
        };
        new_assertion(&client.key, &new).unwrap()
    }

    /// A proof for the token endpoint.
    pub(crate) fn proof(&self, client: &Client, nonce: Option<&str>) -> String {
        self.proof_for(client, ("POST", &format!("{ISSUER}/token")), None, nonce)
    }

    pub(crate) fn proof_for(
        &self,
        client: &Client,
        (htm, htu): (&str, &str),
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> String {
        let iat_s = self.now_s();
        let new = NewProof { htm, htu, iat_s, jti: &jti(), access_token, nonce };
        new_proof(&client.key, &new).unwrap()
    }

    /// A fresh nonce of the authority, got as a client gets it.
    pub(crate) async fn nonce(&self, client: &Client) -> String {
        let assertion = self.assertion(client);
        let form = token_form(&assertion, Some(CRM), None);
        let answer =
            self.public(form_request("/token", &form, Some(&self.proof(client, None)))).await;
        assert_eq!(answer.body["error"], "use_dpop_nonce", "{answer:?}");
        answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
    }

    /// One token request with everything right; what is asked for is the test's.
    pub(crate) async fn ask_token(
        &self,
        client: &Client,
        resource: Option<&str>,
        scope: Option<&str>,
    ) -> Answer {
        let nonce = self.nonce(client).await;
        let (assertion, proof) = (self.assertion(client), self.proof(client, Some(&nonce)));
        let form = token_form(&assertion, resource, scope);
        self.public(form_request("/token", &form, Some(&proof))).await
    }

    pub(crate) async fn token(&self, client: &Client, resource: &str) -> String {
        let answer = self.ask_token(client, Some(resource), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.text("access_token").to_owned()
    }

    /// Runs an operation with a fresh token and proof.
    pub(crate) async fn run(
        &self,
        client: &Client,
        operation: Operation,
        segments: &[&str],
        body: Value,
    ) -> Answer {
        let token = self.token(client, &format!("{ADMIN}/admin")).await;
        self.run_with(client, &token, operation, (segments, body)).await
    }

    pub(crate) async fn run_with(
        &self,
        client: &Client,
        token: &str,
        operation: Operation,
        (segments, body): (&[&str], Value),
    ) -> Answer {
        self.admin(self.request(client, token, operation, (segments, body)).await).await
    }

    /// The request of an operation, with a fresh proof.
    pub(crate) async fn request(
        &self,
        client: &Client,
        token: &str,
        operation: Operation,
        (segments, body): (&[&str], Value),
    ) -> Request<Full<Bytes>> {
        let path = operation.path_of(segments);
        let nonce = self.nonce(client).await;
        let method = operation.row().method.as_str();
        let proof =
            self.proof_for(client, (method, &format!("{ADMIN}{path}")), Some(token), Some(&nonce));
        let body = if method == "GET" { String::new() } else { body.to_string() };
        // Whatever is in force, unless a test says more.
        let replaced = self.replaces.lock().unwrap().clone();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", proof);
        let request = match replaced {
            Some(tag) => request.header("if-match", tag),
            None => request,
        };
        request.body(Full::from(body)).unwrap()
    }

    /// As [`World::run`], and it has to succeed.
    pub(crate) async fn done(
        &self,
        client: &Client,
        operation: Operation,
        segments: &[&str],
        body: Value,
    ) -> Value {
        let answer = self.run(client, operation, segments, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body
    }

    /// A server `crm` with two approved tools, `get` to read and `drop` that cannot be undone.
    pub(crate) async fn crm(&self, operator: &Client) {
        self.done(operator, Operation::OwnerCreate, &[], json!({ "name": "sales" })).await;
        let upstream = json!({ "kind": "http", "url": "http://127.0.0.1:9/mcp" });
        let server = json!({ "name": "crm", "owner": "sales", "upstream": upstream });
        self.done(operator, Operation::ServerRegister, &[], server).await;
        self.see_tools().await;
        let read = json!({ "class": "read" });
        self.done(operator, Operation::ToolApprove, &["crm", "get"], read).await;
        let irreversible = json!({ "class": "irreversible" });
        self.done(operator, Operation::ToolApprove, &["crm", "drop"], irreversible).await;
    }

    async fn see_tools(&self) {
        let server = self.published.load().server_named("crm").unwrap().id.clone();
        let act = attorn_store::Act { by: "gateway", now_s: self.now_s() };
        let seen = ["get", "drop"].map(|name| attorn_store::SeenTool {
            name: name.to_owned(),
            definition: format!(r#"{{"name":"{name}"}}"#),
            digest: sha256(format!(r#"{{"name":"{name}"}}"#).as_bytes()),
            proposed_class: attorn_registry::Class::Write,
        });
        self.store.record_seen_tools(&act, &server, &seen).await.unwrap();
        self.authority.publish().await.unwrap();
    }

    /// An enrolled agent with these grants at `crm`.
    pub(crate) async fn agent(&self, operator: &Client, name: &str, patterns: &[&str]) -> Client {
        let new = json!({ "name": name, "owner": "sales" });
        let made = self.done(operator, Operation::AgentRegister, &[], new).await;
        let (client, _) = self.enroll(made["code"].as_str().unwrap()).await;
        if !patterns.is_empty() {
            let grant = json!({ "agent": name, "server": "crm", "patterns": patterns });
            self.done(operator, Operation::GrantCreate, &[], grant).await;
        }
        client
    }

    /// Every entry of the journal so far.
    pub(crate) async fn entries(&self) -> Vec<Value> {
        // Refusals are acknowledged before they are on the disk. What is asked for after them, and
        // acknowledged on the disk, brings them along.
        let marker = Entry::new(Kind::JournalOpened, 0).to_canonical();
        self.journal.append(marker, Durability::Fsync).await.unwrap();
        let entries = self.journal.read(0..self.journal.size()).await.unwrap();
        entries.iter().map(|entry| serde_json::from_slice(entry).unwrap()).collect()
    }

    /// The newest entry of a kind.
    pub(crate) async fn newest(&self, kind: &str) -> Value {
        let entries = self.entries().await;
        entries.iter().rev().find(|entry| entry["kind"] == kind).unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.start();
        // Only litter in the temporary folder is at stake.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Answer {
    fn read(head: http::response::Parts, body: &Bytes) -> Self {
        let page = String::from_utf8_lossy(body).into_owned();
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        Self { status: head.status, headers: head.headers, body, page }
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap()
    }

    /// Status and `error` together.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or_default())
    }
}

/// The key of a namespace that the authority knows.
pub(crate) fn import_key() -> NoteSigner {
    NoteSigner::from_seed("com.example", &[42; 32]).unwrap()
}

pub(crate) fn token_form<'a>(
    assertion: &'a str,
    resource: Option<&'a str>,
    scope: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    form.extend(resource.map(|resource| ("resource", resource)));
    form.extend(scope.map(|scope| ("scope", scope)));
    form
}

pub(crate) fn form_request(
    path: &str,
    form: &[(&str, &str)],
    proof: Option<&str>,
) -> Request<Full<Bytes>> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from(body))
        .unwrap();
    if let Some(proof) = proof {
        request.headers_mut().insert("dpop", proof.parse().unwrap());
    }
    request
}
