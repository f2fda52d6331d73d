//! What a person gave to one agent at one MCP server.

use serde::{Deserialize, Serialize};

use crate::{AgentId, ConsentId, PersonId, PersonRefusal, ScopeSet, ServerId};

/// The longest life of a consent: a year. Then the person is asked again.
pub const CONSENT_LIFETIME_MAX_S: u64 = 366 * 24 * 3600;

/// A consent. Of one person, agent and server at most one counts: a new one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Stable identifier.
    pub id: ConsentId,
    /// Who gave it.
    pub person: PersonId,
    /// To whom.
    pub agent: AgentId,
    /// Where.
    pub server: ServerId,
    /// What, scope by scope: a tool that comes later is in none.
    pub scopes: ScopeSet,
    /// When it was given, in Unix seconds.
    pub created_s: u64,
    /// First second at which it does not count any more.
    pub expires_s: u64,
    /// When it was taken back or replaced, in Unix seconds.
    pub revoked_s: Option<u64>,
}

impl Consent {
    /// Checks a consent before it is recorded.
    ///
    /// # Errors
    /// It names no scope, ends before it begins, or lasts longer than [`CONSENT_LIFETIME_MAX_S`].
    pub fn verify(&self, now_s: u64) -> Result<(), PersonRefusal> {
        if self.scopes.is_empty() {
            return Err(PersonRefusal::ScopesEmpty);
        }
        let lifetime_s = self.expires_s.checked_sub(now_s);
        if !lifetime_s.is_some_and(|s| (1..=CONSENT_LIFETIME_MAX_S).contains(&s)) {
            return Err(PersonRefusal::Expiry);
        }
        Ok(())
    }

    /// Whether it counts now.
    #[must_use]
    pub fn counts(&self, now_s: u64) -> bool {
        self.revoked_s.is_none() && now_s < self.expires_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::consent;

    #[test]
    fn a_consent_ends() {
        let consent = Consent { expires_s: 100, ..consent("read:get") };
        assert!(consent.counts(99) && !consent.counts(100));
        assert!(!Consent { revoked_s: Some(1), ..consent }.counts(2));
    }

    #[test]
    fn a_consent_is_bounded_and_gives_something() {
        let consent = Consent { expires_s: 100, ..consent("read:get") };
        assert_eq!(consent.verify(99), Ok(()));
        assert_eq!(consent.verify(100), Err(PersonRefusal::Expiry));
        let long = Consent { expires_s: 10 + CONSENT_LIFETIME_MAX_S, ..consent.clone() };
        assert_eq!((long.verify(10), long.verify(9)), (Ok(()), Err(PersonRefusal::Expiry)));
        let empty = Consent { scopes: ScopeSet::default(), ..consent };
        assert_eq!(empty.verify(1), Err(PersonRefusal::ScopesEmpty));
    }
}
