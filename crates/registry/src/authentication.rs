//! How an agent proves who it is, and what its tokens are bound to.

use std::fmt;

use attorn_jose::CertificateThumbprint;
use serde::{Deserialize, Serialize};

use crate::SpiffeId;

/// The registered way of client authentication. One per agent, so that the weaker of two ways is
/// never open beside the stronger one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Authentication {
    /// RFC 6749 section 2.1: a public client has nothing to prove who it is with. Only a client of
    /// people is registered so, and only with a code or a refresh token does it get anything.
    None,
    /// RFC 7523: an assertion by one of the agent's keys.
    #[default]
    PrivateKeyJwt,
    /// RFC 8705 section 2.2: one of these certificates, whoever signed it.
    SelfSignedTlsClientAuth {
        /// Their thumbprints; at least one.
        certificates: Vec<CertificateThumbprint>,
    },
    /// An X.509-SVID or a JWT-SVID of this workload.
    Spiffe {
        /// The identity of the workload.
        id: SpiffeId,
    },
    /// RFC 8705 section 2.1: a certificate of the configured authority with exactly this name.
    TlsClientAuth {
        /// The one name.
        name: CertificateName,
    },
    /// A JWT that its platform gives it (RFC 7523 section 2.1). Which workload it is, the rules of
    /// that issuer say in the configuration.
    Workload {
        /// The platform, as the JWT names it.
        issuer: String,
    },
}

/// A subject alternative name: RFC 8705 section 2.1.2, `tls_client_auth_san_dns` and
/// `tls_client_auth_san_uri`. Distinguished names are not offered: too many spellings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateName {
    /// A host name, in lower case, without wildcards.
    Dns(String),
    /// A URI, compared byte by byte.
    Uri(String),
}

/// What the tokens of an agent are bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The client certificate of the connection: RFC 8705 section 3.
    Certificate,
    /// A key that signs a proof for each request: RFC 9449.
    #[default]
    Dpop,
}

/// Why a way of authentication cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationRefusal {
    /// No certificate, or more than [`CERTIFICATES_MAX`].
    #[error("between one and {CERTIFICATES_MAX} certificates are registered")]
    Certificates,
    /// Not the name of an issuer.
    #[error("an issuer is an absolute URL of visible ASCII, at most {NAME_BYTES_MAX} bytes")]
    Issuer,
    /// Not a name that a certificate holds verbatim.
    #[error("the name must be a host name in lower case without wildcards, or an absolute URI")]
    Name,
}

impl Authentication {
    /// Checks a registration before it is recorded.
    ///
    /// # Errors
    /// See [`AuthenticationRefusal`].
    pub fn verify(&self) -> Result<(), AuthenticationRefusal> {
        match self {
            Self::None | Self::PrivateKeyJwt | Self::Spiffe { .. } => Ok(()),
            Self::SelfSignedTlsClientAuth { certificates } => {
                if (1..=CERTIFICATES_MAX).contains(&certificates.len()) {
                    Ok(())
                } else {
                    Err(AuthenticationRefusal::Certificates)
                }
            }
            Self::TlsClientAuth { name } => {
                if name.is_exact() {
                    Ok(())
                } else {
                    Err(AuthenticationRefusal::Name)
                }
            }
            Self::Workload { issuer } => {
                if CertificateName::Uri(issuer.clone()).is_exact() {
                    Ok(())
                } else {
                    Err(AuthenticationRefusal::Issuer)
                }
            }
        }
    }

    /// The name of the method: RFC 8705 section 2, and draft-ietf-oauth-spiffe-client-auth-02. The last
    /// one is ours.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::SelfSignedTlsClientAuth { .. } => "self_signed_tls_client_auth",
            Self::Spiffe { .. } => "spiffe",
            Self::TlsClientAuth { .. } => "tls_client_auth",
            Self::Workload { .. } => "workload",
        }
    }

    /// Whether the agent needs a key of its own in the registry before it can act.
    #[must_use]
    pub const fn needs_enrolment(&self) -> bool {
        matches!(self, Self::PrivateKeyJwt)
    }

    /// What tokens are bound to unless the registration says otherwise.
    #[must_use]
    pub const fn usual_binding(&self) -> Binding {
        match self {
            Self::None | Self::PrivateKeyJwt | Self::Workload { .. } => Binding::Dpop,
            Self::SelfSignedTlsClientAuth { .. }
            | Self::Spiffe { .. }
            | Self::TlsClientAuth { .. } => Binding::Certificate,
        }
    }

    /// Whether nobody who is known in one of the two ways is known in the other one as well.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        // Of a key, the registration says nothing: two that ask for one are not apart.
        let by_key = [self, other].iter().all(|way| way.needs_enrolment());
        let others = other.subjects();
        self != other && !by_key && self.subjects().iter().all(|subject| !others.contains(subject))
    }

    /// The names and certificates that identify this agent and no other one.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        match self {
            // Many workloads of one platform are agents.
            Self::None | Self::PrivateKeyJwt | Self::Workload { .. } => Vec::new(),
            Self::SelfSignedTlsClientAuth { certificates } => {
                certificates.iter().map(|thumbprint| format!("x5t#S256:{thumbprint}")).collect()
            }
            // A name of the configured authority and the same SPIFFE ID are one name.
            Self::Spiffe { id } => vec![format!("uri:{id}")],
            Self::TlsClientAuth { name } => vec![name.to_string()],
        }
    }
}

impl CertificateName {
    fn is_exact(&self) -> bool {
        match self {
            Self::Dns(name) => {
                let is_label = |label: &str| {
                    (1..=63).contains(&label.len())
                        && label
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                };
                name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
            }
            Self::Uri(uri) => {
                let has_scheme = uri.split_once(':').is_some_and(|(scheme, rest)| {
                    !scheme.is_empty() && !rest.is_empty() && scheme.is_ascii()
                });
                has_scheme
                    && uri.len() <= NAME_BYTES_MAX
                    && uri.bytes().all(|b| b.is_ascii_graphic())
            }
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

impl Binding {
    /// The binding in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Dpop => "dpop",
        }
    }
}

/// Room for a rotation with an overlap.
pub const CERTIFICATES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: CertificateName) -> Result<(), AuthenticationRefusal> {
        Authentication::TlsClientAuth { name }.verify()
    }

    #[test]
    fn names_are_exact() {
        for name in ["billing.agents.example", "a", "xn--bcher-kva.example"] {
            assert_eq!(named(CertificateName::Dns(name.to_owned())), Ok(()), "{name}");
        }
        for name in ["*.example", "Billing.example", "a..b", "a.", "", "a b", "ä.example"] {
            let refused = named(CertificateName::Dns(name.to_owned()));
            assert_eq!(refused, Err(AuthenticationRefusal::Name), "{name}");
        }
        assert_eq!(named(CertificateName::Uri("urn:agent:billing".to_owned())), Ok(()));
        for uri in ["", "billing", ":x", "urn:", "urn:a b", "urn:ä"] {
            let refused = named(CertificateName::Uri(uri.to_owned()));
            assert_eq!(refused, Err(AuthenticationRefusal::Name), "{uri}");
        }
    }

    #[test]
    fn a_self_signed_client_has_some_certificates() {
        let of = |count: usize| Authentication::SelfSignedTlsClientAuth {
            certificates: vec![CertificateThumbprint::of_der(b"a"); count],
        };
        assert_eq!(of(1).verify(), Ok(()));
        for count in [0, CERTIFICATES_MAX + 1] {
            assert_eq!(of(count).verify(), Err(AuthenticationRefusal::Certificates));
        }
    }

    #[test]
    fn a_spiffe_id_and_the_same_uri_are_one_subject() {
        let text = "spiffe://example.org/billing";
        let spiffe = Authentication::Spiffe { id: SpiffeId::parse(text).unwrap() };
        let name = CertificateName::Uri(text.to_owned());
        assert_eq!(spiffe.subjects(), Authentication::TlsClientAuth { name }.subjects());
    }

    #[test]
    fn two_ways_are_apart_where_nobody_is_known_in_both() {
        let of = |ders: &[&[u8]]| Authentication::SelfSignedTlsClientAuth {
            certificates: ders.iter().map(|der| CertificateThumbprint::of_der(der)).collect(),
        };
        let uri = |text: &str| Authentication::TlsClientAuth {
            name: CertificateName::Uri(text.to_owned()),
        };
        let workload = |issuer: &str| Authentication::Workload { issuer: issuer.to_owned() };
        let key = Authentication::PrivateKeyJwt;
        for (one, other, apart) in [
            (of(&[b"old"]), of(&[b"old", b"new"]), false),
            (of(&[b"old", b"new"]), of(&[b"new"]), false),
            (of(&[b"old"]), of(&[b"new"]), true),
            (uri("urn:gw:1"), uri("urn:gw:1"), false),
            (uri("urn:gw:1"), uri("urn:gw:2"), true),
            (uri("urn:gw:1"), of(&[b"old"]), true),
            (key.clone(), uri("urn:gw:1"), true),
            (key, Authentication::PrivateKeyJwt, false),
            (workload("a"), workload("a"), false),
            (workload("a"), workload("b"), true),
        ] {
            assert_eq!((one.is_apart_from(&other), other.is_apart_from(&one)), (apart, apart));
        }
    }

    #[test]
    fn the_wire_form_reads_back() {
        let name = CertificateName::Dns("a.example".to_owned());
        let text = serde_json::to_string(&Authentication::TlsClientAuth { name }).unwrap();
        assert_eq!(text, r#"{"method":"tls_client_auth","name":{"dns":"a.example"}}"#);
        assert!(serde_json::from_str::<Authentication>(&text).is_ok());
        let none = serde_json::from_str::<Authentication>(r#"{"method":"none"}"#).unwrap();
        assert_eq!(none, Authentication::None);
        // What says nothing is no public client.
        assert_ne!(Authentication::default(), none);
        assert!(serde_json::from_str::<Authentication>(r#"{"method":"secret"}"#).is_err());
    }
}
