//! Assertions of other issuers: what is accepted says so to another reader too.

use attorn_jose::{Jkt, NewHeader, PublicKey, from_base64url, sign};
use attorn_oauth::claim_rules::ClaimRules;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::jwt_grant::{Assertion, GrantUse, JwtGrantRefusal};
use attorn_oauth::{id_jag, workload_grant};
use serde_json::{Value, json};

use super::compact::key;
use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const JWT_GRANT: Target = Target {
    name: "jwt_grant",
    oracle: "an accepted assertion has one kind; as serde_json reads it, its issuer, its one \
             audience, its client and the claims of its rule are the expected ones, and it ends later",
    prepare,
};

const NOW_S: u64 = 1_000_000;
const ISSUER: &str = "https://idp.example";
const OWN: &str = "https://id.example";
const CLIENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn holder() -> Confirmation {
    Confirmation::Jkt(Jkt::from_bytes([1; 32]))
}

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let key = key(9)?;
    let both = json!({
        "iss": ISSUER, "sub": "job:1", "aud": OWN, "iat": NOW_S, "exp": NOW_S + 300, "jti": "j1",
        "client_id": CLIENT, "resource": "https://gw.example/crm/mcp", "scope": "read:get",
        "ref": "refs/heads/main", "nbf": NOW_S, "cnf": {"jkt": Jkt::from_bytes([1; 32]).to_string()}
    });
    let mut listed = both.clone();
    if let Some(members) = listed.as_object_mut() {
        members.insert("aud".to_owned(), json!([OWN]));
        members.insert("resource".to_owned(), json!(["https://gw.example/crm/mcp"]));
        members.remove("jti");
    }
    let mut seeds = Vec::new();
    for (typ, claims) in
        [("JWT", &both), ("JWT", &listed), ("oauth-id-jag+jwt", &both), ("at+jwt", &both)]
    {
        let header = NewHeader { typ, kid: Some("a"), jwk: false };
        let text = sign(&header, claims.to_string().as_bytes(), &key);
        seeds.push(text.map_err(|error| error.to_string())?.into_bytes());
    }
    let rules = json!([{"agent": "deployer", "claims": {
        "sub": "job:1", "ref": {"prefix": "refs/heads/"}
    }}]);
    let rules: ClaimRules = serde_json::from_value(rules).map_err(|error| error.to_string())?;
    let public = key.public().clone();
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        match judged(text, &rules, &public) {
            Ok(kind) => {
                agrees(text, kind)?;
                Ok(Seen::accepted(&kind))
            }
            Err(refusal) => Ok(Seen::refused(&refusal)),
        }
    };
    Ok(Subject { seeds, shape: Shape::Jws(key), check: Box::new(check) })
}

/// As the token endpoint does it.
fn judged(text: &str, rules: &ClaimRules, key: &PublicKey) -> Result<GrantUse, JwtGrantRefusal> {
    let assertion = Assertion::parse(text)?;
    let kind = assertion.kind()?;
    if assertion.issuer() != ISSUER {
        return Err(JwtGrantRefusal::Issuer);
    }
    let verified = assertion.into_jws().verify(key).map_err(|_| JwtGrantRefusal::Signature)?;
    match kind {
        GrantUse::Workload => {
            let expected = workload_grant::Expected {
                issuer: ISSUER,
                audience: OWN,
                token_endpoint: "https://id.example/token",
                rules,
                lifetime_max_s: 3600,
            };
            workload_grant::verify(&verified, &expected, NOW_S)?;
        }
        GrantUse::IdJag => {
            let expected = id_jag::Expected {
                issuer: ISSUER,
                tenant: None,
                audience: OWN,
                client_id: CLIENT,
                proven: Some(holder()),
                lifetime_max_s: 300,
            };
            id_jag::verify(&verified, &expected, NOW_S)?;
        }
    }
    Ok(kind)
}

/// What another reader finds in the same text.
fn agrees(text: &str, kind: GrantUse) -> Result<(), String> {
    let part = |index: usize| -> Result<Value, String> {
        let part = text.split('.').nth(index).unwrap_or_default();
        let bytes = from_base64url(part).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    let (header, claims) = (part(0)?, part(1)?);
    let member = |name: &str| claims.get(name).cloned().unwrap_or(Value::Null);
    let is_for = |one: &Value| *one == OWN || *one == "https://id.example/token";
    let audience = member("aud");
    let one = audience.as_array().map_or(Some(&audience), |all| match all.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    ensure(one.is_some_and(is_for), "another audience")?;
    ensure(member("iss") == ISSUER, "another issuer")?;
    ensure(member("exp").as_u64().is_some_and(|exp| exp > NOW_S), "it has ended")?;
    let typ = header.get("typ").and_then(Value::as_str);
    match kind {
        GrantUse::Workload => {
            ensure(matches!(typ, None | Some("JWT")), "another type")?;
            ensure(member("sub") == "job:1", "another workload")?;
            let reference = member("ref");
            let fits = reference.as_str().is_some_and(|it| it.starts_with("refs/heads/"));
            ensure(fits, "a claim that fits no rule")
        }
        GrantUse::IdJag => {
            ensure(typ == Some("oauth-id-jag+jwt"), "another type")?;
            ensure(member("client_id") == CLIENT, "another client")?;
            ensure(claims.get("act").is_none() && member("jti").is_string(), "an actor, or no name")
        }
    }
}
