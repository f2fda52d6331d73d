//! A small registry for the tests of this crate.

use std::collections::BTreeSet;
use std::path::Path;

use attorn_jose::{Algorithm, SigningKey};
use attorn_registry::{
    AgentId, AgentKind, AnswersForAgent, Approval, ApprovalCall, ApprovalId, ApprovalRequest,
    ApprovalState, ApprovalTerms, Approver, ApproverKind, Authentication, Binding, Consent,
    ConsentId, Grant, GrantId, Jkt, Name, OwnerId, PasskeyId, PersonGrant, PersonId, PersonOrGroup,
    ResourceId, ScopePattern, ScopeSet, ServerId, UpstreamSpec,
};
use attorn_webauthn::CredentialId;

use crate::on_postgres::Fresh;
use crate::{
    Act, NewAgent, NewOwner, NewPerson, NewResource, NewServer, Passkey, PersonSettings, Store,
};

/// An owner, a pending agent and a server.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) owner: NewOwner,
    pub(crate) agent: AgentId,
    pub(crate) server: ServerId,
    _database: Option<Fresh>,
}

/// An operator who approves.
pub(crate) fn bob() -> Approver<'static> {
    Approver {
        id: "bob",
        kind: ApproverKind::Operator,
        owner: None,
        behind: BTreeSet::new(),
        unbound: false,
        answers_for_agent: AnswersForAgent::No,
    }
}

pub(crate) fn act(now_s: u64) -> Act<'static> {
    Act { by: "own_test", now_s }
}

pub(crate) fn id(seed: u8) -> [u8; 16] {
    [seed; 16]
}

pub(crate) fn key(seed: u8) -> Jkt {
    Jkt::from_bytes([seed; 32])
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

impl World {
    /// In memory, or in a database of PostgreSQL: see [`crate::on_postgres`].
    pub(crate) async fn new() -> Self {
        match Fresh::make().await {
            Some((fresh, store)) => Self { _database: Some(fresh), ..Self::with(store).await },
            None => Self::with(Store::in_memory().await.unwrap()).await,
        }
    }

    /// The same, for several connections at once: on SQLite they need a file.
    pub(crate) async fn for_several(path: &Path) -> Self {
        match Fresh::make().await {
            Some((fresh, store)) => Self { _database: Some(fresh), ..Self::with(store).await },
            None => Self::at(path.to_str().unwrap()).await,
        }
    }

    pub(crate) async fn at(path: &str) -> Self {
        Self::with(Store::open(path).await.unwrap()).await
    }

    pub(crate) async fn with(store: Store) -> Self {
        let world = Self::on(store);
        world.store.create_owner(&act(0), &world.owner).await.unwrap();
        world.store.register_agent(&act(0), &world.new_agent()).await.unwrap();
        world.store.register_server(&act(0), &world.new_server()).await.unwrap();
        world
    }

    /// A store that holds such a registry already.
    pub(crate) fn on(store: Store) -> Self {
        Self {
            store,
            owner: NewOwner {
                id: OwnerId::from_random(&id(1)),
                name: name("ann"),
                email: Some("ann@example.org".into()),
            },
            agent: AgentId::from_random(&id(2)),
            server: ServerId::from_random(&id(3)),
            _database: None,
        }
    }

    pub(crate) fn new_agent(&self) -> NewAgent {
        NewAgent {
            expires_s: None,
            id: self.agent.clone(),
            name: name("billing"),
            kind: AgentKind::Agent,
            owner: self.owner.id.clone(),
            authentication: Authentication::PrivateKeyJwt,
            binding: Binding::Dpop,
        }
    }

    pub(crate) fn new_approval(&self, seed: u8) -> ApprovalRequest {
        let call = ApprovalCall {
            agent: self.agent.clone(),
            subject: "ann".into(),
            server: self.server.clone(),
            tool: "pay".into(),
            definition: [1; 32],
            arguments: [seed; 32],
            terms: ApprovalTerms::default(),
        };
        ApprovalRequest {
            approval: Approval {
                id: ApprovalId::from_random(&id(seed)),
                call,
                excluded: vec!["ann".into()],
                asked_s: 10,
                expires_s: 70,
                state: ApprovalState::Pending { first: None },
            },
            arguments: r#"{"id":1}"#.into(),
            actors: None,
            decision: "dec_0".into(),
            trace_id: None,
            asked_by: "gateway".into(),
        }
    }

    pub(crate) fn new_server(&self) -> NewServer {
        NewServer {
            id: self.server.clone(),
            name: name("crm"),
            owner: self.owner.id.clone(),
            upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() },
        }
    }

    pub(crate) fn new_resource(&self) -> NewResource {
        NewResource {
            id: ResourceId::from_random(&id(5)),
            name: name("billing"),
            url: "https://api.example/billing".into(),
            owner: self.owner.id.clone(),
        }
    }

    pub(crate) fn person(&self) -> PersonId {
        PersonId::from_random(&id(80))
    }

    pub(crate) fn new_person(&self) -> NewPerson {
        NewPerson {
            id: self.person(),
            name: name("paula"),
            settings: PersonSettings::default(),
            external: None,
            provided: attorn_registry::Provided::default(),
        }
    }

    /// A person who has a password.
    pub(crate) async fn active_person(&self) -> PersonId {
        let id = self.store.create_person(&act(1), &self.new_person()).await.unwrap().record.id;
        self.store.create_invitation(&act(1), &id, [90; 32]).await.unwrap();
        self.store.redeem_invitation(&act(2), &[90; 32], "$argon2id$marked-fixture").await.unwrap();
        id
    }

    pub(crate) fn new_passkey(&self, seed: u8) -> Passkey {
        let key = SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).unwrap();
        Passkey {
            id: PasskeyId::from_random(&id(seed)),
            person: self.person(),
            name: "laptop".into(),
            credential: CredentialId::new(&[seed; 16]).unwrap(),
            public_key: key.public().clone(),
            sign_count: 0,
            created_s: 10,
            used_s: None,
        }
    }

    pub(crate) fn new_person_grant(&self, person: &PersonId) -> PersonGrant {
        PersonGrant {
            id: GrantId::from_random(&id(85)),
            to: PersonOrGroup::Person { person: person.clone() },
            server: self.server.clone(),
            scopes: vec![ScopePattern::parse("read:*").unwrap()],
            created_s: 0,
            expires_s: None,
            revoked_s: None,
        }
    }

    pub(crate) fn new_consent(&self, person: &PersonId) -> Consent {
        Consent {
            id: ConsentId::from_random(&id(86)),
            person: person.clone(),
            agent: self.agent.clone(),
            server: self.server.clone(),
            scopes: ScopeSet::parse("read:get").unwrap(),
            created_s: 0,
            expires_s: 1_000_000,
            revoked_s: None,
        }
    }

    pub(crate) fn new_grant(&self) -> Grant {
        Grant {
            id: GrantId::from_random(&id(4)),
            agent: self.agent.clone(),
            server: self.server.clone(),
            patterns: vec![ScopePattern::parse("read:*").unwrap()],
            constraints: Vec::new(),
            awaits_second: false,
            confirmed_by: None,
            expires_s: None,
            revoked_s: None,
            by: String::new(),
            reason: "test".into(),
            created_s: 0,
        }
    }
}
