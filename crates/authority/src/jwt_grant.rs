//! `/token` with an assertion of another issuer: RFC 7523 section 2.1.
//!
//! Which issuer it claims to be from decides whose keys it is verified with, and what it is decides
//! what it can give: [`workload`] gives an agent a token for itself, [`id_jag`] gives a client one for a
//! person. Both are bound to a key that the request proves.

mod consent;
mod id_jag;
mod workload;

use attorn_jose::Verified;
use attorn_net::Body;
use attorn_oauth::dpop::VerifiedProof;
use attorn_oauth::error::TokenError;
use attorn_oauth::jwt_grant::{Assertion, GrantUse};
use attorn_oauth::token_request::JwtBearer;
use http::Response;
use http::request::Parts;

use crate::proof::verify_present_proof;
use crate::refused::Unserved;
use crate::shared::Shared;
use crate::trusted_issuers::Trusted;

/// What a request presents, with an assertion whose signature held under a key of its issuer.
struct Presented<'a> {
    asked: &'a JwtBearer,
    issuer: &'a Trusted,
    verified: Verified<'a>,
    /// The proof of the request, not yet burned.
    proof: Option<VerifiedProof>,
}

/// The first steps of both. Nothing is used up by them.
pub(crate) async fn redeem(
    shared: &Shared,
    head: &Parts,
    asked: &JwtBearer,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let now_s = now_ms / 1000;
    // Before the assertion: a proof that only lacks our nonce must not cost anything.
    let proof = verify_present_proof(shared, head, "/token", now_s).map_err(TokenError::from)?;
    let assertion = Assertion::parse(&asked.assertion).map_err(TokenError::from)?;
    let issuer = shared.trusted_issuers.of(&assertion).map_err(TokenError::from)?;
    let verified = issuer.verify(assertion, now_s).await.map_err(TokenError::from)?;
    let presented = Presented { asked, issuer, verified, proof };
    match issuer.config.kind {
        GrantUse::IdJag => id_jag::redeem(shared, head, presented, now_ms).await,
        GrantUse::Workload => workload::redeem(shared, head, presented, now_ms).await,
    }
}
