//! Bodies in, answers out.

use std::time::Duration;

use attorn_net::{Body, Peer, SEEN_CERTIFICATE};
use bytes::{Bytes, BytesMut};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt;

use crate::shared::Shared;

/// A request body that is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRefusal {
    /// The connection broke or rested, or the framing is wrong.
    Broken,
    /// It is longer than its endpoint takes.
    TooLong,
}

/// Reads a whole body of at most `bytes_max`, as long as it comes in time.
pub(crate) async fn read_body<B>(body: B, bytes_max: usize) -> Result<Bytes, BodyRefusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    read_within(body, bytes_max, BODY_TIME_MAX).await
}

/// Anybody can begin a request: one that never ends must not hold its connection for ever.
async fn read_within<B>(body: B, bytes_max: usize, time: Duration) -> Result<Bytes, BodyRefusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let read = tokio::time::timeout(time, read_whole(body, bytes_max));
    read.await.unwrap_or(Err(BodyRefusal::Broken))
}

async fn read_whole<B>(mut body: B, bytes_max: usize) -> Result<Bytes, BodyRefusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| BodyRefusal::Broken)?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > bytes_max {
            return Err(BodyRefusal::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A JSON answer nobody may keep: RFC 6749 section 5.1 asks for `no-store` wherever tokens are.
pub(crate) fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    answer(status, HeaderValue::from_static("application/json"), Body::full(body))
}

/// A JSON answer that may be kept for a short time: metadata and public keys.
pub(crate) fn public_json(body: impl Into<Bytes>) -> Response<Body> {
    let mut answer = json_answer(StatusCode::OK, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    answer
}

/// Whether this process can do its work: without a journal it can do none.
pub(crate) fn health(shared: &Shared, head: &Parts) -> Response<Body> {
    let mut answer = if shared.journal.has_failed() {
        json_answer(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"journal failed"}"#)
    } else {
        json_answer(StatusCode::OK, r#"{"status":"ok"}"#)
    };
    let peer = head.extensions.get::<Peer>();
    answer.headers_mut().extend(peer.map(|peer| (SEEN_CERTIFICATE, peer.seen_certificate())));
    answer
}

/// Whether it should be asked: every check of the process, told as words of ours.
pub(crate) fn readiness(shared: &Shared) -> Response<Body> {
    let (status, body) = shared.telemetry.health.readiness();
    json_answer(status, body)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// RFC 9110 section 15.5.6: says which method it would be.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Sets a header whose value we made; a value that HTTP cannot carry is left out.
pub(crate) fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().append(name, value);
    }
}

fn answer(status: StatusCode, media_type: HeaderValue, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    // Fetch Standard, section "X-Content-Type-Options": what is JSON holds words of others, and is
    // nothing else.
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Enough for the longest body over a slow line.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// RFC 9449 section 8: where a server sends its nonce.
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// RFC 9449 section 4.1: where a client sends its proof.
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let read = |bytes_max| read_body(Body::full("abcd"), bytes_max);
        assert_eq!(read(4).await.unwrap(), "abcd");
        assert_eq!(read(3).await, Err(BodyRefusal::TooLong));
    }

    #[tokio::test]
    async fn a_broken_body_is_no_body() {
        let (sender, body) = Body::channel(2);
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        sender.abort().await;
        assert_eq!(read_body(body, 10).await, Err(BodyRefusal::Broken));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let (sender, body) = Body::channel(2);
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        assert_eq!(read_within(body, 10, Duration::ZERO).await, Err(BodyRefusal::Broken));
        drop(sender);
    }

    #[test]
    fn answers_are_not_kept_unless_public() {
        assert_eq!(json_answer(StatusCode::OK, "{}").headers()[CACHE_CONTROL], "no-store");
        assert_eq!(empty(StatusCode::OK).headers()[CACHE_CONTROL], "no-store");
        assert_eq!(public_json("{}").headers()[CACHE_CONTROL], "public, max-age=60");
        assert_eq!(public_json("{}").headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(method_not_allowed("POST").headers()[ALLOW], "POST");
    }
}
