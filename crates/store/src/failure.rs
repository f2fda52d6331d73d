//! What the store refuses, and how it fails. The two are never mixed.

use attorn_registry::{
    ClassRuleRefusal, ClientRefusal, GrantRefusal, LockRefusal, PersonRefusal, ResourceRefusal,
    ServerRefusal, TransitionRefused,
};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules do not allow it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The database or a record in it is at fault.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// A change that the rules do not allow. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No agent of this identifier.
    #[error("no such agent")]
    AgentUnknown,
    /// The approval is not any more what was judged.
    #[error("the approval changed meanwhile")]
    ApprovalChanged,
    /// The rules that give a class break a rule of their own.
    #[error("{0}")]
    ClassRules(ClassRuleRefusal),
    /// A public client breaks a rule of its own.
    #[error("{0}")]
    Client(ClientRefusal),
    /// A public client of people is no agent, and an agent is no public client.
    #[error("a client of people and an agent are two things, and only some act for people")]
    ClientUnsuited,
    /// The consent was taken back or replaced already.
    #[error("the consent is taken back already")]
    ConsentRevoked,
    /// No consent of this identifier.
    #[error("no such consent")]
    ConsentUnknown,
    /// The server has no such rule at this resource.
    #[error("no such downstream rule")]
    DownstreamUnknown,
    /// The enrolment code is unknown, used or expired; which one is not told.
    #[error("the enrolment code is not valid")]
    CodeInvalid,
    /// The approval is for a definition that is no longer the current one.
    #[error("the definition has changed since it was looked at")]
    DefinitionStale,
    /// The grant breaks a rule of its own.
    #[error("{0}")]
    Grant(GrantRefusal),
    /// The grant waits for nobody's confirmation.
    #[error("the grant does not wait for a confirmation")]
    GrantConfirmed,
    /// The grant was revoked already.
    #[error("the grant is revoked already")]
    GrantRevoked,
    /// No grant of this identifier.
    #[error("no such grant")]
    GrantUnknown,
    /// The identifier is in use.
    #[error("the identifier is in use")]
    IdTaken,
    /// Servers of public registries wait for their acceptance, as many as may.
    #[error("too many servers of public registries wait; accept or retire some")]
    ImportLimit,
    /// The key belongs to an agent already, or is an issuer key already.
    #[error("the key is registered already")]
    KeyTaken,
    /// The key is not one of this agent, or no issuer key.
    #[error("no such key")]
    KeyUnknown,
    /// The lock breaks a rule of its own.
    #[error("{0}")]
    Lock(LockRefusal),
    /// The lock was lifted already.
    #[error("the lock is lifted already")]
    LockLifted,
    /// No lock of this identifier.
    #[error("no such lock")]
    LockUnknown,
    /// The name is in use, or was: names are not given twice.
    #[error("the name is taken")]
    NameTaken,
    /// The operations of the resource are not any more what the change was made for.
    #[error("the operations of the resource changed meanwhile")]
    OperationsChanged,
    /// The resource has no operation of this name.
    #[error("no such operation")]
    OperationUnknown,
    /// The successor of an owner leads back to the owner.
    #[error("who answers after the owner leads back to the owner, or too far")]
    OwnerCircle,
    /// The owner is not active, so nothing can be put under them.
    #[error("the owner is not active")]
    OwnerInactive,
    /// No owner of this identifier.
    #[error("no such owner")]
    OwnerUnknown,
    /// The person has as many passkeys as may be.
    #[error("the person has as many passkeys as may be; remove one")]
    PasskeyLimit,
    /// Somebody has this passkey already.
    #[error("the passkey is registered already")]
    PasskeyTaken,
    /// The person has no such passkey, or none.
    #[error("no such passkey")]
    PasskeyUnknown,
    /// A record about a person breaks a rule of its own.
    #[error("{0}")]
    Person(PersonRefusal),
    /// The person signs in at an identity provider, and has no password here.
    #[error("the person signs in at their identity provider")]
    PersonExternal,
    /// The person is not active.
    #[error("the person is not active")]
    PersonInactive,
    /// The person is linked to somebody at a provider already.
    #[error("the person is linked already; unlink them first")]
    PersonLinked,
    /// The person is linked to nobody at a provider.
    #[error("the person is linked to nobody at a provider")]
    PersonNotLinked,
    /// No person of this identifier.
    #[error("no such person")]
    PersonUnknown,
    /// No policy of this version.
    #[error("no such version of the policies")]
    PolicyUnknown,
    /// An operation or rule breaks a rule of its own.
    #[error("{0}")]
    Resource(ResourceRefusal),
    /// No resource of this identifier.
    #[error("no such resource")]
    ResourceUnknown,
    /// Calls that cannot be undone always need a proof.
    #[error("only reading and writing can be open to tokens without a proof")]
    BearerIrreversible,
    /// The server breaks a rule of its own.
    #[error("{0}")]
    Server(ServerRefusal),
    /// No MCP server of this identifier.
    #[error("no such MCP server")]
    ServerUnknown,
    /// Somebody else is linked to the subject.
    #[error("somebody else is linked to this subject of the provider")]
    SubjectTaken,
    /// The server has no such tool.
    #[error("no such tool")]
    ToolUnknown,
    /// The life cycle does not hold this change.
    #[error("{0}")]
    Transition(TransitionRefused),
}

/// The database or a record in it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The file could not be made ready.
    #[error("the database file cannot be used")]
    File(#[from] std::io::Error),
    /// The tables could not be brought up to date.
    #[error("the database cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A number that the database cannot hold, or that no record can.
    #[error("a number in `{table}` is out of range")]
    Range {
        /// The table.
        table: &'static str,
    },
    /// A record that does not have our form.
    #[error("a record in `{table}` cannot be read")]
    Record {
        /// The table.
        table: &'static str,
    },
    /// A server that may lose what it confirmed.
    #[error("the database may lose what it confirmed: `fsync` is off")]
    Unsafe,
    /// A location that is no file.
    #[error("the database is not supported; give a path or a `sqlite:` URL")]
    Unsupported,
    /// The database is older than it was, as this process knows it.
    #[error("the database is older than it was")]
    WentBack,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Failure::Database(error))
    }
}

impl StoreError {
    /// Turns a broken uniqueness into the refusal it stands for.
    pub(crate) fn unique(error: sqlx::Error, taken: Refusal) -> Self {
        let unique = error.as_database_error().is_some_and(|e| e.is_unique_violation());
        if unique { Self::Refused(taken) } else { error.into() }
    }
}
