//! The server's end of a stdio client: sessions, streams and eras on top of [`Connector`].
//!
//! Implemented: modern requests with mirror headers; for 2025-03-26 to 2025-11-25 the
//! `Mcp-Session-Id` and version headers, a session opened again when the server forgot it, and
//! the end of the session told with DELETE.
//! Not implemented: the HTTP+SSE transport of 2024-11-05, JSON-RPC batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use attorn_json::{Document, Limits, Value};
use attorn_net::{ResponseBody, SendError};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::authorized::CallError;
use crate::connector::{ANSWER_TIMEOUT, Connector, Era};
use crate::message::{Kind, Outgoing};
use crate::mirror::Declarations;

/// One server as one client uses it.
#[derive(Debug)]
pub(crate) struct Upstream {
    connector: Connector,
    pub(crate) declarations: Declarations,
    session: Mutex<Option<Session>>,
    // Held while a forgotten session is opened again, so that it is opened once.
    reopening: tokio::sync::Mutex<()>,
    modern_seen: AtomicBool,
}

/// What an `initialize` exchange of an older revision settled.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: Option<HeaderValue>,
    version: HeaderValue,
    initialize: Bytes,
    /// Counts the sessions of this client, to tell a forgotten one from its successor.
    pub(crate) number: u64,
}

impl Upstream {
    pub(crate) fn new(connector: Connector) -> Self {
        let modern = match connector.era {
            Era::Modern => true,
            Era::Unknown => false,
        };
        Self {
            connector,
            declarations: Declarations::default(),
            session: Mutex::new(None),
            reopening: tokio::sync::Mutex::new(()),
            modern_seen: AtomicBool::new(modern),
        }
    }

    /// Sends one message of the client.
    pub(crate) async fn post(
        &self,
        message: &Outgoing,
    ) -> Result<Response<ResponseBody>, CallError> {
        let mut headers = self.session_headers();
        if let Some(version) = &message.modern {
            headers = HeaderMap::new();
            self.declarations.mirror(message, version, &mut headers);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, both);
        self.send(Method::POST, &headers, message.body.clone(), limit(message)).await
    }

    /// Opens the stream of an older revision on which the server speaks by itself, or the rest of
    /// a broken one.
    pub(crate) async fn stream(
        &self,
        last_event_id: Option<&str>,
    ) -> Result<Response<ResponseBody>, CallError> {
        let mut headers = self.session_headers();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("last-event-id", id);
        }
        self.send(Method::GET, &headers, Bytes::new(), ANSWER_TIMEOUT).await
    }

    /// MCP 2025-11-25, Transports, Session Management: a client that leaves should say so.
    pub(crate) async fn close(&self) {
        if self.session().is_some_and(|session| session.id.is_some()) {
            let headers = self.session_headers();
            // The server may not answer, or not allow it: either way the client is gone.
            drop(self.send(Method::DELETE, &headers, Bytes::new(), CLOSE_TIMEOUT).await);
        }
    }

    /// Keeps what an `initialize` response settled.
    pub(crate) fn opened(&self, request: &Outgoing, headers: &HeaderMap, response: &Document<'_>) {
        let version = response.value().member("result").and_then(|r| r.member("protocolVersion"));
        let version = version.and_then(Value::string);
        let Some(version) = version.and_then(|text| HeaderValue::from_str(&text).ok()) else {
            return;
        };
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = Some(Session {
            id: headers.get("mcp-session-id").cloned(),
            version,
            initialize: request.body.clone(),
            number: session.as_ref().map_or(0, |before| before.number).saturating_add(1),
        });
    }

    /// Opens a session again that the server has forgotten: MCP 2025-11-25, Session Management.
    /// Returns whether there is a newer session than `forgotten` now.
    pub(crate) async fn reopen(&self, forgotten: &Session) -> Result<bool, CallError> {
        let _alone = self.reopening.lock().await;
        if self.session().is_none_or(|session| session.number != forgotten.number) {
            return Ok(true);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, both);
        let body = forgotten.initialize.clone();
        let response = self.send(Method::POST, &headers, body.clone(), HANDSHAKE_TIMEOUT).await?;
        if !response.status().is_success() {
            return Ok(false);
        }
        let (head, body_in) = response.into_parts();
        let Some(text) = crate::relay::first_response(&head.headers, body_in).await else {
            return Ok(false);
        };
        let Ok(document) = attorn_json::parse(text.as_bytes(), &Limits::MESSAGE) else {
            return Ok(false);
        };
        let Ok(request) = crate::message::read(&body) else { return Ok(false) };
        self.opened(&request, &head.headers, &document);
        let mut headers = headers;
        headers.extend(self.session_headers());
        let initialized = Bytes::from_static(INITIALIZED);
        let accepted = self.send(Method::POST, &headers, initialized, HANDSHAKE_TIMEOUT).await?;
        Ok(accepted.status().is_success())
    }

    pub(crate) fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server is known to be modern. Once known it stays known.
    pub(crate) fn is_modern(&self) -> bool {
        self.modern_seen.load(Ordering::Relaxed)
    }

    /// An answer only a modern server gives was seen.
    pub(crate) fn saw_modern(&self) {
        self.modern_seen.store(true, Ordering::Relaxed);
    }

    fn session_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(session) = self.session() {
            headers.insert("mcp-protocol-version", session.version);
            if let Some(id) = session.id {
                headers.insert("mcp-session-id", id);
            }
        }
        headers
    }

    async fn send(
        &self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, CallError> {
        let mut pauses = CONNECT_PAUSES.iter();
        loop {
            let sent = self.connector.send(method.clone(), headers, body.clone(), limit).await;
            match sent {
                // Without a connection nothing was sent, so nothing can be done twice.
                Err(CallError::Send(SendError::Connect(error))) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(CallError::Send(SendError::Connect(error))),
                },
                sent => return sent,
            }
        }
    }
}

/// Only requests take long; whatever the client has to wait for before it goes on does not.
fn limit(message: &Outgoing) -> Duration {
    match &message.kind {
        Kind::Request { method, .. } if method != "initialize" => ANSWER_TIMEOUT,
        Kind::Notification { .. } | Kind::Request { .. } | Kind::Response => HANDSHAKE_TIMEOUT,
    }
}

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1)];
