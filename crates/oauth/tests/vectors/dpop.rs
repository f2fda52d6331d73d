use attorn_jose::{Algorithm, HeaderCache, base64url, sha256};
use attorn_oauth::dpop::{DpopRefusal, NonceKey, NoncePolicy, ProofExpectation, verify};
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{NOW_S, RESOURCE, run};

/// Every refusal of the verifier; `Missing` belongs to the edge, which sees the header.
const REFUSALS: [DpopRefusal; 15] = [
    DpopRefusal::Algorithm,
    DpopRefusal::Claims,
    DpopRefusal::Clock,
    DpopRefusal::Jti,
    DpopRefusal::Key,
    DpopRefusal::KeyMismatch,
    DpopRefusal::Malformed,
    DpopRefusal::Method,
    DpopRefusal::Nonce,
    DpopRefusal::NonceMissing,
    DpopRefusal::Signature,
    DpopRefusal::TokenHash,
    DpopRefusal::TooLong,
    DpopRefusal::Type,
    DpopRefusal::Url,
];

const TOKEN: &str = "the-access-token";

fn nonce_key(byte: u8) -> NonceKey {
    NonceKey::new(&[byte; 32]).unwrap()
}

/// `ath`, `ath:<token>`, `ath=` (padded), `nonce`, `nonce:foreign`, `nonce:old`.
fn fill(placeholder: &str) -> Option<String> {
    let ath = |token: &str| base64url(&sha256(token.as_bytes()));
    match placeholder {
        "ath" => Some(ath(TOKEN)),
        "ath=" => Some(format!("{}=", ath(TOKEN))),
        "nonce" => Some(nonce_key(1).mint(NOW_S - 5, &[1; 12])),
        "nonce:foreign" => Some(nonce_key(2).mint(NOW_S - 5, &[1; 12])),
        "nonce:old" => Some(nonce_key(1).mint(NOW_S - 61, &[1; 12])),
        _ => placeholder.strip_prefix("ath:").map(ath),
    }
}

fn outcome(changes: &Changes, proof: &str, cache: Option<&HeaderCache>) -> String {
    let token = changes.token.as_deref().unwrap_or(TOKEN);
    let digest = sha256(token.as_bytes());
    let jkt = match &changes.jkt {
        Some(text) => text.parse().unwrap(),
        None => key(changes.bound.as_deref().unwrap_or("agent")).public().thumbprint(),
    };
    let nonces = nonce_key(1);
    let expected = ProofExpectation {
        algorithms: &[Algorithm::EdDsa, Algorithm::Es256],
        htm: changes.htm.as_deref().unwrap_or("POST"),
        htu: changes.htu.as_deref().unwrap_or(RESOURCE),
        access_token: (!token.is_empty()).then_some((&digest, &jkt)),
        nonce: match changes.nonce.as_deref() {
            Some("off") => NoncePolicy::Off,
            Some("required") | None => NoncePolicy::Required(&nonces),
            Some(other) => panic!("no nonce policy `{other}`"),
        },
        header_cache: cache,
    };
    match verify(proof, &expected, changes.now.unwrap_or(NOW_S)) {
        Ok(proof) => {
            assert_eq!(proof.nonce_age_s().is_none(), matches!(expected.nonce, NoncePolicy::Off));
            "verified".to_owned()
        }
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn proofs() {
    let names = REFUSALS.map(|refusal| format!("{refusal:?}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let jwk: serde_json::Value = serde_json::from_str(&key("agent").public().to_jwk(None)).unwrap();
    let header = json!({"alg": "EdDSA", "jwk": jwk, "typ": "dpop+jwt"});
    let claims = json!({
        "ath": "@ath",
        "htm": "POST",
        "htu": RESOURCE,
        "iat": NOW_S,
        "jti": "proof-1",
        "nonce": "@nonce",
    });
    let cache = HeaderCache::new(1024);
    let file = include_str!("../../../../vectors/dpop/proof.json");
    run(file, &names, |changes: &Changes| {
        let proof = changes.jwt(&header, &claims, "agent", fill);
        let cold = outcome(changes, &proof, None);
        // A cache, cold or warm, changes no outcome.
        assert_eq!(outcome(changes, &proof, Some(&cache)), cold);
        assert_eq!(outcome(changes, &proof, Some(&cache)), cold);
        cold
    });
}
