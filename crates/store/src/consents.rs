//! Consents. Of one person, agent and server at most one counts.

use attorn_registry::{AgentKind, Consent, ConsentId, LifeCycle, PersonId};
use sqlx::AnyConnection;

use crate::Store;
use crate::agents::agent_by_id;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::families::revoke_tokens_of;
use crate::family_ends::{Ends, end_families};
use crate::persons::person_by_id;
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("consents");

impl Store {
    /// Records a consent. When is that of the act; the one before it, if any, ends with it.
    ///
    /// # Errors
    /// No such person, agent or server, the person is not active, the agent acts for nobody, or the
    /// consent breaks a rule of its own.
    pub async fn put_consent(
        &self,
        act: &Act<'_>,
        consent: &Consent,
    ) -> Result<Changed<Consent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        consent.verify(act.now_s).map_err(Refusal::Person)?;
        let person = person_by_id(change.connection(), &consent.person).await?;
        if person.state != LifeCycle::Active {
            return Err(Refusal::PersonInactive.into());
        }
        match agent_by_id(change.connection(), &consent.agent).await?.kind {
            AgentKind::Agent | AgentKind::Client => {}
            AgentKind::Gateway | AgentKind::Operator => {
                return Err(Refusal::ClientUnsuited.into());
            }
        }
        server_by_id(change.connection(), &consent.server).await?;
        let record = Consent { created_s: act.now_s, revoked_s: None, ..consent.clone() };
        let now_s = COLUMNS.number(act.now_s)?;
        sqlx::query(
            "UPDATE consents SET revoked_s = $1
             WHERE person = $2 AND agent = $3 AND server = $4 AND revoked_s IS NULL",
        )
        .bind(now_s)
        .bind(record.person.as_str())
        .bind(record.agent.as_str())
        .bind(record.server.as_str())
        .execute(change.connection())
        .await?;
        sqlx::query(
            "INSERT INTO consents (id, person, agent, server, scope, created_s, expires_s)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(record.id.as_str())
        .bind(record.person.as_str())
        .bind(record.agent.as_str())
        .bind(record.server.as_str())
        .bind(record.scopes.to_string())
        .bind(now_s)
        .bind(COLUMNS.number(record.expires_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        change.finish(ChangeKind::ConsentGiven, consent.id.as_str(), record).await
    }

    /// Takes a consent back.
    ///
    /// # Errors
    /// No such consent, or it was taken back or replaced already.
    pub async fn revoke_consent(
        &self,
        act: &Act<'_>,
        id: &ConsentId,
    ) -> Result<Changed<Consent>, StoreError> {
        let mut change = Change::open(self, *act).await?;
        let consent = consent_by_id(change.connection(), id).await?;
        if consent.revoked_s.is_some() {
            return Err(Refusal::ConsentRevoked.into());
        }
        // Each under a number of its own, as the consent.
        revoke_tokens_of(&mut change, &consent, act.now_s).await?;
        change.count_up().await?;
        sqlx::query("UPDATE consents SET revoked_s = $1 WHERE id = $2")
            .bind(COLUMNS.number(act.now_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        end_families(change.connection(), Ends::Consent(&consent), act.now_s).await?;
        let record = Consent { revoked_s: Some(act.now_s), ..consent };
        change.finish(ChangeKind::ConsentRevoked, id.as_str(), record).await
    }

    /// One consent.
    ///
    /// # Errors
    /// No such consent.
    pub async fn consent(&self, id: &ConsentId) -> Result<Consent, StoreError> {
        let mut connection = self.pool.acquire().await?;
        consent_by_id(&mut connection, id).await
    }

    /// Every consent of a person, or of everybody, past ones included, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn consents(&self, person: Option<&PersonId>) -> Result<Vec<Consent>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, person, agent, server, scope, created_s, expires_s, revoked_s
             FROM consents WHERE $1 IS NULL OR person = $1 ORDER BY created_s, id",
        )
        .bind(person.map(PersonId::as_str))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }
}

pub(crate) async fn consent_by_id(
    connection: &mut AnyConnection,
    id: &ConsentId,
) -> Result<Consent, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, person, agent, server, scope, created_s, expires_s, revoked_s
         FROM consents WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::ConsentUnknown)?.read()?)
}

/// The consents that still count at `now_s`.
pub(crate) async fn counting_consents(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<Consent>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, person, agent, server, scope, created_s, expires_s, revoked_s
         FROM consents WHERE revoked_s IS NULL AND expires_s > $1 ORDER BY created_s, id",
    )
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    person: String,
    agent: String,
    server: String,
    scope: String,
    created_s: i64,
    expires_s: i64,
    revoked_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Consent, Failure> {
        Ok(Consent {
            id: COLUMNS.parse(&self.id)?,
            person: COLUMNS.parse(&self.person)?,
            agent: COLUMNS.parse(&self.agent)?,
            server: COLUMNS.parse(&self.server)?,
            scopes: COLUMNS.parse(&self.scope)?,
            created_s: COLUMNS.count(self.created_s)?,
            expires_s: COLUMNS.count(self.expires_s)?,
            revoked_s: COLUMNS.maybe_count(self.revoked_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::ScopeSet;

    use super::*;
    use crate::NewAgent;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn a_new_consent_replaces_the_one_before() {
        let world = World::new().await;
        let store = &world.store;
        let person = world.active_person().await;
        let first = world.new_consent(&person);
        store.put_consent(&act(5), &first).await.unwrap();
        let second = Consent {
            id: ConsentId::from_random(&id(91)),
            scopes: ScopeSet::parse("read:put").unwrap(),
            ..first.clone()
        };
        let kept = store.put_consent(&act(6), &second).await.unwrap().record;
        assert_eq!(kept.created_s, 6);
        assert_eq!(store.consent(&first.id).await.unwrap().revoked_s, Some(6));
        assert_eq!(store.consents(Some(&person)).await.unwrap().len(), 2);
        let snapshot = store.load_snapshot(7000).await.unwrap();
        assert_eq!(snapshot.consents().map(|it| it.id.clone()).collect::<Vec<_>>(), [second.id]);
    }

    #[tokio::test]
    async fn a_consent_is_taken_back_once() {
        let world = World::new().await;
        let store = &world.store;
        let person = world.active_person().await;
        let consent = world.new_consent(&person);
        store.put_consent(&act(5), &consent).await.unwrap();
        let revoked = store.revoke_consent(&act(6), &consent.id).await.unwrap().record;
        assert_eq!(revoked.revoked_s, Some(6));
        let again = store.revoke_consent(&act(7), &consent.id).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::ConsentRevoked))));
        let unknown = store.revoke_consent(&act(7), &ConsentId::from_random(&id(99))).await;
        assert!(matches!(unknown, Err(StoreError::Refused(Refusal::ConsentUnknown))));
    }

    #[tokio::test]
    async fn only_the_active_give_and_only_to_who_acts_for_people() {
        let world = World::new().await;
        let store = &world.store;
        let person = world.active_person().await;
        let consent = world.new_consent(&person);
        let new = NewAgent {
            id: attorn_registry::AgentId::from_random(&id(92)),
            name: name("desk"),
            kind: AgentKind::Operator,
            ..world.new_agent()
        };
        let operator = store.register_agent(&act(1), &new).await.unwrap().record.id;
        let to_operator = Consent { agent: operator, ..consent.clone() };
        let refused = store.put_consent(&act(5), &to_operator).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let ended = Consent { expires_s: 5, ..consent.clone() };
        assert!(store.put_consent(&act(5), &ended).await.is_err());
        store.set_person_state(&act(6), &person, LifeCycle::Suspended).await.unwrap();
        let refused = store.put_consent(&act(7), &consent).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonInactive))));
    }
}
