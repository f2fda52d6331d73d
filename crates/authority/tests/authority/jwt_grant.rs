//! Assertions of other issuers at the token endpoint.

mod id_jag;
mod workload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use attorn_authority::TrustedIssuer;
use attorn_jose::{Algorithm, NewHeader, SigningKey, sign};
use attorn_oauth::jwt_grant::JWT_BEARER;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World, form_request};

/// The platform of the tests, and an identity provider.
const PLATFORM: &str = "https://platform.example";
const PROVIDER: &str = "https://idp.example";

static FILES: AtomicU64 = AtomicU64::new(0);

/// The key of an issuer, by a number.
fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::Es256, &[number; 32]).unwrap()
}

/// A file with the key set of an issuer, gone with the test.
struct KeySet(PathBuf);

impl KeySet {
    /// The key of this number under this name.
    fn new(number: u8, kid: &str) -> Self {
        let name = format!(
            "attorn-jwt-grant-{}-{}",
            std::process::id(),
            FILES.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let set = format!(r#"{{"keys":[{}]}}"#, key(number).public().to_jwk(Some(kid)));
        std::fs::write(&path, set).unwrap();
        Self(path)
    }
}

impl Drop for KeySet {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A trusted issuer with keys in a file, and more settings.
fn trusted(issuer: &str, keys: &KeySet, more: &Value) -> TrustedIssuer {
    let mut config = json!({ "issuer": issuer, "jwks_file": keys.0 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

/// A JWT by the key of that number, which it names `a`.
fn jwt(typ: &str, claims: &Value, number: u8) -> String {
    let header = NewHeader { typ, kid: Some("a"), jwk: false };
    sign(&header, claims.to_string().as_bytes(), &key(number)).unwrap()
}

/// A request with an assertion and a proof by a key.
async fn ask(world: &World, key: &SigningKey, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", JWT_BEARER), ("assertion", assertion)], more].concat();
    let holder = holder(key);
    let nonce = nonce(world, &holder).await;
    world.public(form_request("/token", &form, Some(&world.proof(&holder, Some(&nonce))))).await
}

/// A nonce, which costs neither an assertion nor anything else.
async fn nonce(world: &World, holder: &Client) -> String {
    let form = [("grant_type", JWT_BEARER), ("assertion", "a.b.c")];
    let proof = world.proof(holder, None);
    let answer = world.public(form_request("/token", &form, Some(&proof))).await;
    assert_eq!(answer.body["error"], "use_dpop_nonce", "{answer:?}");
    answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
}

/// Only the key of it counts here.
fn holder(key: &SigningKey) -> Client {
    let id = attorn_registry::AgentId::from_random(&[9; 16]);
    let jwk = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
    Client { id, key: jwk }
}

/// What a token says.
fn claims(answer: &Answer) -> Value {
    let payload = answer.text("access_token").split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

/// A refusal, and the reason that the journal has for it.
async fn refusal(world: &World, answer: &Answer) -> (u16, String, String) {
    let (status, error) = answer.refusal();
    let entry = world.newest("token.refused").await;
    (status, error.to_owned(), entry["reason"].as_str().unwrap().to_owned())
}

fn is(status: u16, error: &str, reason: &str) -> (u16, String, String) {
    (status, error.to_owned(), reason.to_owned())
}
