//! Several changes in one transaction: all of them, or none.
//!
//! Each counts a version up and leaves its row, as if it had come alone. One that is refused takes
//! nothing with it but itself, so that the ones after it can still be judged; whether the others are
//! kept is for the caller to say.

use attorn_registry::{
    Agent, AgentId, Authentication, Binding, Grant, GrantId, LifeCycle, McpServer, Owner, OwnerId,
    PolicySource, Resource, ResourceId, ResourceOperation, ServerId, Tool,
};

use crate::agents::{insert_agent, write_authentication, write_owner};
use crate::change::{Act, Change, ChangeKind};
use crate::failure::{Failure, StoreError};
use crate::grants::{insert_grant, write_revocation};
use crate::owners::insert_owner;
use crate::policies::insert_policy;
use crate::resources::write_operations;
use crate::servers::insert_server;
use crate::tools::write_approval;
use crate::{Confirmed, NewAgent, NewOwner, NewServer, Store};

/// Changes that wait for [`Batch::commit`]. Dropped without it, nothing of them remains.
///
/// While it lives no other change can be made.
pub struct Batch<'a> {
    change: Change<'a>,
}

impl Store {
    /// Begins changes that become one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin_batch<'a>(&self, act: Act<'a>) -> Result<Batch<'a>, Failure> {
        Ok(Batch { change: Change::open(self, act).await? })
    }
}

impl Batch<'_> {
    /// As [`Store::create_owner`].
    ///
    /// # Errors
    /// The same.
    pub async fn create_owner(&mut self, owner: &NewOwner) -> Result<Owner, StoreError> {
        self.begin().await?;
        let made = insert_owner(&mut self.change, owner).await;
        self.end(ChangeKind::OwnerCreated, owner.id.as_str(), made).await
    }

    /// As [`Store::register_agent`].
    ///
    /// # Errors
    /// The same.
    pub async fn register_agent(&mut self, agent: &NewAgent) -> Result<Agent, StoreError> {
        self.begin().await?;
        let made = insert_agent(&mut self.change, agent).await;
        self.end(ChangeKind::AgentRegistered, agent.id.as_str(), made).await
    }

    /// As [`Store::set_agent_owner`].
    ///
    /// # Errors
    /// The same.
    pub async fn set_agent_owner(
        &mut self,
        id: &AgentId,
        owner: &OwnerId,
    ) -> Result<Agent, StoreError> {
        self.begin().await?;
        let made = write_owner(&mut self.change, id, owner).await;
        self.end(ChangeKind::AgentOwner, id.as_str(), made).await
    }

    /// As [`Store::set_agent_authentication`].
    ///
    /// # Errors
    /// The same.
    pub async fn set_agent_authentication(
        &mut self,
        id: &AgentId,
        wanted: (&Authentication, Binding),
    ) -> Result<Agent, StoreError> {
        self.begin().await?;
        let made = write_authentication(&mut self.change, id, wanted).await;
        self.end(ChangeKind::AgentAuthentication, id.as_str(), made).await
    }

    /// As [`Store::register_server`].
    ///
    /// # Errors
    /// The same.
    pub async fn register_server(&mut self, server: &NewServer) -> Result<McpServer, StoreError> {
        self.begin().await?;
        let made = insert_server(&mut self.change, server, LifeCycle::Active).await;
        self.end(ChangeKind::ServerRegistered, server.id.as_str(), made).await
    }

    /// As [`Store::approve_tool`].
    ///
    /// # Errors
    /// The same.
    pub async fn approve_tool(
        &mut self,
        id: &ServerId,
        name: &str,
        confirmed: &Confirmed,
    ) -> Result<Tool, StoreError> {
        self.begin().await?;
        let made = write_approval(&mut self.change, id, name, confirmed).await;
        self.end(ChangeKind::ToolApproved, id.as_str(), made).await
    }

    /// As [`Store::create_grant`].
    ///
    /// # Errors
    /// The same.
    pub async fn create_grant(&mut self, grant: &Grant) -> Result<Grant, StoreError> {
        self.begin().await?;
        let made = insert_grant(&mut self.change, grant).await;
        self.end(ChangeKind::GrantCreated, grant.id.as_str(), made).await
    }

    /// As [`Store::revoke_grant`].
    ///
    /// # Errors
    /// The same.
    pub async fn revoke_grant(&mut self, id: &GrantId) -> Result<Grant, StoreError> {
        self.begin().await?;
        let made = write_revocation(&mut self.change, id).await;
        self.end(ChangeKind::GrantRevoked, id.as_str(), made).await
    }

    /// As [`Store::apply_policy`].
    ///
    /// # Errors
    /// The same.
    pub async fn apply_policy(
        &mut self,
        text: &str,
        reason: &str,
    ) -> Result<PolicySource, StoreError> {
        self.begin().await?;
        let made = insert_policy(&mut self.change, text, reason).await;
        let version = made.as_ref().map(|made| made.version.to_string()).unwrap_or_default();
        self.end(ChangeKind::PolicyApplied, &version, made).await
    }

    /// Puts operations of an API, all at once, in the place of those that were looked at.
    ///
    /// # Errors
    /// No such resource, or its operations are others.
    pub async fn set_operations(
        &mut self,
        id: &ResourceId,
        change: (&[ResourceOperation], &[ResourceOperation]),
    ) -> Result<Resource, StoreError> {
        self.begin().await?;
        let made = write_operations(&mut self.change, id, change).await;
        self.end(ChangeKind::ResourceOperations, id.as_str(), made).await
    }

    /// Makes all of it durable at once.
    ///
    /// # Errors
    /// The database fails; then nothing of it happened.
    pub async fn commit(self) -> Result<(), Failure> {
        self.change.commit().await
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        self.run("SAVEPOINT item").await?;
        self.change.count_up().await
    }

    async fn end<T>(
        &mut self,
        kind: ChangeKind,
        subject: &str,
        made: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if made.is_ok() {
            self.change.note(kind, subject).await?;
        } else {
            // Its number is given to the next one: numbers have no gaps.
            self.run("ROLLBACK TO SAVEPOINT item").await?;
        }
        self.run("RELEASE SAVEPOINT item").await?;
        made
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), Failure> {
        sqlx::query(statement).execute(self.change.connection()).await?;
        Ok(())
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{Class, HttpMethod, OperationId, OwnerId, PathTemplate};

    use super::*;
    use crate::Refusal;
    use crate::fixtures::{World, act, id, name};

    fn new_owner(seed: u8, text: &str) -> NewOwner {
        NewOwner { id: OwnerId::from_random(&id(seed)), name: name(text), email: None }
    }

    #[tokio::test]
    async fn all_of_it_or_nothing() {
        let world = World::new().await;
        let store = &world.store;
        let before = store.version().await.unwrap();
        let mut dropped = store.begin_batch(act(1)).await.unwrap();
        dropped.create_owner(&new_owner(70, "bob")).await.unwrap();
        dropped.create_grant(&world.new_grant()).await.unwrap();
        drop(dropped);
        assert_eq!(store.version().await.unwrap(), before);
        assert_eq!(store.owners().await.unwrap().len(), 1);
        assert!(store.grants().await.unwrap().is_empty());
        let mut kept = store.begin_batch(act(2)).await.unwrap();
        kept.create_owner(&new_owner(70, "bob")).await.unwrap();
        kept.create_grant(&world.new_grant()).await.unwrap();
        kept.commit().await.unwrap();
        assert_eq!(store.owners().await.unwrap().len(), 2);
        let rows = store.changes_after(before, 10).await.unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.version, row.kind.as_str())).collect();
        assert_eq!(seen, [(before + 1, "owner.created"), (before + 2, "grant.created")]);
    }

    #[tokio::test]
    async fn what_is_refused_takes_nothing_else_with_it() {
        let world = World::new().await;
        let store = &world.store;
        let before = store.version().await.unwrap();
        let mut batch = store.begin_batch(act(1)).await.unwrap();
        let taken = batch.create_owner(&new_owner(70, "ann")).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::NameTaken))));
        // Under an owner of this very batch.
        batch.create_owner(&new_owner(71, "bob")).await.unwrap();
        let agent = AgentId::from_random(&id(72));
        let owner = OwnerId::from_random(&id(71));
        let new = NewAgent { id: agent, name: name("erp"), owner, ..world.new_agent() };
        batch.register_agent(&new).await.unwrap();
        batch.commit().await.unwrap();
        let versions: Vec<_> =
            store.changes_after(before, 10).await.unwrap().iter().map(|row| row.version).collect();
        assert_eq!(versions, [before + 1, before + 2]);
        assert_eq!(store.agents().await.unwrap().len(), 2);
    }
    #[tokio::test]
    async fn operations_take_the_place_of_those_that_were_looked_at() {
        let world = World::new().await;
        let (store, new) = (&world.store, world.new_resource());
        store.register_resource(&act(1), &new).await.unwrap();
        let operation = |id: &str| ResourceOperation {
            id: OperationId::parse(id).unwrap(),
            class: Class::Read,
            method: HttpMethod::Get,
            path: PathTemplate::parse(&format!("/{id}")).unwrap(),
        };
        let both = [operation("a"), operation("b")];
        let before = store.version().await.unwrap();
        let mut batch = store.begin_batch(act(2)).await.unwrap();
        let record = batch.set_operations(&new.id, (&[], &both)).await.unwrap();
        assert_eq!(record.operations, both);
        batch.commit().await.unwrap();
        let snapshot = store.load_snapshot(1000).await.unwrap();
        assert_eq!(snapshot.resource(&new.id), Some(&record));
        assert_eq!(store.version().await.unwrap(), before + 1);
        let mut batch = store.begin_batch(act(3)).await.unwrap();
        for seen in [&[][..], &both[..1]] {
            let stale = batch.set_operations(&new.id, (seen, &[])).await;
            assert!(matches!(stale, Err(StoreError::Refused(Refusal::OperationsChanged))));
        }
        assert!(batch.set_operations(&new.id, (&both, &[])).await.is_ok());
    }
}
