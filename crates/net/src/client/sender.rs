//! The sending half of one connection, of either version of HTTP.

use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{RequestBody, SendError};

/// What a request is sent with.
#[derive(Debug)]
pub(super) enum Sender {
    /// One request at a time (RFC 9112).
    Http1(http1::SendRequest<RequestBody>),
    /// Many streams (RFC 9113). Other senders of the same connection may be in use.
    Http2(http2::SendRequest<RequestBody>),
}

/// A request that did not get its response.
pub(super) struct Unanswered {
    /// The request, if no byte of it left.
    pub(super) unsent: Option<Request<RequestBody>>,
    pub(super) error: hyper::Error,
}

impl Sender {
    /// Speaks HTTP/1.1 over a connection.
    pub(super) async fn http1<IO>(io: IO) -> Result<Self, SendError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEAD_FIELDS_MAX)
            .handshake::<_, RequestBody>(TokioIo::new(io))
            .await
            .map_err(SendError::Exchange)?;
        drive(connection);
        Ok(Self::Http1(sender))
    }

    /// Speaks HTTP/2 over a connection that was agreed to be so.
    pub(super) async fn http2<IO>(io: IO) -> Result<Self, SendError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_LIST_BYTES_MAX)
            // A peer that is gone would otherwise hold the requests of everybody.
            .keep_alive_interval(Some(ALIVE_EVERY))
            .keep_alive_timeout(ALIVE_WITHIN)
            .handshake::<_, RequestBody>(TokioIo::new(io))
            .await
            .map_err(SendError::Exchange)?;
        drive(connection);
        Ok(Self::Http2(sender))
    }

    /// A second sender of a connection that takes many requests.
    pub(super) fn another(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    pub(super) async fn ready(&mut self) -> Result<(), hyper::Error> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    /// Sends a request with an absolute URI to `host`.
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
        host: &HeaderValue,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        match self {
            Self::Http1(sender) => {
                let absolute = request.uri().clone();
                // RFC 9112 section 3.2.1: the request line holds path and query, the rest is `Host`.
                let path = absolute.path_and_query().cloned();
                *request.uri_mut() =
                    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
                request.headers_mut().insert(HOST, host.clone());
                sender.try_send_request(request).await.map_err(|error| {
                    let mut unanswered = Unanswered::of(error);
                    if let Some(unsent) = &mut unanswered.unsent {
                        *unsent.uri_mut() = absolute;
                    }
                    Box::new(unanswered)
                })
            }
            Self::Http2(sender) => {
                // RFC 9113 section 8.3.1: `:authority` says it.
                request.headers_mut().remove(HOST);
                let sent = sender.try_send_request(request).await;
                sent.map_err(|error| Box::new(Unanswered::of(error)))
            }
        }
    }
}

/// Moves the bytes of a connection until its senders are dropped or the server closes.
fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "outbound connection ended early");
        }
    });
}

impl Unanswered {
    fn of(mut error: TrySendError<Request<RequestBody>>) -> Self {
        let unsent = error.take_message();
        Self { unsent, error: error.into_error() }
    }
}

/// Also the read buffer's size, so a multiple of what a server sends at once.
const HEAD_BYTES_MAX: usize = 128 * 1024;
const HEAD_LIST_BYTES_MAX: u32 = 128 * 1024;
const HEAD_FIELDS_MAX: usize = 100;
const ALIVE_EVERY: Duration = Duration::from_secs(20);
const ALIVE_WITHIN: Duration = Duration::from_secs(10);
