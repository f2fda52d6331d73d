//! What a new passkey comes in: the attestation object, WebAuthn Level 3 section 6.5.

use attorn_jose::Algorithm;

use crate::authenticator_data::{Attested, AuthenticatorData};
use crate::cbor::{Key, Reader};
use crate::refusal::WebauthnRefusal;
use crate::signature;

/// An attestation object whose form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationObject {
    /// What vouches for the passkey.
    pub attestation: Attestation,
    /// What the authenticator says.
    pub data: AuthenticatorData,
    /// The same, byte by byte.
    pub data_bytes: Vec<u8>,
}

/// What vouches for a new passkey. Attorn asks for nothing, and takes no model for better than another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// Nothing: section 8.7.
    None,
    /// The passkey itself: section 8.2 without `x5c`. Section 5.1.3 lets clients leave it.
    Itself {
        /// A COSE algorithm.
        algorithm: i64,
        /// The signature, in the form of the algorithm.
        signature: Vec<u8>,
    },
}

impl AttestationObject {
    /// Reads all of the bytes.
    ///
    /// # Errors
    /// What is wrong with which part.
    pub fn parse(bytes: &[u8]) -> Result<Self, WebauthnRefusal> {
        if bytes.len() > BYTES_MAX {
            return Err(WebauthnRefusal::AuthenticatorData);
        }
        let mut reader = Reader::new(bytes);
        let members = reader.map()?;
        reader.end()?;
        // Section 6.5: these three. They stand in the canonical order, by their lengths.
        let [
            (Key::Text("fmt"), format),
            (Key::Text("attStmt"), statement),
            (Key::Text("authData"), data),
        ] = members.as_slice()
        else {
            return Err(WebauthnRefusal::AuthenticatorData);
        };
        let (mut format, mut statement, mut data) = (*format, *statement, *data);
        let attestation = Attestation::read(format.text()?, &mut statement)?;
        let data_bytes = data.bytes()?.to_vec();
        Ok(Self { attestation, data: AuthenticatorData::parse(&data_bytes)?, data_bytes })
    }
}

impl Attestation {
    fn read(format: &str, statement: &mut Reader<'_>) -> Result<Self, WebauthnRefusal> {
        let members = statement.map()?;
        match (format, members.as_slice()) {
            // Section 8.7: an empty map.
            ("none", []) => Ok(Self::None),
            ("none", _) => Err(WebauthnRefusal::AttestationStatement),
            // Section 8.2: two members is self attestation; `x5c` would be the third.
            ("packed", [(Key::Text("alg"), algorithm), (Key::Text("sig"), signature)]) => {
                let (mut algorithm, mut signature) = (*algorithm, *signature);
                let algorithm = algorithm.integer()?;
                Ok(Self::Itself { algorithm, signature: signature.bytes()?.to_vec() })
            }
            _ => Err(WebauthnRefusal::AttestationFormat),
        }
    }

    /// Section 8.2, verification procedure: the same algorithm, and a signature by the new key.
    pub(crate) fn verify(&self, attested: &Attested, signed: &[u8]) -> Result<(), WebauthnRefusal> {
        match self {
            Self::None => Ok(()),
            Self::Itself { algorithm, signature } => {
                let expected = match attested.public_key.algorithm() {
                    Algorithm::Es256 => -7,
                    Algorithm::EdDsa => -8,
                    Algorithm::Ps256 | Algorithm::Rs256 => {
                        return Err(WebauthnRefusal::Algorithm);
                    }
                };
                if *algorithm != expected {
                    return Err(WebauthnRefusal::AttestationStatement);
                }
                signature::verify(&attested.public_key, signed, signature)
                    .map_err(|_| WebauthnRefusal::AttestationStatement)
            }
        }
    }
}

/// The longest credential ID, a key, and what extensions may say.
const BYTES_MAX: usize = 8 << 10;
