//! Time limits on the bytes of a connection, where no HTTP timer runs: before the first request
//! line, and while a client does not read.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;

/// A connection whose peer must begin in time and keep reading.
pub(super) struct Guarded<IO> {
    io: IO,
    // Invariant: `Some` until `OPENING_BYTES` were read.
    opening: Option<Pin<Box<Sleep>>>,
    seen_bytes: usize,
    // Invariant: `Some` while the peer leaves our bytes unread.
    stalled: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
}

impl<IO> Guarded<IO> {
    pub(super) fn new(io: IO, limits: &Limits) -> Self {
        Self {
            io,
            opening: Some(timer(limits.header_timeout)),
            seen_bytes: 0,
            stalled: None,
            write_timeout: limits.write_timeout,
        }
    }

    /// Passes on what a write gave, and fails one that has been waiting for too long.
    fn watched<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let write_timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| timer(write_timeout));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn timer(timeout: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(Instant::now() + timeout))
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(opening) = self.opening.as_mut()
            && opening.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.opening.is_some() {
            self.seen_bytes += buffer.filled().len() - before;
            if self.seen_bytes >= OPENING_BYTES {
                self.opening = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watched(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watched(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watched(closed, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.watched(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// RFC 9113 section 3.4: the client preface has 24 bytes; a shorter HTTP/1 request is not refused,
/// only its connection is not kept.
const OPENING_BYTES: usize = 24;
