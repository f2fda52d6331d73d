//! The body of a request that may be answered before it was read.
//!
//! RFC 9112 section 9.3: what is left of a body has to be read before the next request on the connection, or
//! the connection ends, and then the answer says so (section 9.6). hyper reads what is there already. What
//! arrives a moment later it does not wait for, and it may have said by then that the connection stays: a
//! client that goes on there is left without an answer. So we wait for the rest of a small body, or say `close`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A body as a service gets it. What it leaves unread goes back to the listener.
#[derive(Debug)]
pub struct ReceivedBody {
    body: Option<Incoming>,
    rest: Arc<Mutex<Option<Incoming>>>,
}

/// What a service left of a body, over HTTP/1.1. Streams of HTTP/2 end one by one.
#[derive(Debug)]
pub(super) struct Rest(Option<Arc<Mutex<Option<Incoming>>>>);

impl ReceivedBody {
    /// Wraps the body of a request.
    pub(super) fn wrapped(request: Request<Incoming>) -> (Request<Self>, Rest) {
        let waits = request.version() < Version::HTTP_2 && !is_asked_for(request.headers());
        let rest: Arc<Mutex<Option<Incoming>>> = Arc::default();
        let kept = waits.then(|| Arc::clone(&rest));
        (request.map(|body| Self { body: Some(body), rest }), Rest(kept))
    }
}

/// RFC 9110 section 10.1.1: the client sends the body once it is read, and nobody wants it.
fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}

impl Rest {
    /// Reads what is left, or has the answer say that the connection ends.
    pub(super) async fn settled<B>(
        self,
        answer: Result<Response<B>, Infallible>,
    ) -> Result<Response<B>, Infallible> {
        let mut answer = answer?;
        let rest =
            self.0.and_then(|rest| rest.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(rest) = rest
            && tokio::time::timeout(REST_WITHIN, read(rest)).await != Ok(true)
        {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// Whether the body came to its end within our bounds. Nothing of it is kept.
async fn read(mut rest: Incoming) -> bool {
    if rest.size_hint().lower() > REST_BYTES_MAX {
        return false;
    }
    let mut bytes = 0_u64;
    while let Some(frame) = rest.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if bytes > REST_BYTES_MAX {
            return false;
        }
    }
    true
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

/// As much as most messages have. Who sends more makes a new connection.
const REST_BYTES_MAX: u64 = 64 << 10;
/// A client that has begun to send is done long before.
const REST_WITHIN: Duration = Duration::from_secs(1);
