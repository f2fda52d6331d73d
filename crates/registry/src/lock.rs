//! Locks: the fast way to stop something, for a bounded time.

use serde::{Deserialize, Serialize};

use attorn_jose::Jkt;

use crate::{AgentId, GrantId, LockId, OwnerId, PersonId, ResourceId, ServerId};

/// The longest time between `iat` and `exp` of an access token.
pub const TOKEN_LIFETIME_MAX_S: u64 = 300;

/// For how long the end of a stop is remembered: every token from before it has ended by then, also
/// where a clock is a minute behind.
pub const STOP_REMEMBERED_S: u64 = TOKEN_LIFETIME_MAX_S + 60;

/// Whether tokens from before a stop that ended at `end_s` could count. An end that is further ahead
/// than a token lives was told by a clock that has been set back since.
pub(crate) fn is_recent(end_s: u64, now_s: u64) -> bool {
    end_s.abs_diff(now_s) <= STOP_REMEMBERED_S
}

/// The longest life of a lock: 30 days. What must stay stopped is suspended or retired.
pub const LOCK_LIFETIME_MAX_S: u64 = 30 * 24 * 3600;

/// What a lock stops.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LockTarget {
    /// Everything an agent does.
    Agent {
        /// The agent.
        agent: AgentId,
    },
    /// What one grant gives.
    Grant {
        /// The grant.
        grant: GrantId,
    },
    /// Everything bound to one key.
    Key {
        /// Thumbprint of the key, or of the certificate: what the journal calls `proof_key`.
        jkt: Jkt,
    },
    /// Everything of every identity an owner answers for.
    Owner {
        /// The owner.
        owner: OwnerId,
    },
    /// Everything that is done for a person, and their signing in.
    Person {
        /// The person.
        person: PersonId,
    },
    /// Everything at an API.
    Resource {
        /// The API.
        resource: ResourceId,
    },
    /// Everything at an MCP server.
    Server {
        /// The server.
        server: ServerId,
    },
    /// One access token.
    Token {
        /// The `jti` of the token.
        jti: String,
    },
    /// One tool.
    Tool {
        /// The server.
        server: ServerId,
        /// The exact name of the tool.
        tool: String,
    },
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Stable identifier.
    pub id: LockId,
    /// What it stops.
    pub target: LockTarget,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub by: String,
    /// When it was set, in Unix seconds.
    pub created_s: u64,
    /// First second at which it does not hold any more.
    pub expires_s: u64,
    /// When it was lifted, in Unix seconds.
    pub lifted_s: Option<u64>,
}

/// Why a lock cannot be set as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockRefusal {
    /// It would hold for no time, or for more than [`LOCK_LIFETIME_MAX_S`].
    #[error("a lock holds for at least a second and at most 30 days")]
    Lifetime,
    /// It says no reason.
    #[error("a lock says its reason")]
    ReasonEmpty,
}

impl Lock {
    /// Checks a lock before it is recorded.
    ///
    /// # Errors
    /// See [`LockRefusal`].
    pub fn verify(&self) -> Result<(), LockRefusal> {
        let lifetime_s = self.expires_s.checked_sub(self.created_s);
        if !lifetime_s.is_some_and(|s| (1..=LOCK_LIFETIME_MAX_S).contains(&s)) {
            return Err(LockRefusal::Lifetime);
        }
        if self.reason.trim().is_empty() {
            return Err(LockRefusal::ReasonEmpty);
        }
        Ok(())
    }

    /// Whether the lock holds now. It holds from the moment it is known: a clock that is behind
    /// must not delay it.
    #[must_use]
    pub fn holds(&self, now_s: u64) -> bool {
        self.lifted_s.is_none() && now_s < self.expires_s
    }

    /// The second in which it ends or ended: lifted, or by itself.
    #[must_use]
    pub fn ends_s(&self) -> u64 {
        self.lifted_s.map_or(self.expires_s, |lifted_s| lifted_s.min(self.expires_s))
    }

    /// Whether a decision may still depend on it: it holds, or tokens from before its end could
    /// count again.
    #[must_use]
    pub fn matters(&self, now_s: u64) -> bool {
        self.holds(now_s) || is_recent(self.ends_s(), now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::lock;

    #[test]
    fn a_lock_holds_until_its_end() {
        let lock = lock(LockTarget::Token { jti: "a".into() }, 100);
        assert!(lock.holds(0) && lock.holds(99));
        assert!(!lock.holds(100));
    }

    #[test]
    fn a_lifted_lock_does_not_hold() {
        let lock = lock(LockTarget::Token { jti: "a".into() }, 100);
        assert!(!Lock { lifted_s: Some(1), ..lock }.holds(2));
    }

    #[test]
    fn a_lock_is_remembered_while_tokens_from_before_it_live() {
        let lock = lock(LockTarget::Token { jti: "a".into() }, 1000);
        assert_eq!(lock.ends_s(), 1000);
        assert!(lock.matters(0) && lock.matters(1000 + STOP_REMEMBERED_S));
        assert!(!lock.matters(1001 + STOP_REMEMBERED_S));
        let lifted = Lock { lifted_s: Some(500), ..lock.clone() };
        assert_eq!(lifted.ends_s(), 500);
        assert!(lifted.matters(500 + STOP_REMEMBERED_S));
        assert!(!lifted.matters(501 + STOP_REMEMBERED_S));
        // Lifted after it had ended by itself.
        assert_eq!(Lock { lifted_s: Some(2000), ..lock }.ends_s(), 1000);
    }

    #[test]
    fn a_lock_is_bounded_and_says_why() {
        let lock = lock(LockTarget::Token { jti: "a".into() }, 100);
        assert_eq!(lock.verify(), Ok(()));
        for expires_s in [0, LOCK_LIFETIME_MAX_S + 1, u64::MAX] {
            let refused = Lock { expires_s, ..lock.clone() }.verify();
            assert_eq!(refused, Err(LockRefusal::Lifetime), "{expires_s}");
        }
        let silent = Lock { reason: " ".into(), ..lock };
        assert_eq!(silent.verify(), Err(LockRefusal::ReasonEmpty));
    }
}
