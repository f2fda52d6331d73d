//! The sessions of people in a browser, by the SHA-256 of what the browser holds.
//!
//! A session is no change of the registry: it counts no version up and reaches no gateway.

use attorn_registry::{LifeCycle, PasskeyId, PersonId};
use sqlx::AnyConnection;

use crate::Store;
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("sessions");

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of its identifier.
    pub digest: [u8; 32],
    /// Whose it is.
    pub person: PersonId,
    /// When they signed in, in Unix seconds.
    pub opened_s: u64,
    /// When it was used last.
    pub seen_s: u64,
    /// When it was ended, if it was.
    pub ended_s: Option<u64>,
}

/// When a session ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// This long after it was used last, in seconds.
    pub idle_s: u64,
    /// This long after it was opened, in seconds.
    pub absolute_s: u64,
}

impl Session {
    /// Whether it still lets in. One from a clock that was ahead does not.
    #[must_use]
    pub fn lives(&self, limits: SessionLimits, now_s: u64) -> bool {
        let within = |from_s: u64, max_s| now_s.checked_sub(from_s).is_some_and(|age| age < max_s);
        self.ended_s.is_none()
            && within(self.opened_s, limits.absolute_s)
            && within(self.seen_s, limits.idle_s)
    }
}

/// What somebody signed in by.
#[derive(Clone, Copy)]
pub enum SignedInBy<'a> {
    /// The password with this hash.
    Password(&'a str),
    /// This passkey.
    Passkey(&'a PasskeyId),
    /// An identity provider, whose word is not kept here.
    Provider,
}

impl std::fmt::Debug for SignedInBy<'_> {
    /// Without the hash: it must not get into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Passkey(_) => "Passkey",
            Self::Provider => "Provider",
        })
    }
}

impl SignedInBy<'_> {
    /// A session is inserted only while what it was opened by is there: it may have been taken away since
    /// it was looked at.
    const fn insert(&self) -> &'static str {
        match self {
            Self::Password(_) => {
                "INSERT INTO sessions (id_hash, person, opened_s, seen_s)
                 SELECT $1, id, $2, $2 FROM persons WHERE id = $3 AND state = $4 AND EXISTS
                 (SELECT 1 FROM person_passwords WHERE person = persons.id AND phc = $5)"
            }
            Self::Passkey(_) => {
                "INSERT INTO sessions (id_hash, person, opened_s, seen_s)
                 SELECT $1, id, $2, $2 FROM persons WHERE id = $3 AND state = $4 AND EXISTS
                 (SELECT 1 FROM passkeys WHERE person = persons.id AND id = $5)"
            }
            Self::Provider => {
                "INSERT INTO sessions (id_hash, person, opened_s, seen_s)
                 SELECT $1, id, $2, $2 FROM persons WHERE id = $3 AND state = $4"
            }
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Password(phc) => Some(phc),
            Self::Passkey(id) => Some(id.as_str()),
            Self::Provider => None,
        }
    }
}

impl Store {
    /// Opens a session of an active person.
    ///
    /// # Errors
    /// The person is not active, what they signed in by was taken away meanwhile, or the identifier is in
    /// use.
    pub async fn open_session(
        &self,
        person: &PersonId,
        digest: &[u8; 32],
        by: SignedInBy<'_>,
        now_s: u64,
    ) -> Result<Session, StoreError> {
        // Nobody is suspended between the look and the session.
        let mut transaction = self.begin_write().await?;
        let mut insert = sqlx::query(by.insert())
            .bind(attorn_jose::base64url(digest))
            .bind(COLUMNS.number(now_s)?)
            .bind(person.as_str())
            .bind(LifeCycle::Active.as_str());
        if let Some(name) = by.name() {
            insert = insert.bind(name);
        }
        let opened = insert
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        if opened.rows_affected() == 0 {
            return Err(Refusal::PersonInactive.into());
        }
        transaction.commit().await?;
        let (digest, person) = (*digest, person.clone());
        Ok(Session { digest, person, opened_s: now_s, seen_s: now_s, ended_s: None })
    }

    /// The session of this identifier, if it lives and its person is active.
    ///
    /// # Errors
    /// The database fails.
    pub async fn session(
        &self,
        digest: &[u8; 32],
        limits: SessionLimits,
        now_s: u64,
    ) -> Result<Option<Session>, Failure> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT sessions.id_hash, sessions.person, opened_s, seen_s, ended_s
             FROM sessions JOIN persons ON persons.id = sessions.person
             WHERE id_hash = $1 AND persons.state = $2",
        )
        .bind(attorn_jose::base64url(digest))
        .bind(LifeCycle::Active.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let session = row.map(Row::read).transpose()?;
        Ok(session.filter(|session| session.lives(limits, now_s)))
    }

    /// Notes that a session is used now. One that was ended stays ended.
    ///
    /// # Errors
    /// The database fails.
    pub async fn touch_session(&self, digest: &[u8; 32], now_s: u64) -> Result<(), Failure> {
        sqlx::query(
            "UPDATE sessions SET seen_s = $1
             WHERE id_hash = $2 AND ended_s IS NULL AND seen_s < $1",
        )
        .bind(COLUMNS.number(now_s)?)
        .bind(attorn_jose::base64url(digest))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends a session. Tells whether there was one to end.
    ///
    /// # Errors
    /// The database fails.
    pub async fn end_session(&self, digest: &[u8; 32], now_s: u64) -> Result<bool, Failure> {
        let ended =
            sqlx::query("UPDATE sessions SET ended_s = $1 WHERE id_hash = $2 AND ended_s IS NULL")
                .bind(COLUMNS.number(now_s)?)
                .bind(attorn_jose::base64url(digest))
                .execute(&self.pool)
                .await?;
        Ok(ended.rows_affected() > 0)
    }

    /// Ends every session of a person. Tells how many there were to end.
    ///
    /// # Errors
    /// The database fails.
    pub async fn end_sessions_of(&self, person: &PersonId, now_s: u64) -> Result<u64, Failure> {
        let mut transaction = self.begin_write().await?;
        let ended = end_all(&mut transaction, person, now_s).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// The sessions of a person that live, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sessions_of(
        &self,
        person: &PersonId,
        limits: SessionLimits,
        now_s: u64,
    ) -> Result<Vec<Session>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id_hash, person, opened_s, seen_s, ended_s FROM sessions
             WHERE person = $1 AND ended_s IS NULL ORDER BY opened_s DESC, id_hash",
        )
        .bind(person.as_str())
        .fetch_all(&self.pool)
        .await?;
        let sessions = rows.into_iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        Ok(sessions.into_iter().filter(|session| session.lives(limits, now_s)).collect())
    }

    /// Forgets the sessions that were opened before `before_s`: they have ended whatever they did.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_sessions(&self, before_s: u64) -> Result<(), Failure> {
        let mut transaction = self.begin_write().await?;
        sqlx::query("DELETE FROM sessions WHERE opened_s < $1")
            .bind(COLUMNS.number(before_s)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Ends every session of a person.
pub(crate) async fn end_all(
    connection: &mut AnyConnection,
    person: &PersonId,
    now_s: u64,
) -> Result<u64, Failure> {
    let ended =
        sqlx::query("UPDATE sessions SET ended_s = $1 WHERE person = $2 AND ended_s IS NULL")
            .bind(COLUMNS.number(now_s)?)
            .bind(person.as_str())
            .execute(connection)
            .await?;
    Ok(ended.rows_affected())
}

row! {
    id_hash: String,
    person: String,
    opened_s: i64,
    seen_s: i64,
    ended_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Session, Failure> {
        Ok(Session {
            digest: COLUMNS.digest(&self.id_hash)?,
            person: COLUMNS.parse(&self.person)?,
            opened_s: COLUMNS.count(self.opened_s)?,
            seen_s: COLUMNS.count(self.seen_s)?,
            ended_s: COLUMNS.maybe_count(self.ended_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act};

    const LIMITS: SessionLimits = SessionLimits { idle_s: 100, absolute_s: 1000 };

    async fn opened() -> (World, PersonId) {
        let world = World::new().await;
        let person = world.active_person().await;
        world.store.open_session(&person, &[1; 32], SignedInBy::Provider, 500).await.unwrap();
        (world, person)
    }

    async fn lives(world: &World, now_s: u64) -> bool {
        world.store.session(&[1; 32], LIMITS, now_s).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_session_ends_idle_and_in_any_case() {
        let (world, person) = opened().await;
        assert!(lives(&world, 599).await && !lives(&world, 600).await);
        // Opened in what is the future now: that clock is not believed.
        assert!(!lives(&world, 499).await);
        for now_s in (550..1500).step_by(50) {
            world.store.touch_session(&[1; 32], now_s).await.unwrap();
        }
        assert!(lives(&world, 1499).await && !lives(&world, 1500).await);
        // A late note does not take back a newer one.
        world.store.touch_session(&[1; 32], 600).await.unwrap();
        assert!(lives(&world, 1499).await);
        assert!(world.store.session(&[2; 32], LIMITS, 510).await.unwrap().is_none());
        assert_eq!(world.store.sessions_of(&person, LIMITS, 1499).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_ended_session_stays_ended() {
        let (world, person) = opened().await;
        let store = &world.store;
        assert!(store.end_session(&[1; 32], 510).await.unwrap());
        assert!(!store.end_session(&[1; 32], 511).await.unwrap());
        store.touch_session(&[1; 32], 520).await.unwrap();
        assert!(!lives(&world, 520).await);
        let again = store.open_session(&person, &[1; 32], SignedInBy::Provider, 521).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::IdTaken))));
        store.open_session(&person, &[2; 32], SignedInBy::Provider, 522).await.unwrap();
        store.open_session(&person, &[3; 32], SignedInBy::Provider, 523).await.unwrap();
        assert_eq!(store.end_sessions_of(&person, 524).await.unwrap(), 2);
        assert!(store.sessions_of(&person, LIMITS, 525).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_is_stopped_has_no_session() {
        let (world, person) = opened().await;
        let store = &world.store;
        store.set_person_state(&act(510), &person, LifeCycle::Suspended).await.unwrap();
        assert!(!lives(&world, 511).await);
        let refused = store.open_session(&person, &[2; 32], SignedInBy::Provider, 512).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonInactive))));
        // Resumed, they sign in again.
        store.set_person_state(&act(513), &person, LifeCycle::Active).await.unwrap();
        assert!(!lives(&world, 514).await);
        assert!(store.open_session(&person, &[2; 32], SignedInBy::Provider, 515).await.is_ok());
    }

    /// Somebody who knew the old password may be about to come in when it is replaced.
    #[tokio::test]
    async fn what_was_taken_away_since_it_was_looked_at_opens_nothing() {
        let (world, person) = opened().await;
        let store = &world.store;
        let opens = async |seed: u8, by: SignedInBy<'_>| {
            let opened = store.open_session(&person, &[seed; 32], by, 520).await;
            if let Err(error) = &opened {
                let inactive = StoreError::Refused(Refusal::PersonInactive);
                assert_eq!(error.to_string(), inactive.to_string());
            }
            opened.is_ok()
        };
        let (old, new) = ("$argon2id$old-fixture", "$argon2id$new-fixture");
        assert!(!opens(2, SignedInBy::Password(old)).await);
        store.set_password(&act(510), &person, old).await.unwrap();
        assert!(opens(3, SignedInBy::Password(old)).await);
        store.set_password(&act(511), &person, new).await.unwrap();
        assert!(!opens(4, SignedInBy::Password(old)).await);
        assert!(opens(5, SignedInBy::Password(new)).await);
        let passkey = PasskeyId::from_random(&[7; 16]);
        assert!(!opens(6, SignedInBy::Passkey(&passkey)).await);
    }

    #[tokio::test]
    async fn another_password_ends_what_was_opened_with_the_old_one() {
        let (world, person) = opened().await;
        world.store.set_password(&act(510), &person, "$argon2id$marked-fixture").await.unwrap();
        assert!(!lives(&world, 511).await);
    }

    #[tokio::test]
    async fn old_ones_are_forgotten() {
        let (world, _) = opened().await;
        world.store.forget_sessions(500).await.unwrap();
        assert!(lives(&world, 501).await);
        world.store.forget_sessions(501).await.unwrap();
        assert!(!lives(&world, 501).await);
    }
}
