//! What every run begins with: a registry that was prepared once, and the keys.

use std::path::{Path, PathBuf};

use attorn_jose::{Algorithm, SigningKey, sha256};
use attorn_oauth::access_token::IssuerKeys;
use attorn_policy::PolicySet;
use attorn_registry::{
    AgentId, AgentKind, Authentication, Binding, Class, Grant, GrantId, IssuerKey, KeyState,
    LifeCycle, Name, NameError, OwnerId, ScopePattern, ServerId, UpstreamSpec,
};
use attorn_store::{Act, Confirmed, NewAgent, NewOwner, NewServer, SeenTool, Store};

use super::broken;
use super::truth::AGENTS;
use crate::step::StepFailed;

pub(super) const ISSUER: &str = "https://id.example";
pub(super) const RESOURCE: &str = "https://gw.example/crm/mcp";
pub(super) const KID: &str = "k1";
pub(super) const TOOL: &str = "get";
pub(super) const GATEWAYS: usize = 2;
/// When every run begins.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// The same for every seed.
pub(super) struct World {
    pub(super) folder: PathBuf,
    pub(super) issuer: SigningKey,
    pub(super) keys: IssuerKeys,
    pub(super) agents: Vec<(AgentId, SigningKey)>,
    pub(super) gateways: Vec<AgentId>,
    pub(super) server: ServerId,
}

impl World {
    pub(super) async fn prepared(folder: &Path) -> Result<Self, StepFailed> {
        let issuer = key(1)?;
        let keys = [(KID.to_owned(), issuer.public().clone())];
        let agents = (0..AGENTS).map(|place| {
            let number = u8::try_from(place).unwrap_or_default();
            Ok((AgentId::from_random(&[10 + number; 16]), key(10 + number)?))
        });
        let world = Self {
            folder: folder.to_path_buf(),
            keys: IssuerKeys::new(keys).map_err(broken)?,
            issuer,
            agents: agents.collect::<Result<_, StepFailed>>()?,
            gateways: [20, 21].map(|number| AgentId::from_random(&[number; 16])).to_vec(),
            server: ServerId::from_random(&[3; 16]),
        };
        let store = Store::open(&world.prepared_path()).await.map_err(broken)?;
        world.fill(&store).await.map_err(broken)?;
        // The last connection puts the write-ahead log into the file.
        store.close().await;
        Ok(world)
    }

    /// The registry to copy.
    pub(super) fn prepared_path(&self) -> String {
        self.folder.join("prepared.db").display().to_string()
    }

    async fn fill(&self, store: &Store) -> Result<(), Box<dyn std::error::Error>> {
        let act = act(START_MS);
        let owner =
            NewOwner { id: OwnerId::from_random(&[1; 16]), name: Name::parse("ann")?, email: None };
        store.create_owner(&act, &owner).await?;
        let server = NewServer {
            id: self.server.clone(),
            name: Name::parse("crm")?,
            owner: owner.id.clone(),
            upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".to_owned() },
        };
        store.register_server(&act, &server).await?;
        let tool = seen_tool(0);
        store.record_seen_tools(&act, &self.server, std::slice::from_ref(&tool)).await?;
        let confirmed = Confirmed::plain(tool.digest, Class::Read);
        store.approve_tool(&act, &self.server, TOOL, &confirmed).await?;
        for (number, (id, key)) in self.agents.iter().enumerate() {
            let agent = new_agent(id, &format!("agent-{number}"), AgentKind::Agent, &owner.id)?;
            store.register_agent(&act, &agent).await?;
            let public = (key.public().thumbprint(), "{}");
            store.rotate_agent_key(&act, id, public, 0).await?;
            store.set_agent_state(&act, id, LifeCycle::Active).await?;
            store
                .create_grant(&act, &self.grant(number, [u8::try_from(number).unwrap_or(0); 16]))
                .await?;
        }
        for (number, id) in self.gateways.iter().enumerate() {
            let gateway =
                new_agent(id, &format!("gateway-{number}"), AgentKind::Gateway, &owner.id)?;
            store.register_agent(&act, &gateway).await?;
        }
        let jwk = self.issuer.public().to_jwk(Some(KID));
        let issuer_key = IssuerKey { kid: KID.to_owned(), jwk, state: KeyState::Active };
        store.add_issuer_key(&act, &issuer_key).await?;
        store.apply_policy(&act, PolicySet::starter_text(), "start").await?;
        Ok(())
    }

    /// A grant of the tool to an agent.
    pub(super) fn grant(&self, agent: usize, id: [u8; 16]) -> Grant {
        let agent = self.agents.get(agent).map(|(id, _)| id.clone());
        Grant {
            id: GrantId::from_random(&id),
            agent: agent.unwrap_or_else(|| AgentId::from_random(&[0; 16])),
            server: self.server.clone(),
            patterns: vec![ScopePattern::All(Class::Read)],
            constraints: Vec::new(),
            awaits_second: false,
            confirmed_by: None,
            expires_s: None,
            revoked_s: None,
            by: String::new(),
            reason: "simulated".to_owned(),
            created_s: 0,
        }
    }
}

pub(super) fn act(now_ms: u64) -> Act<'static> {
    Act { by: "operator", now_s: now_ms / 1000 }
}

/// The tool as its server shows it the `edition`th time.
pub(super) fn seen_tool(edition: u64) -> SeenTool {
    let definition = format!(r#"{{"edition":{edition},"name":"{TOOL}"}}"#);
    SeenTool {
        name: TOOL.to_owned(),
        digest: sha256(definition.as_bytes()),
        definition,
        proposed_class: Class::Read,
    }
}

fn new_agent(
    id: &AgentId,
    text: &str,
    kind: AgentKind,
    owner: &OwnerId,
) -> Result<NewAgent, NameError> {
    Ok(NewAgent {
        id: id.clone(),
        name: Name::parse(text)?,
        kind,
        owner: owner.clone(),
        authentication: Authentication::PrivateKeyJwt,
        binding: Binding::Dpop,
        expires_s: None,
    })
}

fn key(seed: u8) -> Result<SigningKey, StepFailed> {
    SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).map_err(broken)
}
