//! Small records for the tests of this crate.

use std::collections::BTreeSet;

use attorn_jose::Jkt;

use crate::{
    Agent, AgentId, AgentKey, AgentKind, Approved, Class, ClientSource, Consent, ConsentId,
    Effects, Grant, GrantId, KeyState, LifeCycle, Lock, LockId, LockTarget, McpServer, Name, Owner,
    OwnerId, Person, PersonGrant, PersonId, PersonOrGroup, PublicClient, ScopePattern, ScopeSet,
    ServerId, Tool, UpstreamSpec,
};

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A thumbprint whose bytes are all the same.
pub(crate) fn jkt(byte: u8) -> Jkt {
    Jkt::from_bytes([byte; 32])
}

pub(crate) fn agent_key(byte: u8) -> AgentKey {
    AgentKey {
        jkt: jkt(byte),
        jwk: "{}".into(),
        state: KeyState::Active,
        not_before_s: 0,
        not_after_s: None,
    }
}

pub(crate) fn owner() -> Owner {
    Owner {
        id: OwnerId::from_random(&[1; 16]),
        name: name("ann"),
        email: None,
        state: LifeCycle::Active,
        created_s: 0,
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
        keys: vec![agent_key(1)],
        authentication: crate::Authentication::PrivateKeyJwt,
        binding: crate::Binding::Dpop,
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
        authentication: crate::Authentication::None,
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
        display_name: Some("Paula".into()),
        state: LifeCycle::Active,
        roles: BTreeSet::new(),
        groups: BTreeSet::from([name("sales")]),
        external: None,
        provided: crate::Provided::default(),
        created_s: 0,
        stop_ended_s: None,
    }
}

/// A grant to [`person`] at [`server`].
pub(crate) fn person_grant(pattern: &str) -> PersonGrant {
    PersonGrant {
        id: GrantId::from_random(&[8; 16]),
        to: PersonOrGroup::Person { person: person().id },
        server: server("crm", Vec::new()).id,
        scopes: vec![ScopePattern::parse(pattern).unwrap()],
        created_s: 0,
        expires_s: None,
        revoked_s: None,
    }
}

/// A consent of [`person`] for [`agent`] at [`server`].
pub(crate) fn consent(scopes: &str) -> Consent {
    Consent {
        id: ConsentId::from_random(&[8; 16]),
        person: person().id,
        agent: agent().id,
        server: server("crm", Vec::new()).id,
        scopes: ScopeSet::parse(scopes).unwrap(),
        created_s: 0,
        expires_s: 1_000_000,
        revoked_s: None,
    }
}

pub(crate) fn tool(name: &str, approved: Option<Class>) -> Tool {
    let digest = [3; 32];
    Tool {
        name: name.into(),
        definition: "{}".into(),
        digest,
        approved: approved.map(|class| Approved {
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

pub(crate) fn server(server_name: &str, tools: Vec<Tool>) -> McpServer {
    McpServer {
        id: ServerId::from_random(&[4; 16]),
        name: name(server_name),
        owner: Some(owner().id),
        state: LifeCycle::Active,
        upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() },
        keys: Vec::new(),
        tools: tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
        created_s: 0,
        stop_ended_s: None,
        accept_bearer: BTreeSet::new(),
    }
}

/// A grant to [`agent`] at [`server`].
pub(crate) fn grant(pattern: &str) -> Grant {
    Grant {
        id: GrantId::from_random(&[5; 16]),
        agent: agent().id,
        server: server("crm", Vec::new()).id,
        patterns: vec![ScopePattern::parse(pattern).unwrap()],
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

pub(crate) fn lock(target: LockTarget, expires_s: u64) -> Lock {
    Lock {
        id: LockId::from_random(&[6; 16]),
        target,
        reason: "leaked".into(),
        by: "ann".into(),
        created_s: 0,
        expires_s,
        lifted_s: None,
    }
}
