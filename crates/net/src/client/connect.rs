//! One new connection: resolve once, judge the addresses, connect to a judged one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::public_address::is_public;
use super::sender::Sender;
use super::{ClientConfig, Reach, SendError, UrlRefusal};
use crate::tls::{ALPN_HTTP2, Shown, TlsError, client_config};

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
    shown: Arc<Shown>,
}

impl Connector {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, TlsError> {
        let shown = Shown::new(config.identity.as_ref())?;
        let tls = client_config(&config.roots, &shown, config.http2)?;
        Ok(Self { reach: config.reach, tls: TlsConnector::from(tls), shown })
    }

    pub(super) fn was_asked_for_certificate(&self) -> bool {
        self.shown.was_asked_for()
    }

    pub(super) async fn connect(&self, target: &Target) -> Result<Sender, SendError> {
        let addresses = self.judged_addresses(target).await?;
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(SendError::Connect)?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        if !target.encrypted {
            return Sender::http1(stream).await;
        }
        let name = ServerName::try_from(target.bare_host().to_owned())
            .map_err(|_not_a_name| UrlRefusal::NotAbsolute)?;
        let stream = self.tls.connect(name, stream).await.map_err(SendError::Connect)?;
        // RFC 9113 section 3.3: HTTP/2 where TLS agreed on it, and nowhere else.
        if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
            return Sender::http2(stream).await;
        }
        Sender::http1(stream).await
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
        let is_within = |address: &SocketAddr| match self.reach {
            Reach::Any => target.encrypted || address.ip().is_loopback(),
            Reach::LoopbackOnly => address.ip().is_loopback(),
            Reach::PublicOnly => target.encrypted && is_public(address.ip()),
        };
        // A name of a stranger that leads both outside and inside was made to.
        let is_mixed = self.reach == Reach::PublicOnly && !resolved.iter().all(is_within);
        let within_reach: Vec<_> = resolved.into_iter().filter(is_within).collect();
        if within_reach.is_empty() || is_mixed {
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
