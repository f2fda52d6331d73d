//! Authorization codes: kept as SHA-256, for a minute, used once.
//!
//! Taking a code uses it up in the statement that finds it, whatever becomes of the request: who has
//! the code and not the rest of it does not get a second attempt. A code that was used is remembered
//! as long as what it gave can live, so that a second use is known for what it is.

use attorn_registry::Jkt;

use crate::Store;
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::families::{Family, insert_family};

const COLUMNS: Columns = Columns("authorization_codes");

/// How long a code can be used, in seconds: RFC 6749 section 4.1.2 asks for ten minutes at most.
pub const CODE_LIFETIME_S: u64 = 60;

/// A code, with everything it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What it gives.
    pub family: Family,
    /// Where it was sent.
    pub redirect_uri: String,
    /// RFC 7636 section 4.4.
    pub code_challenge: String,
    /// RFC 9449 section 10.
    pub dpop_jkt: Option<Jkt>,
}

/// What became of an attempt to use a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenCode {
    /// It was used before; its family has this name.
    Replayed(String),
    /// It is used up by this.
    Taken(Box<Code>),
    /// No such code, or past its end.
    Unknown,
}

row! {
    id: String,
    agent: String,
    person: String,
    server: String,
    client_id: String,
    scope: String,
    login_s: i64,
    created_s: i64,
    family_expires_s: i64,
    redirect_uri: String,
    code_challenge: String,
    dpop_jkt: Option<String>,
}

impl Row {
    fn read(self) -> Result<Code, Failure> {
        let family = Family {
            id: self.id,
            agent: COLUMNS.parse(&self.agent)?,
            person: COLUMNS.parse(&self.person)?,
            server: COLUMNS.parse(&self.server)?,
            client_id: self.client_id,
            scope: COLUMNS.parse(&self.scope)?,
            login_s: COLUMNS.count(self.login_s)?,
            created_s: COLUMNS.count(self.created_s)?,
            jkt: None,
            expires_s: COLUMNS.count(self.family_expires_s)?,
        };
        Ok(Code {
            family,
            redirect_uri: self.redirect_uri,
            code_challenge: self.code_challenge,
            dpop_jkt: COLUMNS.maybe_parse(self.dpop_jkt.as_deref())?,
        })
    }
}

impl Store {
    /// Keeps a new code and the family it will give.
    ///
    /// # Errors
    /// The database fails, or the name of the family is in use.
    pub async fn create_code(
        &self,
        code_hash: &[u8; 32],
        code: &Code,
        now_s: u64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await.map_err(Failure::from)?;
        insert_family(&mut transaction, &code.family, now_s).await?;
        sqlx::query(
            "INSERT INTO authorization_codes
             (code_hash, family, redirect_uri, code_challenge, dpop_jkt, expires_s)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(attorn_jose::base64url(code_hash))
        .bind(&code.family.id)
        .bind(&code.redirect_uri)
        .bind(&code.code_challenge)
        .bind(code.dpop_jkt.map(|jkt| jkt.to_string()))
        .bind(COLUMNS.number(now_s.saturating_add(CODE_LIFETIME_S))?)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        transaction.commit().await?;
        Ok(())
    }

    /// Uses a code.
    ///
    /// # Errors
    /// The database fails.
    pub async fn take_code(&self, code_hash: &[u8; 32], now_s: u64) -> Result<TakenCode, Failure> {
        let (hash, now_s) = (attorn_jose::base64url(code_hash), COLUMNS.number(now_s)?);
        // Anybody can make a code up: that must not cost a turn among those who write.
        let known: Option<(String,)> =
            sqlx::query_as("SELECT family FROM authorization_codes WHERE code_hash = $1")
                .bind(&hash)
                .fetch_optional(&self.pool)
                .await?;
        if known.is_none() {
            return Ok(TakenCode::Unknown);
        }
        let mut transaction = self.begin_write().await?;
        // One statement judges and uses it, so two cannot both win.
        let taken = sqlx::query(
            "UPDATE authorization_codes SET used_s = $1
             WHERE code_hash = $2 AND used_s IS NULL AND expires_s > $3",
        )
        .bind(now_s)
        .bind(&hash)
        .bind(now_s)
        .execute(&mut *transaction)
        .await?;
        if taken.rows_affected() != 1 {
            // A family that has ended has nothing left to be ended: then it is a code like any other.
            let used: Option<(String,)> = sqlx::query_as(
                "SELECT family FROM authorization_codes
                 WHERE code_hash = $1 AND used_s IS NOT NULL
                   AND family IN (SELECT id FROM token_families WHERE ended_s IS NULL)",
            )
            .bind(&hash)
            .fetch_optional(&mut *transaction)
            .await?;
            return Ok(used.map_or(TakenCode::Unknown, |(family,)| TakenCode::Replayed(family)));
        }
        let row: Row = sqlx::query_as(
            "SELECT f.id, f.agent, f.person, f.server, f.client_id, f.scope, f.login_s, f.created_s,
                    f.expires_s AS family_expires_s, c.redirect_uri, c.code_challenge, c.dpop_jkt
             FROM authorization_codes c JOIN token_families f ON f.id = c.family
             WHERE c.code_hash = $1",
        )
        .bind(&hash)
        .fetch_one(&mut *transaction)
        .await?;
        // Dies before this line: the code is unused. After it: used up, and nothing was given.
        transaction.commit().await?;
        Ok(TakenCode::Taken(Box::new(row.read()?)))
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{PersonId, ScopeSet};

    use super::*;
    use crate::families::Given;
    use crate::fixtures::{World, act};

    const HASH: [u8; 32] = [7; 32];

    fn code(world: &World, id: &str) -> Code {
        let family = Family {
            id: id.to_owned(),
            agent: world.agent.clone(),
            person: PersonId::from_random(&[9; 16]),
            server: world.server.clone(),
            client_id: "https://client.example/app".to_owned(),
            scope: ScopeSet::parse("read:a write:b").unwrap(),
            login_s: 90,
            created_s: 100,
            jkt: None,
            expires_s: 10_000,
        };
        Code {
            family,
            redirect_uri: "https://client.example/cb".to_owned(),
            code_challenge: "c".to_owned(),
            dpop_jkt: None,
        }
    }

    async fn with_code() -> (World, Code) {
        let world = World::new().await;
        let code = code(&world, "f1");
        world.store.create_code(&HASH, &code, 100).await.unwrap();
        (world, code)
    }

    fn given(jti: &str, refresh: u8) -> Given<'_> {
        Given { jti, expires_s: 300, refresh: Some(([refresh; 32], 5_000)) }
    }

    #[tokio::test]
    async fn a_code_is_taken_once_and_its_second_use_is_known() {
        let (world, code) = with_code().await;
        let store = &world.store;
        assert_eq!(store.take_code(&[8; 32], 101).await.unwrap(), TakenCode::Unknown);
        let taken = store.take_code(&HASH, 101).await.unwrap();
        assert_eq!(taken, TakenCode::Taken(Box::new(code)));
        for _ in 0..2 {
            let again = store.take_code(&HASH, 102).await.unwrap();
            assert_eq!(again, TakenCode::Replayed("f1".to_owned()));
        }
    }

    /// Whoever makes codes up does not stand before those who write.
    #[tokio::test]
    async fn a_code_that_nobody_made_needs_no_turn() {
        let folder = std::env::temp_dir().join(format!("attorn-code-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::at(folder.join("turn.db").to_str().unwrap()).await;
        let held = world.store.begin_write().await.unwrap();
        assert_eq!(world.store.take_code(&[8; 32], 101).await.unwrap(), TakenCode::Unknown);
        drop(held);
        drop(world);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn of_many_uses_at_once_one_counts() {
        let folder = std::env::temp_dir().join(format!("attorn-codes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::at(folder.join("race.db").to_str().unwrap()).await;
        let store = &world.store;
        store.create_code(&HASH, &code(&world, "f1"), 100).await.unwrap();
        let take = || store.take_code(&HASH, 101);
        let taken = tokio::join!(take(), take(), take());
        let taken = [taken.0, taken.1, taken.2].map(Result::unwrap);
        let replayed = TakenCode::Replayed("f1".to_owned());
        assert_eq!(taken.iter().filter(|one| **one == replayed).count(), 2, "{taken:?}");
        assert!(taken.iter().any(|one| matches!(one, TakenCode::Taken(_))), "{taken:?}");
        let jkt = Some(crate::fixtures::key(1));
        assert!(store.open_family("f1", jkt, &given("a", 1), 101).await.unwrap());
        let next = [given("b", 2), given("c", 3), given("d", 4)];
        let rotated = tokio::join!(
            store.rotate_refresh_token(&[1; 32], &next[0], 102),
            store.rotate_refresh_token(&[1; 32], &next[1], 102),
            store.rotate_refresh_token(&[1; 32], &next[2], 102),
        );
        let rotated = [rotated.0, rotated.1, rotated.2].map(Result::unwrap);
        assert_eq!(rotated.iter().filter(|rotated| **rotated).count(), 1, "{rotated:?}");
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_code_ends_after_a_minute() {
        let (world, _) = with_code().await;
        assert_eq!(world.store.take_code(&HASH, 160).await.unwrap(), TakenCode::Unknown);
        assert!(matches!(world.store.take_code(&HASH, 159).await.unwrap(), TakenCode::Taken(_)));
    }

    #[tokio::test]
    async fn a_refresh_token_rotates_once() {
        let (world, _) = with_code().await;
        let store = &world.store;
        let jkt = Some(crate::fixtures::key(1));
        assert!(store.open_family("f1", jkt, &given("a", 1), 100).await.unwrap());
        let record = store.refresh_token(&[1; 32], 100).await.unwrap().unwrap();
        assert_eq!((record.is_used, record.family.jkt), (false, jkt));
        assert!(store.rotate_refresh_token(&[1; 32], &given("b", 2), 101).await.unwrap());
        assert!(!store.rotate_refresh_token(&[1; 32], &given("c", 3), 102).await.unwrap());
        assert!(store.refresh_token(&[1; 32], 102).await.unwrap().unwrap().is_used);
        assert_eq!(store.refresh_token(&[3; 32], 102).await.unwrap(), None);
        assert!(!store.refresh_token(&[2; 32], 102).await.unwrap().unwrap().is_used);
        // Not used for too long, or with its family past its end.
        assert_eq!(store.refresh_token(&[2; 32], 5_000).await.unwrap(), None);
        assert!(!store.rotate_refresh_token(&[2; 32], &given("d", 4), 5_000).await.unwrap());
    }

    #[tokio::test]
    async fn the_end_of_a_family_takes_everything_with_it() {
        let (world, _) = with_code().await;
        let store = &world.store;
        assert!(store.open_family("f1", None, &given("a", 1), 100).await.unwrap());
        assert!(store.rotate_refresh_token(&[1; 32], &given("b", 2), 101).await.unwrap());
        let version = store.version().await.unwrap();
        assert_eq!(store.end_family(&act(102), "f1").await.unwrap(), ["a", "b"]);
        assert_eq!(store.version().await.unwrap(), version + 2);
        let snapshot = store.load_snapshot(102_000).await.unwrap();
        assert!(snapshot.is_revoked("a") && snapshot.is_revoked("b"));
        assert_eq!(store.refresh_token(&[2; 32], 102).await.unwrap(), None);
        assert!(!store.rotate_refresh_token(&[2; 32], &given("c", 3), 102).await.unwrap());
        assert!(!store.open_family("f1", None, &given("d", 5), 102).await.unwrap());
        // Twice is no error, and no change.
        assert!(store.end_family(&act(103), "f1").await.unwrap().is_empty());
        assert_eq!(store.version().await.unwrap(), version + 2);
    }

    #[tokio::test]
    async fn what_has_ended_by_age_is_forgotten() {
        let (world, _) = with_code().await;
        let store = &world.store;
        assert!(store.open_family("f1", None, &given("a", 1), 100).await.unwrap());
        let next = Code {
            family: Family { expires_s: 20_000, ..code(&world, "f2").family },
            ..code(&world, "f2")
        };
        store.create_code(&[9; 32], &next, 10_000).await.unwrap();
        assert_eq!(store.take_code(&HASH, 10_000).await.unwrap(), TakenCode::Unknown);
        assert!(!store.open_family("f1", None, &given("b", 2), 10_000).await.unwrap());
    }
}
