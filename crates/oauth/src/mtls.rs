//! Client certificates: RFC 8705, and X.509-SVIDs.
//!
//! Implemented: `tls_client_auth` with one DNS or URI name (RFC 8705 section 2.1),
//! `self_signed_tls_client_auth` by registered thumbprints (RFC 8705 section 2.2), X.509-SVIDs with
//! their one URI, certificate-bound tokens (RFC 8705 section 3), and MCP servers by registered
//! thumbprints. Not implemented: distinguished
//! names, IP addresses and e-mail addresses as names.
//!
//! What is *not* checked here: that the peer holds the private key, and to whose certificates the
//! chain leads. The TLS layer does both; a [`PresentedCertificate`] says what it found.

use attorn_jose::CertificateThumbprint;
use attorn_registry::{
    AgentId, Authentication, CertificateName, McpServer, ServerId, ServerKey, SpiffeId,
};

use crate::access_token::VerifiedToken;
use crate::client_assertion::AuthenticatedClient;
use crate::confirmation::Confirmation;
use crate::evidence::HeldCertificate;
use crate::possession::{BoundToken, PossessionRefusal};

/// The client certificate of the connection, as its own TLS layer found it.
#[derive(Clone, Copy, Debug)]
pub struct PresentedCertificate<'a> {
    /// SHA-256 of its DER.
    pub thumbprint: CertificateThumbprint,
    /// First second of its life.
    pub not_before_s: u64,
    /// Last second of its life.
    pub not_after_s: u64,
    /// The sets of authorities its chain leads to: [`CLIENT_CA`] and the URLs of trust domains.
    pub anchors: &'a [String],
    /// All its DNS names.
    pub dns_names: &'a [String],
    /// All its URIs.
    pub uris: &'a [String],
}

/// The name of the configured authority for client certificates.
pub const CLIENT_CA: &str = "client_ca";

/// Why a certificate does not stand for a client. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CertificateRefusal {
    /// Before or after its life.
    #[error("the certificate is not valid now")]
    Clock,
    /// The client is registered for another way of authentication.
    #[error("the client does not authenticate by a certificate")]
    Method,
    /// The connection has none.
    #[error("no client certificate was presented")]
    Missing,
    /// The name is another one, or one of several.
    #[error("the certificate does not hold exactly the registered name")]
    Name,
    /// It is none of the registered ones.
    #[error("the certificate is not registered for the client")]
    Unregistered,
    /// Its chain leads to no authority that counts for this client.
    #[error("the certificate is from no authority of the client")]
    Untrusted,
}

impl PresentedCertificate<'_> {
    /// RFC 5280 section 4.1.2.5: both ends are included.
    #[must_use]
    pub const fn is_valid_at(&self, now_s: u64) -> bool {
        self.not_before_s <= now_s && now_s <= self.not_after_s
    }

    fn is_anchored(&self, anchor: &str) -> bool {
        self.anchors.iter().any(|known| known == anchor)
    }
}

/// The anchor of a trust domain's certificates.
#[must_use]
pub fn trust_domain_anchor(domain: &str) -> String {
    format!("spiffe://{domain}")
}

/// Whether a certificate is one by which a client of this registration is known.
///
/// # Errors
/// [`CertificateRefusal`], the first that applies.
pub fn verify_registered(
    authentication: &Authentication,
    certificate: &PresentedCertificate<'_>,
    now_s: u64,
) -> Result<(), CertificateRefusal> {
    // A connection may live longer than the certificate it was opened with.
    if !certificate.is_valid_at(now_s) {
        return Err(CertificateRefusal::Clock);
    }
    match authentication {
        Authentication::None | Authentication::PrivateKeyJwt | Authentication::Workload { .. } => {
            Err(CertificateRefusal::Method)
        }
        // RFC 8705 section 2.2: the registered certificate itself; its chain means nothing.
        Authentication::SelfSignedTlsClientAuth { certificates } => {
            if certificates.contains(&certificate.thumbprint) {
                Ok(())
            } else {
                Err(CertificateRefusal::Unregistered)
            }
        }
        Authentication::Spiffe { id } => verify_svid(id, certificate),
        Authentication::TlsClientAuth { name } => {
            // RFC 8705 section 2.1: the chain is validated, and the one name is compared.
            if !certificate.is_anchored(CLIENT_CA) {
                return Err(CertificateRefusal::Untrusted);
            }
            let (expected, held) = match name {
                CertificateName::Dns(name) => (name, certificate.dns_names),
                CertificateName::Uri(uri) => (uri, certificate.uris),
            };
            // One name and no other: a certificate for two clients is for neither.
            if held == std::slice::from_ref(expected) {
                Ok(())
            } else {
                Err(CertificateRefusal::Name)
            }
        }
    }
}

/// X509-SVID sections 2 and 5: exactly one URI, from the authorities of its own trust domain.
fn verify_svid(
    id: &SpiffeId,
    certificate: &PresentedCertificate<'_>,
) -> Result<(), CertificateRefusal> {
    let [uri] = certificate.uris else { return Err(CertificateRefusal::Name) };
    if uri != id.as_str() {
        return Err(CertificateRefusal::Name);
    }
    // The authorities of one trust domain vouch for no ID of another one.
    if certificate.is_anchored(&trust_domain_anchor(id.trust_domain())) {
        Ok(())
    } else {
        Err(CertificateRefusal::Untrusted)
    }
}

/// Authenticates a client by the certificate of its connection: RFC 8705 section 2.
///
/// # Errors
/// [`CertificateRefusal`].
pub fn authenticate(
    client_id: &AgentId,
    authentication: &Authentication,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<AuthenticatedClient, CertificateRefusal> {
    let certificate = certificate.ok_or(CertificateRefusal::Missing)?;
    verify_registered(authentication, certificate, now_s)?;
    let key = Confirmation::Certificate(certificate.thumbprint).key();
    Ok(AuthenticatedClient::vouched_for(client_id.clone(), key))
}

/// Authenticates an MCP server by one of the certificates that stand for it: RFC 8705 section 2.2. Their
/// chains mean nothing.
///
/// # Errors
/// [`CertificateRefusal`].
pub fn authenticate_server(
    server: &McpServer,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<AuthenticatedClient<ServerId>, CertificateRefusal> {
    let certificate = certificate.ok_or(CertificateRefusal::Missing)?;
    if !certificate.is_valid_at(now_s) {
        return Err(CertificateRefusal::Clock);
    }
    let mut registered = server.accepted_keys().filter_map(ServerKey::certificate);
    if registered.all(|one| one != certificate.thumbprint) {
        return Err(CertificateRefusal::Unregistered);
    }
    let key = Confirmation::Certificate(certificate.thumbprint).key();
    Ok(AuthenticatedClient::vouched_for(server.id.clone(), key))
}

/// Binds a token to the certificate of the connection it came over: RFC 8705 section 3.
///
/// `authentication` is the registration as it is now: a certificate that was taken from the client,
/// or whose authority is not trusted any more, ends the tokens that are bound to it.
///
/// # Errors
/// [`PossessionRefusal`].
pub fn bind(
    token: VerifiedToken,
    certificate: Option<&PresentedCertificate<'_>>,
    authentication: &Authentication,
    now_s: u64,
) -> Result<BoundToken, PossessionRefusal> {
    let (certificate, held) = compare(&token, certificate, now_s)?;
    match verify_registered(authentication, certificate, now_s) {
        // A client that authenticates by assertions may bind its tokens to any certificate.
        Ok(()) | Err(CertificateRefusal::Method) => Ok(BoundToken::by_certificate(token, held)),
        Err(
            CertificateRefusal::Clock
            | CertificateRefusal::Missing
            | CertificateRefusal::Name
            | CertificateRefusal::Unregistered
            | CertificateRefusal::Untrusted,
        ) => Err(PossessionRefusal::CertificateInvalid),
    }
}

/// As [`bind`], for the token of an MCP server at an API. Not checked here: that the certificate still
/// stands for the server, which the registry is asked with all else that the token rests on.
///
/// # Errors
/// [`PossessionRefusal`].
pub fn bind_server(
    token: VerifiedToken<ServerId>,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<BoundToken<ServerId>, PossessionRefusal> {
    let (_, held) = compare(&token, certificate, now_s)?;
    Ok(BoundToken::by_certificate(token, held))
}

fn compare<'p, 'c, C>(
    token: &VerifiedToken<C>,
    certificate: Option<&'p PresentedCertificate<'c>>,
    now_s: u64,
) -> Result<(&'p PresentedCertificate<'c>, HeldCertificate), PossessionRefusal> {
    let Confirmation::Certificate(thumbprint) = *token.confirmation() else {
        return Err(PossessionRefusal::OtherMethod);
    };
    let certificate = certificate.ok_or(PossessionRefusal::CertificateMissing)?;
    // RFC 8705 section 3: the hash of the certificate and nothing else; subject and issuer may be
    // the same on another key.
    if certificate.thumbprint != thumbprint {
        return Err(PossessionRefusal::CertificateMismatch);
    }
    if !certificate.is_valid_at(now_s) {
        return Err(PossessionRefusal::CertificateInvalid);
    }
    Ok((certificate, HeldCertificate::new(thumbprint, *token.digest(), now_s)))
}

#[cfg(test)]
#[path = "mtls_tests.rs"]
mod tests;
