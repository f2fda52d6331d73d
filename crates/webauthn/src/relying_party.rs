//! Who asks for passkeys, by the issuer's address.

use attorn_jose::sha256;
use url::{Host, Url};

/// A relying party: WebAuthn Level 3 section 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    id_hash: [u8; 32],
    origin: String,
}

/// Why passkeys cannot be had at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRelyingParty {
    /// Its host is an IP address, which no passkey can be for.
    #[error("the host is an IP address")]
    Address,
    /// Browsers offer passkeys in a secure context alone.
    #[error("it is served without TLS")]
    Insecure,
    /// It is no URL with a host.
    #[error("it is no URL with a host")]
    Url,
}

impl RelyingParty {
    /// The relying party of an issuer: its host, and pages of its origin alone.
    ///
    /// # Errors
    /// See [`NoRelyingParty`].
    pub fn of_issuer(issuer: &str) -> Result<Self, NoRelyingParty> {
        let url = Url::parse(issuer).map_err(|_| NoRelyingParty::Url)?;
        let id = match url.host() {
            // WebAuthn Level 3 section 4, relying party identifier: a valid domain string.
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(NoRelyingParty::Address),
            None => return Err(NoRelyingParty::Url),
        };
        // Secure Contexts section 3.1: TLS, or a name that is this machine.
        let is_here = id == "localhost" || id.ends_with(".localhost");
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            return Err(NoRelyingParty::Insecure);
        }
        let origin = url.origin().ascii_serialization();
        Ok(Self { id_hash: sha256(id.as_bytes()), id, origin })
    }

    /// The relying party identifier (RP ID), as scripts and authenticators are given it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 of it, as authenticators write it.
    #[must_use]
    pub const fn id_hash(&self) -> &[u8; 32] {
        &self.id_hash
    }

    /// The one origin whose pages may ask: RFC 6454 section 6.2.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_relying_party() {
        for (issuer, id, origin) in [
            ("https://id.example", "id.example", "https://id.example"),
            ("https://id.example:8443/t/a", "id.example", "https://id.example:8443"),
            ("http://localhost:7800", "localhost", "http://localhost:7800"),
            ("http://a.localhost", "a.localhost", "http://a.localhost"),
        ] {
            let party = RelyingParty::of_issuer(issuer).unwrap();
            assert_eq!((party.id(), party.origin()), (id, origin));
            assert_eq!(party.id_hash(), &sha256(id.as_bytes()));
        }
    }

    #[test]
    fn an_address_or_plain_http_is_none() {
        let refused = |issuer| RelyingParty::of_issuer(issuer).unwrap_err();
        for issuer in ["http://127.0.0.1:7800", "https://192.0.2.1", "https://[::1]:7800"] {
            assert_eq!(refused(issuer), NoRelyingParty::Address, "{issuer}");
        }
        for issuer in ["http://id.example", "http://localhost.example", "ftp://localhost"] {
            assert_eq!(refused(issuer), NoRelyingParty::Insecure, "{issuer}");
        }
        assert_eq!(refused("data:text/plain,a"), NoRelyingParty::Url);
        assert_eq!(refused("localhost"), NoRelyingParty::Url);
    }
}
