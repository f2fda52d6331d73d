//! The response body of our services: whole, or a stream written by a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// A response body.
#[derive(Debug)]
pub enum Body {
    /// All bytes at once.
    Full(Option<Bytes>),
    /// Bytes as a task sends them; see [`Body::channel`].
    Stream(mpsc::Receiver<Result<Bytes, StreamAborted>>),
}

/// The writing end of [`Body::channel`]. Dropping it ends the body regularly.
#[derive(Clone, Debug)]
pub struct BodySender(mpsc::Sender<Result<Bytes, StreamAborted>>);

/// The reader is gone: the client closed the connection or reset its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader of the body is gone")]
pub struct BodyClosed;

/// The writer gave up: the connection is cut so that a client cannot take the part for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the writer of the body gave up")]
pub struct StreamAborted;

impl Body {
    /// A body without bytes.
    pub const fn empty() -> Self {
        Self::Full(None)
    }

    /// A body of all the bytes given.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// A body written piece by piece; at most `pieces` wait for the client before `send` waits too.
    pub fn channel(pieces: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(pieces.max(1));
        (BodySender(sender), Self::Stream(receiver))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl BodySender {
    /// Sends one piece; waits while the client is slow.
    ///
    /// # Errors
    /// [`BodyClosed`] when nobody reads any more.
    pub async fn send(&self, piece: Bytes) -> Result<(), BodyClosed> {
        self.0.send(Ok(piece)).await.map_err(|_closed| BodyClosed)
    }

    /// Cuts the body short so that the client sees an error.
    pub async fn abort(self) {
        // A client that is gone needs no error.
        let _gone = self.0.send(Err(StreamAborted)).await.is_err();
    }

    /// Waits until nobody reads any more: the client cancelled.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = StreamAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamAborted>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => {
                receiver.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(Some(bytes)) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Full(None) => SizeHint::with_exact(0),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_full_body_is_its_bytes() {
        let body = Body::full("abc");
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(http_body::Body::is_end_stream(&Body::empty()));
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_sender() {
        let (sender, body) = Body::channel(4);
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        sender.send(Bytes::from_static(b"b")).await.unwrap();
        drop(sender);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ab");
    }

    #[tokio::test]
    async fn an_aborted_stream_is_an_error() {
        let (sender, body) = Body::channel(1);
        sender.abort().await;
        assert_eq!(body.collect().await.unwrap_err(), StreamAborted);
    }

    #[tokio::test]
    async fn a_dropped_body_closes_its_sender() {
        let (sender, body) = Body::channel(1);
        drop(body);
        sender.closed().await;
        assert_eq!(sender.send(Bytes::new()).await, Err(BodyClosed));
    }
}
