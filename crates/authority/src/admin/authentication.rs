//! How an agent authenticates, as the admin API writes it.

use attorn_audit::Entry;
use attorn_registry::{
    Agent, Authentication, Binding, CertificateName, CertificateThumbprint, SpiffeId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refusal::Refusal;

/// A way of client authentication.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AuthenticationWire {
    /// Nothing: a public client of people. Told, and never taken.
    None,
    /// An assertion by one of the agent's keys (RFC 7523).
    PrivateKeyJwt,
    /// One of these certificates (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth {
        /// SHA-256 thumbprints in base64url, as `x5t#S256` has them.
        certificates: Vec<String>,
    },
    /// An X.509-SVID or a JWT-SVID.
    Spiffe {
        /// `spiffe://trust.domain/path`
        id: String,
    },
    /// A certificate of the configured authority with exactly this one name (RFC 8705 section 2.1).
    TlsClientAuth {
        /// A host name.
        dns: Option<String>,
        /// A URI.
        uri: Option<String>,
    },
    /// A JWT of its platform (RFC 7523 section 2.1), by the rules of `authority.trusted_issuers`.
    Workload {
        /// The platform, as its JWTs name it in `iss`.
        issuer: String,
    },
}

/// What tokens are bound to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BindingWire {
    /// The client certificate of the connection (RFC 8705 section 3).
    Certificate,
    /// A key that signs a proof for each request (RFC 9449).
    Dpop,
}

impl AuthenticationWire {
    /// What is meant; without anything, keys of the agent's own.
    pub(crate) fn read(wire: Option<Self>) -> Result<Authentication, Refusal> {
        let authentication = match wire {
            None | Some(Self::PrivateKeyJwt) => Authentication::PrivateKeyJwt,
            // Only a client of people has none, and it is registered as one.
            Some(Self::None) => return Err(Refusal::Form),
            Some(Self::SelfSignedTlsClientAuth { certificates }) => {
                let parsed: Result<Vec<CertificateThumbprint>, _> =
                    certificates.iter().map(|text| text.parse()).collect();
                let certificates = parsed.map_err(|_| Refusal::Form)?;
                Authentication::SelfSignedTlsClientAuth { certificates }
            }
            Some(Self::Spiffe { id }) => {
                let id = SpiffeId::parse(&id).map_err(|_| Refusal::Form)?;
                Authentication::Spiffe { id }
            }
            Some(Self::TlsClientAuth { dns: Some(dns), uri: None }) => {
                Authentication::TlsClientAuth { name: CertificateName::Dns(dns) }
            }
            Some(Self::TlsClientAuth { dns: None, uri: Some(uri) }) => {
                Authentication::TlsClientAuth { name: CertificateName::Uri(uri) }
            }
            Some(Self::Workload { issuer }) => Authentication::Workload { issuer },
            // RFC 8705 section 2.1.2: exactly one name.
            Some(
                Self::TlsClientAuth { dns: Some(_), uri: Some(_) }
                | Self::TlsClientAuth { dns: None, uri: None },
            ) => {
                return Err(Refusal::Form);
            }
        };
        authentication.verify().map_err(|_| Refusal::Form)?;
        Ok(authentication)
    }

    pub(crate) fn of(authentication: &Authentication) -> Self {
        match authentication {
            Authentication::None => Self::None,
            Authentication::PrivateKeyJwt => Self::PrivateKeyJwt,
            Authentication::SelfSignedTlsClientAuth { certificates } => {
                let certificates = certificates.iter().map(ToString::to_string).collect();
                Self::SelfSignedTlsClientAuth { certificates }
            }
            Authentication::Spiffe { id } => Self::Spiffe { id: id.to_string() },
            Authentication::TlsClientAuth { name: CertificateName::Dns(name) } => {
                Self::TlsClientAuth { dns: Some(name.clone()), uri: None }
            }
            Authentication::TlsClientAuth { name: CertificateName::Uri(uri) } => {
                Self::TlsClientAuth { dns: None, uri: Some(uri.clone()) }
            }
            Authentication::Workload { issuer } => Self::Workload { issuer: issuer.clone() },
        }
    }
}

impl From<BindingWire> for Binding {
    fn from(binding: BindingWire) -> Self {
        match binding {
            BindingWire::Certificate => Self::Certificate,
            BindingWire::Dpop => Self::Dpop,
        }
    }
}

impl From<Binding> for BindingWire {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Certificate => Self::Certificate,
            Binding::Dpop => Self::Dpop,
        }
    }
}

/// Adds how the agent is known to an entry.
pub(crate) fn note_authentication(fact: &mut Entry, agent: &Agent) {
    fact.detail.insert("authentication".to_owned(), agent.authentication.method().to_owned());
    fact.detail.insert("binding".to_owned(), agent.binding.as_str().to_owned());
    let subjects = agent.authentication.subjects();
    if !subjects.is_empty() {
        fact.detail.insert("subjects".to_owned(), subjects.join(" "));
    }
}
