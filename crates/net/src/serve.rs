//! The accept loop: limits on time, bytes, streams and connections of one address, and a graceful stop.
//!
//! A connection beyond the share of its address is closed at once, before its TLS handshake: it costs an
//! accept. Each listener counts for itself, so that what fills one leaves the others, that of locks among
//! them.
//!
//! Not implemented: upgrades, limits on how fast an address connects.

mod guarded;
#[cfg(test)]
mod mtls_tests;
mod received;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use guarded::Guarded;
pub use received::ReceivedBody;

use crate::connected::Connected;
use crate::shares::{Crowded, Share, Shares};
use crate::{Listener, Shutdown};

/// What one listener takes from its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; more wait in the operating system's queue.
    pub connections_max: usize,
    /// Of these, connections from one address; an IPv6 /64 is one. More are closed at once. Listed
    /// proxies are not bounded.
    pub per_address_max: usize,
    /// The same for all of loopback, which is a proxy or the operator's own machine.
    pub of_loopback_max: usize,
    /// Time for a TLS handshake, and again for one request head; an idle connection is closed after it.
    pub header_timeout: Duration,
    /// Bytes of one request head.
    pub header_bytes_max: u32,
    /// Fields of one request head.
    pub header_count_max: usize,
    /// HTTP/2 streams at the same time on one connection.
    pub streams_max: u32,
    /// Time a client may leave what we write unread; a slow reader holds memory and a connection.
    pub write_timeout: Duration,
    /// How long running requests may finish after a stop was asked for.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            // A quarter: room for all that is behind one address of an office, and not for a flood.
            per_address_max: 1024,
            of_loopback_max: usize::MAX,
            header_timeout: Duration::from_secs(30),
            header_bytes_max: 32 * 1024,
            header_count_max: 64,
            streams_max: 128,
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves `service` on `listener` until `shutdown`, then lets running requests finish.
pub async fn serve<S, B>(listener: Listener, service: S, limits: Limits, shutdown: Shutdown)
where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = Arc::new(listener);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let shares = Shares::new(limits.per_address_max, limits.of_loopback_max);
    let mut crowds = Crowds::default();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.started() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (place, stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: do not spin, connections will end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let share = match shares.take(address.ip()) {
            Ok(share) => share,
            Err(crowded) => {
                listener.connections().crowd_out();
                crowds.tell(crowded);
                continue;
            }
        };
        let (listener, service, shutdown) = (listener.clone(), service.clone(), shutdown.clone());
        let open = listener.connections().accept();
        connections.spawn(async move {
            let accepted = (stream, address, share);
            connection(&listener, accepted, service, &limits, &shutdown).await;
            drop((place, open));
        });
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
        tracing::warn!("requests still running at the end of the drain time were cut");
    }
}

/// Tells of connections that were closed for want of a share, now and then.
#[derive(Default)]
struct Crowds {
    told: Option<Instant>,
    untold: u64,
}

impl Crowds {
    /// One line at most every ten seconds: a flood must not fill the log either.
    fn tell(&mut self, crowded: Crowded) {
        let now = Instant::now();
        if self.told.is_some_and(|told| now < told + CROWD_TOLD_EVERY) {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        let before = std::mem::take(&mut self.untold);
        self.told = Some(now);
        tracing::warn!(address = %crowded.place, before, "an address has all the connections it may");
    }
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((place, stream, address))
}

async fn connection<S, B>(
    listener: &Listener,
    (stream, address, share): (TcpStream, SocketAddr, Share),
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(tls) = listener.tls() else {
        let connected = Connected::plain(address);
        return speak_http(stream, connected, service, limits, shutdown).await;
    };
    match tokio::time::timeout(limits.header_timeout, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let connected = Connected::encrypted(address, tls, stream.get_ref().1);
            // What it speaks for are many places, which it has to limit by itself.
            let _share = Some(share).filter(|_| !connected.is_proxy());
            speak_http(stream, connected, service, limits, shutdown).await;
        }
        Ok(Err(error)) => {
            listener.connections().handshake_failed();
            tracing::debug!(%error, "TLS handshake failed");
        }
        Err(_late) => {
            listener.connections().handshake_failed();
            tracing::debug!("TLS handshake took too long");
        }
    }
}

async fn speak_http<IO, S, B>(
    io: IO,
    connected: Connected,
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible> + Send + Sync,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let fields_max = limits.header_count_max;
    let service = service_fn(move |mut request: Request<Incoming>| {
        // hyper counts the fields of HTTP/1.1 only, and the bytes of both.
        let fits = request.headers().len() <= fields_max;
        let answer = fits.then(|| {
            // Judging a certificate out of a header takes time, so only for what will be answered.
            let peer = connected.peer(request.headers());
            request.extensions_mut().insert(peer);
            let (request, rest) = ReceivedBody::wrapped(request);
            (service.call(request), rest)
        });
        async move {
            match answer {
                Some((answer, rest)) => {
                    let answer = rest.settled(answer.await).await;
                    answer.map(|answer| answer.map(Either::Left))
                }
                None => Ok(too_many_fields().map(Either::Right)),
            }
        }
    });
    let protocol = protocol(limits);
    let io = TokioIo::new(Guarded::new(io, limits));
    let mut connection = pin!(protocol.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection ended early");
    }
}

/// RFC 6585 section 5: as hyper answers over HTTP/1.1.
fn too_many_fields() -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    answer
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    // hyper refuses to start below 8 KiB.
    let head_bytes = usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX).max(8192);
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(head_bytes)
        .max_headers(limits.header_count_max);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes_max)
        .max_concurrent_streams(limits.streams_max)
        // Rapid reset: few streams reset by the peer may wait, few may be provoked by it.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    protocol
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CROWD_TOLD_EVERY: Duration = Duration::from_secs(10);
