//! Why an answer of a passkey is not taken.

use crate::CborError;

/// What does not hold. Exhaustive on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebauthnRefusal {
    /// The key is for an algorithm that was not asked for.
    #[error("the algorithm of the key was not asked for")]
    Algorithm,
    /// The attestation has a format that a client does not send when none is asked for.
    #[error("the format of the attestation was not asked for")]
    AttestationFormat,
    /// The attestation does not hold.
    #[error("the attestation does not hold")]
    AttestationStatement,
    /// The authenticator data has the key of a passkey where none belongs, or none where one does.
    #[error("a key is missing, or is where none belongs")]
    AttestedKey,
    /// The authenticator data is cut off, or longer than its parts.
    #[error("the authenticator data does not have its form")]
    AuthenticatorData,
    /// It is backed up and cannot be.
    #[error("the passkey is backed up although it cannot be")]
    BackupState,
    /// A part is not CBOR in its one form.
    #[error("not CBOR in canonical form: {0}")]
    Cbor(#[from] CborError),
    /// The answer is of the other ceremony.
    #[error("the answer is of another ceremony")]
    Ceremony,
    /// The answer is for another challenge.
    #[error("the answer is for another challenge")]
    Challenge,
    /// What the browser says is not JSON of its form.
    #[error("the client data does not have its form")]
    ClientData,
    /// The counter did not grow: there may be a copy of the passkey.
    #[error("the signature counter did not grow")]
    Counter,
    /// The credential ID is too long, or another one than that of the authenticator data.
    #[error("the credential id is too long, or another one")]
    CredentialId,
    /// The page was within one of another origin.
    #[error("the page was within a page of another origin")]
    CrossOrigin,
    /// The key is malformed.
    #[error("the key does not have its form")]
    Key,
    /// The page was of another origin.
    #[error("the page was of another origin")]
    Origin,
    /// The passkey is for another relying party.
    #[error("the passkey is for another host")]
    RelyingParty,
    /// The signature does not hold, or is not in its form.
    #[error("the signature does not hold")]
    Signature,
    /// Nobody was there.
    #[error("nobody was at the authenticator")]
    UserAbsent,
    /// The passkey is of somebody else than it says, or does not say of whom.
    #[error("the passkey does not name its person")]
    UserHandle,
    /// The authenticator did not make sure who it was.
    #[error("the authenticator did not verify the person")]
    UserUnverified,
}

impl WebauthnRefusal {
    /// What does not hold, for the journal.
    #[must_use]
    pub const fn check(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::AttestationFormat => "attestation_format",
            Self::AttestationStatement => "attestation_statement",
            Self::AttestedKey => "attested_key",
            Self::AuthenticatorData => "authenticator_data",
            Self::BackupState => "backup_state",
            Self::Cbor(_) => "cbor",
            Self::Ceremony => "ceremony",
            Self::Challenge => "challenge",
            Self::ClientData => "client_data",
            Self::Counter => "counter",
            Self::CredentialId => "credential_id",
            Self::CrossOrigin => "cross_origin",
            Self::Key => "key",
            Self::Origin => "origin",
            Self::RelyingParty => "relying_party",
            Self::Signature => "signature",
            Self::UserAbsent => "user_absent",
            Self::UserHandle => "user_handle",
            Self::UserUnverified => "user_unverified",
        }
    }
}
