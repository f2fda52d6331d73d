//! Planting one, and asking for it.

#[cfg(feature = "planted")]
use std::sync::OnceLock;

use crate::Bug;

/// Why nothing was planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlanted {
    /// One is enough: two might hide each other.
    #[error("a bug is planted already")]
    Already,
    /// The feature `planted` is off, as in every release.
    #[error("this binary was built without the feature `planted`")]
    NotBuiltIn,
    /// No bug of that name.
    #[error("there is no bug of that name")]
    Unknown,
}

/// Plants the bug of that name for the rest of the process.
///
/// # Errors
/// [`NotPlanted`]; always without the feature `planted`.
#[cfg(feature = "planted")]
pub fn plant(name: &str) -> Result<Bug, NotPlanted> {
    let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name).ok_or(NotPlanted::Unknown)?;
    PLANTED.set(bug).map_err(|_| NotPlanted::Already)?;
    Ok(bug)
}

/// Refuses: there is nothing to plant without the feature `planted`.
///
/// # Errors
/// [`NotPlanted::NotBuiltIn`].
#[cfg(not(feature = "planted"))]
pub const fn plant(_name: &str) -> Result<Bug, NotPlanted> {
    Err(NotPlanted::NotBuiltIn)
}

/// Whether this bug was planted.
#[cfg(feature = "planted")]
#[inline]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(&bug)
}

/// No: a constant, so that nothing of the branch that asks is left.
#[cfg(not(feature = "planted"))]
#[inline]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
static PLANTED: OnceLock<Bug> = OnceLock::new();

#[cfg(all(test, not(feature = "planted")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_planted_without_the_feature() {
        for bug in Bug::ALL {
            assert_eq!(plant(bug.name()), Err(NotPlanted::NotBuiltIn));
            assert!(!is_planted(bug));
        }
        // The answer is known when the code is compiled.
        const { assert!(!is_planted(Bug::LockIgnored)) };
    }
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::*;

    #[test]
    fn one_bug_is_planted_and_stays() {
        assert_eq!(plant("no-such-bug"), Err(NotPlanted::Unknown));
        assert_eq!(plant("lock-ignored"), Ok(Bug::LockIgnored));
        assert_eq!(plant("proof-reused"), Err(NotPlanted::Already));
        assert!(is_planted(Bug::LockIgnored) && !is_planted(Bug::ProofReused));
    }
}
