//! One change: its transaction, its version, and the row that says what it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::{Any, AnyConnection, Transaction};

use crate::Store;
use crate::column::Columns;
use crate::failure::{Failure, StoreError};
use crate::revocations::InForce;

const COLUMNS: Columns = Columns("changes");

/// Who makes a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// Identifier of the caller.
    pub by: &'a str,
    /// Now, in Unix seconds.
    pub now_s: u64,
}

/// A record as it is after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    /// The number of the change.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The record now.
    pub record: T,
}

/// One row of the history of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The number of the change. Numbers have no gaps and never go back.
    pub version: u64,
    /// What happened, as [`ChangeKind::as_str`] spells it.
    pub kind: String,
    /// The identifier of what changed.
    pub subject: String,
    /// Who changed it.
    pub by: String,
    /// When, in Unix seconds.
    pub at_s: u64,
}

/// What can happen to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// How an agent authenticates.
    AgentAuthentication,
    /// The end of an agent.
    AgentExpiry,
    /// The keys of an agent.
    AgentKeys,
    /// The owner of an agent.
    AgentOwner,
    /// A new agent.
    AgentRegistered,
    /// The state of an agent.
    AgentState,
    /// A person approved or denied a call.
    ApprovalDecided,
    /// An approval was not used in time.
    ApprovalExpired,
    /// A call waits for a person.
    ApprovalRequested,
    /// An approval was used.
    ApprovalUsed,
    /// What is known about a public client.
    ClientSet,
    /// A new consent.
    ConsentGiven,
    /// A consent was taken back.
    ConsentRevoked,
    /// A new enrolment code.
    EnrolmentCreated,
    /// An enrolment code was used.
    EnrolmentRedeemed,
    /// Tokens of earlier epochs stop to count.
    EpochRaised,
    /// A second owner confirmed a grant.
    GrantConfirmed,
    /// A new grant.
    GrantCreated,
    /// A grant was taken back.
    GrantRevoked,
    /// A new invitation code.
    InvitationCreated,
    /// An invitation code was used.
    InvitationRedeemed,
    /// A new key of the issuer.
    IssuerKeyAdded,
    /// The state of an issuer key.
    IssuerKeyState,
    /// A new lock.
    LockCreated,
    /// A lock was lifted.
    LockLifted,
    /// A new owner.
    OwnerCreated,
    /// Who an owner is, and who answers after them.
    OwnerSet,
    /// The state of an owner.
    OwnerState,
    /// A person has another passkey.
    PasskeyAdded,
    /// Passkeys of a person are gone.
    PasskeyRemoved,
    /// Payloads of a subject are forgotten.
    PayloadErased,
    /// A new person.
    PersonCreated,
    /// A new grant to a person or a group.
    PersonGrantCreated,
    /// A grant to a person or a group was taken back.
    PersonGrantRevoked,
    /// A person has another password.
    PersonPassword,
    /// What a person is called, may do and belongs to.
    PersonSet,
    /// The state of a person.
    PersonState,
    /// Other policies are in force.
    PolicyApplied,
    /// Which servers may get tokens for an API.
    ResourceDownstreams,
    /// The key of an API.
    ResourceKey,
    /// The operations of an API.
    ResourceOperations,
    /// A new API.
    ResourceRegistered,
    /// The state of an API.
    ResourceState,
    /// For which classes a server takes tokens without a proof.
    ServerBearer,
    /// The keys of an MCP server.
    ServerKeys,
    /// The owner of an MCP server.
    ServerOwner,
    /// A new MCP server.
    ServerRegistered,
    /// The state of an MCP server.
    ServerState,
    /// A token was revoked.
    TokenRevoked,
    /// A tool was approved.
    ToolApproved,
    /// New or changed definitions of tools were seen.
    ToolSeen,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 51] = [
        Self::AgentAuthentication,
        Self::AgentExpiry,
        Self::AgentKeys,
        Self::AgentOwner,
        Self::AgentRegistered,
        Self::AgentState,
        Self::ApprovalDecided,
        Self::ApprovalExpired,
        Self::ApprovalRequested,
        Self::ApprovalUsed,
        Self::ClientSet,
        Self::ConsentGiven,
        Self::ConsentRevoked,
        Self::EnrolmentCreated,
        Self::EnrolmentRedeemed,
        Self::EpochRaised,
        Self::GrantConfirmed,
        Self::GrantCreated,
        Self::GrantRevoked,
        Self::InvitationCreated,
        Self::InvitationRedeemed,
        Self::IssuerKeyAdded,
        Self::IssuerKeyState,
        Self::LockCreated,
        Self::LockLifted,
        Self::OwnerCreated,
        Self::OwnerSet,
        Self::OwnerState,
        Self::PasskeyAdded,
        Self::PasskeyRemoved,
        Self::PayloadErased,
        Self::PersonCreated,
        Self::PersonGrantCreated,
        Self::PersonGrantRevoked,
        Self::PersonPassword,
        Self::PersonSet,
        Self::PersonState,
        Self::PolicyApplied,
        Self::ResourceDownstreams,
        Self::ResourceKey,
        Self::ResourceOperations,
        Self::ResourceRegistered,
        Self::ResourceState,
        Self::ServerBearer,
        Self::ServerKeys,
        Self::ServerOwner,
        Self::ServerRegistered,
        Self::ServerState,
        Self::TokenRevoked,
        Self::ToolApproved,
        Self::ToolSeen,
    ];

    /// The kind as the table spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentAuthentication => "agent.authentication",
            Self::AgentExpiry => "agent.expiry",
            Self::AgentKeys => "agent.keys",
            Self::AgentOwner => "agent.owner",
            Self::AgentRegistered => "agent.registered",
            Self::AgentState => "agent.state",
            Self::ApprovalDecided => "approval.decided",
            Self::ApprovalExpired => "approval.expired",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalUsed => "approval.used",
            Self::ClientSet => "client.set",
            Self::ConsentGiven => "consent.given",
            Self::ConsentRevoked => "consent.revoked",
            Self::EnrolmentCreated => "enrolment.created",
            Self::EnrolmentRedeemed => "enrolment.redeemed",
            Self::EpochRaised => "epoch.raised",
            Self::GrantConfirmed => "grant.confirmed",
            Self::GrantCreated => "grant.created",
            Self::GrantRevoked => "grant.revoked",
            Self::InvitationCreated => "invitation.created",
            Self::InvitationRedeemed => "invitation.redeemed",
            Self::IssuerKeyAdded => "issuer_key.added",
            Self::IssuerKeyState => "issuer_key.state",
            Self::LockCreated => "lock.created",
            Self::LockLifted => "lock.lifted",
            Self::OwnerCreated => "owner.created",
            Self::OwnerSet => "owner.set",
            Self::OwnerState => "owner.state",
            Self::PasskeyAdded => "passkey.added",
            Self::PasskeyRemoved => "passkey.removed",
            Self::PayloadErased => "payload.erased",
            Self::PersonCreated => "person.created",
            Self::PersonGrantCreated => "person_grant.created",
            Self::PersonGrantRevoked => "person_grant.revoked",
            Self::PersonPassword => "person.password",
            Self::PersonSet => "person.set",
            Self::PersonState => "person.state",
            Self::PolicyApplied => "policy.applied",
            Self::ResourceDownstreams => "resource.downstreams",
            Self::ResourceKey => "resource.key",
            Self::ResourceOperations => "resource.operations",
            Self::ResourceRegistered => "resource.registered",
            Self::ResourceState => "resource.state",
            Self::ServerBearer => "server.bearer",
            Self::ServerKeys => "server.keys",
            Self::ServerOwner => "server.owner",
            Self::ServerRegistered => "server.registered",
            Self::ServerState => "server.state",
            Self::TokenRevoked => "token.revoked",
            Self::ToolApproved => "tool.approved",
            Self::ToolSeen => "tool.seen",
        }
    }
}

/// A change under way. Dropped without [`Change::finish`], nothing of it remains.
pub(crate) struct Change<'a> {
    transaction: Transaction<'static, Any>,
    version: i64,
    /// The last number that left its row.
    noted: i64,
    newest: Arc<AtomicI64>,
    pub(crate) act: Act<'a>,
}

impl<'a> Change<'a> {
    /// The first statement takes the write lock on either database, so that changes happen one after
    /// the other and versions become visible in order.
    pub(crate) async fn begin(store: &Store, act: Act<'a>) -> Result<Self, Failure> {
        let mut change = Self::open(store, act).await?;
        change.count_up().await?;
        Ok(change)
    }

    /// A transaction for several changes; [`Change::count_up`] begins each of them.
    pub(crate) async fn open(store: &Store, act: Act<'a>) -> Result<Self, Failure> {
        let newest = Arc::clone(&store.newest);
        Ok(Self { transaction: store.begin_write().await?, version: 0, noted: 0, newest, act })
    }

    /// Gives what comes next a number of its own.
    ///
    /// # Errors
    /// [`Failure::WentBack`] when it was given here before: a server fell back to a copy that lags, or
    /// was restored under us. What is in force here would hide the change.
    pub(crate) async fn count_up(&mut self) -> Result<(), Failure> {
        self.next_number().await?;
        if self.version <= self.newest.load(Ordering::SeqCst) {
            return Err(Failure::WentBack);
        }
        Ok(())
    }

    async fn next_number(&mut self) -> Result<(), Failure> {
        let (version,) = sqlx::query_as(
            "UPDATE registry SET version = version + 1 WHERE id = 1 RETURNING version",
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        self.version = version;
        Ok(())
    }

    /// As [`Change::begin`], with a version beyond one that was in force elsewhere: what a registry
    /// from a backup needs, so that nobody takes an old number for a known one.
    pub(crate) async fn begin_beyond(
        store: &Store,
        act: Act<'a>,
        version: u64,
    ) -> Result<Self, Failure> {
        let mut change = Self::open(store, act).await?;
        change.next_number().await?;
        let beyond = COLUMNS.number(version)?.saturating_add(1);
        if change.version < beyond {
            sqlx::query("UPDATE registry SET version = $1 WHERE id = 1")
                .bind(beyond)
                .execute(change.connection())
                .await?;
            change.version = beyond;
        }
        Ok(change)
    }

    /// Where the statements of the change run.
    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Leaves the row that says what happened, and makes it all durable.
    pub(crate) async fn finish<T>(
        mut self,
        kind: ChangeKind,
        subject: &str,
        record: T,
    ) -> Result<Changed<T>, StoreError> {
        self.note(kind, subject).await?;
        let version = COLUMNS.count(self.version)?;
        self.commit().await?;
        Ok(Changed { version, kind, record })
    }

    /// Leaves the row that says what happened under the number of now.
    pub(crate) async fn note(&mut self, kind: ChangeKind, subject: &str) -> Result<(), Failure> {
        sqlx::query(
            "INSERT INTO changes (version, kind, subject, made_by, made_s)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(self.version)
        .bind(kind.as_str())
        .bind(subject)
        .bind(self.act.by)
        .bind(COLUMNS.number(self.act.now_s)?)
        .execute(&mut *self.transaction)
        .await?;
        self.noted = self.version;
        Ok(())
    }

    /// Makes everything of the transaction durable.
    pub(crate) async fn commit(self) -> Result<(), Failure> {
        // Dies before this line: nothing happened. After it: everything did.
        self.transaction.commit().await?;
        self.newest.fetch_max(self.noted, Ordering::SeqCst);
        Ok(())
    }
}

impl Store {
    /// The number of the last change.
    ///
    /// # Errors
    /// The database fails.
    pub async fn version(&self) -> Result<u64, Failure> {
        let (version,) = sqlx::query_as("SELECT version FROM registry WHERE id = 1")
            .fetch_one(&self.pool)
            .await?;
        COLUMNS.count(version)
    }

    /// How far the registry got.
    ///
    /// # Errors
    /// The database fails.
    pub async fn in_force(&self) -> Result<InForce, Failure> {
        let (version, epoch): (i64, i64) =
            sqlx::query_as("SELECT version, epoch FROM registry WHERE id = 1")
                .fetch_one(&self.pool)
                .await?;
        Ok(InForce { version: COLUMNS.count(version)?, epoch: COLUMNS.count(epoch)? })
    }

    /// At most `limit` changes after a version, in order.
    ///
    /// # Errors
    /// The database fails.
    pub async fn changes_after(
        &self,
        version: u64,
        limit: u32,
    ) -> Result<Vec<ChangeRecord>, Failure> {
        let rows: Vec<(i64, String, String, String, i64)> = sqlx::query_as(
            "SELECT version, kind, subject, made_by, made_s FROM changes
             WHERE version > $1 ORDER BY version LIMIT $2",
        )
        .bind(COLUMNS.number(version)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let record = |(version, kind, subject, by, at_s)| {
            let (version, at_s) = (COLUMNS.count(version)?, COLUMNS.count(at_s)?);
            Ok(ChangeRecord { version, kind, subject, by, at_s })
        };
        rows.into_iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{World, act};
    use crate::{Failure, InForce, StoreError};

    #[tokio::test]
    async fn versions_count_up_without_gaps() {
        let world = World::new().await;
        let first = world.store.version().await.unwrap();
        world.store.raise_epoch(&act(5), InForce::default()).await.unwrap();
        let changed = world.store.raise_epoch(&act(6), InForce::default()).await.unwrap();
        assert_eq!(changed.version, first + 2);
        let rows = world.store.changes_after(first, 10).await.unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.version, row.kind.as_str())).collect();
        assert_eq!(seen, [(first + 1, "epoch.raised"), (first + 2, "epoch.raised")]);
        assert_eq!((rows[1].by.as_str(), rows[1].at_s), ("own_test", 6));
    }

    /// A server fell back to a copy that lags: no number is given twice, until the registry is beyond
    /// all that was in force.
    #[tokio::test]
    async fn a_registry_that_went_back_takes_no_change() {
        let world = World::new().await;
        let store = &world.store;
        let known = store.in_force().await.unwrap();
        for sql in [
            "DELETE FROM changes WHERE version = (SELECT version FROM registry)",
            "UPDATE registry SET version = version - 1",
        ] {
            sqlx::query(sql).execute(&store.pool).await.unwrap();
        }
        let refused = store.create_grant(&act(1), &world.new_grant()).await;
        assert!(matches!(refused, Err(StoreError::Failed(Failure::WentBack))), "{refused:?}");
        assert!(store.grants().await.unwrap().is_empty());
        let beyond = store.raise_epoch(&act(2), known).await.unwrap();
        assert!(beyond.version > known.version);
        let next = store.create_grant(&act(3), &world.new_grant()).await.unwrap();
        assert_eq!(next.version, beyond.version + 1);
    }

    #[tokio::test]
    async fn a_refused_change_leaves_no_version() {
        let world = World::new().await;
        let before = world.store.version().await.unwrap();
        let again = world.store.create_owner(&act(1), &world.owner).await;
        assert!(again.is_err());
        assert_eq!(world.store.version().await.unwrap(), before);
    }
}
