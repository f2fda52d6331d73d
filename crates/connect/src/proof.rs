//! What this side signs: DPoP proofs (RFC 9449 section 4.2) and client assertions (RFC 7523).

use attorn_jose::{NewHeader, SignError, SigningKey, base64url, sign};
use serde::Serialize;
use url::Url;

use crate::world::World;

/// Claims of a DPoP proof.
#[derive(Serialize)]
struct ProofClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

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

/// A fresh proof for one request. `token_digest` is the SHA-256 of the access token's text.
pub(crate) fn dpop_proof(
    world: &World,
    key: &SigningKey,
    method: &str,
    url: &Url,
    token_digest: Option<&[u8; 32]>,
    nonce: Option<&str>,
) -> Result<String, SignError> {
    let mut target = url.clone();
    // RFC 9449 section 4.2: `htu` has neither query nor fragment.
    target.set_query(None);
    target.set_fragment(None);
    let claims = ProofClaims {
        ath: token_digest.map(|digest| base64url(digest)),
        htm: method,
        htu: target.as_str(),
        iat: world.clock.now_s(),
        jti: world.unique(),
        nonce,
    };
    let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
    sign(&NewHeader { typ: "dpop+jwt", kid: None, jwk: true }, &claims, key)
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
