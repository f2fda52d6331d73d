//! The registry on its way to a gateway: an accepted message answers this question of this gateway.

use attorn_oauth::access_token::{Expected, IssuerKeys};
use attorn_oauth::registry_message::{RegistryChange, RegistryMessage, issue, verify};
use attorn_registry::{Snapshot, SnapshotParts};
use attorn_testkit::forge::{Signer, compact};
use serde_json::Value;

use super::compact::{decoded, key};
use super::corpus::Corpus;
use super::proofs::part;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};
use super::world;

pub(crate) const REGISTRY_MESSAGE: Target = Target {
    name: "registry_message",
    oracle: "an accepted message names issuer, gateway and nonce that were expected and is refused \
             for any other; issued anew, and in another spelling, it says the same registry",
    prepare,
};

const ISSUER: &str = "https://auth.example";
const GATEWAY: &str = "https://auth.example/admin";
const NONCE: &str = "nonce-1";
const KID: &str = "issuer";

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let signer = key(7)?;
    let keys = IssuerKeys::new([(KID.to_owned(), signer.public().clone())])
        .map_err(|error| error.to_string())?;
    let parts: SnapshotParts =
        serde_json::from_value(world::parts()?).map_err(|error| error.to_string())?;
    let message = |change, nonce: &str| RegistryMessage {
        aud: GATEWAY.to_owned(),
        change,
        iat: 5,
        iss: ISSUER.to_owned(),
        lease: None,
        nonce: nonce.to_owned(),
    };
    let mut seeds = Vec::new();
    for (change, nonce) in [
        (RegistryChange::Unchanged(3), NONCE),
        (RegistryChange::Unchanged(u64::MAX), "another"),
        (RegistryChange::Whole(Box::new(parts)), NONCE),
    ] {
        let text = issue(&message(change, nonce), KID, &signer).map_err(|e| e.to_string())?;
        seeds.push(text.into_bytes());
    }
    let own = signer.clone();
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        check_message(text, &keys, &Signer::Key(&own))
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

fn check_message(text: &str, keys: &IssuerKeys, signer: &Signer<'_>) -> Result<Seen, String> {
    let expected = Expected { issuer: ISSUER, audience: GATEWAY, keys };
    let message = match verify(text, &expected, NONCE) {
        Ok(message) => message,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let claims = part(text, 1);
    let is = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
    ensure(is("iss", ISSUER) && is("aud", GATEWAY) && is("nonce", NONCE), "another question")?;
    let none = IssuerKeys::default();
    for (what, other, nonce) in [
        ("issuer", Expected { issuer: "https://other.example", ..expected }, NONCE),
        ("gateway", Expected { audience: "https://other.example/admin", ..expected }, NONCE),
        ("keys", Expected { keys: &none, ..expected }, NONCE),
        ("nonce", expected, "nonce-2"),
    ] {
        ensure(verify(text, &other, nonce).is_err(), &format!("accepted for another {what}"))?;
    }
    let said = |message: &RegistryMessage| {
        serde_json::to_value(message).map_err(|error| error.to_string())
    };
    let written = said(&message)?;
    let bytes = text.split('.').nth(1).and_then(decoded).unwrap_or_default();
    let spelled = respelled_bytes(&bytes, &mut Random::of(&bytes));
    for payload in [written.to_string(), String::from_utf8_lossy(&spelled).into_owned()] {
        let again = compact(&part(text, 0).to_string(), &payload, signer);
        let again = again.map_err(|error| error.to_string())?;
        let again = verify(&again, &expected, NONCE).map_err(|e| format!("issued anew: {e}"))?;
        ensure(said(&again)? == written, "issued anew, it says another registry")?;
    }
    if let RegistryChange::Whole(parts) = &message.change {
        let back = SnapshotParts::from(&Snapshot::new((**parts).clone()));
        ensure(back.policy == parts.policy && back.epoch == parts.epoch, "another epoch in force")?;
        ensure(back.agents.len() <= parts.agents.len(), "an agent is made up")?;
        ensure(back.grants.len() == parts.grants.len(), "a grant is lost or made up")?;
        ensure(back.locks.len() == parts.locks.len(), "a lock is lost or made up")?;
    }
    let kind = match message.change {
        RegistryChange::Delta(_) => "delta",
        RegistryChange::Unchanged(_) => "unchanged",
        RegistryChange::Whole(_) => "whole",
    };
    Ok(Seen::accepted(&kind))
}
