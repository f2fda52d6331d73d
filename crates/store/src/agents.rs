//! Agents and operators.

use std::collections::HashMap;

use attorn_registry::{
    Agent, AgentId, AgentKey, AgentKind, Authentication, Binding, LifeCycle, Name, OwnerId,
    TransitionRefused,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::agent_keys::{all_keys, keys_of};
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::leases::forget;
use crate::owners::active_owner;

const COLUMNS: Columns = Columns("agents");

/// An agent to be. Its owner is not optional.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Stable identifier.
    pub id: AgentId,
    /// Unique among agents and operators.
    pub name: Name,
    /// Who is behind it.
    pub kind: AgentKind,
    /// Who answers for it.
    pub owner: OwnerId,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// What its tokens are bound to.
    pub binding: Binding,
    /// First second at which it may not act any more, if it has an end.
    pub expires_s: Option<u64>,
}

impl Store {
    /// Registers an agent. It is pending until it enrols a key; one that is known by its
    /// certificates or by a SPIFFE ID has nothing to enrol.
    ///
    /// # Errors
    /// The owner is unknown or not active, or the name or a certificate name is taken.
    pub async fn register_agent(
        &self,
        act: &Act<'_>,
        agent: &NewAgent,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = insert_agent(&mut change, agent).await?;
        change.finish(ChangeKind::AgentRegistered, agent.id.as_str(), record).await
    }

    /// Gives an agent another way to prove who it is. The old one ends with this change.
    ///
    /// # Errors
    /// No such agent, it is retired, or a certificate name is taken.
    pub async fn set_agent_authentication(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        (authentication, binding): (&Authentication, Binding),
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = write_authentication(&mut change, id, (authentication, binding)).await?;
        change.finish(ChangeKind::AgentAuthentication, id.as_str(), record).await
    }

    /// Changes the state of an agent.
    ///
    /// # Errors
    /// No such agent, or the life cycle does not hold this change.
    pub async fn set_agent_state(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        to: LifeCycle,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let agent = agent_by_id(change.connection(), id).await?;
        let state = agent.state.become_state(to).map_err(Refusal::Transition)?;
        let ends = agent.state.ends_stop(to).then_some(act.now_s);
        let stop_ended_s = ends.or(agent.stop_ended_s);
        write_state(change.connection(), id, state).await?;
        write_stop_end(change.connection(), id, stop_ended_s).await?;
        if state != LifeCycle::Active {
            end_families(change.connection(), Ends::Agent(id), act.now_s).await?;
        }
        let record = Agent { state, stop_ended_s, ..agent };
        change.finish(ChangeKind::AgentState, id.as_str(), record).await
    }

    /// Puts an agent under another owner. Tokens from before do not count again: what stopped the
    /// old owner stopped them.
    ///
    /// # Errors
    /// No such agent, or the owner is unknown or not active.
    pub async fn set_agent_owner(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        owner: &OwnerId,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = write_owner(&mut change, id, owner).await?;
        change.finish(ChangeKind::AgentOwner, id.as_str(), record).await
    }

    /// One agent with its keys.
    ///
    /// # Errors
    /// No such agent.
    pub async fn agent(&self, id: &AgentId) -> Result<Agent, StoreError> {
        let mut connection = self.pool.acquire().await?;
        agent_by_id(&mut connection, id).await
    }

    /// Every agent and operator, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn agents(&self) -> Result<Vec<Agent>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_agents(&mut connection).await
    }
}

/// As [`Store::register_agent`], as a part of a change.
pub(crate) async fn insert_agent(
    change: &mut Change<'_>,
    agent: &NewAgent,
) -> Result<Agent, StoreError> {
    // A client of people is registered as one: see `register_public_client`.
    if agent.kind == AgentKind::Client || agent.authentication == Authentication::None {
        return Err(Refusal::ClientUnsuited.into());
    }
    active_owner(change.connection(), &agent.owner).await?;
    let needs_enrolment = agent.authentication.needs_enrolment();
    let state = if needs_enrolment { LifeCycle::Pending } else { LifeCycle::Active };
    sqlx::query(
        "INSERT INTO agents
         (id, name, kind, owner, state, created_s, authentication, binding, expires_s)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(agent.id.as_str())
    .bind(agent.name.as_str())
    .bind(agent.kind.as_str())
    .bind(agent.owner.as_str())
    .bind(state.as_str())
    .bind(COLUMNS.number(change.act.now_s)?)
    .bind(COLUMNS.to_json(&agent.authentication)?)
    .bind(agent.binding.as_str())
    .bind(COLUMNS.maybe_number(agent.expires_s)?)
    .execute(change.connection())
    .await
    .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
    write_subjects(change.connection(), &agent.id, &agent.authentication).await?;
    agent_by_id(change.connection(), &agent.id).await
}

/// As [`Store::set_agent_authentication`], as a part of a change.
pub(crate) async fn write_authentication(
    change: &mut Change<'_>,
    id: &AgentId,
    (authentication, binding): (&Authentication, Binding),
) -> Result<Agent, StoreError> {
    let agent = agent_by_id(change.connection(), id).await?;
    // Neither becomes the other: a client has nothing to prove who it is with, all others have.
    if agent.kind == AgentKind::Client || *authentication == Authentication::None {
        return Err(Refusal::ClientUnsuited.into());
    }
    let state = match agent.state {
        // With a certificate there is nothing left to enrol.
        LifeCycle::Pending if !authentication.needs_enrolment() => LifeCycle::Active,
        LifeCycle::Pending | LifeCycle::Discovered | LifeCycle::Active => agent.state,
        LifeCycle::Suspended => agent.state,
        LifeCycle::Retired => {
            let refused = TransitionRefused { from: agent.state, to: LifeCycle::Active };
            return Err(Refusal::Transition(refused).into());
        }
    };
    sqlx::query("UPDATE agents SET authentication = $1, binding = $2, state = $3 WHERE id = $4")
        .bind(COLUMNS.to_json(authentication)?)
        .bind(binding.as_str())
        .bind(state.as_str())
        .bind(id.as_str())
        .execute(change.connection())
        .await?;
    write_subjects(change.connection(), id, authentication).await?;
    let is_apart = authentication.is_apart_from(&agent.authentication);
    let mut stop_ended_s = agent.stop_ended_s;
    // What the old way got ends with it.
    if is_apart || binding != agent.binding {
        stop_ended_s = Some(change.act.now_s);
        write_stop_end(change.connection(), id, stop_ended_s).await?;
    }
    // Who was known in the old way cannot ask any more: whoever is known in the new one is the gateway.
    if agent.kind == AgentKind::Gateway && is_apart {
        forget(change.connection(), id).await?;
    }
    Ok(Agent { authentication: authentication.clone(), binding, state, stop_ended_s, ..agent })
}

/// As [`Store::set_agent_owner`], as a part of a change.
pub(crate) async fn write_owner(
    change: &mut Change<'_>,
    id: &AgentId,
    owner: &OwnerId,
) -> Result<Agent, StoreError> {
    let agent = agent_by_id(change.connection(), id).await?;
    active_owner(change.connection(), owner).await?;
    sqlx::query("UPDATE agents SET owner = $1 WHERE id = $2")
        .bind(owner.as_str())
        .bind(id.as_str())
        .execute(change.connection())
        .await?;
    let stop_ended_s = Some(change.act.now_s);
    write_stop_end(change.connection(), id, stop_ended_s).await?;
    Ok(Agent { owner: Some(owner.clone()), stop_ended_s, ..agent })
}

/// Replaces what an agent is known by. A retired agent keeps its names, so that nobody inherits
/// them.
async fn write_subjects(
    connection: &mut AnyConnection,
    id: &AgentId,
    authentication: &Authentication,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM agent_subjects WHERE agent = $1")
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?;
    for subject in authentication.subjects() {
        sqlx::query("INSERT INTO agent_subjects (subject, agent) VALUES ($1, $2)")
            .bind(subject)
            .bind(id.as_str())
            .execute(&mut *connection)
            .await
            .map_err(|error| StoreError::unique(error, Refusal::KeyTaken))?;
    }
    Ok(())
}

pub(crate) async fn write_state(
    connection: &mut AnyConnection,
    id: &AgentId,
    state: LifeCycle,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE agents SET state = $1 WHERE id = $2")
        .bind(state.as_str())
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn write_stop_end(
    connection: &mut AnyConnection,
    id: &AgentId,
    stop_ended_s: Option<u64>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE agents SET stop_ended_s = $1 WHERE id = $2")
        .bind(COLUMNS.maybe_number(stop_ended_s)?)
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn agent_by_id(
    connection: &mut AnyConnection,
    id: &AgentId,
) -> Result<Agent, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, kind, owner, state, created_s, authentication, binding, stop_ended_s,
                expires_s, client
         FROM agents WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let row = row.ok_or(Refusal::AgentUnknown)?;
    Ok(row.read(keys_of(connection, id).await?)?)
}

pub(crate) async fn all_agents(connection: &mut AnyConnection) -> Result<Vec<Agent>, Failure> {
    let mut keys: HashMap<AgentId, Vec<AgentKey>> = HashMap::new();
    for (agent, key) in all_keys(connection).await? {
        keys.entry(agent).or_default().push(key);
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, kind, owner, state, created_s, authentication, binding, stop_ended_s,
                expires_s, client
         FROM agents ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    let with_keys = |row: Row| {
        let own = keys.remove(&COLUMNS.parse(&row.id)?).unwrap_or_default();
        row.read(own)
    };
    rows.into_iter().map(with_keys).collect()
}

row! {
    id: String,
    name: String,
    kind: String,
    owner: Option<String>,
    state: String,
    created_s: i64,
    authentication: String,
    binding: String,
    stop_ended_s: Option<i64>,
    expires_s: Option<i64>,
    client: Option<String>,
}

impl Row {
    fn read(self, keys: Vec<AgentKey>) -> Result<Agent, Failure> {
        let kind = AgentKind::ALL.into_iter().find(|kind| kind.as_str() == self.kind);
        let bindings = [Binding::Certificate, Binding::Dpop];
        let binding = bindings.into_iter().find(|binding| binding.as_str() == self.binding);
        Ok(Agent {
            id: COLUMNS.parse(&self.id)?,
            name: COLUMNS.parse(&self.name)?,
            kind: kind.ok_or(Failure::Record { table: COLUMNS.0 })?,
            owner: COLUMNS.maybe_parse(self.owner.as_deref())?,
            state: COLUMNS.state(&self.state)?,
            keys,
            authentication: COLUMNS.json(&self.authentication)?,
            binding: binding.ok_or(Failure::Record { table: COLUMNS.0 })?,
            created_s: COLUMNS.count(self.created_s)?,
            stop_ended_s: COLUMNS.maybe_count(self.stop_ended_s)?,
            expires_s: COLUMNS.maybe_count(self.expires_s)?,
            client: COLUMNS.maybe_json(self.client.as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn an_agent_is_registered_under_an_active_owner() {
        let world = World::new().await;
        let new =
            NewAgent { id: AgentId::from_random(&id(50)), name: name("b"), ..world.new_agent() };
        let agent = world.store.register_agent(&act(1), &new).await.unwrap().record;
        assert_eq!((agent.state, agent.owner), (LifeCycle::Pending, Some(world.owner.id.clone())));
        assert_eq!(world.store.agents().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn nothing_is_registered_without_one() {
        let world = World::new().await;
        let stranger = OwnerId::from_random(&id(77));
        let new = NewAgent { owner: stranger.clone(), ..world.new_agent() };
        let refused = world.store.register_agent(&act(1), &new).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::OwnerUnknown)));
        let refused = world.store.set_agent_owner(&act(1), &world.agent, &stranger).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::OwnerUnknown))));
        let suspended = LifeCycle::Suspended;
        world.store.set_owner_state(&act(1), &world.owner.id, suspended).await.unwrap();
        let refused = world.store.register_agent(&act(2), &world.new_agent()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::OwnerInactive)));
    }

    fn dns(name: &str) -> Authentication {
        Authentication::TlsClientAuth {
            name: attorn_registry::CertificateName::Dns(name.to_owned()),
        }
    }

    #[tokio::test]
    async fn an_agent_with_a_certificate_has_nothing_to_enrol() {
        let world = World::new().await;
        let new = NewAgent {
            id: AgentId::from_random(&id(52)),
            name: name("c"),
            authentication: dns("c.example"),
            binding: Binding::Certificate,
            ..world.new_agent()
        };
        let agent = world.store.register_agent(&act(1), &new).await.unwrap().record;
        assert_eq!((agent.state, agent.binding), (LifeCycle::Active, Binding::Certificate));
        assert_eq!(world.store.agent(&agent.id).await.unwrap(), agent);
        assert_eq!(agent.authentication, dns("c.example"));
    }

    #[tokio::test]
    async fn a_certificate_name_is_one_agents() {
        let world = World::new().await;
        let set = async |agent: &AgentId, authentication: &Authentication| {
            let wanted = (authentication, Binding::Certificate);
            world.store.set_agent_authentication(&act(1), agent, wanted).await
        };
        let first = set(&world.agent, &dns("a.example")).await.unwrap().record;
        assert_eq!(first.state, LifeCycle::Active);
        let new =
            NewAgent { id: AgentId::from_random(&id(53)), name: name("d"), ..world.new_agent() };
        let other = world.store.register_agent(&act(2), &new).await.unwrap().record.id;
        let taken = set(&other, &dns("a.example")).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::KeyTaken))));
        assert!(set(&other, &dns("d.example")).await.is_ok());
        // Given up, it can be another one's; a retired agent gives nothing up.
        set(&world.agent, &Authentication::PrivateKeyJwt).await.unwrap();
        assert!(set(&other, &dns("a.example")).await.is_ok());
        world.store.set_agent_state(&act(3), &other, LifeCycle::Retired).await.unwrap();
        assert!(set(&world.agent, &dns("a.example")).await.is_err());
        assert!(set(&other, &dns("e.example")).await.is_err());
    }

    #[tokio::test]
    async fn another_way_ends_what_the_old_one_got() {
        let world = World::new().await;
        let set = async |now_s, way: &Authentication, binding| {
            let (store, act) = (&world.store, act(now_s));
            let set = store.set_agent_authentication(&act, &world.agent, (way, binding));
            let agent = set.await.unwrap().record;
            assert_eq!(world.store.agent(&world.agent).await.unwrap(), agent);
            agent.stop_ended_s
        };
        let by_key = Authentication::PrivateKeyJwt;
        assert_eq!(set(1, &by_key, Binding::Dpop).await, None);
        assert_eq!(set(2, &dns("a.example"), Binding::Certificate).await, Some(2));
        assert_eq!(set(3, &dns("a.example"), Binding::Certificate).await, Some(2));
        assert_eq!(set(4, &dns("a.example"), Binding::Dpop).await, Some(4));
        assert_eq!(set(5, &dns("b.example"), Binding::Dpop).await, Some(5));
        assert_eq!(set(6, &by_key, Binding::Dpop).await, Some(6));
    }

    #[tokio::test]
    async fn the_end_of_a_stop_is_remembered() {
        let world = World::new().await;
        let (store, agent) = (&world.store, &world.agent);
        let set = async |now_s, state| {
            store.set_agent_state(&act(now_s), agent, state).await.unwrap().record
        };
        let active = set(1, LifeCycle::Active).await;
        assert_eq!(active.stop_ended_s, None);
        assert_eq!(set(2, LifeCycle::Suspended).await.stop_ended_s, None);
        let resumed = set(3, LifeCycle::Active).await;
        assert_eq!(resumed.stop_ended_s, Some(3));
        assert_eq!(store.agent(agent).await.unwrap(), resumed);
        assert_eq!(set(4, LifeCycle::Suspended).await.stop_ended_s, Some(3));
        // Another owner ends what the old one's stop was.
        let owned = store.set_agent_owner(&act(5), agent, &world.owner.id).await.unwrap().record;
        assert_eq!(owned.stop_ended_s, Some(5));
        assert_eq!(store.agent(agent).await.unwrap(), owned);
        let owner = &world.owner.id;
        store.set_owner_state(&act(6), owner, LifeCycle::Suspended).await.unwrap();
        store.set_owner_state(&act(7), owner, LifeCycle::Active).await.unwrap();
        assert_eq!(store.owners().await.unwrap()[0].stop_ended_s, Some(7));
        let server = &world.server;
        store.set_server_state(&act(8), server, LifeCycle::Suspended).await.unwrap();
        store.set_server_state(&act(9), server, LifeCycle::Active).await.unwrap();
        assert_eq!(store.server(server).await.unwrap().stop_ended_s, Some(9));
        store.set_server_owner(&act(10), server, owner).await.unwrap();
        assert_eq!(store.server(server).await.unwrap().stop_ended_s, Some(10));
    }

    #[tokio::test]
    async fn a_name_stays_taken_after_retirement() {
        let world = World::new().await;
        world.store.set_agent_state(&act(1), &world.agent, LifeCycle::Retired).await.unwrap();
        let twin = NewAgent { id: AgentId::from_random(&id(51)), ..world.new_agent() };
        let refused = world.store.register_agent(&act(2), &twin).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::NameTaken)));
        let back = world.store.set_agent_state(&act(3), &world.agent, LifeCycle::Active).await;
        assert!(matches!(back, Err(StoreError::Refused(Refusal::Transition(_)))));
    }
}
