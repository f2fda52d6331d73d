//! One request of a stdio client, carried to its answer.
//!
//! Implemented: JSON and event-stream answers relayed as they come, resumption of broken streams
//! for older revisions, errors under the client's own id, one new listing when mirror headers are
//! out of date. Messages that belong to no request of this client are dropped.

use attorn_json::{Document, Limits, Value};
use attorn_mcp::RequestId;
use attorn_net::ResponseBody;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};

use crate::events::Events;
use crate::fault::Fault;
use crate::lines::Lines;
use crate::message::{Kind, Outgoing, one_line};
use crate::relist;
use crate::upstream::Upstream;

/// A request with the id its answer will carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) message: &'a Outgoing,
    pub(crate) id: &'a RequestId<'static>,
    pub(crate) id_text: &'a str,
    pub(crate) method: &'a str,
}

impl<'a> Asked<'a> {
    /// The request in `message`, if it is one.
    pub(crate) fn of(message: &'a Outgoing) -> Option<Self> {
        match &message.kind {
            Kind::Request { id, id_text, method } => Some(Self { message, id, id_text, method }),
            Kind::Notification { .. } | Kind::Response => None,
        }
    }
}

/// Sends the request and relays everything up to its answer, which is an error if need be.
pub(crate) async fn answer(upstream: &Upstream, asked: &Asked<'_>, lines: &Lines) {
    if let Err(fault) = exchange(upstream, asked, lines).await {
        tracing::debug!(method = asked.method, ?fault, "no answer to relay");
        lines.send(fault.to_line(Some(asked.id_text))).await;
    }
}

async fn exchange(upstream: &Upstream, asked: &Asked<'_>, lines: &Lines) -> Result<(), Fault> {
    let legacy = asked.message.modern.is_none();
    if legacy && asked.method == "initialize" && upstream.is_modern() {
        return Err(Fault::Downgrade);
    }
    let session = upstream.session();
    let mut response = upstream.post(asked.message).await?;
    // MCP 2025-11-25, Session Management: 404 to a session id means that it is forgotten.
    if legacy
        && response.status() == StatusCode::NOT_FOUND
        && let Some(forgotten) = session.filter(|session| session.id.is_some())
        && upstream.reopen(&forgotten).await?
    {
        response = upstream.post(asked.message).await?;
    }
    if response.status() == StatusCode::BAD_REQUEST && relist::may_help(asked) {
        let (body, error) = error_of(response).await;
        if body != Some(HEADER_MISMATCH) || !relist::declarations_changed(upstream, asked).await {
            return refused(upstream, asked, StatusCode::BAD_REQUEST, error, lines).await;
        }
        response = upstream.post(asked.message).await?;
    }
    if !response.status().is_success() {
        let status = response.status();
        let (_, error) = error_of(response).await;
        return refused(upstream, asked, status, error, lines).await;
    }
    succeeded(upstream, asked, response, lines).await
}

async fn succeeded(
    upstream: &Upstream,
    asked: &Asked<'_>,
    response: Response<ResponseBody>,
    lines: &Lines,
) -> Result<(), Fault> {
    let (head, body) = response.into_parts();
    if is_event_stream(&head.headers) {
        return stream(upstream, asked, &head.headers, body, lines).await;
    }
    let text = body.bytes(Limits::MESSAGE.bytes_max).await.map_err(|_| Fault::StreamEnded)?;
    let document = attorn_json::parse(&text, &Limits::MESSAGE).map_err(|_| Fault::Answer)?;
    if !answers(document.value(), asked.id) {
        return Err(Fault::Answer);
    }
    finish(upstream, asked, &head.headers, &document, lines).await;
    Ok(())
}

async fn stream(
    upstream: &Upstream,
    asked: &Asked<'_>,
    headers: &HeaderMap,
    body: ResponseBody,
    lines: &Lines,
) -> Result<(), Fault> {
    let legacy = asked.message.modern.is_none();
    let mut events = Events::new(body);
    let mut resumptions = 0;
    loop {
        while let Some(event) = events.next().await {
            let Ok(document) = attorn_json::parse(event.data.as_bytes(), &Limits::MESSAGE) else {
                continue;
            };
            if answers(document.value(), asked.id) {
                finish(upstream, asked, headers, &document, lines).await;
                return Ok(());
            }
            relay_other(&document, legacy, lines).await;
        }
        // MCP 2025-11-25, Transports, Resumability: with GET and the last event id. Modern streams
        // are not resumable.
        let Some(last) = events.last_id().filter(|_| legacy && resumptions < RESUMPTIONS_MAX)
        else {
            return Err(Fault::StreamEnded);
        };
        resumptions += 1;
        tokio::time::sleep(events.pause()).await;
        let response = upstream.stream(Some(last)).await?;
        if !response.status().is_success() || !is_event_stream(response.headers()) {
            return Err(Fault::StreamEnded);
        }
        events = Events::new(response.into_body());
    }
}

/// Notes what an answer settles, then relays it.
async fn finish(
    upstream: &Upstream,
    asked: &Asked<'_>,
    headers: &HeaderMap,
    document: &Document<'_>,
    lines: &Lines,
) {
    let modern = asked.message.modern.is_some();
    if modern && only_modern(document.value()) {
        upstream.saw_modern();
    }
    let mut rewritten = None;
    match asked.method {
        "initialize" if !modern => upstream.opened(asked.message, headers, document),
        "tools/list" if modern => rewritten = upstream.declarations.learn(document),
        _ => {}
    }
    lines.send(rewritten.unwrap_or_else(|| one_line(document))).await;
}

/// Relays a message that is no answer: notifications always, requests of older revisions.
pub(crate) async fn relay_other(document: &Document<'_>, legacy: bool, lines: &Lines) {
    let value = document.value();
    let is_request = value.member("id").is_some();
    if value.member("method").is_some() && (legacy || !is_request) {
        lines.send(one_line(document)).await;
    }
}

/// Turns an HTTP error into an error response under the client's id.
async fn refused(
    upstream: &Upstream,
    asked: &Asked<'_>,
    status: StatusCode,
    error: Option<String>,
    lines: &Lines,
) -> Result<(), Fault> {
    let Some(error) = error else {
        // MCP 2026-07-28, Streamable HTTP, Backward Compatibility: a bare 4xx would mean an older
        // server. From one known to be modern it means a stranger on the way.
        if asked.message.modern.is_some() && upstream.is_modern() {
            tracing::warn!(%status, "an answer without a message is not taken as an older server");
        }
        return Err(Fault::Status(status));
    };
    let line = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, asked.id_text);
    if attorn_json::parse(line.as_bytes(), &Limits::MESSAGE)
        .is_ok_and(|document| only_modern(document.value()))
    {
        upstream.saw_modern();
    }
    lines.send(line).await;
    Ok(())
}

/// Whether only a modern server answers like this. An older one may well answer a modern request,
/// with an error or under its own rules: MCP 2026-07-28, Versioning, Compatibility Matrix.
fn only_modern(response: Value<'_>) -> bool {
    let result = response.member("result");
    let marked = result.is_some_and(|result| result.member("resultType").is_some());
    let error = response.member("error").and_then(|error| error.member("code"));
    let code = error.and_then(Value::number);
    marked || code.is_some_and(|code| MODERN_CODES.contains(&code))
}

/// The JSON-RPC error in a response body: its code and its text in one line.
async fn error_of(response: Response<ResponseBody>) -> (Option<i64>, Option<String>) {
    let Ok(text) = response.into_body().bytes(ERROR_BYTES_MAX).await else { return (None, None) };
    let Ok(document) = attorn_json::parse(&text, &Limits::MESSAGE) else { return (None, None) };
    let Some(error) = document.value().member("error").filter(|error| error.is_object()) else {
        return (None, None);
    };
    let code = error.member("code").and_then(Value::number).and_then(|code| code.parse().ok());
    let well_formed =
        code.is_some() && error.member("message").is_some_and(|m| m.string().is_some());
    let line = error.text().chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    (code, well_formed.then_some(line))
}

/// The first response in a body, whatever its id.
pub(crate) async fn first_response(headers: &HeaderMap, body: ResponseBody) -> Option<String> {
    if !is_event_stream(headers) {
        let text = body.bytes(Limits::MESSAGE.bytes_max).await.ok()?;
        return String::from_utf8(text.to_vec()).ok();
    }
    let mut events = Events::new(body);
    while let Some(event) = events.next().await {
        let document = attorn_json::parse(event.data.as_bytes(), &Limits::MESSAGE).ok()?;
        if document.value().member("method").is_none() {
            return Some(event.data);
        }
    }
    None
}

/// Whether this is the response to the request with this id.
fn answers(value: Value<'_>, id: &RequestId<'static>) -> bool {
    value.member("method").is_none()
        && value.member("id").and_then(RequestId::parse).is_some_and(|found| found == *id)
        && (value.member("result").is_some() != value.member("error").is_some())
}

pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = value.split(';').next().unwrap_or("").trim();
    media_type.eq_ignore_ascii_case("text/event-stream")
}

/// MCP 2026-07-28, Streamable HTTP, Server Validation.
const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28, Base Protocol, Error Codes: header mismatch, capability, version.
const MODERN_CODES: [&str; 3] = ["-32020", "-32021", "-32022"];
const ERROR_BYTES_MAX: usize = 64 * 1024;
const RESUMPTIONS_MAX: u32 = 20;
