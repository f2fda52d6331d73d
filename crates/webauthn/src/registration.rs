//! A new passkey: WebAuthn Level 3 section 7.1, by its steps.

use attorn_jose::PublicKey;

use crate::Expected;
use crate::attestation::AttestationObject;
use crate::client_data::{Ceremony, ClientData};
use crate::credential::CredentialId;
use crate::refusal::WebauthnRefusal;

/// What a browser gives for a new passkey, its form read.
#[derive(Clone, Debug)]
pub struct Registration {
    client_data: ClientData,
    object: AttestationObject,
}

/// A passkey that was made for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPasskey {
    /// Its name. Whether somebody has it already, the caller looks.
    pub credential: CredentialId,
    /// Its key.
    pub public_key: PublicKey,
    /// Its counter.
    pub sign_count: u32,
}

impl Registration {
    /// Reads `clientDataJSON` and `attestationObject`.
    ///
    /// # Errors
    /// What does not have its form.
    pub fn parse(client_data: &[u8], attestation_object: &[u8]) -> Result<Self, WebauthnRefusal> {
        let client_data = ClientData::parse(client_data)?;
        Ok(Self { client_data, object: AttestationObject::parse(attestation_object)? })
    }

    /// The challenge that it says it is for.
    #[must_use]
    pub fn challenge(&self) -> &str {
        self.client_data.challenge()
    }

    /// The passkey, if it was made for us, now, by somebody who was verified.
    ///
    /// # Errors
    /// The first step that does not hold.
    pub fn verify(self, expected: &Expected<'_>) -> Result<NewPasskey, WebauthnRefusal> {
        let Self { client_data, object } = self;
        verify_client_data(&client_data, Ceremony::Create, expected)?;
        object.data.verify(expected.party)?;
        let attested = object.data.attested.as_ref().ok_or(WebauthnRefusal::AttestedKey)?;
        // The algorithm is one of those that were asked for: no other key can be read.
        let signed = [&object.data_bytes[..], client_data.hash()].concat();
        object.attestation.verify(attested, &signed)?;
        Ok(NewPasskey {
            credential: attested.credential.clone(),
            public_key: attested.public_key.clone(),
            sign_count: object.data.sign_count,
        })
    }
}

/// Sections 7.1 and 7.2: of this ceremony, for our challenge, from a page of ours. Whether the page was
/// in a frame was looked at when it was read.
pub(crate) fn verify_client_data(
    client_data: &ClientData,
    ceremony: Ceremony,
    expected: &Expected<'_>,
) -> Result<(), WebauthnRefusal> {
    if client_data.ceremony() != ceremony {
        return Err(WebauthnRefusal::Ceremony);
    }
    if client_data.challenge() != expected.challenge {
        return Err(WebauthnRefusal::Challenge);
    }
    // Section 13.4.9: exactly; a subdomain is another origin.
    if client_data.origin() != expected.party.origin() {
        return Err(WebauthnRefusal::Origin);
    }
    Ok(())
}
