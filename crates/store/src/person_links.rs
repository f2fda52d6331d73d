//! Who a person is at an identity provider, and what the provider gives them.

use attorn_registry::{ExternalSubject, LifeCycle, Person, PersonId, Provided, TransitionRefused};

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::failure::{Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::invitations::end_invitations;
use crate::passkeys::end_passkeys;
use crate::persons::{person_by_id, write_settings, write_state};
use crate::sessions::end_all;

impl Store {
    /// Says who a person is at a provider. Who was invited and has not come yet is active with it: they
    /// come from there. A code that waits stops to count, and passkeys of here are gone.
    ///
    /// # Errors
    /// No such person, they are retired or linked already, or somebody else is linked to the subject.
    pub async fn link_person(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        external: &ExternalSubject,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        if person.state == LifeCycle::Retired {
            let refused = TransitionRefused { from: person.state, to: LifeCycle::Active };
            return Err(Refusal::Transition(refused).into());
        }
        if person.external.is_some() {
            return Err(Refusal::PersonLinked.into());
        }
        let is_awaited = person.state == LifeCycle::Pending;
        let state = if is_awaited { LifeCycle::Active } else { person.state };
        let person = Person { external: Some(external.clone()), state, ..person };
        person.verify().map_err(Refusal::Person)?;
        sqlx::query("UPDATE persons SET issuer = $1, subject = $2 WHERE id = $3")
            .bind(&external.issuer)
            .bind(&external.subject)
            .bind(id.as_str())
            .execute(change.connection())
            .await
            .map_err(|error| StoreError::unique(error, Refusal::SubjectTaken))?;
        write_state(change.connection(), id, state).await?;
        end_invitations(change.connection(), id).await?;
        end_passkeys(change.connection(), id).await?;
        change.finish(ChangeKind::PersonSet, id.as_str(), person).await
    }

    /// Takes the link away, with what the provider gave. Whoever came in by it is out: sessions end,
    /// and what clients have.
    ///
    /// # Errors
    /// No such person, or they are linked to nobody.
    pub async fn unlink_person(
        &self,
        act: &Act<'_>,
        id: &PersonId,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        if person.external.is_none() {
            return Err(Refusal::PersonNotLinked.into());
        }
        let person = Person { external: None, ..person }.with_provided(&Provided::default());
        sqlx::query("UPDATE persons SET issuer = NULL, subject = NULL WHERE id = $1")
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        write_settings(change.connection(), &person).await?;
        end_all(change.connection(), id, act.now_s).await?;
        end_families(change.connection(), Ends::Person(id), act.now_s).await?;
        change.finish(ChangeKind::PersonSet, id.as_str(), person).await
    }

    /// What the provider of a person gives them now, as they log in there. Roles and groups that were
    /// given by hand stay.
    ///
    /// # Errors
    /// No such person, they are linked to nobody, or the record breaks a rule of its own.
    pub async fn set_provided(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        provided: &Provided,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        if person.external.is_none() {
            return Err(Refusal::PersonNotLinked.into());
        }
        let person = person.with_provided(provided);
        person.verify().map_err(Refusal::Person)?;
        write_settings(change.connection(), &person).await?;
        change.finish(ChangeKind::PersonSet, id.as_str(), person).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use attorn_registry::Role;

    use super::*;
    use crate::SignedInBy;
    use crate::fixtures::{World, act, id, name};
    use crate::{NewPerson, PersonSettings, SessionLimits};

    fn subject(text: &str) -> ExternalSubject {
        ExternalSubject { issuer: "https://id.example".into(), subject: text.into() }
    }

    fn refused<T>(result: Result<T, StoreError>) -> Option<Refusal> {
        match result.err()? {
            StoreError::Refused(refusal) => Some(refusal),
            StoreError::Failed(_) => None,
        }
    }

    #[tokio::test]
    async fn a_subject_is_one_person() {
        let world = World::new().await;
        let store = &world.store;
        let paula = store.create_person(&act(1), &world.new_person()).await.unwrap().record.id;
        store.create_invitation(&act(2), &paula, [7; 32]).await.unwrap();
        let linked = store.link_person(&act(3), &paula, &subject("1")).await.unwrap().record;
        assert_eq!((linked.state, linked.external), (LifeCycle::Active, Some(subject("1"))));
        let found = store.person_by_external("https://id.example", "1").await.unwrap().unwrap();
        assert_eq!((found.id, found.state), (paula.clone(), LifeCycle::Active));
        // The code that waited would have given a second way in.
        assert_eq!(refused(store.invitation(&[7; 32], 4).await), Some(Refusal::CodeInvalid));
        let again = store.link_person(&act(4), &paula, &subject("2")).await;
        assert_eq!(refused(again), Some(Refusal::PersonLinked));
        let other = NewPerson {
            id: PersonId::from_random(&id(81)),
            name: name("peter"),
            ..world.new_person()
        };
        let peter = store.create_person(&act(5), &other).await.unwrap().record.id;
        let taken = store.link_person(&act(6), &peter, &subject("1")).await;
        assert_eq!(refused(taken), Some(Refusal::SubjectTaken));
        assert_eq!(store.person(&peter).await.unwrap().state, LifeCycle::Pending);
        store.set_person_state(&act(7), &peter, LifeCycle::Retired).await.unwrap();
        let ended = store.link_person(&act(8), &peter, &subject("3")).await;
        assert!(matches!(refused(ended), Some(Refusal::Transition(_))));
    }

    #[tokio::test]
    async fn without_the_link_nobody_is_in_and_nothing_is_provided() {
        let world = World::new().await;
        let store = &world.store;
        let paula = world.active_person().await;
        let provided = Provided {
            roles: BTreeSet::from([Role::Auditor]),
            groups: BTreeSet::from([name("audit")]),
        };
        let early = store.set_provided(&act(3), &paula, &provided).await;
        assert_eq!(refused(early), Some(Refusal::PersonNotLinked));
        assert_eq!(
            refused(store.unlink_person(&act(3), &paula).await),
            Some(Refusal::PersonNotLinked)
        );
        store.link_person(&act(4), &paula, &subject("1")).await.unwrap();
        let set = store.set_provided(&act(5), &paula, &provided).await.unwrap().record;
        assert!(set.roles.contains(&Role::Auditor) && set.provided == provided);
        assert_eq!(store.person(&paula).await.unwrap(), set);
        // Another hand leaves it alone.
        let by_hand =
            PersonSettings { roles: BTreeSet::from([Role::Viewer]), ..PersonSettings::default() };
        let set = store.set_person(&act(6), &paula, &by_hand).await.unwrap().record;
        assert_eq!(set.roles, BTreeSet::from([Role::Auditor, Role::Viewer]));
        assert_eq!(set.provided, provided);
        store.open_session(&paula, &[1; 32], SignedInBy::Provider, 7).await.unwrap();
        let unlinked = store.unlink_person(&act(8), &paula).await.unwrap().record;
        assert_eq!((&unlinked.roles, unlinked.groups.len()), (&by_hand.roles, 0));
        assert_eq!(store.person(&paula).await.unwrap(), unlinked);
        let limits = SessionLimits { idle_s: 100, absolute_s: 100 };
        assert_eq!(store.session(&[1; 32], limits, 8).await.unwrap(), None);
        assert_eq!(store.person_by_external("https://id.example", "1").await.unwrap(), None);
    }
}
