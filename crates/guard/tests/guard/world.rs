//! One agent, one MCP server, the API behind it and its guard; a scripted clock and a journal in a
//! fresh folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use attorn_audit::digest::PayloadKey;
use attorn_audit::note::NoteSigner;
use attorn_audit::{Decision, Entry};
use attorn_enforce::Freshness;
use attorn_guard::{Api as Enforced, ApiUrl, Config, Guard, Parts, UpstreamUrl};
use attorn_jose::{Algorithm, SigningKey};
use attorn_journal::Journal;
use attorn_net::{Client, ClientConfig, Clock, Limits, Listener, Random, Shutdown};
use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_oauth::actor::Actor;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::resource::IssuerUrl;
use attorn_registry::{Ancestor, Published, ScopeSet, ServerId, Snapshot, SnapshotParts};
use attorn_telemetry::Telemetry;
use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::api::Api;
use crate::registry::{agent_id, grant_id, server_id, snapshot};

pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const BILLING: &str = "https://api.example/billing";
pub(crate) const HOST: &str = "api.example";
pub(crate) const ISSUER: &str = "http://127.0.0.1:8700";
pub(crate) const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) guard: Guard,
    pub(crate) address: SocketAddr,
    pub(crate) journal: Journal,
    pub(crate) now_s: Arc<AtomicU64>,
    pub(crate) issuer_key: SigningKey,
    pub(crate) server_key: SigningKey,
    pub(crate) agent_key: SigningKey,
    /// What requests are sent with.
    pub(crate) version: Version,
    parts: Mutex<SnapshotParts>,
    published: Arc<Published>,
    serial: AtomicU64,
    folder: PathBuf,
    shutdown: Shutdown,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, reason, and the error of the challenge.
    pub(crate) fn told(&self) -> (u16, String, String) {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let reason = body["reason"].as_str().unwrap_or_default().to_owned();
        let challenge = self.header("www-authenticate");
        let error = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next());
        (self.status.as_u16(), reason, error.unwrap_or_default().to_owned())
    }
}

/// A request before it is proven and sent.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

pub(crate) fn ask(method: &'static str, below: &str) -> Ask {
    let target = format!("/billing{below}");
    Ask { method, target, headers: Vec::new(), body: Bytes::new() }
}

impl Ask {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn htu(&self) -> String {
        let path = self.target.split('?').next().unwrap();
        format!("https://{HOST}{path}")
    }
}

impl World {
    pub(crate) async fn new(test: &str, version: Version) -> Self {
        Self::with(test, version, Arc::new(Freshness::own()), |_| ()).await
    }

    pub(crate) async fn with(
        test: &str,
        version: Version,
        freshness: Arc<Freshness>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::told(test, version, (freshness, Telemetry::default()), configure).await
    }

    /// The same, where somebody listens.
    pub(crate) async fn told(
        test: &str,
        version: Version,
        (freshness, telemetry): (Arc<Freshness>, Telemetry),
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let api = Api::start().await;
        let [issuer_key, agent_key, server_key] = [1, 2, 3].map(key);
        let parts = snapshot(&issuer_key, &agent_key, &server_key);
        let published = Arc::new(Published::new(Snapshot::new(parts.clone())));
        let (process, version_text) = (std::process::id(), format!("{version:?}").replace('/', ""));
        let folder = format!("attorn-guard-test-{process}-{test}-{version_text}");
        let folder = std::env::temp_dir().join(folder);
        drop(std::fs::remove_dir_all(&folder));
        let signer = NoteSigner::from_seed("test/guard/1", &[3; 32]).unwrap();
        let journal = attorn_journal::Config::new(&folder, "test/guard/1");
        let (journal, _) = Journal::open(journal, signer).unwrap();
        let now_s = Arc::new(AtomicU64::new(NOW_S));
        let (clock, counter) = (Arc::clone(&now_s), AtomicU64::new(1));
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let address = listener.address();
        let upstream = UpstreamUrl::parse(&format!("http://{}/v1", api.address)).unwrap();
        let mut config = Config::new(ApiUrl::parse(BILLING).unwrap(), address, upstream);
        configure(&mut config);
        let guard = Guard::start(Parts {
            api: Enforced { hosts: vec!["guard.internal:7810".into()], ..config.api() },
            issuer: IssuerUrl::parse(ISSUER).unwrap(),
            published: Arc::clone(&published),
            freshness,
            journal: journal.clone(),
            payload_key: PayloadKey::new(&[4; 32]),
            shared_replays: None,
            clock: Clock::new(move || clock.load(Ordering::SeqCst) * 1000),
            // Distinct, which is all that a test needs.
            random: Random::new(move |target| {
                let next = counter.fetch_add(1, Ordering::SeqCst);
                for (at, byte) in target.iter_mut().enumerate() {
                    *byte = next.to_le_bytes()[at % 8] ^ u8::try_from(at % 251).unwrap();
                }
            }),
            telemetry,
        })
        .unwrap();
        let (client, shutdown) = (Client::new(ClientConfig::default()).unwrap(), Shutdown::new());
        let service = guard.service(&config, client);
        tokio::spawn(guard.serve(listener, service, Limits::default(), shutdown.clone()));
        let (parts, serial) = (Mutex::new(parts), AtomicU64::new(0));
        Self {
            api,
            guard,
            address,
            journal,
            now_s,
            issuer_key,
            server_key,
            agent_key,
            version,
            parts,
            published,
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

    /// Runs with a changed registry, and changes it back.
    pub(crate) async fn changed<T>(
        &self,
        change: impl FnOnce(&mut SnapshotParts),
        run: impl Future<Output = T>,
    ) -> T {
        let before = self.parts.lock().unwrap().clone();
        self.change(change);
        let output = run.await;
        self.change(|parts| *parts = SnapshotParts { version: parts.version, ..before });
        output
    }

    fn unique(&self) -> String {
        format!("jti-{}", self.serial.fetch_add(1, Ordering::SeqCst))
    }

    /// What the exchange would issue for the agent's token `parent`.
    pub(crate) fn claims(&self, scope: &str) -> AccessTokenClaims<ServerId> {
        let now_s = self.now_s.load(Ordering::SeqCst);
        AccessTokenClaims {
            act: Some(Actor { sub: server_id().to_string(), act: None }),
            attorn_approval: None,
            aud: BILLING.into(),
            authorization_details: None,
            client_id: server_id(),
            cnf: Confirmation::Jkt(self.server_key.public().thumbprint()),
            epoch: 1,
            exp: now_s + 120,
            grt: Some(grant_id()),
            iat: now_s,
            iss: ISSUER.into(),
            jti: self.unique(),
            nbf: now_s,
            parent: Some(Ancestor {
                client_id: agent_id(),
                jti: "parent".into(),
                key: self.agent_key.public().thumbprint(),
            }),
            scope: ScopeSet::parse(scope).unwrap(),
            sub: attorn_oauth::subject::Subject::Agent(agent_id()),
        }
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.issue(&self.claims(scope))
    }

    pub(crate) fn issue<C: serde::Serialize>(&self, claims: &AccessTokenClaims<C>) -> String {
        access_token::issue(claims, "key-1", &self.issuer_key).unwrap()
    }

    pub(crate) fn proof(
        &self,
        key: &SigningKey,
        (htm, htu): (&str, &str),
        token: Option<&str>,
        nonce: Option<&str>,
    ) -> String {
        let jti = self.unique();
        let iat_s = self.now_s.load(Ordering::SeqCst);
        let new = NewProof { htm, htu, iat_s, jti: &jti, access_token: token, nonce };
        new_proof(key, &new).unwrap()
    }

    /// A nonce, got as a client gets one.
    pub(crate) async fn nonce(&self) -> String {
        let token = self.token("read:invoice.get");
        let asked = ask("GET", "/invoices/7");
        let proof = self.proof(&self.server_key, ("GET", &asked.htu()), Some(&token), None);
        let asked = asked.with("authorization", &format!("DPoP {token}")).with("dpop", &proof);
        let answer = self.send(asked).await;
        assert_eq!(answer.told().1, "possession.nonce", "{answer:?}");
        answer.header("dpop-nonce").to_owned()
    }

    /// Everything right but what the test changes.
    pub(crate) async fn proven(&self, asked: Ask, token: &str) -> Ask {
        self.proven_by(&self.server_key, asked, token).await
    }

    pub(crate) async fn proven_by(&self, key: &SigningKey, asked: Ask, token: &str) -> Ask {
        let nonce = self.nonce().await;
        let about = (asked.method, asked.htu());
        let proof = self.proof(key, (about.0, &about.1), Some(token), Some(&nonce));
        asked.with("authorization", &format!("DPoP {token}")).with("dpop", &proof)
    }

    /// Sends with a fresh token of this scope, a fresh proof and a fresh nonce.
    pub(crate) async fn ask(&self, scope: &str, asked: Ask) -> Answer {
        let token = self.token(scope);
        self.ask_with(&token, asked).await
    }

    pub(crate) async fn ask_with(&self, token: &str, asked: Ask) -> Answer {
        let asked = self.proven(asked, token).await;
        self.send(asked).await
    }

    /// The twin of a refusal: what differs in nothing but the one thing passes.
    pub(crate) async fn passes(&self) {
        let answer = self.ask("read:invoice.get", ask("GET", "/invoices/7")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }

    pub(crate) async fn send(&self, asked: Ask) -> Answer {
        let response = self.respond(asked).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }

    pub(crate) async fn respond(&self, asked: Ask) -> http::Response<hyper::body::Incoming> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let mut request = Request::builder().method(asked.method);
        let host = asked.headers.iter().find(|(name, _)| name == "host");
        let host = host.map_or(HOST, |(_, value)| value.as_str());
        for (name, value) in asked.headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        if self.version == Version::HTTP_2 {
            let request = request.uri(format!("http://{host}{}", asked.target));
            let request = request.body(Full::new(asked.body)).unwrap();
            let executor = TokioExecutor::new();
            let (mut sender, connection) =
                http2::Builder::new(executor).handshake(stream).await.unwrap();
            tokio::spawn(connection);
            return sender.send_request(request).await.unwrap();
        }
        let request = request.uri(asked.target).header("host", host);
        let request = request.body(Full::new(asked.body)).unwrap();
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    /// Every entry so far. Waits until `enough` says so.
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

    /// The newest entry, which is about a refusal.
    pub(crate) async fn newest(&self) -> Entry {
        let is_refusal =
            |all: &[Entry]| all.last().is_some_and(|one| one.decision == Some(Decision::Deny));
        self.entries(is_refusal).await.pop().unwrap()
    }

    /// What is refused, and that the journal holds it with the same reason.
    pub(crate) async fn refused(&self, answer: &Answer) -> (u16, String, String) {
        let told = answer.told();
        let is_it = |one: &Entry| {
            one.decision_id.as_ref().is_some_and(|id| answer.text.contains(id.as_str()))
        };
        let entries = self.entries(|all| all.iter().any(is_it)).await;
        let entry = entries.iter().find(|one| is_it(one)).unwrap();
        assert_eq!(entry.reason.as_deref(), Some(told.1.as_str()), "{entry:?}");
        assert_eq!(entry.decision, Some(Decision::Deny));
        assert!(self.api.take_seen().is_empty(), "a refused request reached the API");
        told
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.start();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[byte; 32]).unwrap()
}

pub(crate) fn told(told: &(u16, String, String)) -> (u16, &str, &str) {
    (told.0, &told.1, &told.2)
}
