//! Bodies on their way: counted, bounded, and followed to their end.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use attorn_net::Body as OwnBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::answer::Ended;

type Failed = Box<dyn Error + Send + Sync>;

/// The body of a request as the API gets it: at most so many bytes, and no trailers, since a header
/// in a trailer is one that some readers see and some do not.
pub struct GuardedBody<B> {
    body: Pin<Box<B>>,
    bytes_max: u64,
    sent: Arc<Sent>,
}

/// What was sent of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    bytes: AtomicU64,
    fault: AtomicU8,
    /// Nothing more of it is to come.
    whole: AtomicBool,
}

/// Why a request's body was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefusal {
    /// It broke off.
    #[error("the body broke off")]
    Broken,
    /// It is longer than is taken.
    #[error("the body is too long")]
    TooLong,
    /// It has trailers.
    #[error("the body has trailers")]
    Trailers,
}

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of it was sent.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }

    /// Why the body was cut off, if it was.
    pub(crate) fn fault(&self) -> Option<BodyRefusal> {
        let fault = self.fault.load(Ordering::Relaxed);
        FAULTS.into_iter().find(|(number, _)| *number == fault).map(|(_, refusal)| refusal)
    }

    fn cut(&self, why: BodyRefusal) -> BodyRefusal {
        if let Some((number, _)) = FAULTS.into_iter().find(|(_, refusal)| *refusal == why) {
            self.fault.store(number, Ordering::Relaxed);
        }
        why
    }
}

const FAULTS: [(u8, BodyRefusal); 3] =
    [(1, BodyRefusal::Broken), (2, BodyRefusal::TooLong), (3, BodyRefusal::Trailers)];

impl<B: Body> GuardedBody<B> {
    pub(crate) fn new(body: B, bytes_max: u64) -> (Self, Arc<Sent>) {
        let sent = Arc::new(Sent::default());
        sent.whole.store(body.is_end_stream(), Ordering::Relaxed);
        (Self { body: Box::pin(body), bytes_max, sent: Arc::clone(&sent) }, sent)
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = BodyRefusal;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyRefusal>>> {
        let Self { body, bytes_max, sent } = self.get_mut();
        let polled = body.as_mut().poll_frame(cx);
        if polled.is_ready() && (body.is_end_stream() || matches!(polled, Poll::Ready(None))) {
            sent.whole.store(true, Ordering::Relaxed);
        }
        polled.map(|frame| {
            Some(match frame? {
                Err(_broken) => Err(sent.cut(BodyRefusal::Broken)),
                Ok(frame) => match frame.into_data() {
                    Err(_trailers) => Err(sent.cut(BodyRefusal::Trailers)),
                    Ok(piece) => {
                        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                        let all = sent.bytes().saturating_add(bytes);
                        if all > *bytes_max {
                            Err(sent.cut(BodyRefusal::TooLong))
                        } else {
                            sent.bytes.store(all, Ordering::Relaxed);
                            Ok(Frame::data(piece))
                        }
                    }
                },
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// The body of an answer: the guard's own, or the API's, at whose end the outcome is recorded.
pub struct AnswerBody<B>(Kind<B>)
where
    B: Body;

enum Kind<B>
where
    B: Body,
{
    Own(OwnBody),
    Passed(Passed<B>),
}

struct Passed<B>
where
    B: Body,
{
    body: Pin<Box<B>>,
    bytes: u64,
    // Invariant: `Some` until the outcome was recorded.
    ended: Option<Box<Ended>>,
}

impl<B> AnswerBody<B>
where
    B: Body,
{
    pub(crate) const fn own(body: OwnBody) -> Self {
        Self(Kind::Own(body))
    }

    pub(crate) fn passed(body: B, ended: Ended) -> Self {
        let mut passed = Passed { body: Box::pin(body), bytes: 0, ended: Some(Box::new(ended)) };
        if passed.body.is_end_stream() {
            passed.end(Some(true));
        }
        Self(Kind::Passed(passed))
    }
}

impl<B> Passed<B>
where
    B: Body,
{
    /// Whole, broken by the API, or given up by who reads it.
    fn end(&mut self, whole: Option<bool>) {
        if let Some(ended) = self.ended.take() {
            ended.record(whole, self.bytes);
        }
    }
}

impl<B> Drop for Passed<B>
where
    B: Body,
{
    fn drop(&mut self) {
        // Who knows the length, or asked for none, does not wait for the end.
        let is_whole = self.body.is_end_stream() || self.body.size_hint().exact() == Some(0);
        self.end(is_whole.then_some(true));
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Failed>,
{
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let passed = match &mut self.get_mut().0 {
            Kind::Own(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                return frame.map(|frame| frame.map(|one| one.map_err(Into::into)));
            }
            Kind::Passed(passed) => passed,
        };
        passed.body.as_mut().poll_frame(cx).map(|frame| match frame {
            None => {
                passed.end(Some(true));
                None
            }
            Some(Err(broken)) => {
                passed.end(Some(false));
                Some(Err(broken.into()))
            }
            Some(Ok(frame)) => match frame.into_data() {
                // Trailers of the API end here.
                Err(_trailers) => {
                    passed.end(Some(true));
                    None
                }
                Ok(piece) => {
                    let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    passed.bytes = passed.bytes.saturating_add(bytes);
                    Some(Ok(Frame::data(piece)))
                }
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_end_stream(),
            Kind::Passed(passed) => passed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => body.size_hint(),
            Kind::Passed(passed) => passed.body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for AnswerBody<B>
where
    B: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerBody")
    }
}
