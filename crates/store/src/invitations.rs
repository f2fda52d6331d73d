//! Invitations: how a person gets their first password, or a new one. A code is kept as SHA-256,
//! used once, for a day.

use attorn_registry::{LifeCycle, Person, PersonId, TransitionRefused};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, Refusal, StoreError};
use crate::passkeys::end_passkeys;
use crate::persons::{person_by_id, write_password, write_state};

const COLUMNS: Columns = Columns("invitations");

/// How long a code can be used, in seconds.
pub const INVITATION_LIFETIME_S: u64 = 24 * 3600;

impl Store {
    /// Records a new code for a person. Earlier codes of that person stop to count.
    ///
    /// # Errors
    /// No such person, or they are suspended or retired.
    pub async fn create_invitation(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        code_hash: [u8; 32],
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = invitable(&mut change, id).await?;
        end_invitations(change.connection(), id).await?;
        sqlx::query(
            "INSERT INTO invitations (code_hash, person, created_s, expires_s)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(attorn_jose::base64url(&code_hash))
        .bind(id.as_str())
        .bind(COLUMNS.number(act.now_s)?)
        .bind(COLUMNS.number(act.now_s.saturating_add(INVITATION_LIFETIME_S))?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        change.finish(ChangeKind::InvitationCreated, id.as_str(), person).await
    }

    /// The person a code is for, without using it.
    ///
    /// # Errors
    /// The code is unknown, used or expired.
    pub async fn invitation(
        &self,
        code_hash: &[u8; 32],
        now_s: u64,
    ) -> Result<PersonId, StoreError> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT person FROM invitations
             WHERE code_hash = $1 AND redeemed_s IS NULL AND expires_s > $2",
        )
        .bind(attorn_jose::base64url(code_hash))
        .bind(COLUMNS.number(now_s)?)
        .fetch_optional(&self.pool)
        .await?;
        let (person,) = row.ok_or(Refusal::CodeInvalid)?;
        Ok(COLUMNS.parse(&person)?)
    }

    /// Uses a code: the person has this password and no passkey, and is active. `act.by` is whoever presents the
    /// code.
    ///
    /// # Errors
    /// The code is unknown, used or expired, or the person is suspended or retired.
    pub async fn redeem_invitation(
        &self,
        act: &Act<'_>,
        code_hash: &[u8; 32],
        phc: &str,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let now_s = COLUMNS.number(act.now_s)?;
        // One statement judges and uses the code, so two cannot both win.
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE invitations SET redeemed_s = $1
             WHERE code_hash = $2 AND redeemed_s IS NULL AND expires_s > $3 RETURNING person",
        )
        .bind(now_s)
        .bind(attorn_jose::base64url(code_hash))
        .bind(now_s)
        .fetch_optional(change.connection())
        .await?;
        let (id,) = row.ok_or(Refusal::CodeInvalid)?;
        let id: PersonId = COLUMNS.parse(&id)?;
        let person = invitable(&mut change, &id).await?;
        write_password(&mut change, &id, phc).await?;
        // The account begins anew: nobody who had it before comes in by another way.
        end_passkeys(change.connection(), &id).await?;
        let state = LifeCycle::Active;
        write_state(change.connection(), &id, state).await?;
        let record = Person { state, ..person };
        change.finish(ChangeKind::InvitationRedeemed, id.as_str(), record).await
    }
}

/// Ends the codes of a person that nobody used.
pub(crate) async fn end_invitations(
    connection: &mut AnyConnection,
    id: &PersonId,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM invitations WHERE person = $1 AND redeemed_s IS NULL")
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// The person, if they may get a password here: pending for the first one, active for another.
/// Who comes from an identity provider signs in there.
async fn invitable(change: &mut Change<'_>, id: &PersonId) -> Result<Person, StoreError> {
    let person = person_by_id(change.connection(), id).await?;
    if person.external.is_some() {
        return Err(Refusal::PersonExternal.into());
    }
    match person.state {
        LifeCycle::Pending | LifeCycle::Active => Ok(person),
        LifeCycle::Discovered | LifeCycle::Suspended | LifeCycle::Retired => {
            let refused = TransitionRefused { from: person.state, to: LifeCycle::Active };
            Err(Refusal::Transition(refused).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, name};

    const CODE: [u8; 32] = [7; 32];
    const PHC: &str = "$argon2id$marked-fixture";

    async fn invited() -> (World, PersonId) {
        let world = World::new().await;
        let id = world.store.create_person(&act(90), &world.new_person()).await.unwrap().record.id;
        world.store.create_invitation(&act(100), &id, CODE).await.unwrap();
        (world, id)
    }

    fn invalid(result: &Result<Changed<Person>, StoreError>) -> bool {
        matches!(result, Err(StoreError::Refused(Refusal::CodeInvalid)))
    }

    #[tokio::test]
    async fn a_code_lets_in_once() {
        let (world, id) = invited().await;
        let store = &world.store;
        assert_eq!(store.invitation(&CODE, 101).await.unwrap(), id);
        let person = store.redeem_invitation(&act(101), &CODE, PHC).await.unwrap().record;
        assert_eq!(person.state, LifeCycle::Active);
        let record = store.login_record(&name("paula")).await.unwrap().unwrap();
        assert_eq!((record.person, record.phc.as_deref()), (person, Some(PHC)));
        assert!(invalid(&store.redeem_invitation(&act(102), &CODE, "other").await));
        assert!(store.invitation(&CODE, 102).await.is_err());
    }

    #[tokio::test]
    async fn a_code_ends_after_a_day() {
        let (world, _) = invited().await;
        let store = &world.store;
        let end_s = 100 + INVITATION_LIFETIME_S;
        assert!(store.invitation(&CODE, end_s - 1).await.is_ok());
        assert!(invalid(&store.redeem_invitation(&act(end_s), &CODE, PHC).await));
        assert!(store.redeem_invitation(&act(end_s - 1), &CODE, PHC).await.is_ok());
    }

    #[tokio::test]
    async fn a_new_code_replaces_the_old_one() {
        let (world, id) = invited().await;
        let store = &world.store;
        store.create_invitation(&act(101), &id, [8; 32]).await.unwrap();
        assert!(invalid(&store.redeem_invitation(&act(102), &CODE, PHC).await));
        assert!(store.redeem_invitation(&act(102), &[8; 32], PHC).await.is_ok());
    }

    #[tokio::test]
    async fn who_was_stopped_is_not_let_in() {
        let (world, id) = invited().await;
        let store = &world.store;
        store.set_person_state(&act(101), &id, LifeCycle::Retired).await.unwrap();
        assert!(invalid(&store.redeem_invitation(&act(102), &CODE, PHC).await));
        let refused = store.create_invitation(&act(102), &id, [9; 32]).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::Transition(_)))));
    }
}
