//! Which client of people a `client_id` names: one that is registered, or the URL of a document.

use attorn_oauth::authorization_request::ShownError;
use attorn_oauth::client_id_url::ClientIdUrl;
use attorn_oauth::client_metadata::ClientMetadata;
use attorn_oauth::redirect_uri::RedirectUri;
use attorn_registry::{
    Agent, AgentId, AgentKind, ClientSource, Name, PublicClient, ReasonCode, Snapshot,
};
use attorn_store::{Act, NewPublicClient, StoreError};

use super::documents::DocumentRefusal;
use super::{People, Registration};
use crate::shared::{PublishError, Shared};

/// A client that may ask people.
#[derive(Clone, Debug)]
pub(crate) struct KnownClient {
    /// By what name it came.
    pub(crate) client_id: String,
    /// Where its codes may be sent.
    pub(crate) redirect_uris: Vec<RedirectUri>,
    /// What people are shown.
    pub(crate) name: String,
    /// How it is known.
    pub(crate) source: Known,
}

/// How a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// By a record of the registry.
    Record {
        /// The record.
        agent: AgentId,
        /// Whether it made the record itself.
        is_dynamic: bool,
    },
    /// By a document at this host. Its record is made once a person who is logged in looks at it.
    Document {
        /// The host.
        host: String,
    },
}

/// Why a `client_id` names nobody here. The client is told one thing for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) ReasonCode);

impl KnownClient {
    /// Looks a client up. A document may be fetched for it.
    pub(crate) async fn find(
        (shared, people): (&Shared, &People),
        client_id: &str,
        now_s: u64,
    ) -> Result<Self, Unknown> {
        if ClientIdUrl::is_meant(client_id) {
            return Self::of_document((shared, people), client_id, now_s).await;
        }
        let snapshot = shared.published.load();
        let agent = registered(&snapshot, client_id, now_s).map_err(Unknown)?;
        people.verify_open(agent).map_err(Unknown)?;
        let client = agent.client.as_ref().ok_or(Unknown(ReasonCode::ClientUnknown))?;
        let is_dynamic = match client.source {
            ClientSource::Registered => false,
            ClientSource::Dynamic { .. } => true,
            // Its name is its URL, which is looked at each time.
            ClientSource::MetadataDocument { .. } => {
                return Err(Unknown(ReasonCode::ClientUnknown));
            }
        };
        Ok(Self {
            client_id: client_id.to_owned(),
            redirect_uris: addresses(client),
            name: client.display_name.clone(),
            source: Known::Record { agent: agent.id.clone(), is_dynamic },
        })
    }

    async fn of_document(
        (shared, people): (&Shared, &People),
        client_id: &str,
        now_s: u64,
    ) -> Result<Self, Unknown> {
        if !people.config.documents {
            return Err(Unknown(ReasonCode::ClientUnknown));
        }
        let url = ClientIdUrl::parse(client_id, &people.config.metadata_hosts)
            .map_err(|_| Unknown(ReasonCode::ClientMetadata))?;
        // One that was stopped here is not asked about again.
        let known = shared.store.public_client_at(client_id).await;
        let known = known.map_err(|_| Unknown(ReasonCode::JournalUnavailable))?;
        if let Some(agent) = known {
            let snapshot = shared.published.load();
            snapshot.acting_for_people(&agent.id, now_s).map_err(Unknown)?;
        }
        let metadata =
            people.documents.read(&url, now_s).await.map_err(|refusal| match refusal {
                DocumentRefusal::Metadata(refusal) => Unknown(refusal.reason()),
                DocumentRefusal::Address
                | DocumentRefusal::Answer
                | DocumentRefusal::Unreachable => Unknown(ReasonCode::ClientMetadata),
                DocumentRefusal::TooMany => Unknown(ReasonCode::RateLimited),
            })?;
        let ClientMetadata { redirect_uris, client_name } = metadata;
        Ok(Self {
            client_id: client_id.to_owned(),
            redirect_uris,
            // Without a name, where it lives is its name.
            name: client_name.unwrap_or_else(|| url.host().to_owned()),
            source: Known::Document { host: url.host().to_owned() },
        })
    }

    /// Whether an operator registered it.
    pub(crate) const fn is_vouched_for(&self) -> bool {
        matches!(self.source, Known::Record { is_dynamic: false, .. })
    }

    /// The record of the client, made or brought up to date if it is a document's. Only for a person
    /// who is logged in: a stranger writes nothing into the registry.
    pub(crate) async fn record(
        &self,
        (shared, people): (&Shared, &People),
        act: &Act<'_>,
    ) -> Result<AgentId, RecordError> {
        match &self.source {
            Known::Record { agent, .. } => return Ok(agent.clone()),
            Known::Document { .. } => {}
        }
        let client = PublicClient {
            redirect_uris: self.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect(),
            source: ClientSource::MetadataDocument { url: self.client_id.clone() },
            display_name: self.name.clone(),
        };
        let _alone = shared.turns.next().await;
        let agent = if let Some(agent) = shared.store.public_client_at(&self.client_id).await? {
            if agent.client.as_ref() == Some(&client) {
                return Ok(agent.id);
            }
            super::register::announce(shared, (&agent.id, agent.owner.as_ref(), &client), act)
                .await?;
            shared.store.set_public_client(act, &agent.id, &client).await?;
            agent.id
        } else {
            // Anybody who is logged in can bring any number of documents.
            let by_whom = format!("documents of {}", act.by);
            let asked = people.registrations.look(&by_whom, PER_PERSON_MAX, act.now_s);
            asked.map_err(|_wait_s| RecordError::TooMany)?;
            people.registrations.count(&by_whom, act.now_s);
            let new = new_client((shared, people), client)?;
            super::register::announce(shared, (&new.id, new.owner.as_ref(), &new.client), act)
                .await?;
            shared.store.register_public_client(act, &new).await?;
            new.id
        };
        shared.publish().await?;
        Ok(agent)
    }
}

/// A record for a client that became known by itself, under the owner of the configuration.
pub(crate) fn new_client(
    (shared, people): (&Shared, &People),
    client: PublicClient,
) -> Result<NewPublicClient, RecordError> {
    let snapshot = shared.published.load();
    let owner = snapshot.owners().find(|owner| owner.name == people.config.owner);
    let owner = owner.ok_or(RecordError::Owner)?.id.clone();
    let id = AgentId::from_random(&shared.random.bytes());
    // Names are for operators; what the client calls itself may be anything, and be taken.
    let name = id.as_str().trim_start_matches("agt_");
    let name = Name::parse(&format!("client-{name}")).map_err(|_| RecordError::Owner)?;
    Ok(NewPublicClient { id, name, owner: Some(owner), client })
}

/// A client that cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the journal takes nothing")]
    Journal(#[from] attorn_journal::JournalUnavailable),
    #[error("the owner of `[authority.clients]` is not there")]
    Owner,
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("too many clients were made known")]
    TooMany,
}

/// New clients that are documents, for one person in an hour.
const PER_PERSON_MAX: u32 = 20;

/// The record of a client that redeems something, by what it calls itself. Nothing is fetched.
pub(crate) async fn redeeming(
    (shared, people): (&Shared, &People),
    snapshot: &Snapshot,
    client_id: &str,
    now_s: u64,
) -> Result<Agent, ReasonCode> {
    if !ClientIdUrl::is_meant(client_id) {
        let agent = registered(snapshot, client_id, now_s)?;
        people.verify_open(agent)?;
        return Ok(agent.clone());
    }
    if !people.config.documents {
        return Err(ReasonCode::ClientUnknown);
    }
    let known = shared.store.public_client_at(client_id).await;
    let known = known.map_err(|_| ReasonCode::JournalUnavailable)?;
    let known = known.ok_or(ReasonCode::ClientUnknown)?;
    snapshot.acting_for_people(&known.id, now_s).cloned()
}

impl People {
    /// A client that registered itself counts while anybody may: closing it ends what came of it.
    fn verify_open(&self, agent: &Agent) -> Result<(), ReasonCode> {
        let source = agent.client.as_ref().map(|client| &client.source);
        let is_dynamic = matches!(source, Some(ClientSource::Dynamic { .. }));
        match self.config.registration {
            Registration::Closed if is_dynamic => Err(ReasonCode::ClientUnknown),
            Registration::Closed | Registration::Open => Ok(()),
        }
    }
}

/// The client of people that a `client_id` names, whatever its standing. Nothing is fetched.
pub(crate) async fn named(
    shared: &Shared,
    snapshot: &Snapshot,
    client_id: &str,
) -> Result<Option<AgentId>, StoreError> {
    if ClientIdUrl::is_meant(client_id) {
        let known = shared.store.public_client_at(client_id).await?;
        return Ok(known.map(|known| known.id));
    }
    let agent = AgentId::parse(client_id).ok().and_then(|id| snapshot.agent(&id));
    Ok(agent.filter(|agent| agent.kind == AgentKind::Client).map(|agent| agent.id.clone()))
}

/// A client of people that may act, by its identifier.
fn registered<'s>(
    snapshot: &'s Snapshot,
    client_id: &str,
    now_s: u64,
) -> Result<&'s Agent, ReasonCode> {
    let id = AgentId::parse(client_id).map_err(|_| ReasonCode::ClientUnknown)?;
    let agent = snapshot.agent(&id).filter(|agent| agent.kind == AgentKind::Client);
    let agent = agent.ok_or(ReasonCode::ClientUnknown)?;
    snapshot.acting_for_people(&agent.id, now_s)
}

/// The addresses of a record. One that could not be registered any more does not count.
pub(crate) fn addresses(client: &PublicClient) -> Vec<RedirectUri> {
    client.redirect_uris.iter().filter_map(|text| RedirectUri::parse(text).ok()).collect()
}

impl From<Unknown> for ShownError {
    fn from(_: Unknown) -> Self {
        Self::ClientUnknown
    }
}
