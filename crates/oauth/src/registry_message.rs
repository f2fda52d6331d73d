//! The registry as an authority tells it to its gateways: signed, for one gateway, for one question.
//!
//! A JWT of its own type (RFC 8725 section 3.11) under the issuer's key. The nonce of the question
//! stands in the answer, so an old answer fits no new question. What is not checked here: that the
//! version leads on from the one in force, which [`Snapshot::apply`] does, and the clock, since the
//! nonce says more about freshness than two clocks can.
//!
//! [`Snapshot::apply`]: attorn_registry::Snapshot::apply

use attorn_jose::{Compact, NewHeader, SignError, SigningKey};
use attorn_json::Limits;
use attorn_registry::{DeltaRefusal, Snapshot, SnapshotDelta, SnapshotParts};
use serde::{Deserialize, Serialize};

use crate::access_token::Expected;

/// Compared verbatim: we issue this spelling only.
const TYPE: &str = "attorn-registry+jwt";
/// A whole registry of a large installation fits; nothing endless does.
pub const REGISTRY_MESSAGE_LIMITS: Limits = Limits { bytes_max: 512 << 20, depth_max: 64 };

/// The claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryMessage {
    /// The gateway it is for, by its `client_id`.
    pub aud: String,
    /// What to do with the registry in force.
    pub change: RegistryChange,
    /// When it was made, in seconds since 1970; for the log.
    pub iat: u64,
    /// The issuer, verbatim.
    pub iss: String,
    /// A new lease: the gateway keeps it and presents it from the next question on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The nonce of the question.
    pub nonce: String,
}

/// What changed since the version the gateway asked from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RegistryChange {
    /// These records.
    Delta(Box<SnapshotDelta>),
    /// Nothing: the version asked from is in force.
    Unchanged(u64),
    /// Too much to tell apart: the whole registry.
    Whole(Box<SnapshotParts>),
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryMessageRefusal {
    /// For another gateway, or from another issuer.
    #[error("the message is for another gateway or from another issuer")]
    Addressee,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the message is missing or has the wrong type")]
    Claims,
    /// The key is unknown: fetch the issuer's keys, and try again.
    #[error("the key of the message is unknown")]
    KeyUnknown,
    /// Not a compact JWS of this type.
    #[error("the message is malformed")]
    Malformed,
    /// It answers another question.
    #[error("the message answers another question")]
    Nonce,
    /// The signature does not hold.
    #[error("the signature of the message does not verify")]
    Signature,
}

/// Why a verified change is not put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// It is about another version than the one in force.
    #[error("the authority answers another question")]
    AnotherQuestion,
    /// The records do not lead on from the ones in force.
    #[error(transparent)]
    Delta(#[from] DeltaRefusal),
    /// Less than was in force here before: a registry from a backup.
    #[error("the authority's registry is older than what was in force here")]
    Older,
}

impl RegistryChange {
    /// The registry after this change; `None` when `now` stays in force. `known` is the highest
    /// version and the highest epoch that ever were in force here, also before a restart.
    ///
    /// # Errors
    /// [`NotFollowed`]; then nothing changes, and the authority was not heard.
    pub fn leading_on(
        self,
        now: &Snapshot,
        known: (u64, u64),
    ) -> Result<Option<Snapshot>, NotFollowed> {
        let next = match self {
            Self::Unchanged(version) if version == now.version => return Ok(None),
            Self::Unchanged(_) => return Err(NotFollowed::AnotherQuestion),
            Self::Delta(delta) => now.apply(*delta)?,
            Self::Whole(parts) => Snapshot::new(*parts),
        };
        let (version, epoch) = known;
        if next.version < version || next.epoch < epoch {
            return Err(NotFollowed::Older);
        }
        Ok(Some(next))
    }
}

/// Signs a message under the issuer's key.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn issue(message: &RegistryMessage, kid: &str, key: &SigningKey) -> Result<String, SignError> {
    let claims = serde_json::to_vec(message).map_err(|_| SignError)?;
    attorn_jose::sign(&NewHeader { typ: TYPE, kid: Some(kid), jwk: false }, &claims, key)
}

/// Verifies a message: RFC 8725 sections 3.8, 3.9 and 3.11, and the nonce.
///
/// # Errors
/// [`RegistryMessageRefusal`], the first that applies.
pub fn verify(
    text: &str,
    expected: &Expected<'_>,
    nonce: &str,
) -> Result<RegistryMessage, RegistryMessageRefusal> {
    let jws = Compact::parse(text, &REGISTRY_MESSAGE_LIMITS)
        .map_err(|_| RegistryMessageRefusal::Malformed)?;
    let header = jws.header();
    if header.typ.as_deref() != Some(TYPE) || header.jwk.is_some() || header.has_key_reference {
        return Err(RegistryMessageRefusal::Malformed);
    }
    let kid = header.kid.as_deref().ok_or(RegistryMessageRefusal::KeyUnknown)?;
    let key = expected.keys.find(kid).ok_or(RegistryMessageRefusal::KeyUnknown)?;
    let verified = jws.verify(key).map_err(|_| RegistryMessageRefusal::Signature)?;
    let document =
        verified.claims(&REGISTRY_MESSAGE_LIMITS).map_err(|_| RegistryMessageRefusal::Claims)?;
    let message: RegistryMessage = document.to().map_err(|_| RegistryMessageRefusal::Claims)?;
    if message.iss != expected.issuer || message.aud != expected.audience {
        return Err(RegistryMessageRefusal::Addressee);
    }
    if message.nonce != nonce {
        return Err(RegistryMessageRefusal::Nonce);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use attorn_jose::Algorithm;

    use super::*;
    use crate::access_token::IssuerKeys;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).unwrap()
    }

    fn message() -> RegistryMessage {
        RegistryMessage {
            aud: "agt_gateway".to_owned(),
            change: RegistryChange::Unchanged(7),
            iat: 100,
            iss: "https://id.example".to_owned(),
            lease: None,
            nonce: "n1".to_owned(),
        }
    }

    fn verified(text: &str, nonce: &str) -> Result<RegistryMessage, RegistryMessageRefusal> {
        let pair = ("k1".to_owned(), key(1).public().clone());
        let Ok(keys) = IssuerKeys::new([pair]) else { panic!("one key is no duplicate") };
        let expected =
            Expected { issuer: "https://id.example", audience: "agt_gateway", keys: &keys };
        verify(text, &expected, nonce)
    }

    #[test]
    fn an_answer_to_the_question_is_taken() {
        let text = issue(&message(), "k1", &key(1)).unwrap();
        let taken = verified(&text, "n1").unwrap();
        assert!(matches!(taken.change, RegistryChange::Unchanged(7)));
    }

    #[test]
    fn what_is_older_or_of_another_version_is_not_followed() {
        let at = |version, epoch| SnapshotParts { version, epoch, ..SnapshotParts::default() };
        let now = Snapshot::new(at(7, 2));
        let check = |change: RegistryChange, known, expected| {
            let next = change.leading_on(&now, known);
            assert_eq!(next.map(|next| next.map(|next| (next.version, next.epoch))), expected);
        };
        let whole = |version, epoch| RegistryChange::Whole(Box::new(at(version, epoch)));
        check(whole(8, 2), (7, 2), Ok(Some((8, 2))));
        check(whole(7, 2), (7, 2), Ok(Some((7, 2))));
        check(whole(6, 2), (7, 2), Err(NotFollowed::Older));
        check(whole(8, 1), (7, 2), Err(NotFollowed::Older));
        check(RegistryChange::Unchanged(7), (7, 2), Ok(None));
        check(RegistryChange::Unchanged(8), (7, 2), Err(NotFollowed::AnotherQuestion));
        let delta = |after, version| {
            let delta = SnapshotDelta { after, version, epoch: 2, ..SnapshotDelta::default() };
            RegistryChange::Delta(Box::new(delta))
        };
        check(delta(7, 9), (7, 2), Ok(Some((9, 2))));
        let other = DeltaRefusal::OtherVersion { after: 6, has: 7 };
        check(delta(6, 9), (7, 2), Err(NotFollowed::Delta(other)));
    }

    #[test]
    fn everything_else_is_not() {
        let check = |text: &str, nonce, expected| {
            assert_eq!(verified(text, nonce).err(), Some(expected));
        };
        let good = issue(&message(), "k1", &key(1)).unwrap();
        check(&good, "n2", RegistryMessageRefusal::Nonce);
        check(&issue(&message(), "k2", &key(1)).unwrap(), "n1", RegistryMessageRefusal::KeyUnknown);
        check(&issue(&message(), "k1", &key(2)).unwrap(), "n1", RegistryMessageRefusal::Signature);
        let other = RegistryMessage { aud: "agt_other".to_owned(), ..message() };
        check(&issue(&other, "k1", &key(1)).unwrap(), "n1", RegistryMessageRefusal::Addressee);
        let other = RegistryMessage { iss: "https://id.example/".to_owned(), ..message() };
        check(&issue(&other, "k1", &key(1)).unwrap(), "n1", RegistryMessageRefusal::Addressee);
        let header = NewHeader { typ: "at+jwt", kid: Some("k1"), jwk: false };
        let claims = serde_json::to_vec(&message()).unwrap();
        let token = attorn_jose::sign(&header, &claims, &key(1)).unwrap();
        check(&token, "n1", RegistryMessageRefusal::Malformed);
        let header = NewHeader { typ: TYPE, ..header };
        let more = attorn_jose::sign(&header, br#"{"aud":"agt_gateway"}"#, &key(1)).unwrap();
        check(&more, "n1", RegistryMessageRefusal::Claims);
    }
}
