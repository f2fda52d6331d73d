//! Whether an identity may act: its own state, then its owner's.

use crate::{LifeCycle, Owner, ReasonCode};

/// The reason codes of one kind of identity.
pub(crate) struct Codes {
    pub(crate) ownerless: ReasonCode,
    pub(crate) pending: ReasonCode,
    pub(crate) retired: ReasonCode,
    pub(crate) suspended: ReasonCode,
}

pub(crate) const AGENT: Codes = Codes {
    ownerless: ReasonCode::AgentOwnerless,
    pending: ReasonCode::AgentPending,
    retired: ReasonCode::AgentRetired,
    suspended: ReasonCode::AgentSuspended,
};

pub(crate) const SERVER: Codes = Codes {
    ownerless: ReasonCode::ServerOwnerless,
    pending: ReasonCode::ServerPending,
    retired: ReasonCode::ServerRetired,
    suspended: ReasonCode::ServerSuspended,
};

pub(crate) const RESOURCE: Codes = Codes {
    ownerless: ReasonCode::ResourceOwnerless,
    pending: ReasonCode::ResourcePending,
    retired: ReasonCode::ResourceRetired,
    suspended: ReasonCode::ResourceSuspended,
};

/// A person answers for themselves, so the code of an ownerless one is never told.
pub(crate) const PERSON: Codes = Codes {
    ownerless: ReasonCode::PersonUnknown,
    pending: ReasonCode::PersonPending,
    retired: ReasonCode::PersonRetired,
    suspended: ReasonCode::PersonSuspended,
};

/// Refuses what is not active.
pub(crate) fn verify_state(state: LifeCycle, codes: &Codes) -> Result<(), ReasonCode> {
    match state {
        LifeCycle::Active => Ok(()),
        LifeCycle::Discovered | LifeCycle::Pending => Err(codes.pending),
        LifeCycle::Suspended => Err(codes.suspended),
        LifeCycle::Retired => Err(codes.retired),
    }
}

/// Refuses what is not active, and then what nobody active answers for.
pub(crate) fn verify_standing(
    state: LifeCycle,
    owner: Option<&Owner>,
    codes: &Codes,
) -> Result<(), ReasonCode> {
    verify_state(state, codes)?;
    if owner.is_some_and(|owner| owner.state == LifeCycle::Active) {
        Ok(())
    } else {
        Err(codes.ownerless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::owner;

    fn check(state: LifeCycle, expected: Result<(), ReasonCode>) {
        assert_eq!(verify_standing(state, Some(&owner()), &AGENT), expected, "{state}");
    }

    #[test]
    fn only_the_active_may_act() {
        check(LifeCycle::Active, Ok(()));
        check(LifeCycle::Discovered, Err(ReasonCode::AgentPending));
        check(LifeCycle::Pending, Err(ReasonCode::AgentPending));
        check(LifeCycle::Suspended, Err(ReasonCode::AgentSuspended));
        check(LifeCycle::Retired, Err(ReasonCode::AgentRetired));
    }

    #[test]
    fn nobody_acts_without_an_active_owner() {
        let without = verify_standing(LifeCycle::Active, None, &SERVER);
        assert_eq!(without, Err(ReasonCode::ServerOwnerless));
        for state in LifeCycle::ALL {
            let owner = Owner { state, ..owner() };
            let standing = verify_standing(LifeCycle::Active, Some(&owner), &AGENT);
            assert_eq!(standing.is_ok(), state == LifeCycle::Active, "{state}");
        }
    }
}
