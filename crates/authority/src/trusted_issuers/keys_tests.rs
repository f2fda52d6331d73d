//! Files and discovery; the fetching itself is tested where it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use attorn_jose::{NewHeader, SigningKey, sign};
use attorn_json::Limits as JsonLimits;
use attorn_net::{Body, Limits, Listener, Shutdown, serve};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::service::service_fn;
use serde_json::json;

use super::*;

static NUMBERS: AtomicU64 = AtomicU64::new(0);

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[number; 32]).unwrap()
}

fn set(numbers: &[u8]) -> String {
    let jwk = |number: &u8| key(*number).public().to_jwk(Some(&number.to_string()));
    format!(r#"{{"keys":[{}]}}"#, numbers.iter().map(jwk).collect::<Vec<_>>().join(","))
}

fn config(issuer: &str) -> TrustedIssuer {
    serde_json::from_value(json!({
        "issuer": issuer, "kind": "workload",
        "agents": [{"agent": "a", "claims": {"sub": "x"}}]
    }))
    .unwrap()
}

/// Whether a token holds that says it is by key `name`, signed by key `signer`.
async fn holds(
    source: &KeySource,
    (name, signer): (&str, u8),
    now_s: u64,
) -> Result<(), JwtGrantRefusal> {
    let header = NewHeader { typ: "JWT", kid: Some(name), jwk: false };
    let text = sign(&header, b"{}", &key(signer)).unwrap();
    let jws = Compact::parse_of_issuer(&text, &JsonLimits::JWT).unwrap();
    source.verify(jws, now_s).await.map(drop)
}

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-jwks-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.holds(text);
        file
    }

    fn holds(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn of_file(file: &File) -> Result<KeySource, TrustedIssuersRefusal> {
    let jwks_file = Some(file.0.clone());
    let config = TrustedIssuer { jwks_file, ..config("https://platform.example") };
    KeySource::new(&config, 1000)
}

#[tokio::test]
async fn a_file_is_looked_at_again_each_minute() {
    let file = File::new(&set(&[1]));
    let source = of_file(&file).unwrap();
    assert_eq!(holds(&source, ("1", 1), 1000).await, Ok(()));
    assert_eq!(holds(&source, ("2", 2), 1000).await, Err(JwtGrantRefusal::KeyUnknown));
    assert_eq!(holds(&source, ("1", 2), 1000).await, Err(JwtGrantRefusal::Signature));
    file.holds(&set(&[2]));
    assert_eq!(holds(&source, ("2", 2), 1059).await, Err(JwtGrantRefusal::KeyUnknown));
    assert_eq!(holds(&source, ("2", 2), 1060).await, Ok(()));
    assert_eq!(holds(&source, ("1", 1), 1060).await, Err(JwtGrantRefusal::KeyUnknown));
    // Half a file is none; the keys of before count.
    file.holds(r#"{"keys":["#);
    assert_eq!(holds(&source, ("2", 2), 1200).await, Ok(()));
}

#[test]
fn a_file_that_cannot_be_used_is_found_at_the_start() {
    for text in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"1","k":"AAAA"}]}"#] {
        assert!(of_file(&File::new(text)).is_err(), "{text}");
    }
    let file = File::new(&set(&[1]));
    let gone = of_file(&file);
    assert!(gone.is_ok());
    std::fs::remove_file(&file.0).unwrap();
    assert!(of_file(&file).is_err());
}

/// An issuer with a document and a key set, and how often its document was asked for.
struct Issuer {
    origin: String,
    named: Arc<Mutex<String>>,
    asked: Arc<AtomicU32>,
    shutdown: Shutdown,
}

impl Issuer {
    async fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, None).await.unwrap();
        let origin = format!("http://{}", listener.address());
        let named = Arc::new(Mutex::new(origin.clone()));
        let (asked, shutdown) = (Arc::new(AtomicU32::new(0)), Shutdown::new());
        let (name, counter, at) = (Arc::clone(&named), Arc::clone(&asked), origin.clone());
        let service = service_fn(move |request: Request<_>| {
            let body = if request.uri().path() == "/jwks" {
                set(&[1])
            } else {
                counter.fetch_add(1, Ordering::SeqCst);
                let issuer = name.lock().unwrap().clone();
                json!({"issuer": issuer, "jwks_uri": format!("{at}/jwks")}).to_string()
            };
            let mut answer = Response::new(Body::full(body));
            answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
        Self { origin, named, asked, shutdown }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let issuer = Issuer::new().await;
    let source = KeySource::new(&config(&issuer.origin), 1000).unwrap();
    assert_eq!(issuer.asked(), 0);
    for now_s in [1000, 1001, 4599] {
        assert_eq!(holds(&source, ("1", 1), now_s).await, Ok(()));
    }
    assert_eq!(issuer.asked(), 1);
    assert_eq!(holds(&source, ("1", 1), 4600).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_document_of_another_issuer_leads_nowhere() {
    let issuer = Issuer::new().await;
    *issuer.named.lock().unwrap() = "https://other.example".to_owned();
    let source = KeySource::new(&config(&issuer.origin), 1000).unwrap();
    for now_s in [1000, 1001, 1004] {
        assert_eq!(holds(&source, ("1", 1), now_s).await, Err(JwtGrantRefusal::KeysUnavailable));
    }
    // Not asked again with every token.
    assert_eq!(issuer.asked(), 1);
    *issuer.named.lock().unwrap() = issuer.origin.clone();
    assert_eq!(holds(&source, ("1", 1), 1005).await, Ok(()));
}

#[tokio::test]
async fn a_url_is_asked_as_it_is() {
    let issuer = Issuer::new().await;
    let jwks_uri = Some(format!("{}/jwks", issuer.origin));
    let source = KeySource::new(&TrustedIssuer { jwks_uri, ..config(&issuer.origin) }, 1000);
    assert_eq!(holds(&source.unwrap(), ("1", 1), 1000).await, Ok(()));
    assert_eq!(issuer.asked(), 0);
}
