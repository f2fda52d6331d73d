//! TLS configurations, with the provider named each time.
//!
//! A default provider is a process-wide global that any dependency can change; naming it keeps the
//! choice here. Not implemented: client certificates, reload of certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Which certificate authorities an outbound connection trusts.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The Mozilla root programme, compiled in.
    #[default]
    Public,
    /// Exactly the certificates of this PEM text.
    Pem(String),
}

/// A TLS configuration that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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

/// A server configuration from PEM texts: the certificate chain, leaf first, and its private key.
///
/// # Errors
/// When either text does not parse or the key does not belong to the leaf.
pub fn server_config(
    certificates_pem: &[u8],
    key_pem: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates(certificates_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// As [`server_config`], from files.
///
/// # Errors
/// When a file cannot be read or does not hold what it should.
pub fn server_config_from_files(
    certificates: &Path,
    key: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(&read(certificates)?, &read(key)?)
}

/// The configuration of outbound connections. Only HTTP/1.1 is offered.
pub(crate) fn client_config(roots: &Roots) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Pem(text) => {
            for certificate in certificates(text.as_bytes())? {
                store.add(certificate)?;
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
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

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

// RFC 7301 section 6: protocol identifiers.
const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_with_its_key_is_taken() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        server_config(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
            .unwrap();
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let refused =
            server_config(made.cert.pem().as_bytes(), other.signing_key.serialize_pem().as_bytes());
        assert!(matches!(refused, Err(TlsError::Rustls(_))));
    }

    #[test]
    fn a_text_without_certificate_is_refused() {
        assert!(matches!(server_config(b"", b""), Err(TlsError::CertificateMissing)));
        let roots = Roots::Pem("no certificate here".to_owned());
        assert!(matches!(client_config(&roots), Err(TlsError::CertificateMissing)));
        client_config(&Roots::Public).unwrap();
    }
}
