//! Who answers for an identity: its owner, or, where the person behind that one is gone, whoever
//! comes after.

use super::Snapshot;
use crate::lock::is_recent;
use crate::{LifeCycle, Owner, OwnerId, PersonOrGroup};

/// The longest way from an owner to who answers. A way that does not end there ends nowhere.
pub(crate) const SUCCESSORS_MAX: usize = 8;

impl Snapshot {
    /// The owner who answers, if anybody does: the one named, or the first successor behind whom
    /// somebody is. An owner who is suspended or retired themselves stops what is theirs, as ever.
    #[must_use]
    pub fn answering(&self, id: &OwnerId) -> Option<&Owner> {
        let last = self.owners_behind(Some(id)).last()?;
        (last.state == LifeCycle::Active && self.is_somebody(last)).then_some(last)
    }

    /// The owner named and the successors up to the one who answers: a lock on any of them stops
    /// what is theirs.
    pub fn owners_behind<'s>(
        &'s self,
        id: Option<&OwnerId>,
    ) -> impl Iterator<Item = &'s Owner> + use<'s> {
        let first = id.and_then(|id| self.owner(id));
        let next = |owner: &&'s Owner| {
            let passes = owner.state == LifeCycle::Active && !self.is_somebody(owner);
            owner.successor.as_ref().filter(|_| passes).and_then(|id| self.owner(id))
        };
        std::iter::successors(first, next).take(SUCCESSORS_MAX)
    }

    /// Whether the person behind an owner is there, or anybody of the group. An owner who is bound
    /// to nobody is who they say.
    fn is_somebody(&self, owner: &Owner) -> bool {
        match &owner.bound_to {
            None => true,
            Some(PersonOrGroup::Person { person }) => self.acting_person(person).is_ok(),
            Some(PersonOrGroup::Group { group }) => {
                self.members(group).any(|person| person.state == LifeCycle::Active)
            }
        }
    }

    /// The end of the last stop of an owner: their own, or that of the person behind them. A group
    /// was stopped until the first of its members came back, where all who are active did.
    pub(super) fn owner_stop_ended_s(&self, owner: &Owner, now_s: u64) -> Option<u64> {
        let of_people = match &owner.bound_to {
            None => None,
            Some(PersonOrGroup::Person { person }) => {
                self.person(person).and_then(|person| person.stop_ended_s)
            }
            Some(PersonOrGroup::Group { group }) => {
                let active = self.members(group).filter(|person| person.state == LifeCycle::Active);
                let ends = active
                    .map(|person| person.stop_ended_s.filter(|end_s| is_recent(*end_s, now_s)));
                ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().min())
            }
        };
        owner.stop_ended_s.max(of_people)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{agent, name, owner, person};
    use crate::{LockTarget, LockedSubject, Person, PersonId, ReasonCode, ServerId, SnapshotParts};

    const NOW_S: u64 = 1000;

    fn bound(to: Option<PersonOrGroup>, successor: Option<OwnerId>) -> Owner {
        Owner { bound_to: to, successor, ..owner() }
    }

    fn next() -> Owner {
        Owner { id: OwnerId::from_random(&[11; 16]), name: name("next"), ..owner() }
    }

    fn by_person() -> Option<PersonOrGroup> {
        Some(PersonOrGroup::Person { person: person().id })
    }

    fn by_group() -> Option<PersonOrGroup> {
        Some(PersonOrGroup::Group { group: name("sales") })
    }

    fn acts(owners: Vec<Owner>, persons: Vec<Person>) -> Result<(), ReasonCode> {
        let parts = SnapshotParts { owners, persons, agents: vec![agent()], ..Default::default() };
        Snapshot::new(parts).acting_agent(&agent().id, NOW_S).map(drop)
    }

    fn gone() -> Person {
        Person { state: LifeCycle::Retired, ..person() }
    }

    #[test]
    fn who_is_gone_is_followed_by_the_successor() {
        let ownerless = Err(ReasonCode::AgentOwnerless);
        for to in [by_person(), by_group()] {
            assert_eq!(acts(vec![bound(to.clone(), None)], vec![person()]), Ok(()));
            assert_eq!(acts(vec![bound(to.clone(), None)], vec![gone()]), ownerless);
            assert_eq!(acts(vec![bound(to.clone(), None)], Vec::new()), ownerless);
            let followed = || bound(to.clone(), Some(next().id));
            assert_eq!(acts(vec![followed(), next()], vec![gone()]), Ok(()));
            // The successor is there and does not answer while the owner does; gone, nobody does.
            let off = Owner { state: LifeCycle::Suspended, ..next() };
            assert_eq!(acts(vec![followed(), off.clone()], vec![person()]), Ok(()));
            assert_eq!(acts(vec![followed(), off], vec![gone()]), ownerless);
            // An owner who was stopped themselves stops what is theirs.
            let stopped = Owner { state: LifeCycle::Suspended, ..followed() };
            assert_eq!(acts(vec![stopped, next()], vec![gone()]), ownerless);
        }
        let other = Person { id: PersonId::from_random(&[71; 16]), name: name("o"), ..person() };
        assert_eq!(acts(vec![bound(by_group(), None)], vec![gone(), other]), Ok(()));
    }

    #[test]
    fn a_circle_of_successors_answers_for_nothing() {
        let first = bound(by_person(), Some(next().id));
        let second = Owner { bound_to: by_person(), successor: Some(owner().id), ..next() };
        let circle = acts(vec![first, second], vec![gone()]);
        assert_eq!(circle, Err(ReasonCode::AgentOwnerless));
    }

    #[test]
    fn a_lock_on_who_answers_stops_it_and_their_stops_are_remembered() {
        let server = ServerId::from_random(&[4; 16]);
        let id = agent().id;
        let subject = LockedSubject {
            agent: &id,
            person: None,
            server: &server,
            tool: None,
            token_jti: None,
            key: None,
        };
        let with = |owners: Vec<Owner>, persons: Vec<Person>, target: Option<OwnerId>| {
            let locks =
                target.map(|owner| crate::fixtures::lock(LockTarget::Owner { owner }, NOW_S + 1));
            Snapshot::new(SnapshotParts {
                owners,
                persons,
                agents: vec![agent()],
                locks: locks.into_iter().collect(),
                ..SnapshotParts::default()
            })
        };
        let followed = || vec![bound(by_person(), Some(next().id)), next()];
        for target in [owner().id, next().id] {
            let locked = with(followed(), vec![gone()], Some(target));
            assert!(locked.lock_on(&subject, NOW_S).is_some());
        }
        // While the owner answers, the successor is nobody here.
        let locked = with(followed(), vec![person()], Some(next().id));
        assert!(locked.lock_on(&subject, NOW_S).is_none());
        let back = Person { stop_ended_s: Some(NOW_S - 5), ..person() };
        for to in [by_person(), by_group()] {
            let resumed = with(vec![bound(to, None)], vec![back.clone()], None);
            assert_eq!(resumed.tokens_from_s(&subject, NOW_S), NOW_S - 4);
        }
        // Somebody of the group was there all the time.
        let other = Person { id: PersonId::from_random(&[71; 16]), name: name("o"), ..person() };
        let resumed = with(vec![bound(by_group(), None)], vec![back, other], None);
        assert_eq!(resumed.tokens_from_s(&subject, NOW_S), 0);
    }
}
