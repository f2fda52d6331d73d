//! The ID token and the keys of the provider: whatever does not hold lets nobody in.

use attorn_jose::{Algorithm, NewHeader, SigningKey, base64url, sha256, sign};
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::browser::{Browser, Town, parameter};
use super::provider::{ACCESS_TOKEN, ANN, CLIENT_ID, Provider, Trip, is_in};
use crate::world::START_MS;

const NOW_S: u64 = START_MS / 1000;

#[tokio::test]
async fn each_claim_of_the_token_holds_or_nobody_is_in() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    for (name, value, check) in [
        ("iss", json!("https://evil.example"), "iss"),
        ("aud", json!("another"), "aud"),
        ("aud", json!([CLIENT_ID, "another"]), "aud"),
        ("azp", json!("another"), "azp"),
        ("exp", json!(NOW_S), "exp"),
        ("iat", json!(NOW_S + 120), "iat"),
        ("iat", json!(NOW_S - 3600), "iat"),
        ("nbf", json!(NOW_S + 120), "nbf"),
        ("nonce", json!("another"), "nonce"),
        ("nonce", Value::Null, "claims"),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"),
        ("sub", json!(""), "sub"),
        ("groups", json!({"corp-it": true}), "groups"),
    ] {
        let change = |claims: &mut Value| claims[name] = value.clone();
        let answer = town.comes_back(&browser, &provider, change).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name} {value}");
        assert!(browser.cookie("session").is_none(), "{name} {value}");
        assert_eq!(town.refused().await, ("login.token".into(), check.into()), "{name} {value}");
    }
    let hash = sha256(ACCESS_TOKEN.as_bytes());
    let right = |claims: &mut Value| claims["at_hash"] = json!(base64url(&hash[..16]));
    assert!(is_in(&town.comes_back(&browser, &provider, right).await));
}

/// What a token with this header and signer is refused for.
async fn shown(
    (town, provider): (&Town, &Provider),
    header: &NewHeader<'_>,
    key: &SigningKey,
) -> Result<(), String> {
    let browser = Browser::new(&town.world);
    let trip = Trip::begin(&browser).await;
    let claims = provider.claims(town, &trip.nonce).to_string();
    provider.gives_token(&sign(header, claims.as_bytes(), key).unwrap());
    let answer = browser.get(&trip.answer(provider)).await;
    if is_in(&answer) {
        return Ok(());
    }
    let (reason, check) = town.refused().await;
    Err(if check.is_empty() { reason } else { check })
}

fn named(kid: &str) -> NewHeader<'_> {
    NewHeader { typ: "JWT", kid: Some(kid), jwk: false }
}

#[tokio::test]
async fn the_token_is_signed_by_a_key_of_the_provider() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let at = (&town, &provider);
    let (own, other) =
        (Provider::key(), SigningKey::from_seed(Algorithm::Es256, &[34; 32]).unwrap());
    let refused = |check: &str| Err(check.to_owned());
    assert_eq!(shown(at, &named("k1"), &other).await, refused("signature"));
    assert_eq!(shown(at, &named("k2"), &own).await, refused("key"));
    assert_eq!(shown(at, &named("../../dev/null"), &own).await, refused("key"));
    // Its own key in the header proves nothing.
    let embedded = NewHeader { jwk: true, ..named("k1") };
    assert_eq!(shown(at, &embedded, &other).await, refused("signature"));
    // Signed by it, and no ID token.
    let another_kind = NewHeader { typ: "at+jwt", ..named("k1") };
    assert_eq!(shown(at, &another_kind, &own).await, refused("typ"));
    assert_eq!(shown(at, &named("k1"), &own).await, Ok(()));
    assert_eq!(shown(at, &NewHeader { kid: None, ..named("k1") }, &own).await, Ok(()));
}

#[tokio::test]
async fn a_token_without_a_signature_that_is_allowed_is_none() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    for alg in ["none", "None", "HS256", "RS512", "ES384"] {
        let trip = Trip::begin(&browser).await;
        let header = base64url(json!({"alg": alg, "kid": "k1"}).to_string().as_bytes());
        let claims = base64url(provider.claims(&town, &trip.nonce).to_string().as_bytes());
        for signature in ["", "AAAA"] {
            provider.gives_token(&format!("{header}.{claims}.{signature}"));
        }
        let answer = browser.get(&trip.answer(&provider)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{alg}");
        assert_eq!(town.refused().await, ("login.token".into(), "form".into()), "{alg}");
    }
    for text in ["", "a.b", "a.b.c.d.e", "{}"] {
        let trip = Trip::begin(&browser).await;
        provider.gives_token(text);
        let answer = browser.get(&trip.answer(&provider)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{text}");
    }
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
}

#[tokio::test]
async fn a_provider_signs_with_what_the_operator_allows() {
    let provider = Provider::new().await;
    let mut login = provider.login();
    login.algorithms = vec!["EdDSA".to_owned()];
    let town = Town::with_login(login).await;
    town.link("ann", &provider, ANN).await;
    let ed = SigningKey::from_seed(Algorithm::EdDsa, &[35; 32]).unwrap();
    provider.say(|says| says.keys.push(ed.public().to_jwk(Some("k2"))));
    let at = (&town, &provider);
    // Its key for ES256 is left out, so nothing that it signed is from the provider.
    assert_eq!(shown(at, &named("k1"), &Provider::key()).await, Err("key".to_owned()));
    assert_eq!(shown(at, &named("k2"), &ed).await, Ok(()));
}

#[tokio::test]
async fn bad_keys_of_the_provider_are_left_out_with_what_they_signed() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let at = (&town, &provider);
    let good = Provider::key().public().to_jwk(Some("k1"));
    let encryption = good.replace(r#""use":"sig""#, r#""use":"enc""#);
    let operations = good.replacen('{', r#"{"key_ops":["encrypt"],"#, 1);
    let private = good.replacen('{', r#"{"d":"AAAA","#, 1);
    let other = SigningKey::from_seed(Algorithm::Es256, &[36; 32]).unwrap();
    let twin = other.public().to_jwk(Some("k1"));
    let symmetric = r#"{"kty":"oct","kid":"k1","k":"AAAA"}"#.to_owned();
    let weak = |n: &[u8], e: &str| {
        format!(r#"{{"kty":"RSA","kid":"k1","n":"{}","e":"{e}"}}"#, base64url(n))
    };
    let modulus = |bits: usize| {
        let mut n = vec![0x5a; bits / 8];
        (n[0], n[bits / 8 - 1]) = (0xc1, 0x0b);
        n
    };
    for (name, keys) in [
        ("for encryption", vec![encryption]),
        ("for other operations", vec![operations]),
        ("private", vec![private]),
        ("two of one name", vec![good.clone(), twin]),
        ("symmetric", vec![symmetric]),
        ("1024 bits", vec![weak(&modulus(1024), "AQAB")]),
        ("exponent 1", vec![weak(&modulus(2048), "AQ")]),
    ] {
        // Beside one that can be used, so that the set is not refused as a whole.
        let another = SigningKey::from_seed(Algorithm::EdDsa, &[37; 32]).unwrap();
        provider.say(|says| {
            says.keys = keys;
            says.keys.push(another.public().to_jwk(Some("k9")));
        });
        town.world.pass_s(300);
        assert_eq!(shown(at, &named("k1"), &Provider::key()).await, Err("key".into()), "{name}");
        assert_eq!(shown(at, &named("k9"), &another).await, Ok(()), "{name}");
    }
    provider.say(|says| says.keys = vec![good]);
    town.world.pass_s(300);
    assert_eq!(shown(at, &named("k1"), &Provider::key()).await, Ok(()));
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_found_without_a_restart() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let at = (&town, &provider);
    assert_eq!(shown(at, &named("k1"), &Provider::key()).await, Ok(()));
    let next = SigningKey::from_seed(Algorithm::EdDsa, &[38; 32]).unwrap();
    provider.say(|says| says.keys = vec![next.public().to_jwk(Some("k2"))]);
    town.world.pass_s(30);
    assert_eq!(shown(at, &named("k2"), &next).await, Ok(()));
    // The old one is gone with it.
    assert_eq!(shown(at, &named("k1"), &Provider::key()).await, Err("key".to_owned()));
}

#[tokio::test]
async fn who_has_to_show_it_anew_is_believed_with_its_time_alone() {
    let provider = Provider::new().await;
    let town = Town::at(&provider).await;
    let browser = Browser::new(&town.world);
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
    let come = async |auth_time: Value| {
        let asked =
            browser.get(&format!("/authorize?{}", town.query(&[("prompt", "login")]))).await;
        browser.follow(&asked).await;
        let way = format!("/login/provider?waiting={}", browser.hidden("waiting"));
        let trip = Trip::begin_at(&browser, &way).await;
        assert_eq!(parameter(&trip.to, "prompt").as_deref(), Some("login"));
        assert_eq!(parameter(&trip.to, "max_age").as_deref(), Some("0"));
        let mut claims = provider.claims(&town, &trip.nonce);
        claims["auth_time"] = auth_time;
        provider.gives(&claims);
        browser.get(&trip.answer(&provider)).await.status
    };
    for stale in [json!(NOW_S - 3600), json!("now")] {
        assert_eq!(come(stale.clone()).await, StatusCode::FORBIDDEN, "{stale}");
        assert_eq!(town.refused().await.0, "login.token");
    }
    assert_eq!(come(json!(NOW_S)).await, StatusCode::SEE_OTHER);
}

/// A file that its owner alone can read, as long as the test runs.
struct PrivateFile(std::path::PathBuf);

impl PrivateFile {
    fn new(name: &str, text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("attorn-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[tokio::test]
async fn the_authority_proves_who_it_is_at_the_provider() {
    let provider = Provider::new().await;
    let key = SigningKey::from_seed(Algorithm::EdDsa, &[39; 32]).unwrap();
    let file = PrivateFile::new("login-key", &key.to_pkcs8_pem().unwrap());
    let mut login = provider.login();
    login.client_key = Some(file.0.clone());
    login.client_key_id = Some("the key of Attorn".to_owned());
    let town = Town::with_login(login).await;
    town.link("ann", &provider, ANN).await;
    let browser = Browser::new(&town.world);
    let mut seen = Vec::new();
    for _ in 0..2 {
        assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
        let (form, authorization) = provider.redeemed();
        let sent = |name| parameter(&format!("?{form}"), name).unwrap();
        assert_eq!(
            (sent("client_assertion_type").as_str(), authorization.as_str()),
            (ASSERTION_TYPE, "")
        );
        let assertion = sent("client_assertion");
        let limits = attorn_json::Limits::JWT;
        let jws = attorn_jose::Compact::parse(&assertion, &limits).unwrap();
        assert_eq!(jws.header().kid.as_deref(), Some("the key of Attorn"));
        let verified = jws.verify(key.public()).unwrap();
        let claims: Value = serde_json::from_slice(verified.payload()).unwrap();
        // RFC 7523 section 3, with the audience that no other server takes.
        assert_eq!(claims["aud"], provider.issuer);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT_ID), &json!(CLIENT_ID)));
        seen.push(claims["jti"].clone());
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_secret_is_sent_in_the_header_and_encoded() {
    let provider = Provider::new().await;
    let file = PrivateFile::new("login-secret", "s3cr:t+/%\n");
    let mut login = provider.login();
    login.client_secret = Some(file.0.clone());
    let town = Town::with_login(login).await;
    town.link("ann", &provider, ANN).await;
    let browser = Browser::new(&town.world);
    assert!(is_in(&town.comes_back(&browser, &provider, |_| ()).await));
    let (form, authorization) = provider.redeemed();
    assert!(!form.contains("s3cr"), "{form}");
    let basic = authorization.strip_prefix("Basic ").unwrap();
    let both = base64::engine::general_purpose::STANDARD.decode(basic).unwrap();
    assert_eq!(String::from_utf8(both).unwrap(), format!("{CLIENT_ID}:s3cr%3At%2B%2F%25"));
}
