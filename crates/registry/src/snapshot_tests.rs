use proptest::prelude::*;

use super::*;
use crate::fixtures::{agent, grant, jkt, lock, owner, server, tool};
use crate::{Class, LifeCycle, ScopePattern, UpstreamSpec};

const NOW_S: u64 = 50;

fn parts() -> SnapshotParts {
    let tools =
        vec![tool("get", Some(Class::Read)), tool("put", Some(Class::Write)), tool("new", None)];
    SnapshotParts {
        owners: vec![owner()],
        agents: vec![agent()],
        servers: vec![server("crm", tools)],
        grants: vec![grant("read:*")],
        ..SnapshotParts::default()
    }
}

fn effective(parts: SnapshotParts) -> String {
    let server = parts.servers[0].id.clone();
    Snapshot::new(parts).effective_scopes(&agent().id, &server, NOW_S).to_string()
}

#[test]
fn grants_expand_over_approved_tools() {
    assert_eq!(effective(parts()), "read:@prompts read:@resources read:get");
    assert_eq!(effective(SnapshotParts { grants: vec![grant("write:*")], ..parts() }), "write:put");
}

#[test]
fn nothing_granted_is_nothing() {
    assert_eq!(effective(SnapshotParts { grants: Vec::new(), ..parts() }), "");
    let ended = Grant { expires_s: Some(NOW_S), ..grant("read:*") };
    assert_eq!(effective(SnapshotParts { grants: vec![ended], ..parts() }), "");
    let empty = Grant { patterns: Vec::new(), ..grant("read:*") };
    assert_eq!(effective(SnapshotParts { grants: vec![empty], ..parts() }), "");
}

#[test]
fn an_unapproved_tool_cannot_be_granted() {
    for pattern in ["read:new", "write:new", "read:put", "irreversible:*", "read:gone"] {
        let parts = SnapshotParts { grants: vec![grant(pattern)], ..parts() };
        assert_eq!(effective(parts), "", "{pattern}");
    }
}

#[test]
fn a_changed_tool_drops_out() {
    let mut changed = parts();
    changed.servers[0].tools.get_mut("get").unwrap().digest = [9; 32];
    assert_eq!(effective(changed), "read:@prompts read:@resources");
}

#[test]
fn a_locked_grant_does_not_count() {
    let target = LockTarget::Grant { grant: grant("read:*").id };
    let locked =
        |expires_s| SnapshotParts { locks: vec![lock(target.clone(), expires_s)], ..parts() };
    assert_eq!(effective(locked(NOW_S + 1)), "");
    assert_ne!(effective(locked(NOW_S)), "");
}

#[test]
fn lookups_find_what_is_there() {
    let snapshot = Snapshot::new(parts());
    let server = snapshot.server_named("crm").unwrap();
    assert_eq!(snapshot.server(&server.id), Some(server));
    assert_eq!(snapshot.agent_named("billing"), snapshot.agent(&agent().id));
    assert_eq!(snapshot.grants(&agent().id, &server.id).len(), 1);
    let read = Scope::of_tool(Class::Read, "get");
    assert!(snapshot.grant_for(&agent().id, &server.id, &read, NOW_S).is_some());
    assert!(snapshot.server_named("CRM").is_none());
    assert!(snapshot.agent(&AgentId::from_random(&[9; 16])).is_none());
}

#[test]
fn an_agent_acts_only_with_an_active_owner() {
    let refusal = |parts| Snapshot::new(parts).acting_agent(&agent().id, NOW_S).map(drop);
    assert_eq!(refusal(parts()), Ok(()));
    let unowned = Agent { owner: None, ..agent() };
    let unowned = SnapshotParts { agents: vec![unowned], ..parts() };
    assert_eq!(refusal(unowned), Err(ReasonCode::AgentOwnerless));
    let left = SnapshotParts { owners: Vec::new(), ..parts() };
    assert_eq!(refusal(left), Err(ReasonCode::AgentOwnerless));
    let suspended = Owner { state: LifeCycle::Suspended, ..owner() };
    let suspended = SnapshotParts { owners: vec![suspended], ..parts() };
    assert_eq!(refusal(suspended), Err(ReasonCode::AgentOwnerless));
    let ends = |end_s| {
        let agents = vec![Agent { expires_s: Some(end_s), ..agent() }];
        refusal(SnapshotParts { agents, ..parts() })
    };
    assert_eq!(ends(NOW_S + 1), Ok(()));
    assert_eq!(ends(NOW_S), Err(ReasonCode::AgentExpired));
    let unknown = SnapshotParts { agents: Vec::new(), ..parts() };
    assert_eq!(refusal(unknown), Err(ReasonCode::AgentUnknown));
}

#[test]
fn a_server_needs_an_owner_too() {
    let snapshot = Snapshot::new(parts());
    let server = snapshot.server_named("crm").unwrap();
    assert_eq!(snapshot.verify_server(server), Ok(()));
    let unowned = McpServer { owner: None, ..server.clone() };
    assert_eq!(snapshot.verify_server(&unowned), Err(ReasonCode::ServerOwnerless));
    let own = McpServer { upstream: UpstreamSpec::Builtin, ..unowned };
    assert_eq!(snapshot.verify_server(&own), Ok(()));
}

#[test]
fn a_lock_on_any_part_of_a_call_is_found() {
    let server = server("crm", Vec::new()).id;
    let targets = [
        LockTarget::Agent { agent: agent().id },
        LockTarget::Server { server: server.clone() },
        LockTarget::Owner { owner: owner().id },
        LockTarget::Tool { server: server.clone(), tool: "get".into() },
        LockTarget::Token { jti: "t1".into() },
        LockTarget::Key { jkt: jkt(1) },
    ];
    let id = agent().id;
    let subject = LockedSubject {
        person: None,
        agent: &id,
        server: &server,
        tool: Some("get"),
        token_jti: Some("t1"),
        key: Some(jkt(1)),
    };
    let bystander =
        LockedSubject { tool: Some("put"), token_jti: Some("t2"), key: None, ..subject };
    for (place, target) in targets.into_iter().enumerate() {
        let locks = vec![lock(target.clone(), NOW_S + 1)];
        let snapshot = Snapshot::new(SnapshotParts { locks, ..parts() });
        assert!(snapshot.lock_on(&subject, NOW_S).is_some(), "{target:?}");
        assert!(snapshot.lock_on(&subject, NOW_S + 1).is_none(), "{target:?}");
        assert_eq!(snapshot.lock_on(&bystander, NOW_S).is_some(), place < 3, "{target:?}");
    }
}

#[test]
fn a_second_lock_holds_when_the_first_has_ended() {
    let target = LockTarget::Agent { agent: agent().id };
    let locks = vec![lock(target.clone(), NOW_S), lock(target.clone(), NOW_S + 9)];
    let snapshot = Snapshot::new(SnapshotParts { locks, ..parts() });
    assert!(snapshot.active_lock(&target, NOW_S).is_some());
}

#[test]
fn a_snapshot_travels_as_json() {
    let sent = serde_json::to_string(&Snapshot::new(parts())).unwrap();
    let received: Snapshot = serde_json::from_str(&sent).unwrap();
    assert_eq!(SnapshotParts::from(received), parts());
    assert!(serde_json::from_str::<Snapshot>(&sent.replacen("version", "versions", 1)).is_err());
}

proptest! {
    #[test]
    fn effective_scopes_never_exceed_the_grants(
        granted in proptest::collection::vec("(read|write|irreversible):(\\*|get|put|new)", 0..4),
    ) {
        let patterns: Vec<_> = granted.iter().map(|p| ScopePattern::parse(p).unwrap()).collect();
        let grants = vec![Grant { patterns: patterns.clone(), ..grant("read:*") }];
        let scopes = ScopeSet::parse(&effective(SnapshotParts { grants, ..parts() })).unwrap();
        for scope in scopes.iter() {
            prop_assert!(patterns.iter().any(|pattern| pattern.matches(scope)));
        }
    }
}

#[test]
fn a_lock_on_an_owner_leaves_the_administration_to_others() {
    let locks = vec![lock(LockTarget::Owner { owner: owner().id }, NOW_S + 1)];
    let found = |upstream, agent_owner| {
        let server = McpServer { upstream, ..server("admin", Vec::new()) };
        let agent = Agent { owner: Some(agent_owner), ..agent() };
        let (agent_id, server_id) = (agent.id.clone(), server.id.clone());
        let (agents, servers) = (vec![agent], vec![server]);
        let parts = SnapshotParts { agents, servers, locks: locks.clone(), ..parts() };
        let (agent, server) = (&agent_id, &server_id);
        let subject =
            LockedSubject { agent, person: None, server, tool: None, token_jti: None, key: None };
        Snapshot::new(parts).lock_on(&subject, NOW_S).is_some()
    };
    let other = OwnerId::from_random(&[9; 16]);
    let http = UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() };
    assert!(found(http, other.clone()));
    assert!(!found(UpstreamSpec::Builtin, other));
    assert!(found(UpstreamSpec::Builtin, owner().id));
}

/// The first second whose tokens count at the server `crm` for the agent's key and token.
fn tokens_from_s(parts: SnapshotParts, now_s: u64) -> u64 {
    let (agent, server) = (agent().id, server("crm", Vec::new()).id);
    let (token_jti, key) = (Some("t1"), Some(jkt(1)));
    let (agent, server) = (&agent, &server);
    let subject = LockedSubject { agent, person: None, server, tool: None, token_jti, key };
    Snapshot::new(parts).tokens_from_s(&subject, now_s)
}

#[test]
fn after_a_lock_only_later_tokens_count() {
    let targets = [
        LockTarget::Agent { agent: agent().id },
        LockTarget::Server { server: server("crm", Vec::new()).id },
        LockTarget::Owner { owner: owner().id },
        LockTarget::Token { jti: "t1".into() },
        LockTarget::Key { jkt: jkt(1) },
    ];
    for target in targets {
        let own = lock(target, NOW_S);
        let lifted = Lock { lifted_s: Some(NOW_S - 5), expires_s: NOW_S + 999, ..own.clone() };
        let locks = |lock: &Lock| SnapshotParts { locks: vec![lock.clone()], ..parts() };
        // It ends by itself: nothing happens, and it counts.
        assert_eq!(tokens_from_s(locks(&own), NOW_S - 1), 0, "{own:?}");
        assert_eq!(tokens_from_s(locks(&own), NOW_S), NOW_S + 1, "{own:?}");
        assert_eq!(tokens_from_s(locks(&lifted), NOW_S), NOW_S - 4, "{lifted:?}");
        // A clock that is a little behind the one of who lifted it.
        assert_eq!(tokens_from_s(locks(&lifted), NOW_S - 9), NOW_S - 4, "{lifted:?}");
        let forgotten = NOW_S + crate::STOP_REMEMBERED_S + 1;
        assert_eq!(tokens_from_s(locks(&own), forgotten), 0, "{own:?}");
    }
    let elsewhere = lock(LockTarget::Key { jkt: jkt(9) }, NOW_S);
    assert_eq!(tokens_from_s(SnapshotParts { locks: vec![elsewhere], ..parts() }, NOW_S), 0);
}

#[test]
fn after_a_suspension_only_later_tokens_count() {
    let stop_ended_s = Some(NOW_S - 5);
    let agents = vec![Agent { stop_ended_s, ..agent() }];
    let owners = vec![Owner { stop_ended_s, ..owner() }];
    let servers = parts().servers.into_iter().map(|one| McpServer { stop_ended_s, ..one });
    let servers = servers.collect();
    for resumed in [
        SnapshotParts { agents, ..parts() },
        SnapshotParts { owners, ..parts() },
        SnapshotParts { servers, ..parts() },
    ] {
        assert_eq!(tokens_from_s(resumed.clone(), NOW_S), NOW_S - 4);
        assert_eq!(tokens_from_s(resumed, NOW_S + crate::STOP_REMEMBERED_S), 0);
    }
    assert_eq!(tokens_from_s(parts(), NOW_S), 0);
}

#[test]
fn what_a_token_holds_of_a_tool_or_a_grant_ends_with_a_lock_on_it() {
    let (crm, grant) = (server("crm", Vec::new()).id, grant("read:*").id);
    let targets = [
        LockTarget::Tool { server: crm.clone(), tool: "get".into() },
        LockTarget::Grant { grant: grant.clone() },
    ];
    for target in targets {
        let locks = vec![lock(target, NOW_S)];
        let parts = SnapshotParts { locks, ..parts() };
        assert_eq!(tokens_from_s(parts.clone(), NOW_S), 0);
        let snapshot = Snapshot::new(parts);
        assert_eq!(snapshot.use_from_s(Some((&crm, "get")), &grant, NOW_S), NOW_S + 1);
        let other = crate::GrantId::from_random(&[8; 16]);
        assert_eq!(snapshot.use_from_s(Some((&crm, "put")), &other, NOW_S), 0);
    }
}

/// Nothing is forgotten for want of room.
#[test]
fn a_million_revocations_are_all_found() {
    const COUNT: u32 = 1_000_000;
    let revoked = |number: u32| RevokedToken { jti: format!("t{number}"), expires_s: NOW_S + 300 };
    let snapshot =
        Snapshot::new(SnapshotParts { revoked: (0..COUNT).map(revoked).collect(), ..parts() });
    assert!((0..COUNT).all(|number| snapshot.is_revoked(&format!("t{number}"))));
    assert!((0..COUNT).step_by(100).all(|number| !snapshot.is_revoked(&format!("u{number}"))));
}
