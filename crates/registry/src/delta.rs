//! What changed between two snapshots, as it is stored and sent.
//!
//! Records are whole: a delta says what a record is now, not how it changed. Applied twice, or
//! after a later one that holds the same record, it could bring back what was, so it names the
//! version it continues and fits that one alone.

use serde::{Deserialize, Serialize};

use crate::{
    Agent, Approval, Consent, Erasure, Grant, IssuerKey, Lock, McpServer, Owner, Person,
    PersonGrant, PolicySource, Resource, RevokedToken, Snapshot,
};

/// The records that changed after one version, as they are at another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelta {
    /// The version it continues.
    pub after: u64,
    /// The version it leads to.
    pub version: u64,
    /// When it was made, in Unix milliseconds.
    pub made_ms: u64,
    /// The epoch at its version.
    pub epoch: u64,
    /// Owners that are new or changed.
    pub owners: Vec<Owner>,
    /// Agents that are new or changed.
    pub agents: Vec<Agent>,
    /// MCP servers that are new or changed, each with all its tools.
    pub servers: Vec<McpServer>,
    /// APIs that are new or changed, each with all its operations and rules.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Grants that are new or were revoked.
    pub grants: Vec<Grant>,
    /// Approvals that are new or changed, also those that do not count any more.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Persons that are new or changed.
    #[serde(default)]
    pub persons: Vec<Person>,
    /// Grants to persons and groups that are new or were revoked.
    #[serde(default)]
    pub person_grants: Vec<PersonGrant>,
    /// Consents that are new or were taken back.
    #[serde(default)]
    pub consents: Vec<Consent>,
    /// Locks that are new or were lifted.
    pub locks: Vec<Lock>,
    /// Tokens revoked since.
    pub revoked: Vec<RevokedToken>,
    /// Subjects whose payloads are forgotten since.
    #[serde(default)]
    pub erasures: Vec<Erasure>,
    /// The policies, if others are in force.
    pub policy: Option<PolicySource>,
    /// All keys of the issuer, if one changed.
    pub issuer_keys: Option<Vec<IssuerKey>>,
}

/// Why a delta does not lead on from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaRefusal {
    /// An epoch never goes back.
    #[error("the delta would lower the epoch")]
    EpochLower,
    /// It continues another version.
    #[error("the delta continues version {after}, and version {has} is in force")]
    OtherVersion {
        /// What it continues.
        after: u64,
        /// What is in force.
        has: u64,
    },
}

impl Snapshot {
    /// The next snapshot. It shares with this one whatever did not change.
    ///
    /// # Errors
    /// See [`DeltaRefusal`]; then a whole snapshot is needed.
    pub fn apply(&self, delta: SnapshotDelta) -> Result<Self, DeltaRefusal> {
        if delta.after != self.version || delta.version < delta.after {
            return Err(DeltaRefusal::OtherVersion { after: delta.after, has: self.version });
        }
        if delta.epoch < self.epoch {
            return Err(DeltaRefusal::EpochLower);
        }
        let now_s = delta.made_ms / 1000;
        let mut next = self.clone();
        next.version = delta.version;
        next.made_ms = delta.made_ms;
        next.epoch = delta.epoch;
        if delta.epoch > self.epoch {
            // They ended with the tokens, and the delta says nothing of each.
            next.end_approvals();
        }
        delta.owners.into_iter().for_each(|owner| next.put_owner(owner));
        delta.agents.into_iter().for_each(|agent| next.put_agent(agent));
        delta.servers.into_iter().for_each(|server| next.put_server(server));
        delta.resources.into_iter().for_each(|resource| next.put_resource(resource));
        delta.grants.into_iter().for_each(|grant| next.put_grant(grant, now_s));
        delta.approvals.into_iter().for_each(|one| next.put_approval(one, now_s));
        delta.persons.into_iter().for_each(|person| next.put_person(person));
        delta.person_grants.into_iter().for_each(|grant| next.put_person_grant(grant, now_s));
        next.put_consents(delta.consents, now_s);
        delta.locks.into_iter().for_each(|lock| next.put_lock(lock, now_s));
        delta.revoked.into_iter().for_each(|token| next.put_revoked(token, now_s));
        delta.erasures.into_iter().for_each(|erasure| next.put_erasure(erasure));
        if let Some(policy) = delta.policy {
            next.policy = policy;
        }
        if let Some(issuer_keys) = delta.issuer_keys {
            next.issuer_keys = issuer_keys;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{agent, consent, grant, lock, owner, person, server, tool};
    use crate::{Class, ConsentId, LifeCycle, LockTarget, SnapshotParts};

    fn first() -> Snapshot {
        Snapshot::new(SnapshotParts {
            version: 7,
            epoch: 2,
            owners: vec![owner()],
            agents: vec![agent()],
            servers: vec![server("crm", vec![tool("get", Some(Class::Read))])],
            grants: vec![grant("read:*")],
            ..SnapshotParts::default()
        })
    }

    fn delta() -> SnapshotDelta {
        SnapshotDelta { after: 7, version: 8, epoch: 2, ..SnapshotDelta::default() }
    }

    #[test]
    fn a_delta_fits_one_version() {
        assert_eq!(first().apply(delta()).unwrap().version, 8);
        for after in [6, 8] {
            let refused = first().apply(SnapshotDelta { after, ..delta() }).unwrap_err();
            assert_eq!(refused, DeltaRefusal::OtherVersion { after, has: 7 });
        }
        let back = SnapshotDelta { version: 6, ..delta() };
        assert!(first().apply(back).is_err());
    }

    #[test]
    fn an_epoch_never_goes_back() {
        let lower = SnapshotDelta { epoch: 1, ..delta() };
        assert_eq!(first().apply(lower).unwrap_err(), DeltaRefusal::EpochLower);
        assert_eq!(first().apply(SnapshotDelta { epoch: 3, ..delta() }).unwrap().epoch, 3);
    }

    #[test]
    fn a_changed_record_replaces_the_old_one() {
        let suspended = Agent { state: LifeCycle::Suspended, ..agent() };
        let next = first().apply(SnapshotDelta { agents: vec![suspended], ..delta() }).unwrap();
        assert_eq!(next.agent(&agent().id).unwrap().state, LifeCycle::Suspended);
        assert_eq!(next.agents().count(), 1);
        assert_eq!(first().agent(&agent().id).unwrap().state, LifeCycle::Active);
    }

    #[test]
    fn a_new_name_ends_the_old_one() {
        let renamed = Agent { name: crate::Name::parse("paying").unwrap(), ..agent() };
        let next = first().apply(SnapshotDelta { agents: vec![renamed], ..delta() }).unwrap();
        assert!(next.agent_named("billing").is_none());
        assert!(next.agent_named("paying").is_some());
    }

    #[test]
    fn grants_come_and_go() {
        let at = server("crm", Vec::new()).id;
        let revoked = Grant { revoked_s: Some(1), ..grant("read:*") };
        let next = first().apply(SnapshotDelta { grants: vec![revoked], ..delta() }).unwrap();
        assert!(next.grants(&agent().id, &at).is_empty());
        let again =
            SnapshotDelta { after: 8, version: 9, grants: vec![grant("read:*")], ..delta() };
        let next = next.apply(again.clone()).unwrap();
        let next = next.apply(SnapshotDelta { after: 9, version: 10, ..again }).unwrap();
        assert_eq!(next.grants(&agent().id, &at).len(), 1);
    }

    #[test]
    fn a_consent_that_was_replaced_does_not_come_back() {
        let whom = (person().id, agent().id, server("crm", Vec::new()).id);
        let given = |next: &Snapshot| {
            next.consent(&whom.0, &whom.1, &whom.2).map(|consent| consent.id.clone())
        };
        let first = SnapshotDelta { consents: vec![consent("read:get")], ..delta() };
        let first = self::first().apply(first).unwrap();
        assert_eq!(given(&first), Some(consent("read:get").id));
        let id = |seed| ConsentId::from_random(&[seed; 16]);
        let after = |consents| {
            let delta = SnapshotDelta { after: 8, version: 9, consents, ..delta() };
            given(&first.apply(SnapshotDelta { made_ms: 5000, ..delta }).unwrap())
        };
        // Another one replaced it and ended, both since: the delta tells of that one alone.
        let second = Consent { id: id(21), ..consent("read:get") };
        assert_eq!(after(vec![second.clone()]), Some(id(21)));
        let revoked = Consent { revoked_s: Some(4), ..second.clone() };
        assert_eq!(after(vec![revoked.clone()]), None);
        assert_eq!(after(vec![Consent { expires_s: 5, ..second }]), None);
        // And the one that counts is there, in whatever order it comes.
        let third = Consent { id: id(20), ..consent("read:get") };
        assert_eq!(after(vec![third.clone(), revoked.clone()]), Some(id(20)));
        assert_eq!(after(vec![revoked, third]), Some(id(20)));
    }

    #[test]
    fn locks_hold_until_they_are_lifted() {
        let target = LockTarget::Agent { agent: agent().id };
        let set = lock(target.clone(), 100);
        let locked = SnapshotDelta { locks: vec![set.clone()], ..delta() };
        let next = first().apply(locked).unwrap();
        assert!(next.active_lock(&target, 50).is_some());
        let lifted = Lock { lifted_s: Some(60), ..set };
        let lifted = SnapshotDelta { after: 8, version: 9, locks: vec![lifted], ..delta() };
        assert!(next.apply(lifted).unwrap().active_lock(&target, 50).is_none());
    }

    #[test]
    fn a_revoked_token_is_forgotten_after_its_end_only() {
        let token = |expires_s| RevokedToken { jti: "t".into(), expires_s };
        let next = first().apply(SnapshotDelta { revoked: vec![token(100)], ..delta() }).unwrap();
        assert!(next.is_revoked("t"));
        let later = |made_ms| {
            let more = RevokedToken { jti: "t".into(), expires_s: 0 };
            SnapshotDelta { after: 8, version: 9, made_ms, revoked: vec![more], ..delta() }
        };
        // The same token again, with an end that would let it go: the later end counts.
        assert!(next.apply(later(99_000)).unwrap().is_revoked("t"));
        assert!(!next.apply(later(100_000)).unwrap().is_revoked("t"));
    }
}
