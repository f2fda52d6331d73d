//! Client authentication by `private_key_jwt`, made and checked.
//!
//! Implemented: RFC 7521 section 4.2 and RFC 7523 section 3, with the audience rule of
//! draft-ietf-oauth-rfc7523bis-03: the issuer alone, as one string. Not implemented: client
//! secrets. Certificates are in [`crate::mtls`], JWT-SVIDs in [`crate::jwt_svid`].

use attorn_jose::{Compact, Jkt, NewHeader, PublicKey, SignError, SigningKey, sha256};
use attorn_planted::{Bug, is_planted};
use attorn_registry::AgentId;
use serde::{Deserialize, Serialize};

use crate::access_token::ClientId;
use crate::claim::{CLOCK_AHEAD_S, PROOF_LIMITS, Text, is_identifier, present};
use crate::replay::{ReplayRefusal, ReplaySet};

/// The value of `client_assertion_type`: RFC 7523 section 2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest time an assertion may still run, in seconds.
pub const ASSERTION_LIFETIME_MAX_S: u64 = 60;
/// The type that clients should use: draft-ietf-oauth-rfc7523bis-03.
const TYPE: &str = "client-authentication+jwt";

/// What an assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer identifier of this authorization server, from configuration.
    pub issuer: &'a str,
    /// The `client_id` parameter of the request, where there is one.
    pub client_id: Option<&'a str>,
}

/// Proof that a client used its own key. Only [`authenticate`], [`crate::mtls::authenticate`] and
/// [`crate::jwt_svid::authenticate`] make one:
///
/// ```compile_fail,E0451
/// use attorn_oauth::client_assertion::AuthenticatedClient;
///
/// fn forge(client_id: attorn_registry::AgentId, key: attorn_jose::Jkt) -> AuthenticatedClient {
///     AuthenticatedClient { client_id, key, assertion_jti: None }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthenticatedClient<C = AgentId> {
    client_id: C,
    key: Jkt,
    assertion_jti: Option<String>,
}

/// Why a client is not authenticated. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AssertionRefusal {
    /// For another server, for an endpoint, or for several.
    #[error("the assertion is for another audience")]
    Audience,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the assertion is missing or has the wrong type")]
    Claims,
    /// `iss`, `sub` and `client_id` are not the same.
    #[error("the assertion names two clients")]
    ClientMismatch,
    /// No such client, not active, or without keys.
    #[error("the client is unknown")]
    ClientUnknown,
    /// Past its end, starting later, or valid for too long.
    #[error("the times of the assertion do not fit")]
    Clock,
    /// `jti` is empty, too long, or not visible ASCII.
    #[error("the identifier of the assertion is malformed")]
    Jti,
    /// Not a compact JWS.
    #[error("the assertion is malformed")]
    Malformed,
    /// Used before, or that cannot be known.
    #[error("{0}")]
    Replay(ReplayRefusal),
    /// By no key of the client.
    #[error("the assertion is by no key of the client")]
    Signature,
    /// Another kind of JWT, such as a proof or a token.
    #[error("the assertion has another type")]
    Type,
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
    jti: Text<'a>,
    exp: u64,
    #[serde(default, deserialize_with = "present")]
    iat: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
}

/// RFC 7519 section 4.1.3 allows an array; draft-ietf-oauth-rfc7523bis-03 allows one string here.
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct ClaimedIssuer<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
}

/// Authenticates a client and burns its assertion.
///
/// `keys_of` gives the keys an active client may use now, and nothing for every other client:
/// unknown, suspended and keyless ones are refused alike.
///
/// # Errors
/// [`AssertionRefusal`], the first that applies. Nothing is burned then.
pub fn authenticate<C: ClientId>(
    assertion: &str,
    expected: &Expected<'_>,
    keys_of: impl FnOnce(&C) -> Vec<PublicKey>,
    replays: &ReplaySet,
    now_s: u64,
) -> Result<AuthenticatedClient<C>, AssertionRefusal> {
    let jws = Compact::parse(assertion, &PROOF_LIMITS).map_err(|_| AssertionRefusal::Malformed)?;
    // RFC 8725 section 3.11. `JWT` and no type are what clients sent before there was one; a proof
    // or a token of ours has another.
    match jws.header().typ.as_deref() {
        Some(TYPE | "JWT") | None => {}
        Some(_) => return Err(AssertionRefusal::Type),
    }
    let client_id: C = claimed_client(&jws)?;
    let name = client_id.to_string();
    let keys = keys_of(&client_id);
    if keys.is_empty() {
        return Err(AssertionRefusal::ClientUnknown);
    }
    let key = signing_key_among(&keys, &jws).ok_or(AssertionRefusal::Signature)?;
    // RFC 7523 section 3, item 9.
    let verified = jws.verify(key).map_err(|_| AssertionRefusal::Signature)?;
    let document = verified.claims(&PROOF_LIMITS).map_err(|_| AssertionRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| AssertionRefusal::Claims)?;
    check_parties(&wire, &name, expected)?;
    let expires_s = check_times(&wire, now_s)?;
    // An assertion may come with any proof key, so a nonce does not show that it is new. One from
    // before our start may have been used then. No margin: a client that starts with us would wait.
    // What remains is an assertion by a clock ahead of ours, within those seconds.
    let issued_s = wire.iat.unwrap_or_else(|| wire.exp.saturating_sub(ASSERTION_LIFETIME_MAX_S));
    replays.refuse_older_than_start(issued_s, 0).map_err(AssertionRefusal::Replay)?;
    // RFC 7523 section 3, item 7, and our own rule: an assertion is used once. Burned last.
    let replay_key = sha256(&[name.as_bytes(), b"\n", wire.jti.0.as_bytes()].concat());
    if !is_planted(Bug::AssertionReused) {
        replays.insert(replay_key, expires_s, now_s).map_err(AssertionRefusal::Replay)?;
    }
    let assertion_jti = wire.jti.0.into_owned();
    let key = key.thumbprint();
    Ok(AuthenticatedClient { client_id, key, assertion_jti: Some(assertion_jti) })
}

/// Whom the assertion claims to be from. Nothing but the choice of keys rests on it; it is read
/// again from the verified claims.
fn claimed_client<C: ClientId>(jws: &Compact<'_>) -> Result<C, AssertionRefusal> {
    let document = attorn_json::parse(jws.unauthenticated_payload(), &PROOF_LIMITS)
        .map_err(|_| AssertionRefusal::Claims)?;
    let claimed: ClaimedIssuer<'_> = document.to().map_err(|_| AssertionRefusal::Claims)?;
    claimed.iss.0.parse().map_err(|_| AssertionRefusal::ClientUnknown)
}

/// The key named by `kid` where that is a thumbprint, else the only one of the algorithm.
///
/// A client has few keys, but each trial costs a verification: no `kid`, no trials.
fn signing_key_among<'k>(keys: &'k [PublicKey], jws: &Compact<'_>) -> Option<&'k PublicKey> {
    let header = jws.header();
    let named: Option<Jkt> = header.kid.as_deref().and_then(|kid| kid.parse().ok());
    if let Some(jkt) = named {
        return keys.iter().find(|key| key.thumbprint() == jkt);
    }
    let mut fitting = keys.iter().filter(|key| key.algorithm() == header.alg);
    // RFC 7515 section 6: without a name, the key must be known otherwise.
    fitting.next().filter(|_| fitting.next().is_none())
}

fn check_parties(
    wire: &Wire<'_>,
    client_id: &str,
    expected: &Expected<'_>,
) -> Result<(), AssertionRefusal> {
    // RFC 7523 section 3, items 1 and 2; RFC 7521 section 4.2 on the parameter.
    let parameter_agrees = expected.client_id.is_none_or(|given| given == client_id);
    if !wire.iss.is(client_id) || !wire.sub.is(client_id) || !parameter_agrees {
        return Err(AssertionRefusal::ClientMismatch);
    }
    // RFC 7523 section 3, item 3; draft-ietf-oauth-rfc7523bis-03: the issuer alone, never the URL
    // of an endpoint, so that no other server can use what it was given.
    match &wire.aud {
        AudienceClaim::One(audience) if audience.is(expected.issuer) => {}
        AudienceClaim::One(audience)
            if is_planted(Bug::AssertionForEndpoint)
                && audience.0.strip_prefix(expected.issuer) == Some("/token") => {}
        AudienceClaim::One(_) | AudienceClaim::Other(_) => return Err(AssertionRefusal::Audience),
    }
    if is_identifier(&wire.jti.0) { Ok(()) } else { Err(AssertionRefusal::Jti) }
}

/// RFC 7523 section 3, items 4 to 6. Gives the time until which the identifier is remembered.
fn check_times(wire: &Wire<'_>, now_s: u64) -> Result<u64, AssertionRefusal> {
    let latest_end_s = now_s.saturating_add(ASSERTION_LIFETIME_MAX_S + CLOCK_AHEAD_S);
    let newest_s = now_s.saturating_add(CLOCK_AHEAD_S);
    let oldest_s = now_s.saturating_sub(ASSERTION_LIFETIME_MAX_S);
    let ends_soon = wire.exp > now_s && wire.exp <= latest_end_s;
    let is_recent = wire.iat.is_none_or(|iat| (oldest_s..=newest_s).contains(&iat));
    let has_begun = wire.nbf.is_none_or(|nbf| nbf <= newest_s);
    if ends_soon && is_recent && has_begun {
        Ok(wire.exp.saturating_add(CLOCK_AHEAD_S))
    } else {
        Err(AssertionRefusal::Clock)
    }
}

impl<C> AuthenticatedClient<C> {
    /// For the modules that verified something else than an assertion by the client's own key.
    pub(crate) const fn vouched_for(client_id: C, key: Jkt) -> Self {
        Self { client_id, key, assertion_jti: None }
    }

    /// The client.
    #[must_use]
    pub const fn client_id(&self) -> &C {
        &self.client_id
    }

    /// The registered key it used, or the thumbprint of its certificate. The key a token is bound to may be another one: clients make a
    /// new pair per session (RFC 9449 section 3).
    #[must_use]
    pub const fn key(&self) -> Jkt {
        self.key
    }

    /// The identifier of the assertion, for the log.
    #[must_use]
    pub fn assertion_jti(&self) -> Option<&str> {
        self.assertion_jti.as_deref()
    }
}

/// What a client puts into an assertion.
#[derive(Clone, Copy, Debug)]
pub struct NewAssertion<'a, C = AgentId> {
    /// The client itself.
    pub client_id: &'a C,
    /// The issuer of the metadata.
    pub issuer: &'a str,
    /// The time, in seconds since 1970.
    pub now_s: u64,
    /// Unique; 96 random bits or more.
    pub jti: &'a str,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: &'a str,
    sub: &'a str,
}

/// Makes an assertion, on the side of the client. `kid` is the thumbprint of the key.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn new_assertion<C: ClientId>(
    key: &SigningKey,
    assertion: &NewAssertion<'_, C>,
) -> Result<String, SignError> {
    let kid = key.public().thumbprint().to_string();
    new_assertion_elsewhere(key, Some(&kid), assertion)
}

/// As [`new_assertion`], for the server of somebody else: it names the client as it likes, and the key
/// too. Without a name it finds the key itself.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn new_assertion_elsewhere<C: std::fmt::Display>(
    key: &SigningKey,
    kid: Option<&str>,
    assertion: &NewAssertion<'_, C>,
) -> Result<String, SignError> {
    let NewAssertion { client_id, issuer, now_s, jti } = *assertion;
    let client_id = client_id.to_string();
    let client_id = client_id.as_str();
    let exp = now_s.saturating_add(ASSERTION_LIFETIME_MAX_S);
    let claims = NewClaims { aud: issuer, exp, iat: now_s, iss: client_id, jti, sub: client_id };
    let claims = serde_json::to_vec(&claims).map_err(|_| SignError)?;
    attorn_jose::sign(&NewHeader { typ: TYPE, kid, jwk: false }, &claims, key)
}
