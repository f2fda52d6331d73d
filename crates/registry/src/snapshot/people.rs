//! People in a snapshot: who they are, what they may do, and what they gave to agents.

use std::collections::{HashMap, HashSet};

use super::Snapshot;
use crate::shards::Shards;
use crate::{
    AgentId, Consent, ExternalSubject, Name, Person, PersonGrant, PersonId, PersonOrGroup, ServerId,
};

/// The records about people. Every lookup is a hash lookup.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    persons: Shards<PersonId, Person>,
    names: Shards<String, PersonId>,
    externals: Shards<ExternalSubject, PersonId>,
    members: Shards<Name, HashSet<PersonId>>,
    grants: Shards<PersonOrGroup, HashMap<ServerId, Vec<PersonGrant>>>,
    // Invariant: nested, so that a lookup needs no owned key; one consent per agent and server.
    consents: Shards<PersonId, HashMap<AgentId, HashMap<ServerId, Consent>>>,
}

impl People {
    pub(super) fn new(
        persons: Vec<Person>,
        grants: Vec<PersonGrant>,
        consents: Vec<Consent>,
    ) -> Self {
        let mut people = Self::default();
        persons.into_iter().for_each(|person| people.put(person));
        let mut by_holder: HashMap<PersonOrGroup, HashMap<ServerId, Vec<PersonGrant>>> =
            HashMap::new();
        for grant in grants {
            let at = by_holder.entry(grant.to.clone()).or_default();
            at.entry(grant.server.clone()).or_default().push(grant);
        }
        people.grants = by_holder.into_iter().collect();
        let mut by_person: HashMap<PersonId, HashMap<AgentId, HashMap<ServerId, Consent>>> =
            HashMap::new();
        for consent in consents {
            let of_person = by_person.entry(consent.person.clone()).or_default();
            let of_agent = of_person.entry(consent.agent.clone()).or_default();
            of_agent.insert(consent.server.clone(), consent);
        }
        people.consents = by_person.into_iter().collect();
        people
    }

    fn put(&mut self, person: Person) {
        if let Some(old) = self.persons.get(&person.id) {
            let old = old.clone();
            self.names.remove(old.name.as_str());
            if let Some(external) = &old.external {
                self.externals.remove(external);
            }
            for group in old.groups.difference(&person.groups) {
                let mut members = self.members.get(group).cloned().unwrap_or_default();
                members.remove(&person.id);
                self.members.insert(group.clone(), members);
            }
        }
        for group in &person.groups {
            let known = self.members.get(group);
            if known.is_none_or(|members| !members.contains(&person.id)) {
                let mut members = known.cloned().unwrap_or_default();
                members.insert(person.id.clone());
                self.members.insert(group.clone(), members);
            }
        }
        self.names.insert(person.name.as_str().to_owned(), person.id.clone());
        if let Some(external) = &person.external {
            self.externals.insert(external.clone(), person.id.clone());
        }
        self.persons.insert(person.id.clone(), person);
    }
}

impl Snapshot {
    pub(crate) fn put_person(&mut self, person: Person) {
        self.people.put(person);
    }

    /// What does not count any more is not kept, as in a snapshot that is read whole.
    pub(crate) fn put_person_grant(&mut self, grant: PersonGrant, now_s: u64) {
        let holder = grant.to.clone();
        let mut of_holder = self.people.grants.get(&holder).cloned().unwrap_or_default();
        let at_server = of_holder.entry(grant.server.clone()).or_default();
        at_server.retain(|old| old.id != grant.id && old.counts(now_s));
        if grant.counts(now_s) {
            at_server.push(grant);
        }
        self.people.grants.insert(holder, of_holder);
    }

    /// The consents of one delta, in whatever order. One that does not count takes away whatever
    /// stands in its place: it may have replaced that, and the delta does not tell of what was
    /// replaced. One that counts comes afterwards, and at most one does.
    pub(crate) fn put_consents(&mut self, consents: Vec<Consent>, now_s: u64) {
        let (counting, ended): (Vec<_>, Vec<_>) =
            consents.into_iter().partition(|consent| consent.counts(now_s));
        for consent in ended {
            self.change_consents(consent, |at_server, consent| {
                drop(at_server.remove(&consent.server));
            });
        }
        for consent in counting {
            self.change_consents(consent, |at_server, consent| {
                at_server.insert(consent.server.clone(), consent);
            });
        }
    }

    fn change_consents(
        &mut self,
        consent: Consent,
        change: impl FnOnce(&mut HashMap<ServerId, Consent>, Consent),
    ) {
        let person = consent.person.clone();
        let mut of_person = self.people.consents.get(&person).cloned().unwrap_or_default();
        change(of_person.entry(consent.agent.clone()).or_default(), consent);
        self.people.consents.insert(person, of_person);
    }

    /// A person by identifier.
    #[must_use]
    pub fn person(&self, id: &PersonId) -> Option<&Person> {
        self.people.persons.get(id)
    }

    /// A person by exact name.
    #[must_use]
    pub fn person_named(&self, name: &str) -> Option<&Person> {
        self.person(self.people.names.get(name)?)
    }

    /// A person by who they are at an identity provider: issuer and subject, both exactly.
    #[must_use]
    pub fn person_external(&self, external: &ExternalSubject) -> Option<&Person> {
        self.person(self.people.externals.get(external)?)
    }

    /// The persons of a group, in no order.
    pub fn members(&self, group: &Name) -> impl Iterator<Item = &Person> {
        let members = self.people.members.get(group).into_iter().flatten();
        members.filter_map(|id| self.person(id))
    }

    /// Every person, in no order.
    pub fn persons(&self) -> impl Iterator<Item = &Person> {
        self.people.persons.values()
    }

    /// Every grant to a person or a group, in no order.
    pub fn all_person_grants(&self) -> impl Iterator<Item = &PersonGrant> {
        self.people.grants.values().flat_map(HashMap::values).flatten()
    }

    /// Every consent, in no order.
    pub fn consents(&self) -> impl Iterator<Item = &Consent> {
        let of_people = self.people.consents.values().flat_map(HashMap::values);
        of_people.flat_map(HashMap::values)
    }

    /// The consent of a person for an agent at a server, whether it counts or not.
    pub(crate) fn consent(
        &self,
        person: &PersonId,
        agent: &AgentId,
        server: &ServerId,
    ) -> Option<&Consent> {
        self.people.consents.get(person)?.get(agent)?.get(server)
    }

    /// The grants of a person and of the groups they are in, past ones included.
    pub(crate) fn person_grants(
        &self,
        person: &Person,
        server: &ServerId,
    ) -> impl Iterator<Item = &PersonGrant> {
        let own = PersonOrGroup::Person { person: person.id.clone() };
        let group = |group: &Name| PersonOrGroup::Group { group: group.clone() };
        let holders = std::iter::once(own).chain(person.groups.iter().map(group));
        holders.filter_map(|holder| self.people.grants.get(&holder)?.get(server)).flatten()
    }
}
