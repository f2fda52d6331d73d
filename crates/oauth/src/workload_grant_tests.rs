use attorn_jose::{Algorithm, NewHeader, SigningKey, sign};
use serde_json::{Value, json};

use super::*;
use crate::jwt_grant::Assertion;

const NOW_S: u64 = 1_000_000;
const PLATFORM: &str = "https://platform.example";
const ISSUER: &str = "https://id.example";
const ENDPOINT: &str = "https://id.example/token";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::Es256, &[seed; 32]).unwrap()
}

fn rules() -> ClaimRules {
    let rules = json!([
        {"agent": "deployer", "claims": {"sub": "job:1", "ref": {"prefix": "refs/heads/"}}},
        {"agent": "tester", "claims": {"env": "test"}},
    ]);
    serde_json::from_value(rules).unwrap()
}

fn right() -> Value {
    json!({
        "iss": PLATFORM, "sub": "job:1", "aud": ISSUER, "iat": NOW_S, "exp": NOW_S + 600,
        "jti": "j1", "ref": "refs/heads/main"
    })
}

fn jwt(typ: &str, claims: &Value, signer: &SigningKey) -> String {
    let header = NewHeader { typ, kid: Some("k"), jwk: false };
    sign(&header, claims.to_string().as_bytes(), signer).unwrap()
}

fn verified(claims: &Value) -> Result<VerifiedWorkload, JwtGrantRefusal> {
    let text = jwt("JWT", claims, &key(1));
    let expected = Expected {
        issuer: PLATFORM,
        audience: ISSUER,
        token_endpoint: ENDPOINT,
        rules: &rules(),
        lifetime_max_s: 3600,
    };
    verify(&signed(&text, 1)?, &expected, NOW_S)
}

/// What holds under the key of that number.
fn signed(text: &str, number: u8) -> Result<Verified<'_>, JwtGrantRefusal> {
    let jws = Assertion::parse(text)?.into_jws();
    jws.verify(key(number).public()).map_err(|_| JwtGrantRefusal::Signature)
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = right();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = right();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn check(claims: &Value, expected: Result<(), JwtGrantRefusal>) {
    assert_eq!(verified(claims).map(drop), expected, "{claims}");
}

#[test]
fn a_workload_is_the_agent_of_its_rule() {
    let found = verified(&right()).unwrap();
    assert_eq!(found.agent().as_str(), "deployer");
    assert_eq!((found.subject(), found.jti()), ("job:1", Some("j1")));
    assert_eq!((found.expires_s(), found.key()), (NOW_S + 600, key(1).public().thumbprint()));
    for aud in [json!(ENDPOINT), json!([ISSUER]), json!([ENDPOINT])] {
        check(&changed("aud", aud), Ok(()));
    }
    check(&without("jti"), Ok(()));
}

#[test]
fn everything_else_is_refused_for_its_reason() {
    check(&changed("iss", json!("https://other.example")), Err(JwtGrantRefusal::Issuer));
    check(&changed("iss", json!(format!("{PLATFORM}/"))), Err(JwtGrantRefusal::Issuer));
    for aud in [json!("https://id.example/"), json!([]), json!([ISSUER, "https://b.example"])] {
        check(&changed("aud", aud), Err(JwtGrantRefusal::Audience));
    }
    check(&changed("aud", json!({"a": ISSUER})), Err(JwtGrantRefusal::Claims));
    check(&changed("exp", json!(NOW_S)), Err(JwtGrantRefusal::Clock));
    check(&changed("exp", json!(NOW_S + 3601)), Err(JwtGrantRefusal::Clock));
    check(&changed("iat", json!(NOW_S + 6)), Err(JwtGrantRefusal::Clock));
    check(&changed("nbf", json!(NOW_S + 6)), Err(JwtGrantRefusal::Clock));
    check(&changed("exp", json!("soon")), Err(JwtGrantRefusal::Claims));
    check(&changed("nbf", json!(null)), Err(JwtGrantRefusal::Claims));
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        check(&without(name), Err(JwtGrantRefusal::Claims));
    }
    check(&changed("jti", json!("")), Err(JwtGrantRefusal::Jti));
    check(&changed("jti", json!(7)), Err(JwtGrantRefusal::Claims));
    check(&changed("sub", json!("")), Err(JwtGrantRefusal::Claims));
    check(&changed("sub", json!("job:1\n")), Err(JwtGrantRefusal::Claims));
    check(&changed("sub", json!("job:2")), Err(JwtGrantRefusal::Unmapped));
    check(&changed("env", json!("test")), Err(JwtGrantRefusal::Unmapped));
}

#[test]
fn a_key_that_came_along_counts_for_nothing() {
    let header = NewHeader { typ: "JWT", kid: None, jwk: true };
    let with_key = sign(&header, right().to_string().as_bytes(), &key(1)).unwrap();
    assert_eq!(Assertion::parse(&with_key).err(), Some(JwtGrantRefusal::Malformed));
}

#[test]
fn other_kinds_of_jwt_are_nobodys() {
    let kind = |typ: &str| Assertion::parse(&jwt(typ, &right(), &key(1))).unwrap().kind();
    assert_eq!(kind("JWT"), Ok(GrantUse::Workload));
    assert_eq!(kind("oauth-id-jag+jwt"), Ok(GrantUse::IdJag));
    // Also where somebody lets one through.
    let rules = rules();
    let expected = Expected {
        issuer: PLATFORM,
        audience: ISSUER,
        token_endpoint: ENDPOINT,
        rules: &rules,
        lifetime_max_s: 3600,
    };
    let id_jag = jwt("oauth-id-jag+jwt", &right(), &key(1));
    let found = verify(&signed(&id_jag, 1).unwrap(), &expected, NOW_S);
    assert_eq!(found, Err(JwtGrantRefusal::Issuer));
    for typ in ["at+jwt", "dpop+jwt", "client-authentication+jwt", "jwt", "OAUTH-ID-JAG+JWT", ""] {
        assert_eq!(kind(typ), Err(JwtGrantRefusal::Issuer), "{typ}");
    }
}

#[test]
fn what_is_used_up_does_not_rest_on_the_signature() {
    let names = |claims: &Value| {
        let text = jwt("JWT", claims, &key(1));
        // Another signature of the same text: ECDSA has a new one each time.
        let again = jwt("JWT", claims, &key(1));
        assert_ne!(text, again);
        let of = |text: &str| single_use(&signed(text, 1).unwrap(), PLATFORM, None);
        assert_eq!(of(&text), of(&again));
        of(&text)
    };
    assert_ne!(names(&without("jti")), names(&changed("iat", json!(NOW_S - 1))));
    let used = |claims: &Value| *verified(claims).unwrap().single_use();
    // The identifier is the name where there is one, whatever else is said.
    assert_eq!(used(&right()), used(&changed("exp", json!(NOW_S + 601))));
    assert_ne!(used(&right()), used(&changed("jti", json!("j2"))));
}
