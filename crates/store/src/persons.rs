//! Persons, and the hashes of their passwords.

use std::collections::BTreeSet;

use attorn_registry::{
    ExternalSubject, LifeCycle, Name, Person, PersonId, Provided, Role, TransitionRefused,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::invitations::end_invitations;
use crate::passkeys::end_passkeys;
use crate::sessions::end_all;

const COLUMNS: Columns = Columns("persons");

/// A person to be.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// Stable identifier.
    pub id: PersonId,
    /// Unique among persons, and never given twice.
    pub name: Name,
    /// What can be changed later.
    pub settings: PersonSettings,
    /// Who they are at an identity provider. Then they are active at once; without it they are
    /// pending until they redeem an invitation.
    pub external: Option<ExternalSubject>,
    /// Which of the roles and groups are the provider's.
    pub provided: Provided,
}

/// What an administrator may change about a person. All of it is said each time; what the provider
/// gives beside it stays.
#[derive(Clone, Debug, Default)]
pub struct PersonSettings {
    /// What pages show.
    pub display_name: Option<String>,
    /// What they may do in Attorn.
    pub roles: BTreeSet<Role>,
    /// What they belong to.
    pub groups: BTreeSet<Name>,
}

/// What signing in with a password needs.
#[derive(Clone)]
pub struct LoginRecord {
    /// The person, in whatever state.
    pub person: Person,
    /// The hash of their password, if they have one.
    pub phc: Option<String>,
}

impl std::fmt::Debug for LoginRecord {
    /// Without the hash: it must not get into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRecord").field("person", &self.person).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a person.
    ///
    /// # Errors
    /// The name or the external subject is taken, or the record breaks a rule of its own.
    pub async fn create_person(
        &self,
        act: &Act<'_>,
        new: &NewPerson,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let state = if new.external.is_some() { LifeCycle::Active } else { LifeCycle::Pending };
        let person = Person {
            id: new.id.clone(),
            name: new.name.clone(),
            display_name: new.settings.display_name.clone(),
            state,
            roles: new.settings.roles.clone(),
            groups: new.settings.groups.clone(),
            external: new.external.clone(),
            provided: new.provided.clone(),
            created_s: act.now_s,
            stop_ended_s: None,
        };
        person.verify().map_err(Refusal::Person)?;
        insert(change.connection(), &person).await?;
        change.finish(ChangeKind::PersonCreated, new.id.as_str(), person).await
    }

    /// Changes what a person is called, may do and belongs to. Where they get more, a code that waits
    /// stops to count: whoever made it gave away less than it would open now.
    ///
    /// # Errors
    /// No such person, they are retired, or the record breaks a rule of its own.
    pub async fn set_person(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        settings: &PersonSettings,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        if person.state == LifeCycle::Retired {
            let refused = TransitionRefused { from: person.state, to: LifeCycle::Active };
            return Err(Refusal::Transition(refused).into());
        }
        let PersonSettings { display_name, roles, groups } = settings.clone();
        let grows = !roles.is_subset(&person.roles) || !groups.is_subset(&person.groups);
        let person = Person { display_name, ..person }.with_given(roles, groups);
        person.verify().map_err(Refusal::Person)?;
        write_settings(change.connection(), &person).await?;
        if grows {
            end_invitations(change.connection(), id).await?;
        }
        change.finish(ChangeKind::PersonSet, id.as_str(), person).await
    }

    /// Changes the state of a person. Who is not active any more has no session and no invitation.
    ///
    /// # Errors
    /// No such person, or the life cycle does not hold this change.
    pub async fn set_person_state(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        to: LifeCycle,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        let state = person.state.become_state(to).map_err(Refusal::Transition)?;
        let stop_ended_s = person.state.ends_stop(to).then_some(act.now_s).or(person.stop_ended_s);
        write_state(change.connection(), id, state).await?;
        sqlx::query("UPDATE persons SET stop_ended_s = $1 WHERE id = $2")
            .bind(COLUMNS.maybe_number(stop_ended_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        if state != LifeCycle::Active {
            end_all(change.connection(), id, act.now_s).await?;
            end_invitations(change.connection(), id).await?;
            end_families(change.connection(), Ends::Person(id), act.now_s).await?;
        }
        if state == LifeCycle::Retired {
            end_passkeys(change.connection(), id).await?;
        }
        let record = Person { state, stop_ended_s, ..person };
        change.finish(ChangeKind::PersonState, id.as_str(), record).await
    }

    /// Gives a person another password, by its hash. Every session of theirs ends, and what clients have.
    ///
    /// # Errors
    /// No such person, or they are not active.
    pub async fn set_password(
        &self,
        act: &Act<'_>,
        id: &PersonId,
        phc: &str,
    ) -> Result<Changed<Person>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let person = person_by_id(change.connection(), id).await?;
        if person.state != LifeCycle::Active {
            return Err(Refusal::PersonInactive.into());
        }
        write_password(&mut change, id, phc).await?;
        change.finish(ChangeKind::PersonPassword, id.as_str(), person).await
    }

    /// What signing in needs to know about a name; `None` if nobody has it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn login_record(&self, name: &Name) -> Result<Option<LoginRecord>, Failure> {
        let mut transaction = self.begin_read().await?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, display_name, state, role_names, group_names, issuer, subject,
                    created_s, stop_ended_s, provided
             FROM persons WHERE name = $1",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(person) = row.map(Row::read).transpose()? else { return Ok(None) };
        let phc: Option<(String,)> =
            sqlx::query_as("SELECT phc FROM person_passwords WHERE person = $1")
                .bind(person.id.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        transaction.rollback().await?;
        Ok(Some(LoginRecord { person, phc: phc.map(|(phc,)| phc) }))
    }

    /// One person.
    ///
    /// # Errors
    /// No such person.
    pub async fn person(&self, id: &PersonId) -> Result<Person, StoreError> {
        let mut connection = self.pool.acquire().await?;
        person_by_id(&mut connection, id).await
    }

    /// The person whom an identity provider knows by this subject: issuer and subject, both exactly.
    ///
    /// # Errors
    /// The database fails.
    pub async fn person_by_external(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Person>, Failure> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, display_name, state, role_names, group_names, issuer, subject,
                    created_s, stop_ended_s, provided
             FROM persons WHERE issuer = $1 AND subject = $2",
        )
        .bind(issuer)
        .bind(subject)
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Every person, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn persons(&self) -> Result<Vec<Person>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_persons(&mut connection).await
    }
}

async fn insert(connection: &mut AnyConnection, person: &Person) -> Result<(), StoreError> {
    let external = person.external.as_ref();
    sqlx::query(
        "INSERT INTO persons
         (id, name, display_name, state, role_names, group_names, issuer, subject, created_s,
          provided)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(person.id.as_str())
    .bind(person.name.as_str())
    .bind(person.display_name.as_deref())
    .bind(person.state.as_str())
    .bind(COLUMNS.to_json(&person.roles)?)
    .bind(COLUMNS.to_json(&person.groups)?)
    .bind(external.map(|it| it.issuer.as_str()))
    .bind(external.map(|it| it.subject.as_str()))
    .bind(COLUMNS.number(person.created_s)?)
    .bind(COLUMNS.to_json(&person.provided)?)
    .execute(connection)
    .await
    .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
    Ok(())
}

/// Writes what a person is called, may do and belongs to, and what of it is the provider's.
pub(crate) async fn write_settings(
    connection: &mut AnyConnection,
    person: &Person,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE persons SET display_name = $1, role_names = $2, group_names = $3, provided = $4
         WHERE id = $5",
    )
    .bind(person.display_name.as_deref())
    .bind(COLUMNS.to_json(&person.roles)?)
    .bind(COLUMNS.to_json(&person.groups)?)
    .bind(COLUMNS.to_json(&person.provided)?)
    .bind(person.id.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the hash and ends what was opened with the old password.
pub(crate) async fn write_password(
    change: &mut Change<'_>,
    id: &PersonId,
    phc: &str,
) -> Result<(), StoreError> {
    let now_s = change.act.now_s;
    sqlx::query(
        "INSERT INTO person_passwords (person, phc, set_s) VALUES ($1, $2, $3)
         ON CONFLICT (person) DO UPDATE SET phc = excluded.phc, set_s = excluded.set_s",
    )
    .bind(id.as_str())
    .bind(phc)
    .bind(COLUMNS.number(now_s)?)
    .execute(change.connection())
    .await?;
    end_all(change.connection(), id, now_s).await?;
    // Who knew the old one may have given something to a client of theirs.
    end_families(change.connection(), Ends::Person(id), now_s).await?;
    Ok(())
}

pub(crate) async fn write_state(
    connection: &mut AnyConnection,
    id: &PersonId,
    state: LifeCycle,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE persons SET state = $1 WHERE id = $2")
        .bind(state.as_str())
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn person_by_id(
    connection: &mut AnyConnection,
    id: &PersonId,
) -> Result<Person, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, display_name, state, role_names, group_names, issuer, subject,
                created_s, stop_ended_s, provided
         FROM persons WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::PersonUnknown)?.read()?)
}

pub(crate) async fn all_persons(connection: &mut AnyConnection) -> Result<Vec<Person>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, display_name, state, role_names, group_names, issuer, subject,
                created_s, stop_ended_s, provided
         FROM persons ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    name: String,
    display_name: Option<String>,
    state: String,
    role_names: String,
    group_names: String,
    issuer: Option<String>,
    subject: Option<String>,
    created_s: i64,
    stop_ended_s: Option<i64>,
    provided: Option<String>,
}

impl Row {
    fn read(self) -> Result<Person, Failure> {
        let external = match (self.issuer, self.subject) {
            (Some(issuer), Some(subject)) => Some(ExternalSubject { issuer, subject }),
            (None, None) => None,
            // Half of it would be somebody else.
            (Some(_), None) | (None, Some(_)) => return Err(Failure::Record { table: COLUMNS.0 }),
        };
        Ok(Person {
            id: COLUMNS.parse(&self.id)?,
            name: COLUMNS.parse(&self.name)?,
            display_name: self.display_name,
            state: COLUMNS.state(&self.state)?,
            roles: COLUMNS.json(&self.role_names)?,
            groups: COLUMNS.json(&self.group_names)?,
            external,
            created_s: COLUMNS.count(self.created_s)?,
            stop_ended_s: COLUMNS.maybe_count(self.stop_ended_s)?,
            provided: match self.provided {
                Some(provided) => COLUMNS.json(&provided)?,
                None => Provided::default(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn a_person_is_made_once() {
        let world = World::new().await;
        let store = &world.store;
        let person = store.create_person(&act(5), &world.new_person()).await.unwrap().record;
        assert_eq!((person.state, person.created_s), (LifeCycle::Pending, 5));
        assert_eq!(store.person(&person.id).await.unwrap(), person);
        let twin = NewPerson { id: PersonId::from_random(&id(81)), ..world.new_person() };
        let taken = store.create_person(&act(6), &twin).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::NameTaken))));
        assert_eq!(store.persons().await.unwrap(), [person]);
    }

    #[tokio::test]
    async fn one_subject_of_two_issuers_is_two_people() {
        let world = World::new().await;
        let store = &world.store;
        let external =
            |issuer: &str| Some(ExternalSubject { issuer: issuer.into(), subject: "1".into() });
        let of = |seed, text, issuer| NewPerson {
            id: PersonId::from_random(&id(seed)),
            name: name(text),
            external: external(issuer),
            ..world.new_person()
        };
        let one = of(81, "peter", "https://a.example");
        let one = store.create_person(&act(1), &one).await.unwrap().record;
        assert_eq!(one.state, LifeCycle::Active);
        let other = of(82, "petra", "https://b.example");
        let other = store.create_person(&act(1), &other).await.unwrap().record;
        let again = store.create_person(&act(1), &of(83, "paul", "https://a.example")).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::NameTaken))));
        let found = async |issuer| store.person_by_external(issuer, "1").await.unwrap();
        assert_eq!(found("https://a.example").await, Some(one));
        assert_eq!(found("https://b.example").await, Some(other));
        assert_eq!(found("https://c.example").await, None);
    }

    #[tokio::test]
    async fn roles_and_groups_are_said_whole() {
        let world = World::new().await;
        let store = &world.store;
        let id = store.create_person(&act(1), &world.new_person()).await.unwrap().record.id;
        let roles = BTreeSet::from([Role::Approver]);
        let groups = BTreeSet::from([name("sales")]);
        let settings = PersonSettings { display_name: None, roles, groups };
        let set = store.set_person(&act(2), &id, &settings).await.unwrap().record;
        assert_eq!((&set.roles, &set.groups), (&settings.roles, &settings.groups));
        assert_eq!(store.person(&id).await.unwrap(), set);
        let odd = PersonSettings { display_name: Some("a\nb".into()), ..settings.clone() };
        assert!(store.set_person(&act(3), &id, &odd).await.is_err());
        store.set_person_state(&act(4), &id, LifeCycle::Retired).await.unwrap();
        assert!(store.set_person(&act(5), &id, &settings).await.is_err());
    }

    #[tokio::test]
    async fn a_code_does_not_open_more_than_it_was_made_for() {
        let world = World::new().await;
        let store = &world.store;
        let person = store.create_person(&act(1), &world.new_person()).await.unwrap().record.id;
        let group = |text: &str| BTreeSet::from([name(text)]);
        let first = PersonSettings { groups: group("sales"), ..PersonSettings::default() };
        let after = async |settings: &PersonSettings| {
            store.set_person(&act(1), &person, &first).await.unwrap();
            store.create_invitation(&act(2), &person, [9; 32]).await.unwrap();
            store.set_person(&act(3), &person, settings).await.unwrap();
            store.invitation(&[9; 32], 4).await.is_ok()
        };
        let none = PersonSettings::default();
        let renamed = PersonSettings { display_name: Some("P".into()), ..first.clone() };
        let roles = PersonSettings { roles: BTreeSet::from([Role::Viewer]), ..first.clone() };
        let moved = PersonSettings { groups: group("finance"), ..first.clone() };
        let kept = [after(&first).await, after(&renamed).await, after(&none).await];
        assert_eq!(kept, [true; 3]);
        assert_eq!([after(&roles).await, after(&moved).await], [false; 2]);
    }

    #[tokio::test]
    async fn a_hash_is_no_part_of_the_person() {
        let world = World::new().await;
        let store = &world.store;
        let id = world.active_person().await;
        store.set_password(&act(3), &id, "$argon2id$marked-fixture").await.unwrap();
        let record = store.login_record(&name("paula")).await.unwrap().unwrap();
        assert_eq!(record.phc.as_deref(), Some("$argon2id$marked-fixture"));
        assert!(!format!("{record:?}").contains("argon2id"));
        assert!(store.login_record(&name("peter")).await.unwrap().is_none());
        let sent = serde_json::to_string(&store.load_snapshot(5000).await.unwrap()).unwrap();
        assert!(sent.contains("paula") && !sent.contains("argon2id"));
        store.set_person_state(&act(4), &id, LifeCycle::Suspended).await.unwrap();
        let refused = store.set_password(&act(5), &id, "$argon2id$other").await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonInactive))));
    }

    #[tokio::test]
    async fn the_end_of_a_stop_is_remembered() {
        let world = World::new().await;
        let store = &world.store;
        let id = world.active_person().await;
        let set = async |now_s, state| {
            store.set_person_state(&act(now_s), &id, state).await.unwrap().record.stop_ended_s
        };
        assert_eq!(set(5, LifeCycle::Suspended).await, None);
        assert_eq!(set(6, LifeCycle::Active).await, Some(6));
        assert_eq!(store.person(&id).await.unwrap().stop_ended_s, Some(6));
    }
}
