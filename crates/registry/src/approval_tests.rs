use std::collections::BTreeSet;

use super::*;
use crate::ApproverKind;
use crate::fixtures::{agent, owner, server};

const ASKED_S: u64 = 1000;

fn call() -> ApprovalCall {
    ApprovalCall {
        agent: agent().id,
        subject: "ann".into(),
        server: server("crm", Vec::new()).id,
        tool: "pay".into(),
        definition: [1; 32],
        arguments: [2; 32],
        terms: ApprovalTerms::default(),
    }
}

fn asked() -> Approval {
    Approval {
        id: ApprovalId::from_random(&[9; 16]),
        call: call(),
        excluded: vec![agent().id.to_string(), "ann".into()],
        asked_s: ASKED_S,
        expires_s: ASKED_S + 60,
        state: ApprovalState::Pending { first: None },
    }
}

fn of_two() -> Approval {
    let terms = ApprovalTerms { two: true, not_owner: false };
    Approval { call: ApprovalCall { terms, ..call() }, ..asked() }
}

fn person(id: &str) -> Approver<'_> {
    let (behind, answers_for_agent) = (BTreeSet::new(), AnswersForAgent::No);
    let kind = ApproverKind::Operator;
    Approver { id, kind, owner: None, behind, unbound: false, answers_for_agent }
}

fn approved() -> Approval {
    asked().approve(&person("bob"), "fine", ASKED_S + 1).unwrap()
}

#[test]
fn one_yes_makes_it_usable_until_its_end() {
    let approved = approved();
    assert!(approved.is_usable(ASKED_S + 59) && !approved.is_usable(ASKED_S + 60));
    assert!(!asked().is_usable(ASKED_S + 1));
    let ApprovalState::Approved { by } = &approved.state else { panic!("{approved:?}") };
    assert_eq!((by[0].by.as_str(), by[0].at_s), ("bob", ASKED_S + 1));
}

#[test]
fn whoever_asked_or_is_acted_for_is_not_asked() {
    for id in [agent().id.as_str(), "ann"] {
        let refused = asked().approve(&person(id), "mine", ASKED_S);
        assert_eq!(refused, Err(ApprovalRefusal::Excluded), "{id}");
    }
    assert!(asked().approve(&person("bob"), "fine", ASKED_S).is_ok());
}

#[test]
fn an_excluded_owner_excludes_all_of_theirs() {
    let owner = owner().id;
    let of_owner = Approver { owner: Some(&owner), ..person("bob") };
    let excluded = Approval { excluded: vec![owner.to_string()], ..asked() };
    let refused = excluded.approve(&of_owner, "fine", ASKED_S);
    assert_eq!(refused, Err(ApprovalRefusal::Excluded));
    assert!(asked().approve(&of_owner, "fine", ASKED_S).is_ok());
    assert!(excluded.approve(&person("bob"), "fine", ASKED_S).is_ok());
}

#[test]
fn agents_and_gateways_say_nothing() {
    for (kind, refusal) in [
        (ApproverKind::Agent, ApprovalRefusal::NotAPerson),
        (ApproverKind::PersonWithoutRole, ApprovalRefusal::RoleMissing),
    ] {
        let who = Approver { kind, ..person("bot") };
        assert_eq!(asked().approve(&who, "yes", ASKED_S), Err(refusal));
        assert_eq!(asked().deny(&who, "no", ASKED_S), Err(refusal));
    }
    let who = Approver { kind: ApproverKind::Person, ..person("usr") };
    assert!(asked().approve(&who, "yes", ASKED_S).is_ok());
    assert!(asked().deny(&who, "no", ASKED_S).is_ok());
}

#[test]
fn the_second_of_two_is_somebody_else() {
    let owner = owner().id;
    let of_owner = |id| Approver { owner: Some(&owner), ..person(id) };
    let first = of_two().approve(&of_owner("bob"), "fine", ASKED_S).unwrap();
    assert!(!first.is_usable(ASKED_S) && first.matters(ASKED_S));
    for same in [of_owner("bob"), person("bob"), of_owner("bobs other key")] {
        let refused = first.approve(&same, "again", ASKED_S);
        assert_eq!(refused, Err(ApprovalRefusal::SamePerson), "{same:?}");
    }
    assert!(first.approve(&person("carla"), "fine too", ASKED_S).unwrap().is_usable(ASKED_S));
}

#[test]
fn it_is_used_once_and_for_its_own_call() {
    let used = approved().use_once(&call(), "dec_1", ASKED_S + 2).unwrap();
    assert!(!used.is_usable(ASKED_S + 2) && !used.matters(ASKED_S + 2));
    let again = used.use_once(&call(), "dec_2", ASKED_S + 3);
    assert_eq!(again, Err(ApprovalRefusal::Used));
    let others = [
        ApprovalCall { agent: AgentId::from_random(&[7; 16]), ..call() },
        ApprovalCall { subject: "bob".into(), ..call() },
        ApprovalCall { server: ServerId::from_random(&[7; 16]), ..call() },
        ApprovalCall { tool: "pay2".into(), ..call() },
        ApprovalCall { definition: [9; 32], ..call() },
        ApprovalCall { arguments: [9; 32], ..call() },
        ApprovalCall { terms: of_two().call.terms, ..call() },
    ];
    for other in others {
        let refused = approved().use_once(&other, "dec_1", ASKED_S + 2);
        assert_eq!(refused, Err(ApprovalRefusal::ArgumentsChanged), "{other:?}");
    }
}

#[test]
fn nothing_is_used_that_is_not_approved() {
    assert_eq!(asked().use_once(&call(), "d", ASKED_S), Err(ApprovalRefusal::Pending));
    let denied = asked().deny(&person("bob"), "no", ASKED_S).unwrap();
    assert_eq!(denied.use_once(&call(), "d", ASKED_S), Err(ApprovalRefusal::Denied));
    let late = approved().use_once(&call(), "d", ASKED_S + 60);
    assert_eq!(late, Err(ApprovalRefusal::Expired));
}

#[test]
fn what_is_over_is_over() {
    assert_eq!(
        asked().approve(&person("bob"), "late", ASKED_S + 60),
        Err(ApprovalRefusal::Expired)
    );
    assert_eq!(asked().expire(ASKED_S + 59), None);
    let expired = asked().expire(ASKED_S + 60).unwrap();
    assert_eq!(expired.state, ApprovalState::Expired);
    assert_eq!(expired.expire(ASKED_S + 61), None);
    assert_eq!(expired.approve(&person("bob"), "", ASKED_S), Err(ApprovalRefusal::Expired));
}

#[test]
fn a_no_takes_a_yes_back_until_it_is_used() {
    let denied = approved().deny(&person("carla"), "not now", ASKED_S + 2).unwrap();
    assert!(!denied.is_usable(ASKED_S + 2) && denied.is_open(ASKED_S + 2));
    assert_eq!(denied.approve(&person("bob"), "", ASKED_S + 3), Err(ApprovalRefusal::Denied));
    assert_eq!(denied.deny(&person("bob"), "", ASKED_S + 3), Err(ApprovalRefusal::Denied));
    let used = approved().use_once(&call(), "dec_1", ASKED_S + 2).unwrap();
    assert_eq!(used.deny(&person("carla"), "", ASKED_S + 3), Err(ApprovalRefusal::Used));
    assert_eq!(approved().approve(&person("bob"), "", ASKED_S), Err(ApprovalRefusal::Approved));
}

#[test]
fn arguments_are_approved_in_the_form_they_are_sent_in() {
    let (text, digest) = approval_arguments(Some(r#"{ "b": 1.0, "a": "x" }"#)).unwrap();
    assert_eq!(text, r#"{"a":"x","b":1}"#);
    assert_eq!(approval_arguments(Some(&text)), Some((text.clone(), digest)));
    assert_eq!(approval_arguments(None), approval_arguments(Some("{}")));
    assert_ne!(approval_arguments(None).unwrap().1, digest);
    assert_eq!(approval_arguments(Some(r#"{"a":9007199254740993}"#)), None);
    assert_eq!(approval_arguments(Some(r#"{"a":1,"a":2}"#)), None);
}

#[test]
fn rules_add_up() {
    let two = ApprovalTerms { two: true, not_owner: false };
    let not_owner = ApprovalTerms { two: false, not_owner: true };
    assert_eq!(two.and(not_owner), ApprovalTerms { two: true, not_owner: true });
    assert_eq!((two.needed(), not_owner.needed()), (2, 1));
}
