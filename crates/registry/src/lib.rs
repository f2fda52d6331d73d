//! Who exists: agents, MCP servers, tools, grants, locks, and the snapshot a gateway decides on.
//!
//! Pure data and the rules on it: no clock, no randomness, no I/O. Times are Unix seconds and
//! always an argument.
//!
//! What is implemented: identifiers and names, the life cycle table, owners, agents, their
//! overlapping keys and their way of authentication, MCP servers, tools as definitions, classes by
//! argument, scopes and grants, people, their consents and what agents may do for them, APIs with
//! their operations and downstream rules, `OpenAPI` documents that describe operations, locks, the
//! documents of public registries, approvals of calls, the snapshot and its publication, and the
//! stable reason codes.
//!
//! What is *not*: change requests.

mod agent;
mod approval;
mod approver;
mod arguments_schema;
mod authentication;
mod call_constraint;
mod class_rule;
mod condition;
mod consent;
mod delegated;
mod delta;
mod downstream;
mod effects;
mod grant;
mod hex;
mod id;
mod import;
mod lease;
mod life_cycle;
mod lock;
mod name;
mod openapi;
mod operations_plan;
mod owner;
mod path_template;
mod person;
mod pointer;
mod public_client;
mod published;
mod reason;
mod resource;
mod schema_keyword;
mod scope;
mod scope_set;
mod server;
mod shards;
mod snapshot;
mod spiffe;
mod standing;
mod tool;

#[cfg(test)]
mod fixtures;

pub use agent::{Agent, AgentKey, AgentKind, IssuerKey, KeyRefusal, KeyState, rotate};
pub use approval::{
    APPROVAL_ARGUMENTS_BYTES_MAX, APPROVAL_LIFETIME_MAX_S, APPROVALS_OPEN_MAX,
    APPROVALS_OPEN_OF_AGENT_MAX, Approval, ApprovalAnswer, ApprovalCall, ApprovalRefusal,
    ApprovalRequest, ApprovalState, ApprovalTerms, AskedCall, approval_arguments,
};
pub use approver::{AnswersForAgent, Approver, ApproverKind, Word};
pub use arguments_schema::{ArgumentsSchema, SchemaRefusal};
pub use attorn_jose::{CertificateThumbprint, Jkt};
pub use authentication::{
    Authentication, AuthenticationRefusal, Binding, CERTIFICATES_MAX, CertificateName,
};
pub use call_constraint::{
    AuthorizationDetails, CallConstraint, DetailsRefusal, TYPE as DETAILS_TYPE,
};
pub use class_rule::{ClassRule, ClassRuleRefusal, verify_class_rules};
pub use condition::{ArgumentTest, Condition, Number, NumberError, Scalar};
pub use consent::{CONSENT_LIFETIME_MAX_S, Consent};
pub use delegated::{Delegation, Grantable, Holder};
pub use delta::{DeltaRefusal, SnapshotDelta};
pub use downstream::{Ancestor, DownstreamUse};
pub use effects::Effects;
pub use grant::{Grant, GrantRefusal};
pub use id::{
    AgentId, ApprovalId, ConsentId, DecisionId, GrantId, IdError, LockId, OwnerId, PasskeyId,
    PersonId, ResourceId, ServerId,
};
pub use import::{
    ApprovedNames, DocumentRefusal, ImportFacts, ImportFinding, ImportedPackage, ServerDocument,
};
pub use lease::{LeaseDigest, LeaseRecord, LeaseRefusal, LogHead, PresentedLease, present_lease};
pub use life_cycle::{LifeCycle, LifeCycleError, TransitionRefused};
pub use lock::{
    LOCK_LIFETIME_MAX_S, Lock, LockRefusal, LockTarget, STOP_REMEMBERED_S, TOKEN_LIFETIME_MAX_S,
};
pub use name::{Name, NameError};
pub use openapi::{
    BasePath, BaseRefusal, DescribedOperations, LeftOut, LeftOutReason, OPENAPI_BYTES_MAX,
    OpenApiDocument, OpenApiRefusal,
};
pub use operations_plan::{OperationChange, OperationsPlan, PlannedOperation, WantedOperation};
pub use owner::Owner;
pub use path_template::{PathTemplate, is_plain_path};
pub use person::{
    ExternalSubject, GROUPS_MAX, Person, PersonGrant, PersonOrGroup, PersonRefusal, Provided, Role,
    RoleError, is_display_name,
};
pub use pointer::{ArgumentPointer, PointerError};
pub use public_client::{
    ClientRefusal, ClientSource, PublicClient, REDIRECT_URIS_MAX, document_subject,
};
pub use published::Published;
pub use reason::{ReasonCode, UnknownReason};
pub use resource::{
    Downstream, HttpMethod, Matched, OperationId, Resource, ResourceKey, ResourceOperation,
    ResourceRefusal,
};
pub use scope::{Class, ClassError, Scope, ScopeError, ScopePattern, ScopeTarget};
pub use scope_set::ScopeSet;
pub use server::{KeyHolder, McpServer, SERVER_TOOLS_MAX, ServerKey, ServerRefusal, UpstreamSpec};
pub use snapshot::{Erasure, LockedSubject, PolicySource, RevokedToken, Snapshot, SnapshotParts};
pub use spiffe::{SpiffeId, SpiffeIdError, is_trust_domain};
pub use tool::{Approved, Tool, ToolState};
