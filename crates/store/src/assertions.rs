//! Assertions of other issuers that were used: RFC 7523 section 3, item 7.
//!
//! They are on the disk and not in memory: what was used once is known after a restart. Not implemented:
//! several authorities on one registry. One row is some 100 bytes and goes after its assertion has ended.

use attorn_registry::Jkt;

use crate::Store;
use crate::column::Columns;
use crate::failure::Failure;

const COLUMNS: Columns = Columns("used_assertions");

/// Who may use an assertion again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Nobody.
    Never,
    /// Whoever proves the key that it was used with first.
    SameKey(Jkt),
}

impl Store {
    /// Uses an assertion. Tells whether it may be used, by this and not by anybody before.
    ///
    /// # Errors
    /// The database fails; then nobody knows, and nothing may be given for it.
    pub async fn use_assertion(
        &self,
        digest: &[u8; 32],
        reuse: Reuse,
        expires_s: u64,
    ) -> Result<bool, Failure> {
        let (digest, expires_s) = (attorn_jose::base64url(digest), COLUMNS.number(expires_s)?);
        let holder = match reuse {
            Reuse::Never => None,
            Reuse::SameKey(jkt) => Some(jkt.to_string()),
        };
        // One statement judges and uses it, so two cannot both be first.
        let first = sqlx::query(
            "INSERT INTO used_assertions (digest, holder, expires_s) VALUES ($1, $2, $3)
             ON CONFLICT (digest) DO NOTHING",
        )
        .bind(&digest)
        .bind(&holder)
        .bind(expires_s)
        .execute(&self.pool)
        .await?;
        if first.rows_affected() == 1 {
            return Ok(true);
        }
        // A row without a holder equals none: what was used once for good stays so.
        let known: Option<(i64,)> = sqlx::query_as(
            "SELECT expires_s FROM used_assertions WHERE digest = $1 AND holder = $2",
        )
        .bind(&digest)
        .bind(&holder)
        .fetch_optional(&self.pool)
        .await?;
        Ok(known.is_some())
    }

    /// Forgets assertions that ended more than an hour ago: a clock that is set back by less does not
    /// bring them back.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_assertions(&self, now_s: u64) -> Result<(), Failure> {
        sqlx::query("DELETE FROM used_assertions WHERE expires_s < $1")
            .bind(COLUMNS.number(now_s.saturating_sub(KEPT_AFTER_S))?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

const KEPT_AFTER_S: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::World;

    fn key(byte: u8) -> Jkt {
        Jkt::from_bytes([byte; 32])
    }

    #[tokio::test]
    async fn an_assertion_is_used_once() {
        let world = World::new().await;
        let store = &world.store;
        let used = async |digest: u8, reuse| store.use_assertion(&[digest; 32], reuse, 100).await;
        assert!(used(1, Reuse::Never).await.unwrap());
        assert!(!used(1, Reuse::Never).await.unwrap());
        // Nor by a key, whatever the configuration says since.
        assert!(!used(1, Reuse::SameKey(key(1))).await.unwrap());
        assert!(used(2, Reuse::Never).await.unwrap());
    }

    #[tokio::test]
    async fn an_assertion_stays_with_its_first_key() {
        let world = World::new().await;
        let store = &world.store;
        let used = async |reuse| store.use_assertion(&[1; 32], reuse, 100).await.unwrap();
        assert!(used(Reuse::SameKey(key(1))).await);
        assert!(used(Reuse::SameKey(key(1))).await);
        assert!(!used(Reuse::SameKey(key(2))).await);
        assert!(!used(Reuse::Never).await);
        assert!(used(Reuse::SameKey(key(1))).await);
    }

    #[tokio::test]
    async fn of_two_at_once_one_is_first() {
        let world = World::new().await;
        let store = &world.store;
        let used = || store.use_assertion(&[1; 32], Reuse::Never, 100);
        let (one, two, three) = tokio::join!(used(), used(), used());
        let first = [one, two, three].into_iter().filter(|used| *used.as_ref().unwrap());
        assert_eq!(first.count(), 1);
    }

    #[tokio::test]
    async fn what_has_ended_is_forgotten_an_hour_later() {
        let world = World::new().await;
        let store = &world.store;
        let used = async || store.use_assertion(&[1; 32], Reuse::Never, 100).await.unwrap();
        assert!(used().await);
        store.forget_assertions(100 + KEPT_AFTER_S).await.unwrap();
        assert!(!used().await);
        store.forget_assertions(101 + KEPT_AFTER_S).await.unwrap();
        assert!(used().await);
    }
}
