//! What a provider says: its document, its keys, and who logged in.

use attorn_jose::{Algorithm, Compact, NewHeader, sign};
use attorn_oauth::id_token::{Expected, ID_TOKEN_LIMITS, IdToken};
use attorn_oauth::provider_metadata::{ProviderIssuer, ProviderMetadata};
use attorn_oauth::trusted_keys::TrustedKeys;
use serde_json::{Value, json};
use url::Url;

use super::compact::key;
use super::corpus::Corpus;
use super::proofs::{NOW_S, part};
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const PROVIDER_DOCUMENT: Target = Target {
    name: "provider_document",
    oracle: "an accepted document names the issuer that was asked for, as serde_json reads it, and \
             each of its addresses is https without user and fragment, as a URL parser reads it",
    prepare: prepare_documents,
};

pub(crate) const ISSUER_KEYS: Target = Target {
    name: "issuer_keys",
    oracle: "what is kept and what is left out are together what serde_json finds; a set with every \
             key twice keeps none that has a name; an algorithm less keeps nothing more",
    prepare: prepare_keys,
};

pub(crate) const ID_TOKEN: Target = Target {
    name: "id_token",
    oracle: "an accepted token is of the issuer, for the client alone, for the nonce, of now, and \
             says who, as serde_json reads it; any other expectation refuses it",
    prepare: prepare_tokens,
};

const ISSUER: &str = "https://id.example";

fn prepare_documents(_corpus: &Corpus) -> Result<Subject, String> {
    let document = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://id.example/auth?a=b",
        "token_endpoint": "https://id.example/token",
        "jwks_uri": "https://keys.example/set",
        "authorization_response_iss_parameter_supported": true,
    });
    let issuer = ProviderIssuer::parse(ISSUER).map_err(|error| error.to_string())?;
    let check = move |input: &[u8]| match ProviderMetadata::parse(input, &issuer) {
        Err(refusal) => Ok(Seen::refused(&refusal)),
        Ok(metadata) => {
            let read: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
            ensure(read.get("issuer").is_some_and(|issuer| issuer == ISSUER), "another issuer")?;
            let addresses =
                [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
            for address in addresses {
                let url = Url::parse(address).map_err(|error| error.to_string())?;
                ensure(url.as_str() == address, "another spelling of an address")?;
                ensure(url.scheme() == "https" && url.fragment().is_none(), "no https")?;
                ensure(url.username().is_empty() && url.password().is_none(), "a user")?;
            }
            Ok(Seen::accepted(&metadata.names_itself))
        }
    };
    let seeds = vec![document.to_string().into_bytes()];
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn prepare_keys(corpus: &Corpus) -> Result<Subject, String> {
    let (one, other) = (key(7)?, key(8)?);
    let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes();
    let mut seeds = vec![
        set(&[one.public().to_jwk(Some("a")), other.public().to_jwk(Some("b"))]),
        set(&[one.public().to_jwk(Some("a")), other.public().to_jwk(Some("a"))]),
        set(&[one.public().to_jwk(None)]),
    ];
    let jwks = corpus.texts("jose/jwk.json", "/input")?;
    seeds.extend(jwks.into_iter().filter_map(|jwk| Some(set(&[String::from_utf8(jwk).ok()?]))));
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_keys) })
}

fn check_keys(input: &[u8]) -> Result<Seen, String> {
    let all = Algorithm::OF_ISSUERS;
    let (keys, left_out) = match TrustedKeys::parse(input, &all) {
        Ok(read) => read,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let read: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
    let listed = read.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    ensure(keys.len() + left_out.len() == listed.len(), "a key is lost or made up")?;
    let is_named = |key: &Value| key.get("kid").is_some();
    let twice = [listed.iter().filter(|key| is_named(key)).cloned().collect(), listed].concat();
    let twice = json!({ "keys": twice }).to_string();
    if let Ok((kept, _)) = TrustedKeys::parse(twice.as_bytes(), &all) {
        ensure(kept.names().count() == 0, "two keys of one name count")?;
    }
    if let Ok((fewer, _)) = TrustedKeys::parse(input, &[Algorithm::EdDsa]) {
        ensure(fewer.len() <= keys.len(), "an algorithm less keeps more")?;
    }
    Ok(Seen::accepted(&(keys.len(), left_out.len())))
}

fn prepare_tokens(_corpus: &Corpus) -> Result<Subject, String> {
    let signer = key(7)?;
    let claims = |change: Value| {
        let mut claims = json!({
            "iss": ISSUER, "sub": "1", "aud": "attorn", "nonce": "n", "iat": NOW_S,
            "exp": NOW_S + 300, "groups": ["a", "b"], "azp": "attorn", "auth_time": NOW_S,
        });
        attorn_testkit::forge::merge(&mut claims, &change);
        claims.to_string().into_bytes()
    };
    let changes = [json!({}), json!({"aud": ["attorn"]}), json!({"groups": "a", "azp": null})];
    let mut seeds = Vec::new();
    for change in changes {
        let header = NewHeader { typ: "JWT", kid: Some("a"), jwk: false };
        let text = sign(&header, &claims(change), &signer).map_err(|error| error.to_string())?;
        seeds.push(text.into_bytes());
    }
    let public = signer.public().clone();
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        let read = |expected: &Expected<'_>| {
            let token = Compact::parse_of_issuer(text, &ID_TOKEN_LIMITS);
            let token = token.map_err(|error| format!("{error:?}"))?;
            let verified = token.verify(&public).map_err(|error| format!("{error:?}"))?;
            IdToken::read(&verified, expected, NOW_S).map_err(|error| format!("{error:?}"))
        };
        match read(&EXPECTED) {
            Err(refusal) => Ok(Seen::refused(&refusal)),
            Ok(token) => {
                check_token(text, &token)?;
                for other in [
                    Expected { issuer: "https://id.example/", ..EXPECTED },
                    Expected { client_id: "other", ..EXPECTED },
                    Expected { nonce: "m", ..EXPECTED },
                ] {
                    ensure(read(&other).is_err(), "another expectation accepts it")?;
                }
                Ok(Seen::accepted(&(token.groups.len(), token.name.is_some())))
            }
        }
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

const EXPECTED: Expected<'static> = Expected {
    issuer: ISSUER,
    client_id: "attorn",
    nonce: "n",
    access_token: "access",
    asked_s: None,
    groups_claim: Some("groups"),
};

fn check_token(text: &str, token: &IdToken) -> Result<(), String> {
    let claims = part(text, 1);
    let is = |name: &str, expected: &str| claims.get(name).is_some_and(|claim| claim == expected);
    ensure(is("iss", ISSUER), "another issuer")?;
    ensure(is("nonce", "n"), "another nonce")?;
    ensure(is("sub", &token.subject), "somebody else")?;
    let aud = claims.get("aud");
    let is_alone = aud.is_some_and(|aud| aud == "attorn" || *aud == json!(["attorn"]));
    ensure(is_alone, "another audience")?;
    let time = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    ensure(time("exp") > NOW_S, "past its end")?;
    ensure((NOW_S - 600..=NOW_S + 60).contains(&time("iat")), "not of now")
}
