//! Outbound HTTP: own pool, explicit roots, judged addresses.
//!
//! Implemented: TCP and TLS connections kept for reuse, time limits for connecting, for the response
//! head and between pieces of the body, streaming response bodies; dropping a body cancels.
//! HTTP/2, where it is switched on and TLS agrees on it: one connection for all requests to a host.
//! Not implemented, on purpose: redirects, proxies from the environment, decompression, HTTP/2 without
//! TLS, and any second attempt once a byte of the request may have left.

mod connect;
mod pool;
mod public_address;
mod request;
mod response;
mod sender;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;

use connect::{Connector, Target};
use pool::Pool;
pub use request::RequestBody;
use response::Connection;
pub use response::{ResponseBody, ResponseBodyError};
use sender::Sender;

use crate::tls::{ClientIdentity, Roots, TlsError};

/// Which addresses a client may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// TLS to any address; plain HTTP only to loopback addresses.
    Any,
    /// Loopback addresses only.
    LoopbackOnly,
    /// TLS to addresses that are reached over the Internet; a host that also has another one is
    /// refused. For URLs that strangers give.
    PublicOnly,
}

/// How a client connects and how long it waits.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where it may connect to.
    pub reach: Reach,
    /// Whom it trusts.
    pub roots: Roots,
    /// The certificate it shows to servers that ask for one, after it has verified theirs.
    pub identity: Option<ClientIdentity>,
    /// Whether HTTP/2 is offered in TLS.
    pub http2: bool,
    /// Time for resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// Time from the request sent to the response head.
    pub head_timeout: Duration,
    /// Time between two pieces of a response body; `None` for streams that may rest.
    pub body_timeout: Option<Duration>,
    /// An unused connection is closed after this.
    pub idle_timeout: Duration,
    /// Unused connections kept per host.
    pub idle_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            reach: Reach::Any,
            roots: Roots::Public,
            identity: None,
            http2: false,
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(60),
            body_timeout: None,
            idle_timeout: Duration::from_secs(20),
            idle_max: 256,
        }
    }
}

/// A URL this client does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// It has no host, or no scheme.
    #[error("the URL is not absolute")]
    NotAbsolute,
    /// The scheme is neither `http` nor `https`.
    #[error("the URL's scheme is neither http nor https")]
    Scheme,
    /// RFC 3986 section 3.2.1: user information would be sent to whom it names.
    #[error("the URL holds user information")]
    UserInformation,
}

/// A request without a response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Every address of the host is outside the client's reach.
    #[error("the host has no address within reach")]
    AddressRefused,
    /// No connection could be made.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// Connecting took too long.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The connection broke, or what came back is not HTTP.
    #[error("the exchange broke off")]
    Exchange(#[source] hyper::Error),
    /// The response head did not come in time.
    #[error("the response took too long")]
    HeadTimeout,
    /// The name cannot be resolved.
    #[error("cannot resolve the host name")]
    Resolve(#[source] std::io::Error),
    /// The URL is not opened.
    #[error(transparent)]
    Url(#[from] UrlRefusal),
}

impl SendError {
    /// Whether it failed for what this machine lacks: descriptors, ports or memory. That says nothing of
    /// the server, which was not asked.
    ///
    /// Not known: a machine that lacks them while it resolves a name through another program.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Resolve(error) => lacks_means(error),
            Self::AddressRefused
            | Self::ConnectTimeout
            | Self::Exchange(_)
            | Self::HeadTimeout
            | Self::Url(_) => false,
        }
    }
}

fn lacks_means(error: &std::io::Error) -> bool {
    let kinds = [ErrorKind::AddrNotAvailable, ErrorKind::OutOfMemory];
    let is_full = error.raw_os_error().is_some_and(|code| [ENFILE, EMFILE].contains(&code));
    is_full || kinds.contains(&error.kind())
}

/// No descriptor is left on the machine: the number on every Unix.
const ENFILE: i32 = 23;
/// No descriptor is left for the process.
const EMFILE: i32 = 24;

/// An HTTP client. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    connector: Connector,
    pool: Arc<Pool>,
}

impl Client {
    /// A client with an empty pool.
    ///
    /// # Errors
    /// When the roots or the certificate do not parse.
    pub fn new(config: ClientConfig) -> Result<Self, TlsError> {
        let connector = Connector::new(&config)?;
        let pool = Arc::new(Pool::new(config.idle_timeout, config.idle_max));
        Ok(Self(Arc::new(Inner { config, connector, pool })))
    }

    /// Whether any server asked this client for a certificate so far, also where it has none.
    #[must_use]
    pub fn was_asked_for_certificate(&self) -> bool {
        self.0.connector.was_asked_for_certificate()
    }

    /// Sends `request`, whose URI is absolute, and waits for the response head.
    ///
    /// `Host` and `Connection` are ours; every other header leaves as given. Dropping the response
    /// body before its end closes the connection, which is how a call is cancelled.
    ///
    /// # Errors
    /// See [`SendError`]. [`SendError::Exchange`] and [`SendError::HeadTimeout`] leave open whether
    /// the server acted.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, SendError> {
        self.send_within(request, self.0.config.head_timeout).await
    }

    /// As [`Client::send`], with its own limit for the response head.
    ///
    /// # Errors
    /// See [`Client::send`].
    pub async fn send_within(
        &self,
        request: Request<Bytes>,
        head_timeout: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        self.send_streamed(request.map(RequestBody::from), head_timeout).await
    }

    /// As [`Client::send_within`], with a body that may still be on its way. `head_timeout` counts
    /// from the first byte of the request.
    ///
    /// # Errors
    /// See [`Client::send`]; [`SendError::Exchange`] also when the body breaks off.
    pub async fn send_streamed(
        &self,
        mut request: Request<RequestBody>,
        head_timeout: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        let target = Target::from_uri(request.uri())?;
        let host = HeaderValue::from_str(&target.authority());
        let host = host.map_err(|_| UrlRefusal::NotAbsolute)?;
        request.headers_mut().remove(CONNECTION);
        let exchange = self.exchange(request, &target, &host);
        let (response, sender) = tokio::time::timeout(head_timeout, exchange)
            .await
            .map_err(|_late| SendError::HeadTimeout)??;
        let connection = Connection { sender, target, pool: Arc::clone(&self.0.pool) };
        let limit = self.0.config.body_timeout;
        Ok(response.map(|body| ResponseBody::new(body, connection, limit)))
    }

    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        target: &Target,
        host: &HeaderValue,
    ) -> Result<(Response<Incoming>, Sender), SendError> {
        while let Some(mut sender) = self.0.pool.take(target) {
            // One that is shared stays in the pool until it is seen closed: it is asked once.
            let is_shared = sender.is_shared();
            if sender.ready().await.is_err() {
                if is_shared {
                    break;
                }
                continue;
            }
            match sender.send(request, host).await {
                Ok(response) => return Ok((response, sender)),
                // Given back means that no byte of it left: the server had closed before.
                Err(unanswered) => match unanswered.unsent {
                    Some(unsent) if is_shared => {
                        request = unsent;
                        break;
                    }
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Exchange(unanswered.error)),
                },
            }
        }
        let connecting = self.0.connector.connect(target);
        let mut sender = tokio::time::timeout(self.0.config.connect_timeout, connecting)
            .await
            .map_err(|_late| SendError::ConnectTimeout)??;
        if let Some(shared) = sender.another() {
            self.0.pool.put(target.clone(), shared);
        }
        let response = sender.send(request, host).await;
        response
            .map(|response| (response, sender))
            .map_err(|unanswered| SendError::Exchange(unanswered.error))
    }
}
