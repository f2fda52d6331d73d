//! The MCP server behind the gateway, however it is reached.
//!
//! Invariant: nothing of the inbound request is in scope here but what [`Outgoing`] carries, and
//! that is made from the decided message. The caller's token, proof, cookies and forwarding headers
//! have no type in this module or below it.

use attorn_egress::CallId;
use attorn_mcp::{ParamHeader, Request, Revision, emit};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::mpsc;

use crate::http_upstream::{HttpUpstream, SseMessages};
use crate::record::Recorded;
use crate::stdio::{StdioSession, StdioUpstream};
use crate::trace::TraceContext;

/// An MCP server, by its transport.
#[derive(Debug)]
pub(crate) enum Upstream {
    Http(HttpUpstream),
    Stdio(StdioUpstream),
}

/// One message to an upstream, made anew from what was decided.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The JSON-RPC message.
    pub(crate) message: Bytes,
    /// Our identifier of the request; `None` for a notification or a response.
    pub(crate) id: Option<u64>,
    pub(crate) revision: Revision,
    /// `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*`, regenerated from message and approved
    /// definition. Of no use over stdio.
    pub(crate) mirrored: Vec<(HeaderName, HeaderValue)>,
    /// W3C trace context with the gateway's span.
    pub(crate) traceparent: String,
    pub(crate) tracestate: Option<String>,
    /// Whether the stream that answers may stay silent as long as it lasts.
    pub(crate) may_rest: bool,
    /// What it is to a child that has a way out.
    pub(crate) work: Work,
}

/// A child that has a way out works on one request of a client at a time: what it asks of an API
/// meanwhile belongs to that request and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Of the gateway itself, or without an end: it waits for nobody and nobody waits for it.
    Aside,
    /// A call, in whose name the server may ask.
    Call(CallId),
    /// A request of a client that is no call: nothing may be asked in its name.
    Other,
}

impl Outgoing {
    /// A message without mirror headers.
    pub(crate) fn new(
        revision: Revision,
        id: Option<u64>,
        message: Vec<u8>,
        trace: &TraceContext,
    ) -> Self {
        Self {
            message: Bytes::from(message),
            id,
            revision,
            mirrored: Vec::new(),
            traceparent: trace.traceparent(),
            tracestate: trace.tracestate().map(str::to_owned),
            may_rest: false,
            work: Work::Aside,
        }
    }

    /// The mirror headers of a client's request, made from body and approved definition.
    pub(crate) fn mirror(&mut self, request: &Request<'_>, declared: &[ParamHeader]) {
        if !self.revision.is_modern() {
            return;
        }
        let pairs = emit::headers(request, declared).into_iter();
        self.mirrored.extend(pairs.filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        }));
    }

    /// The mirror header of a request of the gateway itself.
    pub(crate) fn mirror_method(&mut self, method: &'static str) {
        if self.revision.is_modern() {
            self.mirrored.push((MCP_METHOD, HeaderValue::from_static(method)));
        }
    }
}

/// The upstream's side of a session of an older revision. Dropping it lets the upstream go.
#[derive(Debug)]
pub(crate) enum UpstreamSession {
    Http {
        /// The upstream's own `Mcp-Session-Id`, if it gave one.
        id: Option<HeaderValue>,
    },
    Stdio(StdioSession),
}

/// What an upstream answered. Nothing in it has been looked into yet.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A notification or response was taken.
    Accepted,
    /// One JSON text, with the HTTP status it came with (200 over stdio).
    Message { status: StatusCode, message: Bytes },
    /// Several messages, the last of which answers the request.
    Stream(Messages),
}

/// Messages of one stream, in order.
#[derive(Debug)]
pub(crate) enum Messages {
    Channel(mpsc::Receiver<Bytes>),
    Sse(Box<SseMessages>),
}

impl Messages {
    /// The next message, `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamFailure> {
        match self {
            Self::Channel(messages) => Ok(messages.recv().await),
            Self::Sse(messages) => messages.next().await,
        }
    }
}

impl Upstream {
    /// Sends a message and waits for the head of the answer. `session` is that of the older
    /// revisions. A call is never sent twice: once its first byte left, whatever happens is final.
    pub(crate) async fn call<P>(
        &self,
        recorded: &Recorded<P>,
        session: Option<&UpstreamSession>,
        outgoing: Outgoing,
    ) -> Result<Reply, UpstreamFailure> {
        match (self, session) {
            (Self::Http(http), Some(UpstreamSession::Http { id })) => {
                http.call(recorded, id.as_ref(), outgoing).await
            }
            (Self::Http(http), None) => http.call(recorded, None, outgoing).await,
            (Self::Stdio(stdio), Some(UpstreamSession::Stdio(session))) => {
                stdio.call(recorded, Some(session), outgoing).await
            }
            (Self::Stdio(stdio), None) => stdio.call(recorded, None, outgoing).await,
            // The server was registered anew with another transport since the session began.
            (Self::Http(_), Some(UpstreamSession::Stdio(_)))
            | (Self::Stdio(_), Some(UpstreamSession::Http { .. })) => {
                Err(UpstreamFailure::SessionGone)
            }
        }
    }

    /// Sends an `initialize` request of an older revision and opens the upstream's side of a
    /// session.
    pub(crate) async fn open<P>(
        &self,
        recorded: &Recorded<P>,
        outgoing: Outgoing,
    ) -> Result<(UpstreamSession, Reply), UpstreamFailure> {
        match self {
            Self::Http(http) => {
                let (id, reply) = http.open(recorded, outgoing).await?;
                Ok((UpstreamSession::Http { id }, reply))
            }
            Self::Stdio(stdio) => {
                let (session, reply) = stdio.open(recorded, outgoing).await?;
                Ok((UpstreamSession::Stdio(session), reply))
            }
        }
    }

    /// Opens the stream of messages that answer no request of the client (MCP 2025-11-25,
    /// Listening for Messages from the Server).
    pub(crate) async fn listen<P>(
        &self,
        recorded: &Recorded<P>,
        session: &UpstreamSession,
        revision: Revision,
    ) -> Result<Messages, UpstreamFailure> {
        match (self, session) {
            (Self::Http(http), UpstreamSession::Http { id }) => {
                http.listen(recorded, id.as_ref(), revision).await
            }
            (Self::Stdio(stdio), UpstreamSession::Stdio(session)) => {
                stdio.listen(recorded, session).await
            }
            (Self::Http(_), UpstreamSession::Stdio(_))
            | (Self::Stdio(_), UpstreamSession::Http { .. }) => Err(UpstreamFailure::SessionGone),
        }
    }

    /// Lets go of what was only needed to learn that a server speaks older revisions.
    pub(crate) fn release_shared(&self) {
        match self {
            Self::Http(_) => {}
            Self::Stdio(stdio) => stdio.release_shared(),
        }
    }

    /// Ends the upstream's side of a session.
    pub(crate) async fn close<P>(
        &self,
        recorded: &Recorded<P>,
        session: &UpstreamSession,
        revision: Revision,
    ) -> Result<(), UpstreamFailure> {
        match (self, session) {
            (Self::Http(http), UpstreamSession::Http { id }) => {
                http.close(recorded, id.as_ref(), revision).await
            }
            (Self::Stdio(_), UpstreamSession::Stdio(session)) => {
                session.close();
                Ok(())
            }
            (Self::Http(_), UpstreamSession::Stdio(_))
            | (Self::Stdio(_), UpstreamSession::Http { .. }) => Ok(()),
        }
    }
}

/// Why an upstream gave no usable answer. None of it reaches the client in the upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    #[error("the server works on something else")]
    Busy,
    #[error("the child that was to be asked is not used any more")]
    ChildGone,
    #[error("the answer is coded although `identity` was asked for")]
    ContentEncoding,
    #[error("nothing is left here to connect with")]
    Exhausted,
    #[error("the answer or one of its messages is too long")]
    TooLong,
    #[error("the answer is neither JSON nor an event stream")]
    MediaType,
    #[error("the server offers no stream of its own messages")]
    NoStream,
    #[error("the journal cannot record that the server is asked")]
    NotRecorded,
    #[error("the answer broke off or rested too long")]
    Interrupted,
    #[error("the answer is not a message that may come here")]
    Protocol,
    #[error("the server no longer knows the session")]
    SessionGone,
    #[error("the server answered with HTTP status {0}")]
    Status(StatusCode),
    #[error("no answer in time")]
    Timeout,
    #[error("the server cannot be reached")]
    Unreachable,
}

const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
