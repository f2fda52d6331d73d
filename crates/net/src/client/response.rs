//! A response body that gives its connection back at its end and closes it when dropped before.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::Target;
use super::pool::Pool;
use super::sender::Sender;

/// A response body as it arrives.
pub struct ResponseBody {
    incoming: Incoming,
    // Invariant: `Some` until the body ended; dropping the sender closes a connection of HTTP/1.1,
    // and dropping `incoming` resets a stream of HTTP/2.
    connection: Option<Connection>,
    limit: Option<Duration>,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The connection a response comes in on, and where it goes back to.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: Sender,
    pub(super) target: Target,
    pub(super) pool: Arc<Pool>,
}

/// A response body that did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// The connection broke.
    #[error("the response broke off")]
    Broken(#[source] hyper::Error),
    /// The next piece did not come in time.
    #[error("the response rested too long")]
    Rested,
    /// [`ResponseBody::bytes`] only: the body is longer than the caller takes.
    #[error("the response is longer than {bytes_max} bytes")]
    TooLong {
        /// What the caller takes.
        bytes_max: usize,
    },
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, connection: Connection, limit: Option<Duration>) -> Self {
        let mut body = Self { incoming, connection: Some(connection), limit, deadline: None };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    /// The whole body, when it has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the body is longer or breaks off; the connection is closed then.
    pub async fn bytes(mut self, bytes_max: usize) -> Result<Bytes, ResponseBodyError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            if whole.len() + piece.len() > bytes_max {
                return Err(ResponseBodyError::TooLong { bytes_max });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn end(&mut self) {
        self.deadline = None;
        if let Some(Connection { sender, target, pool }) = self.connection.take() {
            pool.put(target, sender);
        }
    }

    fn poll_rested(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        deadline.as_mut().poll(cx)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.deadline = None;
            return Poll::Ready(match frame {
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(error)) => {
                    self.connection = None;
                    Some(Err(ResponseBodyError::Broken(error)))
                }
                None => {
                    self.end();
                    None
                }
            });
        }
        ready!(self.poll_rested(cx));
        self.connection = None;
        Poll::Ready(Some(Err(ResponseBodyError::Rested)))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("limit", &self.limit).finish_non_exhaustive()
    }
}
