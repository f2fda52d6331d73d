//! The whole way of one agent, from its code to its first call, and what a thief can do with each
//! thing seen on the way.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use attorn_jose::{Algorithm, SigningKey};
use attorn_oauth::access_token::{
    self, AccessTokenClaims, DuplicateKeyId, IssuerKeys, TokenRefusal, VerifiedToken,
};
use attorn_oauth::client_assertion::{self, AssertionRefusal, NewAssertion};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{
    self, DpopRefusal, NewProof, NonceKey, NoncePolicy, ProofExpectation, VerifiedProof,
};
use attorn_oauth::enrolment::{self, NewEnrolment};
use attorn_oauth::possession::{PossessionRefusal, bind};
use attorn_oauth::replay::{ReplayRefusal, ReplaySet};
use attorn_oauth::subject::Subject;
use attorn_registry::{AgentId, ReasonCode, ScopeSet};
use proptest::prelude::*;

const NOW_S: u64 = 1_800_000_000;
const ISSUER: &str = "https://auth.example";
const RESOURCE: &str = "https://gateway.example/billing/mcp";

fn key(byte: u8) -> SigningKey {
    let algorithm = if byte.is_multiple_of(2) { Algorithm::EdDsa } else { Algorithm::Es256 };
    SigningKey::from_seed(algorithm, &[byte; 32]).unwrap()
}

fn agent() -> AgentId {
    AgentId::from_random(&[7; 16])
}

fn issuer_keys() -> IssuerKeys {
    IssuerKeys::new([("k1".to_owned(), key(1).public().clone())]).unwrap()
}

fn token_for(holder: &SigningKey) -> String {
    let claims = AccessTokenClaims {
        parent: None,
        act: None,
        attorn_approval: None,
        aud: RESOURCE.to_owned(),
        authorization_details: None,
        client_id: agent(),
        cnf: Confirmation::Jkt(holder.public().thumbprint()),
        epoch: 3,
        exp: NOW_S + 120,
        grt: None,
        iat: NOW_S,
        iss: ISSUER.to_owned(),
        jti: "token-1".to_owned(),
        nbf: NOW_S,
        scope: ScopeSet::parse("read:get_invoice").unwrap(),
        sub: Subject::Agent(agent()),
    };
    access_token::issue(&claims, "k1", &key(1)).unwrap()
}

fn verified(token: &str) -> Result<VerifiedToken, TokenRefusal> {
    let keys = issuer_keys();
    let expected = access_token::Expected { issuer: ISSUER, audience: RESOURCE, keys: &keys };
    access_token::verify(token, &expected, NOW_S)
}

fn proof_for(holder: &SigningKey, token: &str, nonce: Option<&str>) -> String {
    let access_token = Some(token);
    let proof =
        NewProof { htm: "POST", htu: RESOURCE, iat_s: NOW_S, jti: "p1", access_token, nonce };
    dpop::new_proof(holder, &proof).unwrap()
}

fn verified_proof(
    proof: &str,
    token: &VerifiedToken,
    nonce: NoncePolicy<'_>,
) -> Result<VerifiedProof, DpopRefusal> {
    let expected = ProofExpectation {
        algorithms: &Algorithm::ALL,
        htm: "POST",
        htu: RESOURCE,
        access_token: Some((token.digest(), token.jkt().unwrap())),
        nonce,
        header_cache: None,
    };
    dpop::verify(proof, &expected, NOW_S)
}

#[test]
fn from_code_to_call() {
    let holder = key(2);
    // Enrolment: the key becomes known.
    let enrolment = NewEnrolment { issuer: ISSUER, code: "code", iat_s: NOW_S, jti: "e1" };
    let proof = enrolment::new_enrolment(&holder, &enrolment).unwrap();
    let expected = enrolment::Expected { issuer: ISSUER, code: "code" };
    let enrolled = enrolment::verify(&proof, &expected, NOW_S).unwrap();
    assert_eq!(enrolled.key(), holder.public());
    assert_eq!(enrolled.jti(), "e1");

    // Authentication: the agent proves who it is.
    let replays = ReplaySet::new(1024, NOW_S - 100);
    let client_id = agent();
    let assertion = NewAssertion { client_id: &client_id, issuer: ISSUER, now_s: NOW_S, jti: "a1" };
    let assertion = client_assertion::new_assertion(&holder, &assertion).unwrap();
    let expected =
        client_assertion::Expected { issuer: ISSUER, client_id: Some(client_id.as_str()) };
    let client = client_assertion::authenticate(
        &assertion,
        &expected,
        |_: &AgentId| vec![holder.public().clone()],
        &replays,
        NOW_S,
    );
    let client = client.unwrap();
    assert_eq!(client.client_id(), &agent());
    assert_eq!(client.key(), holder.public().thumbprint());
    assert_eq!(client.assertion_jti(), Some("a1"));

    // The call: token and proof become one.
    let nonces = NonceKey::new(&[4; 32]).unwrap();
    let nonce = nonces.mint(NOW_S - 2, &[5; 12]);
    let text = token_for(&holder);
    let token = verified(&text).unwrap();
    let proof = proof_for(&holder, &text, Some(&nonce));
    let proof = verified_proof(&proof, &token, NoncePolicy::Required(&nonces)).unwrap();
    assert_eq!((proof.jti(), proof.nonce_age_s()), ("p1", Some(2)));
    let bound = bind(token, proof, &replays, NOW_S).unwrap();
    assert_eq!(bound.proof_key(), holder.public().thumbprint());
    assert_eq!(bound.proof_jti(), Some("p1"));
    assert_eq!(bound.claims().scope.to_string(), "read:get_invoice");
    assert_eq!((bound.claims().epoch, bound.token().claims().jti.as_str()), (3, "token-1"));
}

#[test]
fn a_stolen_token_is_worth_nothing_without_its_key() {
    let text = token_for(&key(2));
    let token = verified(&text).unwrap();
    let thief = proof_for(&key(4), &text, None);
    let refusal = verified_proof(&thief, &token, NoncePolicy::Off).unwrap_err();
    assert_eq!(refusal, DpopRefusal::KeyMismatch);
    assert_eq!(refusal.reason(), ReasonCode::PossessionKeyMismatch);
}

#[test]
fn a_stolen_proof_is_worth_nothing_a_second_time() {
    let replays = ReplaySet::new(1024, NOW_S - 100);
    let holder = key(2);
    let text = token_for(&holder);
    let proof = proof_for(&holder, &text, None);
    let present = || {
        let token = verified(&text).unwrap();
        let proof = verified_proof(&proof, &token, NoncePolicy::Off).unwrap();
        bind(token, proof, &replays, NOW_S)
    };
    assert!(present().is_ok());
    let refusal = present().unwrap_err();
    assert_eq!(refusal, PossessionRefusal::Replay(ReplayRefusal::Replayed));
    assert_eq!(refusal.reason(), ReasonCode::PossessionReplayed);
}

#[test]
fn a_proof_for_one_token_does_not_serve_another() {
    let replays = ReplaySet::new(1024, NOW_S - 100);
    let holder = key(2);
    let (first, second) = (token_for(&holder), token_for(&key(4)));
    let token = verified(&first).unwrap();
    let proof = proof_for(&holder, &first, None);
    let proof = verified_proof(&proof, &token, NoncePolicy::Off).unwrap();
    let refusal = bind(verified(&second).unwrap(), proof, &replays, NOW_S).unwrap_err();
    assert_eq!(refusal, PossessionRefusal::OtherToken);
    assert!(replays.is_empty(), "a refused pair burned the proof");
}

#[test]
fn after_a_restart_only_a_fresh_nonce_helps() {
    let replays = ReplaySet::new(1024, NOW_S);
    let holder = key(2);
    let text = token_for(&holder);
    let token = verified(&text).unwrap();
    let proof = proof_for(&holder, &text, None);
    let proof = verified_proof(&proof, &token, NoncePolicy::Off).unwrap();
    let refusal = bind(token.clone(), proof, &replays, NOW_S).unwrap_err();
    assert_eq!(refusal, PossessionRefusal::Replay(ReplayRefusal::StartedAfterIssue));

    let nonces = NonceKey::new(&[4; 32]).unwrap();
    let nonce = nonces.mint(NOW_S, &[5; 12]);
    let proof = proof_for(&holder, &text, Some(&nonce));
    let proof = verified_proof(&proof, &token, NoncePolicy::Required(&nonces)).unwrap();
    assert!(bind(token, proof, &replays, NOW_S).is_ok());
}

#[test]
fn a_stolen_assertion_is_worth_nothing_a_second_time_nor_after_a_restart() {
    let holder = key(2);
    let client_id = agent();
    let assertion = NewAssertion { client_id: &client_id, issuer: ISSUER, now_s: NOW_S, jti: "a1" };
    let assertion = client_assertion::new_assertion(&holder, &assertion).unwrap();
    let expected = client_assertion::Expected { issuer: ISSUER, client_id: None };
    let present = |replays: &ReplaySet, now_s| {
        let keys = |_: &AgentId| vec![holder.public().clone()];
        client_assertion::authenticate(&assertion, &expected, keys, replays, now_s)
    };
    let replays = ReplaySet::new(1024, NOW_S);
    assert!(present(&replays, NOW_S).is_ok());
    let replayed = AssertionRefusal::Replay(ReplayRefusal::Replayed);
    assert_eq!(present(&replays, NOW_S).unwrap_err(), replayed);
    let restarted = ReplaySet::new(1024, NOW_S + 1);
    let older = AssertionRefusal::Replay(ReplayRefusal::StartedAfterIssue);
    assert_eq!(present(&restarted, NOW_S + 2).unwrap_err(), older);
    assert!(restarted.is_empty());
}

#[test]
fn a_token_in_a_cache_still_ends() {
    let token = verified(&token_for(&key(2))).unwrap();
    assert_eq!(token.still_valid(NOW_S + 119), Ok(()));
    assert_eq!(token.still_valid(NOW_S + 120), Err(TokenRefusal::Expired));
    assert_eq!(token.still_valid(NOW_S - 6), Err(TokenRefusal::Future));
}

#[test]
fn claims_are_signed_in_canonical_form() {
    let text = token_for(&key(2));
    let payload = text.split('.').nth(1).unwrap();
    let payload = attorn_jose::from_base64url(payload).unwrap();
    let document = attorn_json::parse(&payload, &attorn_json::Limits::JWT).unwrap();
    assert_eq!(attorn_json::canonical(&document).unwrap(), payload);
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let same = |byte| ("k1".to_owned(), key(byte).public().clone());
    assert_eq!(IssuerKeys::new([same(1), same(3)]).err(), Some(DuplicateKeyId));
    assert!(IssuerKeys::default().find("k1").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_byte_change_breaks_a_token(place in any::<prop::sample::Index>(), byte in 0_u8..128) {
        let text = token_for(&key(2));
        let mut bytes = text.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        prop_assert!(verified(&text).is_ok());
        prop_assert!(verified(std::str::from_utf8(&bytes).unwrap()).is_err());
    }

    #[test]
    fn any_byte_change_breaks_a_proof(place in any::<prop::sample::Index>(), byte in 0_u8..128) {
        let holder = key(2);
        let text = token_for(&holder);
        let token = verified(&text).unwrap();
        let proof = proof_for(&holder, &text, None);
        let mut bytes = proof.into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        let changed = std::str::from_utf8(&bytes).unwrap();
        prop_assert!(verified_proof(changed, &token, NoncePolicy::Off).is_err());
    }
}
