//! What of an upstream's messages reaches the client, and in which form.
//!
//! Only messages that were parsed, judged and written anew leave. What is not understood, answers
//! another request, or speaks of something the caller cannot see is dropped; what breaks the
//! protocol ends the request with an error under the client's own identifier.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use attorn_audit::Outcome;
use attorn_egress::Held;
use attorn_json::{Limits, Value};
use attorn_mcp::emit::{self, Relabel};
use attorn_mcp::list::{ListKind, ListPage, make_private};
use attorn_mcp::tool_definition::ToolDefinition;
use attorn_mcp::{
    MethodClass, NotificationKind, Outcome as Answer, Request, RequestId, ResultKind, Revision,
    ServerMessage, ServerNotification, ServerRequest, ServerResponse, UpstreamError, UpstreamFault,
    parse_server_message, result_kind, upstream_integer,
};
use attorn_planted::{Bug, is_planted};
use attorn_policy::Operation;
use attorn_registry::{McpServer, ReasonCode};

use crate::catalogue::definitions;
use crate::cursor::CursorOf;
use crate::door::Passage;
use crate::exchange::Caller;
use crate::gateway::Inner;
use crate::record::Ending;
use crate::resting::RestingPlace;
use crate::servers::Behind;
use crate::sessions::Session;
use crate::upstream::UpstreamFailure;

/// One request of a client, as its upstream's messages must be seen.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) behind: Arc<Behind>,
    pub(crate) caller: Caller,
    pub(crate) revision: Revision,
    /// Identifier of the request for the client; `None` on the stream that answers no request.
    pub(crate) client_id: Option<RequestId<'static>>,
    /// Identifier, and progress token, of the request for the upstream.
    pub(crate) upstream_id: u64,
    pub(crate) progress_token: Option<RequestId<'static>>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) decision_id: String,
    /// Of the client's request nothing leaves but what a person approved.
    pub(crate) only_approved: bool,
    /// Held by a stream that may rest.
    pub(crate) place: Option<RestingPlace>,
    /// Held as long as the call is under way.
    pub(crate) passage: Option<Passage>,
    /// As long as it is held, the server may ask its API for the call.
    pub(crate) open: Option<Held>,
}

/// What becomes of one message.
#[derive(Debug)]
pub(crate) enum Step {
    Drop,
    /// The last message, which answers the request.
    Final {
        message: Vec<u8>,
        ending: Ending,
    },
    Send(Vec<u8>),
    /// A question of the upstream that cannot be put to the client: what to answer it.
    Decline(Vec<u8>),
}

impl Drop for Relay {
    /// The client's request is no longer open, however it ended.
    fn drop(&mut self) {
        if let (Some(session), Some(id)) = (&self.session, &self.client_id) {
            session.pending.end(id);
        }
    }
}

impl Relay {
    /// Judges one message of the upstream. `request` is the client's, unless none is answered.
    pub(crate) fn judge(
        &self,
        message: &[u8],
        request: Option<&Request<'_>>,
    ) -> Result<Step, UpstreamFailure> {
        let document =
            attorn_json::parse(message, &Limits::MESSAGE).map_err(|_| UpstreamFailure::Protocol)?;
        let parsed = match parse_server_message(&document, self.revision) {
            Ok(parsed) => parsed,
            // MCP 2026-07-28, Streamable HTTP, Receiving Messages: servers ask nothing there. The
            // question is dropped; the answer that was asked for may still come.
            Err(UpstreamFault::RequestFromServer) => {
                tracing::warn!(server = %self.behind.id, "a question of the server was dropped");
                return Ok(Step::Drop);
            }
            Err(_) => return Err(UpstreamFailure::Protocol),
        };
        match (parsed, request) {
            (ServerMessage::Response(response), Some(request)) => self.response(&response, request),
            // An answer where nothing was asked.
            (ServerMessage::Response(_), None) => Ok(Step::Drop),
            (ServerMessage::Notification(notification), _) => {
                Ok(self.notification(&notification, request).map_or(Step::Drop, Step::Send))
            }
            (ServerMessage::Request(question), _) => Ok(self.question(&question)),
        }
    }

    fn response(
        &self,
        response: &ServerResponse<'_>,
        request: &Request<'_>,
    ) -> Result<Step, UpstreamFailure> {
        let Some(client_id) = &self.client_id else { return Ok(Step::Drop) };
        match &response.outcome {
            // An error about a request the upstream could not read has no identifier.
            Answer::Error(error) if response.id.is_none() || response.answers(self.upstream_id) => {
                self.error(client_id, error, request)
            }
            Answer::Result(result) if response.answers(self.upstream_id) => {
                self.result(client_id, *result, request)
            }
            // It answers somebody else's request, or one nobody made.
            Answer::Error(_) | Answer::Result(_) => Ok(Step::Drop),
        }
    }

    fn error(
        &self,
        client_id: &RequestId<'_>,
        error: &UpstreamError<'_>,
        request: &Request<'_>,
    ) -> Result<Step, UpstreamFailure> {
        // The upstream's schema or era changed since it was last asked. A client would list and
        // retry for ever, so it is told of a failure, and the gateway asks anew.
        if matches!(error.code, HEADER_MISMATCH | UNSUPPORTED_VERSION) {
            self.gateway.relist(&self.behind);
            return Err(UpstreamFailure::Protocol);
        }
        let message = if let (MISSING_CAPABILITY, Some(data)) = (error.code, error.data) {
            missing_capability(client_id, data)
        } else {
            let decision_id = Some(self.decision_id.as_str());
            emit::upstream_error(client_id, error.code, decision_id, request.uri().as_deref())
        };
        Ok(Step::Final { message, ending: Ending::new(Outcome::ProtocolError) })
    }

    fn result(
        &self,
        client_id: &RequestId<'_>,
        result: Value<'_>,
        request: &Request<'_>,
    ) -> Result<Step, UpstreamFailure> {
        let kind =
            result_kind(result, request, self.revision).map_err(|_| UpstreamFailure::Protocol)?;
        let message = match request.method.class() {
            MethodClass::Call | MethodClass::Complete | MethodClass::Prompt => {
                emit::response(client_id, result)
            }
            MethodClass::Resource if self.revision.is_modern() => {
                emit::written_response(client_id, &make_private(result, TTL_MS_MAX))
            }
            MethodClass::Resource => emit::response(client_id, result),
            MethodClass::List(list) => emit::written_response(client_id, &self.list(result, list)?),
            MethodClass::Listen => emit::listen_response(client_id, result),
            MethodClass::Handshake => emit::written_response(client_id, &self.handshake(result)),
            MethodClass::Unknown => return Err(UpstreamFailure::Protocol),
        };
        let mut ending = Ending::new(match kind {
            ResultKind::Complete { is_error: true } => Outcome::ToolError,
            ResultKind::Complete { is_error: false } | ResultKind::InputRequired => Outcome::Ok,
        });
        let text = result.text().as_bytes();
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        ending.result = Some((self.gateway.recorder.digest(text), bytes));
        if self.gateway.recorder.payloads().is_some() && has_content(request.method.class()) {
            ending.payload = Some(text.to_vec());
        }
        Ok(Step::Final { message, ending })
    }

    /// A list with what the caller may use, and without a trace of the rest.
    fn list(&self, result: Value<'_>, kind: ListKind) -> Result<String, UpstreamFailure> {
        let page = ListPage::parse(result, kind).map_err(|_| UpstreamFailure::Protocol)?;
        let view = self.gateway.views.current();
        let now_s = self.gateway.clock.now_s();
        let server = view.snapshot.server(&self.behind.id);
        let server = server.ok_or(UpstreamFailure::Unreachable)?;
        let of = CursorOf { holder: self.caller.holder(), server: &server.id, kind };
        let random = self.gateway.random.bytes();
        let cursor = page.next_cursor.as_deref();
        let cursor = cursor.and_then(|cursor| self.gateway.cursors.seal(cursor, of, &random));
        let sees = |operation: Operation<'_>| self.caller.sees(&view, server, operation, now_s);
        let write = |keep: &dyn Fn(&str) -> bool| {
            page.write(self.revision, TTL_MS_MAX, cursor.as_deref(), |item| keep(&item.key))
        };
        Ok(match kind {
            ListKind::Tools => {
                let tools = self.behind.page(result.text(), || definitions(&page));
                let approved = self.approved_names(&tools, server);
                write(&|name| {
                    is_planted(Bug::ListNotFiltered)
                        || (approved.contains(name) && sees(Operation::Tool(name)))
                })
            }
            ListKind::Resources | ListKind::ResourceTemplates => {
                let visible = sees(Operation::Resources);
                write(&|_| visible)
            }
            ListKind::Prompts => {
                let visible = sees(Operation::Prompts);
                write(&|_| visible)
            }
        })
    }

    /// The tools of a page whose definition is the approved one. What is new is reported.
    fn approved_names<'t>(
        &self,
        tools: &'t [ToolDefinition],
        server: &McpServer,
    ) -> HashSet<&'t str> {
        self.behind.add_seen(tools, self.revision.is_modern());
        let view = self.gateway.views.current();
        self.gateway.observer.report(&view.snapshot, &self.behind, tools);
        let approved = |name: &str, digest: &[u8; 32]| {
            let known = server.tools.get(name).and_then(|tool| tool.approved.as_ref());
            known.is_some_and(|known| known.digest == *digest)
        };
        let mut named: HashMap<&str, usize> = HashMap::new();
        for tool in tools {
            *named.entry(tool.name.as_str()).or_default() += 1;
        }
        // Two definitions under one name: neither is the approved one.
        let once = |tool: &&ToolDefinition| named.get(tool.name.as_str()) == Some(&1);
        let kept = tools.iter().filter(|tool| approved(&tool.name, &tool.digest)).filter(once);
        kept.map(|tool| tool.name.as_str()).collect()
    }

    /// The result of `server/discover` or `initialize`: only what works through the gateway.
    fn handshake(&self, result: Value<'_>) -> String {
        let result = if self.revision.is_modern() {
            make_private(result, TTL_MS_MAX)
        } else {
            result.text().to_owned()
        };
        rewrite_handshake(&result, &self.behind.seen().era.supported())
    }

    fn notification(
        &self,
        notification: &ServerNotification<'_>,
        request: Option<&Request<'_>>,
    ) -> Option<Vec<u8>> {
        let mut own = Relabel { progress_token: None, subscription_id: None, request_id: None };
        let ours = |id: &RequestId<'_>| upstream_integer(id) == Some(self.upstream_id);
        let listens = request.is_none_or(|request| request.method.class() == MethodClass::Listen);
        if notification.subscription_id.as_ref().is_some_and(ours) {
            own.subscription_id = self.client_id.as_ref();
        }
        let question;
        match &notification.kind {
            NotificationKind::Progress { token } if ours(token) => {
                own.progress_token = self.progress_token.as_ref();
            }
            NotificationKind::Cancelled { request_id } => {
                let id = self.session.as_ref()?.pending.take_back(request_id)?;
                question = RequestId::Integer(i64::try_from(id).ok()?);
                own.request_id = Some(&question);
            }
            NotificationKind::ToolsListChanged => self.gateway.relist(&self.behind),
            // News of what a caller sees as empty would tell it that it is not.
            NotificationKind::ResourcesListChanged | NotificationKind::ResourceUpdated { .. }
                if !self.sees(Operation::Resources) =>
            {
                return None;
            }
            NotificationKind::PromptsListChanged if !self.sees(Operation::Prompts) => return None,
            // MCP 2026-07-28, Subscriptions: only on the stream that asked for them.
            NotificationKind::SubscriptionAcknowledged if !listens => return None,
            NotificationKind::Progress { .. } | NotificationKind::Unknown => return None,
            NotificationKind::Message
            | NotificationKind::PromptsListChanged
            | NotificationKind::ResourcesListChanged
            | NotificationKind::ResourceUpdated { .. }
            | NotificationKind::SubscriptionAcknowledged => {}
        }
        emit::notification(notification, &own)
    }

    fn sees(&self, operation: Operation<'_>) -> bool {
        let view = self.gateway.views.current();
        let now_s = self.gateway.clock.now_s();
        view.snapshot
            .server(&self.behind.id)
            .is_some_and(|server| self.caller.sees(&view, server, operation, now_s))
    }

    /// A question of a server of an older revision, under an identifier of ours.
    fn question(&self, question: &ServerRequest<'_>) -> Step {
        let declined = |id: &RequestId<'_>| {
            let data = attorn_mcp::ErrorData::default();
            Step::Decline(attorn_mcp::error::body(
                Some(id),
                attorn_mcp::ErrorCode::MethodNotFound,
                &data,
            ))
        };
        let Some(session) = &self.session else { return declined(&question.id) };
        let Ok(id) = session.pending.ask(question.id.clone().into_owned()) else {
            return declined(&question.id);
        };
        let Some(message) = emit::server_request(question, id) else {
            session.pending.answer(id);
            return declined(&question.id);
        };
        Step::Send(message)
    }

    /// The error that ends a request whose upstream failed, in the middle of a stream.
    pub(crate) fn broken(&self, reason: ReasonCode) -> Option<Vec<u8>> {
        let data = attorn_mcp::ErrorData {
            decision_id: Some(&self.decision_id),
            reason: Some(reason.as_str()),
            ..attorn_mcp::ErrorData::default()
        };
        let code = attorn_mcp::ErrorCode::InternalError;
        Some(attorn_mcp::error::body(Some(self.client_id.as_ref()?), code, &data))
    }
}

/// MCP 2026-07-28, Base Protocol, Per-request protocol fields: the client has to learn which of its
/// capabilities is wanted. Their names are all that is taken from the upstream.
fn missing_capability(client_id: &RequestId<'_>, data: Value<'_>) -> Vec<u8> {
    let wanted = data.member("requiredCapabilities");
    let names = wanted.and_then(Value::members).into_iter().flatten().map(|(name, _)| name);
    let known = names.filter(|name| CAPABILITIES.contains(&name.as_ref()));
    let required: serde_json::Map<String, serde_json::Value> =
        known.map(|name| (name.into_owned(), serde_json::json!({}))).collect();
    let id = match client_id {
        RequestId::Integer(integer) => serde_json::Value::from(*integer),
        RequestId::Text(text) => serde_json::Value::from(text.as_ref()),
    };
    let code = attorn_mcp::ErrorCode::MissingClientCapability;
    let error = serde_json::json!({
        "code": code.number(),
        "message": code.message(),
        "data": { "requiredCapabilities": required },
    });
    serde_json::json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().into_bytes()
}

/// Replaces the list of revisions by those both sides of the gateway speak, and leaves out the
/// capabilities the gateway does not pass: tasks have methods of their own.
fn rewrite_handshake(result: &str, supported: &[Revision]) -> String {
    let Ok(document) = attorn_json::parse(result.as_bytes(), &Limits::MESSAGE) else {
        return "{}".to_owned();
    };
    rewrite(document.value(), |name, value| match name {
        "supportedVersions" => {
            let names: Vec<String> =
                supported.iter().map(|one| format!("\"{}\"", one.as_str())).collect();
            Some(format!("[{}]", names.join(",")))
        }
        "capabilities" => {
            Some(rewrite(value, |name, value| (name != "tasks").then(|| value.text().to_owned())))
        }
        _ => Some(value.text().to_owned()),
    })
}

/// An object written anew, each member as `write` says; `None` leaves it out.
fn rewrite(object: Value<'_>, write: impl Fn(&str, Value<'_>) -> Option<String>) -> String {
    let members = object.members().into_iter().flatten().filter_map(|(name, value)| {
        Some(format!("{}:{}", serde_json::Value::from(name.as_ref()), write(&name, value)?))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

const CAPABILITIES: [&str; 4] = ["elicitation", "experimental", "roots", "sampling"];
const MISSING_CAPABILITY: i64 = -32021;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;
/// What a client may keep of a filtered answer: short, so that a revoked right disappears soon.
const TTL_MS_MAX: u64 = 30_000;

/// Whether what comes back is data and not a list or a handshake.
const fn has_content(class: MethodClass) -> bool {
    match class {
        MethodClass::Call | MethodClass::Complete | MethodClass::Prompt | MethodClass::Resource => {
            true
        }
        MethodClass::Handshake
        | MethodClass::List(_)
        | MethodClass::Listen
        | MethodClass::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use attorn_mcp::Revision;

    use super::rewrite_handshake;

    #[test]
    fn a_handshake_names_only_what_works_here() {
        let result = r#"{"supportedVersions":["2026-07-28","2030-01-01"],
            "capabilities":{"tools":{},"tasks":{"list":{}}},"instructions":"a\"b"}"#;
        assert_eq!(
            rewrite_handshake(result, &[Revision::V2026_07_28]),
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"a\"b"}"#
        );
    }
}
