//! Messages written anew from parsed ones. Nothing is forwarded as it came: ids and tokens are
//! replaced, members nobody understood are left behind, and every message is one line.

use attorn_json::Value;

use crate::header::name_source;
use crate::message::ResponseBody;
use crate::meta::SUBSCRIPTION_ID;
use crate::method::Param;
use crate::param_header::ParamHeader;
use crate::server_message::{NotificationKind, ServerNotification, ServerRequest};
use crate::write::ObjectWriter;
use crate::{ClientResponse, ErrorCode, ErrorData, Request, RequestId, Revision, error, sentinel};

/// What replaces the client's own values in an upstream request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outbound<'a> {
    /// Our request id; never reused on one upstream connection.
    pub id: u64,
    /// Our progress token. Set when the client asked for progress.
    pub progress_token: Option<u64>,
    /// The trace this call belongs to. Without one, no trace context is sent.
    pub traceparent: Option<&'a str>,
    /// The upstream's own cursor, unsealed from the one the client sent.
    pub cursor: Option<&'a str>,
    /// Send what a person approved, name and arguments, and nothing else of the client's: no answers,
    /// no state, and no metadata but that of the protocol.
    pub only_approved: bool,
}

/// The upstream request for a parsed client request.
pub fn request(request: &Request<'_>, outbound: &Outbound<'_>) -> Vec<u8> {
    let capacity = 256 + request.params.iter().map(|(_, value)| value.text().len()).sum::<usize>();
    let mut out = String::with_capacity(capacity);
    let mut message = ObjectWriter::open(&mut out);
    message.string("jsonrpc", "2.0");
    message.name("id").push_str(&outbound.id.to_string());
    message.string("method", request.method.as_str());
    let mut params = ObjectWriter::open(message.name("params"));
    for (param, value) in &request.params {
        if outbound.only_approved && matches!(param, Param::InputResponses | Param::RequestState) {
            continue;
        }
        match (param, outbound.cursor) {
            (Param::Cursor, Some(cursor)) => params.string(param.as_str(), cursor),
            // A cursor that was not unsealed is not the upstream's.
            (Param::Cursor, None) => {}
            // What the rules read is what the server reads, in one spelling.
            (Param::Arguments, _) => params.canonical(param.as_str(), *value),
            (
                Param::Argument
                | Param::Capabilities
                | Param::ClientInfo
                | Param::Context
                | Param::InputResponses
                | Param::Level
                | Param::Name
                | Param::Notifications
                | Param::ProtocolVersion
                | Param::Ref
                | Param::RequestState
                | Param::Uri,
                _,
            ) => params.value(param.as_str(), *value),
        }
    }
    if request.meta.value.is_some()
        || outbound.progress_token.is_some()
        || outbound.traceparent.is_some()
    {
        write_meta(request, outbound, params.name("_meta"));
    }
    params.close();
    message.close();
    out.into_bytes()
}

/// The client's own metadata but for what ties it to other calls: tokens, subscriptions, traces.
fn write_meta(request: &Request<'_>, outbound: &Outbound<'_>, out: &mut String) {
    let mut meta = ObjectWriter::open(out);
    for (name, value) in request.meta.value.into_iter().filter_map(Value::members).flatten() {
        match name.as_ref() {
            "progressToken" | "traceparent" | "tracestate" | "baggage" | SUBSCRIPTION_ID => {}
            name if outbound.only_approved && !OF_PROTOCOL.contains(&name) => {}
            name => meta.value(name, value),
        }
    }
    if let Some(token) = outbound.progress_token {
        meta.name("progressToken").push_str(&token.to_string());
    }
    if let Some(traceparent) = outbound.traceparent {
        meta.string("traceparent", traceparent);
    }
    meta.close();
}

/// What every modern request has to carry: MCP 2026-07-28, Base Protocol, `_meta`.
const OF_PROTOCOL: [&str; 2] = [crate::meta::PROTOCOL_VERSION, crate::meta::CLIENT_CAPABILITIES];

/// The mirror headers of a modern upstream request, made from the parsed body and the approved
/// declarations. What the client sent as headers is never copied.
pub fn headers(request: &Request<'_>, declared: &[ParamHeader]) -> Vec<(String, String)> {
    let mut headers = vec![("mcp-method".to_owned(), request.method.as_str().to_owned())];
    if let Some(name) = name_source(request) {
        headers.push(("mcp-name".to_owned(), sentinel::encode(&name)));
    }
    for param in declared {
        if let Ok(Some(value)) = param.expected(request.arguments()) {
            let name = format!("mcp-param-{}", param.name().to_ascii_lowercase());
            headers.push((name, sentinel::encode(&value)));
        }
    }
    headers
}

/// A response to the client with an upstream's result, unchanged but for line ends.
pub fn response(client_id: &RequestId<'_>, result: Value<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(result.text().len() + 64);
    let mut message = open_response(client_id, &mut out);
    message.value("result", result);
    message.close();
    out.into_bytes()
}

/// A response to the client with a result written by us, for example a filtered list.
pub fn written_response(client_id: &RequestId<'_>, result: &str) -> Vec<u8> {
    let mut out = String::with_capacity(result.len() + 64);
    let mut message = open_response(client_id, &mut out);
    message.name("result").push_str(result);
    message.close();
    out.into_bytes()
}

fn open_response<'o>(client_id: &RequestId<'_>, out: &'o mut String) -> ObjectWriter<'o> {
    let mut message = ObjectWriter::open(out);
    message.string("jsonrpc", "2.0");
    client_id.write(message.name("id"));
    message
}

/// An error to the client for an error of the upstream. Known codes keep their meaning; the
/// upstream's text and data stay in the record, because they may hold anything. `uri` is the
/// resource the client asked for: MCP 2026-07-28, Resources, Error Handling repeats it.
pub fn upstream_error(
    client_id: &RequestId<'_>,
    upstream_code: i64,
    decision_id: Option<&str>,
    uri: Option<&str>,
) -> Vec<u8> {
    let code = match upstream_code {
        -32601 => ErrorCode::MethodNotFound,
        // -32002 is "resource not found" before MCP 2026-07-28, which says -32602 instead.
        -32602 | -32002 => ErrorCode::InvalidParams,
        _ => ErrorCode::InternalError,
    };
    let uri = uri.filter(|_| code == ErrorCode::InvalidParams);
    error::body(Some(client_id), code, &ErrorData { decision_id, uri, ..ErrorData::default() })
}

/// The client's own values, put back into a notification of the upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relabel<'a> {
    /// The client's progress token.
    pub progress_token: Option<&'a RequestId<'a>>,
    /// The client's id of its listen request.
    pub subscription_id: Option<&'a RequestId<'a>>,
    /// The client's id of a request the notification speaks of.
    pub request_id: Option<&'a RequestId<'a>>,
}

/// A notification for the client; none when it is unknown or speaks of something the client does
/// not have.
pub fn notification(notification: &ServerNotification<'_>, own: &Relabel<'_>) -> Option<Vec<u8>> {
    let method = notification.kind.method()?;
    let replaced = match &notification.kind {
        NotificationKind::Cancelled { .. } => Some(("requestId", own.request_id?)),
        NotificationKind::Progress { .. } => Some(("progressToken", own.progress_token?)),
        NotificationKind::Message
        | NotificationKind::PromptsListChanged
        | NotificationKind::ResourcesListChanged
        | NotificationKind::ResourceUpdated { .. }
        | NotificationKind::SubscriptionAcknowledged
        | NotificationKind::ToolsListChanged
        | NotificationKind::Unknown => None,
    };
    if notification.subscription_id.is_some() && own.subscription_id.is_none() {
        return None;
    }
    let mut out = String::with_capacity(160);
    let mut message = ObjectWriter::open(&mut out);
    message.string("jsonrpc", "2.0");
    message.string("method", method);
    if let Some(params) = notification.params {
        let mut object = ObjectWriter::open(message.name("params"));
        for (name, value) in params.members().into_iter().flatten() {
            match replaced {
                Some((key, id)) if key == name => id.write(object.name(key)),
                _ if name == "_meta" => {
                    relabel_meta(value, own.subscription_id, object.name("_meta"));
                }
                Some(_) | None => object.value(&name, value),
            }
        }
        object.close();
    }
    message.close();
    Some(out.into_bytes())
}

/// The result that ends a `subscriptions/listen` request, under the client's id.
pub fn listen_response(client_id: &RequestId<'_>, result: Value<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(result.text().len() + 64);
    let mut message = open_response(client_id, &mut out);
    let mut object = ObjectWriter::open(message.name("result"));
    for (name, value) in result.members().into_iter().flatten() {
        if name == "_meta" {
            relabel_meta(value, Some(client_id), object.name("_meta"));
        } else {
            object.value(&name, value);
        }
    }
    object.close();
    message.close();
    out.into_bytes()
}

fn relabel_meta(meta: Value<'_>, subscription_id: Option<&RequestId<'_>>, out: &mut String) {
    let mut object = ObjectWriter::open(out);
    for (name, value) in meta.members().into_iter().flatten() {
        if name != SUBSCRIPTION_ID {
            object.value(&name, value);
        } else if let Some(id) = subscription_id {
            id.write(object.name(SUBSCRIPTION_ID));
        }
    }
    object.close();
}

/// A request of an upstream for the client, under an id of ours; none when it is unknown.
pub fn server_request(request: &ServerRequest<'_>, id: u64) -> Option<Vec<u8>> {
    let mut out = String::with_capacity(160);
    let mut message = ObjectWriter::open(&mut out);
    message.string("jsonrpc", "2.0");
    message.name("id").push_str(&id.to_string());
    message.string("method", request.kind.method()?);
    if let Some(params) = request.params {
        message.value("params", params);
    }
    message.close();
    Some(out.into_bytes())
}

/// A client's answer, for the upstream that asked under `upstream_id`.
pub fn client_response(response: &ClientResponse<'_>, upstream_id: &RequestId<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(160);
    let mut message = open_response(upstream_id, &mut out);
    match response.outcome {
        ResponseBody::Result(result) => message.value("result", result),
        ResponseBody::Error(error) => message.value("error", error),
    }
    message.close();
    out.into_bytes()
}

/// An empty result, as `ping` gets.
pub fn empty_response(id: &RequestId<'_>) -> Vec<u8> {
    written_response(id, "{}")
}

/// `notifications/cancelled` for one of our requests: MCP 2026-07-28, stdio, Cancellation.
pub fn cancelled(upstream_id: u64) -> Vec<u8> {
    let mut out = String::with_capacity(96);
    let mut message = ObjectWriter::open(&mut out);
    message.string("jsonrpc", "2.0");
    message.string("method", "notifications/cancelled");
    let mut params = ObjectWriter::open(message.name("params"));
    params.name("requestId").push_str(&upstream_id.to_string());
    params.close();
    message.close();
    out.into_bytes()
}

/// `notifications/initialized`, and `notifications/roots/list_changed`, carry nothing.
pub fn bare_notification(method: BareNotification) -> Vec<u8> {
    let mut out = String::with_capacity(64);
    let mut message = ObjectWriter::open(&mut out);
    message.string("jsonrpc", "2.0");
    message.string("method", method.as_str());
    message.close();
    out.into_bytes()
}

/// Notifications to an upstream that have no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNotification {
    /// `notifications/initialized`
    Initialized,
    /// `notifications/roots/list_changed`
    RootsListChanged,
}

impl BareNotification {
    fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "notifications/initialized",
            Self::RootsListChanged => "notifications/roots/list_changed",
        }
    }
}

/// Who we say we are when the gateway itself asks an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Shown in the upstream's logs.
    pub name: &'a str,
    /// Our release.
    pub version: &'a str,
    /// Revision the upstream speaks.
    pub revision: Revision,
}

impl Asker<'_> {
    /// A `tools/list` request of the gateway itself, to learn definitions.
    pub fn tools_list(&self, id: u64, cursor: Option<&str>) -> Vec<u8> {
        self.ask(id, "tools/list", |params| {
            if let Some(cursor) = cursor {
                params.string("cursor", cursor);
            }
        })
    }

    /// A `server/discover` request: MCP 2026-07-28, Discovery.
    pub fn discover(&self, id: u64) -> Vec<u8> {
        self.ask(id, "server/discover", |_| {})
    }

    /// An `initialize` request of an older revision, without client capabilities.
    pub fn initialize(&self, id: u64) -> Vec<u8> {
        self.ask(id, "initialize", |params| {
            params.string("protocolVersion", self.revision.as_str());
            params.name("capabilities").push_str("{}");
            self.write_info(params.name("clientInfo"));
        })
    }

    fn ask(&self, id: u64, method: &str, members: impl FnOnce(&mut ObjectWriter<'_>)) -> Vec<u8> {
        let mut out = String::with_capacity(320);
        let mut message = ObjectWriter::open(&mut out);
        message.string("jsonrpc", "2.0");
        message.name("id").push_str(&id.to_string());
        message.string("method", method);
        let mut params = ObjectWriter::open(message.name("params"));
        members(&mut params);
        if self.revision.is_modern() {
            let mut meta = ObjectWriter::open(params.name("_meta"));
            meta.string(crate::meta::PROTOCOL_VERSION, self.revision.as_str());
            self.write_info(meta.name(crate::meta::CLIENT_INFO));
            meta.name(crate::meta::CLIENT_CAPABILITIES).push_str("{}");
            meta.close();
        }
        params.close();
        message.close();
        out.into_bytes()
    }

    fn write_info(&self, out: &mut String) {
        let mut info = ObjectWriter::open(out);
        info.string("name", self.name);
        info.string("version", self.version);
        info.close();
    }
}

#[cfg(test)]
mod tests;
