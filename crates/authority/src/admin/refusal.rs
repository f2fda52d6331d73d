//! Why an admin request is not done, and how that is told.

use attorn_journal::{JournalUnavailable, ReadError};
use attorn_net::Body;
use attorn_payloads::UnsealError;
use attorn_registry::{
    ApprovalRefusal, DetailsRefusal, ImportFinding, LeaseRefusal, NameError, ReasonCode,
    ResourceRefusal, ScopeError,
};
use attorn_store::{self as store, Failure, StoreError};
use http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::operation::Operation;
use crate::http::json_answer;
use crate::indexer::IndexError;
use crate::rotation::RotationError;

/// Something that a request names and that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Agent,
    Approval,
    Consent,
    Decision,
    /// The same in a journal that has not all its entries any more.
    DecisionOrRemoved,
    Entry,
    Grant,
    Import,
    Lock,
    Owner,
    Person,
    PolicyVersion,
    Resource,
    Server,
    Tool,
}

/// Why an operation is not done. Exhaustive on purpose: a new reason must not compile until
/// [`Refusal::status`] and [`Refusal::reason`] map it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The agent is past its end, so that it would not act if it were resumed.
    AgentEnded,
    /// An agent and a person have the name.
    Ambiguous,
    /// What was said about a call that waits does not count.
    Approval(ApprovalRefusal),
    /// The body is too long.
    BodyTooLong,
    /// The built-in server is not changed through its own API.
    Builtin,
    /// A server that is a command comes where a server with an address is registered.
    CommandElsewhere,
    /// The constraints of a grant are not taken.
    Details(DetailsRefusal),
    /// Items of a file cannot be applied, so none is.
    Faults(Vec<Fault>),
    /// An acceptance does not name everything that speaks against a server.
    FindingsUnnamed(Vec<ImportFinding>),
    /// A member of something that exists, which no operation changes.
    Fixed(&'static str),
    /// The body is not strict JSON of the form the operation asks for.
    Form,
    /// A gateway that does not go on: a copy, or one that was copied.
    Gateway(LeaseRefusal),
    /// A file was put aside for a change that takes rights away.
    GaveWay,
    /// The definition holds characters that a reader would not see.
    HiddenText,
    /// An item of a file does not have the form of its operation; the text says what is wrong.
    Item(String),
    /// The journal cannot take or give an entry.
    JournalUnavailable,
    /// The key is no public JWK that is accepted.
    Key,
    /// What is named does not exist.
    Missing(Missing),
    /// The name does not have the form of names.
    Name(NameError),
    /// The operator may not run another operation that this one stands for.
    NotAllowed(Operation, ReasonCode),
    /// Only enrolment makes a registered agent an active one.
    NotEnrolled,
    /// The person has not used their code yet.
    NotSignedIn,
    /// A redirect URI that no client may have.
    RedirectUri,
    /// No role of this name.
    Role,
    /// Nobody would be left who can administer.
    LastOperator,
    /// The payload was never sealed, or is gone.
    PayloadAbsent,
    /// The payload is not what the journal says.
    PayloadChanged,
    /// The payload was erased.
    PayloadErased,
    /// What would change is not what its author was shown.
    PlanChanged,
    /// Another plan of a file is being made.
    PlanUnderWay,
    /// The policies or their tests do not compile; the text says where.
    Policy(String),
    /// What the change replaces is not what its author saw.
    PreconditionFailed,
    /// The change does not say what it replaces.
    PreconditionMissing,
    /// A server of a public registry waits for its acceptance.
    Quarantined,
    /// A change that must say why does not.
    ReasonMissing,
    /// The entry was removed by retention.
    Removed,
    /// A gateway has a later registry in force than this one.
    RegistryOlder,
    /// An operation or rule of an API does not have its form.
    Resource(ResourceRefusal),
    /// The URL of an API is not canonical, or one of our own.
    ResourceUrl,
    /// Who gave a grant, or shares their owner, cannot be its second owner.
    SameOwner,
    /// A scope pattern cannot be read.
    Scope(ScopeError),
    /// The registry's rules do not allow the change.
    Store(store::Refusal),
    /// The registry cannot be read or written.
    StoreUnavailable,
    /// The tool changed since it was looked at.
    ToolChanged,
    /// The tool is not approved as last seen.
    ToolNotApproved,
    /// Two items of a file are about the same.
    Twice,
    /// The operator would hand on more of the administration than they hold.
    Widened,
}

impl Refusal {
    /// RFC 9110 section 15.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Approval(
                ApprovalRefusal::Excluded
                | ApprovalRefusal::NotAPerson
                | ApprovalRefusal::RoleMissing
                | ApprovalRefusal::SamePerson
                | ApprovalRefusal::Unbound,
            ) => StatusCode::FORBIDDEN,
            Self::Approval(_) => StatusCode::CONFLICT,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Details(_) => StatusCode::BAD_REQUEST,
            Self::Key | Self::Resource(_) | Self::ResourceUrl => StatusCode::BAD_REQUEST,
            Self::Form | Self::Name(_) | Self::Policy(_) | Self::ReasonMissing | Self::Scope(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Item(_) | Self::Twice => StatusCode::BAD_REQUEST,
            Self::RedirectUri | Self::Role => StatusCode::BAD_REQUEST,
            Self::GaveWay | Self::PlanUnderWay => StatusCode::TOO_MANY_REQUESTS,
            Self::CommandElsewhere | Self::NotAllowed(..) => StatusCode::FORBIDDEN,
            Self::Faults(_) | Self::Fixed(_) => StatusCode::CONFLICT,
            Self::FindingsUnnamed(_) | Self::Quarantined => StatusCode::CONFLICT,
            Self::JournalUnavailable | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            // RFC 9110 section 15.5.13.
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            // RFC 6585 section 3.
            Self::PreconditionMissing => StatusCode::PRECONDITION_REQUIRED,
            // RFC 9110 section 15.5.11.
            Self::PayloadErased | Self::Removed => StatusCode::GONE,
            Self::PayloadAbsent => StatusCode::NOT_FOUND,
            Self::PayloadChanged => StatusCode::INTERNAL_SERVER_ERROR,
            // The registry as it is does not allow it; another time it might.
            Self::Builtin | Self::NotEnrolled | Self::NotSignedIn | Self::Store(_) => {
                StatusCode::CONFLICT
            }
            Self::AgentEnded | Self::Ambiguous | Self::Gateway(_) => StatusCode::CONFLICT,
            Self::HiddenText | Self::RegistryOlder => StatusCode::CONFLICT,
            Self::ToolChanged | Self::ToolNotApproved => StatusCode::CONFLICT,
            Self::LastOperator | Self::SameOwner | Self::Widened => StatusCode::FORBIDDEN,
            Self::PlanChanged => StatusCode::CONFLICT,
        }
    }

    /// The stable code of the journal and of the answer.
    pub(crate) fn reason(&self) -> ReasonCode {
        match self {
            Self::Approval(refusal) => refusal.reason(),
            Self::BodyTooLong => ReasonCode::FrameSize,
            Self::CommandElsewhere => ReasonCode::ScopeMissing,
            Self::Faults(faults) => {
                faults.first().map_or(ReasonCode::RequestMalformed, |fault| fault.reason)
            }
            Self::FindingsUnnamed(_) | Self::Quarantined => ReasonCode::ServerPending,
            Self::Ambiguous | Self::Twice => ReasonCode::RequestMalformed,
            Self::Fixed(_) | Self::Item(_) => ReasonCode::RequestMalformed,
            Self::GaveWay | Self::PlanUnderWay => ReasonCode::RateLimited,
            Self::NotAllowed(_, reason) => *reason,
            Self::JournalUnavailable | Self::StoreUnavailable => ReasonCode::JournalUnavailable,
            Self::Missing(missing) => missing.reason(),
            Self::AgentEnded => ReasonCode::AgentExpired,
            Self::Gateway(LeaseRefusal::Copied) => ReasonCode::GatewayCopied,
            Self::Gateway(LeaseRefusal::LogForked) => ReasonCode::GatewayLogForked,
            Self::HiddenText => ReasonCode::ToolHiddenText,
            Self::LastOperator => ReasonCode::OperatorLast,
            Self::NotEnrolled => ReasonCode::AgentPending,
            Self::NotSignedIn => ReasonCode::PersonPending,
            Self::RedirectUri | Self::Role => ReasonCode::RequestMalformed,
            Self::Policy(_) => ReasonCode::PolicyError,
            Self::PlanChanged | Self::PreconditionFailed | Self::PreconditionMissing => {
                ReasonCode::RequestPrecondition
            }
            Self::RegistryOlder => ReasonCode::AuthorityStale,
            Self::PayloadAbsent | Self::PayloadChanged => ReasonCode::PayloadAbsent,
            Self::PayloadErased => ReasonCode::PayloadErased,
            Self::Removed => ReasonCode::EntryRemoved,
            Self::ToolChanged => ReasonCode::ToolDefinitionChanged,
            Self::ToolNotApproved => ReasonCode::ToolUnconfirmed,
            Self::SameOwner => ReasonCode::ApprovalSelf,
            Self::Widened => ReasonCode::DelegationWidened,
            Self::Details(_) | Self::Builtin | Self::Form | Self::Name(_) => {
                ReasonCode::RequestMalformed
            }
            Self::Key | Self::Resource(_) | Self::ResourceUrl => ReasonCode::RequestMalformed,
            Self::ReasonMissing | Self::Scope(_) | Self::Store(_) => ReasonCode::RequestMalformed,
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::AgentEnded => "the agent is past its end; give it another one first".to_owned(),
            Self::Ambiguous => "two have this name; use the identifier".to_owned(),
            Self::Approval(refusal) => refusal.to_string(),
            Self::BodyTooLong => "the body is too long".to_owned(),
            Self::Builtin => "the built-in server is not changed this way".to_owned(),
            Self::CommandElsewhere => {
                let scope = Operation::ServerRegisterCommand.scope();
                format!("a server that is a command is registered under its own scope, `{scope}`")
            }
            Self::Faults(faults) => {
                format!("{} of its items cannot be applied, so nothing was changed", faults.len())
            }
            Self::FindingsUnnamed(findings) if findings.is_empty() => {
                "nothing speaks against it, so no finding is named".to_owned()
            }
            Self::FindingsUnnamed(findings) => {
                let words: Vec<_> = findings.iter().map(|finding| finding.as_str()).collect();
                format!("name exactly what speaks against it: {}", words.join(", "))
            }
            Self::Quarantined => "it came from a public registry and is not accepted".to_owned(),
            Self::Fixed(member) => format!("`{member}` of what exists cannot be changed"),
            Self::Item(what) => format!("not of the form its operation asks for: {what}"),
            Self::NotAllowed(operation, _) => {
                format!("this needs `{}`, which is not admitted", operation.scope())
            }
            Self::Details(refusal) => refusal.to_string(),
            Self::Form => "the input does not have the form this operation asks for".to_owned(),
            Self::Gateway(refusal) => refusal.to_string(),
            Self::GaveWay => {
                "a lock or a revocation came first, so nothing was done; ask again".to_owned()
            }
            Self::HiddenText | Self::JournalUnavailable => self.reason().meaning().to_owned(),
            Self::Key => "no public JWK of an accepted algorithm, and no thumbprint".to_owned(),
            Self::LastOperator => "enrol a second operator with the same rights first".to_owned(),
            Self::Missing(missing) => missing.message().to_owned(),
            Self::Name(refusal) => refusal.to_string(),
            Self::NotEnrolled => "the agent has not enrolled a key yet".to_owned(),
            Self::NotSignedIn => "the person has not used their code yet".to_owned(),
            Self::RedirectUri => {
                "a redirect URI is https, http on a loopback address, or of a scheme with a dot; \
                 without user, fragment and wildcard"
                    .to_owned()
            }
            Self::Role => attorn_registry::RoleError.to_string(),
            Self::PlanChanged => "`digest` does not name what would change now".to_owned(),
            Self::PlanUnderWay => "another plan is being made; ask again".to_owned(),
            Self::Policy(errors) => errors.clone(),
            Self::PreconditionFailed => "somebody changed it meanwhile; look again".to_owned(),
            Self::PreconditionMissing => "`If-Match` has to name what this replaces".to_owned(),
            Self::ReasonMissing => "a reason is required".to_owned(),
            Self::PayloadAbsent => ReasonCode::PayloadAbsent.meaning().to_owned(),
            Self::PayloadChanged => "the payload is not what the journal says it is".to_owned(),
            Self::PayloadErased => ReasonCode::PayloadErased.meaning().to_owned(),
            Self::Removed => ReasonCode::EntryRemoved.meaning().to_owned(),
            Self::RegistryOlder => "this registry is older than the one in force".to_owned(),
            Self::Resource(refusal) => refusal.to_string(),
            Self::ResourceUrl => {
                "the URL is the canonical spelling of an absolute https URL that is not ours"
                    .to_owned()
            }
            Self::SameOwner => "a second owner is somebody else than who gave the grant".to_owned(),
            Self::Scope(refusal) => refusal.to_string(),
            Self::Store(refusal) => refusal.to_string(),
            Self::StoreUnavailable => "the registry cannot be read or written".to_owned(),
            Self::ToolChanged => "the tool changed since it was looked at".to_owned(),
            Self::ToolNotApproved => "the tool is not approved as last seen".to_owned(),
            Self::Twice => "another item of the file is about the same".to_owned(),
            Self::Widened => "this would give more of the administration than you hold".to_owned(),
        }
    }

    /// The answer. The operator was authorised, so it may say what is wrong.
    pub(crate) fn answer(&self, decision_id: &str) -> Response<Body> {
        let mut body = serde_json::json!({
            "error": self.reason().as_str(),
            "message": self.message(),
            "decision_id": decision_id,
        });
        if let (Self::Faults(faults), Some(members)) = (self, body.as_object_mut()) {
            members.insert("faults".to_owned(), serde_json::json!(faults));
        }
        json_answer(self.status(), body.to_string())
    }

    /// What the journal says beside the reason: the places of the first faults.
    pub(crate) fn places(&self) -> Option<String> {
        let Self::Faults(faults) = self else { return None };
        let place = |fault: &Fault| format!("{} {}", fault.at, fault.reason);
        Some(faults.iter().take(FAULTS_TOLD).map(place).collect::<Vec<_>>().join(", "))
    }

    /// Whether it is not the input that is at fault.
    pub(crate) const fn is_failure(&self) -> bool {
        matches!(self, Self::JournalUnavailable | Self::StoreUnavailable)
    }
}

/// One item of a file that cannot be applied.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Where it stands, such as `grants[2]`.
    pub(crate) at: String,
    /// The reason code.
    #[serde(rename = "error")]
    #[schema(value_type = String)]
    pub(crate) reason: ReasonCode,
    /// What is wrong.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: String, refusal: &Refusal) -> Self {
        Self { at, reason: refusal.reason(), message: refusal.message() }
    }
}

/// An entry of the journal names no more places than these.
const FAULTS_TOLD: usize = 16;

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<ScopeError> for Refusal {
    fn from(error: ScopeError) -> Self {
        Self::Scope(error)
    }
}

impl From<ResourceRefusal> for Refusal {
    fn from(error: ResourceRefusal) -> Self {
        Self::Resource(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Store(refusal),
            StoreError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(error: Failure) -> Self {
        tracing::error!(%error, "the registry failed");
        Self::StoreUnavailable
    }
}

impl From<IndexError> for Refusal {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Journal(error) => error.into(),
            IndexError::Index(error) => {
                tracing::error!(%error, "the search index failed");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing { .. } => Self::Missing(Missing::Entry),
            ReadError::Removed { .. } => Self::Removed,
            ReadError::Checkpoint
            | ReadError::EntryNotJson { .. }
            | ReadError::Io(_)
            | ReadError::RecordBroken { .. }
            | ReadError::Tombstone
            | ReadError::TileBroken { .. } => {
                tracing::error!(%error, "the journal cannot be read");
                Self::JournalUnavailable
            }
        }
    }
}

impl From<RotationError> for Refusal {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(error) => error.into(),
            RotationError::Keys(error) => {
                tracing::error!(%error, "the signing keys cannot be changed");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<UnsealError> for Refusal {
    fn from(error: UnsealError) -> Self {
        match error {
            UnsealError::Absent => Self::PayloadAbsent,
            UnsealError::Erased => Self::PayloadErased,
            UnsealError::Changed => {
                tracing::error!("a sealed payload is not what the journal says it is");
                Self::PayloadChanged
            }
            UnsealError::Io(error) => {
                tracing::error!(%error, "a sealed payload cannot be read");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<JournalUnavailable> for Refusal {
    fn from(_: JournalUnavailable) -> Self {
        Self::JournalUnavailable
    }
}

impl Missing {
    const fn reason(self) -> ReasonCode {
        match self {
            Self::Agent => ReasonCode::AgentUnknown,
            Self::Consent => ReasonCode::ConsentMissing,
            Self::Person => ReasonCode::PersonUnknown,
            Self::Resource => ReasonCode::ResourceUnknown,
            Self::Server => ReasonCode::ServerUnknown,
            Self::Tool => ReasonCode::ToolUnknown,
            Self::Decision | Self::DecisionOrRemoved => ReasonCode::RequestMalformed,
            Self::Approval | Self::Entry | Self::Grant | Self::Lock => ReasonCode::RequestMalformed,
            Self::Import => ReasonCode::ServerUnknown,
            Self::Owner | Self::PolicyVersion => ReasonCode::RequestMalformed,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Agent => "no such agent",
            Self::Approval => "no such request",
            Self::Consent => "no such consent",
            Self::Decision => "no such decision",
            Self::DecisionOrRemoved => "no such decision, or its entries were removed by retention",
            Self::Entry => "no such journal entry",
            Self::Grant => "no such grant",
            Self::Import => "no such server came from a public registry",
            Self::Lock => "no such lock",
            Self::Owner => "no such owner",
            Self::Person => "no such person",
            Self::PolicyVersion => "no such version of the policies",
            Self::Resource => "no such resource",
            Self::Server => "no such server",
            Self::Tool => "no such tool",
        }
    }
}
