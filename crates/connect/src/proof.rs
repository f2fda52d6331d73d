//! What this side signs: DPoP proofs (RFC 9449 section 4.2) and client assertions (RFC 7523).
//!
//! Assertions are made here because the client may be registered anywhere, under any name.

use attorn_jose::{NewHeader, SignError, SigningKey, sign};
use attorn_oauth::dpop::{NewProof, new_proof};
use serde::Serialize;
use url::Url;

use crate::world::World;

/// Claims of a client assertion.
#[derive(Serialize)]
struct AssertionClaims<'a> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: String,
    sub: &'a str,
}

/// A fresh proof for one request.
pub(crate) fn dpop_proof(
    world: &World,
    key: &SigningKey,
    method: &str,
    url: &Url,
    access_token: Option<&str>,
    nonce: Option<&str>,
) -> Result<String, SignError> {
    let mut target = url.clone();
    // RFC 9449 section 4.2: `htu` has neither query nor fragment.
    target.set_query(None);
    target.set_fragment(None);
    let proof = NewProof {
        htm: method,
        htu: target.as_str(),
        iat_s: world.clock.now_s(),
        jti: &world.unique(),
        access_token,
        nonce,
    };
    new_proof(key, &proof)
}

/// A fresh assertion that `client_id` holds `key`, for the authorization server `issuer`.
pub(crate) fn client_assertion(
    world: &World,
    key: &SigningKey,
    client_id: &str,
    issuer: &str,
) -> Result<String, SignError> {
    let now_s = world.clock.now_s();
    let claims = AssertionClaims {
        // RFC 7523 as updated by draft-ietf-oauth-rfc7523bis-02 section 4: the issuer alone.
        aud: issuer,
        exp: now_s.saturating_add(ASSERTION_LIFETIME_S),
        iat: now_s,
        // RFC 7523 section 3: for client authentication both are the client.
        iss: client_id,
        jti: world.unique(),
        sub: client_id,
    };
    let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
    let kid = key.public().thumbprint().to_string();
    let header = NewHeader { typ: "client-authentication+jwt", kid: Some(&kid), jwk: false };
    sign(&header, &claims, key)
}

const ASSERTION_LIFETIME_S: u64 = 45;
