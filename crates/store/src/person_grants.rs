//! Grants to persons and groups.

use attorn_registry::{GrantId, PersonGrant, PersonOrGroup, ScopePattern};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::persons::person_by_id;
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("person_grants");

impl Store {
    /// Records a grant to a person or a group. When is that of the act.
    ///
    /// # Errors
    /// No such person or server, or the grant breaks a rule of its own.
    pub async fn create_person_grant(
        &self,
        act: &Act<'_>,
        grant: &PersonGrant,
    ) -> Result<Changed<PersonGrant>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        grant.verify(act.now_s).map_err(Refusal::Person)?;
        match &grant.to {
            PersonOrGroup::Person { person } => {
                person_by_id(change.connection(), person).await?;
            }
            // A group is a name: whoever gets it later has the grant then.
            PersonOrGroup::Group { .. } => {}
        }
        server_by_id(change.connection(), &grant.server).await?;
        let record = PersonGrant { created_s: act.now_s, revoked_s: None, ..grant.clone() };
        sqlx::query(
            "INSERT INTO person_grants (id, given_to, server, patterns, created_s, expires_s)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(record.id.as_str())
        .bind(COLUMNS.to_json(&record.to)?)
        .bind(record.server.as_str())
        .bind(COLUMNS.to_json(&record.scopes)?)
        .bind(COLUMNS.number(record.created_s)?)
        .bind(COLUMNS.maybe_number(record.expires_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        change.finish(ChangeKind::PersonGrantCreated, grant.id.as_str(), record).await
    }

    /// Takes a grant to a person or a group back.
    ///
    /// # Errors
    /// No such grant, or it was taken back already.
    pub async fn revoke_person_grant(
        &self,
        act: &Act<'_>,
        id: &GrantId,
    ) -> Result<Changed<PersonGrant>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let grant = person_grant_by_id(change.connection(), id).await?;
        if grant.revoked_s.is_some() {
            return Err(Refusal::GrantRevoked.into());
        }
        sqlx::query("UPDATE person_grants SET revoked_s = $1 WHERE id = $2")
            .bind(COLUMNS.number(act.now_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = PersonGrant { revoked_s: Some(act.now_s), ..grant };
        change.finish(ChangeKind::PersonGrantRevoked, id.as_str(), record).await
    }

    /// One grant to a person or a group.
    ///
    /// # Errors
    /// No such grant.
    pub async fn person_grant(&self, id: &GrantId) -> Result<PersonGrant, StoreError> {
        let mut connection = self.pool.acquire().await?;
        person_grant_by_id(&mut connection, id).await
    }

    /// Every grant to a person or a group, past ones included, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn person_grants(&self) -> Result<Vec<PersonGrant>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, given_to, server, patterns, created_s, expires_s, revoked_s
             FROM person_grants ORDER BY created_s, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }
}

pub(crate) async fn person_grant_by_id(
    connection: &mut AnyConnection,
    id: &GrantId,
) -> Result<PersonGrant, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, given_to, server, patterns, created_s, expires_s, revoked_s
         FROM person_grants WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::GrantUnknown)?.read()?)
}

/// The grants that still count at `now_s`.
pub(crate) async fn counting_person_grants(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<PersonGrant>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, given_to, server, patterns, created_s, expires_s, revoked_s
         FROM person_grants
         WHERE revoked_s IS NULL AND (expires_s IS NULL OR expires_s > $1)
         ORDER BY created_s, id",
    )
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    given_to: String,
    server: String,
    patterns: String,
    created_s: i64,
    expires_s: Option<i64>,
    revoked_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<PersonGrant, Failure> {
        let scopes: Vec<ScopePattern> = COLUMNS.json(&self.patterns)?;
        Ok(PersonGrant {
            id: COLUMNS.parse(&self.id)?,
            to: COLUMNS.json(&self.given_to)?,
            server: COLUMNS.parse(&self.server)?,
            scopes,
            created_s: COLUMNS.count(self.created_s)?,
            expires_s: COLUMNS.maybe_count(self.expires_s)?,
            revoked_s: COLUMNS.maybe_count(self.revoked_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::PersonId;

    use super::*;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn a_grant_is_kept_and_taken_back() {
        let world = World::new().await;
        let store = &world.store;
        let person = world.active_person().await;
        let grant = world.new_person_grant(&person);
        let kept = store.create_person_grant(&act(5), &grant).await.unwrap().record;
        assert_eq!(kept, PersonGrant { created_s: 5, ..grant.clone() });
        let revoked = store.revoke_person_grant(&act(6), &grant.id).await.unwrap().record;
        assert_eq!(revoked.revoked_s, Some(6));
        assert_eq!(store.person_grant(&grant.id).await.unwrap(), revoked);
        let again = store.revoke_person_grant(&act(7), &grant.id).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::GrantRevoked))));
        assert_eq!(store.person_grants().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_group_needs_nobody_in_it_and_a_person_has_to_exist() {
        let world = World::new().await;
        let store = &world.store;
        let nobody = world.new_person_grant(&PersonId::from_random(&id(99)));
        let refused = store.create_person_grant(&act(5), &nobody).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonUnknown))));
        let to = PersonOrGroup::Group { group: name("sales") };
        assert!(store.create_person_grant(&act(5), &PersonGrant { to, ..nobody }).await.is_ok());
        let empty = PersonGrant { scopes: Vec::new(), ..world.new_person_grant(&world.person()) };
        assert!(store.create_person_grant(&act(5), &empty).await.is_err());
    }
}
