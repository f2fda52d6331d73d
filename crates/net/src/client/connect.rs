//! One new connection: resolve once, judge the addresses, connect to a judged one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pool::Sender;
use super::{ClientConfig, Reach, SendError, UrlRefusal};
use crate::tls::{Shown, TlsError, client_config};

/// Where a connection leads: what the pool tells connections apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    encrypted: bool,
    host: String,
    port: u16,
}

impl Target {
    /// Reads scheme, host and port of an absolute `http` or `https` URI.
    ///
    /// # Errors
    /// When the URI is not one this client opens.
    pub(super) fn from_uri(uri: &Uri) -> Result<Self, UrlRefusal> {
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(UrlRefusal::Scheme),
            None => return Err(UrlRefusal::NotAbsolute),
        };
        let authority = uri.authority().ok_or(UrlRefusal::NotAbsolute)?;
        if authority.as_str().contains('@') {
            return Err(UrlRefusal::UserInformation);
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(UrlRefusal::NotAbsolute);
        }
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        Ok(Self { encrypted, host: host.to_ascii_lowercase(), port })
    }

    /// RFC 9110 section 7.2: the value of `Host`, without the scheme's default port.
    pub(super) fn authority(&self) -> String {
        match (self.encrypted, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

pub(super) struct Connector {
    reach: Reach,
    tls: TlsConnector,
    shown: Option<Arc<Shown>>,
}

impl Connector {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, TlsError> {
        let shown = config.identity.as_ref().map(Shown::new).transpose()?;
        let tls = client_config(&config.roots, shown.as_ref())?;
        Ok(Self { reach: config.reach, tls: TlsConnector::from(tls), shown })
    }

    pub(super) fn was_asked_for_certificate(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.was_asked_for())
    }

    pub(super) async fn connect(&self, target: &Target) -> Result<Sender, SendError> {
        let addresses = self.judged_addresses(target).await?;
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(SendError::Connect)?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        if !target.encrypted {
            return speak_http(stream).await;
        }
        let name = ServerName::try_from(target.bare_host().to_owned())
            .map_err(|_not_a_name| UrlRefusal::NotAbsolute)?;
        let stream = self.tls.connect(name, stream).await.map_err(SendError::Connect)?;
        speak_http(stream).await
    }

    /// Every address is judged, and exactly the judged ones are connected to: a name that resolves
    /// differently a moment later gains nothing.
    async fn judged_addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, SendError> {
        let resolved: Vec<_> = match target.bare_host().parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_a_name) => tokio::net::lookup_host((target.bare_host(), target.port))
                .await
                .map_err(SendError::Resolve)?
                .collect(),
        };
        let within_reach: Vec<_> = resolved
            .into_iter()
            .filter(|address| match self.reach {
                Reach::Any => target.encrypted || address.ip().is_loopback(),
                Reach::LoopbackOnly => address.ip().is_loopback(),
            })
            .collect();
        if within_reach.is_empty() {
            return Err(SendError::AddressRefused);
        }
        Ok(within_reach)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("reach", &self.reach).finish_non_exhaustive()
    }
}

async fn speak_http<IO>(io: IO) -> Result<Sender, SendError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .handshake::<_, Full<Bytes>>(TokioIo::new(io))
        .await
        .map_err(SendError::Exchange)?;
    // Ends when the sender is dropped or the server closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "outbound connection ended early");
        }
    });
    Ok(sender)
}

/// Also the read buffer's size, so a multiple of what a server sends at once.
const HEAD_BYTES_MAX: usize = 128 * 1024;
const HEAD_FIELDS_MAX: usize = 100;
