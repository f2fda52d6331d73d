//! An identity provider's word on a person as a grant: the Identity Assertion JWT Authorization Grant,
//! draft-ietf-oauth-identity-assertion-authz-grant-04, as MCP's Enterprise-Managed Authorization uses it.
//!
//! Implemented: section 3.1 with `resource` required (Enterprise-Managed Authorization section 4.3)
//! and one resource alone; section 4.4.1; `cnf` of section 8.6.1; `tenant` where the issuer has
//! several. What the provider grants is an upper bound: what the token holds is also within the rights
//! of the person and of the client, which the edge knows.
//! Not implemented: `act`, which the draft leaves to others: an assertion with it is refused; `aud_sub`,
//! `email` and making people known by them; details of other types than ours.

use attorn_jose::{Jkt, Verified};
use attorn_json::Value;
use attorn_registry::{AuthorizationDetails, ExternalSubject, Scope, ScopeSet};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::claim::{Text, is_identifier, object, present};
use crate::confirmation::{Confirmation, WireConfirmation};
use crate::jwt_grant::{
    AudienceClaim, GrantUse, JwtGrantRefusal, LIMITS, Times, is_subject, kind_of, single_use,
};
use crate::resource::ResourceIndicator;

/// The profile in `authorization_grant_profiles_supported`:
/// draft-ietf-oauth-identity-assertion-authz-grant-04 section 7.2.
pub const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
/// The token type, where a client asks its provider for one: section 4.3.
pub const ID_JAG_TOKEN: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// What an ID-JAG must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider whose key it was.
    pub issuer: &'a str,
    /// The one tenant of the provider whose people are ours; `None` where it has none.
    pub tenant: Option<&'a str>,
    /// The issuer identifier of this authorization server, from configuration.
    pub audience: &'a str,
    /// The client that asks, as it is known here.
    pub client_id: &'a str,
    /// The key that the request proves, where it proves one.
    pub proven: Option<Confirmation>,
    /// The longest life, in seconds.
    pub lifetime_max_s: u64,
}

/// What a provider says of a person, a client and a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedIdJag {
    // Invariant: signature, audience, client, key and times held.
    /// Who the person is at the provider.
    pub subject: ExternalSubject,
    /// The one resource.
    pub resource: ResourceIndicator,
    /// What the provider allows at most; `None` is no bound of its own.
    pub scope: Option<ScopeSet>,
    /// What it allows of arguments; `None` is no bound of its own.
    pub details: Option<AuthorizationDetails>,
    /// Its identifier, for the log.
    pub jti: String,
    /// What is remembered when it is used.
    pub single_use: [u8; 32],
    /// Until when it is remembered.
    pub expires_s: u64,
    /// The key of the provider that signed it.
    pub key: Jkt,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    aud: AudienceClaim<'a>,
    #[serde(borrow)]
    client_id: Text<'a>,
    #[serde(borrow)]
    jti: Text<'a>,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
    #[serde(borrow)]
    resource: ResourceClaim<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    scope: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    authorization_details: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tenant: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    cnf: Option<WireConfirmation<'a>>,
}

/// Section 3.1: a text or a list of them. A token of ours has one audience.
#[derive(Deserialize)]
#[serde(untagged)]
enum ResourceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Several(#[serde(borrow)] Vec<Text<'a>>),
}

/// Judges what an ID-JAG says, which its signature holds for under a key of `issuer`. Nothing is used
/// up by it.
///
/// # Errors
/// [`JwtGrantRefusal`], the first that applies.
pub fn verify(
    verified: &Verified<'_>,
    expected: &Expected<'_>,
    now_s: u64,
) -> Result<VerifiedIdJag, JwtGrantRefusal> {
    if kind_of(verified.header())? != GrantUse::IdJag {
        return Err(JwtGrantRefusal::Issuer);
    }
    let document = verified.claims(&LIMITS).map_err(|_| JwtGrantRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| JwtGrantRefusal::Claims)?;
    verify_parties(&wire, document.value(), expected)?;
    let times = Times { exp: wire.exp, iat: wire.iat, nbf: wire.nbf };
    times.verify(expected.lifetime_max_s, now_s)?;
    if !is_identifier(&wire.jti.0) {
        return Err(JwtGrantRefusal::Jti);
    }
    verify_key(&wire, expected)?;
    let details = wire.authorization_details.map(|raw| AuthorizationDetails::parse(raw.get()));
    let jti = wire.jti.0.into_owned();
    Ok(VerifiedIdJag {
        subject: ExternalSubject {
            issuer: expected.issuer.to_owned(),
            subject: wire.sub.0.into_owned(),
        },
        resource: wire.resource.read()?,
        scope: wire.scope.map(|text| ours(&text.0)),
        // What is not understood cannot be kept to.
        details: details.transpose().map_err(|_| JwtGrantRefusal::Claims)?,
        single_use: single_use(verified, expected.issuer, Some(&jti)),
        jti,
        expires_s: wire.exp,
        key: verified.key(),
    })
}

fn verify_parties(
    wire: &Wire<'_>,
    claims: Value<'_>,
    expected: &Expected<'_>,
) -> Result<(), JwtGrantRefusal> {
    // RFC 8725 section 3.8: the key is this issuer's, so nobody else may stand in `iss`.
    if !wire.iss.is(expected.issuer) {
        return Err(JwtGrantRefusal::Issuer);
    }
    // Section 3.1: the same `sub` in another tenant is another person.
    let tenant = wire.tenant.as_ref().map(|tenant| tenant.0.as_ref());
    if tenant != expected.tenant {
        return Err(JwtGrantRefusal::Tenant);
    }
    // Section 4.4.1: the issuer identifier and nothing else, so no endpoint either.
    wire.aud.verify(&[expected.audience])?;
    // Section 4.4.1: the client that asks.
    if !wire.client_id.is(expected.client_id) {
        return Err(JwtGrantRefusal::ClientMismatch);
    }
    if !is_subject(&wire.sub.0) {
        return Err(JwtGrantRefusal::Claims);
    }
    // Section 8.5: nobody says how to check it, and to pass over it would hide who acts.
    if claims.member("act").is_some() { Err(JwtGrantRefusal::Actor) } else { Ok(()) }
}

/// Section 8.6.1: what is bound to a key is nothing without it. What is not bound gets a token for the
/// key that the request proves, and nothing without one.
fn verify_key(wire: &Wire<'_>, expected: &Expected<'_>) -> Result<(), JwtGrantRefusal> {
    let proven = expected.proven.ok_or(JwtGrantRefusal::Possession)?;
    let Some(cnf) = &wire.cnf else { return Ok(()) };
    // RFC 7800 section 3.1: a confirmation that is not understood cannot be confirmed.
    let bound = cnf.read().ok_or(JwtGrantRefusal::Claims)?;
    if bound == proven { Ok(()) } else { Err(JwtGrantRefusal::Possession) }
}

impl ResourceClaim<'_> {
    fn read(&self) -> Result<ResourceIndicator, JwtGrantRefusal> {
        let text = match self {
            Self::One(text) => text,
            Self::Several(texts) => match texts.as_slice() {
                [only] => only,
                _ => return Err(JwtGrantRefusal::Claims),
            },
        };
        ResourceIndicator::parse(&text.0).map_err(|_| JwtGrantRefusal::Claims)
    }
}

/// A provider may name scopes that mean something elsewhere. They give nothing here, and a wildcard
/// is none of ours.
fn ours(text: &str) -> ScopeSet {
    text.split(' ').filter_map(|token| Scope::parse(token).ok()).collect()
}

#[cfg(test)]
#[path = "id_jag_tests.rs"]
mod tests;
