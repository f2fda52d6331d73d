//! Access tokens: an accepted one is bound, short, for one audience, and reads the same written
//! anew.

use attorn_jose::SigningKey;
use attorn_oauth::access_token::{Expected, IssuerKeys, verify};
use attorn_oauth::confirmation::Confirmation;
use attorn_testkit::forge::{Signer, compact, merge};
use serde_json::{Value, json};

use super::compact::{decoded, key};
use super::corpus::Corpus;
use super::proofs::{NOW_S, part};
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const ACCESS_TOKEN: Target = Target {
    name: "access_token",
    oracle: "an accepted token is bound, lives at most 300 s, has one audience and no claim that \
             restricts and is not enforced; its claims in another spelling are accepted too",
    prepare,
};

const ISSUER: &str = "https://auth.example";
const AUDIENCE: &str = "https://gateway.example/billing/mcp";

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let signer = key(7)?;
    let keys = IssuerKeys::new([("issuer".to_owned(), signer.public().clone())])
        .map_err(|error| error.to_string())?;
    let mut seeds = Vec::new();
    for row in corpus.rows("oauth/access-token.json")? {
        let mut header = json!({"alg": "EdDSA", "kid": "issuer", "typ": "at+jwt"});
        let mut claims = json!({
            "aud": AUDIENCE,
            "client_id": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "cnf": {"jkt": signer.public().thumbprint().to_string()},
            "epoch": 0, "exp": NOW_S + 110, "iat": NOW_S - 10, "iss": ISSUER,
            "jti": "token-1", "nbf": NOW_S - 10, "scope": "read:get_invoice",
            "sub": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        });
        merge(&mut claims, row.pointer("/input/claims").unwrap_or(&json!({})));
        merge(&mut header, row.pointer("/input/header").unwrap_or(&json!({})));
        seeds.push(signed(&header.to_string(), &claims.to_string(), &signer)?.into_bytes());
    }
    let own = signer.clone();
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        check_token(text, &keys, &own)
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

fn signed(header: &str, claims: &str, key: &SigningKey) -> Result<String, String> {
    compact(header, claims, &Signer::Key(key)).map_err(|error| error.to_string())
}

fn check_token(text: &str, keys: &IssuerKeys, signer: &SigningKey) -> Result<Seen, String> {
    let expected = Expected { issuer: ISSUER, audience: AUDIENCE, keys };
    let token = match verify::<attorn_registry::AgentId>(text, &expected, NOW_S) {
        Ok(token) => token,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let claims = part(text, 1);
    let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    ensure(claims.get("aud").and_then(Value::as_str) == Some(AUDIENCE), "another audience")?;
    ensure(claims.get("iss").and_then(Value::as_str) == Some(ISSUER), "another issuer")?;
    let bound = match token.confirmation() {
        Confirmation::Bearer(_) => {
            ensure(claims.get("cnf").is_none(), "bound and not")?;
            ensure(number("exp").saturating_sub(number("iat")) <= 60, "unbound for too long")?;
            let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
            ensure(subject.starts_with("usr_"), "unbound and nobody's")?;
            return Ok(Seen::accepted(&"bearer"));
        }
        Confirmation::Jkt(jkt) => ("/cnf/jkt", jkt.to_string()),
        Confirmation::Certificate(thumbprint) => ("/cnf/x5t#S256", thumbprint.to_string()),
    };
    let said = claims.pointer(bound.0).and_then(Value::as_str);
    ensure(said == Some(bound.1.as_str()), "bound to another key")?;
    let ways = ["/cnf/jkt", "/cnf/x5t#S256"].iter().filter(|way| claims.pointer(way).is_some());
    ensure(ways.count() == 1, "bound in two ways")?;
    ensure(
        number("exp") > NOW_S && number("exp").saturating_sub(number("iat")) <= 300,
        "lives too long",
    )?;
    let asked = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let scopes = token.claims().scope.to_string();
    let told = |scope: &str| asked.split(' ').any(|one| one == scope);
    ensure(scopes.split(' ').filter(|scope| !scope.is_empty()).all(told), "a scope is made up")?;
    for (what, other, now_s) in [
        ("issuer", Expected { issuer: "https://auth.example/", ..expected }, NOW_S),
        ("audience", Expected { audience: "https://gateway.example/erp/mcp", ..expected }, NOW_S),
        ("time", expected, number("exp")),
    ] {
        ensure(
            verify::<attorn_registry::AgentId>(text, &other, now_s).is_err(),
            &format!("accepted for another {what}"),
        )?;
    }
    let bytes = text.split('.').nth(1).and_then(decoded).unwrap_or_default();
    let spelled = respelled_bytes(&bytes, &mut Random::of(&bytes));
    let again = signed(&part(text, 0).to_string(), &String::from_utf8_lossy(&spelled), signer)?;
    if again.len() <= attorn_json::Limits::JWT.bytes_max {
        let again =
            verify(&again, &expected, NOW_S).map_err(|error| format!("spelling: {error}"))?;
        ensure(again.claims() == token.claims(), "the spelling of a claim matters")?;
    }
    Ok(Seen::accepted(&(token.claims().act.is_some(), !scopes.is_empty())))
}
