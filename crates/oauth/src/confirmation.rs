//! What a token is bound to: the `cnf` claim of RFC 7800.
//!
//! Implemented: `jkt` (RFC 9449 section 6.1) and `x5t#S256` (RFC 8705 section 3.1), exactly one of
//! them. Not implemented: every other method of confirmation; a token with one is refused, since a
//! confirmation that is not understood cannot be confirmed.

use attorn_jose::{CertificateThumbprint, Jkt, sha256};
use attorn_registry::{Agent, AgentId, Authentication, PersonId};
use serde::{Deserialize, Serialize, Serializer};

use crate::claim::{Text, present};

/// The one key a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirmation {
    /// Nothing: whoever has the token can use it (RFC 6750). Only servers whose owner says so take
    /// it. The name stands for person and client, where the others have that of a key.
    Bearer(Jkt),
    /// The client certificate of the connection: RFC 8705 section 3.
    Certificate(CertificateThumbprint),
    /// The key that signs a proof for each request: RFC 9449 section 6.
    Jkt(Jkt),
}

impl Confirmation {
    /// The name of the key in entries, locks and sessions.
    ///
    /// For a certificate these are the bytes of its own thumbprint. Both are SHA-256 over texts of
    /// different form, so no key and no certificate share a name.
    #[must_use]
    pub const fn key(&self) -> Jkt {
        match self {
            Self::Certificate(thumbprint) => Jkt::from_bytes(*thumbprint.as_bytes()),
            Self::Bearer(name) => *name,
            Self::Jkt(jkt) => *jkt,
        }
    }

    /// What a token of a person's client has that is bound to no key.
    #[must_use]
    pub fn bearer(person: &PersonId, client: &AgentId) -> Self {
        // No JWK and no certificate is a text of this form, so the name is no key's.
        let text = format!("bearer {person} {client}");
        Self::Bearer(Jkt::from_bytes(sha256(text.as_bytes())))
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_bearer(&self) -> bool {
        match self {
            Self::Bearer(_) => true,
            Self::Certificate(_) | Self::Jkt(_) => false,
        }
    }

    /// Whether it is a key or a certificate that an agent gave up. An agent may use other keys for its
    /// proofs than it registered, but none of those that it gave up.
    #[must_use]
    pub fn is_given_up(&self, agent: &Agent, now_s: u64) -> bool {
        match self {
            Self::Bearer(_) => false,
            Self::Jkt(jkt) => {
                let is_registered = agent.keys.iter().any(|key| key.jkt == *jkt);
                is_registered && agent.accepted_key(jkt, now_s).is_none()
            }
            Self::Certificate(thumbprint) => match &agent.authentication {
                Authentication::SelfSignedTlsClientAuth { certificates } => {
                    !certificates.contains(thumbprint)
                }
                Authentication::None
                | Authentication::PrivateKeyJwt
                | Authentication::Spiffe { .. }
                | Authentication::TlsClientAuth { .. }
                | Authentication::Workload { .. } => false,
            },
        }
    }

    /// The scheme under which the token is presented, and its `token_type`.
    #[must_use]
    pub const fn token_type(&self) -> &'static str {
        match self {
            // RFC 8705 section 3: a certificate-bound token is used as RFC 6750 describes.
            Self::Bearer(_) | Self::Certificate(_) => "Bearer",
            // RFC 9449 section 5.
            Self::Jkt(_) => "DPoP",
        }
    }
}

impl Serialize for Confirmation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // A claim that nobody accepts: a token without a key has none at all.
            Self::Bearer(_) => serializer.collect_map::<&str, &str, [(&str, &str); 0]>([]),
            Self::Certificate(thumbprint) => serializer.collect_map([("x5t#S256", thumbprint)]),
            Self::Jkt(jkt) => serializer.collect_map([("jkt", jkt)]),
        }
    }
}

/// RFC 7800 section 3.1 lets a verifier pass over members it does not know; ours does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireConfirmation<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jkt: Option<Text<'a>>,
    #[serde(borrow, default, rename = "x5t#S256", deserialize_with = "present")]
    x5t_s256: Option<Text<'a>>,
}

impl WireConfirmation<'_> {
    /// The one method, if there is exactly one and it is well-formed.
    pub(crate) fn read(&self) -> Option<Confirmation> {
        match (&self.jkt, &self.x5t_s256) {
            (Some(jkt), None) => jkt.0.parse().ok().map(Confirmation::Jkt),
            (None, Some(x5t)) => x5t.0.parse().ok().map(Confirmation::Certificate),
            // RFC 7800 section 3: two keys would mean that either will do.
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";

    fn read(text: &str) -> Option<Confirmation> {
        serde_json::from_str::<WireConfirmation<'_>>(text).ok()?.read()
    }

    #[test]
    fn each_method_reads_back() {
        for confirmation in [
            Confirmation::Certificate(DIGEST.parse().unwrap()),
            Confirmation::Jkt(DIGEST.parse().unwrap()),
        ] {
            let text = serde_json::to_string(&confirmation).unwrap();
            assert_eq!(read(&text), Some(confirmation), "{text}");
        }
    }

    #[test]
    fn one_method_and_no_other() {
        let both = format!(r#"{{"jkt":"{DIGEST}","x5t#S256":"{DIGEST}"}}"#);
        let more = format!(r#"{{"x5t#S256":"{DIGEST}","kid":"a"}}"#);
        let sha1 = r#"{"x5t":"qZk-NkcGgWq6PiVxeFDCbJzQ2J0"}"#;
        let padded = format!(r#"{{"x5t#S256":"{DIGEST}="}}"#);
        let hex = format!(r#"{{"x5t#S256":"{}"}}"#, "ba".repeat(32));
        for text in [&both, &more, sha1, &padded, &hex, "{}", r#"{"x5t#S256":null}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
