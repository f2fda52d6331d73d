use attorn_json::Limits;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn exactly(text: &str) -> ClaimValue {
    ClaimValue::Exactly(text.to_owned())
}

fn prefix(text: &str) -> ClaimValue {
    ClaimValue::Prefix(Prefix { prefix: text.to_owned() })
}

fn rule(agent: &str, claims: &[(&str, ClaimValue)]) -> ClaimRule {
    let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    ClaimRule { agent: name(agent), claims }
}

fn check(rules: &[ClaimRule], claims: &str, expected: Result<&str, Unmapped>) {
    let document = attorn_json::parse(claims.as_bytes(), &Limits::JWT).unwrap();
    let rules = ClaimRules::new(rules.to_vec());
    let found = rules.agent_of(document.value()).map(ToString::to_string);
    assert_eq!(found, expected.map(str::to_owned), "{claims}");
}

#[test]
fn every_claim_of_a_rule_must_fit() {
    let rules = [rule("a", &[("repository", exactly("o/r")), ("environment", exactly("prod"))])];
    check(&rules, r#"{"repository":"o/r","environment":"prod","more":1}"#, Ok("a"));
    for claims in [
        r#"{"repository":"o/r"}"#,
        r#"{"repository":"o/r","environment":"prod "}"#,
        r#"{"repository":"o/r","environment":"PROD"}"#,
        r#"{"repository":"o/r","environment":["prod"]}"#,
        r#"{"repository":"o/r","environment":null}"#,
        r#"{"repository":"o/r","environment":{"prod":"prod"}}"#,
        r#"{"x":{"repository":"o/r","environment":"prod"}}"#,
        "{}",
    ] {
        check(&rules, claims, Err(Unmapped::None));
    }
}

#[test]
fn a_prefix_fits_what_goes_on_after_its_separator() {
    let rules = [rule("a", &[("ref", prefix("refs/heads/release/"))])];
    check(&rules, r#"{"ref":"refs/heads/release/1"}"#, Ok("a"));
    for claim in ["refs/heads/release/", "refs/heads/release", "refs/heads/release-1", ""] {
        check(&rules, &format!(r#"{{"ref":"{claim}"}}"#), Err(Unmapped::None));
    }
}

#[test]
fn several_agents_are_nobody() {
    let rules = [
        rule("a", &[("sub", exactly("x"))]),
        rule("b", &[("ref", exactly("y"))]),
        rule("a", &[("env", exactly("z"))]),
    ];
    check(&rules, r#"{"sub":"x"}"#, Ok("a"));
    check(&rules, r#"{"sub":"x","env":"z"}"#, Ok("a"));
    check(&rules, r#"{"sub":"x","ref":"y"}"#, Err(Unmapped::Several));
    check(&[], r#"{"sub":"x"}"#, Err(Unmapped::None));
}

#[test]
fn a_rule_that_everybody_fits_is_refused_and_fits_nobody() {
    let empty = rule("a", &[]);
    check(std::slice::from_ref(&empty), r#"{"sub":"x"}"#, Err(Unmapped::None));
    let verified = ClaimRules::new(vec![empty]).verify();
    assert_eq!(verified, Err(ClaimRuleRefusal::Empty { agent: name("a") }));
}

#[test]
fn rules_that_fit_more_than_they_seem_to_are_refused() {
    let verify = |claim: &str, value| ClaimRules::new(vec![rule("a", &[(claim, value)])]).verify();
    assert_eq!(verify("sub", exactly("x")), Ok(()));
    assert_eq!(verify("sub", prefix("repo:acme/")), Ok(()));
    let (agent, claim) = (name("a"), "sub".to_owned());
    for value in [exactly(""), exactly("repo:*"), prefix("repo:*:")] {
        let refused = ClaimRuleRefusal::Value { agent: agent.clone(), claim: claim.clone() };
        assert_eq!(verify("sub", value), Err(refused));
    }
    for text in ["repo:acme", "a", "refs/heads/release-"] {
        let refused = ClaimRuleRefusal::Prefix { agent: agent.clone(), claim: claim.clone() };
        assert_eq!(verify("sub", prefix(text)), Err(refused));
    }
    for claim in ["iss", "aud", "exp", "iat", "nbf", "jti", ""] {
        let refused = ClaimRuleRefusal::Claim { agent: agent.clone(), claim: claim.to_owned() };
        assert_eq!(verify(claim, exactly("x")), Err(refused));
    }
}

#[test]
fn one_set_of_claims_names_one_agent() {
    let with = |second| ClaimRules::new(vec![rule("a", &[("sub", exactly("x"))]), second]).verify();
    assert_eq!(with(rule("a", &[("sub", exactly("x"))])), Ok(()));
    assert_eq!(with(rule("b", &[("sub", exactly("y"))])), Ok(()));
    let twice = with(rule("b", &[("sub", exactly("x"))]));
    assert_eq!(twice, Err(ClaimRuleRefusal::Twice { agent: name("b") }));
}

#[test]
fn more_claims_in_a_rule_never_fit_more_workloads() {
    let values = [exactly("x"), exactly("y"), prefix("x:")];
    let texts = ["x", "y", "x:1", ""];
    for (one, two) in values.iter().flat_map(|one| values.iter().map(move |two| (one, two))) {
        let narrow = rule("a", &[("sub", one.clone()), ("ref", two.clone())]);
        let wide = rule("a", &[("sub", one.clone())]);
        for (sub, reference) in texts.iter().flat_map(|sub| texts.map(|other| (sub, other))) {
            let claims = format!(r#"{{"sub":"{sub}","ref":"{reference}"}}"#);
            let document = attorn_json::parse(claims.as_bytes(), &Limits::JWT).unwrap();
            let fits = |rule: &ClaimRule| {
                ClaimRules::new(vec![rule.clone()]).agent_of(document.value()).is_ok()
            };
            assert!(!fits(&narrow) || fits(&wide), "{claims}");
        }
    }
}
