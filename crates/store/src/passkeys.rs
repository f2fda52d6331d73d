//! Passkeys of people: public keys, by what their authenticators call them.
//!
//! That one is there or gone is a change; that one was used is none, and reaches no gateway.

use attorn_jose::PublicKey;
use attorn_registry::{LifeCycle, PasskeyId, PersonId};
use attorn_webauthn::CredentialId;
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::persons::person_by_id;
use crate::sessions::end_all;

const COLUMNS: Columns = Columns("passkeys");

/// Most passkeys of one person: a page lists them, and a browser is told of each.
pub const PASSKEYS_MAX: usize = 20;

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// Stable identifier.
    pub id: PasskeyId,
    /// Whose it is.
    pub person: PersonId,
    /// What they call it.
    pub name: String,
    /// What its authenticator calls it.
    pub credential: CredentialId,
    /// Its key.
    pub public_key: PublicKey,
    /// Its counter when it was used last; 0 for one that does not count.
    pub sign_count: u32,
    /// When it was added, in Unix seconds.
    pub created_s: u64,
    /// When it was used last, if it was.
    pub used_s: Option<u64>,
}

impl Store {
    /// Adds a passkey of an active person.
    ///
    /// # Errors
    /// The person is not active or signs in elsewhere, has as many as may be, or the passkey is known.
    pub async fn add_passkey(
        &self,
        act: &Act<'_>,
        new: &Passkey,
    ) -> Result<Changed<Passkey>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), &new.person).await?;
        if person.state != LifeCycle::Active {
            return Err(Refusal::PersonInactive.into());
        }
        if person.external.is_some() {
            return Err(Refusal::PersonExternal.into());
        }
        let others = of_person(change.connection(), &new.person).await?;
        if others.len() >= PASSKEYS_MAX {
            return Err(Refusal::PasskeyLimit.into());
        }
        sqlx::query(
            "INSERT INTO passkeys
             (id, credential, person, name, public_key, sign_count, created_s, used_s)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(new.id.as_str())
        .bind(new.credential.to_string())
        .bind(new.person.as_str())
        .bind(&new.name)
        .bind(new.public_key.to_jwk(None))
        .bind(i64::from(new.sign_count))
        .bind(COLUMNS.number(new.created_s)?)
        .bind(COLUMNS.maybe_number(new.used_s)?)
        .execute(change.connection())
        .await
        // WebAuthn Level 3 section 7.1: a credential ID of somebody is nobody else's.
        .map_err(|error| StoreError::unique(error, Refusal::PasskeyTaken))?;
        change.finish(ChangeKind::PasskeyAdded, new.person.as_str(), new.clone()).await
    }

    /// Removes one passkey of a person, who is signed in.
    ///
    /// # Errors
    /// The person has no such passkey.
    pub async fn remove_passkey(
        &self,
        act: &Act<'_>,
        person: &PersonId,
        id: &PasskeyId,
    ) -> Result<Changed<()>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let removed = sqlx::query("DELETE FROM passkeys WHERE id = $1 AND person = $2")
            .bind(id.as_str())
            .bind(person.as_str())
            .execute(change.connection())
            .await?;
        if removed.rows_affected() == 0 {
            return Err(Refusal::PasskeyUnknown.into());
        }
        change.finish(ChangeKind::PasskeyRemoved, person.as_str(), ()).await
    }

    /// Removes the passkeys of a person, or one of them, and ends what was opened: their sessions, and
    /// what clients have. For a device that is lost.
    ///
    /// # Errors
    /// The person has none, or no such one.
    pub async fn withdraw_passkeys(
        &self,
        act: &Act<'_>,
        person: &PersonId,
        one: Option<&PasskeyId>,
    ) -> Result<Changed<Vec<Passkey>>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut removed = of_person(change.connection(), person).await?;
        removed.retain(|passkey| one.is_none_or(|one| passkey.id == *one));
        if removed.is_empty() {
            return Err(Refusal::PasskeyUnknown.into());
        }
        for passkey in &removed {
            sqlx::query("DELETE FROM passkeys WHERE id = $1")
                .bind(passkey.id.as_str())
                .execute(change.connection())
                .await?;
        }
        end_all(change.connection(), person, act.now_s).await?;
        end_families(change.connection(), Ends::Person(person), act.now_s).await?;
        change.finish(ChangeKind::PasskeyRemoved, person.as_str(), removed).await
    }

    /// The passkeys of a person, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn passkeys_of(&self, person: &PersonId) -> Result<Vec<Passkey>, Failure> {
        let mut connection = self.pool.acquire().await?;
        of_person(&mut connection, person).await
    }

    /// The passkey that an authenticator calls so.
    ///
    /// # Errors
    /// The database fails.
    pub async fn passkey(&self, credential: &CredentialId) -> Result<Option<Passkey>, Failure> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, credential, person, name, public_key, sign_count, created_s, used_s
             FROM passkeys WHERE credential = $1",
        )
        .bind(credential.to_string())
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Notes that a passkey is used now, if it is there and its counter grew or never counts. Of two at
    /// once with one counter, one is told so.
    ///
    /// # Errors
    /// The database fails.
    pub async fn use_passkey(
        &self,
        id: &PasskeyId,
        sign_count: u32,
        now_s: u64,
    ) -> Result<bool, Failure> {
        let used = sqlx::query(
            "UPDATE passkeys SET sign_count = $1, used_s = $2
             WHERE id = $3 AND (sign_count < $1 OR (sign_count = 0 AND $1 = 0))",
        )
        .bind(i64::from(sign_count))
        .bind(COLUMNS.number(now_s)?)
        .bind(id.as_str())
        .execute(&self.pool)
        .await?;
        Ok(used.rows_affected() > 0)
    }
}

/// Removes every passkey of a person.
pub(crate) async fn end_passkeys(
    connection: &mut AnyConnection,
    person: &PersonId,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM passkeys WHERE person = $1")
        .bind(person.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn of_person(
    connection: &mut AnyConnection,
    person: &PersonId,
) -> Result<Vec<Passkey>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, credential, person, name, public_key, sign_count, created_s, used_s
         FROM passkeys WHERE person = $1 ORDER BY created_s, id",
    )
    .bind(person.as_str())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    credential: String,
    person: String,
    name: String,
    public_key: String,
    sign_count: i64,
    created_s: i64,
    used_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Passkey, Failure> {
        let public_key = PublicKey::parse_jwk(&self.public_key);
        Ok(Passkey {
            id: COLUMNS.parse(&self.id)?,
            person: COLUMNS.parse(&self.person)?,
            name: self.name,
            credential: COLUMNS.parse(&self.credential)?,
            public_key: public_key.map_err(|_| Failure::Record { table: COLUMNS.0 })?,
            sign_count: u32::try_from(self.sign_count)
                .map_err(|_| Failure::Range { table: COLUMNS.0 })?,
            created_s: COLUMNS.count(self.created_s)?,
            used_s: COLUMNS.maybe_count(self.used_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::ExternalSubject;

    use super::*;
    use crate::SessionLimits;
    use crate::SignedInBy;
    use crate::fixtures::{World, act, id};

    const LIMITS: SessionLimits = SessionLimits { idle_s: 100, absolute_s: 1000 };

    async fn added() -> (World, Passkey) {
        let world = World::new().await;
        world.active_person().await;
        let passkey = world.new_passkey(1);
        world.store.add_passkey(&act(10), &passkey).await.unwrap();
        (world, passkey)
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Refusal {
        match result.unwrap_err() {
            StoreError::Refused(refusal) => refusal,
            StoreError::Failed(failure) => panic!("{failure}"),
        }
    }

    #[tokio::test]
    async fn a_passkey_is_found_by_its_name_and_its_person() {
        let (world, passkey) = added().await;
        let store = &world.store;
        assert_eq!(store.passkey(&passkey.credential).await.unwrap(), Some(passkey.clone()));
        assert_eq!(
            store.passkeys_of(&passkey.person).await.unwrap(),
            std::slice::from_ref(&passkey)
        );
        let other = world.new_passkey(2);
        assert_eq!(store.passkey(&other.credential).await.unwrap(), None);
        store.add_passkey(&act(11), &other).await.unwrap();
        assert_eq!(store.passkeys_of(&passkey.person).await.unwrap(), [passkey, other]);
        // No gateway is told of it.
        let sent = serde_json::to_string(&store.load_snapshot(5000).await.unwrap()).unwrap();
        assert!(sent.contains("paula") && !sent.contains("pky_"));
    }

    #[tokio::test]
    async fn one_passkey_is_of_one_person_and_once() {
        let (world, passkey) = added().await;
        let again = Passkey { id: PasskeyId::from_random(&id(9)), ..passkey };
        assert_eq!(refusal(world.store.add_passkey(&act(11), &again).await), Refusal::PasskeyTaken);
        let world = World::new().await;
        world.active_person().await;
        for seed in 0..u8::try_from(PASSKEYS_MAX).unwrap() {
            world.store.add_passkey(&act(10), &world.new_passkey(seed)).await.unwrap();
        }
        let one_more = world.store.add_passkey(&act(10), &world.new_passkey(100)).await;
        assert_eq!(refusal(one_more), Refusal::PasskeyLimit);
    }

    #[tokio::test]
    async fn only_who_is_active_and_signs_in_here_gets_one() {
        let world = World::new().await;
        let store = &world.store;
        let add = async || store.add_passkey(&act(9), &world.new_passkey(1)).await;
        assert_eq!(refusal(add().await), Refusal::PersonUnknown);
        let person = world.active_person().await;
        store.set_person_state(&act(10), &person, LifeCycle::Suspended).await.unwrap();
        assert_eq!(refusal(add().await), Refusal::PersonInactive);
        store.set_person_state(&act(11), &person, LifeCycle::Active).await.unwrap();
        assert!(add().await.is_ok());
        let external = ExternalSubject { issuer: "https://a.example".into(), subject: "1".into() };
        store.link_person(&act(12), &person, &external).await.unwrap();
        // Whoever signs in elsewhere has none left here, and gets none.
        assert!(store.passkeys_of(&person).await.unwrap().is_empty());
        assert_eq!(refusal(add().await), Refusal::PersonExternal);
    }

    #[tokio::test]
    async fn a_use_is_noted_where_the_counter_grew_or_never_counts() {
        let (world, passkey) = added().await;
        let store = &world.store;
        let used = async |count, now_s| store.use_passkey(&passkey.id, count, now_s).await.unwrap();
        assert!(used(0, 20).await && used(0, 21).await);
        assert!(used(5, 22).await);
        assert!(!used(5, 23).await && !used(4, 24).await && !used(0, 25).await);
        let now = store.passkey(&passkey.credential).await.unwrap().unwrap();
        assert_eq!((now.sign_count, now.used_s), (5, Some(22)));
        assert!(used(u32::MAX, 26).await);
        store.remove_passkey(&act(27), &passkey.person, &passkey.id).await.unwrap();
        assert!(!used(0, 28).await);
    }

    #[tokio::test]
    async fn a_passkey_is_removed_by_its_person_and_nobody_else() {
        let (world, passkey) = added().await;
        let store = &world.store;
        store.open_session(&passkey.person, &[1; 32], SignedInBy::Provider, 500).await.unwrap();
        let other = PersonId::from_random(&id(99));
        let foreign = store.remove_passkey(&act(510), &other, &passkey.id).await;
        assert_eq!(refusal(foreign), Refusal::PasskeyUnknown);
        store.remove_passkey(&act(510), &passkey.person, &passkey.id).await.unwrap();
        assert!(store.passkeys_of(&passkey.person).await.unwrap().is_empty());
        // Who did it is signed in, and stays so.
        assert!(store.session(&[1; 32], LIMITS, 511).await.unwrap().is_some());
        let again = store.remove_passkey(&act(511), &passkey.person, &passkey.id).await;
        assert_eq!(refusal(again), Refusal::PasskeyUnknown);
    }

    #[tokio::test]
    async fn an_operator_withdraws_one_or_all_and_ends_what_was_opened() {
        let (world, first) = added().await;
        let (store, second) = (&world.store, world.new_passkey(2));
        store.add_passkey(&act(11), &second).await.unwrap();
        store.open_session(&first.person, &[1; 32], SignedInBy::Provider, 500).await.unwrap();
        let one = store.withdraw_passkeys(&act(510), &first.person, Some(&first.id)).await.unwrap();
        assert_eq!(one.record, std::slice::from_ref(&first));
        assert!(store.session(&[1; 32], LIMITS, 511).await.unwrap().is_none());
        let gone = store.withdraw_passkeys(&act(512), &first.person, Some(&first.id)).await;
        assert_eq!(refusal(gone), Refusal::PasskeyUnknown);
        let all = store.withdraw_passkeys(&act(513), &first.person, None).await.unwrap();
        assert_eq!(all.record, [second]);
        let none = store.withdraw_passkeys(&act(514), &first.person, None).await;
        assert_eq!(refusal(none), Refusal::PasskeyUnknown);
    }

    #[tokio::test]
    async fn a_code_and_the_end_of_a_person_leave_no_passkey() {
        let (world, passkey) = added().await;
        let store = &world.store;
        store.create_invitation(&act(20), &passkey.person, [7; 32]).await.unwrap();
        assert_eq!(store.passkeys_of(&passkey.person).await.unwrap().len(), 1);
        store.redeem_invitation(&act(21), &[7; 32], "$argon2id$marked-fixture").await.unwrap();
        assert!(store.passkeys_of(&passkey.person).await.unwrap().is_empty());
        // A password that the person changes, and a stop that ends, leave them.
        store.add_passkey(&act(22), &passkey).await.unwrap();
        store.set_password(&act(23), &passkey.person, "$argon2id$marked-fixture").await.unwrap();
        for state in [LifeCycle::Suspended, LifeCycle::Active] {
            store.set_person_state(&act(24), &passkey.person, state).await.unwrap();
        }
        assert_eq!(store.passkeys_of(&passkey.person).await.unwrap().len(), 1);
        store.set_person_state(&act(25), &passkey.person, LifeCycle::Retired).await.unwrap();
        assert!(store.passkeys_of(&passkey.person).await.unwrap().is_empty());
    }
}
