//! TLS configurations, with the provider named each time.
//!
//! A default provider is a process-wide global that any dependency can change; naming it keeps the
//! choice here.
//!
//! Implemented: server certificates and the trust in client certificates, both replaced while
//! connections run; client certificates of our own. Where client certificates are asked for, no
//! session is resumed: a resumed one would bring an identity from before a change of trust. Each
//! listener has a configuration of its own, so no session moves from one to another.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::certificate::PeerCertificate;
use crate::trust::{Anchors, ProofOfKey, Trust, TrustedProxy};

/// Which certificate authorities an outbound connection trusts.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The Mozilla root programme, compiled in.
    #[default]
    Public,
    /// Exactly the certificates of this PEM text.
    Pem(String),
}

/// A certificate of our own with its private key, for outbound connections.
#[derive(Clone)]
pub struct ClientIdentity {
    /// PEM text of the chain, leaf first.
    pub certificates_pem: String,
    /// PEM text of the private key.
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity([redacted])")
    }
}

/// What a listener shows and asks for.
#[derive(Clone)]
pub struct TlsMaterial {
    /// PEM text of the certificate chain, leaf first.
    pub certificates_pem: Vec<u8>,
    /// PEM text of its private key.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// Whether clients are asked for a certificate, and whose count. `Some` and empty asks for one
    /// and knows no authority.
    pub clients: Option<Vec<Anchors>>,
    /// Who may say in a header which certificate a client showed.
    pub proxies: Vec<TrustedProxy>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("clients", &self.clients)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// A TLS configuration that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities or the lists of revoked certificates are not usable.
    #[error("the authorities for client certificates are not usable")]
    Anchors(#[source] VerifierBuilderError),
    /// The PEM text holds no usable certificate.
    #[error("no certificate in the PEM text")]
    CertificateMissing,
    /// The certificate or key PEM does not parse.
    #[error("the PEM text does not parse")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// rustls refuses the certificate or the key.
    #[error("the certificate or its key is not usable")]
    Rustls(#[from] rustls::Error),
}

/// The TLS of one listener. Clones are the same one; it can be replaced while it is used.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    config: ArcSwap<ServerConfig>,
    trust: ArcSwap<Trust>,
}

impl Tls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// When a text does not parse or the key does not belong to the leaf.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        let (config, trust) = configured(material, 0)?;
        let (config, trust) = (ArcSwap::new(config), ArcSwap::new(trust));
        Ok(Self(Arc::new(Inner { config, trust })))
    }

    /// Replaces everything for new connections, and the trust in client certificates also for the
    /// running ones. On an error nothing changes.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        let generation = self.0.trust.load().generation + 1;
        let (config, trust) = configured(material, generation)?;
        // The trust first: no new connection is judged by the old one.
        self.0.trust.store(trust);
        self.0.config.store(config);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.config.load_full())
    }

    /// The number of the trust in force.
    pub(crate) fn generation(&self) -> u64 {
        self.0.trust.load().generation
    }

    /// What the trust in force says about a chain, and its number.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> (u64, Option<PeerCertificate>) {
        let trust = self.0.trust.load();
        (trust.generation, trust.judge(chain))
    }

    /// The listed proxy at the other end of a connection.
    pub(crate) fn proxy(&self, address: IpAddr, own: Option<&PeerCertificate>) -> Option<Arc<str>> {
        self.0.trust.load().proxy(address, own)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("trust", &self.0.trust.load()).finish_non_exhaustive()
    }
}

fn configured(
    material: &TlsMaterial,
    generation: u64,
) -> Result<(Arc<ServerConfig>, Arc<Trust>), TlsError> {
    let provider = provider();
    let certificates = certificates(&material.certificates_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key_pem)?;
    let anchors = material.clients.as_deref().unwrap_or_default();
    let trust = Trust::new(generation, anchors, &material.proxies, &provider)?;
    let verifier = match material.clients {
        Some(_) => Arc::new(ProofOfKey::new(&provider)),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    if material.clients.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok((Arc::new(config), Arc::new(trust)))
}

/// A certificate of our own, where there is one, and whether anybody asked for one.
#[derive(Debug)]
pub(crate) struct Shown {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl Shown {
    /// Reads chain and key.
    ///
    /// # Errors
    /// When a text does not parse or the key does not belong to the leaf.
    pub(crate) fn new(identity: Option<&ClientIdentity>) -> Result<Arc<Self>, TlsError> {
        let key = identity.map(certified).transpose()?.map(Arc::new);
        Ok(Arc::new(Self { key, asked: AtomicBool::new(false) }))
    }

    /// Whether a server asked for one. One that should and did not is not at the other end: somebody
    /// between ends TLS.
    pub(crate) fn was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

fn certified(identity: &ClientIdentity) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(identity.certificates_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// The configuration of outbound connections. Only HTTP/1.1 is offered.
pub(crate) fn client_config(
    roots: &Roots,
    shown: &Arc<Shown>,
    http2: bool,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Pem(text) => {
            for certificate in certificates(text.as_bytes())? {
                store.add(certificate)?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store);
    let resolver: Arc<Shown> = Arc::clone(shown);
    let mut config = builder.with_client_cert_resolver(resolver);
    let versions = if http2 { &[ALPN_HTTP2, ALPN_HTTP1][..] } else { &[ALPN_HTTP1][..] };
    config.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificates of a PEM text, in DER.
///
/// # Errors
/// When the text does not parse or holds none.
pub fn certificates_of_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, TlsError> {
    Ok(certificates(pem)?.into_iter().map(|der| der.to_vec()).collect())
}

/// Last second of the life of the first certificate of a PEM text, since 1970; `None` if that is not
/// to be read.
#[must_use]
pub fn life_end_s(pem: &[u8]) -> Option<u64> {
    let first = certificates(pem).ok()?.into_iter().next()?;
    crate::certificate::parse(&first).map(|read| read.not_after_s)
}

/// A file of PEM text.
///
/// # Errors
/// [`TlsError::Read`].
pub fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err(TlsError::CertificateMissing);
    }
    Ok(certificates)
}

// RFC 7301 section 6: protocol identifiers.
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

#[cfg(test)]
mod tests {
    use super::*;

    fn material(certificates_pem: &str, key_pem: &str) -> TlsMaterial {
        TlsMaterial {
            certificates_pem: certificates_pem.as_bytes().to_vec(),
            key_pem: Zeroizing::new(key_pem.as_bytes().to_vec()),
            clients: None,
            proxies: Vec::new(),
        }
    }

    #[test]
    fn a_certificate_with_its_key_is_taken() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let tls = Tls::new(&material(&made.cert.pem(), &key)).unwrap();
        client_config(&Roots::Pem(made.cert.pem()), &Shown::new(None).unwrap(), false).unwrap();
        client_config(&Roots::Public, &Shown::new(None).unwrap(), false).unwrap();
        // A bad replacement changes nothing.
        assert!(tls.replace(&material("", &key)).is_err());
        assert_eq!(tls.generation(), 0);
        tls.replace(&material(&made.cert.pem(), &key)).unwrap();
        assert_eq!(tls.generation(), 1);
    }

    #[test]
    fn texts_without_certificate_are_refused() {
        let empty = client_config(&Roots::Pem(String::new()), &Shown::new(None).unwrap(), false);
        assert!(matches!(empty, Err(TlsError::CertificateMissing)));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let refused = Tls::new(&material("", &made.signing_key.serialize_pem()));
        assert!(matches!(refused, Err(TlsError::CertificateMissing)));
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let names = vec!["localhost".to_owned()];
        let one = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let other = rcgen::generate_simple_self_signed(names).unwrap();
        let refused = Tls::new(&material(&one.cert.pem(), &other.signing_key.serialize_pem()));
        assert!(matches!(refused, Err(TlsError::Rustls(_))));
    }

    #[test]
    fn a_malformed_authority_or_list_is_refused() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let right = material(&made.cert.pem(), &made.signing_key.serialize_pem());
        let set = |authority: &[u8], revoked_pem: Option<&[u8]>| {
            Some(vec![Anchors {
                name: "client_ca".to_owned(),
                authorities: vec![authority.to_vec()],
                revoked_pem: revoked_pem.map(<[u8]>::to_vec),
            }])
        };
        let good = TlsMaterial { clients: set(made.cert.der(), None), ..right.clone() };
        Tls::new(&good).unwrap();
        let list = b"-----BEGIN X509 CRL-----\nAQID\n-----END X509 CRL-----\n";
        for clients in
            [set(b"x", None), set(made.cert.der(), Some(b"")), set(made.cert.der(), Some(list))]
        {
            assert!(Tls::new(&TlsMaterial { clients, ..right.clone() }).is_err());
        }
    }
}
