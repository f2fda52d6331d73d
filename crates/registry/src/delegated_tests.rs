use proptest::prelude::*;

use super::*;
use crate::fixtures::{
    agent, client, consent, grant, lock, name, owner, person, person_grant, server, tool,
};
use crate::{Class, LifeCycle, PersonOrGroup, SnapshotParts};

const NOW_S: u64 = 1000;

fn parts() -> SnapshotParts {
    let tools = vec![
        tool("get", Some(Class::Read)),
        tool("list", Some(Class::Read)),
        tool("put", Some(Class::Write)),
        tool("new", None),
    ];
    SnapshotParts {
        owners: vec![owner()],
        agents: vec![agent(), client()],
        servers: vec![server("crm", tools)],
        grants: vec![grant("read:*")],
        persons: vec![person()],
        person_grants: vec![person_grant("read:*")],
        consents: vec![consent("read:get"), client_consent("read:get write:put")],
        ..SnapshotParts::default()
    }
}

fn client_consent(scopes: &str) -> Consent {
    Consent { agent: client().id, ..consent(scopes) }
}

fn delegated(parts: SnapshotParts, agent: &Agent) -> Result<String, ReasonCode> {
    let snapshot = Snapshot::new(parts);
    let at = server("crm", Vec::new()).id;
    let scopes = snapshot.delegated_scopes(&person().id, &agent.id, &at, NOW_S);
    scopes.map(|scopes| scopes.to_string())
}

fn check(parts: SnapshotParts, expected: Result<&str, ReasonCode>) {
    assert_eq!(delegated(parts, &agent()), expected.map(str::to_owned));
}

#[test]
fn the_right_is_what_all_have_in_common() {
    check(parts(), Ok("read:get"));
    let all = || vec![consent("read:get read:list write:put")];
    check(SnapshotParts { consents: all(), ..parts() }, Ok("read:get read:list"));
    let person_grants = vec![person_grant("read:list")];
    check(SnapshotParts { consents: all(), person_grants, ..parts() }, Ok("read:list"));
    let grants = vec![grant("write:*")];
    check(SnapshotParts { consents: all(), grants, ..parts() }, Ok(""));
    let person_grants = vec![person_grant("write:*")];
    let grants = vec![grant("write:*")];
    check(SnapshotParts { consents: all(), grants, person_grants, ..parts() }, Ok("write:put"));
}

#[test]
fn nothing_in_common_gives_nothing() {
    let gives = |parts: SnapshotParts| {
        let snapshot = Snapshot::new(parts);
        let at = server("crm", Vec::new()).id;
        let given = snapshot.delegation(&person().id, &agent().id, &at, NOW_S).unwrap();
        assert_eq!(given.gives_something(), !given.scopes().is_empty());
        given.gives_something()
    };
    assert!(gives(parts()));
    assert!(!gives(SnapshotParts { grants: vec![grant("write:*")], ..parts() }));
    assert!(!gives(SnapshotParts { person_grants: vec![person_grant("write:*")], ..parts() }));
    assert!(!gives(SnapshotParts { servers: vec![server("crm", Vec::new())], ..parts() }));
}

#[test]
fn a_page_offers_what_was_not_given_yet() {
    let snapshot = Snapshot::new(SnapshotParts { consents: Vec::new(), ..parts() });
    let at = server("crm", Vec::new()).id;
    let offered = snapshot.grantable_scopes(&person().id, &agent().id, &at, NOW_S).unwrap();
    assert_eq!(offered.to_string(), "read:@prompts read:@resources read:get read:list");
    let missing = snapshot.delegated_scopes(&person().id, &agent().id, &at, NOW_S);
    assert_eq!(missing, Err(ReasonCode::ConsentMissing));
}

#[test]
fn a_client_adds_and_takes_nothing() {
    let person_grants = vec![person_grant("write:*")];
    let held = SnapshotParts { grants: Vec::new(), person_grants, ..parts() };
    assert_eq!(delegated(held, &client()), Ok("write:put".into()));
    let snapshot = Snapshot::new(parts());
    // Whoever asks for an agent without a person in mind does not get one.
    let alone = snapshot.acting_agent(&client().id, NOW_S);
    assert_eq!(alone.unwrap_err(), ReasonCode::DelegationNotAllowed);
    assert!(snapshot.acting_for_people(&client().id, NOW_S).is_ok());
    let unknown = Agent { client: None, ..client() };
    let of = SnapshotParts { agents: vec![unknown], ..parts() };
    assert_eq!(delegated(of, &client()), Err(ReasonCode::DelegationNotAllowed));
}

#[test]
fn only_some_kinds_act_for_people() {
    for kind in AgentKind::ALL {
        let agents = vec![Agent { kind, ..agent() }];
        let expected = if kind == AgentKind::Agent {
            Ok("read:get")
        } else {
            Err(ReasonCode::DelegationNotAllowed)
        };
        check(SnapshotParts { agents, ..parts() }, expected);
    }
}

#[test]
fn a_group_gives_to_who_is_in_it() {
    let to = PersonOrGroup::Group { group: name("sales") };
    let person_grants = vec![PersonGrant { to, ..person_grant("read:*") }];
    let held = SnapshotParts { person_grants, ..parts() };
    check(held.clone(), Ok("read:get"));
    let left = Person { groups: std::collections::BTreeSet::from([name("hr")]), ..person() };
    check(SnapshotParts { persons: vec![left], ..held }, Ok(""));
}

#[test]
fn each_of_them_can_take_it_away() {
    let cases = [
        (LifeCycle::Pending, ReasonCode::PersonPending),
        (LifeCycle::Suspended, ReasonCode::PersonSuspended),
        (LifeCycle::Retired, ReasonCode::PersonRetired),
    ];
    for (state, reason) in cases {
        let persons = vec![Person { state, ..person() }];
        check(SnapshotParts { persons, ..parts() }, Err(reason));
    }
    check(SnapshotParts { persons: Vec::new(), ..parts() }, Err(ReasonCode::PersonUnknown));
    let agents = vec![Agent { state: LifeCycle::Suspended, ..agent() }];
    check(SnapshotParts { agents, ..parts() }, Err(ReasonCode::AgentSuspended));
    let mut servers = parts().servers;
    servers[0].state = LifeCycle::Suspended;
    check(SnapshotParts { servers, ..parts() }, Err(ReasonCode::ServerSuspended));
    check(SnapshotParts { owners: Vec::new(), ..parts() }, Err(ReasonCode::AgentOwnerless));
    let ended = vec![Consent { expires_s: NOW_S, ..consent("read:get") }];
    check(SnapshotParts { consents: ended, ..parts() }, Err(ReasonCode::ConsentMissing));
    check(SnapshotParts { person_grants: Vec::new(), ..parts() }, Ok(""));
    check(SnapshotParts { grants: Vec::new(), ..parts() }, Ok(""));
    let mut servers = parts().servers;
    for tool in servers[0].tools.values_mut() {
        tool.approved = None;
    }
    check(SnapshotParts { servers, ..parts() }, Ok(""));
}

#[test]
fn locks_stop_it() {
    let at = server("crm", Vec::new()).id;
    let targets = [
        LockTarget::Person { person: person().id },
        LockTarget::Agent { agent: agent().id },
        LockTarget::Server { server: at },
        LockTarget::Owner { owner: owner().id },
    ];
    for target in targets {
        let locks = vec![lock(target, NOW_S + 1)];
        check(SnapshotParts { locks, ..parts() }, Err(ReasonCode::LockActive));
    }
    for grant in [person_grant("read:*").id, grant("read:*").id] {
        let locks = vec![lock(LockTarget::Grant { grant }, NOW_S + 1)];
        check(SnapshotParts { locks: locks.clone(), ..parts() }, Ok(""));
        let ended = locks.into_iter().map(|lock| crate::Lock { expires_s: NOW_S, ..lock });
        check(SnapshotParts { locks: ended.collect(), ..parts() }, Ok("read:get"));
    }
}

#[test]
fn tokens_from_before_a_stop_of_the_person_do_not_count() {
    let at = server("crm", Vec::new()).id;
    let (agent, person_id) = (agent().id, person().id);
    let subject = |person| LockedSubject {
        agent: &agent,
        person,
        server: &at,
        tool: None,
        token_jti: None,
        key: None,
    };
    let persons = vec![Person { stop_ended_s: Some(NOW_S - 10), ..person() }];
    let resumed = Snapshot::new(SnapshotParts { persons, ..parts() });
    assert_eq!(resumed.tokens_from_s(&subject(Some(&person_id)), NOW_S), NOW_S - 9);
    assert_eq!(resumed.tokens_from_s(&subject(None), NOW_S), 0);
    let target = LockTarget::Person { person: person_id.clone() };
    let unlocked = Snapshot::new(SnapshotParts { locks: vec![lock(target, NOW_S)], ..parts() });
    assert_eq!(unlocked.tokens_from_s(&subject(Some(&person_id)), NOW_S), NOW_S + 1);
}

#[test]
fn one_subject_of_two_issuers_is_two_people() {
    let external =
        |issuer: &str| Some(crate::ExternalSubject { issuer: issuer.into(), subject: "1".into() });
    let one = Person { external: external("https://a.example"), ..person() };
    let other = Person {
        id: PersonId::from_random(&[70; 16]),
        name: name("peter"),
        external: external("https://b.example"),
        ..person()
    };
    let held = SnapshotParts { persons: vec![one.clone(), other.clone()], ..parts() };
    let snapshot = Snapshot::new(held);
    let found = |issuer: &str| {
        snapshot.person_external(&external(issuer).unwrap()).map(|person| person.id.clone())
    };
    assert_eq!(found("https://a.example"), Some(one.id));
    assert_eq!(found("https://b.example"), Some(other.id));
    assert_eq!(found("https://b.example/"), None);
}

#[test]
fn a_new_consent_replaces_the_one_before() {
    use crate::{ConsentId, SnapshotDelta};
    let first = Snapshot::new(parts());
    let at = server("crm", Vec::new()).id;
    let scopes = |snapshot: &Snapshot| {
        let scopes = snapshot.delegated_scopes(&person().id, &agent().id, &at, NOW_S);
        scopes.map(|scopes| scopes.to_string())
    };
    let newer = Consent { id: ConsentId::from_random(&[80; 16]), ..consent("read:list") };
    let older = Consent { revoked_s: Some(1), ..consent("read:get") };
    // A delta has them in no order.
    for consents in [vec![newer.clone(), older.clone()], vec![older.clone(), newer]] {
        let delta = SnapshotDelta { version: 1, consents, ..SnapshotDelta::default() };
        let next = first.apply(delta).unwrap();
        assert_eq!(scopes(&next), Ok("read:list".into()));
    }
    let delta = SnapshotDelta { version: 1, consents: vec![older], ..SnapshotDelta::default() };
    assert_eq!(scopes(&first.apply(delta).unwrap()), Err(ReasonCode::ConsentMissing));
}

#[test]
fn what_is_sent_is_what_is_kept() {
    let snapshot = Snapshot::new(parts());
    let text = serde_json::to_string(&snapshot).unwrap();
    let again: Snapshot = serde_json::from_str(&text).unwrap();
    let at = server("crm", Vec::new()).id;
    let scopes = again.delegated_scopes(&person().id, &agent().id, &at, NOW_S).unwrap();
    assert_eq!(scopes.to_string(), "read:get");
    assert_eq!(again.person_named("paula"), Some(&person()));
    // A registry from before there were people is read as one without any.
    let mut json = serde_json::to_value(&snapshot).unwrap();
    for member in ["persons", "person_grants", "consents"] {
        json.as_object_mut().unwrap().remove(member);
    }
    let old: Snapshot = serde_json::from_value(json).unwrap();
    assert_eq!(old.persons().count(), 0);
}

fn patterns() -> impl Strategy<Value = Vec<crate::ScopePattern>> {
    let one = prop_oneof![
        Just("read:*"),
        Just("write:*"),
        Just("read:get"),
        Just("read:list"),
        Just("write:put"),
        Just("write:get"),
        Just("read:new"),
        Just("read:@resources"),
    ];
    let parse = |text: &str| crate::ScopePattern::parse(text).unwrap();
    proptest::collection::vec(one.prop_map(parse), 0..4)
}

fn exact() -> impl Strategy<Value = ScopeSet> {
    let one = prop_oneof![
        Just("read:get"),
        Just("read:list"),
        Just("write:put"),
        Just("irreversible:put"),
        Just("read:new"),
        Just("read:@resources"),
        Just("read:@prompts"),
    ];
    let parse = |text: &str| Scope::parse(text).unwrap();
    proptest::collection::vec(one.prop_map(parse), 0..6).prop_map(|all| all.into_iter().collect())
}

proptest! {
    /// The rule never gives more than any of its factors, and nothing without one of them.
    #[test]
    fn never_more_than_any_factor(
        of_person in patterns(),
        of_agent in patterns(),
        consented in exact(),
        approved in proptest::collection::vec(any::<bool>(), 4),
        is_client in any::<bool>(),
    ) {
        let mut held = parts();
        for (tool, approved) in held.servers[0].tools.values_mut().zip(approved) {
            if !approved { tool.approved = None; }
        }
        held.person_grants = vec![PersonGrant { scopes: of_person.clone(), ..person_grant("read:*") }];
        held.grants = vec![Grant { patterns: of_agent.clone(), ..grant("read:*") }];
        let given = Consent { scopes: consented.clone(), ..consent("read:get") };
        held.consents = vec![given.clone(), Consent { agent: client().id, ..given }];
        let at = server("crm", Vec::new()).id;
        let acting = if is_client { client().id } else { agent().id };
        let snapshot = Snapshot::new(held.clone());
        let right = snapshot.delegation(&person().id, &acting, &at, NOW_S).unwrap();
        let tools: ScopeSet =
            held.servers[0].tools.values().flat_map(Tool::scopes)
                .chain([Scope::RESOURCES, Scope::PROMPTS]).collect();
        let scopes = right.scopes();
        prop_assert!(scopes.is_subset(&consented));
        prop_assert!(scopes.is_subset(&tools));
        prop_assert!(scopes.is_subset(&right.grantable().scopes()));
        for scope in scopes.iter() {
            prop_assert!(of_person.iter().any(|pattern| pattern.matches(scope)));
            prop_assert!(is_client || of_agent.iter().any(|pattern| pattern.matches(scope)));
        }
        // And not less: what all have in common is given, one by one as in the whole.
        for scope in tools.iter().chain(consented.iter()) {
            let common = tools.contains(scope) && consented.contains(scope)
                && of_person.iter().any(|pattern| pattern.matches(scope))
                && (is_client || of_agent.iter().any(|pattern| pattern.matches(scope)));
            prop_assert_eq!(right.covers(scope), common);
            prop_assert_eq!(scopes.contains(scope), common);
        }
        let without: [fn(&mut SnapshotParts); 4] = [
            |parts| parts.persons.clear(),
            |parts| parts.person_grants.clear(),
            |parts| parts.consents.clear(),
            |parts| parts.servers[0].tools.values_mut().for_each(|tool| tool.approved = None),
        ];
        for (place, take) in without.into_iter().enumerate() {
            let mut less = held.clone();
            take(&mut less);
            let left = Snapshot::new(less).delegated_scopes(&person().id, &acting, &at, NOW_S);
            let specials = ScopeSet::from_iter([Scope::RESOURCES, Scope::PROMPTS]);
            let most = if place == 3 { specials } else { ScopeSet::default() };
            prop_assert!(left.unwrap_or_default().is_subset(&most));
        }
    }
}
