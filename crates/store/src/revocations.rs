//! Tokens that stop to count before their end: one by one, or all of an epoch.

use attorn_registry::RevokedToken;
use sqlx::AnyConnection;

use crate::Store;
use crate::approvals::end_approvals;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, StoreError};
use crate::family_ends::end_everything;

const COLUMNS: Columns = Columns("revoked_tokens");

/// How far a registry got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The number of its last change.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
}

impl InForce {
    /// Whether this is less than what was in force elsewhere, in version or in epoch.
    #[must_use]
    pub const fn is_behind(self, other: Self) -> bool {
        self.version < other.version || self.epoch < other.epoch
    }
}

impl Store {
    /// Revokes a token until its end, and forgets tokens that have ended. Revoking twice is not an
    /// error (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// The database fails.
    pub async fn revoke_token(
        &self,
        act: &Act<'_>,
        jti: &str,
        expires_s: u64,
    ) -> Result<Changed<String>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        sqlx::query("DELETE FROM revoked_tokens WHERE expires_s <= $1")
            .bind(COLUMNS.number(act.now_s)?)
            .execute(change.connection())
            .await?;
        sqlx::query(
            "INSERT INTO revoked_tokens (jti, expires_s) VALUES ($1, $2)
             ON CONFLICT (jti) DO NOTHING",
        )
        .bind(jti)
        .bind(COLUMNS.number(expires_s)?)
        .execute(change.connection())
        .await?;
        change.finish(ChangeKind::TokenRevoked, jti, jti.to_owned()).await
    }

    /// Ends every token issued so far. The epoch never goes back, and neither version nor epoch
    /// stays at or below what was in force before, as another gateway or an earlier run knows it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn raise_epoch(
        &self,
        act: &Act<'_>,
        before: InForce,
    ) -> Result<Changed<u64>, StoreError> {
        let mut change = Change::begin_beyond(self, *act, before.version).await?;
        let (epoch,): (i64,) = sqlx::query_as(
            "UPDATE registry SET epoch = CASE WHEN epoch > $1 THEN epoch ELSE $1 END + 1
             WHERE id = 1 RETURNING epoch",
        )
        .bind(COLUMNS.number(before.epoch)?)
        .fetch_one(change.connection())
        .await?;
        end_approvals(change.connection()).await?;
        end_everything(change.connection(), act.now_s).await?;
        let record = COLUMNS.count(epoch)?;
        change.finish(ChangeKind::EpochRaised, &epoch.to_string(), record).await
    }
}

/// The tokens that are revoked and have not ended at `now_s`.
pub(crate) async fn revoked_tokens(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<RevokedToken>, Failure> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT jti, expires_s FROM revoked_tokens WHERE expires_s > $1 ORDER BY jti",
    )
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(connection)
    .await?;
    let token = |(jti, expires_s)| Ok(RevokedToken { jti, expires_s: COLUMNS.count(expires_s)? });
    rows.into_iter().map(token).collect()
}

/// The end of a revoked token; `None` once it is forgotten.
pub(crate) async fn revoked_token(
    connection: &mut AnyConnection,
    jti: &str,
) -> Result<Option<u64>, Failure> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT expires_s FROM revoked_tokens WHERE jti = $1")
        .bind(jti)
        .fetch_optional(connection)
        .await?;
    COLUMNS.maybe_count(row.map(|(expires_s,)| expires_s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act};

    async fn revoked(world: &World, now_s: u64) -> Vec<String> {
        let mut connection = world.store.pool.acquire().await.unwrap();
        let tokens = revoked_tokens(&mut connection, now_s).await.unwrap();
        tokens.into_iter().map(|token| token.jti).collect()
    }

    #[tokio::test]
    async fn a_revoked_token_is_kept_until_its_end() {
        let world = World::new().await;
        world.store.revoke_token(&act(1), "a", 50).await.unwrap();
        world.store.revoke_token(&act(2), "a", 50).await.unwrap();
        assert_eq!(revoked(&world, 49).await, ["a"]);
        assert!(revoked(&world, 50).await.is_empty());
        world.store.revoke_token(&act(60), "b", 70).await.unwrap();
        assert_eq!(revoked(&world, 0).await, ["b"]);
    }

    #[tokio::test]
    async fn the_epoch_counts_up() {
        let world = World::new().await;
        assert_eq!(world.store.raise_epoch(&act(1), InForce::default()).await.unwrap().record, 1);
        assert_eq!(world.store.raise_epoch(&act(2), InForce::default()).await.unwrap().record, 2);
    }
}
