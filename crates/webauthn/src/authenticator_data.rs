//! What an authenticator says: WebAuthn Level 3 section 6.1.

use attorn_jose::PublicKey;

use crate::cbor::Reader;
use crate::cose;
use crate::credential::CredentialId;
use crate::refusal::WebauthnRefusal;
use crate::relying_party::RelyingParty;

/// The bits that say what an authenticator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

/// Authenticator data, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorData {
    /// SHA-256 of the relying party identifier.
    pub rp_id_hash: [u8; 32],
    /// What the authenticator did.
    pub flags: Flags,
    /// How often the passkey was used, where the authenticator counts; else 0.
    pub sign_count: u32,
    /// The passkey, where it is a new one.
    pub attested: Option<Attested>,
    /// What extensions said, as it came: one CBOR map.
    pub extensions: Option<Vec<u8>>,
}

/// A new passkey: WebAuthn Level 3 section 6.5.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// The model of the authenticator, or what it says of it.
    pub aaguid: [u8; 16],
    /// Its name.
    pub credential: CredentialId,
    /// Its key.
    pub public_key: PublicKey,
}

impl Flags {
    /// The byte as it is, bits without a meaning included.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl AuthenticatorData {
    /// Reads all of the bytes.
    ///
    /// # Errors
    /// [`WebauthnRefusal::AuthenticatorData`] for its frame, and what is wrong with a part.
    pub fn parse(bytes: &[u8]) -> Result<Self, WebauthnRefusal> {
        let malformed = WebauthnRefusal::AuthenticatorData;
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(malformed)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or(malformed)?;
        let (sign_count, rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
        let flags = Flags(*flags);
        let (attested, rest) = if flags.has(ATTESTED) {
            let (attested, rest) = Attested::read(rest)?;
            (Some(attested), rest)
        } else {
            (None, rest)
        };
        let extensions = if flags.has(EXTENSIONS) {
            let mut reader = Reader::new(rest);
            reader.map()?;
            reader.end()?;
            Some(rest.to_vec())
        } else if rest.is_empty() {
            None
        } else {
            return Err(malformed);
        };
        let sign_count = u32::from_be_bytes(*sign_count);
        Ok(Self { rp_id_hash: *rp_id_hash, flags, sign_count, attested, extensions })
    }

    /// WebAuthn Level 3 sections 7.1 and 7.2: for us, by somebody who was there and was verified.
    pub(crate) fn verify(&self, party: &RelyingParty) -> Result<(), WebauthnRefusal> {
        if self.rp_id_hash != *party.id_hash() {
            return Err(WebauthnRefusal::RelyingParty);
        }
        if !self.flags.has(USER_PRESENT) {
            return Err(WebauthnRefusal::UserAbsent);
        }
        // A passkey stands for a password, so the device alone is not enough.
        if !self.flags.has(USER_VERIFIED) {
            return Err(WebauthnRefusal::UserUnverified);
        }
        // Section 6.1.3: what is not eligible is not backed up.
        if self.flags.has(BACKED_UP) && !self.flags.has(BACKUP_ELIGIBLE) {
            return Err(WebauthnRefusal::BackupState);
        }
        Ok(())
    }
}

impl Attested {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), WebauthnRefusal> {
        let malformed = WebauthnRefusal::AuthenticatorData;
        let (aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(malformed)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (credential, rest) = rest.split_at_checked(length).ok_or(malformed)?;
        let credential =
            CredentialId::new(credential).map_err(|_| WebauthnRefusal::CredentialId)?;
        let mut reader = Reader::new(rest);
        let public_key = cose::public_key(&mut reader)?;
        Ok((Self { aaguid: *aaguid, credential, public_key }, reader.rest()))
    }
}

/// Section 6.1: the bits of the flags. Those without a name here have no meaning yet.
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;
