//! Decisions on calls that an agent makes for a person.

use attorn_registry::{
    Agent, CallConstraint, Consent, Grant, LifeCycle, Lock, LockTarget, Person, PersonGrant, Role,
    SnapshotParts,
};
use proptest::prelude::*;

use super::*;
use crate::explain::{Outcome, explain};
use crate::fixtures::{
    NOW_S, World, agent, client, consent, grant, lock, name, person, person_grant,
};

const ALL: &str = "read:get write:pay irreversible:drop read:@resources read:@prompts";

fn held(agent: &Agent) -> World {
    let mut world = World::new();
    world.parts.agents = vec![crate::fixtures::agent(), client()];
    world.parts.persons = vec![person()];
    world.parts.person_grants = vec![person_grant(10, &["read:*", "write:*"])];
    world.parts.consents = vec![consent(agent.id.clone(), 10, ALL)];
    world.agent = agent.id.clone();
    world.person = Some(person().id);
    world
}

fn reason(world: &World, tool: &str) -> Result<(), ReasonCode> {
    let decided = world.ask(Operation::Tool(tool), |request| decide(request).map(drop));
    decided.map_err(|denial| denial.reason)
}

fn check(change: impl Fn(&mut SnapshotParts), expected: Result<(), ReasonCode>) {
    let mut world = held(&agent());
    change(&mut world.parts);
    assert_eq!(reason(&world, "get"), expected);
    // Who may not call it does not see it either, and who may does.
    let visible = world.ask(Operation::Tool("get"), is_visible);
    assert_eq!(visible, expected.is_ok());
}

#[test]
fn the_person_s_right_is_the_right() {
    for who in [agent(), client()] {
        let mut world = held(&who);
        assert_eq!(reason(&world, "get"), Ok(()));
        world.parts.person_grants = vec![person_grant(10, &["write:*"])];
        assert_eq!(reason(&world, "get"), Err(ReasonCode::ScopeMissing));
        assert_eq!(reason(&world, "pay"), Ok(()));
        world.parts.consents = vec![consent(who.id.clone(), 10, "read:get")];
        assert_eq!(reason(&world, "pay"), Err(ReasonCode::ScopeMissing));
    }
    // An agent of its own life adds no right to the person's, and takes what it has not.
    let mut world = held(&agent());
    world.parts.grants = vec![grant(10, &["write:*"])];
    assert_eq!(reason(&world, "get"), Err(ReasonCode::ScopeMissing));
    let mut world = held(&client());
    world.parts.grants.clear();
    assert_eq!(reason(&world, "get"), Ok(()));
}

#[test]
fn what_the_person_could_still_give_is_listed_and_asked_for() {
    let get = || ScopeSet::parse("read:get").unwrap();
    for who in [agent(), client()] {
        let mut world = held(&who);
        world.parts.consents = vec![consent(who.id.clone(), 10, "write:pay")];
        world.token_scope = ScopeSet::default();
        let denied = world.ask(Operation::Tool("get"), decide).map(drop).unwrap_err();
        assert_eq!(denied.reason, ReasonCode::ScopeMissing);
        assert_eq!(denied.visibility, Visibility::StepUp(get()));
        assert!(world.ask(Operation::Tool("get"), is_visible));
        // What they may not do themselves is not there.
        world.parts.person_grants = vec![person_grant(10, &["write:*"])];
        let denied = world.ask(Operation::Tool("get"), decide).map(drop).unwrap_err();
        assert_eq!(denied.visibility, Visibility::Hidden);
        assert!(!world.ask(Operation::Tool("get"), is_visible));
    }
}

#[test]
fn a_client_alone_is_nobody() {
    let mut world = held(&client());
    world.parts.grants = vec![Grant { agent: client().id, ..grant(10, &["read:*"]) }];
    assert_eq!(reason(&world, "get"), Ok(()));
    world.person = None;
    assert_eq!(reason(&world, "get"), Err(ReasonCode::DelegationNotAllowed));
}

#[test]
fn every_factor_can_end_it() {
    check(|_| {}, Ok(()));
    check(|parts| parts.persons.clear(), Err(ReasonCode::PersonUnknown));
    check(|parts| parts.persons[0].state = LifeCycle::Suspended, Err(ReasonCode::PersonSuspended));
    check(|parts| parts.consents.clear(), Err(ReasonCode::ConsentMissing));
    check(|parts| parts.consents[0].expires_s = NOW_S, Err(ReasonCode::ConsentMissing));
    check(|parts| parts.consents[0].revoked_s = Some(1), Err(ReasonCode::ConsentMissing));
    check(|parts| parts.person_grants.clear(), Err(ReasonCode::ScopeMissing));
    check(|parts| parts.grants.clear(), Err(ReasonCode::ScopeMissing));
    check(|parts| parts.agents[0].state = LifeCycle::Suspended, Err(ReasonCode::AgentSuspended));
    // What somebody else gave, or gave to somebody else, or elsewhere, is not this.
    check(
        |parts| parts.consents = vec![consent(client().id, 10, ALL)],
        Err(ReasonCode::ConsentMissing),
    );
    check(
        |parts| parts.consents = vec![consent(agent().id, 11, ALL)],
        Err(ReasonCode::ConsentMissing),
    );
    check(
        |parts| parts.person_grants = vec![person_grant(11, &["read:*"])],
        Err(ReasonCode::ScopeMissing),
    );
}

#[test]
fn a_locked_person_is_refused_and_so_are_tokens_from_before() {
    let target = || LockTarget::Person { person: person().id };
    check(|parts| parts.locks = vec![lock(target())], Err(ReasonCode::LockActive));
    // It has ended, and the token is from before its end.
    let ended = |target, expires_s| Lock { expires_s, ..lock(target) };
    check(|parts| parts.locks = vec![ended(target(), NOW_S)], Err(ReasonCode::TokenStopped));
    check(|parts| parts.locks = vec![ended(target(), NOW_S - 20)], Ok(()));
    check(|parts| parts.persons[0].stop_ended_s = Some(NOW_S - 5), Err(ReasonCode::TokenStopped));
    check(|parts| parts.persons[0].stop_ended_s = Some(NOW_S - 20), Ok(()));
    let of_grant = || LockTarget::Grant { grant: person_grant(10, &[]).id };
    check(|parts| parts.locks = vec![lock(of_grant())], Err(ReasonCode::ScopeMissing));
    let mut world = held(&agent());
    world.parts.locks = vec![ended(of_grant(), NOW_S)];
    assert_eq!(reason(&world, "get"), Err(ReasonCode::TokenStopped));
}

#[test]
fn who_was_given_nothing_does_not_learn_which_tools_there_are() {
    let mut world = held(&agent());
    world.parts.consents.clear();
    let answer = |tool| world.ask(Operation::Tool(tool), decide).map(drop).unwrap_err();
    assert_eq!(answer("get"), answer("gone"));
}

#[test]
fn the_agent_s_limits_on_arguments_hold_for_people_too() {
    let mut world = held(&agent());
    let text = r#"[{"type":"mcp_tool_call","tool":"get","arguments":{"maxProperties":1}}]"#;
    let constraints: Vec<CallConstraint> = serde_json::from_str(text).unwrap();
    world.parts.grants = vec![Grant { constraints, ..grant(10, &["read:*"]) }];
    world.arguments = Some(r#"{"a":1}"#);
    assert_eq!(reason(&world, "get"), Ok(()));
    world.arguments = Some(r#"{"a":1,"b":2}"#);
    assert_eq!(reason(&world, "get"), Err(ReasonCode::ConstraintViolated));
    // A client has none, and its token may.
    let mut world = held(&client());
    world.token_details = AuthorizationDetails::parse_made(text).ok();
    world.arguments = Some(r#"{"a":1}"#);
    assert_eq!(reason(&world, "get"), Ok(()));
    world.arguments = Some(r#"{"a":1,"b":2}"#);
    assert_eq!(reason(&world, "get"), Err(ReasonCode::ConstraintViolated));
}

#[test]
fn a_guard_rail_may_name_the_person() {
    let rule = |condition: &str| {
        let mut world = held(&agent());
        world.policy = format!(
            "permit (principal, action, resource);
             forbid (principal, action, resource) when {{ context has person && {condition} }};"
        );
        world
    };
    let forbidden = Err(ReasonCode::PolicyForbid);
    for condition in [
        "context.person.name == \"paula\"",
        "context.person.groups.contains(\"sales\")",
        "!context.person.roles.contains(\"approver\")",
    ] {
        assert_eq!(reason(&rule(condition), "get"), forbidden, "{condition}");
    }
    let mut world = rule("context.person.groups.contains(\"hr\")");
    assert_eq!(reason(&world, "get"), Ok(()));
    world.parts.persons[0].groups.insert(name("hr"));
    assert_eq!(reason(&world, "get"), forbidden);
    let mut world = rule("!context.person.roles.contains(\"approver\")");
    world.parts.persons[0].roles.insert(Role::Approver);
    assert_eq!(reason(&world, "get"), Ok(()));
    // An agent on its own is nobody's.
    let mut alone = rule("true");
    assert_eq!(reason(&alone, "get"), forbidden);
    alone.person = None;
    assert_eq!(reason(&alone, "get"), Ok(()));
    let source = |text: &str| attorn_registry::PolicySource { version: 1, text: text.to_owned() };
    let misspelled = "forbid (principal, action, resource) when { context.person.nmae == \"x\" };";
    assert!(PolicySet::compile(&source(misspelled)).is_err());
    assert!(PolicySet::compile(&source(&misspelled.replace("nmae", "name"))).is_ok());
}

#[test]
fn a_guard_rail_may_name_clients_of_people() {
    for principal in ["principal is Client", "principal == Client::\"editor\""] {
        for (who, expected) in [(agent(), Ok(())), (client(), Err(ReasonCode::PolicyForbid))] {
            let mut world = held(&who);
            world.policy = format!(
                "permit (principal, action, resource);
                 forbid ({principal}, action, resource);"
            );
            assert_eq!(reason(&world, "get"), expected, "{principal}: {}", who.name);
        }
    }
}

#[test]
fn an_explanation_names_person_and_consent() {
    let world = held(&agent());
    let steps = world.ask(Operation::Tool("get"), explain);
    let step = steps.iter().find(|step| step.name == "person").unwrap();
    assert_eq!(step.outcome, Outcome::Ok);
    assert!(step.detail.starts_with("for paula, consent con_"), "{}", step.detail);
    let mut world = held(&agent());
    world.parts.consents.clear();
    let steps = world.ask(Operation::Tool("get"), explain);
    let of = |name| steps.iter().find(|step| step.name == name).unwrap().outcome;
    assert_eq!((of("person"), of("scope")), (Outcome::Fail, Outcome::NotEvaluated));
}

const PATTERNS: [&str; 5] = ["read:*", "write:*", "irreversible:*", "read:get", "write:pay"];
const SCOPES: [&str; 4] = ["read:get", "write:pay", "irreversible:drop", "read:new"];

fn subset(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(of, 0..=of.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A permit is within the person's grants, the consent, the agent's grants, the token and the
    /// approved tools; without any of them there is none.
    #[test]
    fn a_permit_is_covered_by_every_factor(
        (of_person, of_agent) in (subset(&PATTERNS), subset(&PATTERNS)),
        (consented, token) in (subset(&SCOPES), subset(&SCOPES)),
        tool in proptest::sample::select(&["get", "pay", "drop", "new", "changed", "gone"][..]),
        is_client in any::<bool>(),
    ) {
        let who = if is_client { client() } else { agent() };
        let mut world = held(&who);
        world.parts.person_grants = vec![person_grant(10, &of_person)];
        world.parts.grants = vec![grant(10, &of_agent)];
        world.parts.consents = vec![consent(who.id.clone(), 10, &consented.join(" "))];
        world.token_scope = ScopeSet::parse(&token.join(" ")).unwrap();
        let operation = Operation::Tool(tool);
        let used = world.ask(operation, |request| decide(request).map(|it| it.scope().clone()));
        let Ok(used) = used else { return Ok(()) };
        let server = |parts: &SnapshotParts| parts.servers[0].id.clone();
        let snapshot = Snapshot::new(world.parts.clone());
        let right = snapshot.delegated_scopes(&person().id, &who.id, &server(&world.parts), NOW_S);
        prop_assert!(right.unwrap().contains(&used));
        prop_assert!(world.token_scope.contains(&used));
        let without: [fn(&mut World); 6] = [
            |world| world.parts.persons.clear(),
            |world| world.parts.person_grants = vec![PersonGrant {
                revoked_s: Some(1), ..world.parts.person_grants[0].clone()
            }],
            |world| world.parts.consents = vec![Consent {
                revoked_s: Some(1), ..world.parts.consents[0].clone()
            }],
            |world| world.token_scope = ScopeSet::default(),
            |world| world.parts.persons = vec![Person {
                state: LifeCycle::Retired, ..world.parts.persons[0].clone()
            }],
            |world| world.parts.servers[0].tools.values_mut().for_each(|it| it.approved = None),
        ];
        for take in without {
            let mut less = held(&who);
            less.parts = world.parts.clone();
            less.token_scope = world.token_scope.clone();
            take(&mut less);
            prop_assert!(less.ask(operation, |request| decide(request).is_err()));
        }
    }
}
