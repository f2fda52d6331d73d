//! What an upstream sends: a response, a notification, or (older revisions) a request.
//!
//! Nothing here leaves as it came: what is understood is written anew by [`emit`](crate::emit).

use std::borrow::Cow;

use attorn_json::{Document, Value};

use crate::{Method, Request, RequestId, Revision};

/// A message from an upstream server.
#[derive(Clone, Debug)]
pub enum ServerMessage<'a> {
    /// Answers one of our requests.
    Response(ServerResponse<'a>),
    /// Tells something.
    Notification(ServerNotification<'a>),
    /// Asks the client; before 2026-07-28 only.
    Request(ServerRequest<'a>),
}

/// A response; its id is one we chose.
#[derive(Clone, Debug)]
pub struct ServerResponse<'a> {
    /// Missing only in an error about an unreadable request.
    pub id: Option<RequestId<'a>>,
    /// Exactly one of result and error.
    pub outcome: Outcome<'a>,
}

impl ServerResponse<'_> {
    /// Whether this answers our request with this id.
    pub fn answers(&self, upstream_id: u64) -> bool {
        self.id.as_ref().and_then(upstream_integer) == Some(upstream_id)
    }

    /// The id as one of ours.
    pub fn upstream_id(&self) -> Option<u64> {
        self.id.as_ref().and_then(upstream_integer)
    }
}

/// The body of a response.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// An object.
    Result(Value<'a>),
    /// An error. Its text may hold anything and is for the record only.
    Error(UpstreamError<'a>),
}

/// An error an upstream answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// JSON-RPC or MCP error code.
    pub code: i64,
    /// Never shown to the client.
    pub message: Cow<'a, str>,
    /// Never shown to the client, but for what [`emit`](crate::emit) picks out.
    pub data: Option<Value<'a>>,
}

/// How a result ends its request: MCP 2026-07-28, Base Protocol, `ResultType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// Done. For `tools/call`, `is_error` tells whether the tool reports a failure.
    Complete {
        /// `isError` of a tool result.
        is_error: bool,
    },
    /// More input is wanted; the client will ask again.
    InputRequired,
}

/// Reads the kind of a result and refuses kinds the request cannot have.
///
/// # Errors
/// [`UpstreamFault::ResultKind`] or [`UpstreamFault::InputRequest`].
pub fn result_kind(
    result: Value<'_>,
    request: &Request<'_>,
    revision: Revision,
) -> Result<ResultKind, UpstreamFault> {
    let mut kind = None;
    let mut is_error = false;
    let mut input_requests = None;
    let (mut has_content, mut has_task) = (false, false);
    for (name, member) in result.members().ok_or(UpstreamFault::OutcomeShape)? {
        match name.as_ref() {
            "resultType" => kind = Some(member.string().ok_or(UpstreamFault::ResultKind)?),
            "isError" => is_error = member.boolean().ok_or(UpstreamFault::ResultKind)?,
            "inputRequests" => input_requests = Some(member),
            "content" => has_content = true,
            "task" => has_task = true,
            _ => {}
        }
    }
    match kind.as_deref() {
        // MCP 2025-11-25, Tasks: an answer that only names a task. Nobody could have asked for one,
        // because what asks for it is not passed on.
        None if has_task && !has_content => Err(UpstreamFault::ResultKind),
        // Absent means complete, also from servers of earlier revisions.
        None | Some("complete") => Ok(ResultKind::Complete { is_error }),
        Some("input_required") if revision.is_modern() && may_ask_for_input(&request.method) => {
            check_input_requests(input_requests, request)?;
            Ok(ResultKind::InputRequired)
        }
        // Unknown kinds, as those of extensions the client did not declare, are invalid.
        Some(_) => Err(UpstreamFault::ResultKind),
    }
}

/// MCP 2026-07-28, Multi Round-Trip Requests, Supported Requests.
fn may_ask_for_input(method: &Method) -> bool {
    matches!(method, Method::PromptsGet | Method::ResourcesRead | Method::ToolsCall)
}

/// MCP 2026-07-28, Multi Round-Trip Requests, Server Requirements: three kinds of request, each
/// only when the client has declared it.
fn check_input_requests(
    requests: Option<Value<'_>>,
    request: &Request<'_>,
) -> Result<(), UpstreamFault> {
    for (_, wanted) in requests.into_iter().filter_map(Value::members).flatten() {
        let method = wanted.member("method").and_then(Value::string);
        let capability = match method.as_deref() {
            Some("elicitation/create") => "elicitation",
            Some("sampling/createMessage") => "sampling",
            Some("roots/list") => "roots",
            Some(_) | None => return Err(UpstreamFault::InputRequest),
        };
        if !request.meta.declares(capability) {
            return Err(UpstreamFault::InputRequest);
        }
    }
    Ok(())
}

/// A notification an upstream sent.
#[derive(Clone, Debug)]
pub struct ServerNotification<'a> {
    /// Which one.
    pub kind: NotificationKind<'a>,
    /// `io.modelcontextprotocol/subscriptionId`, when it belongs to a listen stream.
    pub subscription_id: Option<RequestId<'a>>,
    pub(crate) params: Option<Value<'a>>,
}

/// The notifications a server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationKind<'a> {
    /// `notifications/cancelled`
    Cancelled {
        /// The request it speaks of, by our id.
        request_id: RequestId<'a>,
    },
    /// `notifications/message`
    Message,
    /// `notifications/progress`
    Progress {
        /// The token it speaks of, by our value.
        token: RequestId<'a>,
    },
    /// `notifications/prompts/list_changed`
    PromptsListChanged,
    /// `notifications/resources/list_changed`
    ResourcesListChanged,
    /// `notifications/resources/updated`
    ResourceUpdated {
        /// The resource that changed.
        uri: Cow<'a, str>,
    },
    /// `notifications/subscriptions/acknowledged`
    SubscriptionAcknowledged,
    /// `notifications/tools/list_changed`
    ToolsListChanged,
    /// Anything else: dropped.
    Unknown,
}

impl NotificationKind<'_> {
    pub(crate) fn method(&self) -> Option<&'static str> {
        match self {
            Self::Cancelled { .. } => Some("notifications/cancelled"),
            Self::Message => Some("notifications/message"),
            Self::Progress { .. } => Some("notifications/progress"),
            Self::PromptsListChanged => Some("notifications/prompts/list_changed"),
            Self::ResourcesListChanged => Some("notifications/resources/list_changed"),
            Self::ResourceUpdated { .. } => Some("notifications/resources/updated"),
            Self::SubscriptionAcknowledged => Some("notifications/subscriptions/acknowledged"),
            Self::ToolsListChanged => Some("notifications/tools/list_changed"),
            Self::Unknown => None,
        }
    }
}

/// A request an upstream of an older revision sent.
#[derive(Clone, Debug)]
pub struct ServerRequest<'a> {
    /// The upstream's id; the client sees another one.
    pub id: RequestId<'a>,
    /// What the server asks for.
    pub kind: ServerRequestKind,
    pub(crate) params: Option<Value<'a>>,
}

/// The requests an upstream of an older revision may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRequestKind {
    /// `elicitation/create`, since 2025-06-18.
    Elicitation,
    /// `ping`
    Ping,
    /// `roots/list`
    RootsList,
    /// `sampling/createMessage`
    Sampling,
    /// Anything else: answered with an error.
    Unknown,
}

impl ServerRequestKind {
    pub(crate) fn method(self) -> Option<&'static str> {
        match self {
            Self::Elicitation => Some("elicitation/create"),
            Self::Ping => Some("ping"),
            Self::RootsList => Some("roots/list"),
            Self::Sampling => Some("sampling/createMessage"),
            Self::Unknown => None,
        }
    }
}

/// Why a message of an upstream is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// Several messages in one array.
    #[error("batch")]
    Batch,
    /// The id is missing or malformed.
    #[error("malformed id")]
    IdForm,
    /// It asks for input the client did not declare.
    #[error("undeclared input request")]
    InputRequest,
    /// `jsonrpc` is not "2.0".
    #[error("unknown JSON-RPC version")]
    JsonRpcVersion,
    /// A list result has no list.
    #[error("malformed list")]
    ListShape,
    /// `method` has the wrong type.
    #[error("malformed method")]
    MethodForm,
    /// The message is no object.
    #[error("not an object")]
    NotAnObject,
    /// Both or neither of `result` and `error`, or one of the wrong type.
    #[error("malformed response")]
    OutcomeShape,
    /// `params` is missing, or misses what the notification is about.
    #[error("malformed params")]
    ParamsShape,
    /// A request where the revision has none from servers.
    #[error("request from a server")]
    RequestFromServer,
    /// The result has a kind the request cannot have.
    #[error("unexpected kind of result")]
    ResultKind,
}

/// Reads one message of an upstream.
///
/// # Errors
/// [`UpstreamFault`]; the message is dropped, and a call that waits for it fails.
pub fn parse_server_message<'a>(
    document: &Document<'a>,
    revision: Revision,
) -> Result<ServerMessage<'a>, UpstreamFault> {
    let value = document.value();
    if value.is_array() {
        return Err(UpstreamFault::Batch);
    }
    let (mut id, mut method, mut params, mut outcome) = (None, None, None, None);
    let mut version = None;
    for (name, member) in value.members().ok_or(UpstreamFault::NotAnObject)? {
        match name.as_ref() {
            "jsonrpc" => version = member.string(),
            // JSON-RPC 2.0 section 5: null when the request could not be read.
            "id" if member.is_null() => {}
            "id" => id = Some(RequestId::parse(member).ok_or(UpstreamFault::IdForm)?),
            "method" => method = Some(member.string().ok_or(UpstreamFault::MethodForm)?),
            "params" if member.is_object() => params = Some(member),
            "params" => return Err(UpstreamFault::ParamsShape),
            "result" | "error" if outcome.is_some() => return Err(UpstreamFault::OutcomeShape),
            "result" if member.is_object() => outcome = Some(Outcome::Result(member)),
            "result" => return Err(UpstreamFault::OutcomeShape),
            "error" => outcome = Some(Outcome::Error(upstream_error(member)?)),
            _ => {}
        }
    }
    if version.as_deref() != Some("2.0") {
        return Err(UpstreamFault::JsonRpcVersion);
    }
    match (method, outcome, id) {
        (None, Some(Outcome::Result(_)), None) => Err(UpstreamFault::IdForm),
        (None, Some(outcome), id) => Ok(ServerMessage::Response(ServerResponse { id, outcome })),
        (Some(method), None, None) => {
            notification(&method, params).map(ServerMessage::Notification)
        }
        // MCP 2026-07-28, Streamable HTTP, Receiving Messages: no requests on any stream.
        (Some(_), None, Some(_)) if revision.is_modern() => Err(UpstreamFault::RequestFromServer),
        (Some(method), None, Some(id)) => {
            let kind = server_request_kind(&method);
            Ok(ServerMessage::Request(ServerRequest { id, kind, params }))
        }
        (Some(_), Some(_), _) | (None, None, _) => Err(UpstreamFault::OutcomeShape),
    }
}

fn upstream_error(value: Value<'_>) -> Result<UpstreamError<'_>, UpstreamFault> {
    let code = value.member("code").and_then(Value::number);
    let code = code.and_then(|token| token.parse().ok()).ok_or(UpstreamFault::OutcomeShape)?;
    let message = value.member("message").and_then(Value::string).unwrap_or_default();
    Ok(UpstreamError { code, message, data: value.member("data") })
}

fn notification<'a>(
    method: &str,
    params: Option<Value<'a>>,
) -> Result<ServerNotification<'a>, UpstreamFault> {
    let param = |name: &str| params.and_then(|params| params.member(name));
    let required_id =
        |name| param(name).and_then(RequestId::parse).ok_or(UpstreamFault::ParamsShape);
    let kind = match method {
        "notifications/cancelled" => {
            NotificationKind::Cancelled { request_id: required_id("requestId")? }
        }
        "notifications/message" => NotificationKind::Message,
        "notifications/progress" => {
            NotificationKind::Progress { token: required_id("progressToken")? }
        }
        "notifications/prompts/list_changed" => NotificationKind::PromptsListChanged,
        "notifications/resources/list_changed" => NotificationKind::ResourcesListChanged,
        "notifications/resources/updated" => {
            let uri = param("uri").and_then(Value::string).ok_or(UpstreamFault::ParamsShape)?;
            NotificationKind::ResourceUpdated { uri }
        }
        "notifications/subscriptions/acknowledged" => NotificationKind::SubscriptionAcknowledged,
        "notifications/tools/list_changed" => NotificationKind::ToolsListChanged,
        _ => NotificationKind::Unknown,
    };
    let subscription = param("_meta").and_then(|meta| meta.member(crate::meta::SUBSCRIPTION_ID));
    let subscription_id = subscription.and_then(RequestId::parse);
    Ok(ServerNotification { kind, subscription_id, params })
}

fn server_request_kind(method: &str) -> ServerRequestKind {
    match method {
        "elicitation/create" => ServerRequestKind::Elicitation,
        "ping" => ServerRequestKind::Ping,
        "roots/list" => ServerRequestKind::RootsList,
        "sampling/createMessage" => ServerRequestKind::Sampling,
        _ => ServerRequestKind::Unknown,
    }
}

/// Reads an id or token as one of ours.
pub fn upstream_integer(id: &RequestId<'_>) -> Option<u64> {
    match id {
        RequestId::Integer(integer) => u64::try_from(*integer).ok(),
        RequestId::Text(_) => None,
    }
}

#[cfg(test)]
mod tests;
