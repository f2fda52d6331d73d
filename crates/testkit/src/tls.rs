//! A connection with TLS and a client certificate, for frames that no library would send.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http2::connected;

/// What one side shows and trusts, as PEM text.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Whom it trusts.
    pub roots: Vec<u8>,
    /// Its own chain and key, if it has any.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
    /// Sent before the handshake.
    pub before: Vec<u8>,
}

/// Connects to `localhost` at `peer`, for HTTP/2 (RFC 9113 section 3.2).
///
/// # Errors
/// When a text does not parse, or the peer cannot be reached. What comes of the handshake shows when
/// something is read.
pub fn connect(
    peer: SocketAddr,
    shown: &Shown,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&shown.roots) {
        roots.add(root.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let keys = provider.key_provider;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &shown.own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
            let chain = chain.map_err(io::Error::other)?;
            let key = keys.load_private_key(key).map_err(io::Error::other)?;
            // Not looked at here: a chain may be one that nobody takes.
            let own = SingleCertAndKey::from(CertifiedKey::new(chain, key));
            builder.with_client_cert_resolver(Arc::new(own))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = connected(peer)?;
    stream.write_all(&shown.before)?;
    Ok(StreamOwned::new(client, stream))
}
