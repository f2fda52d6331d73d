//! Client authentication by a JWT-SVID: draft-ietf-oauth-spiffe-client-auth-02, on JWT-SVID.
//!
//! Implemented: one audience, the issuer; an end at most five minutes away; keys of the trust
//! domain's bundle by `kid`. A JWT-SVID has no `jti` and workloads use it more than once, so it
//! cannot be burned. Instead the first key that it is used with is remembered until it ends: a copy
//! is of no use to another key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_jose::{Compact, Jkt, PublicKey, sha256};
use attorn_registry::{AgentId, SpiffeId};
use serde::Deserialize;

use crate::claim::{CLOCK_AHEAD_S, PROOF_LIMITS, Text, present};
use crate::client_assertion::AuthenticatedClient;

/// The value of `client_assertion_type`: draft-ietf-oauth-spiffe-client-auth-02 section 3.1.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
/// The longest time a JWT-SVID may still run, in seconds.
pub const LIFETIME_MAX_S: u64 = 300;

/// Why a JWT-SVID does not stand for a client. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SvidRefusal {
    /// For another server, or for several.
    #[error("the SVID is for another audience")]
    Audience,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the SVID is missing or has the wrong type")]
    Claims,
    /// Past its end, valid for too long, or from the future.
    #[error("the times of the SVID do not fit")]
    Clock,
    /// Used with another key before.
    #[error("the SVID was used with another key")]
    OtherHolder,
    /// So many are in use that no more can be remembered. A failure of ours.
    #[error("used SVIDs cannot be remembered at the moment")]
    Full,
    /// Not a compact JWS with a `kid`.
    #[error("the SVID is malformed")]
    Malformed,
    /// By no key of the trust domain.
    #[error("the SVID is by no key of its trust domain")]
    Signature,
    /// Of another workload.
    #[error("the SVID is of another workload")]
    Subject,
    /// Another kind of JWT.
    #[error("the SVID has another type")]
    Type,
}

/// What a JWT-SVID must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer identifier of this authorization server, from configuration.
    pub issuer: &'a str,
    /// The client that the request names.
    pub client_id: &'a AgentId,
    /// The workload that the client is registered as.
    pub id: &'a SpiffeId,
    /// The key the request proves, where it proves one.
    pub holder: Option<Jkt>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    aud: AudienceClaim<'a>,
    exp: u64,
    #[serde(default, deserialize_with = "present")]
    iat: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
}

/// JWT-SVID section 3.2 has lists; draft-ietf-oauth-spiffe-client-auth-02 allows one audience.
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Several(#[serde(borrow)] Vec<Text<'a>>),
}

/// Authenticates a client by its JWT-SVID.
///
/// # Errors
/// [`SvidRefusal`], the first that applies.
pub fn authenticate(
    svid: &str,
    expected: &Expected<'_>,
    keys: &HashMap<String, PublicKey>,
    holders: &Holders,
    now_s: u64,
) -> Result<AuthenticatedClient, SvidRefusal> {
    let jws = Compact::parse(svid, &PROOF_LIMITS).map_err(|_| SvidRefusal::Malformed)?;
    // JWT-SVID section 2.3. Every kind of JWT of ours has another type.
    match jws.header().typ.as_deref() {
        Some("JWT" | "JOSE") | None => {}
        Some(_) => return Err(SvidRefusal::Type),
    }
    // RFC 8725 section 3.8: only the authorities of the trust domain, by name.
    let kid = jws.header().kid.as_deref().ok_or(SvidRefusal::Malformed)?;
    let key = keys.get(kid).ok_or(SvidRefusal::Signature)?;
    let verified = jws.verify(key).map_err(|_| SvidRefusal::Signature)?;
    let document = verified.claims(&PROOF_LIMITS).map_err(|_| SvidRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| SvidRefusal::Claims)?;
    // JWT-SVID section 3.1: the ID, in its one spelling.
    if !wire.sub.is(expected.id.as_str()) {
        return Err(SvidRefusal::Subject);
    }
    let is_for_us = match &wire.aud {
        AudienceClaim::One(audience) => audience.is(expected.issuer),
        AudienceClaim::Several(audiences) => {
            matches!(audiences.as_slice(), [only] if only.is(expected.issuer))
        }
    };
    if !is_for_us {
        return Err(SvidRefusal::Audience);
    }
    verify_times(&wire, now_s)?;
    if let Some(holder) = expected.holder {
        holders.hold(sha256(svid.as_bytes()), holder, wire.exp, now_s)?;
    }
    let (client_id, key) = (expected.client_id.clone(), key.thumbprint());
    Ok(AuthenticatedClient::vouched_for(client_id, key))
}

/// JWT-SVID section 3.3.
fn verify_times(wire: &Wire<'_>, now_s: u64) -> Result<(), SvidRefusal> {
    let newest_s = now_s.saturating_add(CLOCK_AHEAD_S);
    let ends_soon = now_s < wire.exp && wire.exp <= newest_s.saturating_add(LIFETIME_MAX_S);
    let has_begun = [wire.iat, wire.nbf].iter().flatten().all(|begin_s| *begin_s <= newest_s);
    if ends_soon && has_begun { Ok(()) } else { Err(SvidRefusal::Clock) }
}

/// Which key each JWT-SVID was first used with.
#[derive(Debug, Default)]
pub struct Holders(Mutex<HashMap<[u8; 32], Held>>);

#[derive(Debug)]
struct Held {
    holder: Jkt,
    expires_s: u64,
}

impl Holders {
    fn hold(
        &self,
        svid: [u8; 32],
        holder: Jkt,
        expires_s: u64,
        now_s: u64,
    ) -> Result<(), SvidRefusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.get(&svid) {
            return if known.holder == holder { Ok(()) } else { Err(SvidRefusal::OtherHolder) };
        }
        if held.len() >= HOLDERS_MAX {
            held.retain(|_, known| known.expires_s > now_s);
        }
        // Nothing that still counts is forgotten.
        if held.len() >= HOLDERS_MAX {
            return Err(SvidRefusal::Full);
        }
        held.insert(svid, Held { holder, expires_s });
        Ok(())
    }
}

/// Only SVIDs that verified get in: a few per workload at a time.
const HOLDERS_MAX: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use attorn_jose::{Algorithm, NewHeader, SigningKey, sign};
    use serde_json::{Value, json};

    use super::*;

    const NOW_S: u64 = 10_000;
    const ISSUER: &str = "https://id.example";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Algorithm::Es256, &[seed; 32]).unwrap()
    }

    fn svid(typ: &str, kid: Option<&str>, claims: &Value) -> String {
        let header = NewHeader { typ, kid, jwk: false };
        sign(&header, claims.to_string().as_bytes(), &key(1)).unwrap()
    }

    fn right() -> Value {
        json!({"sub": "spiffe://example.org/billing", "aud": [ISSUER], "exp": NOW_S + 300})
    }

    fn present_as(svid: &str, holder: u8, holders: &Holders) -> Result<(), SvidRefusal> {
        let Ok(id) = SpiffeId::parse("spiffe://example.org/billing") else { panic!("no id") };
        let client_id = AgentId::from_random(&[1; 16]);
        let holder = Some(Jkt::from_bytes([holder; 32]));
        let expected = Expected { issuer: ISSUER, client_id: &client_id, id: &id, holder };
        let keys = HashMap::from([("a".to_owned(), key(1).public().clone())]);
        authenticate(svid, &expected, &keys, holders, NOW_S).map(drop)
    }

    fn check(svid: &str, expected: Result<(), SvidRefusal>) {
        assert_eq!(present_as(svid, 1, &Holders::default()), expected);
    }

    #[test]
    fn an_svid_of_the_workload_is_taken() {
        check(&svid("JWT", Some("a"), &right()), Ok(()));
        let mut one = right();
        one["aud"] = ISSUER.into();
        check(&svid("JWT", Some("a"), &one), Ok(()));
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        let changed = |member: &str, value: Value| {
            let mut claims = right();
            claims[member] = value;
            svid("JWT", Some("a"), &claims)
        };
        check(&changed("aud", json!([ISSUER, "https://b.example"])), Err(SvidRefusal::Audience));
        check(&changed("aud", json!([])), Err(SvidRefusal::Audience));
        check(&changed("aud", json!("https://id.example/token")), Err(SvidRefusal::Audience));
        let other = json!("spiffe://example.org/other");
        check(&changed("sub", other), Err(SvidRefusal::Subject));
        check(&changed("exp", json!(NOW_S)), Err(SvidRefusal::Clock));
        check(&changed("exp", json!(NOW_S + 306)), Err(SvidRefusal::Clock));
        check(&changed("iat", json!(NOW_S + 6)), Err(SvidRefusal::Clock));
        check(&changed("exp", json!("soon")), Err(SvidRefusal::Claims));
        check(&svid("at+jwt", Some("a"), &right()), Err(SvidRefusal::Type));
        check(&svid("JWT", Some("b"), &right()), Err(SvidRefusal::Signature));
        check(&svid("JWT", None, &right()), Err(SvidRefusal::Malformed));
        check("x", Err(SvidRefusal::Malformed));
    }

    #[test]
    fn a_copy_is_of_no_use_to_another_key() {
        let (svid, holders) = (svid("JWT", Some("a"), &right()), Holders::default());
        assert_eq!(present_as(&svid, 1, &holders), Ok(()));
        assert_eq!(present_as(&svid, 1, &holders), Ok(()));
        assert_eq!(present_as(&svid, 2, &holders), Err(SvidRefusal::OtherHolder));
        assert_eq!(present_as(&svid, 2, &holders), Err(SvidRefusal::OtherHolder));
    }
}
