//! Whose client certificates count.
//!
//! The handshake takes any certificate and proves only that the peer holds its key; whether its
//! chain leads to a set of authorities is judged after it, and again when the sets change. So a
//! self-signed certificate and one of a private authority come over the same listener, and a
//! connection outlives no change of trust.
//!
//! Implemented: several named sets, each with lists of revoked certificates where given. Not
//! implemented: OCSP, fetching of lists.

use std::fmt;
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

/// The sets in force.
pub(crate) struct Trust {
    /// Counts up with every change.
    pub(crate) generation: u64,
    sets: Vec<(String, Arc<dyn ClientCertVerifier>)>,
}

impl Trust {
    pub(crate) fn new(
        generation: u64,
        anchors: &[Anchors],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut sets = Vec::new();
        for set in anchors.iter().filter(|set| !set.authorities.is_empty()) {
            sets.push((set.name.clone(), verifier(set, provider)?));
        }
        Ok(Self { generation, sets })
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
        let bytes = intermediates.iter().fold(leaf.len(), |bytes, next| bytes + next.len());
        // Before anything is parsed or computed on.
        if intermediates.len() > INTERMEDIATES_MAX || bytes > CHAIN_BYTES_MAX {
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

const INTERMEDIATES_MAX: usize = 6;
const CHAIN_BYTES_MAX: usize = 32 * 1024;
