//! What a client may send: one request, one notification, or (older revisions) one response.
//!
//! Implemented: the envelope of JSON-RPC 2.0 as MCP narrows it, and the shape of every `params`
//! member a known method has. Not here: whether the arguments of a tool fit its schema, which is
//! the server's business, and whether the caller may do it, which is the policy's.

use std::borrow::Cow;

use attorn_json::{Document, Value};

use crate::meta::Meta;
use crate::method::{Param, ParamShape};
use crate::{FrameRefusal, Method, RequestId, Revision};

/// A message from a client.
#[derive(Clone, Debug)]
pub enum ClientMessage<'a> {
    /// Wants an answer.
    Request(Request<'a>),
    /// Wants none.
    Notification(Notification<'a>),
    /// Answers a request the server sent; before 2026-07-28 only.
    Response(ClientResponse<'a>),
}

/// A request with everything that will be sent on.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client's id. The upstream never sees it.
    pub id: RequestId<'a>,
    /// What is asked for.
    pub method: Method,
    /// `params._meta`.
    pub meta: Meta<'a>,
    // Invariant: names of `Method::params`, shapes checked, required ones present.
    pub(crate) params: Vec<(Param, Value<'a>)>,
}

impl<'a> Request<'a> {
    /// Tool or prompt name.
    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.param(Param::Name)?.string()
    }

    /// Resource URI.
    pub fn uri(&self) -> Option<Cow<'a, str>> {
        self.param(Param::Uri)?.string()
    }

    /// Cursor of a list request.
    pub fn cursor(&self) -> Option<Cow<'a, str>> {
        self.param(Param::Cursor)?.string()
    }

    /// Arguments of a tool or prompt: always an object.
    pub fn arguments(&self) -> Option<Value<'a>> {
        self.param(Param::Arguments)
    }

    /// Revision an `initialize` request asks for, as written.
    pub fn initialize_version(&self) -> Option<Cow<'a, str>> {
        self.param(Param::ProtocolVersion)?.string()
    }

    /// What a completion refers to.
    pub fn completion_target(&self) -> Option<CompletionTarget<'a>> {
        let reference = self.param(Param::Ref)?;
        match reference.member("type")?.string()?.as_ref() {
            "ref/prompt" => reference.member("name")?.string().map(CompletionTarget::Prompt),
            "ref/resource" => reference.member("uri")?.string().map(CompletionTarget::Resource),
            _ => None,
        }
    }

    /// What a server gave the client to bring along: MCP 2026-07-28, Multi Round-Trip Requests. Nobody
    /// vouches for it.
    pub fn request_state(&self) -> Option<Cow<'a, str>> {
        self.param(Param::RequestState)?.string()
    }

    /// Whether the client answers what a server asked it.
    pub fn has_input_responses(&self) -> bool {
        self.param(Param::InputResponses).is_some()
    }

    /// Filter of a `subscriptions/listen` request.
    pub fn listen_filter(&self) -> Option<Value<'a>> {
        self.param(Param::Notifications)
    }

    pub(crate) fn param(&self, wanted: Param) -> Option<Value<'a>> {
        self.params.iter().find(|(param, _)| *param == wanted).map(|(_, value)| *value)
    }
}

/// What `completion/complete` completes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionTarget<'a> {
    /// An argument of the prompt of this name.
    Prompt(Cow<'a, str>),
    /// A variable of the resource template with this URI.
    Resource(Cow<'a, str>),
}

/// A notification from a client.
#[derive(Clone, Debug)]
pub enum Notification<'a> {
    /// `notifications/cancelled`: the request is no longer wanted.
    Cancelled {
        /// The client's id of that request.
        request_id: RequestId<'a>,
    },
    /// `notifications/initialized`
    Initialized,
    /// `notifications/progress` for a request the server sent.
    Progress {
        /// The whole `params`.
        params: Value<'a>,
    },
    /// `notifications/roots/list_changed`
    RootsListChanged,
    /// Anything else; taken and dropped.
    Unknown,
}

/// A client's answer to a request of the server.
#[derive(Clone, Debug)]
pub struct ClientResponse<'a> {
    /// The id the server's request carried.
    pub id: RequestId<'a>,
    /// `result` or `error`, as written.
    pub outcome: ResponseBody<'a>,
}

/// The one body member of a response.
#[derive(Clone, Copy, Debug)]
pub enum ResponseBody<'a> {
    /// `result`: an object.
    Result(Value<'a>),
    /// `error`: an object.
    Error(Value<'a>),
}

/// Reads one client message and refuses every shape that two peers could read differently.
///
/// # Errors
/// [`FrameRefusal`] names the first rule that is broken.
pub fn parse_client_message<'a>(
    document: &Document<'a>,
    revision: Revision,
) -> Result<ClientMessage<'a>, FrameRefusal> {
    let envelope = Envelope::parse(document.value())?;
    match (envelope.method, envelope.body) {
        (Some(_), Some(_)) => Err(FrameRefusal::RequestWithOutcome),
        (Some(method), None) => match envelope.id {
            Some(id) => request(&method, id, envelope.params, revision).map(ClientMessage::Request),
            None => notification(&method, envelope.params).map(ClientMessage::Notification),
        },
        // MCP 2026-07-28, Streamable HTTP, Sending Messages: no responses from clients.
        (None, Some(_)) if revision.is_modern() => Err(FrameRefusal::ResponseFromClient),
        (None, Some(outcome)) => {
            let id = envelope.id.ok_or(FrameRefusal::IdForm)?;
            if envelope.params.is_some() {
                return Err(FrameRefusal::RequestWithOutcome);
            }
            Ok(ClientMessage::Response(ClientResponse { id, outcome }))
        }
        (None, None) => Err(FrameRefusal::MethodForm),
    }
}

/// The top level of a message, of which each member is known.
struct Envelope<'a> {
    id: Option<RequestId<'a>>,
    method: Option<Cow<'a, str>>,
    params: Option<Value<'a>>,
    body: Option<ResponseBody<'a>>,
}

impl<'a> Envelope<'a> {
    fn parse(value: Value<'a>) -> Result<Self, FrameRefusal> {
        // Batches left the protocol in MCP 2025-06-18; a batch is how one decision gets two calls.
        if value.is_array() {
            return Err(FrameRefusal::Batch);
        }
        let mut envelope = Self { id: None, method: None, params: None, body: None };
        let mut version = None;
        for (name, member) in value.members().ok_or(FrameRefusal::NotAnObject)? {
            match name.as_ref() {
                "jsonrpc" => version = member.string(),
                "id" => {
                    envelope.id = Some(RequestId::parse(member).ok_or(FrameRefusal::IdForm)?);
                }
                "method" => {
                    let method = member.string().filter(|name| name.len() <= METHOD_BYTES_MAX);
                    envelope.method = Some(method.ok_or(FrameRefusal::MethodForm)?);
                }
                "params" if member.is_object() => envelope.params = Some(member),
                "params" => return Err(FrameRefusal::ParamsShape),
                "result" | "error" if envelope.body.is_some() => {
                    return Err(FrameRefusal::OutcomeShape);
                }
                "result" if member.is_object() => {
                    envelope.body = Some(ResponseBody::Result(member));
                }
                "error" if member.is_object() => {
                    envelope.body = Some(ResponseBody::Error(member));
                }
                "result" | "error" => return Err(FrameRefusal::OutcomeShape),
                // Some upstreams fold case, so that `Method` would be a second method to them.
                _ => return Err(FrameRefusal::UnknownMember),
            }
        }
        // JSON-RPC 2.0 section 4: exactly "2.0".
        if version.as_deref() != Some("2.0") {
            return Err(FrameRefusal::JsonRpcVersion);
        }
        Ok(envelope)
    }
}

fn request<'a>(
    method: &str,
    id: RequestId<'a>,
    params: Option<Value<'a>>,
    revision: Revision,
) -> Result<Request<'a>, FrameRefusal> {
    let mut request = Request {
        id,
        method: Method::parse(method, revision),
        meta: Meta::default(),
        params: Vec::new(),
    };
    let known = request.method.params();
    for (name, value) in params.into_iter().filter_map(Value::members).flatten() {
        if name == "_meta" {
            request.meta = Meta::parse(value)?;
            continue;
        }
        if let Some(param) = known.iter().copied().find(|param| param.as_str() == name) {
            let fits = match param.shape() {
                ParamShape::Object => value.is_object(),
                ParamShape::Text => {
                    value.string().is_some_and(|text| text.len() <= TEXT_PARAM_BYTES_MAX)
                }
            };
            if !fits {
                return Err(FrameRefusal::ParamShape);
            }
            request.params.push((param, value));
        } else if known.iter().any(|param| param.as_str().eq_ignore_ascii_case(&name)) {
            // A reader that folds case would see two names.
            return Err(FrameRefusal::ParamCase);
        }
    }
    for param in known {
        if param.is_required() && request.param(*param).is_none() {
            return Err(FrameRefusal::ParamMissing);
        }
    }
    request.meta.require_modern(revision)?;
    Ok(request)
}

fn notification<'a>(
    method: &str,
    params: Option<Value<'a>>,
) -> Result<Notification<'a>, FrameRefusal> {
    match method {
        "notifications/cancelled" => {
            let id = params.and_then(|params| params.member("requestId"));
            let request_id = id.and_then(RequestId::parse).ok_or(FrameRefusal::ParamShape)?;
            Ok(Notification::Cancelled { request_id })
        }
        "notifications/initialized" => Ok(Notification::Initialized),
        "notifications/progress" => {
            Ok(Notification::Progress { params: params.ok_or(FrameRefusal::ParamMissing)? })
        }
        "notifications/roots/list_changed" => Ok(Notification::RootsListChanged),
        // JSON-RPC 2.0 section 4.1: a request without an id is a notification. A known request
        // method sent this way would act without an answer, so nothing of it is sent on.
        _ => Ok(Notification::Unknown),
    }
}

/// Bytes of a method name.
const METHOD_BYTES_MAX: usize = 256;

/// Bytes of a name, URI, cursor or request state.
const TEXT_PARAM_BYTES_MAX: usize = 64 * 1024;
