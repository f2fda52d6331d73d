//! Agents, the operators beside them, and their keys.

use serde::{Deserialize, Serialize};

use attorn_jose::Jkt;

use crate::{AgentId, Authentication, Binding, LifeCycle, Name, OwnerId, PublicClient};

/// Who is behind an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// Software that acts on its own.
    Agent,
    /// A public client of people: it acts for whoever signed in, and never for itself.
    Client,
    /// A gateway in a process of its own. It follows the registry and calls no tool.
    Gateway,
    /// A person's command line. The person is the owner.
    Operator,
}

impl AgentKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Client, Self::Gateway, Self::Operator];

    /// The kind in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Operator => "operator",
        }
    }
}

/// Where a key stands in its rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Known to others, not in use yet.
    Prepublished,
    /// In use.
    Active,
    /// No longer used for new signatures, still accepted until its end.
    Retired,
    /// Not accepted any more.
    Removed,
}

impl KeyState {
    /// Every state, in the order of a rotation.
    pub const ALL: [Self; 4] = [Self::Prepublished, Self::Active, Self::Retired, Self::Removed];

    /// The state in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepublished => "prepublished",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// One public key of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentKey {
    /// RFC 7638 thumbprint. Two agents never share one.
    pub jkt: Jkt,
    /// The public JWK as canonical JSON.
    pub jwk: String,
    /// Where the key stands.
    pub state: KeyState,
    /// First second at which it is accepted.
    pub not_before_s: u64,
    /// First second at which it is not accepted any more. A retired key always has one.
    pub not_after_s: Option<u64>,
}

impl AgentKey {
    /// Whether a signature by this key counts now.
    #[must_use]
    pub fn accepts(&self, now_s: u64) -> bool {
        let started = self.not_before_s <= now_s;
        match self.state {
            KeyState::Active => started && self.not_after_s.is_none_or(|end_s| now_s < end_s),
            // A retired key without an end would never go away, so it does not count.
            KeyState::Retired => started && self.not_after_s.is_some_and(|end_s| now_s < end_s),
            KeyState::Prepublished | KeyState::Removed => false,
        }
    }
}

/// Why a key cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// The key is registered already, here or for another agent.
    #[error("the key is already registered")]
    Known,
}

/// The keys after a rotation: the new one is active at once, and every active one is retired but
/// accepted for `overlap_s` more seconds, so that no call in flight fails.
///
/// # Errors
/// The new key is one of the old ones: a removed key does not come back.
pub fn rotate(
    keys: &[AgentKey],
    jkt: Jkt,
    jwk: &str,
    now_s: u64,
    overlap_s: u64,
) -> Result<Vec<AgentKey>, KeyRefusal> {
    if keys.iter().any(|key| key.jkt == jkt) {
        return Err(KeyRefusal::Known);
    }
    let end_s = now_s.saturating_add(overlap_s);
    let mut rotated: Vec<AgentKey> = keys
        .iter()
        .map(|key| match key.state {
            KeyState::Active => AgentKey {
                state: KeyState::Retired,
                not_after_s: Some(key.not_after_s.map_or(end_s, |own_s| own_s.min(end_s))),
                ..key.clone()
            },
            KeyState::Prepublished | KeyState::Retired | KeyState::Removed => key.clone(),
        })
        .collect();
    rotated.push(AgentKey {
        jkt,
        jwk: jwk.to_owned(),
        state: KeyState::Active,
        not_before_s: now_s,
        not_after_s: None,
    });
    Ok(rotated)
}

/// A non-human identity, or a person's command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Stable identifier, and the OAuth `client_id`.
    pub id: AgentId,
    /// Unique among agents and operators.
    pub name: Name,
    /// Who is behind it.
    pub kind: AgentKind,
    /// Who answers for it. Without an active owner it cannot act.
    pub owner: Option<OwnerId>,
    /// Where it stands.
    pub state: LifeCycle,
    /// Its public keys, past ones included.
    pub keys: Vec<AgentKey>,
    /// How it proves who it is.
    #[serde(default)]
    pub authentication: Authentication,
    /// What its tokens are bound to.
    #[serde(default)]
    pub binding: Binding,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
    /// The second in which its last stop ended, if it had one: it was resumed, or given another owner.
    /// Tokens from before do not count again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ended_s: Option<u64>,
    /// First second at which it may not act any more, if it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// What is known about a public client. Exactly a [`AgentKind::Client`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<PublicClient>,
}

impl Agent {
    /// Whether it is past its end.
    #[must_use]
    pub fn has_ended(&self, now_s: u64) -> bool {
        self.expires_s.is_some_and(|end_s| end_s <= now_s)
    }

    /// The key with this thumbprint, if a signature by it counts now.
    #[must_use]
    pub fn accepted_key(&self, jkt: &Jkt, now_s: u64) -> Option<&AgentKey> {
        self.keys.iter().find(|key| key.jkt == *jkt && key.accepts(now_s))
    }

    /// The keys a signature counts by now.
    pub fn accepted_keys(&self, now_s: u64) -> impl Iterator<Item = &AgentKey> {
        self.keys.iter().filter(move |key| key.accepts(now_s))
    }

    /// Whether this names a key or a certificate that the agent gave up: what rests on it has ended.
    /// An agent may bind tokens to keys that nobody registered, but not to those that it gave up.
    ///
    /// Of a certificate that is known by its name, nothing is told here: whoever sees it, asks whether
    /// its name and authority are still those of the agent.
    #[must_use]
    pub fn gave_up(&self, name: &Jkt, now_s: u64) -> bool {
        if self.keys.iter().any(|key| key.jkt == *name) {
            return self.accepted_key(name, now_s).is_none();
        }
        let Authentication::SelfSignedTlsClientAuth { certificates } = &self.authentication else {
            return false;
        };
        let is_registered = certificates.iter().any(|one| one.as_bytes() == name.as_bytes());
        self.binding == Binding::Certificate && !is_registered
    }
}

/// A public key of the token issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerKey {
    /// The key identifier in token headers.
    pub kid: String,
    /// The public JWK as canonical JSON.
    pub jwk: String,
    /// Where the key stands. Active and retired keys verify, only the active one signs.
    pub state: KeyState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{agent_key, jkt};

    fn accepts(state: KeyState, window: (u64, Option<u64>), now_s: u64) -> bool {
        let (not_before_s, not_after_s) = window;
        AgentKey { state, not_before_s, not_after_s, ..agent_key(1) }.accepts(now_s)
    }

    #[test]
    fn an_active_key_counts_inside_its_window() {
        assert!(accepts(KeyState::Active, (10, None), 10));
        assert!(accepts(KeyState::Active, (10, Some(20)), 19));
        assert!(!accepts(KeyState::Active, (10, Some(20)), 20));
        assert!(!accepts(KeyState::Active, (10, None), 9));
    }

    #[test]
    fn a_retired_key_needs_an_end() {
        assert!(accepts(KeyState::Retired, (10, Some(20)), 19));
        assert!(!accepts(KeyState::Retired, (10, Some(20)), 20));
        assert!(!accepts(KeyState::Retired, (10, None), 15));
    }

    #[test]
    fn other_keys_never_count() {
        assert!(!accepts(KeyState::Prepublished, (0, None), 15));
        assert!(!accepts(KeyState::Removed, (0, None), 15));
    }

    #[test]
    fn a_rotation_overlaps() {
        let keys = rotate(&[agent_key(1)], jkt(2), "{}", 100, 60).unwrap();
        let at = |now_s: u64| keys.iter().filter(|key| key.accepts(now_s)).count();
        assert_eq!((at(99), at(100), at(159), at(160)), (1, 2, 2, 1));
    }

    #[test]
    fn a_rotation_never_lengthens_a_life() {
        let short = AgentKey { not_after_s: Some(110), ..agent_key(1) };
        let keys = rotate(&[short], jkt(2), "{}", 100, 60).unwrap();
        assert_eq!(keys[0].not_after_s, Some(110));
    }

    #[test]
    fn an_old_key_does_not_come_back() {
        let removed = AgentKey { state: KeyState::Removed, ..agent_key(1) };
        assert_eq!(rotate(&[removed], jkt(1), "{}", 100, 60), Err(KeyRefusal::Known));
    }
}
