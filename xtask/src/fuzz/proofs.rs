//! Proofs by a key: what is accepted says exactly what was asked for, read by another reader, and
//! nothing is accepted where one expectation differs.

use attorn_jose::{Algorithm, HeaderCache, Jkt, SigningKey, sha256};
use attorn_oauth::client_assertion::{self, NewAssertion, new_assertion};
use attorn_oauth::dpop::{self, NewProof, NonceKey, NoncePolicy, ProofExpectation, new_proof};
use attorn_oauth::replay::ReplaySet;
use attorn_registry::AgentId;
use serde_json::Value;

use super::compact::{decoded, encoded, key};
use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const DPOP_PROOF: Target = Target {
    name: "dpop_proof",
    oracle: "an accepted proof says method, URL, time, token and nonce that were expected, as \
             serde_json reads it; any other expectation refuses it; a cache changes nothing",
    prepare: dpop_proof,
};

pub(crate) const CLIENT_ASSERTION: Target = Target {
    name: "client_assertion",
    oracle: "an accepted assertion names client and issuer alone, ends within 65 s, and is refused \
             a second time, for another issuer, by another key, and a minute later",
    prepare: client_assertion,
};

pub(crate) const NOW_S: u64 = 1_800_000_000;
const HTM: &str = "POST";
const HTU: &str = "https://gateway.example/billing/mcp";
const TOKEN: &str = "the-access-token";
const ALGORITHMS: &[Algorithm] = &[Algorithm::EdDsa, Algorithm::Es256];

fn dpop_proof(corpus: &Corpus) -> Result<Subject, String> {
    let (signer, other) = (key(7)?, key(8)?);
    let nonces = NonceKey::new(&[1; 32]).map_err(|error| error.to_string())?;
    let nonce = nonces.mint(NOW_S - 5, &[1; 12]);
    let mut seeds = corpus.texts("dpop/proof.json", "/input/text")?;
    for (access_token, nonce, iat_s) in [
        (Some(TOKEN), Some(nonce.as_str()), NOW_S),
        (Some(TOKEN), Some(nonce.as_str()), NOW_S - 60),
        (Some(TOKEN), None, NOW_S + 5),
        (None, Some(nonce.as_str()), NOW_S),
        (Some("another"), Some("foreign"), NOW_S - 61),
    ] {
        let proof = NewProof { htm: HTM, htu: HTU, iat_s, jti: "proof-1", access_token, nonce };
        let text = new_proof(&signer, &proof).map_err(|error| error.to_string())?;
        seeds.push(text.into_bytes());
    }
    let (jkt, stranger) = (signer.public().thumbprint(), other.public().thumbprint());
    let cache = HeaderCache::new(64);
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        let digest = sha256(TOKEN.as_bytes());
        let expected = ProofExpectation {
            algorithms: ALGORITHMS,
            htm: HTM,
            htu: HTU,
            access_token: Some((&digest, &jkt)),
            nonce: NoncePolicy::Required(&nonces),
            header_cache: None,
        };
        let outcome = dpop::verify(text, &expected, NOW_S);
        let cached = ProofExpectation { header_cache: Some(&cache), ..expected };
        let warm = dpop::verify(text, &cached, NOW_S);
        ensure(
            outcome.as_ref().err() == warm.as_ref().err(),
            "a cache changes the outcome of a proof",
        )?;
        match outcome {
            Err(refusal) => Ok(Seen::refused(&refusal)),
            Ok(proof) => {
                check_proof(text, &proof, &nonces)?;
                check_expectations(text, &expected, &stranger)?;
                Ok(Seen::accepted(&proof.jti().len()))
            }
        }
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

/// What a part of a JWS says, as another reader reads it.
pub(crate) fn part(text: &str, number: usize) -> Value {
    let bytes = text.split('.').nth(number).and_then(decoded).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

fn check_proof(text: &str, proof: &dpop::VerifiedProof, nonces: &NonceKey) -> Result<(), String> {
    let (header, claims) = (part(text, 0), part(text, 1));
    let is =
        |name: &str, expected: &str| claims.get(name).and_then(Value::as_str) == Some(expected);
    ensure(header.get("typ").and_then(Value::as_str) == Some("dpop+jwt"), "another type")?;
    ensure(header.pointer("/jwk/d").is_none(), "a private key")?;
    ensure(is("htm", HTM), "another method")?;
    ensure(is("htu", HTU), "another URL")?;
    ensure(is("ath", &encoded(&sha256(TOKEN.as_bytes()))), "another token")?;
    ensure(is("jti", proof.jti()) && (1..=128).contains(&proof.jti().len()), "another identifier")?;
    let iat = claims.get("iat").and_then(Value::as_u64).unwrap_or_default();
    ensure((NOW_S - 60..=NOW_S + 5).contains(&iat) && iat == proof.issued_s(), "another time")?;
    let nonce = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
    ensure(nonces.check(nonce, NOW_S).is_ok(), "no nonce of ours")
}

fn check_expectations(
    text: &str,
    expected: &ProofExpectation<'_>,
    stranger: &Jkt,
) -> Result<(), String> {
    let digest = sha256(b"another token");
    let own = expected.access_token.map_or(*stranger, |(_, jkt)| *jkt);
    let bound = expected.access_token.map(|(digest, _)| *digest).unwrap_or_default();
    let foreign = NonceKey::new(&[2; 32]).map_err(|error| error.to_string())?;
    let others = [
        ("method", ProofExpectation { htm: "GET", ..*expected }, NOW_S),
        ("case of the method", ProofExpectation { htm: "post", ..*expected }, NOW_S),
        ("URL", ProofExpectation { htu: "https://gateway.example/other/mcp", ..*expected }, NOW_S),
        ("token", ProofExpectation { access_token: Some((&digest, &own)), ..*expected }, NOW_S),
        ("key", ProofExpectation { access_token: Some((&bound, stranger)), ..*expected }, NOW_S),
        ("nonce", ProofExpectation { nonce: NoncePolicy::Required(&foreign), ..*expected }, NOW_S),
        ("algorithm", ProofExpectation { algorithms: &[], ..*expected }, NOW_S),
        ("later time", *expected, NOW_S + 67),
        ("earlier time", *expected, NOW_S - 67),
    ];
    for (what, other, now_s) in others {
        ensure(
            dpop::verify(text, &other, now_s).is_err(),
            &format!("accepted for another {what}"),
        )?;
    }
    Ok(())
}

const ISSUER: &str = "https://auth.example";
const CLIENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn client_assertion(corpus: &Corpus) -> Result<Subject, String> {
    let (signer, other) = (key(7)?, key(8)?);
    let client_id = AgentId::parse(CLIENT).map_err(|error| error.to_string())?;
    let stranger = AgentId::parse("agt_bbbbbbbbbbbbbbbbbbbbbbbbbb").map_err(|e| e.to_string())?;
    let mut seeds = Vec::new();
    for (client_id, issuer, now_s) in [
        (&client_id, ISSUER, NOW_S),
        (&client_id, ISSUER, NOW_S - 30),
        (&client_id, "https://other.example", NOW_S),
        (&stranger, ISSUER, NOW_S),
        (&client_id, ISSUER, NOW_S + 90),
    ] {
        let assertion = NewAssertion { client_id, issuer, now_s, jti: "assertion-1" };
        let text = new_assertion(&signer, &assertion).map_err(|error| error.to_string())?;
        seeds.push(text.into_bytes());
    }
    // Claims of the vectors, so that their shapes are spliced in.
    for row in corpus.rows("oauth/client-assertion.json")? {
        if let Some(claims) = row.pointer("/input/claims") {
            let parts = [encoded(br#"{"alg":"EdDSA"}"#), encoded(claims.to_string().as_bytes())];
            seeds.push(format!("{}.{}.", parts[0], parts[1]).into_bytes());
        }
    }
    let keys = [signer.clone(), other];
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        check_assertion(text, &keys, &client_id)
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

fn check_assertion(
    text: &str,
    [own, other]: &[SigningKey; 2],
    client_id: &AgentId,
) -> Result<Seen, String> {
    let ask = |issuer: &str, key: &SigningKey, replays: &ReplaySet, now_s: u64| {
        let expected = client_assertion::Expected { issuer, client_id: None };
        let keys_of = |id: &AgentId| {
            if id == client_id { vec![key.public().clone()] } else { Vec::new() }
        };
        client_assertion::authenticate(text, &expected, keys_of, replays, now_s)
    };
    let replays = ReplaySet::new(64, 0);
    match ask(ISSUER, own, &replays, NOW_S) {
        Err(refusal) => {
            ensure(replays.is_empty(), "a refused assertion burned its identifier")?;
            return Ok(Seen::refused(&refusal));
        }
        Ok(client) => ensure(client.client_id() == client_id, "another client")?,
    }
    let claims = part(text, 1);
    let is =
        |name: &str, expected: &str| claims.get(name).and_then(Value::as_str) == Some(expected);
    ensure(is("iss", CLIENT) && is("sub", CLIENT), "names another client")?;
    ensure(is("aud", ISSUER), "names another audience")?;
    let exp = claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
    ensure((NOW_S + 1..=NOW_S + 65).contains(&exp), "ends too late or has ended")?;
    ensure(ask(ISSUER, own, &replays, NOW_S).is_err(), "accepted twice")?;
    let fresh = || ReplaySet::new(64, 0);
    ensure(ask("https://auth.example/token", own, &fresh(), NOW_S).is_err(), "another audience")?;
    ensure(ask(ISSUER, other, &fresh(), NOW_S).is_err(), "accepted by another key")?;
    ensure(ask(ISSUER, own, &fresh(), NOW_S + 66).is_err(), "accepted a minute later")?;
    Ok(Seen::accepted(&"authenticated"))
}
