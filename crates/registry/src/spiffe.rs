//! SPIFFE IDs: SPIFFE-ID section 2, read strictly and compared byte by byte.
//!
//! Implemented: the one spelling of an ID of a workload. Not implemented: IDs of a whole trust
//! domain, which name no workload; they are refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identity of a workload, `spiffe://<trust domain>/<path>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

/// A text that is no SPIFFE ID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SPIFFE ID is `spiffe://trust.domain/path` in lower case up to the path")]
pub struct SpiffeIdError;

impl SpiffeId {
    /// Takes a text in the one spelling an ID has.
    ///
    /// # Errors
    /// [`SpiffeIdError`] for everything a URL library would repair.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        let (domain, path) = split(text).ok_or(SpiffeIdError)?;
        // SPIFFE-ID section 2.2: segments are not empty and no relative ones; no trailing slash.
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if text.len() <= ID_BYTES_MAX && is_trust_domain(domain) && path.split('/').all(is_segment)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeIdError)
        }
    }

    /// The ID as it stands in an SVID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose keys vouch for it.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        split(&self.0).map_or("", |(domain, _)| domain)
    }
}

/// Whether a text is the name of a trust domain: SPIFFE-ID section 2.1.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part)
}

/// Trust domain and path without its first slash. A port, user information, a query, a fragment and
/// percent encoding hold characters that neither part may have.
fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("spiffe://")?.split_once('/')
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// SPIFFE-ID section 2.3: longer ones need not be supported.
const ID_BYTES_MAX: usize = 2048;
const DOMAIN_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SpiffeId::parse("spiffe://prod.example-1.org/ns/agents/Billing_1.2").unwrap();
        assert_eq!(id.trust_domain(), "prod.example-1.org");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_a_url_library_would_repair_is_refused() {
        let long = format!("spiffe://example.org/{}", "a".repeat(2048));
        for text in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/./a",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a%20b",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe:///a",
            "spiffe://beispiel.example/ä",
            "https://example.org/a",
            "",
            &long,
        ] {
            assert_eq!(SpiffeId::parse(text), Err(SpiffeIdError), "{text}");
        }
    }

    #[test]
    fn the_wire_form_is_as_strict() {
        assert!(serde_json::from_str::<SpiffeId>(r#""spiffe://a.example/b""#).is_ok());
        assert!(serde_json::from_str::<SpiffeId>(r#""spiffe://a.example/b/""#).is_err());
    }
}
