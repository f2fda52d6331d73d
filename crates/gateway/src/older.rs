//! What only the older revisions have: the handshake that opens a session, the stream of the
//! server's own messages, and the end of a session.

use std::sync::Arc;

use attorn_audit::Outcome;
use attorn_journal::Durability;
use attorn_json::Limits;
use attorn_mcp::{Request, Revision};
use attorn_net::Body;
use attorn_registry::McpServer;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, request};

use crate::arrival::MCP_SESSION_ID;
use crate::exchange::{Caller, Exchange, Standing};
use crate::front::{Verb, accepts_stream};
use crate::record::{Ending, Recorded};
use crate::refusal::{HeadRefusal, MessageRefusal, Refusal};
use crate::relay::{Relay, Step};
use crate::resting::RestingPlace;
use crate::servers::Behind;
use crate::sessions::Session;
use crate::stream::Stream;
use crate::trace::TraceContext;
use crate::upstream::{Reply, UpstreamFailure};

impl Exchange {
    /// Answers `initialize`: opens a session on both sides and names ours.
    pub(crate) async fn initialize(
        &mut self,
        (head, request, trace): (&request::Parts, &Request<'_>, &TraceContext),
        caller: Caller,
        server: &McpServer,
        standing: Standing,
    ) -> Result<Response<Body>, Refusal> {
        let asked = request.initialize_version().and_then(|name| Revision::parse(&name));
        // MCP 2025-11-25, Lifecycle, Version Negotiation: what is asked for, or our newest.
        self.revision = asked.filter(|revision| !revision.is_modern()).unwrap_or(NEWEST);
        let principal = caller.principal();
        let behind = self.reach(server).await?;
        self.stand_again(head, &caller)?;
        let at_most = behind.sessions_per_client_max(&self.gateway.config.limits);
        let gateway = Arc::clone(&self.gateway);
        let room = gateway
            .sessions
            .reserve(&principal, behind.serial, (at_most, self.now_s))
            .map_err(|_full| MessageRefusal::TooManySessions)?;
        let recorded = self.record(standing, Durability::Written).await?;
        let mut relay = self.relay(&behind, caller, None, request);
        let outgoing = relay.outgoing(request, None, trace);
        let opened = behind.upstream.open(&recorded, outgoing).await;
        relay.settle(opened.as_ref().err().copied());
        let opened = match opened {
            Ok((session, reply)) => {
                agreed(&relay, request, reply).await.map(|agreed| (session, agreed))
            }
            Err(failure) => Err(failure),
        };
        match opened {
            Ok((upstream, agreed)) => {
                recorded.end(Ending::new(agreed.outcome));
                if agreed.outcome != Outcome::Ok {
                    return Ok(self.json(StatusCode::OK, agreed.message));
                }
                self.gateway.seen_older(&behind).await;
                let session = Session::new(principal, behind.serial, agreed.revision, upstream);
                drop(room);
                Ok(self.named(session, agreed.message))
            }
            Err(failure) => Ok(self.failed(&relay, recorded, failure)),
        }
    }

    fn named(&self, session: Session, message: Vec<u8>) -> Response<Body> {
        let id = self.gateway.sessions.open(session, &self.gateway.random.bytes(), self.now_s);
        let mut response = self.json(StatusCode::OK, message);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(MCP_SESSION_ID, id);
        }
        response
    }

    /// Answers GET: the stream of the server's own messages in one session.
    pub(crate) async fn listen(
        &mut self,
        head: &request::Parts,
    ) -> Result<Response<Body>, Refusal> {
        if !accepts_stream(&head.headers) {
            return Err(HeadRefusal::Accept.into());
        }
        let Within { caller, behind, session, place, recorded } =
            self.within_session(head, Verb::Get).await?;
        let upstream = &behind.upstream;
        let relay = Relay {
            gateway: Arc::clone(&self.gateway),
            behind: Arc::clone(&behind),
            caller,
            revision: self.revision,
            client_id: None,
            upstream_id: 0,
            progress_token: None,
            session: Some(Arc::clone(&session)),
            decision_id: self.decision_id().to_owned(),
            open: None,
            only_approved: false,
            place,
            passage: None,
        };
        match upstream.listen(&recorded, &session.upstream, self.revision).await {
            Ok(messages) => {
                let trace = TraceContext::continued(None, None, &self.gateway.random.bytes());
                let stream = Stream { relay, recorded, body: Bytes::new(), messages, trace };
                Ok(self.stream(stream.start()))
            }
            Err(failure) => Ok(self.failed(&relay, recorded, failure)),
        }
    }

    /// Answers DELETE: the session ends on both sides.
    pub(crate) async fn close(&mut self, head: &request::Parts) -> Result<Response<Body>, Refusal> {
        let Within { behind, session, recorded, .. } =
            self.within_session(head, Verb::Delete).await?;
        self.gateway.sessions.close_same(&session);
        let closed = behind.upstream.close(&recorded, &session.upstream, self.revision).await;
        // The session is gone here, whatever the upstream says.
        recorded.end(Ending::new(match closed {
            Ok(()) => Outcome::Ok,
            Err(_) => Outcome::UpstreamError,
        }));
        Ok(self.empty(StatusCode::OK))
    }

    /// Steps 1 to 6 of a request without a body.
    async fn within_session(
        &mut self,
        head: &request::Parts,
        verb: Verb,
    ) -> Result<Within, Refusal> {
        let view = Arc::clone(&self.view);
        let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
        // 2026-07-28 has neither stream nor session: a client of it gets 405 as from any server
        // of that revision (MCP 2026-07-28, Streamable HTTP, Earlier Streamable HTTP Revisions).
        if !head.headers.contains_key(MCP_SESSION_ID) {
            return Err(HeadRefusal::Method.into());
        }
        let caller = self.enter(head, verb, &view, server).await?;
        let session = self.find_session(head, &caller)?;
        self.revision = session.revision;
        let trace = TraceContext::continued(None, None, &self.gateway.random.bytes());
        self.note_message(verb.as_str(), &trace);
        let standing = caller.verify_standing(&view, server, self.now_s)?;
        let behind = self.gateway.seen_server(server).await?;
        let rests = verb == Verb::Get;
        let place = rests.then(|| self.resting_place(&caller)).transpose()?;
        let recorded = self.record(standing, Durability::Written).await?;
        Ok(Within { caller, behind, session, place, recorded })
    }
}

/// A request without a body, recorded and ready to be forwarded.
struct Within {
    caller: Caller,
    behind: Arc<Behind>,
    session: Arc<Session>,
    place: Option<RestingPlace>,
    recorded: Recorded<Standing>,
}

/// What a server of an older revision answered to `initialize`.
#[derive(Debug)]
struct Agreed {
    revision: Revision,
    outcome: Outcome,
    message: Vec<u8>,
}

/// Reads the answer to `initialize`, which may come as a stream of one.
async fn agreed(
    relay: &Relay,
    request: &Request<'_>,
    reply: Reply,
) -> Result<Agreed, UpstreamFailure> {
    let message = match reply {
        Reply::Accepted => return Err(UpstreamFailure::Protocol),
        Reply::Message { message, .. } => message,
        Reply::Stream(mut messages) => {
            messages.next().await?.ok_or(UpstreamFailure::Interrupted)?
        }
    };
    match relay.judge(&message, Some(request))? {
        Step::Final { message, ending } if ending.is_result() => {
            let revision = revision_of(&message).ok_or(UpstreamFailure::Protocol)?;
            Ok(Agreed { revision, outcome: Outcome::Ok, message })
        }
        Step::Final { message, ending } => {
            Ok(Agreed { revision: relay.revision, outcome: ending.outcome, message })
        }
        Step::Drop | Step::Send(_) | Step::Decline(_) => Err(UpstreamFailure::Protocol),
    }
}

/// The revision a server agrees to. One that is not served here cannot be enforced.
fn revision_of(message: &[u8]) -> Option<Revision> {
    let document = attorn_json::parse(message, &Limits::MESSAGE).ok()?;
    let version = document.value().member("result")?.member("protocolVersion")?.string()?;
    Revision::parse(&version).filter(|revision| !revision.is_modern())
}

const NEWEST: Revision = Revision::V2025_11_25;
