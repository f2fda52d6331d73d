//! Narrowing: a token holds what was asked and granted, and never more. RFC 6749 section 3.3.

use attorn_registry::ScopeSet;

use crate::error::TokenError;

/// What a token may hold. RFC 6749 section 3.3 lets the server ignore a part of what was asked;
/// the response then says what was given.
///
/// # Errors
/// [`TokenError::ScopeNotGranted`] when nothing remains: a token that unlocks nothing is no use.
pub fn narrow(asked: Option<&ScopeSet>, granted: &ScopeSet) -> Result<ScopeSet, TokenError> {
    let scope = match asked {
        Some(asked) => asked.intersect(granted),
        None => granted.clone(),
    };
    if scope.is_empty() { Err(TokenError::ScopeNotGranted) } else { Ok(scope) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    #[test]
    fn without_a_wish_all_that_is_granted() {
        assert_eq!(narrow(None, &set("read:a write:b")), Ok(set("read:a write:b")));
    }

    #[test]
    fn what_is_not_granted_falls_away() {
        let narrowed = narrow(Some(&set("read:a irreversible:a")), &set("read:a write:b"));
        assert_eq!(narrowed, Ok(set("read:a")));
    }

    #[test]
    fn nothing_is_refused() {
        let empty = ScopeSet::default();
        assert_eq!(narrow(None, &empty), Err(TokenError::ScopeNotGranted));
        assert_eq!(narrow(Some(&empty), &set("read:a")), Err(TokenError::ScopeNotGranted));
        assert_eq!(narrow(Some(&set("read:b")), &set("read:a")), Err(TokenError::ScopeNotGranted));
    }

    fn sets() -> impl Strategy<Value = ScopeSet> {
        let scope = "(read|write|irreversible):[a-d]";
        proptest::collection::btree_set(scope, 0..8)
            .prop_map(|scopes| set(&scopes.into_iter().collect::<Vec<_>>().join(" ")))
    }

    proptest! {
        #[test]
        fn narrowing_never_widens(asked in proptest::option::of(sets()), granted in sets()) {
            if let Ok(scope) = narrow(asked.as_ref(), &granted) {
                prop_assert!(scope.is_subset(&granted));
                prop_assert!(asked.is_none_or(|asked| scope.is_subset(&asked)));
            }
        }
    }
}
