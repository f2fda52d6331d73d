//! The registry of the tests: one owner, agent, MCP server, grant, and the API behind the server.

use attorn_jose::SigningKey;
use attorn_policy::PolicySet;
use attorn_registry::{
    Agent, AgentId, AgentKey, AgentKind, Approved, Class, Downstream, Effects, Grant, GrantId,
    HttpMethod, IssuerKey, KeyHolder, KeyState, LifeCycle, Lock, LockId, LockTarget, McpServer,
    Name, OperationId, Owner, OwnerId, PathTemplate, PolicySource, Resource, ResourceId,
    ResourceOperation, ScopePattern, ServerId, ServerKey, SnapshotParts, Tool, UpstreamSpec,
};

use crate::world::{BILLING, NOW_S};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn owner_id() -> OwnerId {
    OwnerId::from_random(&[1; 16])
}

pub(crate) fn agent_id() -> AgentId {
    AgentId::from_random(&[2; 16])
}

pub(crate) fn server_id() -> ServerId {
    ServerId::from_random(&[4; 16])
}

pub(crate) fn grant_id() -> GrantId {
    GrantId::from_random(&[5; 16])
}

pub(crate) fn resource_id() -> ResourceId {
    ResourceId::from_random(&[7; 16])
}

pub(crate) fn lock(target: LockTarget) -> Lock {
    Lock {
        id: LockId::from_random(&[6; 16]),
        target,
        reason: "leaked".into(),
        by: "ann".into(),
        created_s: NOW_S,
        expires_s: NOW_S + 1000,
        lifted_s: None,
    }
}

/// Policies in version 7.
pub(crate) fn policy(text: &str) -> PolicySource {
    PolicySource { version: 7, text: text.to_owned() }
}

fn tool(text: &str, class: Class) -> Tool {
    let approved = Approved {
        digest: [1; 32],
        class,
        rules: Vec::new(),
        effects: Effects::default(),
        by: "ann".into(),
        at_s: 0,
    };
    Tool {
        name: text.into(),
        definition: format!("{{\"name\":\"{text}\"}}"),
        digest: [1; 32],
        approved: Some(approved),
        proposed_class: class,
        seen_s: 0,
    }
}

fn agent(key: &SigningKey) -> Agent {
    Agent {
        id: agent_id(),
        name: name("billing-agent"),
        kind: AgentKind::Agent,
        owner: Some(owner_id()),
        state: LifeCycle::Active,
        keys: vec![AgentKey {
            jkt: key.public().thumbprint(),
            jwk: key.public().to_jwk(None),
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

pub(crate) fn operation(
    id: &str,
    class: Class,
    method: HttpMethod,
    path: &str,
) -> ResourceOperation {
    let (id, path) = (OperationId::parse(id).unwrap(), PathTemplate::parse(path).unwrap());
    ResourceOperation { id, class, method, path }
}

/// The API, and what the server may get there.
fn billing() -> Resource {
    let rule = |from: &str, to: &str| Downstream {
        server: server_id(),
        from: ScopePattern::parse(from).unwrap(),
        to: ScopePattern::parse(to).unwrap(),
    };
    Resource {
        id: resource_id(),
        name: name("billing"),
        url: BILLING.into(),
        owner: Some(owner_id()),
        state: LifeCycle::Active,
        key: None,
        operations: vec![
            operation("invoice.get", Class::Read, HttpMethod::Get, "/invoices/{id}"),
            operation("invoice.search", Class::Read, HttpMethod::Get, "/invoices/search"),
            operation("invoice.pay", Class::Write, HttpMethod::Post, "/invoices/{id}/pay"),
            operation("about", Class::Read, HttpMethod::Get, "/"),
        ],
        downstreams: vec![
            rule("read:get", "read:invoice.get"),
            rule("read:get", "read:about"),
            rule("write:set", "write:invoice.pay"),
        ],
        created_s: 0,
    }
}

pub(crate) fn snapshot(
    issuer: &SigningKey,
    agent_key: &SigningKey,
    server_key: &SigningKey,
) -> SnapshotParts {
    let tools = [tool("get", Class::Read), tool("set", Class::Write)];
    SnapshotParts {
        version: 1,
        epoch: 1,
        owners: vec![Owner {
            id: owner_id(),
            name: name("ann"),
            email: None,
            state: LifeCycle::Active,
            created_s: 0,
            stop_ended_s: None,
            bound_to: None,
            successor: None,
        }],
        agents: vec![agent(agent_key)],
        servers: vec![McpServer {
            id: server_id(),
            name: name("crm"),
            owner: Some(owner_id()),
            state: LifeCycle::Active,
            upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() },
            keys: vec![ServerKey {
                jkt: server_key.public().thumbprint(),
                jwk: server_key.public().to_jwk(None),
                state: KeyState::Active,
                holder: KeyHolder::Server,
            }],
            tools: tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
            created_s: 0,
            stop_ended_s: None,
            accept_bearer: std::collections::BTreeSet::new(),
        }],
        resources: vec![billing()],
        grants: vec![Grant {
            id: grant_id(),
            agent: agent_id(),
            server: server_id(),
            patterns: ["read:*", "write:set"].map(|one| ScopePattern::parse(one).unwrap()).to_vec(),
            constraints: Vec::new(),
            awaits_second: false,
            confirmed_by: None,
            expires_s: None,
            revoked_s: None,
            by: "ann".into(),
            reason: "test".into(),
            created_s: 0,
        }],
        issuer_keys: vec![IssuerKey {
            kid: "key-1".into(),
            jwk: issuer.public().to_jwk(Some("key-1")),
            state: KeyState::Active,
        }],
        policy: policy(PolicySet::starter_text()),
        ..SnapshotParts::default()
    }
}
