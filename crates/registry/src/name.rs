//! Names of agents, MCP servers and owners: what people type and what stands in a URL.
//!
//! A name is never changed and never given twice, so a policy may rely on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name of the form `[a-z0-9][a-z0-9-]{0,62}`.
///
/// Names are octet strings: nothing is folded, trimmed or normalised on the way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A character other than `a-z`, `0-9` and `-`, or a leading `-`.
    #[error("a name holds a-z, 0-9 and `-`, and starts with a letter or a digit")]
    Character,
    /// No characters.
    #[error("a name is not empty")]
    Empty,
    /// More than 63 characters.
    #[error("a name has at most 63 characters")]
    Long,
}

/// Names that a URL of ours already uses.
const RESERVED: [&str; 8] =
    ["admin", "attorn", "enroll", "healthz", "jwks", "token", "well-known", "www"];

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// The text is empty, too long, or holds another character.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 63 {
            return Err(NameError::Long);
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.starts_with('-') || !text.bytes().all(plain) {
            return Err(NameError::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one of our own, which nobody may register.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.0.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), NameError>) {
        assert_eq!(Name::parse(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn names() {
        check("crm", Ok(()));
        check("0", Ok(()));
        check("billing-agent-2", Ok(()));
        check(&"a".repeat(63), Ok(()));
    }

    #[test]
    fn what_is_no_name() {
        check("", Err(NameError::Empty));
        check(&"a".repeat(64), Err(NameError::Long));
        for text in [".", "..", "-a", "A", "a_b", "a/b", "a b", " a", "a%00", "é", "a\u{200b}"] {
            check(text, Err(NameError::Character));
        }
    }

    #[test]
    fn our_own_names_are_reserved() {
        assert!(Name::parse("admin").unwrap().is_reserved());
        assert!(!Name::parse("crm").unwrap().is_reserved());
    }
}
