//! Against a real listener on loopback; time is an argument, so nothing waits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use attorn_jose::{NewHeader, SigningKey, sign};
use attorn_json::Limits as JsonLimits;
use attorn_net::{Body, Limits, Listener, Shutdown, Tls, TlsMaterial, serve};
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use hyper::service::service_fn;
use zeroize::Zeroizing;

use super::*;

/// An issuer: what its set holds, and how often it was asked.
struct Issuer {
    url: String,
    set: Arc<Mutex<String>>,
    /// How it answers: status and media type.
    says: Arc<Mutex<(u16, &'static str)>>,
    asked: Arc<AtomicU32>,
    keys: IssuerKeys,
    shutdown: Shutdown,
}

impl Issuer {
    async fn new() -> Self {
        Self::serving(None, None).await
    }

    /// With TLS, or without; `roots` are those that the operator named.
    async fn serving(tls: Option<Tls>, roots: Option<&Path>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = Listener::bind(any, tls).await.unwrap();
        let origin = format!("{scheme}://{}", listener.address());
        let set: Arc<Mutex<String>> = Arc::default();
        let says = Arc::new(Mutex::new((200, JSON)));
        let (asked, shutdown) = (Arc::new(AtomicU32::new(0)), Shutdown::new());
        let (of_service, how) = (Arc::clone(&set), Arc::clone(&says));
        let counter = Arc::clone(&asked);
        let service = service_fn(move |_request| {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut answer = Response::new(Body::full(of_service.lock().unwrap().clone()));
            let (status, media_type) = *how.lock().unwrap();
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer.headers_mut().insert(CONTENT_TYPE, media_type.parse().unwrap());
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
        let client = Arc::new(IssuerClient::new(&origin, &[], roots).unwrap());
        let keys = IssuerKeys::new(client, &[Algorithm::EdDsa]);
        let issuer = Self { url: format!("{origin}/jwks"), set, says, asked, keys, shutdown };
        issuer.holds(&[1]);
        issuer
    }

    /// Puts these keys into the set, each named by its number.
    fn holds(&self, numbers: &[u8]) {
        let jwk = |number: &u8| key(*number).public().to_jwk(Some(&number.to_string()));
        let keys: Vec<_> = numbers.iter().map(jwk).collect();
        *self.set.lock().unwrap() = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    }

    fn breaks(&self) {
        *self.set.lock().unwrap() = "<html>".to_owned();
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Shows a token that says it is by key `name`, signed by key `signer`.
    async fn shown(&self, name: &str, signer: u8, now_s: u64) -> Result<(), SignatureRefusal> {
        let header = NewHeader { typ: "JWT", kid: Some(name), jwk: false };
        let text = sign(&header, b"{}", &key(signer)).unwrap();
        let token = Compact::parse_of_issuer(&text, &JsonLimits::JWT).unwrap();
        self.keys.verify(&self.url, token, now_s).await.map(drop)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[number; 32]).unwrap()
}

const JSON: &str = "application/json";
const UNKNOWN: Result<(), SignatureRefusal> = Err(SignatureRefusal::Key(NoKey::Unknown));

#[tokio::test]
async fn keys_are_asked_for_once_and_kept_for_minutes() {
    let issuer = Issuer::new().await;
    assert_eq!(issuer.asked(), 0);
    for now_s in [1000, 1000, 1299] {
        assert_eq!(issuer.shown("1", 1, now_s).await, Ok(()));
        assert_eq!(issuer.shown("1", 2, now_s).await, Err(SignatureRefusal::Signature));
    }
    assert_eq!(issuer.asked(), 1);
    // A key that was taken out of the set ends with the next look.
    issuer.holds(&[2]);
    assert_eq!(issuer.shown("1", 1, 1300).await, UNKNOWN);
    assert_eq!(issuer.shown("2", 2, 1300).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_and_unknown_names_cost_one_question() {
    let issuer = Issuer::new().await;
    assert_eq!(issuer.shown("1", 1, 1000).await, Ok(()));
    issuer.holds(&[1, 2]);
    // Just asked: not again for half a minute, whoever asks.
    for number in 0..200 {
        assert_eq!(issuer.shown(&format!("x{number}"), 1, 1029).await, UNKNOWN);
    }
    assert_eq!((issuer.shown("2", 2, 1029).await, issuer.asked()), (UNKNOWN, 1));
    assert_eq!((issuer.shown("2", 2, 1030).await, issuer.asked()), (Ok(()), 2));
    for number in 0..200 {
        assert_eq!(issuer.shown(&format!("x{number}"), 1, 1059).await, UNKNOWN);
    }
    assert_eq!((issuer.shown("x", 1, 1060).await, issuer.asked()), (UNKNOWN, 3));
}

#[tokio::test]
async fn where_the_issuer_is_down_its_keys_count_for_a_quarter_of_an_hour() {
    let issuer = Issuer::new().await;
    assert_eq!(issuer.shown("1", 1, 1000).await, Ok(()));
    issuer.breaks();
    assert_eq!((issuer.shown("1", 1, 1300).await, issuer.asked()), (Ok(()), 2));
    // Not asked again with every token.
    assert_eq!((issuer.shown("1", 1, 1304).await, issuer.asked()), (Ok(()), 2));
    assert_eq!((issuer.shown("1", 1, 1899).await, issuer.asked()), (Ok(()), 3));
    assert_eq!(issuer.shown("1", 1, 1904).await, Err(SignatureRefusal::Unavailable));
    issuer.holds(&[1]);
    assert_eq!(issuer.shown("1", 1, 1909).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_key_set_gives_no_key_and_takes_none_away() {
    let issuer = Issuer::new().await;
    let good = issuer.set.lock().unwrap().clone();
    let twice = good.replacen('{', r#"{"keys":[],"#, 1);
    let mut now_s = 1000;
    for (status, media_type, set) in [
        (500, JSON, good.as_str()),
        (302, JSON, &good),
        (200, "text/html", &good),
        (200, JSON, "<html>"),
        (200, JSON, ""),
        (200, JSON, r#"{"keys":[]}"#),
        (200, JSON, &twice),
        (200, JSON, &format!("{good}{}", " ".repeat(JWKS_BYTES_MAX))),
    ] {
        let about = format!("{status} {media_type} {set:.40}");
        *issuer.says.lock().unwrap() = (status, media_type);
        set.clone_into(&mut issuer.set.lock().unwrap());
        // Nothing is known yet, and then what is known is over: nobody is let in for want of a key.
        now_s += STALE_MAX_S;
        let refused = issuer.shown("1", 1, now_s).await;
        assert_eq!(refused, Err(SignatureRefusal::Unavailable), "{about}");
        // The twin: the issuer is well again, and then says it once more.
        *issuer.says.lock().unwrap() = (200, JSON);
        good.clone_into(&mut issuer.set.lock().unwrap());
        now_s += RETRY_S;
        assert_eq!(issuer.shown("1", 1, now_s).await, Ok(()), "{about}");
        *issuer.says.lock().unwrap() = (status, media_type);
        set.clone_into(&mut issuer.set.lock().unwrap());
        now_s += KEEP_S;
        let asked = issuer.asked();
        assert_eq!(issuer.shown("1", 1, now_s).await, Ok(()), "{about}");
        assert_eq!(issuer.asked(), asked + 1, "{about}");
        assert_eq!(issuer.shown("1", 2, now_s).await, Err(SignatureRefusal::Signature), "{about}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_asks_again() {
    let issuer = Issuer::new().await;
    assert_eq!(issuer.shown("1", 1, 1000).await, Ok(()));
    issuer.holds(&[2]);
    assert_eq!((issuer.shown("2", 2, 500).await, issuer.asked()), (Ok(()), 2));
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let issuer = Issuer::new().await;
    let (a, b, c) = tokio::join!(
        issuer.shown("1", 1, 1000),
        issuer.shown("1", 1, 1000),
        issuer.shown("1", 1, 1000)
    );
    assert_eq!((a, b, c, issuer.asked()), (Ok(()), Ok(()), Ok(()), 1));
}

#[tokio::test]
async fn an_issuer_of_a_private_authority_is_verified_with_the_roots_of_the_operator() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = || {
        let material = TlsMaterial {
            certificates_pem: made.cert.pem().into_bytes(),
            key_pem: Zeroizing::new(made.signing_key.serialize_pem().into_bytes()),
            clients: None,
            proxies: Vec::new(),
        };
        Some(Tls::new(&material).unwrap())
    };
    let roots = std::env::temp_dir().join(format!("attorn-issuer-{}.pem", std::process::id()));
    std::fs::write(&roots, made.cert.pem()).unwrap();
    let trusted = Issuer::serving(tls(), Some(&roots)).await;
    std::fs::remove_file(&roots).unwrap();
    assert_eq!(trusted.shown("1", 1, 1000).await, Ok(()));
    // The public authorities do not know it.
    let unknown = Issuer::serving(tls(), None).await;
    assert_eq!(unknown.shown("1", 1, 1000).await, Err(SignatureRefusal::Unavailable));
    assert_eq!(unknown.asked(), 0);
}
