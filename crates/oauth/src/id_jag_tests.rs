use attorn_jose::{Algorithm, Compact, NewHeader, SigningKey, sign};
use serde_json::{Value as Json, json};

use super::*;
use crate::jwt_grant::Assertion;

const NOW_S: u64 = 1_000_000;
const PROVIDER: &str = "https://idp.example";
const ISSUER: &str = "https://id.example";
const RESOURCE: &str = "https://gw.example/crm/mcp";
const CLIENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::Es256, &[seed; 32]).unwrap()
}

fn holder(byte: u8) -> Confirmation {
    Confirmation::Jkt(Jkt::from_bytes([byte; 32]))
}

fn right() -> Json {
    json!({
        "iss": PROVIDER, "sub": "U1", "aud": ISSUER, "client_id": CLIENT, "iat": NOW_S,
        "exp": NOW_S + 300, "jti": "j1", "resource": RESOURCE, "scope": "read:get openid"
    })
}

fn expected() -> Expected<'static> {
    Expected {
        issuer: PROVIDER,
        tenant: None,
        audience: ISSUER,
        client_id: CLIENT,
        proven: Some(holder(1)),
        lifetime_max_s: 300,
    }
}

fn signed(header: &NewHeader<'_>, claims: &Json) -> String {
    sign(header, claims.to_string().as_bytes(), &key(1)).unwrap()
}

fn verified<T>(jws: Compact<'_>, then: impl FnOnce(&Verified<'_>) -> T) -> T {
    then(&jws.verify(key(1).public()).unwrap())
}

fn verified_as(claims: &Json, expected: &Expected<'_>) -> Result<VerifiedIdJag, JwtGrantRefusal> {
    let header = NewHeader { typ: "oauth-id-jag+jwt", kid: Some("k"), jwk: false };
    let text = signed(&header, claims);
    let jws = Assertion::parse(&text)?.into_jws();
    verified(jws, |jws| verify(jws, expected, NOW_S))
}

fn changed(name: &str, value: Json) -> Json {
    let mut claims = right();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Json {
    let mut claims = right();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn check(claims: &Json, outcome: Result<(), JwtGrantRefusal>) {
    assert_eq!(verified_as(claims, &expected()).map(drop), outcome, "{claims}");
}

#[test]
fn a_person_a_client_and_a_resource_are_named() {
    let found = verified_as(&right(), &expected()).unwrap();
    let subject = ExternalSubject { issuer: PROVIDER.into(), subject: "U1".into() };
    assert_eq!((found.subject, found.resource.as_str()), (subject, RESOURCE));
    assert_eq!(found.scope.unwrap().to_string(), "read:get");
    check(&changed("aud", json!([ISSUER])), Ok(()));
    check(&changed("resource", json!([RESOURCE])), Ok(()));
    let unbounded = verified_as(&without("scope"), &expected()).unwrap();
    assert_eq!(unbounded.scope, None);
}

#[test]
fn a_scope_of_others_gives_nothing() {
    for scope in ["openid profile", "read:*", "", " "] {
        let found = verified_as(&changed("scope", json!(scope)), &expected()).unwrap();
        assert!(found.scope.unwrap().is_empty(), "{scope}");
    }
    check(&changed("scope", json!(["read:get"])), Err(JwtGrantRefusal::Claims));
    check(&changed("scope", json!(null)), Err(JwtGrantRefusal::Claims));
}

#[test]
fn everything_else_is_refused_for_its_reason() {
    for aud in [json!("https://id.example/token"), json!(RESOURCE), json!([ISSUER, RESOURCE])] {
        check(&changed("aud", aud), Err(JwtGrantRefusal::Audience));
    }
    check(&changed("iss", json!("https://idp.example/")), Err(JwtGrantRefusal::Issuer));
    check(&changed("client_id", json!("agt_b")), Err(JwtGrantRefusal::ClientMismatch));
    check(&changed("exp", json!(NOW_S + 301)), Err(JwtGrantRefusal::Clock));
    check(&changed("exp", json!(NOW_S)), Err(JwtGrantRefusal::Clock));
    check(&changed("iat", json!(NOW_S - 3600)), Err(JwtGrantRefusal::Clock));
    check(&changed("jti", json!("")), Err(JwtGrantRefusal::Jti));
    check(&changed("act", json!({"sub": "x"})), Err(JwtGrantRefusal::Actor));
    check(
        &changed("resource", json!([RESOURCE, "https://b.example/mcp"])),
        Err(JwtGrantRefusal::Claims),
    );
    check(&changed("resource", json!("gw.example")), Err(JwtGrantRefusal::Claims));
    check(
        &changed("authorization_details", json!([{"type": "chat"}])),
        Err(JwtGrantRefusal::Claims),
    );
    for name in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "resource"] {
        check(&without(name), Err(JwtGrantRefusal::Claims));
    }
}

#[test]
fn a_person_is_of_one_tenant() {
    let of =
        |claims: &Json, tenant| verified_as(claims, &Expected { tenant, ..expected() }).map(drop);
    let acme = changed("tenant", json!("acme"));
    assert_eq!(of(&acme, Some("acme")), Ok(()));
    for (claims, tenant) in [(&acme, None), (&acme, Some("other")), (&right(), Some("acme"))] {
        assert_eq!(of(claims, tenant), Err(JwtGrantRefusal::Tenant), "{claims} {tenant:?}");
    }
}

#[test]
fn what_is_bound_to_a_key_is_nothing_without_it() {
    let bound = |byte: u8| changed("cnf", json!({"jkt": Jkt::from_bytes([byte; 32]).to_string()}));
    let as_ =
        |claims: &Json, proven| verified_as(claims, &Expected { proven, ..expected() }).map(drop);
    assert_eq!(as_(&bound(1), Some(holder(1))), Ok(()));
    assert_eq!(as_(&bound(2), Some(holder(1))), Err(JwtGrantRefusal::Possession));
    assert_eq!(as_(&bound(1), None), Err(JwtGrantRefusal::Possession));
    assert_eq!(as_(&right(), None), Err(JwtGrantRefusal::Possession));
    let unknown = changed("cnf", json!({"kid": "k"}));
    assert_eq!(as_(&unknown, Some(holder(1))), Err(JwtGrantRefusal::Claims));
    assert_eq!(as_(&changed("cnf", json!([])), Some(holder(1))), Err(JwtGrantRefusal::Claims));
}
