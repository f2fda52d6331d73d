//! Streams from an upstream to a client: one task each, ended by the first of answer, client,
//! upstream and lock.

use std::time::Duration;

use attorn_audit::Outcome;
use attorn_json::Limits;
use attorn_mcp::sse::{KEEP_ALIVE, write_event};
use attorn_mcp::{ClientMessage, Request, parse_client_message};
use attorn_net::{Body, BodySender};
use attorn_registry::ReasonCode;
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::exchange::Caller;
use crate::record::{Ending, Recorded};
use crate::relay::{Relay, Step};
use crate::trace::TraceContext;
use crate::upstream::{Messages, Outgoing, UpstreamFailure};

/// A stream that has been permitted and recorded.
#[derive(Debug)]
pub(crate) struct Stream<P> {
    pub(crate) relay: Relay,
    pub(crate) recorded: Recorded<P>,
    /// The client's message, parsed again in the task that outlives the request.
    pub(crate) body: Bytes,
    pub(crate) messages: Messages,
    pub(crate) trace: TraceContext,
}

impl<P: Send + Sync + 'static> Stream<P> {
    /// Starts the task and returns what it writes.
    pub(crate) fn start(self) -> Body {
        let (sender, body) = Body::channel(PIECES_MAX);
        drop(tokio::spawn(self.run(sender)));
        body
    }

    async fn run(mut self, sender: BodySender) {
        let _open = self.relay.gateway.telemetry.calls.streams().occupy();
        let body = std::mem::take(&mut self.body);
        let document = attorn_json::parse(&body, &Limits::MESSAGE).ok();
        let message = document.and_then(|d| parse_client_message(&d, self.relay.revision).ok());
        let request = match &message {
            Some(ClientMessage::Request(request)) => Some(request),
            Some(ClientMessage::Notification(_) | ClientMessage::Response(_)) | None => None,
        };
        let ending = self.pump(request, &sender).await;
        self.recorded.end(ending);
    }

    async fn pump(&mut self, request: Option<&Request<'_>>, sender: &BodySender) -> Ending {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks: u32 = 0;
        loop {
            let next = {
                let mut next = std::pin::pin!(self.messages.next());
                loop {
                    tokio::select! {
                        next = &mut next => break next,
                        () = sender.closed() => return Ending::new(Outcome::Cancelled),
                        _ = tick.tick() => {
                            if let Some(reason) = lost_standing(&self.relay) {
                                return cut(reason);
                            }
                            ticks = ticks.wrapping_add(1);
                            if ticks.is_multiple_of(KEEP_ALIVE_TICKS)
                                && !send(sender, Bytes::from_static(KEEP_ALIVE)).await
                            {
                                return Ending::new(Outcome::Cancelled);
                            }
                        }
                    }
                }
            };
            let step = match next {
                Ok(Some(message)) => self.relay.judge(&message, request),
                // The end of a stream that answers nothing is regular; of an answer it is not.
                Ok(None) if request.is_none() => return Ending::new(Outcome::Ok),
                Ok(None) => Err(UpstreamFailure::Interrupted),
                Err(failure) => Err(failure),
            };
            match step {
                Ok(Step::Drop) => tracing::debug!("a message of the upstream was dropped"),
                Ok(Step::Send(message)) => {
                    if !send(sender, event(&message)).await {
                        return Ending::new(Outcome::Cancelled);
                    }
                }
                Ok(Step::Decline(answer)) => self.decline(answer).await,
                Ok(Step::Final { message, ending }) => {
                    let sent = send(sender, event(&message)).await;
                    return if sent { ending } else { Ending::new(Outcome::Cancelled) };
                }
                Err(failure) => return self.fail(failure, sender).await,
            }
        }
    }

    /// Tells the upstream that its question cannot be put to the client.
    async fn decline(&self, answer: Vec<u8>) {
        let Some(session) = &self.relay.session else { return };
        let outgoing = Outgoing::new(self.relay.revision, None, answer, &self.trace);
        let upstream = &self.relay.behind.upstream;
        let told = upstream.call(&self.recorded, Some(&session.upstream), outgoing).await;
        if let Err(failure) = told {
            tracing::debug!(%failure, "a question could not be declined");
        }
    }

    async fn fail(&self, failure: UpstreamFailure, sender: &BodySender) -> Ending {
        let reason = match failure {
            UpstreamFailure::Exhausted
            | UpstreamFailure::Unreachable
            | UpstreamFailure::Timeout => ReasonCode::DownstreamUnreachable,
            UpstreamFailure::Busy => ReasonCode::DownstreamBusy,
            UpstreamFailure::ChildGone
            | UpstreamFailure::ContentEncoding
            | UpstreamFailure::Interrupted
            | UpstreamFailure::MediaType
            | UpstreamFailure::NoStream
            | UpstreamFailure::Protocol
            | UpstreamFailure::NotRecorded
            | UpstreamFailure::SessionGone
            | UpstreamFailure::Status(_)
            | UpstreamFailure::TooLong => ReasonCode::DownstreamProtocol,
        };
        if let Some(error) = self.relay.broken(reason) {
            send(sender, event(&error)).await;
        }
        Ending { reason: Some(reason), ..Ending::new(Outcome::UpstreamError) }
    }
}

/// Why the caller may no longer be served, judged against the snapshot in force now.
pub(crate) fn lost_standing(relay: &Relay) -> Option<ReasonCode> {
    if !relay.gateway.freshness.is_fresh() {
        return Some(ReasonCode::AuthorityStale);
    }
    let view = relay.gateway.views.current();
    let Some(server) = view.snapshot.server(&relay.behind.id) else {
        return Some(ReasonCode::ServerUnknown);
    };
    let caller: &Caller = &relay.caller;
    let standing = caller.verify_standing(&view, server, relay.gateway.clock.now_s());
    standing.err().map(|refusal| refusal.reason())
}

pub(crate) fn cut(reason: ReasonCode) -> Ending {
    Ending { reason: Some(reason), ..Ending::new(Outcome::Cancelled) }
}

fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 8);
    write_event(message, &mut event);
    Bytes::from(event)
}

/// Whether the client took it in time. A client that does not read is as good as gone.
async fn send(sender: &BodySender, piece: Bytes) -> bool {
    matches!(timeout(READ_WITHIN, sender.send(piece)).await, Ok(Ok(())))
}

const PIECES_MAX: usize = 8;
const TICK: Duration = Duration::from_millis(500);
const KEEP_ALIVE_TICKS: u32 = 30;
const READ_WITHIN: Duration = Duration::from_secs(60);
