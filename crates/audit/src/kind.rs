//! What an entry is about. The names are stable: they are what an auditor searches for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The kind of an entry, written as `<area>.<fact>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An operator changed something that has no kind of its own.
    AdminChanged,
    /// Audit entries or other records left through an export.
    AdminExported,
    /// An operator read something, or a person at a page.
    AdminRead,
    /// An operator's request was refused, or that of a person at a page.
    AdminRefused,
    /// A person allowed one call.
    ApprovalApproved,
    /// A person declined one call.
    ApprovalDenied,
    /// Nobody used an approval, or said anything, in time.
    ApprovalExpired,
    /// A call waits for a person.
    ApprovalRequested,
    /// An approval let its call through, and is used up.
    ApprovalUsed,
    /// A call ended: the outcome of an earlier [`Kind::CallDecided`].
    CallCompleted,
    /// A call was permitted or denied. Written before anything is forwarded.
    CallDecided,
    /// The clock of the process went back: later entries can have earlier times.
    ClockSetBack,
    /// A code was made for a client of a person.
    CodeIssued,
    /// A person let an application act for them.
    ConsentGiven,
    /// A person did not, or the application asked wrongly; or a form to take it back was not ours.
    ConsentRefused,
    /// One credential was used from two places.
    CredentialShared,
    /// A second owner confirmed a right that joins risks.
    GrantConfirmed,
    /// A right was given to an agent.
    GrantCreated,
    /// A right was taken back.
    GrantRevoked,
    /// A one-time enrolment code was made.
    IdentityCodeIssued,
    /// An agent or operator proved its key and became known.
    IdentityEnrolled,
    /// An enrolment was refused.
    IdentityEnrolmentRefused,
    /// A person logged in.
    IdentityLogin,
    /// A log-in was refused.
    IdentityLoginRefused,
    /// A person ended sessions of theirs.
    IdentityLogout,
    /// The owner of an agent or server changed.
    IdentityOwnerChanged,
    /// An agent, server, operator or owner was registered.
    IdentityRegistered,
    /// A suspended identity is active again.
    IdentityResumed,
    /// An identity ended for good.
    IdentityRetired,
    /// An identity was suspended.
    IdentitySuspended,
    /// A witness has seen another history of this journal, or a later one.
    JournalForked,
    /// The journal was opened, after a first start, a restart or a crash.
    JournalOpened,
    /// The oldest entries are removed next: up to which one, and the root of the tree over them.
    JournalPruned,
    /// From here on entries go to another system: to which one, and from which entry on. Or that
    /// system refused one of them: which one.
    JournalShipping,
    /// A key was added.
    KeyAdded,
    /// A key was removed; what it signed is no longer accepted.
    KeyRemoved,
    /// A key signs no more, but what it signed is still accepted.
    KeyRetired,
    /// A key was replaced by a new one.
    KeyRotated,
    /// An emergency stop was set.
    LockCreated,
    /// An emergency stop was lifted.
    LockLifted,
    /// What was sealed for a subject can be read by nobody any more.
    PayloadErased,
    /// Arguments or a result were given out for an auditor to read.
    PayloadOpened,
    /// A policy set took effect.
    PolicyApplied,
    /// A policy set was refused; the old one stays.
    PolicyRefused,
    /// An earlier policy set took effect again.
    PolicyRolledBack,
    /// A proof of possession failed.
    PossessionFailed,
    /// A resource or prompt was read, or an API was asked through a guard: permitted or denied, and
    /// written before anything is forwarded.
    ResourceAccessed,
    /// A person reviewed rights.
    ReviewCompleted,
    /// Certificates and trust of the listeners were read again and took effect.
    TlsReloaded,
    /// They were read again and cannot be used; the old ones stay.
    TlsReloadRefused,
    /// A token was exchanged for one with another audience.
    TokenExchanged,
    /// A token was asked about.
    TokenIntrospected,
    /// A token was issued.
    TokenIssued,
    /// A token was refused.
    TokenRefused,
    /// A code or refresh token was used twice; everything that came from it was ended.
    TokenReplayed,
    /// A token was revoked.
    TokenRevoked,
    /// An owner accepted a tool definition.
    ToolApproved,
    /// A tool definition differs from the accepted one.
    ToolChanged,
    /// The class of a tool was set.
    ToolClassified,
    /// A tool was seen for the first time.
    ToolSeen,
}

impl Kind {
    /// Every kind, in the order of the names.
    pub const ALL: [Self; 60] = [
        Self::AdminChanged,
        Self::AdminExported,
        Self::AdminRead,
        Self::AdminRefused,
        Self::ApprovalApproved,
        Self::ApprovalDenied,
        Self::ApprovalExpired,
        Self::ApprovalRequested,
        Self::ApprovalUsed,
        Self::CallCompleted,
        Self::CallDecided,
        Self::ClockSetBack,
        Self::CodeIssued,
        Self::ConsentGiven,
        Self::ConsentRefused,
        Self::CredentialShared,
        Self::GrantConfirmed,
        Self::GrantCreated,
        Self::GrantRevoked,
        Self::IdentityCodeIssued,
        Self::IdentityEnrolled,
        Self::IdentityEnrolmentRefused,
        Self::IdentityLogin,
        Self::IdentityLoginRefused,
        Self::IdentityLogout,
        Self::IdentityOwnerChanged,
        Self::IdentityRegistered,
        Self::IdentityResumed,
        Self::IdentityRetired,
        Self::IdentitySuspended,
        Self::JournalForked,
        Self::JournalOpened,
        Self::JournalPruned,
        Self::JournalShipping,
        Self::KeyAdded,
        Self::KeyRemoved,
        Self::KeyRetired,
        Self::KeyRotated,
        Self::LockCreated,
        Self::LockLifted,
        Self::PayloadErased,
        Self::PayloadOpened,
        Self::PolicyApplied,
        Self::PolicyRefused,
        Self::PolicyRolledBack,
        Self::PossessionFailed,
        Self::ResourceAccessed,
        Self::ReviewCompleted,
        Self::TlsReloadRefused,
        Self::TlsReloaded,
        Self::TokenExchanged,
        Self::TokenIntrospected,
        Self::TokenIssued,
        Self::TokenRefused,
        Self::TokenReplayed,
        Self::TokenRevoked,
        Self::ToolApproved,
        Self::ToolChanged,
        Self::ToolClassified,
        Self::ToolSeen,
    ];

    /// The name as it stands in an entry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminChanged => "admin.changed",
            Self::AdminExported => "admin.exported",
            Self::AdminRead => "admin.read",
            Self::AdminRefused => "admin.refused",
            Self::ApprovalApproved => "approval.approved",
            Self::ApprovalDenied => "approval.denied",
            Self::ApprovalExpired => "approval.expired",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalUsed => "approval.used",
            Self::CallCompleted => "call.completed",
            Self::CallDecided => "call.decided",
            Self::ClockSetBack => "clock.set_back",
            Self::CodeIssued => "code.issued",
            Self::ConsentGiven => "consent.given",
            Self::ConsentRefused => "consent.refused",
            Self::CredentialShared => "credential.shared",
            Self::GrantConfirmed => "grant.confirmed",
            Self::GrantCreated => "grant.created",
            Self::GrantRevoked => "grant.revoked",
            Self::IdentityCodeIssued => "identity.code_issued",
            Self::IdentityEnrolled => "identity.enrolled",
            Self::IdentityEnrolmentRefused => "identity.enrolment_refused",
            Self::IdentityLogin => "identity.login",
            Self::IdentityLoginRefused => "identity.login_refused",
            Self::IdentityLogout => "identity.logout",
            Self::IdentityOwnerChanged => "identity.owner_changed",
            Self::IdentityRegistered => "identity.registered",
            Self::IdentityResumed => "identity.resumed",
            Self::IdentityRetired => "identity.retired",
            Self::IdentitySuspended => "identity.suspended",
            Self::JournalForked => "journal.forked",
            Self::JournalOpened => "journal.opened",
            Self::JournalPruned => "journal.pruned",
            Self::JournalShipping => "journal.shipping",
            Self::KeyAdded => "key.added",
            Self::KeyRemoved => "key.removed",
            Self::KeyRetired => "key.retired",
            Self::KeyRotated => "key.rotated",
            Self::LockCreated => "lock.created",
            Self::LockLifted => "lock.lifted",
            Self::PayloadErased => "payload.erased",
            Self::PayloadOpened => "payload.opened",
            Self::PolicyApplied => "policy.applied",
            Self::PolicyRefused => "policy.refused",
            Self::PolicyRolledBack => "policy.rolled_back",
            Self::PossessionFailed => "possession.failed",
            Self::ResourceAccessed => "resource.accessed",
            Self::ReviewCompleted => "review.completed",
            Self::TlsReloadRefused => "tls.reload_refused",
            Self::TlsReloaded => "tls.reloaded",
            Self::TokenExchanged => "token.exchanged",
            Self::TokenIntrospected => "token.introspected",
            Self::TokenIssued => "token.issued",
            Self::TokenRefused => "token.refused",
            Self::TokenReplayed => "token.replayed",
            Self::TokenRevoked => "token.revoked",
            Self::ToolApproved => "tool.approved",
            Self::ToolChanged => "tool.changed",
            Self::ToolClassified => "tool.classified",
            Self::ToolSeen => "tool.seen",
        }
    }

    /// Finds the kind with this exact name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::custom("unknown kind of entry"))
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn names_are_sorted_unique_and_read_back() {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(Kind::ALL.iter().all(|kind| Kind::named(kind.as_str()) == Some(*kind)));
        assert_eq!(Kind::named("call.Decided"), None);
    }
}
