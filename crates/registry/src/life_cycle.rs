//! The life of an agent, an MCP server or an owner, as a table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where an identity stands. Only [`LifeCycle::Active`] may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeCycle {
    /// Seen, but claimed by nobody.
    Discovered,
    /// Registered, not yet enrolled.
    Pending,
    /// In use.
    Active,
    /// Stopped for now.
    Suspended,
    /// Stopped for good. Its name stays taken.
    Retired,
}

/// A change of state that the table does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{from}` cannot become `{to}`")]
pub struct TransitionRefused {
    /// The state now.
    pub from: LifeCycle,
    /// The state asked for.
    pub to: LifeCycle,
}

/// A text that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is discovered, pending, active, suspended or retired")]
pub struct LifeCycleError;

/// Every change of state there is. Nothing leaves `Retired`, and nothing returns to `Pending`.
const TRANSITIONS: [(LifeCycle, LifeCycle); 8] = [
    (LifeCycle::Discovered, LifeCycle::Pending),
    (LifeCycle::Discovered, LifeCycle::Retired),
    (LifeCycle::Pending, LifeCycle::Active),
    (LifeCycle::Pending, LifeCycle::Retired),
    (LifeCycle::Active, LifeCycle::Suspended),
    (LifeCycle::Active, LifeCycle::Retired),
    (LifeCycle::Suspended, LifeCycle::Active),
    (LifeCycle::Suspended, LifeCycle::Retired),
];

impl LifeCycle {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 5] =
        [Self::Discovered, Self::Pending, Self::Active, Self::Suspended, Self::Retired];

    /// The next state, if the table allows it.
    ///
    /// # Errors
    /// The table holds no such change. Staying as one is counts as none.
    pub fn become_state(self, to: Self) -> Result<Self, TransitionRefused> {
        if TRANSITIONS.contains(&(self, to)) {
            Ok(to)
        } else {
            Err(TransitionRefused { from: self, to })
        }
    }

    /// Whether a change of state ends a stop.
    #[must_use]
    pub fn ends_stop(self, to: Self) -> bool {
        self == Self::Suspended && to == Self::Active
    }

    /// The state in lower case, as the API and the store spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for LifeCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LifeCycle {
    type Err = LifeCycleError;
    fn from_str(text: &str) -> Result<Self, LifeCycleError> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(LifeCycleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per state, one column per target, both in the order of [`LifeCycle::ALL`].
    const EXPECTED: [&str; 5] = [".x..x", "..x.x", "...xx", "..x.x", "....."];

    #[test]
    fn the_whole_table() {
        for (from, row) in LifeCycle::ALL.into_iter().zip(EXPECTED) {
            for (to, cell) in LifeCycle::ALL.into_iter().zip(row.chars()) {
                let allowed = from.become_state(to).is_ok();
                assert_eq!(allowed, cell == 'x', "{from} to {to}");
            }
        }
    }

    #[test]
    fn the_refusal_names_both_states() {
        let refused = LifeCycle::Retired.become_state(LifeCycle::Active).unwrap_err();
        assert_eq!(refused.to_string(), "`retired` cannot become `active`");
    }

    #[test]
    fn the_spelling_reads_back() {
        for state in LifeCycle::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
        assert_eq!("Active".parse::<LifeCycle>(), Err(LifeCycleError));
    }
}
