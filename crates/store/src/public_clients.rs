//! The public clients of people.

use attorn_registry::{
    Agent, AgentId, AgentKind, Authentication, Binding, LifeCycle, Name, OwnerId, PublicClient,
    document_subject,
};

use crate::Store;
use crate::agents::agent_by_id;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, Refusal, StoreError};
use crate::owners::active_owner;

const COLUMNS: Columns = Columns("agents");

/// A public client to be.
#[derive(Clone, Debug)]
pub struct NewPublicClient {
    /// Stable identifier.
    pub id: AgentId,
    /// Unique among agents, operators and clients.
    pub name: Name,
    /// Who answers for it. One that came by itself may have nobody: then whoever signs in does.
    pub owner: Option<OwnerId>,
    /// What is known about it.
    pub client: PublicClient,
}

impl Store {
    /// Registers a public client, active at once.
    ///
    /// # Errors
    /// The owner is unknown or not active, the name or the address of its document is taken, or the
    /// record breaks a rule of its own.
    pub async fn register_public_client(
        &self,
        act: &Act<'_>,
        new: &NewPublicClient,
    ) -> Result<Changed<Agent>, StoreError> {
        new.client.verify().map_err(Refusal::Client)?;
        let mut change = Change::begin(self, *act).await?;
        if let Some(owner) = &new.owner {
            active_owner(change.connection(), owner).await?;
        }
        sqlx::query(
            "INSERT INTO agents
             (id, name, kind, owner, state, created_s, authentication, binding, expires_s, client)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(new.id.as_str())
        .bind(new.name.as_str())
        .bind(AgentKind::Client.as_str())
        .bind(new.owner.as_ref().map(OwnerId::as_str))
        .bind(LifeCycle::Active.as_str())
        .bind(COLUMNS.number(act.now_s)?)
        .bind(COLUMNS.to_json(&Authentication::None)?)
        .bind(Binding::Dpop.as_str())
        .bind(COLUMNS.maybe_number(new.client.expires_s())?)
        .bind(COLUMNS.to_json(&new.client)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
        if let Some(subject) = new.client.subject() {
            sqlx::query("INSERT INTO agent_subjects (subject, agent) VALUES ($1, $2)")
                .bind(subject)
                .bind(new.id.as_str())
                .execute(change.connection())
                .await
                .map_err(|error| StoreError::unique(error, Refusal::KeyTaken))?;
        }
        let record = agent_by_id(change.connection(), &new.id).await?;
        change.finish(ChangeKind::AgentRegistered, new.id.as_str(), record).await
    }

    /// Writes what is known about a client now: a document was read again, or a registration is used
    /// and lasts longer. It stays the client it was.
    ///
    /// # Errors
    /// No such client, another source than it had, or the record breaks a rule of its own.
    pub async fn set_public_client(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        client: &PublicClient,
    ) -> Result<Changed<Agent>, StoreError> {
        client.verify().map_err(Refusal::Client)?;
        let mut change = Change::begin(self, *act).await?;
        let agent = agent_by_id(change.connection(), id).await?;
        let before = agent.client.as_ref().ok_or(Refusal::ClientUnsuited)?;
        let same_kind =
            std::mem::discriminant(&before.source) == std::mem::discriminant(&client.source);
        if !same_kind || before.subject() != client.subject() {
            return Err(Refusal::ClientUnsuited.into());
        }
        let expires_s = client.expires_s();
        sqlx::query("UPDATE agents SET client = $1, expires_s = $2 WHERE id = $3")
            .bind(COLUMNS.to_json(client)?)
            .bind(COLUMNS.maybe_number(expires_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = Agent { client: Some(client.clone()), expires_s, ..agent };
        change.finish(ChangeKind::ClientSet, id.as_str(), record).await
    }

    /// The client whose document is at this address, in whatever state.
    ///
    /// # Errors
    /// The database fails.
    pub async fn public_client_at(&self, url: &str) -> Result<Option<Agent>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let row: Option<(String,)> =
            sqlx::query_as("SELECT agent FROM agent_subjects WHERE subject = $1")
                .bind(document_subject(url))
                .fetch_optional(&mut *connection)
                .await?;
        let Some((id,)) = row else { return Ok(None) };
        Ok(Some(agent_by_id(&mut connection, &COLUMNS.parse(&id)?).await?))
    }

    /// How many clients registered themselves and have not ended: what a quota counts.
    ///
    /// # Errors
    /// The database fails.
    pub async fn dynamic_clients(&self, now_s: u64) -> Result<u64, Failure> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM agents WHERE kind = $1 AND state = $2 AND expires_s > $3",
        )
        .bind(AgentKind::Client.as_str())
        .bind(LifeCycle::Active.as_str())
        .bind(COLUMNS.number(now_s)?)
        .fetch_one(&self.pool)
        .await?;
        COLUMNS.count(count)
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{ClientSource, Grant};

    use super::*;
    use crate::fixtures::{World, act, id, name};

    fn new(seed: u8, text: &str, source: ClientSource) -> NewPublicClient {
        NewPublicClient {
            id: AgentId::from_random(&id(seed)),
            name: name(text),
            owner: None,
            client: PublicClient {
                redirect_uris: vec!["http://127.0.0.1/callback".into()],
                source,
                display_name: "Editor".into(),
            },
        }
    }

    fn document(url: &str) -> ClientSource {
        ClientSource::MetadataDocument { url: url.into() }
    }

    #[tokio::test]
    async fn a_client_has_no_key_and_nobody_has_to_answer_for_it() {
        let world = World::new().await;
        let store = &world.store;
        let of = new(60, "editor", ClientSource::Dynamic { expires_s: 100 });
        let client = store.register_public_client(&act(5), &of).await.unwrap().record;
        assert_eq!(
            (client.kind, &client.authentication),
            (AgentKind::Client, &Authentication::None)
        );
        assert_eq!((client.state, client.expires_s), (LifeCycle::Active, Some(100)));
        assert_eq!(client.client, Some(of.client.clone()));
        assert_eq!(store.agent(&of.id).await.unwrap(), client);
        assert_eq!(store.dynamic_clients(99).await.unwrap(), 1);
        assert_eq!(store.dynamic_clients(100).await.unwrap(), 0);
        let snapshot = store.load_snapshot(50_000).await.unwrap();
        assert!(snapshot.acting_for_people(&of.id, 99).is_ok());
        assert!(snapshot.acting_for_people(&of.id, 100).is_err());
        assert!(snapshot.acting_agent(&of.id, 99).is_err());
        let longer = ClientSource::Dynamic { expires_s: 200 };
        let longer = PublicClient { source: longer, ..of.client.clone() };
        let set = store.set_public_client(&act(6), &of.id, &longer).await.unwrap().record;
        assert_eq!(set.expires_s, Some(200));
    }

    #[tokio::test]
    async fn a_document_is_one_client() {
        let world = World::new().await;
        let store = &world.store;
        let url = "https://client.example/metadata";
        let of = new(60, "editor", document(url));
        let client = store.register_public_client(&act(5), &of).await.unwrap().record;
        assert_eq!(store.public_client_at(url).await.unwrap(), Some(client));
        assert_eq!(store.public_client_at("https://client.example/").await.unwrap(), None);
        let twin = store.register_public_client(&act(6), &new(61, "other", document(url))).await;
        assert!(matches!(twin, Err(StoreError::Refused(Refusal::KeyTaken))));
        let moved = new(60, "editor", document("https://evil.example/metadata")).client;
        let refused = store.set_public_client(&act(7), &of.id, &moved).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let renamed = PublicClient { display_name: "Better editor".into(), ..of.client };
        assert!(store.set_public_client(&act(7), &of.id, &renamed).await.is_ok());
    }

    #[tokio::test]
    async fn an_agent_is_no_client() {
        let world = World::new().await;
        let store = &world.store;
        let client = new(60, "editor", ClientSource::Registered).client;
        let refused = store.set_public_client(&act(5), &world.agent, &client).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let open = (&Authentication::None, Binding::Dpop);
        let refused = store.set_agent_authentication(&act(5), &world.agent, open).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let owner = Some(world.owner.id.clone());
        let of = NewPublicClient { owner, ..new(60, "editor", ClientSource::Registered) };
        store.register_public_client(&act(6), &of).await.unwrap();
        let refused = store.create_enrolment(&act(7), &of.id, [1; 32]).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let grant = Grant { agent: of.id.clone(), ..world.new_grant() };
        let refused = store.create_grant(&act(7), &grant).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
        let keyed = (&Authentication::PrivateKeyJwt, Binding::Dpop);
        let refused = store.set_agent_authentication(&act(7), &of.id, keyed).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ClientUnsuited))));
    }
}
