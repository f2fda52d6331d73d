//! Calls over TLS with a client certificate: the token is bound to it, and no call is signed.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::load::{MakeRequest, Secured};
use crate::agent::call_body;
use crate::pki::Pki;
use crate::step::StepFailed;
use crate::tls_installation::{TlsInstallation, hello};

const SERVER: &str = "bench";
const CERTIFICATE: &str = "own";

/// An installation on TLS in front of the bench's MCP server.
pub(super) fn start(url: &str) -> Result<TlsInstallation, StepFailed> {
    let tls = TlsInstallation::start()?;
    tls.installation.register_server(SERVER, &["--url", url])?;
    tls.installation.approve_all(SERVER)?;
    tls.grant("billing", SERVER, "read:*")?;
    Ok(tls)
}

/// How a connection shows the certificate.
pub(super) fn secured(pki: &Pki) -> Result<Secured, StepFailed> {
    let failed = |what: String| StepFailed::Check(format!("certificates of the bench: {what}"));
    let chain = |name: &str| {
        CertificateDer::pem_file_iter(pki.path(name))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(error.to_string()))
    };
    let mut roots = RootCertStore::empty();
    for root in chain("server.pem")? {
        roots.add(root).map_err(|error| failed(error.to_string()))?;
    }
    let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{CERTIFICATE}.key")))
        .map_err(|error| failed(error.to_string()))?;
    let own = chain(&format!("{CERTIFICATE}.pem"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(own, key))
        .map_err(|error| failed(error.to_string()))?;
    let name = ServerName::try_from("localhost").map_err(|error| failed(error.to_string()))?;
    Ok(Secured { connector: TlsConnector::from(Arc::new(config)), name })
}

/// The same call each time: its token is bound to the connection's certificate.
pub(super) fn calls(tls: &TlsInstallation) -> Result<MakeRequest, StepFailed> {
    // Not the one of the case before, which may have ended since.
    tls.forget_tokens();
    let token = tls.token("billing", CERTIFICATE, SERVER)?;
    let body = call_body("echo", &hello()).to_string();
    let port = tls.installation.addresses().gateway.port();
    let bytes = format!(
        "POST /{SERVER}/mcp HTTP/1.1\r\nHost: localhost:{port}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    Ok(Arc::new(move |_nonce| bytes.clone()))
}
