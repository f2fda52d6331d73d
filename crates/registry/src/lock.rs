//! Locks: the fast way to stop something, for a bounded time.

use serde::{Deserialize, Serialize};

use attorn_jose::Jkt;

use crate::{AgentId, GrantId, LockId, OwnerId, ServerId};

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
