use attorn_jose::{base64url, sha256};
use attorn_oauth::enrolment::{EnrolmentRefusal, Expected, verify};
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{ISSUER, NOW_S, run};

const REFUSALS: [EnrolmentRefusal; 8] = [
    EnrolmentRefusal::Audience,
    EnrolmentRefusal::Claims,
    EnrolmentRefusal::Clock,
    EnrolmentRefusal::Code,
    EnrolmentRefusal::Key,
    EnrolmentRefusal::Malformed,
    EnrolmentRefusal::Signature,
    EnrolmentRefusal::Type,
];

const CODE: &str = "one-time-code";

/// `code`, `code:<another>`, `code=` (padded).
fn fill(placeholder: &str) -> Option<String> {
    let hash = |code: &str| base64url(&sha256(code.as_bytes()));
    match placeholder {
        "code" => Some(hash(CODE)),
        "code=" => Some(format!("{}=", hash(CODE))),
        _ => placeholder.strip_prefix("code:").map(hash),
    }
}

#[test]
fn enrolment_proofs() {
    let names = REFUSALS.map(|refusal| format!("{refusal:?}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let jwk: serde_json::Value = serde_json::from_str(&key("agent").public().to_jwk(None)).unwrap();
    let header = json!({"alg": "EdDSA", "jwk": jwk, "typ": "attorn-enrolment+jwt"});
    let claims = json!({"aud": ISSUER, "code_hash": "@code", "iat": NOW_S, "jti": "enrol-1"});
    let file = include_str!("../../../../vectors/oauth/enrolment.json");
    run(file, &names, |changes: &Changes| {
        let proof = changes.jwt(&header, &claims, "agent", fill);
        match verify(&proof, &Expected { issuer: ISSUER, code: CODE }, NOW_S) {
            Ok(enrolment) => {
                let signer = changes.sign.as_deref().unwrap_or("agent");
                assert_eq!(enrolment.key(), key(signer).public());
                "verified".to_owned()
            }
            Err(refusal) => format!("{refusal:?}"),
        }
    });
}
