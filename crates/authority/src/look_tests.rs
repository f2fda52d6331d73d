//! Against a listener on loopback, whose documents each test chooses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use attorn_jose::SigningKey;
use attorn_net::{Body, Limits, Listener, ReceivedBody, Shutdown, serve};
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use hyper::service::service_fn;
use serde_json::{Value, json};

use super::*;

/// An issuer with one document at each path.
struct Site {
    url: String,
    documents: Arc<Mutex<Vec<(String, Value)>>>,
    shutdown: Shutdown,
}

impl Site {
    async fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, None).await.unwrap();
        let url = format!("http://{}", listener.address());
        let (documents, shutdown) = (Arc::<Mutex<Vec<_>>>::default(), Shutdown::new());
        let held = Arc::clone(&documents);
        let service = service_fn(move |request: Request<ReceivedBody>| {
            let held: Vec<(String, Value)> = held.lock().unwrap().clone();
            let found = held.into_iter().find(|(path, _)| path == request.uri().path());
            let mut answer = Response::new(Body::full(
                found.as_ref().map(|(_, document)| document.to_string()).unwrap_or_default(),
            ));
            if found.is_none() {
                *answer.status_mut() = StatusCode::NOT_FOUND;
            }
            answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
        Self { url, documents, shutdown }
    }

    fn has(&self, path: &str, document: Value) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(known, _)| known != path);
        documents.push((path.to_owned(), document));
    }

    /// A provider that lacks nothing, with these members changed.
    fn provides(&self, change: &Value) {
        let url = &self.url;
        let mut document = json!({
            "issuer": url, "jwks_uri": format!("{url}/jwks"),
            "authorization_endpoint": format!("{url}/auth"), "token_endpoint": format!("{url}/token"),
            "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        attorn_testkit::forge::merge(&mut document, change);
        self.has(DISCOVERY, document);
    }

    fn holds(&self, keys: &[String]) {
        let keys: Vec<Value> = keys.iter().map(|jwk| serde_json::from_str(jwk).unwrap()).collect();
        self.has("/jwks", json!({ "keys": keys }));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

fn jwk(name: &str) -> String {
    SigningKey::from_seed(Algorithm::EdDsa, &[1; 32]).unwrap().public().to_jwk(Some(name))
}

fn trusted(issuer: &str, more: &Value) -> TrustedIssuer {
    let mut config = json!({
        "issuer": issuer, "kind": "workload",
        "agents": [{ "agent": "a", "claims": { "sub": "x" } }],
    });
    attorn_testkit::forge::merge(&mut config, more);
    serde_json::from_value(config).unwrap()
}

fn login(issuer: &str) -> LoginConfig {
    let config = json!({ "issuer": issuer, "display_name": "Example", "client_id": "attorn" });
    serde_json::from_value(config).unwrap()
}

#[tokio::test]
async fn an_issuer_is_found_by_its_document_or_its_address() {
    let site = Site::new().await;
    site.provides(&json!({}));
    site.holds(&[jwk("a")]);
    let keys_at = format!("{}/jwks", site.url);
    for config in
        [trusted(&site.url, &json!({})), trusted(&site.url, &json!({ "jwks_uri": keys_at }))]
    {
        let seen = look_at_issuer(&config).await.unwrap();
        assert_eq!((seen.keys_at.as_str(), seen.keys), (keys_at.as_str(), 1));
        assert_eq!((seen.algorithms, seen.findings), (BTreeSet::from(["EdDSA"]), Vec::new()));
    }
    site.holds(&[jwk("a"), jwk("b"), jwk("b")]);
    let seen = look_at_issuer(&trusted(&site.url, &json!({}))).await.unwrap();
    let twice = |one: &IssuerFinding| one.to_string().contains("`b` counts for nothing");
    assert!(
        seen.keys == 1 && seen.findings.len() == 2 && seen.findings.iter().all(twice),
        "{seen:?}"
    );
}

#[tokio::test]
async fn what_an_issuer_lacks_is_named() {
    let site = Site::new().await;
    let config = trusted(&site.url, &json!({}));
    let refused = async || look_at_issuer(&config).await.unwrap_err();
    let missing = refused().await;
    assert!(matches!(missing, LookRefusal::Fetch { why: FetchRefusal::Answer, .. }), "{missing}");
    assert!(missing.to_string().contains(DISCOVERY), "{missing}");
    site.provides(&json!({ "issuer": "https://other.example" }));
    let other = refused().await;
    assert!(matches!(other, LookRefusal::Document { why: IssuerMetadataRefusal::Issuer, .. }));
    site.provides(&json!({}));
    assert!(matches!(refused().await, LookRefusal::Fetch { .. }));
    site.holds(&[]);
    assert!(matches!(refused().await, LookRefusal::Keys { why: JwksRefusal::Empty, .. }));
    // Another host of a private network is asked only where it is listed.
    let inside =
        trusted("https://platform.example", &json!({ "jwks_uri": format!("{}/jwks", site.url) }));
    let inside = look_at_issuer(&inside).await.unwrap_err();
    let is_kept_out = |why| matches!(why, FetchRefusal::Address | FetchRefusal::Url);
    assert!(matches!(inside, LookRefusal::Fetch { why, .. } if is_kept_out(why)), "{inside}");
}

#[tokio::test]
async fn a_file_of_keys_is_read() {
    let path = std::env::temp_dir().join(format!("attorn-look-{}", std::process::id()));
    let config = trusted("https://platform.example", &json!({ "jwks_file": path }));
    for (text, is_well) in
        [(format!(r#"{{"keys":[{}]}}"#, jwk("a")), true), ("{}".to_owned(), false)]
    {
        std::fs::write(&path, text).unwrap();
        let seen = look_at_issuer(&config).await;
        assert_eq!(seen.is_ok_and(|seen| seen.keys == 1), is_well);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(look_at_issuer(&config).await, Err(LookRefusal::File(_))));
}

#[tokio::test]
async fn a_provider_says_what_a_log_in_needs() {
    let site = Site::new().await;
    site.holds(&[jwk("a")]);
    let look = async |change: &Value| {
        site.provides(change);
        look_at_provider(&login(&site.url)).await
    };
    assert_eq!(look(&json!({})).await.unwrap().findings, []);
    for (change, finding) in [
        (json!({ "id_token_signing_alg_values_supported": ["HS256"] }), IssuerFinding::NoAlgorithm),
        (
            json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
            IssuerFinding::NoAuthentication("none"),
        ),
        (
            json!({ "token_endpoint_auth_methods_supported": null }),
            IssuerFinding::NoAuthentication("none"),
        ),
        (json!({ "code_challenge_methods_supported": ["plain"] }), IssuerFinding::NoS256),
        (json!({ "code_challenge_methods_supported": null }), IssuerFinding::NoS256),
    ] {
        assert_eq!(look(&change).await.unwrap().findings, [finding], "{change}");
    }
    for change in [json!({ "issuer": format!("{}/", site.url) }), json!({ "token_endpoint": "/t" })]
    {
        let refused = look(&change).await.unwrap_err();
        assert!(matches!(refused, LookRefusal::Provider { .. }), "{refused}");
    }
    let secret = LoginConfig { client_secret: Some("/missing".into()), ..login(&site.url) };
    let refused = look_at_provider(&secret).await.unwrap_err();
    assert!(matches!(refused, LookRefusal::Login(LoginRefusal::File { .. })), "{refused}");
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
