//! The body of a request: whole, or as it comes from elsewhere.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};

type Failed = Box<dyn Error + Send + Sync>;

/// A request body.
pub struct RequestBody(Kind);

enum Kind {
    Whole(Full<Bytes>),
    Streamed(Pin<Box<dyn Body<Data = Bytes, Error = Failed> + Send>>),
}

impl RequestBody {
    /// A body that is sent as it comes. When it fails, the request is cut off.
    pub fn streamed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Failed>,
    {
        Self(Kind::Streamed(Box::pin(body.map_err(Into::into))))
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(Full::new(bytes)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(whole) => {
                let never = |failed: Infallible| match failed {};
                Pin::new(whole).poll_frame(cx).map(|frame| frame.map(|one| one.map_err(never)))
            }
            Kind::Streamed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(whole) => whole.is_end_stream(),
            Kind::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(whole) => whole.size_hint(),
            Kind::Streamed(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}
