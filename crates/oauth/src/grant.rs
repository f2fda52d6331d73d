//! Why a code or a refresh token gives nothing: RFC 6749 sections 4.1.3, 5.2 and 6.
//!
//! A client is told `invalid_grant` and no more: whoever tries texts must not learn which of them
//! was one. What has to happen besides is a [`Duty`] that the refusal carries.

use attorn_registry::ReasonCode;

/// Why a code or a refresh token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GrantRefusal {
    /// The code was used before.
    #[error("the code was used before")]
    CodeReplayed,
    /// No such code, or past its end.
    #[error("the code is unknown or too old")]
    CodeUnknown,
    /// The code was given for another client.
    #[error("the code is for another client")]
    CodeOfAnotherClient,
    /// The verifier is missing or does not fit.
    #[error("the code verifier does not fit")]
    CodeVerifier,
    /// Bound to another key than the one that was proven.
    #[error("the grant is bound to another key")]
    KeyMismatch,
    /// Another address than the one the code was sent to, or none.
    #[error("the redirect address is another one")]
    RedirectUri,
    /// The refresh token was given to another client.
    #[error("the refresh token is for another client")]
    RefreshOfAnotherClient,
    /// The refresh token was rotated before.
    #[error("the refresh token was used before")]
    RefreshReplayed,
    /// No such refresh token, or its family has ended.
    #[error("the refresh token is unknown or has ended")]
    RefreshUnknown,
    /// The registry does not stand by it any more.
    #[error("the grant does not stand any more: {0}")]
    Standing(ReasonCode),
}

/// What a refusal obliges the server to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// The code is used up, whoever tried it.
    BurnCode,
    /// Nothing.
    Nothing,
    /// Every token of the family ends: RFC 6749 section 4.1.2, RFC 9700 section 4.14.2.
    RevokeFamily,
}

impl GrantRefusal {
    /// Whether there was nothing under what was shown: anybody could have made it up.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::CodeUnknown | Self::RefreshUnknown)
    }

    /// What has to happen besides.
    #[must_use]
    pub const fn duty(self) -> Duty {
        match self {
            Self::CodeReplayed | Self::RefreshReplayed => Duty::RevokeFamily,
            // Who has the code and not the rest of it is not its client, or there is a leak.
            Self::CodeOfAnotherClient
            | Self::CodeVerifier
            | Self::KeyMismatch
            | Self::RedirectUri
            | Self::Standing(_) => Duty::BurnCode,
            // A thief without the key must not be able to end the family of the honest client.
            Self::CodeUnknown | Self::RefreshOfAnotherClient | Self::RefreshUnknown => {
                Duty::Nothing
            }
        }
    }

    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::CodeReplayed => ReasonCode::CodeReplayed,
            Self::CodeOfAnotherClient
            | Self::CodeUnknown
            | Self::CodeVerifier
            | Self::RedirectUri => ReasonCode::CodeInvalid,
            Self::KeyMismatch => ReasonCode::PossessionKeyMismatch,
            Self::RefreshOfAnotherClient | Self::RefreshUnknown => ReasonCode::RefreshInvalid,
            Self::RefreshReplayed => ReasonCode::RefreshReplayed,
            Self::Standing(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_twice_ends_its_family() {
        for replayed in [GrantRefusal::CodeReplayed, GrantRefusal::RefreshReplayed] {
            assert_eq!(replayed.duty(), Duty::RevokeFamily);
        }
    }

    #[test]
    fn a_stranger_ends_nothing_of_others() {
        let refusals = [GrantRefusal::RefreshOfAnotherClient, GrantRefusal::RefreshUnknown];
        assert!(refusals.iter().all(|refusal| refusal.duty() == Duty::Nothing));
        assert_eq!(GrantRefusal::CodeVerifier.duty(), Duty::BurnCode);
    }
}
