//! An ordered set of scopes, as a token and a token request hold it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Scope, ScopeError};

/// A set of scopes. The empty set unlocks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// Reads a list separated by single spaces. The empty text is the empty set.
    ///
    /// # Errors
    /// A token is no scope, stands twice, or is a wildcard.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let mut set = BTreeSet::new();
        if text.is_empty() {
            return Ok(Self(set));
        }
        // RFC 6749 section 3.3: tokens separated by one space; an empty token is no scope.
        for token in text.split(' ') {
            if !set.insert(Scope::parse(token)?) {
                return Err(ScopeError::Repeated);
            }
        }
        Ok(Self(set))
    }

    /// Whether the set holds exactly this scope.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether every scope of this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether the set holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many scopes the set holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            scope.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for ScopeSet {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ScopeSet {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        Self::parse(&text)
    }
}

impl From<ScopeSet> for String {
    fn from(set: ScopeSet) -> Self {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Class;

    #[test]
    fn a_list_reads_back_in_order() {
        let set = ScopeSet::parse("write:b read:b read:@resources read:a").unwrap();
        assert_eq!(set.to_string(), "read:@resources read:a read:b write:b");
        assert_eq!(set.len(), 4);
    }

    #[test]
    fn the_empty_set_holds_nothing() {
        let empty = ScopeSet::parse("").unwrap();
        assert!(empty.is_empty());
        assert!(!empty.contains(&Scope::RESOURCES));
        assert!(empty.intersect(&ScopeSet::parse("read:a").unwrap()).is_empty());
    }

    #[test]
    fn sloppy_lists_are_refused() {
        for text in [" ", "read:a ", " read:a", "read:a  read:b", "read:a\tread:b", "read:*"] {
            assert!(ScopeSet::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(ScopeSet::parse("read:a read:a"), Err(ScopeError::Repeated));
    }

    fn sets() -> impl Strategy<Value = ScopeSet> {
        proptest::collection::vec(("[a-e]", 0..3_usize), 0..8).prop_map(|scopes| {
            scopes.iter().map(|(tool, class)| Scope::of_tool(Class::ALL[*class], tool)).collect()
        })
    }

    proptest! {
        #[test]
        fn intersection_never_widens(a in sets(), b in sets()) {
            let both = a.intersect(&b);
            prop_assert!(both.is_subset(&a) && both.is_subset(&b));
            prop_assert_eq!(&both, &b.intersect(&a));
            prop_assert_eq!(&both.intersect(&a), &both);
        }

        #[test]
        fn the_text_reads_back(set in sets()) {
            prop_assert_eq!(ScopeSet::parse(&set.to_string()), Ok(set));
        }
    }
}
