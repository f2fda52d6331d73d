//! A small world for the tests of this crate.

use std::collections::BTreeSet;

use attorn_registry::{
    Agent, AgentId, AgentKey, AgentKind, Approved, AuthorizationDetails, Class, ClientSource,
    Consent, ConsentId, Effects, Grant, GrantId, Jkt, KeyState, LifeCycle, Lock, LockId,
    LockTarget, McpServer, Name, Owner, OwnerId, Person, PersonGrant, PersonId, PersonOrGroup,
    PolicySource, PublicClient, ScopePattern, ScopeSet, ServerId, Snapshot, SnapshotParts, Tool,
    UpstreamSpec,
};

use crate::{Operation, PolicySet, Request};

pub(crate) const NOW_S: u64 = 1_000;
pub(crate) const KEY: Jkt = Jkt::from_bytes([8; 32]);

/// Everything a request borrows from, changed by a test before it asks.
pub(crate) struct World {
    pub(crate) parts: SnapshotParts,
    pub(crate) policy: String,
    pub(crate) token_scope: ScopeSet,
    pub(crate) token_details: Option<AuthorizationDetails>,
    pub(crate) token_epoch: u64,
    pub(crate) token_issued_s: u64,
    pub(crate) server: &'static str,
    pub(crate) agent: AgentId,
    pub(crate) person: Option<PersonId>,
    pub(crate) arguments: Option<&'static str>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn owner() -> Owner {
    let id = OwnerId::from_random(&[1; 16]);
    let (state, created_s) = (LifeCycle::Active, 0);
    Owner {
        id,
        name: name("ann"),
        email: None,
        state,
        created_s,
        stop_ended_s: None,
        bound_to: None,
        successor: None,
    }
}

pub(crate) fn agent() -> Agent {
    Agent {
        id: AgentId::from_random(&[2; 16]),
        name: name("billing"),
        kind: AgentKind::Agent,
        owner: Some(owner().id),
        state: LifeCycle::Active,
        keys: vec![AgentKey {
            jkt: KEY,
            jwk: "{}".into(),
            state: KeyState::Active,
            not_before_s: 0,
            not_after_s: None,
        }],
        authentication: attorn_registry::Authentication::PrivateKeyJwt,
        binding: attorn_registry::Binding::Dpop,
        created_s: 0,
        stop_ended_s: None,
        expires_s: None,
        client: None,
    }
}

/// A public client of people.
pub(crate) fn client() -> Agent {
    Agent {
        id: AgentId::from_random(&[9; 16]),
        name: name("editor"),
        kind: AgentKind::Client,
        owner: None,
        keys: Vec::new(),
        authentication: attorn_registry::Authentication::None,
        client: Some(PublicClient {
            redirect_uris: vec!["http://127.0.0.1/callback".into()],
            source: ClientSource::Registered,
            display_name: "Editor".into(),
        }),
        ..agent()
    }
}

pub(crate) fn person() -> Person {
    Person {
        id: PersonId::from_random(&[7; 16]),
        name: name("paula"),
        display_name: None,
        state: LifeCycle::Active,
        roles: BTreeSet::new(),
        groups: BTreeSet::from([name("sales")]),
        external: None,
        provided: attorn_registry::Provided::default(),
        created_s: 0,
        stop_ended_s: None,
    }
}

/// A grant to [`person`] at a server.
pub(crate) fn person_grant(server: u8, patterns: &[&str]) -> PersonGrant {
    PersonGrant {
        id: GrantId::from_random(&[100 + server; 16]),
        to: PersonOrGroup::Person { person: person().id },
        server: ServerId::from_random(&[server; 16]),
        scopes: patterns.iter().map(|text| ScopePattern::parse(text).unwrap()).collect(),
        created_s: 0,
        expires_s: None,
        revoked_s: None,
    }
}

/// What [`person`] gave at a server.
pub(crate) fn consent(agent: AgentId, server: u8, scopes: &str) -> Consent {
    Consent {
        id: ConsentId::from_random(&[server; 16]),
        person: person().id,
        agent,
        server: ServerId::from_random(&[server; 16]),
        scopes: ScopeSet::parse(scopes).unwrap(),
        created_s: 0,
        expires_s: NOW_S + 1000,
        revoked_s: None,
    }
}

pub(crate) fn tool(name: &str, class: Option<Class>) -> Tool {
    let digest = [3; 32];
    Tool {
        name: name.into(),
        definition: "{}".into(),
        digest,
        approved: class.map(|class| Approved {
            digest,
            class,
            rules: Vec::new(),
            effects: Effects::default(),
            by: "ann".into(),
            at_s: 0,
        }),
        proposed_class: Class::Write,
        seen_s: 0,
    }
}

pub(crate) fn server(server_name: &str, seed: u8, upstream: UpstreamSpec) -> McpServer {
    let tools = [
        tool("get", Some(Class::Read)),
        tool("pay", Some(Class::Write)),
        tool("drop", Some(Class::Irreversible)),
        tool("new", None),
        Tool { digest: [4; 32], ..tool("changed", Some(Class::Read)) },
    ];
    McpServer {
        id: ServerId::from_random(&[seed; 16]),
        name: name(server_name),
        owner: Some(owner().id),
        state: LifeCycle::Active,
        upstream,
        keys: Vec::new(),
        tools: tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
        created_s: 0,
        stop_ended_s: None,
        accept_bearer: BTreeSet::new(),
    }
}

pub(crate) fn grant(server: u8, patterns: &[&str]) -> Grant {
    Grant {
        id: GrantId::from_random(&[server; 16]),
        agent: agent().id,
        server: ServerId::from_random(&[server; 16]),
        patterns: patterns.iter().map(|text| ScopePattern::parse(text).unwrap()).collect(),
        constraints: Vec::new(),
        awaits_second: false,
        confirmed_by: None,
        expires_s: None,
        revoked_s: None,
        by: "ann".into(),
        reason: "test".into(),
        created_s: 0,
    }
}

pub(crate) fn lock(target: LockTarget) -> Lock {
    Lock {
        id: LockId::from_random(&[6; 16]),
        target,
        reason: "leaked".into(),
        by: "ann".into(),
        created_s: 0,
        expires_s: NOW_S + 1,
        lifted_s: None,
    }
}

impl World {
    /// An agent with every grant and every scope, under the starter policy.
    pub(crate) fn new() -> Self {
        let every = ["read:*", "write:*", "irreversible:*"];
        let http = || UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() };
        let parts = SnapshotParts {
            owners: vec![owner()],
            agents: vec![agent()],
            servers: vec![
                server("crm", 10, http()),
                server("erp", 11, http()),
                server("admin", 12, UpstreamSpec::Builtin),
            ],
            grants: [10, 11, 12].map(|server| grant(server, &every)).into(),
            ..SnapshotParts::default()
        };
        let scopes = "read:get write:pay irreversible:drop read:@resources read:@prompts";
        Self {
            parts,
            policy: PolicySet::starter_text().to_owned(),
            token_scope: ScopeSet::parse(scopes).unwrap(),
            token_details: None,
            token_epoch: 0,
            token_issued_s: NOW_S - 10,
            server: "crm",
            agent: agent().id,
            person: None,
            arguments: None,
        }
    }

    pub(crate) fn with_policy(policy: &str) -> Self {
        Self { policy: policy.to_owned(), ..Self::new() }
    }

    /// Asks something about one operation.
    pub(crate) fn ask<T>(&self, operation: Operation<'_>, ask: impl Fn(&Request<'_>) -> T) -> T {
        let snapshot = Snapshot::new(self.parts.clone());
        let policies = compiled(&self.policy);
        ask(&Request {
            snapshot: &snapshot,
            policies: &policies,
            server: snapshot.server_named(self.server).unwrap(),
            agent: &self.agent,
            person: self.person.as_ref(),
            token_scope: &self.token_scope,
            token_jti: "t1",
            token_key: Some(KEY),
            token_details: self.token_details.as_ref(),
            token_epoch: self.token_epoch,
            token_issued_s: self.token_issued_s,
            operation,
            arguments: self.arguments,
            now_s: NOW_S,
        })
    }
}

pub(crate) fn compiled(text: &str) -> PolicySet {
    PolicySet::compile(&PolicySource { version: 7, text: text.to_owned() }).unwrap()
}
