//! The issuer's keys, out of the snapshot in force.

use attorn_jose::PublicKey;
use attorn_oauth::access_token::IssuerKeys;
use attorn_registry::{IssuerKey, KeyState};

/// The keys that may verify. One that cannot be used verifies nothing, and is an alarm.
#[must_use]
pub fn verifying(keys: &[IssuerKey]) -> IssuerKeys {
    let usable = keys.iter().filter(|key| match key.state {
        KeyState::Active | KeyState::Retired => true,
        KeyState::Prepublished | KeyState::Removed => false,
    });
    let parsed = usable.filter_map(|key| match PublicKey::parse_jwk(&key.jwk) {
        Ok(public) => Some((key.kid.clone(), public)),
        Err(error) => {
            tracing::error!(kid = key.kid, %error, "an issuer key cannot be used");
            None
        }
    });
    IssuerKeys::new(parsed).unwrap_or_else(|error| {
        tracing::error!(%error, "no issuer key is used");
        IssuerKeys::default()
    })
}
