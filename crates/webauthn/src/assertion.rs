//! A word by a passkey that is there: WebAuthn Level 3 section 7.2, by its steps.

use attorn_jose::PublicKey;

use crate::Expected;
use crate::authenticator_data::AuthenticatorData;
use crate::client_data::{Ceremony, ClientData};
use crate::credential::CredentialId;
use crate::refusal::WebauthnRefusal;
use crate::registration::verify_client_data;
use crate::signature;

/// What a browser gives, decoded and not looked into.
#[derive(Clone, Copy, Debug)]
pub struct AssertionParts<'a> {
    /// `rawId`.
    pub credential: &'a [u8],
    /// `clientDataJSON`.
    pub client_data: &'a [u8],
    /// `authenticatorData`.
    pub authenticator_data: &'a [u8],
    /// `signature`.
    pub signature: &'a [u8],
    /// `userHandle`.
    pub user_handle: &'a [u8],
}

/// The same, its form read.
#[derive(Clone, Debug)]
pub struct Assertion {
    credential: CredentialId,
    client_data: ClientData,
    data: AuthenticatorData,
    signed: Vec<u8>,
    signature: Vec<u8>,
    user_handle: Vec<u8>,
}

/// The passkey as it was kept.
#[derive(Clone, Copy, Debug)]
pub struct KnownPasskey<'a> {
    /// Its name.
    pub credential: &'a CredentialId,
    /// Its key.
    pub public_key: &'a PublicKey,
    /// Its counter when it was used last.
    pub sign_count: u32,
    /// Whose it is, as the authenticator was told.
    pub user_handle: &'a [u8],
}

/// Proof that a passkey was used for us, now, by somebody who was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedAssertion {
    sign_count: u32,
}

impl VerifiedAssertion {
    /// The counter now, to be kept before anything is done.
    #[must_use]
    pub const fn sign_count(&self) -> u32 {
        self.sign_count
    }
}

impl Assertion {
    /// Reads the parts.
    ///
    /// # Errors
    /// What does not have its form.
    pub fn parse(parts: &AssertionParts<'_>) -> Result<Self, WebauthnRefusal> {
        let client_data = ClientData::parse(parts.client_data)?;
        let credential =
            CredentialId::new(parts.credential).map_err(|_| WebauthnRefusal::CredentialId)?;
        Ok(Self {
            credential,
            data: AuthenticatorData::parse(parts.authenticator_data)?,
            // Step 22: what is signed is the data, byte by byte, and the hash of the client data.
            signed: [parts.authenticator_data, client_data.hash()].concat(),
            client_data,
            signature: parts.signature.to_vec(),
            user_handle: parts.user_handle.to_vec(),
        })
    }

    /// The passkey that it says it is by.
    #[must_use]
    pub const fn credential(&self) -> &CredentialId {
        &self.credential
    }

    /// The challenge that it says it is for.
    #[must_use]
    pub fn challenge(&self) -> &str {
        self.client_data.challenge()
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// The first step that does not hold; the counter is the last.
    pub fn verify(
        &self,
        expected: &Expected<'_>,
        known: &KnownPasskey<'_>,
    ) -> Result<VerifiedAssertion, WebauthnRefusal> {
        if self.credential != *known.credential {
            return Err(WebauthnRefusal::CredentialId);
        }
        // Step 6: nobody said a name before, so the passkey says whose it is.
        if self.user_handle.is_empty() || self.user_handle != known.user_handle {
            return Err(WebauthnRefusal::UserHandle);
        }
        verify_client_data(&self.client_data, Ceremony::Get, expected)?;
        self.data.verify(expected.party)?;
        // Section 6.1: no key in an assertion.
        if self.data.attested.is_some() {
            return Err(WebauthnRefusal::AttestedKey);
        }
        signature::verify(known.public_key, &self.signed, &self.signature)?;
        // Section 6.1.1: one that counts must have counted on. One that never counts says 0.
        let sign_count = self.data.sign_count;
        let is_counting = sign_count != 0 || known.sign_count != 0;
        if is_counting && sign_count <= known.sign_count {
            return Err(WebauthnRefusal::Counter);
        }
        Ok(VerifiedAssertion { sign_count })
    }
}
