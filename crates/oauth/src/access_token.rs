//! Access tokens: what we issue and what we accept, side by side.
//!
//! Implemented: the JWT profile of RFC 9068, narrowed: one audience, at most 300 seconds, always
//! bound by `cnf` to a key (RFC 9449 section 6.1) or a certificate (RFC 8705 section 3.1), but for
//! clients of people at servers that take bearer tokens (RFC 6750, at most 60 seconds), `act` of
//! RFC 8693 section 4.1: the agent that acts for a person, and before it history,
//! `authorization_details` of the type `mcp_tool_call` (RFC 9396 section 9.1).
//!
//! Two kinds of clients get tokens: agents for MCP servers, and MCP servers for the APIs behind them.
//! A token of one kind is none of the other: its `client_id` has another form, and only the second
//! kind has a `parent`, and may name the approval of the call it is for.
//! Not implemented: opaque tokens, other types of `authorization_details`. A token
//! that carries what is not implemented and would restrict it is refused, since ignoring a
//! restriction widens the token.

use std::collections::HashMap;
use std::sync::Arc;

use attorn_jose::{Compact, Jkt, NewHeader, PublicKey, SignError, SigningKey, sha256};
use attorn_json::Limits;
use attorn_planted::{Bug, is_planted};
use attorn_registry::{
    AgentId, Ancestor, ApprovalId, AuthorizationDetails, DownstreamUse, GrantId, ReasonCode,
    ScopeSet, ServerId,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::actor::{Actor, actor};
use crate::claim::{CLOCK_AHEAD_S, Text, is_identifier, object, present};
use crate::confirmation::{Confirmation, WireConfirmation};
use crate::subject::Subject;
use crate::token_client::verify_subject;
pub use crate::token_client::{ClientId, TokenClient};

/// The longest time between `iat` and `exp` of a token that is bound to no key, in seconds.
pub const BEARER_LIFETIME_MAX_S: u64 = 60;
/// The longest time between `iat` and `exp`, in seconds.
pub const LIFETIME_MAX_S: u64 = attorn_registry::TOKEN_LIFETIME_MAX_S;
/// RFC 9068 section 2.1. Compared verbatim: we issue this spelling only.
const TYPE: &str = "at+jwt";

/// The claims of a token: RFC 9068 section 2.2, RFC 7800 `cnf`, RFC 8693 `act`, and our own
/// `attorn_approval`, `grt`, `epoch` and `parent`.
///
/// Fields stand in the order of RFC 8785, so that serializing them gives the canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessTokenClaims<C = AgentId> {
    /// Who acts for the subject. Nested actors are history and grant nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The approval of the call that the token was exchanged for: a person said yes to it. It says
    /// which call this was, and gives no right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attorn_approval: Option<ApprovalId>,
    /// The one resource the token is for.
    pub aud: String,
    /// What the token says of the arguments of tools: RFC 9396 section 9.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<AuthorizationDetails>,
    /// The client the token was issued to.
    pub client_id: C,
    /// What the token is bound to.
    #[serde(skip_serializing_if = "Confirmation::is_bearer")]
    pub cnf: Confirmation,
    /// The revocation epoch at issue. A newer epoch ends all older tokens.
    pub epoch: u64,
    /// End, in seconds since 1970; the token is not valid at this second.
    pub exp: u64,
    /// The grant the scope came from, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grt: Option<GrantId>,
    /// Time of issue, in seconds since 1970.
    pub iat: u64,
    /// The issuer, verbatim.
    pub iss: String,
    /// The name of this token in logs and locks.
    pub jti: String,
    /// Start, in seconds since 1970.
    pub nbf: u64,
    /// The token it was exchanged for: whoever ends that one ends this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Ancestor>,
    /// What the token unlocks at its audience. May be empty.
    pub scope: ScopeSet,
    /// Whom the token is about: the agent itself, or the person it acts for.
    pub sub: Subject,
}

impl<C: Serialize> AccessTokenClaims<C> {
    /// The canonical claims, ready to be signed. Use [`issue`] unless a signer outside the process
    /// holds the key.
    #[must_use]
    pub fn to_sign(&self) -> Vec<u8> {
        // Every field is a string, a number or a set of strings: serializing cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl AccessTokenClaims<ServerId> {
    /// What the registry judges a token for an API by; nothing for one without a parent.
    #[must_use]
    pub fn downstream_use(&self) -> Option<DownstreamUse<'_>> {
        Some(DownstreamUse {
            server: &self.client_id,
            jti: &self.jti,
            key: self.cnf.key(),
            epoch: self.epoch,
            issued_s: self.iat,
            grant: self.grt.as_ref(),
            person: self.sub.person(),
            parent: self.parent.as_ref()?,
        })
    }
}

/// Signs a token under the issuer's key.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn issue<C: Serialize>(
    claims: &AccessTokenClaims<C>,
    kid: &str,
    key: &SigningKey,
) -> Result<String, SignError> {
    let header = NewHeader { typ: TYPE, kid: Some(kid), jwk: false };
    attorn_jose::sign(&header, &claims.to_sign(), key)
}

/// The keys of one issuer by `kid`, parsed once. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct IssuerKeys(Arc<HashMap<String, PublicKey>>);

/// Two keys of one issuer have the same `kid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two keys of the issuer have the same `kid`")]
pub struct DuplicateKeyId;

impl IssuerKeys {
    /// Takes the keys that may verify: the active and the retired ones.
    ///
    /// # Errors
    /// [`DuplicateKeyId`]: which key is meant would depend on the order.
    pub fn new(
        keys: impl IntoIterator<Item = (String, PublicKey)>,
    ) -> Result<Self, DuplicateKeyId> {
        let mut by_kid = HashMap::new();
        for (kid, key) in keys {
            if by_kid.insert(kid, key).is_some() {
                return Err(DuplicateKeyId);
            }
        }
        Ok(Self(Arc::new(by_kid)))
    }

    /// The key of this name. The name is an octet string and is looked up nowhere else.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }
}

/// What a token must say to be accepted here. All of it comes from configuration.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer, compared byte by byte.
    pub issuer: &'a str,
    /// The audience, compared byte by byte.
    pub audience: &'a str,
    /// The issuer's keys. Keys of another issuer never stand in this set.
    pub keys: &'a IssuerKeys,
}

/// Proof that a token was issued to be used here. Cloning shares it.
///
/// It says nothing yet about who presents it: see [`crate::possession::bind`].
#[derive(Clone, Debug)]
pub struct VerifiedToken<C = AgentId>(Arc<Inner<C>>);

#[derive(Debug)]
struct Inner<C> {
    claims: AccessTokenClaims<C>,
    digest: [u8; 32],
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenRefusal {
    /// The chain of actors is too deep or malformed.
    #[error("the actor chain is malformed")]
    ActorChain,
    /// For another audience, for several, or for none.
    #[error("the token is for another audience")]
    Audience,
    /// It carries a restriction that cannot be enforced here.
    #[error("the token carries `authorization_details` that cannot be enforced")]
    AuthorizationDetails,
    /// A claim is missing or has the wrong type.
    #[error("a claim is missing or has the wrong type")]
    Claims,
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// Issued or starting in the future.
    #[error("the token is not valid yet")]
    Future,
    /// From another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// The header brings or points at its own key.
    #[error("the header of the token brings its own key")]
    KeyInHeader,
    /// No `kid`, or none of the issuer's.
    #[error("the key of the token is unknown")]
    KeyUnknown,
    /// Longer valid than any token of ours.
    #[error("the token is valid for too long")]
    Lifetime,
    /// It names who may act with it (RFC 8693 section 4.4), which is not enforced here.
    #[error("the token carries `may_act`, which cannot be enforced")]
    MayAct,
    /// Not a compact JWS we could have issued.
    #[error("the token is malformed")]
    Malformed,
    /// The signature does not hold, or its algorithm is not the key's.
    #[error("the signature does not verify")]
    Signature,
    /// It is about somebody for whom its client does not act.
    #[error("the client of the token does not act for its subject")]
    Subject,
    /// Another kind of JWT.
    #[error("the token is no access token")]
    Type,
    /// Not bound to a key.
    #[error("the token is bound to no key")]
    Unbound,
}

impl TokenRefusal {
    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Audience => ReasonCode::TokenAudience,
            Self::Expired | Self::Future => ReasonCode::TokenExpired,
            Self::Issuer => ReasonCode::TokenIssuer,
            Self::Signature | Self::KeyUnknown | Self::KeyInHeader => ReasonCode::TokenSignature,
            Self::Unbound => ReasonCode::TokenBearerNotAllowed,
            Self::ActorChain => ReasonCode::DelegationDepth,
            Self::MayAct | Self::Subject => ReasonCode::DelegationNotAllowed,
            Self::AuthorizationDetails
            | Self::Claims
            | Self::Lifetime
            | Self::Malformed
            | Self::Type => ReasonCode::TokenMalformed,
        }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    aud: Option<AudienceClaim<'a>>,
    #[serde(borrow)]
    client_id: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    scope: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    cnf: Option<WireConfirmation<'a>>,
    #[serde(borrow)]
    jti: Text<'a>,
    iat: u64,
    nbf: u64,
    exp: u64,
    epoch: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    grt: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    attorn_approval: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    act: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    authorization_details: Option<&'a serde_json::value::RawValue>,
    #[serde(default, deserialize_with = "present")]
    may_act: Option<IgnoredAny>,
    #[serde(borrow, default, deserialize_with = "present")]
    parent: Option<&'a serde_json::value::RawValue>,
}

/// RFC 7519 section 4.1.3 allows a string or an array; only the string can be one audience.
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Other(IgnoredAny),
}

/// Verifies a token: RFC 9068 section 4, RFC 7519 section 7.2, RFC 8725.
///
/// # Errors
/// [`TokenRefusal`], the first that applies.
pub fn verify<C: TokenClient>(
    token: &str,
    expected: &Expected<'_>,
    now_s: u64,
) -> Result<VerifiedToken<C>, TokenRefusal> {
    let jws = Compact::parse(token, &Limits::JWT).map_err(|_| TokenRefusal::Malformed)?;
    let header = jws.header();
    // RFC 9068 section 4: the type keeps every other kind of JWT out.
    if header.typ.as_deref() != Some(TYPE) && !is_planted(Bug::TokenTypeUnchecked) {
        return Err(TokenRefusal::Type);
    }
    // RFC 8725 section 3.10: a key named by the token itself proves nothing.
    let own = if is_planted(Bug::TokenKeyFromHeader) { header.jwk.clone() } else { None };
    if own.is_none() && (header.jwk.is_some() || header.has_key_reference) {
        return Err(TokenRefusal::KeyInHeader);
    }
    // RFC 8725 section 3.8: the key comes from the set of the one issuer, by its name.
    let kid = header.kid.as_deref().ok_or(TokenRefusal::KeyUnknown)?;
    let key = expected.keys.find(kid).ok_or(TokenRefusal::KeyUnknown)?;
    let key = own.as_ref().unwrap_or(key);
    let verified = jws.verify(key).map_err(|_| TokenRefusal::Signature)?;
    let document = verified.claims(&Limits::JWT).map_err(|_| TokenRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| TokenRefusal::Claims)?;
    // RFC 9068 section 4: exactly the expected issuer; no case folding, no trailing slash.
    if !wire.iss.is(expected.issuer) {
        return Err(TokenRefusal::Issuer);
    }
    // RFC 9068 section 4: meant for this resource. One string, so that no second party shares it.
    match &wire.aud {
        Some(AudienceClaim::One(audience)) if audience.is(expected.audience) => {}
        Some(AudienceClaim::One(_)) if is_planted(Bug::TokenAudienceUnchecked) => {}
        Some(AudienceClaim::One(_) | AudienceClaim::Other(_)) | None => {
            return Err(TokenRefusal::Audience);
        }
    }
    let token_digest = sha256(token.as_bytes());
    let claims = claims_of(&wire)?;
    verify_subject(&claims)?;
    let token = VerifiedToken(Arc::new(Inner { claims, digest: token_digest }));
    token.still_valid(now_s)?;
    Ok(token)
}

fn claims_of<C: TokenClient>(wire: &Wire<'_>) -> Result<AccessTokenClaims<C>, TokenRefusal> {
    // RFC 8693 section 4.4: it restricts who may act, and what is not enforced is not ignored.
    if wire.may_act.is_some() {
        return Err(TokenRefusal::MayAct);
    }
    let parent = wire.parent.map(|raw| parent(raw.get())).transpose()?;
    if parent.is_some() != C::HAS_PARENT {
        return Err(TokenRefusal::Claims);
    }
    // Who calls a server has the approval in the registry; only what comes of the call names it.
    let approval = wire.attorn_approval.as_ref().map(|id| ApprovalId::parse(&id.0)).transpose();
    let attorn_approval = approval.map_err(|_| TokenRefusal::Claims)?;
    if attorn_approval.is_some() && !C::HAS_PARENT {
        return Err(TokenRefusal::Claims);
    }
    // RFC 9396 section 9.1: the details restrict the token. What is of another type or form cannot
    // be enforced, so such a token is none.
    let details = wire.authorization_details.map(|raw| AuthorizationDetails::parse_made(raw.get()));
    let authorization_details =
        details.transpose().map_err(|_| TokenRefusal::AuthorizationDetails)?;
    if !is_identifier(&wire.sub.0) || !is_identifier(&wire.jti.0) {
        return Err(TokenRefusal::Claims);
    }
    let sub = Subject::parse(&wire.sub.0).map_err(|_| TokenRefusal::Subject)?;
    let client_id: C = wire.client_id.0.parse().map_err(|_| TokenRefusal::Claims)?;
    let cnf = match &wire.cnf {
        Some(cnf) => cnf.read().ok_or(TokenRefusal::Claims)?,
        // RFC 9449 section 6.1: without a key it is a bearer token. RFC 8705 section 3.1.
        None => C::unbound(&sub, &client_id).ok_or(TokenRefusal::Unbound)?,
    };
    // An absent scope unlocks nothing; it never means "all".
    let scope = wire.scope.as_ref().map_or("", |scope| &*scope.0);
    let grant = wire.grt.as_ref().map(|grant| GrantId::parse(&grant.0)).transpose();
    Ok(AccessTokenClaims {
        act: wire.act.map(|raw| actor(raw.get())).transpose()?,
        attorn_approval,
        aud: wire.aud_text().ok_or(TokenRefusal::Audience)?.to_owned(),
        authorization_details,
        client_id,
        cnf,
        epoch: wire.epoch,
        exp: wire.exp,
        grt: grant.map_err(|_| TokenRefusal::Claims)?,
        iat: wire.iat,
        iss: wire.iss.0.clone().into_owned(),
        jti: wire.jti.0.clone().into_owned(),
        nbf: wire.nbf,
        parent,
        scope: ScopeSet::parse(scope).map_err(|_| TokenRefusal::Claims)?,
        sub,
    })
}

impl Wire<'_> {
    fn aud_text(&self) -> Option<&str> {
        match &self.aud {
            Some(AudienceClaim::One(text)) => Some(&text.0),
            Some(AudienceClaim::Other(_)) | None => None,
        }
    }
}

/// An object with exactly our members.
fn parent(text: &str) -> Result<Ancestor, TokenRefusal> {
    if !text.starts_with('{') {
        return Err(TokenRefusal::Claims);
    }
    let parent: Ancestor = serde_json::from_str(text).map_err(|_| TokenRefusal::Claims)?;
    if is_identifier(&parent.jti) { Ok(parent) } else { Err(TokenRefusal::Claims) }
}

impl<C> VerifiedToken<C> {
    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &AccessTokenClaims<C> {
        &self.0.claims
    }

    /// SHA-256 of the token text: the value of `ath` (RFC 9449 section 4.2), and the only form of
    /// the token that may be kept.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// What the token is bound to.
    #[must_use]
    pub fn confirmation(&self) -> &Confirmation {
        &self.0.claims.cnf
    }

    /// The key whose proofs the token needs, unless it is bound to a certificate.
    #[must_use]
    pub fn jkt(&self) -> Option<&Jkt> {
        match &self.0.claims.cnf {
            Confirmation::Jkt(jkt) => Some(jkt),
            Confirmation::Bearer(_) | Confirmation::Certificate(_) => None,
        }
    }

    /// Whether the times still hold; all else was settled by [`verify`] and cannot change.
    ///
    /// # Errors
    /// [`TokenRefusal::Expired`], [`TokenRefusal::Future`] or [`TokenRefusal::Lifetime`].
    pub fn still_valid(&self, now_s: u64) -> Result<(), TokenRefusal> {
        let AccessTokenClaims { exp, iat, nbf, .. } = self.0.claims;
        // RFC 7519 section 4.1.4: on or after `exp` the token must not be accepted. No leeway.
        if now_s >= exp && !is_planted(Bug::TokenEndUnchecked) {
            return Err(TokenRefusal::Expired);
        }
        // RFC 7519 sections 4.1.5 and 4.1.6. The issuer's clock may be a little ahead.
        if nbf.max(iat) > now_s.saturating_add(CLOCK_AHEAD_S) {
            return Err(TokenRefusal::Future);
        }
        // Our own rule: nobody keeps a token for longer than this, whoever signed it.
        let max_s =
            if self.0.claims.cnf.is_bearer() { BEARER_LIFETIME_MAX_S } else { LIFETIME_MAX_S };
        if exp.saturating_sub(iat) > max_s {
            return Err(TokenRefusal::Lifetime);
        }
        Ok(())
    }
}
