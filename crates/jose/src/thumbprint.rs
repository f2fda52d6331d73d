//! JWK thumbprints with SHA-256: RFC 7638. Not implemented: other hash functions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base64url::{array_from_base64url, base64url};

/// The SHA-256 thumbprint of a public key: RFC 7638 section 3; the `jkt` of RFC 9449 section 6.1.
///
/// Text form: 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jkt([u8; 32]);

impl Jkt {
    /// Takes a digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Jkt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for Jkt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jkt({self})")
    }
}

/// A text that is not the base64url form of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is 43 characters of base64url")]
pub struct JktError;

impl FromStr for Jkt {
    type Err = JktError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        array_from_base64url(text).map(Self).map_err(|_| JktError)
    }
}

impl Serialize for Jkt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Jkt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    #[test]
    fn text_and_serde_forms_agree() {
        let jkt: Jkt = EXAMPLE.parse().unwrap();
        assert_eq!(jkt.to_string(), EXAMPLE);
        assert_eq!(serde_json::to_string(&jkt).unwrap(), format!("\"{EXAMPLE}\""));
        assert_eq!(serde_json::from_str::<Jkt>(&format!("\"{EXAMPLE}\"")).unwrap(), jkt);
    }

    #[test]
    fn other_lengths_and_spellings_are_refused() {
        for text in [
            "",
            EXAMPLE.trim_start_matches('N'),
            &format!("{EXAMPLE}="),
            &EXAMPLE.replace('s', "t"),
        ] {
            assert_eq!(text.parse::<Jkt>(), Err(JktError), "{text}");
        }
    }
}
