//! Tokens on somebody else's word.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::fake::{Fake, Seen, key, reply};
use crate::assertion::{AssertionClient, AssertionFailure, AssertionSource, ClientProof, Provider};
use crate::request::TokenFailure;
use crate::secret::ClientSecret;
use crate::token::{Grant, TokenSource, UnboundTokens};

static FILES: AtomicU64 = AtomicU64::new(0);
const JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-assertion-{}-{number}", std::process::id());
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

async fn fake() -> Fake {
    Fake::start(|_: &Seen, _: &Fake| reply(200, &json!({}))).await
}

async fn tokens(fake: &Fake, source: AssertionSource, authentication: ClientProof) -> TokenSource {
    let world = fake.world();
    let server = crate::discovery::authorization_server(&world, &fake.origin).await.unwrap();
    let grant = Grant::Assertion(AssertionClient { source, authentication, key: key() });
    TokenSource::new(world, server, fake.resource(), grant, UnboundTokens::Refuse)
}

fn provider(fake: &Fake, id_token: &File) -> Provider {
    Provider {
        token_endpoint: Url::parse(&format!("{}/idp/token", fake.origin)).unwrap(),
        client_id: Some("desk".to_owned()),
        secret: None,
        id_token: id_token.0.clone(),
    }
}

#[tokio::test]
async fn a_platforms_file_is_read_for_each_token() {
    let (fake, file) = (fake().await, File::new("first.jwt.x\n"));
    let source = AssertionSource::File(file.0.clone());
    let tokens = tokens(&fake, source, ClientProof::Assertion).await;
    tokens.token().await.unwrap();
    file.holds("second.jwt.x");
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    tokens.token().await.unwrap();
    let seen = fake.seen("/token");
    let told: Vec<_> = seen.iter().map(|seen| seen.field("assertion").unwrap()).collect();
    assert_eq!(told, ["first.jwt.x", "second.jwt.x"]);
    // Nothing else says who asks.
    for name in ["client_id", "client_assertion", "scope"] {
        assert!(seen.iter().all(|seen| seen.field(name).is_none()), "{name}");
    }
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_challenge_for_a_nonce_is_answered_with_the_same_assertion() {
    let (fake, file) = (fake().await, File::new("a.b.c"));
    fake.script().server_nonce = Some("n1");
    let source = AssertionSource::File(file.0.clone());
    tokens(&fake, source, ClientProof::Assertion).await.token().await.unwrap();
    assert_eq!((fake.seen("/token").len(), fake.script().tokens), (2, 1));
}

#[tokio::test]
async fn without_a_jwt_nobody_is_asked() {
    let (fake, file) = (fake().await, File::new(" \n"));
    let source = AssertionSource::File(file.0.clone());
    let tokens = tokens(&fake, source, ClientProof::Assertion).await;
    let empty = tokens.token().await.map(drop).unwrap_err();
    assert!(matches!(empty, TokenFailure::Assertion(AssertionFailure::Empty { .. })), "{empty}");
    std::fs::remove_file(&file.0).unwrap();
    let gone = tokens.token().await.map(drop).unwrap_err();
    assert!(matches!(gone, TokenFailure::Assertion(AssertionFailure::File { .. })), "{gone}");
    assert!(fake.seen("/token").is_empty());
}

#[tokio::test]
async fn an_id_token_becomes_an_id_jag_and_then_a_token() {
    let (fake, file) = (fake().await, File::new("id.token.x"));
    fake.script().exchanged = json!({ "access_token": "the.jag.x", "issued_token_type": JAG });
    let source = AssertionSource::Provider(provider(&fake, &file));
    let tokens = tokens(&fake, source, ClientProof::Key("agt_test".to_owned())).await;
    tokens.token().await.unwrap();
    let asked = &fake.seen("/idp/token")[0];
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", JAG),
        ("subject_token", "id.token.x"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("audience", fake.origin.as_str()),
        ("resource", fake.resource().as_str()),
        ("client_id", "desk"),
    ] {
        assert_eq!(asked.field(name).as_deref(), Some(value), "{name}");
    }
    let asked = &fake.seen("/token")[0];
    assert_eq!(asked.field("assertion").as_deref(), Some("the.jag.x"));
    assert_eq!(asked.field("client_id").as_deref(), Some("agt_test"));
    // The ID token stays between the client and its provider.
    assert!(!asked.body.contains("id.token.x") && asked.field("client_assertion").is_some());
}

#[tokio::test]
async fn what_is_no_id_jag_is_not_shown_to_anybody() {
    let (fake, file) = (fake().await, File::new("id.token.x"));
    let of = "urn:ietf:params:oauth:token-type:access_token";
    fake.script().exchanged = json!({ "access_token": "of.the.provider", "issued_token_type": of });
    let source = AssertionSource::Provider(provider(&fake, &file));
    let tokens = tokens(&fake, source, ClientProof::Key("agt_test".to_owned())).await;
    let refused = tokens.token().await.map(drop).unwrap_err();
    assert!(matches!(refused, TokenFailure::Assertion(AssertionFailure::Kind)), "{refused}");
    assert!(fake.seen("/token").is_empty());
}

#[tokio::test]
async fn a_secret_goes_to_whom_it_belongs() {
    let (fake, file) = (fake().await, File::new("id.token.x"));
    fake.script().exchanged = json!({ "access_token": "the.jag.x", "issued_token_type": JAG });
    let secret = |text: &str| ClientSecret::new(Zeroizing::new(text.to_owned()));
    let provider = Provider { secret: Some(secret("of-idp")), ..provider(&fake, &file) };
    let own = ClientProof::Secret { client_id: "here".to_owned(), secret: secret("of-server") };
    tokens(&fake, AssertionSource::Provider(provider), own).await.token().await.unwrap();
    let told = |path: &str| fake.seen(path)[0].header("authorization").unwrap().to_owned();
    assert_eq!(told("/idp/token"), "Basic ZGVzazpvZi1pZHA=");
    assert_eq!(told("/token"), "Basic aGVyZTpvZi1zZXJ2ZXI=");
    assert!(fake.seen("/idp/token")[0].field("client_id").is_none());
}
