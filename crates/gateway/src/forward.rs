//! Steps 6 to 9 of a permitted request: record, forward, answer.

use std::sync::Arc;

use attorn_audit::Outcome;
use attorn_journal::Durability;
use attorn_json::Value;
use attorn_mcp::emit::{self, Outbound};
use attorn_mcp::{MethodClass, Request, RequestId};
use attorn_net::Body;
use attorn_planted::{Bug, is_planted};
use attorn_policy::Permit;
use attorn_registry::McpServer;
use bytes::Bytes;
use http::{Response, StatusCode};

use crate::exchange::{Caller, Exchange};
use crate::record::{Ending, Recorded};
use crate::refusal::{MessageRefusal, Refusal};
use crate::relay::{Relay, Step};
use crate::resting::RestingPlace;
use crate::servers::Behind;
use crate::sessions::Session;
use crate::stream::{Stream, cut, lost_standing};
use crate::trace::TraceContext;
use crate::upstream::{Outgoing, Reply, UpstreamFailure, Work};

impl Exchange {
    /// Notes the tool and its arguments: their digest, never their text.
    pub(crate) fn note_call(
        &mut self,
        server: &McpServer,
        name: &str,
        arguments: Option<Value<'_>>,
    ) {
        self.entry.tool = Some(name.to_owned());
        let known = server.tools.get(name).map(|tool| hex(&tool.digest));
        self.entry.tool_digest = known;
        let Some(arguments) = arguments else { return };
        // The canonical form, so that two spellings of one value are one value. A number beyond
        // 2^53 has none; then the text itself counts.
        let text = arguments.canonical().unwrap_or_else(|_| arguments.text().as_bytes().to_vec());
        self.entry.arguments_bytes = u64::try_from(arguments.text().len()).ok();
        self.entry.arguments_digest = Some(self.gateway.recorder.digest(&text));
    }

    pub(crate) fn note_permit(&mut self, permit: &Permit) {
        let entry = &mut self.entry;
        entry.class = Some(permit.class().as_str().to_owned());
        entry.policy_version = Some(permit.policy_version().to_string());
        entry.rule = Some(permit.rule().to_owned());
        entry.scope = Some(permit.scope().to_string());
        if let Some(grant) = permit.grant() {
            entry.grant = Some(grant.to_string());
        }
    }

    /// Records the intent. Without the result nothing can be forwarded.
    pub(crate) async fn record<P>(
        &mut self,
        permit: P,
        durability: Durability,
    ) -> Result<Recorded<P>, Refusal> {
        self.pass()?;
        let recorder = &self.gateway.recorder;
        let recorded = recorder.intent(permit, &mut self.entry, durability).await;
        let recorded = recorded.map_err(|unavailable| {
            tracing::error!(%unavailable, "an intent could not be recorded; nothing is forwarded");
            Refusal::JournalUnavailable
        })?;
        self.note_recorded();
        Ok(recorded)
    }

    /// A place for one more stream of the caller that may rest.
    pub(crate) fn resting_place(
        &mut self,
        caller: &Caller,
    ) -> Result<RestingPlace, MessageRefusal> {
        let place = self.gateway.resting.take(caller.agent());
        self.rests = true;
        place.map_err(|_full| MessageRefusal::TooManyStreams)
    }

    /// How the answers to a request are to be seen.
    pub(crate) fn relay(
        &mut self,
        behind: &Arc<Behind>,
        caller: Caller,
        session: Option<&Arc<Session>>,
        request: &Request<'_>,
    ) -> Relay {
        let client_id = request.id.clone().into_owned();
        let upstream_id = behind.next_id();
        if let Some(session) = session {
            session.pending.begin(client_id.clone(), upstream_id);
        }
        Relay {
            gateway: Arc::clone(&self.gateway),
            behind: Arc::clone(behind),
            caller,
            revision: self.revision,
            client_id: Some(client_id),
            upstream_id,
            progress_token: request.meta.progress_token.clone().map(RequestId::into_owned),
            session: session.cloned(),
            decision_id: self.decision_id().to_owned(),
            only_approved: false,
            place: None,
            open: None,
            passage: self.passage.take(),
        }
    }

    /// Answers the client with what the upstream answered, and records how it ended. What goes
    /// wrong here is an answer, not a refusal: the request was forwarded.
    pub(crate) fn answer<P: Send + Sync + 'static>(
        &mut self,
        mut relay: Relay,
        recorded: Recorded<P>,
        reply: Result<Reply, UpstreamFailure>,
        (request, body, trace): (&Request<'_>, &Bytes, TraceContext),
    ) -> Response<Body> {
        self.note_reply();
        relay.settle(reply.as_ref().err().copied());
        let (status, message) = match reply {
            Ok(Reply::Stream(messages)) => {
                let body = body.clone();
                let stream = Stream { relay, recorded, body, messages, trace };
                return self.stream(stream.start());
            }
            Ok(Reply::Message { status, message }) => (status, message),
            Ok(Reply::Accepted) => return self.failed(&relay, recorded, UpstreamFailure::Protocol),
            Err(failure) => return self.failed(&relay, recorded, failure),
        };
        // As a stream is cut: nothing is told to whom was stopped while the server worked.
        if !self.is_as_before()
            && let Some(reason) = lost_standing(&relay)
            && let Some(told) = relay.broken(reason)
        {
            recorded.end(cut(reason));
            return self.json(StatusCode::OK, told);
        }
        let is_success = status.is_success();
        if is_planted(Bug::OtherStatusUnread) && is_success && status != StatusCode::OK {
            recorded.end(Ending::new(Outcome::Ok));
            return self.json(status, message.to_vec());
        }
        match relay.judge(&message, Some(request)) {
            // A result under an error status is neither.
            Ok(Step::Final { message, mut ending }) if is_success || !ending.is_result() => {
                ending.status = Some(status.as_u16());
                recorded.end(ending);
                self.json(status, message)
            }
            Ok(Step::Final { .. } | Step::Drop | Step::Send(_) | Step::Decline(_)) => {
                self.failed(&relay, recorded, UpstreamFailure::Protocol)
            }
            Err(failure) => self.failed(&relay, recorded, failure),
        }
    }

    /// The answer when the upstream failed after the request was forwarded.
    pub(crate) fn failed<P>(
        &mut self,
        relay: &Relay,
        recorded: Recorded<P>,
        failure: UpstreamFailure,
    ) -> Response<Body> {
        if failure == UpstreamFailure::SessionGone {
            relay.forget_session();
        }
        let refusal = Refusal::Upstream(failure);
        let row = refusal.row();
        let mut ending = Ending::new(Outcome::UpstreamError);
        ending.reason = Some(row.reason);
        if let UpstreamFailure::Status(status) = failure {
            ending.status = Some(status.as_u16());
        }
        recorded.end(ending);
        self.render(&refusal, row)
    }
}

impl Relay {
    /// The request for the upstream, under identifiers of ours.
    pub(crate) fn outgoing(
        &self,
        request: &Request<'_>,
        cursor: Option<&str>,
        trace: &TraceContext,
    ) -> Outgoing {
        let traceparent = trace.traceparent();
        let outbound = Outbound {
            id: self.upstream_id,
            progress_token: self.progress_token.as_ref().map(|_| self.upstream_id),
            traceparent: Some(&traceparent),
            cursor,
            only_approved: self.only_approved,
        };
        let message = emit::request(request, &outbound);
        let mut outgoing = Outgoing::new(self.revision, Some(self.upstream_id), message, trace);
        // MCP 2026-07-28, Subscriptions: such a stream rests until something changes.
        outgoing.may_rest = request.method.class() == MethodClass::Listen;
        outgoing.work = if outgoing.may_rest { Work::Aside } else { Work::Other };
        outgoing
    }

    /// Tells the server's door how it answered.
    pub(crate) fn settle(&mut self, failure: Option<UpstreamFailure>) {
        if let Some(passage) = &mut self.passage {
            passage.settle(failure);
        }
    }

    /// The upstream no longer knows the session, so neither does the gateway.
    fn forget_session(&self) {
        if let Some(session) = &self.session {
            self.gateway.sessions.close_same(session);
        }
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}
