//! The public keys of the token issuer. Private keys are never here.

use attorn_registry::{IssuerKey, KeyState};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("issuer_keys");

impl Store {
    /// Adds a key of the issuer.
    ///
    /// # Errors
    /// The `kid` is in use.
    pub async fn add_issuer_key(
        &self,
        act: &Act<'_>,
        key: &IssuerKey,
    ) -> Result<Changed<IssuerKey>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        sqlx::query("INSERT INTO issuer_keys (kid, jwk, state, created_s) VALUES ($1, $2, $3, $4)")
            .bind(&key.kid)
            .bind(&key.jwk)
            .bind(key.state.as_str())
            .bind(COLUMNS.number(act.now_s)?)
            .execute(change.connection())
            .await
            .map_err(|error| StoreError::unique(error, Refusal::KeyTaken))?;
        change.finish(ChangeKind::IssuerKeyAdded, &key.kid, key.clone()).await
    }

    /// Changes the states of keys, all in one change: a rotation has no moment without a key.
    ///
    /// # Errors
    /// One of the keys is unknown; then none is changed.
    pub async fn set_issuer_key_states(
        &self,
        act: &Act<'_>,
        states: &[(&str, KeyState)],
    ) -> Result<Changed<Vec<IssuerKey>>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        for (kid, state) in states {
            let known = sqlx::query("UPDATE issuer_keys SET state = $1 WHERE kid = $2")
                .bind(state.as_str())
                .bind(*kid)
                .execute(change.connection())
                .await?;
            if known.rows_affected() == 0 {
                return Err(Refusal::KeyUnknown.into());
            }
        }
        let record = all_issuer_keys(change.connection()).await?;
        let subject = states.iter().map(|(kid, _)| *kid).collect::<Vec<_>>().join(" ");
        change.finish(ChangeKind::IssuerKeyState, &subject, record).await
    }

    /// Every key of the issuer, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_issuer_keys(&mut connection).await
    }
}

pub(crate) async fn all_issuer_keys(
    connection: &mut AnyConnection,
) -> Result<Vec<IssuerKey>, Failure> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT kid, jwk, state FROM issuer_keys ORDER BY created_s, kid")
            .fetch_all(connection)
            .await?;
    let key = |(kid, jwk, state): (String, String, String)| {
        Ok(IssuerKey { kid, jwk, state: COLUMNS.key_state(&state)? })
    };
    rows.into_iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act};

    fn key(kid: &str, state: KeyState) -> IssuerKey {
        IssuerKey { kid: kid.into(), jwk: "{}".into(), state }
    }

    #[tokio::test]
    async fn a_rotation_is_one_change() {
        let world = World::new().await;
        let store = &world.store;
        store.add_issuer_key(&act(1), &key("a", KeyState::Active)).await.unwrap();
        store.add_issuer_key(&act(2), &key("b", KeyState::Prepublished)).await.unwrap();
        let states = [("a", KeyState::Retired), ("b", KeyState::Active)];
        let record = store.set_issuer_key_states(&act(3), &states).await.unwrap().record;
        assert_eq!(record, [key("a", KeyState::Retired), key("b", KeyState::Active)]);
        let half = [("a", KeyState::Removed), ("c", KeyState::Active)];
        let refused = store.set_issuer_key_states(&act(4), &half).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::KeyUnknown))));
        assert_eq!(store.issuer_keys().await.unwrap(), record);
    }

    #[tokio::test]
    async fn a_kid_is_used_once() {
        let world = World::new().await;
        world.store.add_issuer_key(&act(1), &key("a", KeyState::Active)).await.unwrap();
        let twin = world.store.add_issuer_key(&act(2), &key("a", KeyState::Active)).await;
        assert!(matches!(twin, Err(StoreError::Refused(Refusal::KeyTaken))));
    }
}
