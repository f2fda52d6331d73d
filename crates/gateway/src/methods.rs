//! Every message but `tools/call`: lists, resources, prompts, completion, handshakes of
//! 2026-07-28, notifications and answers. What is not named here goes nowhere.

use std::sync::Arc;

use attorn_journal::Durability;
use attorn_mcp::emit::{self, BareNotification};
use attorn_mcp::list::ListKind;
use attorn_mcp::{
    ClientMessage, ClientResponse, CompletionTarget, Method, MethodClass, Notification, Request,
    upstream_integer,
};
use attorn_net::Body;
use attorn_policy::{Operation, Permit};
use attorn_registry::{McpServer, ReasonCode};
use bytes::Bytes;
use http::{Response, StatusCode, request};

use crate::arrival::Arrived;
use crate::cursor::CursorOf;
use crate::exchange::{Caller, Exchange, Standing};
use crate::record::{Ending, durability};
use crate::refusal::{DecisionRefusal, HeadRefusal, MessageRefusal, Refusal};
use crate::sessions::Session;
use crate::upstream::Outgoing;

/// A request on its way to a server, before it is decided about.
struct Asked<'a> {
    head: &'a request::Parts,
    request: Request<'a>,
    arrived: Arrived<'a>,
    body: &'a Bytes,
    caller: Caller,
    server: &'a McpServer,
}

/// Answers a message that calls no tool.
pub(crate) async fn handle<'a>(
    exchange: &mut Exchange,
    head: &'a request::Parts,
    arrived: Arrived<'a>,
    body: &'a Bytes,
    (caller, server): (Caller, &'a McpServer),
) -> Result<Response<Body>, Refusal> {
    let standing = caller.verify_standing(&exchange.view, server, exchange.now_s)?;
    let request = match &arrived.message {
        ClientMessage::Request(request) => request.clone(),
        ClientMessage::Notification(_) if arrived.session.is_none() => {
            // MCP 2026-07-28, Streamable HTTP, Sending Messages: it defines none over HTTP.
            return Err(MessageRefusal::NotificationUnknown.into());
        }
        ClientMessage::Notification(notification) => {
            let sent = notification_for(notification, arrived.session.as_deref());
            return exchange.pass_on(sent, (head, &arrived), (&caller, server), standing).await;
        }
        ClientMessage::Response(response) => {
            let session = arrived.session.as_deref();
            let sent = session.and_then(|session| answer_for(response, session));
            let sent = sent.ok_or(MessageRefusal::AnswerToNothing)?;
            let of = (&caller, server);
            return exchange.pass_on(Some(sent), (head, &arrived), of, standing).await;
        }
    };
    let asked = Asked { head, request, arrived, body, caller, server };
    match asked.request.method.class() {
        MethodClass::Handshake if asked.request.method == Method::Ping => {
            Ok(exchange.json(StatusCode::OK, emit::empty_response(&asked.request.id)))
        }
        MethodClass::Handshake if asked.request.method == Method::Initialize => {
            let Asked { request, arrived, caller, .. } = asked;
            let sent = (head, &request, &arrived.trace);
            exchange.initialize(sent, caller, server, standing).await
        }
        MethodClass::Handshake => {
            exchange.forward(asked, (standing, None), None, Durability::Written).await
        }
        MethodClass::List(kind) => {
            let cursor = exchange.open_cursor(&asked, kind)?;
            exchange.forward(asked, (standing, None), cursor, Durability::Written).await
        }
        MethodClass::Listen if !watches_resources(&asked.request) => {
            exchange.forward(asked, (standing, None), None, Durability::Written).await
        }
        MethodClass::Listen | MethodClass::Resource => {
            exchange.forward_permitted(asked, Operation::Resources).await
        }
        MethodClass::Prompt => exchange.forward_permitted(asked, Operation::Prompts).await,
        MethodClass::Complete => match asked.request.completion_target() {
            Some(CompletionTarget::Prompt(_)) => {
                exchange.forward_permitted(asked, Operation::Prompts).await
            }
            Some(CompletionTarget::Resource(_)) => {
                exchange.forward_permitted(asked, Operation::Resources).await
            }
            None => Err(DecisionRefusal::Hidden(ReasonCode::ToolUnknown).into()),
        },
        // A tool call took another way before it came here.
        MethodClass::Call | MethodClass::Unknown => Err(MessageRefusal::MethodUnknown.into()),
    }
}

impl Exchange {
    async fn forward_permitted(
        &mut self,
        asked: Asked<'_>,
        operation: Operation<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let permit = self.decide(&asked.caller, operation)?;
        let durability = durability(permit.class());
        self.forward(asked, (permit, Some(operation)), None, durability).await
    }

    fn decide(&mut self, caller: &Caller, operation: Operation<'_>) -> Result<Permit, Refusal> {
        self.entry.kind = attorn_audit::Kind::ResourceAccessed;
        let view = Arc::clone(&self.view);
        let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
        let question = caller.question(&view, server, operation, self.now_s);
        let question = question.ok_or(DecisionRefusal::Hidden(ReasonCode::PolicyError))?;
        let permit = attorn_policy::decide(&question)
            .map_err(|denial| self.denied(denial, DecisionRefusal::Told))?;
        self.note_permit(&permit);
        Ok(permit)
    }

    /// Steps 6 to 9 for a request that calls no tool. `operation` is what the permit is for; whoever needs
    /// none has to stand there.
    async fn forward<P: Send + Sync + 'static>(
        &mut self,
        asked: Asked<'_>,
        (permit, operation): (P, Option<Operation<'_>>),
        cursor: Option<String>,
        durability: Durability,
    ) -> Result<Response<Body>, Refusal> {
        let Asked { head, request, arrived, body, caller, server } = asked;
        let behind = self.reach(server).await?;
        match operation {
            Some(operation) => {
                if self.renew(head, &caller)? {
                    // Of one operation every permit says the same, so the first one goes on.
                    self.decide(&caller, operation).map(drop)?;
                }
            }
            None => self.stand_again(head, &caller)?,
        }
        self.verify_era(&request.method, &behind)?;
        let rests = request.method.class() == MethodClass::Listen;
        let place = rests.then(|| self.resting_place(&caller)).transpose()?;
        let recorded = self.record(permit, durability).await?;
        let session = arrived.session.as_ref();
        let mut relay = self.relay(&behind, caller, session, &request);
        relay.place = place;
        let mut outgoing = relay.outgoing(&request, cursor.as_deref(), &arrived.trace);
        outgoing.mirror(&request, &[]);
        let upstream_session = session.map(|session| &session.upstream);
        let reply = behind.upstream.call(&recorded, upstream_session, outgoing).await;
        Ok(self.answer(relay, recorded, reply, (&request, body, arrived.trace)))
    }

    /// Passes on what gets no answer. `None` is taken and dropped.
    async fn pass_on(
        &mut self,
        sent: Option<Vec<u8>>,
        (head, arrived): (&request::Parts, &Arrived<'_>),
        (caller, server): (&Caller, &McpServer),
        standing: Standing,
    ) -> Result<Response<Body>, Refusal> {
        let (Some(sent), Some(session)) = (sent, &arrived.session) else {
            return Ok(self.empty(StatusCode::ACCEPTED));
        };
        let behind = self.gateway.seen_server(server).await?;
        self.stand_again(head, caller)?;
        let recorded = self.record(standing, Durability::Written).await?;
        let outgoing = Outgoing::new(self.revision, None, sent, &arrived.trace);
        let passed = behind.upstream.call(&recorded, Some(&session.upstream), outgoing).await;
        let outcome = match &passed {
            Ok(_) => attorn_audit::Outcome::Ok,
            Err(_) => attorn_audit::Outcome::UpstreamError,
        };
        recorded.end(Ending::new(outcome));
        match passed {
            Ok(_) => Ok(self.empty(StatusCode::ACCEPTED)),
            Err(failure) => {
                let refusal = Refusal::Upstream(failure);
                let row = refusal.row();
                Ok(self.render(&refusal, row))
            }
        }
    }

    /// The upstream's own cursor behind the sealed one.
    fn open_cursor(
        &self,
        asked: &Asked<'_>,
        kind: ListKind,
    ) -> Result<Option<String>, DecisionRefusal> {
        let Some(sealed) = asked.request.cursor() else { return Ok(None) };
        let of = CursorOf { holder: asked.caller.holder(), server: &asked.server.id, kind };
        // MCP 2026-07-28, Pagination: an invalid cursor is -32602.
        self.gateway
            .cursors
            .open(&sealed, of)
            .map(Some)
            .map_err(|_foreign| DecisionRefusal::Hidden(ReasonCode::RequestMalformed))
    }
}

fn watches_resources(request: &Request<'_>) -> bool {
    request.listen_filter().is_some_and(|filter| filter.member("resourceSubscriptions").is_some())
}

/// The notification for the upstream; what has no meaning there is taken and dropped.
fn notification_for(notification: &Notification<'_>, session: Option<&Session>) -> Option<Vec<u8>> {
    match notification {
        Notification::Initialized => Some(emit::bare_notification(BareNotification::Initialized)),
        Notification::RootsListChanged => {
            Some(emit::bare_notification(BareNotification::RootsListChanged))
        }
        Notification::Cancelled { request_id } => {
            let id = session?.pending.call(&request_id.clone().into_owned())?;
            Some(emit::cancelled(id))
        }
        // Progress of a question speaks of a token that was not passed on.
        Notification::Progress { .. } | Notification::Unknown => None,
    }
}

/// The answer for the upstream, if it asked: a question is answered once.
fn answer_for(response: &ClientResponse<'_>, session: &Session) -> Option<Vec<u8>> {
    let upstream_id = session.pending.answer(upstream_integer(&response.id)?)?;
    Some(emit::client_response(response, &upstream_id))
}
