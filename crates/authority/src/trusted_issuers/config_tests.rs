use serde_json::{Value, json};

use super::*;

const OWN: &str = "https://id.example";

fn workload() -> Value {
    json!({
        "issuer": "https://platform.example", "kind": "workload",
        "agents": [{"agent": "deployer", "claims": {"sub": "job:1"}}]
    })
}

fn id_jag() -> Value {
    json!({"issuer": "https://idp.example/", "kind": "id_jag"})
}

fn read(value: &Value) -> TrustedIssuer {
    serde_json::from_value(value.clone()).unwrap()
}

/// One issuer with other settings.
fn with(base: &Value, more: &Value) -> Value {
    let mut value = base.clone();
    for (name, setting) in more.as_object().unwrap() {
        value[name] = setting.clone();
    }
    value
}

fn refused(trusted: &[TrustedIssuer]) -> String {
    verify(trusted, OWN).unwrap_err().to_string()
}

#[test]
fn both_kinds_are_taken() {
    let (platform, provider) = (read(&workload()), read(&id_jag()));
    assert_eq!((platform.lifetime_max_s(), provider.lifetime_max_s()), (3600, 300));
    assert!(platform.single_use && provider.consent == ConsentBy::Person);
    verify(&[platform, provider], OWN).unwrap();
}

#[test]
fn what_lets_in_more_than_is_meant_is_refused() {
    let check = |base: &Value, more: Value, expected: &str| {
        let said = refused(&[read(&with(base, &more))]);
        assert!(said.contains(expected), "{more}: {said}");
    };
    let (platform, provider) = (workload(), id_jag());
    let url = "https://platform.example/jwks";
    check(&platform, json!({"tenant": "a"}), "`tenant` is for `id_jag`");
    check(&platform, json!({"consent": "issuer"}), "`consent` is for `id_jag`");
    check(&platform, json!({"lifetime_max_s": 86_401}), "`lifetime_max_s`");
    check(&platform, json!({"lifetime_max_s": 0}), "`lifetime_max_s`");
    check(&platform, json!({"jwks_uri": "http://platform.example/jwks"}), "`jwks_uri`");
    check(&platform, json!({"jwks_uri": url, "jwks_file": "a"}), "`jwks_file`");
    check(&platform, json!({"agents": []}), "has no rule");
    check(&platform, json!({"agents": [{"agent": "a", "claims": {}}]}), "names no claim");
    check(&platform, json!({"agents": [{"agent": "a", "claims": {"sub": "*"}}]}), "`*`");
    check(&provider, json!({"lifetime_max_s": 3601}), "`lifetime_max_s`");
    check(&provider, json!({"single_use": false}), "used once");
    check(&provider, json!({"tenant": ""}), "`tenant` is empty");
    check(&provider, json!({"agents": [{"agent": "a", "claims": {"sub": "x"}}]}), "`agents`");
}

#[test]
fn an_issuer_is_somebody_else_and_stands_once() {
    let platform = read(&workload());
    let own = TrustedIssuer { issuer: OWN.to_owned(), ..platform.clone() };
    assert!(refused(&[own]).contains("this authority itself"));
    for issuer in ["platform.example", "http://platform.example", "https://Platform.example", ""] {
        let wrong = TrustedIssuer { issuer: issuer.to_owned(), ..platform.clone() };
        assert!(refused(&[wrong]).contains("canonical"), "{issuer}");
    }
    let other = TrustedIssuer { issuer: platform.issuer.clone(), ..read(&id_jag()) };
    assert!(refused(&[platform, other]).contains("twice"));
}

#[test]
fn unknown_settings_and_forms_are_refused() {
    let check = |more: Value| {
        let read = serde_json::from_value::<TrustedIssuer>(with(&workload(), &more));
        assert!(read.is_err(), "{more}");
    };
    check(json!({"key": "x"}));
    check(json!({"kind": "any"}));
    check(json!({"consent": "nobody"}));
    check(json!({"agents": [{"agent": "a", "claims": {"sub": {"suffix": "x"}}}]}));
    check(json!({"agents": [{"agent": "a", "claims": {"sub": {"prefix": "x/", "suffix": "y"}}}]}));
    check(json!({"agents": [{"agent": "a", "claims": {"sub": 1}}]}));
    check(json!({"agents": [{"agent": "A b", "claims": {"sub": "x"}}]}));
}
