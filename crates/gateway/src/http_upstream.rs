//! An MCP server reached over Streamable HTTP.
//!
//! Implements the client's side of MCP 2026-07-28 and 2025-11-25, Streamable HTTP, as far as a
//! relay needs it: POST, the GET stream and DELETE. Response headers are read for status, media
//! type, coding and session and then forgotten; none is passed on.
//!
//! Not here: redirects (a redirect is a failure), retries, compressed answers. Whether it is HTTP/2 is
//! the client's matter.

use std::time::Duration;

use attorn_mcp::Revision;
use attorn_mcp::sse::{Parser, SseFault};
use attorn_net::{Client, ResponseBody, ResponseBodyError, SendError};
use attorn_planted::{Bug, is_planted};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::media::{self, Media};
use crate::record::Recorded;
use crate::upstream::{Messages, Outgoing, Reply, UpstreamFailure};

/// A server's URL and the client that reaches it.
#[derive(Debug)]
pub(crate) struct HttpUpstream {
    url: Uri,
    client: Client,
    answer_within: Duration,
    idle_within: Duration,
}

impl HttpUpstream {
    pub(crate) fn new(
        url: Uri,
        client: Client,
        answer_within: Duration,
        idle_within: Duration,
    ) -> Self {
        Self { url, client, answer_within, idle_within }
    }

    /// POSTs one message. `session` is the upstream's own identifier.
    pub(crate) async fn call<P>(
        &self,
        _recorded: &Recorded<P>,
        session: Option<&HeaderValue>,
        outgoing: Outgoing,
    ) -> Result<Reply, UpstreamFailure> {
        let is_request = outgoing.id.is_some();
        let idle_within = (!outgoing.may_rest).then_some(self.idle_within);
        let response = self.post(session, Some(outgoing.revision), outgoing).await?;
        // MCP 2025-11-25, Session Management: 404 means that the session ended.
        if response.status() == StatusCode::NOT_FOUND && session.is_some() {
            return Err(UpstreamFailure::SessionGone);
        }
        self.read(response, is_request, idle_within).await
    }

    /// POSTs an `initialize` request; the result names the session if the upstream gave one.
    pub(crate) async fn open<P>(
        &self,
        _recorded: &Recorded<P>,
        outgoing: Outgoing,
    ) -> Result<(Option<HeaderValue>, Reply), UpstreamFailure> {
        // Before `initialize` is answered no version is agreed, so no version header is sent.
        let response = self.post(None, None, outgoing).await?;
        let id = session_id(response.headers())?;
        Ok((id, self.read(response, true, Some(self.idle_within)).await?))
    }

    /// Opens the stream of the server's own messages.
    pub(crate) async fn listen<P>(
        &self,
        _recorded: &Recorded<P>,
        session: Option<&HeaderValue>,
        revision: Revision,
    ) -> Result<Messages, UpstreamFailure> {
        let mut request = self.request(Method::GET, session, Some(revision), Bytes::new());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK if media::declared(response.headers()) == Some(Media::EventStream) => {
                // A stream of its own messages may rest as long as both sides want it.
                Ok(Messages::Sse(Box::new(SseMessages::new(response.into_body(), None))))
            }
            StatusCode::OK => Err(UpstreamFailure::MediaType),
            StatusCode::NOT_FOUND if session.is_some() => Err(UpstreamFailure::SessionGone),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
                Err(UpstreamFailure::NoStream)
            }
            other => Err(UpstreamFailure::Status(other)),
        }
    }

    /// Ends the upstream's session. A server that has no way to do that keeps it until it expires.
    pub(crate) async fn close<P>(
        &self,
        _recorded: &Recorded<P>,
        session: Option<&HeaderValue>,
        revision: Revision,
    ) -> Result<(), UpstreamFailure> {
        if session.is_none() {
            return Ok(());
        }
        let request = self.request(Method::DELETE, session, Some(revision), Bytes::new());
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            other => Err(UpstreamFailure::Status(other)),
        }
    }

    async fn post(
        &self,
        session: Option<&HeaderValue>,
        revision: Option<Revision>,
        outgoing: Outgoing,
    ) -> Result<Response<ResponseBody>, UpstreamFailure> {
        let mut request = self.request(Method::POST, session, revision, outgoing.message);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        insert_text(headers, TRACEPARENT, Some(&outgoing.traceparent));
        insert_text(headers, TRACESTATE, outgoing.tracestate.as_deref());
        for (name, value) in outgoing.mirrored {
            headers.insert(name, value);
        }
        self.send(request).await
    }

    fn request(
        &self,
        method: Method,
        session: Option<&HeaderValue>,
        revision: Option<Revision>,
        body: Bytes,
    ) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        // What cannot be read cannot be filtered.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(revision) = revision {
            let value = HeaderValue::from_static(revision.as_str());
            headers.insert(MCP_PROTOCOL_VERSION, value);
        }
        if let Some(session) = session {
            headers.insert(MCP_SESSION_ID, session.clone());
        }
        request
    }

    async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, UpstreamFailure> {
        let response = self.client.send_within(request, self.answer_within).await;
        let response = response.map_err(|error| {
            tracing::warn!(url = %self.url, %error, "the upstream gave no answer");
            match error {
                SendError::HeadTimeout => UpstreamFailure::Timeout,
                SendError::Exchange(_) => UpstreamFailure::Interrupted,
                SendError::AddressRefused
                | SendError::Connect(_)
                | SendError::ConnectTimeout
                | SendError::Resolve(_)
                | SendError::Url(_) => UpstreamFailure::Unreachable,
            }
        })?;
        if media::is_encoded(response.headers()) {
            return Err(UpstreamFailure::ContentEncoding);
        }
        Ok(response)
    }

    /// Sorts an answer by status and media type. Every combination not named here is a failure.
    async fn read(
        &self,
        response: Response<ResponseBody>,
        is_request: bool,
        idle_within: Option<Duration>,
    ) -> Result<Reply, UpstreamFailure> {
        let status = response.status();
        if !is_request && status.is_success() {
            return Ok(Reply::Accepted);
        }
        let media = media::declared(response.headers());
        let unread = is_planted(Bug::OtherStatusUnread) && status.is_success();
        match (if unread { StatusCode::OK } else { status }, media) {
            (StatusCode::OK, Some(Media::EventStream)) => {
                let messages = SseMessages::new(response.into_body(), idle_within);
                Ok(Reply::Stream(Messages::Sse(Box::new(messages))))
            }
            // MCP 2026-07-28, Streamable HTTP: errors come with 400 and 404.
            (
                StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND,
                Some(Media::Json),
            ) => {
                let body = response.into_body().bytes(MESSAGE_BYTES_MAX);
                let message = tokio::time::timeout(self.idle_within, body)
                    .await
                    .map_err(|_late| UpstreamFailure::Timeout)?
                    .map_err(|error| body_failure(&error))?;
                Ok(Reply::Message { status, message })
            }
            (StatusCode::OK, None) => Err(UpstreamFailure::MediaType),
            (other, _) => Err(UpstreamFailure::Status(other)),
        }
    }
}

/// The upstream's session identifier (MCP 2025-11-25, Session Management: visible ASCII only).
fn session_id(headers: &HeaderMap) -> Result<Option<HeaderValue>, UpstreamFailure> {
    let mut values = headers.get_all(MCP_SESSION_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let usable = values.next().is_none()
        && (1..=1024).contains(&value.len())
        && value.as_bytes().iter().all(u8::is_ascii_graphic);
    if usable { Ok(Some(value.clone())) } else { Err(UpstreamFailure::Protocol) }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

fn body_failure(error: &ResponseBodyError) -> UpstreamFailure {
    match error {
        ResponseBodyError::Broken(_) | ResponseBodyError::Rested => UpstreamFailure::Interrupted,
        ResponseBodyError::TooLong { .. } => UpstreamFailure::TooLong,
    }
}

/// Messages of an event stream, with a bound on each. Not here: resumption; identifiers and
/// reconnection times of the upstream's events are dropped.
#[derive(Debug)]
pub(crate) struct SseMessages {
    body: ResponseBody,
    parser: Parser,
    idle_within: Option<Duration>,
}

impl SseMessages {
    fn new(body: ResponseBody, idle_within: Option<Duration>) -> Self {
        Self { body, parser: Parser::new(MESSAGE_BYTES_MAX), idle_within }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamFailure> {
        loop {
            while let Some(event) = self.parser.next_event().map_err(sse_failure)? {
                // MCP messages are `message` events; an event without data only names itself.
                if !event.data.is_empty() && matches!(event.kind.as_str(), "" | "message") {
                    return Ok(Some(Bytes::from(event.data)));
                }
            }
            let frame = match self.idle_within {
                Some(idle) => tokio::time::timeout(idle, self.body.frame())
                    .await
                    .map_err(|_late| UpstreamFailure::Interrupted)?,
                None => self.body.frame().await,
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(body_failure(&error)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.parser.push(&piece);
                    }
                }
            }
        }
    }
}

fn sse_failure(fault: SseFault) -> UpstreamFailure {
    match fault {
        SseFault::Encoding => UpstreamFailure::Protocol,
        SseFault::EventTooLarge { .. } => UpstreamFailure::TooLong,
    }
}

/// Bytes of the largest message an upstream may send: what the strict parser takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
