//! Which class of OCSF an entry belongs to, and which activity of it.

use crate::{Entry, Kind};

/// A class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    ApiActivity,
    Authentication,
    BaseEvent,
    EntityManagement,
}

impl Class {
    pub(super) const fn uid(self) -> u64 {
        match self {
            Self::ApiActivity => 6003,
            Self::Authentication => 3002,
            Self::BaseEvent => 0,
            Self::EntityManagement => 3004,
        }
    }

    pub(super) const fn caption(self) -> &'static str {
        match self {
            Self::ApiActivity => "API Activity",
            Self::Authentication => "Authentication",
            Self::BaseEvent => "Base Event",
            Self::EntityManagement => "Entity Management",
        }
    }

    pub(super) const fn category(self) -> (u64, &'static str) {
        match self {
            Self::ApiActivity => (6, "Application Activity"),
            Self::Authentication | Self::EntityManagement => (3, "Identity & Access Management"),
            Self::BaseEvent => (0, "Uncategorized"),
        }
    }

    /// Members of an entry that are in attributes of this class, whatever they say.
    pub(super) const fn places(self) -> &'static [&'static str] {
        match self {
            Self::ApiActivity => &[
                "agent",
                "client_id",
                "downstream_resource",
                "mcp_version",
                "request_id",
                "server",
                "subject",
                "token_jti",
                "tool",
                "trace_id",
            ],
            Self::Authentication => &["agent", "client_id", "server", "subject", "token_jti"],
            Self::BaseEvent => &[],
            Self::EntityManagement => &["by", "client_id"],
        }
    }
}

/// An activity of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) id: u64,
    /// What OCSF calls it.
    pub(super) caption: &'static str,
    /// The same; the source's own word where OCSF has none.
    pub(super) name: &'static str,
}

impl Activity {
    pub(super) const UNKNOWN: Self = Self::named(0, "Unknown");
    const CREATE: Self = Self::named(1, "Create");
    const READ: Self = Self::named(2, "Read");
    const UPDATE: Self = Self::named(3, "Update");
    const DELETE: Self = Self::named(4, "Delete");
    const ENROLL: Self = Self::named(6, "Enroll");
    const ENABLE: Self = Self::named(8, "Enable");
    const DISABLE: Self = Self::named(9, "Disable");
    const SUSPEND: Self = Self::named(12, "Suspend");
    const RESUME: Self = Self::named(13, "Resume");
    const LOGON: Self = Self::named(1, "Logon");
    const LOGOFF: Self = Self::named(2, "Logoff");

    const fn named(id: u64, caption: &'static str) -> Self {
        Self { id, caption, name: caption }
    }

    /// OCSF 1.9.0, attribute `activity_name`: with 99 it must hold the source's label.
    const fn other(name: &'static str) -> Self {
        Self { id: 99, caption: "Other", name }
    }
}

/// The class and the activity of an entry.
pub(super) fn of(entry: &Entry) -> (Class, Activity) {
    let other = Activity::other(entry.kind.as_str());
    match entry.kind {
        Kind::CallCompleted | Kind::CallDecided | Kind::ResourceAccessed => {
            (Class::ApiActivity, asked_for(entry))
        }
        Kind::IdentityLogin
        | Kind::IdentityLoginRefused
        | Kind::TokenIssued
        | Kind::TokenRefused => (Class::Authentication, Activity::LOGON),
        Kind::IdentityLogout | Kind::TokenRevoked => (Class::Authentication, Activity::LOGOFF),
        Kind::CodeIssued
        | Kind::CredentialShared
        | Kind::PossessionFailed
        | Kind::TokenExchanged
        | Kind::TokenIntrospected
        | Kind::TokenReplayed => (Class::Authentication, other),
        Kind::ClockSetBack
        | Kind::JournalForked
        | Kind::JournalOpened
        | Kind::JournalPruned
        | Kind::JournalShipping
        | Kind::TlsReloadRefused
        | Kind::TlsReloaded => (Class::BaseEvent, other),
        Kind::ApprovalRequested
        | Kind::ConsentGiven
        | Kind::GrantCreated
        | Kind::IdentityRegistered
        | Kind::KeyAdded
        | Kind::LockCreated
        | Kind::ToolSeen => (Class::EntityManagement, Activity::CREATE),
        Kind::AdminExported | Kind::AdminRead | Kind::PayloadOpened => {
            (Class::EntityManagement, Activity::READ)
        }
        Kind::AdminChanged
        | Kind::GrantConfirmed
        | Kind::IdentityOwnerChanged
        | Kind::KeyRotated
        | Kind::PolicyApplied
        | Kind::PolicyRefused
        | Kind::PolicyRolledBack
        | Kind::ToolChanged
        | Kind::ToolClassified => (Class::EntityManagement, Activity::UPDATE),
        Kind::GrantRevoked
        | Kind::IdentityRetired
        | Kind::KeyRemoved
        | Kind::LockLifted
        | Kind::PayloadErased => (Class::EntityManagement, Activity::DELETE),
        Kind::IdentityEnrolled | Kind::IdentityEnrolmentRefused => {
            (Class::EntityManagement, Activity::ENROLL)
        }
        Kind::ToolApproved => (Class::EntityManagement, Activity::ENABLE),
        Kind::KeyRetired => (Class::EntityManagement, Activity::DISABLE),
        Kind::IdentitySuspended => (Class::EntityManagement, Activity::SUSPEND),
        Kind::IdentityResumed => (Class::EntityManagement, Activity::RESUME),
        Kind::AdminRefused
        | Kind::ApprovalApproved
        | Kind::ApprovalDenied
        | Kind::ApprovalExpired
        | Kind::ApprovalUsed
        | Kind::ConsentRefused
        | Kind::IdentityCodeIssued
        | Kind::ReviewCompleted => (Class::EntityManagement, other),
    }
}

/// No more than is known: a tool that writes may create, change or delete.
fn asked_for(entry: &Entry) -> Activity {
    match (entry.class.as_deref(), entry.method.as_deref()) {
        // RFC 9110 section 9.3: what these methods are for.
        (_, Some("DELETE")) => Activity::DELETE,
        (_, Some("PUT" | "PATCH")) => Activity::UPDATE,
        (Some("read"), _) | (_, Some("GET" | "HEAD" | "prompts/get" | "resources/read")) => {
            Activity::READ
        }
        (Some("write"), _) => Activity::other("write"),
        (Some("irreversible"), _) => Activity::other("irreversible"),
        (Some(_) | None, _) => Activity::UNKNOWN,
    }
}
