use super::*;
use crate::fixtures::{agent, name, owner, person, server};
use crate::{
    Agent, ApprovalId, ApprovalRefusal, ApprovalState, ApprovalTerms, Owner, Person, PersonId,
    SnapshotParts,
};

const NOW_S: u64 = 1000;

fn asked(terms: ApprovalTerms) -> Approval {
    Approval {
        id: ApprovalId::from_random(&[9; 16]),
        call: ApprovalCall {
            agent: agent().id,
            subject: person().id.to_string(),
            server: server("crm", Vec::new()).id,
            tool: "pay".into(),
            definition: [1; 32],
            arguments: [2; 32],
            terms,
        },
        excluded: vec![agent().id.to_string(), person().id.to_string()],
        asked_s: NOW_S,
        expires_s: NOW_S + 60,
        state: ApprovalState::Pending { first: None },
    }
}

fn one() -> ApprovalTerms {
    ApprovalTerms::default()
}

fn not_owner() -> ApprovalTerms {
    ApprovalTerms { two: false, not_owner: true }
}

fn owner_id(seed: u8) -> OwnerId {
    OwnerId::from_random(&[seed; 16])
}

fn of(seed: u8, bound_to: Option<PersonOrGroup>, successor: Option<u8>) -> Owner {
    let name = name(&format!("owner-{seed}"));
    Owner { id: owner_id(seed), name, bound_to, successor: successor.map(owner_id), ..owner() }
}

fn by_person() -> Option<PersonOrGroup> {
    Some(PersonOrGroup::Person { person: person().id })
}

fn by_group(text: &str) -> Option<PersonOrGroup> {
    Some(PersonOrGroup::Group { group: name(text) })
}

fn operator(seed: u8, owner: u8) -> Agent {
    Agent {
        id: AgentId::from_random(&[seed; 16]),
        name: name(&format!("operator-{seed}")),
        kind: AgentKind::Operator,
        owner: Some(owner_id(owner)),
        ..agent()
    }
}

/// The agent of [`owner`], and an operator (31) of each of the owners given (20 and up).
fn registry(owners: Vec<Owner>) -> SnapshotParts {
    let other = Person {
        id: PersonId::from_random(&[71; 16]),
        name: name("otto"),
        groups: [name("legal")].into(),
        ..person()
    };
    SnapshotParts {
        owners: [vec![owner()], owners].concat(),
        agents: vec![agent(), operator(31, 20), operator(32, 21)],
        persons: vec![person(), other],
        ..SnapshotParts::default()
    }
}

fn says(parts: SnapshotParts, terms: ApprovalTerms) -> Result<&'static str, ApprovalRefusal> {
    let (snapshot, asked) = (Snapshot::new(parts), asked(terms));
    let who = operator(31, 20).id;
    let approved = asked.approve(&snapshot.approver(&who, &asked.call), "fine", NOW_S)?;
    Ok(approved.state.as_str())
}

#[test]
fn who_is_acted_for_does_not_approve_with_the_key_of_an_owner_that_they_are() {
    let excluded = Err(ApprovalRefusal::Excluded);
    let with = |owners| says(registry(owners), one());
    assert_eq!(with(vec![of(20, None, None)]), Ok("approved"));
    assert_eq!(with(vec![of(20, by_group("legal"), None)]), Ok("approved"));
    assert_eq!(with(vec![of(20, by_person(), None)]), excluded);
    assert_eq!(with(vec![of(20, by_group("sales"), None)]), excluded);
    // The person behind the owner is gone, and the one who comes after them is who is acted for.
    let gone = PersonOrGroup::Person { person: PersonId::from_random(&[70; 16]) };
    let followed = || of(20, Some(gone.clone()), Some(22));
    assert_eq!(with(vec![followed(), of(22, by_person(), None)]), excluded);
    assert_eq!(with(vec![followed(), of(22, None, None)]), Ok("approved"));
}

#[test]
fn nobody_who_answers_for_the_agent_is_asked_where_a_rule_says_so() {
    let excluded = Err(ApprovalRefusal::Excluded);
    let with = |agent_owner: Owner, operator_owner: Owner| {
        let mut parts = registry(vec![operator_owner]);
        parts.owners[0] = agent_owner;
        says(parts, not_owner())
    };
    let otto = || by_group("legal");
    assert_eq!(with(owner(), of(20, otto(), None)), Ok("approved"));
    // Another owner, and one of the persons who are the agent's.
    let bound = |to| Owner { bound_to: to, ..owner() };
    assert_eq!(with(bound(otto()), of(20, otto(), None)), excluded);
    assert_eq!(with(bound(by_group("nobody")), of(20, otto(), None)), Ok("approved"));
    // Judged as it is now, not as it was when somebody asked.
    let mut parts = registry(vec![of(20, None, None)]);
    assert_eq!(says(parts.clone(), not_owner()), Ok("approved"));
    parts.agents[0].owner = Some(owner_id(20));
    assert_eq!(says(parts, not_owner()), excluded);
}

#[test]
fn where_nobody_answers_for_the_agent_nobody_can_be_told_from_them() {
    let excluded = Err(ApprovalRefusal::Excluded);
    let mut parts = registry(vec![of(20, None, None)]);
    parts.agents[0].owner = None;
    assert_eq!(says(parts.clone(), not_owner()), excluded);
    assert_eq!(says(parts.clone(), one()), Ok("approved"));
    parts.agents.remove(0);
    assert_eq!(says(parts, not_owner()), excluded);
}

#[test]
fn two_are_two_persons_whatever_keys_and_owners_they_have() {
    let with = |first: Owner, second: Owner| {
        let snapshot = Snapshot::new(registry(vec![first, second]));
        let asked =
            Approval { excluded: Vec::new(), ..asked(ApprovalTerms { two: true, ..one() }) };
        let ids = [operator(31, 20).id, operator(32, 21).id];
        let [first, second] = ids.each_ref().map(|id| snapshot.approver(id, &asked.call));
        let pending = asked.approve(&first, "fine", NOW_S)?;
        pending.approve(&second, "fine too", NOW_S).map(|done| done.state.as_str())
    };
    let same = Err(ApprovalRefusal::SamePerson);
    assert_eq!(with(of(20, None, None), of(21, None, None)), Ok("approved"));
    assert_eq!(with(of(20, by_person(), None), of(21, by_group("legal"), None)), Ok("approved"));
    assert_eq!(with(of(20, by_person(), None), of(21, by_person(), None)), same);
    assert_eq!(with(of(20, by_person(), None), of(21, by_group("sales"), None)), same);
}

#[test]
fn who_is_unknown_says_nothing() {
    let (snapshot, asked) = (Snapshot::new(registry(Vec::new())), asked(one()));
    let nobody = AgentId::from_random(&[99; 16]);
    let said = asked.approve(&snapshot.approver(&nobody, &asked.call), "fine", NOW_S);
    assert_eq!(said, Err(ApprovalRefusal::NotAPerson));
}

/// A person of the registry who is logged in: of a seed, with the role or without.
fn otto(parts: &mut SnapshotParts) -> Person {
    parts.persons[1].roles = [Role::Approver].into();
    parts.persons[1].clone()
}

#[test]
fn a_person_is_judged_by_the_owners_that_they_are() {
    let with = |terms, change: &dyn Fn(&mut SnapshotParts)| {
        let mut parts = registry(vec![of(20, None, None)]);
        let otto = otto(&mut parts);
        change(&mut parts);
        let (snapshot, asked) = (Snapshot::new(parts), asked(terms));
        let who = snapshot.approving_person(&otto, &asked.call);
        asked.approve(&who, "fine", NOW_S).map(|done| done.state.as_str())
    };
    let bind = |to: Option<PersonOrGroup>| {
        move |parts: &mut SnapshotParts| parts.owners[0].bound_to.clone_from(&to)
    };
    assert_eq!(with(one(), &|_| ()), Ok("approved"));
    // Of an owner who is a name alone nobody knows whether it is this person.
    assert_eq!(with(not_owner(), &|_| ()), Err(ApprovalRefusal::Unbound));
    assert_eq!(with(not_owner(), &bind(by_person())), Ok("approved"));
    assert_eq!(with(not_owner(), &bind(by_group("legal"))), Err(ApprovalRefusal::Excluded));
    assert_eq!(with(one(), &bind(by_group("legal"))), Ok("approved"));
    let ownerless = |parts: &mut SnapshotParts| parts.agents[0].owner = None;
    assert_eq!(with(not_owner(), &ownerless), Err(ApprovalRefusal::Excluded));
    // Who comes after an owner whose person is gone.
    let gone = PersonOrGroup::Person { person: PersonId::from_random(&[70; 16]) };
    let followed = |parts: &mut SnapshotParts| {
        parts.owners[0].bound_to = Some(gone.clone());
        parts.owners[0].successor = Some(owner_id(20));
    };
    assert_eq!(with(not_owner(), &followed), Err(ApprovalRefusal::Unbound));
}

#[test]
fn a_person_says_nothing_without_the_role_or_for_themselves() {
    let mut parts = registry(Vec::new());
    let otto = otto(&mut parts);
    let snapshot = Snapshot::new(parts);
    let asked = asked(one());
    let say = |person: &Person| {
        let who = snapshot.approving_person(person, &asked.call);
        asked.approve(&who, "fine", NOW_S).map(|done| done.state.as_str())
    };
    assert_eq!(say(&otto), Ok("approved"));
    for role in Role::ALL.into_iter().filter(|role| !role.may_approve()) {
        let other = Person { roles: [role].into(), ..otto.clone() };
        assert_eq!(say(&other), Err(ApprovalRefusal::RoleMissing), "{role}");
    }
    let stopped = Person { state: crate::LifeCycle::Suspended, ..otto };
    assert_eq!(say(&stopped), Err(ApprovalRefusal::RoleMissing));
    let acted_for = Person { roles: [Role::Approver].into(), ..person() };
    assert_eq!(say(&acted_for), Err(ApprovalRefusal::Excluded));
}

#[test]
fn a_person_and_a_key_are_two_only_where_it_is_known_whose_the_key_is() {
    let with = |owner: Owner, key_first: bool| {
        let mut parts = registry(vec![owner]);
        let otto = otto(&mut parts);
        let snapshot = Snapshot::new(parts);
        let asked =
            Approval { excluded: Vec::new(), ..asked(ApprovalTerms { two: true, ..one() }) };
        let id = operator(31, 20).id;
        let key = snapshot.approver(&id, &asked.call);
        let person = snapshot.approving_person(&otto, &asked.call);
        let (first, second) = if key_first { (key, person) } else { (person, key) };
        let pending = asked.approve(&first, "fine", NOW_S)?;
        pending.approve(&second, "fine too", NOW_S).map(|done| done.state.as_str())
    };
    let gone = PersonOrGroup::Person { person: PersonId::from_random(&[70; 16]) };
    for key_first in [true, false] {
        let with = |owner| with(owner, key_first);
        assert_eq!(with(of(20, by_person(), None)), Ok("approved"));
        assert_eq!(with(of(20, by_group("sales"), None)), Ok("approved"));
        // Otto is in `legal`.
        assert_eq!(with(of(20, by_group("legal"), None)), Err(ApprovalRefusal::SamePerson));
        assert_eq!(with(of(20, None, None)), Err(ApprovalRefusal::Unbound));
        assert_eq!(with(of(20, Some(gone.clone()), Some(99))), Ok("approved"));
    }
}

#[test]
fn two_persons_of_one_group_are_two() {
    let mut parts = registry(vec![of(20, by_group("legal"), None)]);
    let otto = otto(&mut parts);
    let id = PersonId::from_random(&[72; 16]);
    let olga = Person { id, name: name("olga"), ..otto.clone() };
    parts.persons.push(olga.clone());
    let snapshot = Snapshot::new(parts);
    let asked = Approval { excluded: Vec::new(), ..asked(ApprovalTerms { two: true, ..one() }) };
    let say = |approval: &Approval, person: &Person| {
        approval.approve(&snapshot.approving_person(person, &asked.call), "fine", NOW_S)
    };
    let pending = say(&asked, &otto).unwrap();
    assert_eq!(say(&pending, &otto), Err(ApprovalRefusal::SamePerson));
    assert_eq!(say(&pending, &olga).unwrap().state.as_str(), "approved");
}
