//! The bugs. Each is one that a product of this kind had.

/// What can be broken, each with the rule it breaks: a section, or an invariant of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// An approval is not used up by its call: invariant 18.
    ApprovalReused,
    /// A client assertion for the token endpoint is taken: draft-ietf-oauth-rfc7523bis-03 wants
    /// the issuer alone.
    AssertionForEndpoint,
    /// A client assertion is taken twice: RFC 7523 section 3, item 7.
    AssertionReused,
    /// The caller's `Authorization` goes on to the MCP server: MCP 2026-07-28, Token Passthrough.
    AuthorizationForwarded,
    /// A bound token under `Bearer` is taken: RFC 9449 section 7.2.
    BearerTaken,
    /// A changed tool passes as the approved one: MCP 2026-07-28, Tools, Security Considerations.
    DefinitionNotCompared,
    /// An empty or absent scope means all: RFC 6749 section 3.3.
    EmptyScopeMeansAll,
    /// The intent of a call that writes is forwarded before its fsync: durability by class.
    FsyncSkipped,
    /// The headers may say another thing than the body: MCP 2026-07-28, Server Validation.
    HeadersNotCompared,
    /// A tool out of reach answers otherwise than an unknown one: invariant 9.
    HiddenToolTold,
    /// A call is forwarded without a record of its intent: invariant 4.
    IntentNotRecorded,
    /// A call is forwarded although the journal failed: invariant 5.
    JournalFailureIgnored,
    /// Of two members with one name the last counts: RFC 8259 section 4.
    LastMemberWins,
    /// A list shows what the caller may not use: invariant 12.
    ListNotFiltered,
    /// A lock does not stop calls with a token that was issued before it.
    LockIgnored,
    /// An answer under another status than 200 is passed on unread: invariant 12.
    OtherStatusUnread,
    /// A rule that cannot be evaluated is left out: invariant 7.
    PolicyErrorSkipped,
    /// A proof burns its `jti` also where it is refused: RFC 9449 section 11.1, invariant 6.
    ProofBurnedEarly,
    /// The proof may be by another key than the token's: RFC 9449 section 4.3, check 12.
    ProofKeyNotCompared,
    /// The nonce of a proof may be anybody's and any age: RFC 9449 section 4.3, check 10.
    ProofNonceUnchecked,
    /// A proof is taken twice: RFC 9449 section 11.1.
    ProofReused,
    /// The proof may be for another token: RFC 9449 section 4.3, check 12.
    ProofTokenHashUnchecked,
    /// The proof may be for another URL: RFC 9449 section 4.3, check 9.
    ProofUrlUnchecked,
    /// A revoked token is taken: RFC 7009 section 2.
    RevocationIgnored,
    /// The algorithm of the header need not be the key's: RFC 8725 section 3.1.
    SignatureAlgorithmUnchecked,
    /// A gateway that was cut off goes on serving: invariant 15.
    SilenceIgnored,
    /// A token for another server is taken: RFC 9068 section 4.
    TokenAudienceUnchecked,
    /// An expired token is taken: RFC 7519 section 4.1.4.
    TokenEndUnchecked,
    /// The key in a token's own header verifies it: RFC 8725 section 3.10.
    TokenKeyFromHeader,
    /// Another kind of JWT passes as an access token: RFC 9068 section 4.
    TokenTypeUnchecked,
    /// The MCP server's own 401 looks like ours: RFC 9110 section 15.5.2.
    UpstreamStatusPassed,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::ApprovalReused,
        Self::AssertionForEndpoint,
        Self::AssertionReused,
        Self::AuthorizationForwarded,
        Self::BearerTaken,
        Self::DefinitionNotCompared,
        Self::EmptyScopeMeansAll,
        Self::FsyncSkipped,
        Self::HeadersNotCompared,
        Self::HiddenToolTold,
        Self::IntentNotRecorded,
        Self::JournalFailureIgnored,
        Self::LastMemberWins,
        Self::ListNotFiltered,
        Self::LockIgnored,
        Self::OtherStatusUnread,
        Self::PolicyErrorSkipped,
        Self::ProofBurnedEarly,
        Self::ProofKeyNotCompared,
        Self::ProofNonceUnchecked,
        Self::ProofReused,
        Self::ProofTokenHashUnchecked,
        Self::ProofUrlUnchecked,
        Self::RevocationIgnored,
        Self::SignatureAlgorithmUnchecked,
        Self::SilenceIgnored,
        Self::TokenAudienceUnchecked,
        Self::TokenEndUnchecked,
        Self::TokenKeyFromHeader,
        Self::TokenTypeUnchecked,
        Self::UpstreamStatusPassed,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApprovalReused => "approval-reused",
            Self::AssertionForEndpoint => "assertion-for-endpoint",
            Self::AssertionReused => "assertion-reused",
            Self::AuthorizationForwarded => "authorization-forwarded",
            Self::BearerTaken => "bearer-taken",
            Self::DefinitionNotCompared => "definition-not-compared",
            Self::EmptyScopeMeansAll => "empty-scope-means-all",
            Self::FsyncSkipped => "fsync-skipped",
            Self::HeadersNotCompared => "headers-not-compared",
            Self::HiddenToolTold => "hidden-tool-told",
            Self::IntentNotRecorded => "intent-not-recorded",
            Self::JournalFailureIgnored => "journal-failure-ignored",
            Self::LastMemberWins => "last-member-wins",
            Self::ListNotFiltered => "list-not-filtered",
            Self::LockIgnored => "lock-ignored",
            Self::OtherStatusUnread => "other-status-unread",
            Self::PolicyErrorSkipped => "policy-error-skipped",
            Self::ProofBurnedEarly => "proof-burned-early",
            Self::ProofKeyNotCompared => "proof-key-not-compared",
            Self::ProofNonceUnchecked => "proof-nonce-unchecked",
            Self::ProofReused => "proof-reused",
            Self::ProofTokenHashUnchecked => "proof-token-hash-unchecked",
            Self::ProofUrlUnchecked => "proof-url-unchecked",
            Self::RevocationIgnored => "revocation-ignored",
            Self::SignatureAlgorithmUnchecked => "signature-algorithm-unchecked",
            Self::SilenceIgnored => "silence-ignored",
            Self::TokenAudienceUnchecked => "token-audience-unchecked",
            Self::TokenEndUnchecked => "token-end-unchecked",
            Self::TokenKeyFromHeader => "token-key-from-header",
            Self::TokenTypeUnchecked => "token-type-unchecked",
            Self::UpstreamStatusPassed => "upstream-status-passed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Bug;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
    }
}
