//! Whose client certificates count.
//!
//! The handshake takes any certificate and proves only that the peer holds its key; whether its
//! chain leads to a set of authorities is judged after it, and again when the sets change. So a
//! self-signed certificate and one of a private authority come over the same listener, and a
//! connection outlives no change of trust.
//!
//! Implemented: several named sets, each with lists of revoked certificates where given, and the
//! proxies whose word counts for which certificate a client showed them. Not implemented: OCSP,
//! fetching of lists.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::Network;
use crate::certificate::{self, PeerCertificate};
use crate::tls::TlsError;

/// One set of authorities by name.
#[derive(Clone, Debug)]
pub struct Anchors {
    /// What the certificates of this set are known by.
    pub name: String,
    /// Certificates of the authorities, in DER.
    pub authorities: Vec<Vec<u8>>,
    /// PEM text of lists of revoked certificates. With one, a certificate that no list covers, and
    /// every one once a list has ended, does not count.
    pub revoked_pem: Option<Vec<u8>>,
}

/// A proxy that ends the TLS of clients and says in headers which certificate they showed.
///
/// It is known by its addresses, by its own certificate, or by both; one without either is nobody.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxy {
    /// What the journal calls it.
    pub name: String,
    /// Where it connects from; anywhere if empty.
    pub addresses: Vec<Network>,
    /// SHA-256 of the certificates it shows; any or none if empty.
    pub thumbprints: Vec<[u8; 32]>,
}

impl TrustedProxy {
    /// Whether a connection is one of this proxy. `own` is the certificate of the handshake.
    fn is_at(&self, address: IpAddr, own: Option<&PeerCertificate>, now_s: u64) -> bool {
        let is_alive =
            |own: &PeerCertificate| (own.not_before_s..=own.not_after_s).contains(&now_s);
        let is_own = |own: &PeerCertificate| self.thumbprints.contains(&own.thumbprint);
        let shows =
            self.thumbprints.is_empty() || own.is_some_and(|own| is_own(own) && is_alive(own));
        let is_there =
            self.addresses.is_empty() || self.addresses.iter().any(|a| a.contains(address));
        let is_named = !(self.addresses.is_empty() && self.thumbprints.is_empty());
        is_named && shows && is_there
    }
}

/// The sets in force.
pub(crate) struct Trust {
    /// Counts up with every change.
    pub(crate) generation: u64,
    sets: Vec<(String, Arc<dyn ClientCertVerifier>)>,
    proxies: Vec<(Arc<str>, TrustedProxy)>,
}

impl Trust {
    pub(crate) fn new(
        generation: u64,
        anchors: &[Anchors],
        proxies: &[TrustedProxy],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut sets = Vec::new();
        for set in anchors.iter().filter(|set| !set.authorities.is_empty()) {
            sets.push((set.name.clone(), verifier(set, provider)?));
        }
        let named = |proxy: &TrustedProxy| (Arc::from(proxy.name.as_str()), proxy.clone());
        Ok(Self { generation, sets, proxies: proxies.iter().map(named).collect() })
    }

    /// The listed proxy at the other end of a connection; `own` is the certificate of its handshake.
    pub(crate) fn proxy(&self, address: IpAddr, own: Option<&PeerCertificate>) -> Option<Arc<str>> {
        if self.proxies.is_empty() {
            return None;
        }
        // A connection may live longer than the certificate it was opened with.
        let now_s = UnixTime::now().as_secs();
        let mut found = self.proxies.iter().filter(|(_, proxy)| proxy.is_at(address, own, now_s));
        found.next().map(|(name, _)| Arc::clone(name))
    }

    /// Reads the leaf of a chain and says to which sets it leads.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Option<PeerCertificate> {
        let (leaf, intermediates) = chain.split_first()?;
        let mut read = certificate::parse(leaf)?;
        let now = UnixTime::now();
        // RFC 5280 section 6: signatures, lives, key usage, constraints on names and length.
        let leads = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, intermediates, now).is_ok()
        };
        read.anchors = self
            .sets
            .iter()
            .filter(|(_, verifier)| leads(verifier))
            .map(|(name, _)| name.clone())
            .collect();
        Some(read)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.sets.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Trust").field("generation", &self.generation).field("sets", &names).finish()
    }
}

/// Whether each of these, in DER, can be trusted as an authority. One that cannot makes the whole set
/// unusable, and with it every other set of a listener.
#[must_use]
pub fn are_authorities(authorities: &[Vec<u8>]) -> bool {
    let mut roots = RootCertStore::empty();
    authorities.iter().all(|der| roots.add(CertificateDer::from(der.as_slice())).is_ok())
}

fn verifier(
    set: &Anchors,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in &set.authorities {
        roots.add(CertificateDer::from(authority.as_slice()))?;
    }
    let provider = Arc::clone(provider);
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(pem) = &set.revoked_pem {
        let lists: Vec<_> =
            CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
        if lists.is_empty() {
            return Err(TlsError::CertificateMissing);
        }
        // RFC 5280 section 6.3: unknown is not good, and a list counts until its next update.
        builder = builder
            .with_crls(lists)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    builder.build().map_err(TlsError::Anchors)
}

/// Takes every certificate of bounded size whose key the peer proves.
#[derive(Debug)]
pub(crate) struct ProofOfKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ProofOfKey {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for ProofOfKey {
    /// RFC 8705 section 7.1: the clients that have none must not be shut out.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// RFC 8446 section 4.2.4: no hint, so that clients offer what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Before anything is parsed or computed on.
        if !is_within_limits(leaf, intermediates) {
            return Err(CertificateError::BadEncoding.into());
        }
        certificate::parse(leaf).ok_or(CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a chain is one that a client may need.
pub(crate) fn is_within_limits(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> bool {
    let bytes = intermediates.iter().fold(leaf.len(), |bytes, next| bytes + next.len());
    intermediates.len() <= INTERMEDIATES_MAX && bytes <= CHAIN_BYTES_MAX
}

const INTERMEDIATES_MAX: usize = 6;
const CHAIN_BYTES_MAX: usize = 32 * 1024;
