//! Grants.

use attorn_registry::{AgentKind, Grant, GrantId, ScopePattern};
use sqlx::AnyConnection;

use crate::Store;
use crate::agents::agent_by_id;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("grants");

impl Store {
    /// Records a grant. Who gave it and when are those of the act.
    ///
    /// # Errors
    /// No such agent or server, or the grant breaks a rule of its own.
    pub async fn create_grant(
        &self,
        act: &Act<'_>,
        grant: &Grant,
    ) -> Result<Changed<Grant>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = insert_grant(&mut change, grant).await?;
        change.finish(ChangeKind::GrantCreated, grant.id.as_str(), record).await
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// No such grant, or it was taken back already.
    pub async fn revoke_grant(
        &self,
        act: &Act<'_>,
        id: &GrantId,
    ) -> Result<Changed<Grant>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = write_revocation(&mut change, id).await?;
        change.finish(ChangeKind::GrantRevoked, id.as_str(), record).await
    }

    /// Confirms a grant that waits for a second owner.
    ///
    /// # Errors
    /// No such grant, it waits for nobody, or it was taken back.
    pub async fn confirm_grant(
        &self,
        act: &Act<'_>,
        id: &GrantId,
    ) -> Result<Changed<Grant>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let grant = grant_by_id(change.connection(), id).await?;
        if grant.revoked_s.is_some() {
            return Err(Refusal::GrantRevoked.into());
        }
        if !grant.awaits_second || grant.confirmed_by.is_some() {
            return Err(Refusal::GrantConfirmed.into());
        }
        sqlx::query("UPDATE grants SET confirmed_by = $1 WHERE id = $2")
            .bind(act.by)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = Grant { confirmed_by: Some(act.by.to_owned()), ..grant };
        change.finish(ChangeKind::GrantConfirmed, id.as_str(), record).await
    }

    /// One grant.
    ///
    /// # Errors
    /// No such grant.
    pub async fn grant(&self, id: &GrantId) -> Result<Grant, StoreError> {
        let mut connection = self.pool.acquire().await?;
        grant_by_id(&mut connection, id).await
    }

    /// Every grant, past ones included, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn grants(&self) -> Result<Vec<Grant>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, agent, server, patterns, expires_s, revoked_s, given_by, reason, created_s,
             constraints, awaits_second, confirmed_by FROM grants ORDER BY created_s, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }
}

/// As [`Store::create_grant`], as a part of a change.
pub(crate) async fn insert_grant(
    change: &mut Change<'_>,
    grant: &Grant,
) -> Result<Grant, StoreError> {
    let act = change.act;
    grant.verify(act.now_s).map_err(Refusal::Grant)?;
    // A client of people has no right of its own: what it does is what somebody gave it.
    if agent_by_id(change.connection(), &grant.agent).await?.kind == AgentKind::Client {
        return Err(Refusal::ClientUnsuited.into());
    }
    server_by_id(change.connection(), &grant.server).await?;
    sqlx::query(
        "INSERT INTO grants
         (id, agent, server, patterns, expires_s, given_by, reason, created_s, constraints,
         awaits_second) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(grant.id.as_str())
    .bind(grant.agent.as_str())
    .bind(grant.server.as_str())
    .bind(COLUMNS.to_json(&grant.patterns)?)
    .bind(COLUMNS.maybe_number(grant.expires_s)?)
    .bind(act.by)
    .bind(&grant.reason)
    .bind(COLUMNS.number(act.now_s)?)
    .bind(COLUMNS.to_json(&grant.constraints)?)
    .bind(i64::from(grant.awaits_second))
    .execute(change.connection())
    .await
    .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
    grant_by_id(change.connection(), &grant.id).await
}

/// As [`Store::revoke_grant`], as a part of a change.
pub(crate) async fn write_revocation(
    change: &mut Change<'_>,
    id: &GrantId,
) -> Result<Grant, StoreError> {
    let now_s = change.act.now_s;
    let grant = grant_by_id(change.connection(), id).await?;
    if grant.revoked_s.is_some() {
        return Err(Refusal::GrantRevoked.into());
    }
    sqlx::query("UPDATE grants SET revoked_s = $1 WHERE id = $2")
        .bind(COLUMNS.number(now_s)?)
        .bind(id.as_str())
        .execute(change.connection())
        .await?;
    Ok(Grant { revoked_s: Some(now_s), ..grant })
}

pub(crate) async fn grant_by_id(
    connection: &mut AnyConnection,
    id: &GrantId,
) -> Result<Grant, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, agent, server, patterns, expires_s, revoked_s, given_by, reason, created_s,
         constraints, awaits_second, confirmed_by FROM grants WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::GrantUnknown)?.read()?)
}

/// The grants that still count at `now_s`.
pub(crate) async fn counting_grants(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<Grant>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, agent, server, patterns, expires_s, revoked_s, given_by, reason, created_s,
         constraints, awaits_second, confirmed_by FROM grants
         WHERE revoked_s IS NULL AND (expires_s IS NULL OR expires_s > $1)
         AND (awaits_second IS NULL OR awaits_second = 0 OR confirmed_by IS NOT NULL)
         ORDER BY created_s, id",
    )
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    agent: String,
    server: String,
    patterns: String,
    expires_s: Option<i64>,
    revoked_s: Option<i64>,
    given_by: String,
    reason: String,
    created_s: i64,
    constraints: Option<String>,
    awaits_second: Option<i64>,
    confirmed_by: Option<String>,
}

impl Row {
    fn read(self) -> Result<Grant, Failure> {
        // An empty list, `null` or anything else but a list of patterns never means everything.
        let patterns: Vec<ScopePattern> = COLUMNS.json(&self.patterns)?;
        Ok(Grant {
            id: COLUMNS.parse(&self.id)?,
            agent: COLUMNS.parse(&self.agent)?,
            server: COLUMNS.parse(&self.server)?,
            patterns,
            // Grants from before there were constraints have none.
            constraints: COLUMNS.maybe_json(self.constraints.as_deref())?.unwrap_or_default(),
            awaits_second: self.awaits_second.is_some_and(|awaits| awaits != 0),
            confirmed_by: self.confirmed_by,
            expires_s: COLUMNS.maybe_count(self.expires_s)?,
            revoked_s: COLUMNS.maybe_count(self.revoked_s)?,
            by: self.given_by,
            reason: self.reason,
            created_s: COLUMNS.count(self.created_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{AgentId, GrantRefusal};

    use super::*;
    use crate::fixtures::{World, act, id};

    #[tokio::test]
    async fn a_grant_is_kept_and_taken_back() {
        let world = World::new().await;
        let store = &world.store;
        let grant = Grant { expires_s: Some(50), ..world.new_grant() };
        let kept = store.create_grant(&act(5), &grant).await.unwrap().record;
        assert_eq!(kept, Grant { by: "own_test".into(), created_s: 5, ..grant.clone() });
        let revoked = store.revoke_grant(&act(6), &grant.id).await.unwrap().record;
        assert_eq!(revoked.revoked_s, Some(6));
        assert_eq!(store.grant(&grant.id).await.unwrap(), revoked);
        let again = store.revoke_grant(&act(7), &grant.id).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::GrantRevoked))));
        assert_eq!(store.grants().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn constraints_and_a_second_word_are_kept() {
        let world = World::new().await;
        let store = &world.store;
        let text = r#"[{"type":"mcp_tool_call","tool":"pay","arguments":{"maxProperties":1},"max_calls":3}]"#;
        let constraints = serde_json::from_str(text).unwrap();
        let grant = Grant { constraints, awaits_second: true, ..world.new_grant() };
        let kept = store.create_grant(&act(5), &grant).await.unwrap().record;
        assert_eq!((&kept.constraints, kept.counts(6)), (&grant.constraints, false));
        let confirmed = store.confirm_grant(&act(6), &grant.id).await.unwrap().record;
        assert_eq!(confirmed.confirmed_by.as_deref(), Some("own_test"));
        assert!(store.grant(&grant.id).await.unwrap().counts(6));
        let again = store.confirm_grant(&act(7), &grant.id).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::GrantConfirmed))));
    }

    #[tokio::test]
    async fn a_grant_that_makes_no_sense_is_refused() {
        let world = World::new().await;
        let store = &world.store;
        let ended = Grant { expires_s: Some(5), ..world.new_grant() };
        let refused = store.create_grant(&act(5), &ended).await;
        let expected = Refusal::Grant(GrantRefusal::Expired);
        assert!(matches!(refused, Err(StoreError::Refused(refusal)) if refusal == expected));
        let empty = Grant { patterns: Vec::new(), ..world.new_grant() };
        assert!(store.create_grant(&act(5), &empty).await.is_err());
        let nobody = Grant { agent: AgentId::from_random(&id(90)), ..world.new_grant() };
        let refused = store.create_grant(&act(5), &nobody).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::AgentUnknown))));
        assert!(store.grants().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_record_without_a_list_cannot_be_read() {
        let world = World::new().await;
        let store = &world.store;
        store.create_grant(&act(5), &world.new_grant()).await.unwrap();
        for text in ["null", "", "{}", "[null]", "[\"*\"]"] {
            sqlx::query("UPDATE grants SET patterns = $1")
                .bind(text)
                .execute(&store.pool)
                .await
                .unwrap();
            assert!(store.grants().await.is_err(), "{text:?}");
        }
    }
}
