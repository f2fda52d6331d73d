//! Passkeys: what an authenticator and a browser say, and whether it holds.
//!
//! Implemented, of WebAuthn Level 3: registration (section 7.1) and authentication (section 7.2) of
//! discoverable credentials, `ES256` on P-256 and `EdDSA` on Ed25519 (section 5.8.5), user verification
//! always, attestation `none` (section 8.7) and self attestation (section 8.2), which is what a client
//! leaves of an attestation that nobody asked for (section 5.1.3).
//!
//! Not implemented, and refused where it could change a meaning: other formats of attestation, ceremonies
//! in frames of other origins (section 5.10), several origins for one relying party (section 5.11).
//! Ignored: outputs of extensions (none is asked for), the AAGUID, and whether a passkey is backed up.
//!
//! No clock, no I/O, no randomness. Whether a challenge is fresh, and whose a passkey is, the caller knows.

mod assertion;
mod attestation;
mod authenticator_data;
mod cbor;
mod client_data;
mod cose;
mod credential;
mod refusal;
mod registration;
mod relying_party;
mod signature;
#[cfg(test)]
mod tests;

pub use assertion::{Assertion, AssertionParts, KnownPasskey, VerifiedAssertion};
pub use attestation::{Attestation, AttestationObject};
pub use authenticator_data::{Attested, AuthenticatorData, Flags};
pub use cbor::CborError;
pub use client_data::{Ceremony, ClientData};
pub use credential::{CREDENTIAL_ID_BYTES_MAX, CredentialId, CredentialIdError};
pub use refusal::WebauthnRefusal;
pub use registration::{NewPasskey, Registration};
pub use relying_party::{NoRelyingParty, RelyingParty};

/// What an answer has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who asks.
    pub party: &'a RelyingParty,
    /// The challenge that was given to this browser, as base64url.
    pub challenge: &'a str,
}
