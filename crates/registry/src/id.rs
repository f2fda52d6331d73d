//! Stable identifiers: a prefix that names the kind, then 128 random bits in base32.
//!
//! The text is compared byte by byte and never decoded. What is not here: where the random bits
//! come from; the caller gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The part after the prefix is not 26 characters of `a-z2-7`.
    #[error("an identifier is its prefix and 26 characters of a-z and 2-7")]
    Form,
    /// The text names another kind, or none.
    #[error("an identifier of this kind starts with `{expected}`")]
    Prefix {
        /// What the text should have started with.
        expected: &'static str,
    },
}

/// RFC 4648 section 6 in lower case, without padding.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 128 bits in groups of five, rounded up.
const DIGITS: u32 = 26;

fn write_id(prefix: &str, random: &[u8; 16]) -> String {
    let bits = u128::from_be_bytes(*random);
    let digits = (0..DIGITS).rev().map(|place| {
        let five = u8::try_from((bits >> (5 * place)) & 31).unwrap_or(0);
        ALPHABET.get(usize::from(five)).map_or('a', |letter| char::from(*letter))
    });
    prefix.chars().chain(digits).collect()
}

fn parse_id(text: &str, prefix: &'static str) -> Result<String, IdError> {
    let digits = text.strip_prefix(prefix).ok_or(IdError::Prefix { expected: prefix })?;
    let well_formed = digits.len() == 26 && digits.bytes().all(|byte| ALPHABET.contains(&byte));
    if well_formed { Ok(text.to_owned()) } else { Err(IdError::Form) }
}

// A macro, because many hand-written copies would have to stay equal.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Makes an identifier of 128 random bits.
            #[must_use]
            pub fn from_random(random: &[u8; 16]) -> Self {
                Self(write_id($prefix, random))
            }

            /// Reads an identifier back.
            ///
            /// # Errors
            /// The text has another prefix or another form.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                parse_id(text, $prefix).map(Self)
            }

            /// The whole text, prefix included.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// An agent or an operator. It is also the OAuth `client_id`.
    AgentId,
    "agt_"
);
id!(
    /// A call that waits, or waited, for a person.
    ApprovalId,
    "apr_"
);
id!(
    /// What a person gave to one agent at one MCP server.
    ConsentId,
    "con_"
);
id!(
    /// One decision, as told to a caller and found again in the log.
    DecisionId,
    "dec_"
);
id!(
    /// A grant of scopes to one agent at one MCP server.
    GrantId,
    "grt_"
);
id!(
    /// A lock.
    LockId,
    "lck_"
);
id!(
    /// The person or team that answers for an agent, an MCP server or an API.
    OwnerId,
    "own_"
);
id!(
    /// A passkey of a person.
    PasskeyId,
    "pky_"
);
id!(
    /// A person.
    PersonId,
    "usr_"
);
id!(
    /// A registered API behind MCP servers.
    ResourceId,
    "res_"
);
id!(
    /// A registered MCP server.
    ServerId,
    "srv_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back() {
        for random in [[0; 16], [255; 16], [0xa5; 16]] {
            let id = AgentId::from_random(&random);
            assert_eq!(AgentId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn different_bits_give_different_identifiers() {
        let mut seen = std::collections::BTreeSet::new();
        for bit in 0..128_u32 {
            assert!(seen.insert(GrantId::from_random(&(1_u128 << bit).to_be_bytes())));
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let server = ServerId::from_random(&[7; 16]);
        let expected = Err(IdError::Prefix { expected: "agt_" });
        assert_eq!(AgentId::parse(server.as_str()), expected);
    }

    #[test]
    fn another_form_is_refused() {
        let good = OwnerId::from_random(&[7; 16]).to_string();
        for bad in
            ["own_", "own_a", &good.to_uppercase().replace("OWN", "own"), &format!("{good}a")]
        {
            assert_eq!(OwnerId::parse(bad), Err(IdError::Form), "{bad}");
        }
    }

    #[test]
    fn serde_checks_the_form() {
        assert!(serde_json::from_str::<LockId>("\"lck_nope\"").is_err());
        let text = serde_json::to_string(&LockId::from_random(&[1; 16])).unwrap();
        assert!(serde_json::from_str::<LockId>(&text).is_ok());
    }
}
