//! Who waits for what from one child.
//!
//! The child writes answers to all requests on one stream (MCP 2026-07-28, stdio, Receiving
//! Messages). Here each message finds the one caller it belongs to, or nobody: answers by the
//! request's identifier, progress by its token, subscriptions by the identifier of their request.

use std::collections::HashMap;

use attorn_egress::Turn;
use attorn_json::{Document, Limits, Value};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::upstream::UpstreamFailure;

/// The open requests of one child.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: HashMap<u64, Waiting>,
    /// Takes what belongs to no request.
    listener: Option<mpsc::Sender<Bytes>>,
    /// The requests come from more than one caller.
    is_shared: bool,
    /// What the child works on in its turn. It does so until it answers, whoever still waits for that.
    working: Option<Working>,
    ended: Option<Ending>,
}

#[derive(Debug)]
struct Working {
    id: u64,
    _turn: Turn,
    /// Closes when the turn is over.
    _over: oneshot::Sender<()>,
}

/// Why and when a child stopped answering.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) failure: UpstreamFailure,
    pub(super) at: Instant,
}

#[derive(Debug)]
struct Waiting {
    /// Raw JSON of the token the request asked progress for.
    progress_token: Option<String>,
    /// Told once, by the first message.
    first: Option<oneshot::Sender<First>>,
    messages: mpsc::Sender<Bytes>,
    /// Closes when the request is over.
    _over: oneshot::Sender<()>,
}

/// How the answer to a request begins.
#[derive(Debug)]
pub(super) enum First {
    /// With the answer itself.
    Answer(Bytes),
    /// With a message before the answer; it is in the channel already.
    Stream,
}

/// The caller's side of an open request.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) first: oneshot::Receiver<First>,
    pub(super) messages: mpsc::Receiver<Bytes>,
    /// Tells when the receiver is gone.
    pub(super) watch: mpsc::Sender<Bytes>,
    /// Ends when the request is over.
    pub(super) over: oneshot::Receiver<()>,
}

impl Desk {
    /// The desk of a child that serves more than one caller.
    pub(super) fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// Opens a request before it is sent.
    pub(super) fn register(&mut self, id: u64, message: &[u8]) -> Result<Ticket, UpstreamFailure> {
        if let Some(ended) = self.ended {
            return Err(ended.failure);
        }
        // Invariant of the caller: an identifier is never used twice. An answer to either would be
        // taken for the other's.
        if self.waiting.contains_key(&id) || self.waiting.len() >= WAITING_MAX {
            return Err(UpstreamFailure::Protocol);
        }
        let (first_in, first) = oneshot::channel();
        let (over_in, over) = oneshot::channel();
        let (watch, messages) = mpsc::channel(MESSAGES_MAX);
        let waiting = Waiting {
            progress_token: progress_token(message),
            first: Some(first_in),
            messages: watch.clone(),
            _over: over_in,
        };
        self.waiting.insert(id, waiting);
        Ok(Ticket { first, messages, watch, over })
    }

    /// The child works on this request now, and on no other until it answers. What is given back closes
    /// then.
    pub(super) fn work(&mut self, id: u64, turn: Turn) -> oneshot::Receiver<()> {
        let (over_in, over) = oneshot::channel();
        self.working = Some(Working { id, _turn: turn, _over: over_in });
        over
    }

    /// Forgets a request nobody waits for any more; whether it was still open.
    pub(super) fn withdraw(&mut self, id: u64) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Takes the channel for messages that belong to no request, in place of an earlier one.
    pub(super) fn listen(&mut self) -> Result<mpsc::Receiver<Bytes>, UpstreamFailure> {
        if self.ended.is_some() {
            return Err(UpstreamFailure::SessionGone);
        }
        let (listener, messages) = mpsc::channel(MESSAGES_MAX);
        self.listener = Some(listener);
        Ok(messages)
    }

    /// Ends every open request: no answer will come.
    pub(super) fn end(&mut self, failure: UpstreamFailure) {
        self.ended.get_or_insert_with(|| Ending { failure, at: Instant::now() });
        self.waiting.clear();
        self.working = None;
        self.listener = None;
    }

    /// Why the child no longer answers, if it does not.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ended
    }

    /// Hands a line of the child to whom it belongs. Returns the identifier of a request whose
    /// caller is gone or cannot keep up: it is to be cancelled.
    pub(super) fn deliver(&mut self, line: &[u8]) -> Option<u64> {
        // A line that is no message is what servers print by mistake. It concerns nobody.
        let document = attorn_json::parse(line, &Limits::MESSAGE).ok()?;
        let message = Bytes::copy_from_slice(document.text().as_bytes());
        let value = document.value();
        match (value.member("method").and_then(Value::string), value.member("id")) {
            (None, Some(id)) => {
                self.answer(own_id(id.text()), message);
                None
            }
            (Some(method), None) => {
                let owner = self.owner(&method, &document);
                self.tell(owner, message)
            }
            (Some(_), Some(_)) => self.tell(Owner::Child, message),
            (None, None) => None,
        }
    }

    fn answer(&mut self, id: Option<u64>, message: Bytes) {
        if id.is_some() && self.working.as_ref().map(|working| working.id) == id {
            self.working = None;
        }
        let Some(waiting) = id.and_then(|id| self.waiting.remove(&id)) else { return };
        // A caller that is gone needs no answer.
        match waiting.first {
            Some(first) => drop(first.send(First::Answer(message))),
            None => drop(waiting.messages.try_send(message)),
        }
    }

    fn owner(&mut self, method: &str, notification: &Document<'_>) -> Owner {
        let params = notification.value().member("params");
        let param = |name| params.and_then(|params| params.member(name)).map(Value::text);
        match method {
            "notifications/progress" => {
                let token = param("progressToken");
                let mut open = self.waiting.iter();
                let found = open.find(|(_, waiting)| {
                    token.is_some() && waiting.progress_token.as_deref() == token
                });
                found.map_or(Owner::Nobody, |(id, _)| Owner::Request(*id))
            }
            // MCP 2026-07-28, Cancellation: from a server it ends a subscription.
            "notifications/cancelled" => {
                if let Some(id) = param("requestId").and_then(own_id) {
                    self.waiting.remove(&id);
                }
                Owner::Nobody
            }
            _ => {
                let meta = params.and_then(|params| params.member("_meta"));
                let subscription = meta.and_then(|meta| meta.member(SUBSCRIPTION_ID));
                match subscription {
                    Some(id) => own_id(id.text()).map_or(Owner::Nobody, Owner::Request),
                    None => Owner::Child,
                }
            }
        }
    }

    fn tell(&mut self, owner: Owner, message: Bytes) -> Option<u64> {
        let id = match owner {
            Owner::Nobody => return None,
            Owner::Request(id) => id,
            Owner::Child => match self.listener.as_ref().filter(|one| !one.is_closed()) {
                Some(listener) => {
                    // A listener that cannot keep up loses messages, not its session.
                    drop(listener.try_send(message));
                    return None;
                }
                // Without a listener the message can only concern the one request under way, unless
                // it speaks of another caller's that is over: then guessing would be telling.
                None if self.waiting.len() == 1 && !self.is_shared => {
                    *self.waiting.keys().next()?
                }
                None => return None,
            },
        };
        let waiting = self.waiting.get_mut(&id)?;
        if waiting.messages.try_send(message).is_err() {
            self.waiting.remove(&id);
            return Some(id);
        }
        if let Some(first) = waiting.first.take() {
            drop(first.send(First::Stream));
        }
        None
    }
}

/// Whom a message belongs to.
#[derive(Clone, Copy)]
enum Owner {
    /// Nobody: it speaks of something that is over, or never was.
    Nobody,
    /// No request; the child speaks for itself.
    Child,
    /// The request with this identifier.
    Request(u64),
}

/// Our identifiers are small integers; anything else is not one of ours.
fn own_id(raw: &str) -> Option<u64> {
    raw.parse().ok()
}

fn progress_token(message: &[u8]) -> Option<String> {
    let document = attorn_json::parse(message, &Limits::MESSAGE).ok()?;
    let meta = document.value().member("params")?.member("_meta")?;
    meta.member("progressToken").map(|token| token.text().to_owned())
}

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// Requests open at one child.
const WAITING_MAX: usize = 1_024;
/// Messages a caller may leave unread.
const MESSAGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u64) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":{id}}}}}}}"#
        )
    }

    fn open(desk: &mut Desk, id: u64) -> Ticket {
        desk.register(id, request(id).as_bytes()).unwrap()
    }

    fn progress(token: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    }

    #[test]
    fn an_answer_reaches_the_one_who_asked() {
        let mut desk = Desk::default();
        let (mut one, mut two) = (open(&mut desk, 1), open(&mut desk, 2));
        desk.deliver(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
        assert!(matches!(two.first.try_recv(), Ok(First::Answer(_))));
        assert!(one.first.try_recv().is_err());
        assert!(two.over.try_recv().is_err());
        // A second answer, or one to nothing, reaches nobody.
        desk.deliver(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
        desk.deliver(br#"{"jsonrpc":"2.0","id":"1","result":{}}"#);
        assert!(one.messages.try_recv().is_err());
    }

    #[test]
    fn progress_reaches_the_one_who_asked_for_it() {
        let mut desk = Desk::default();
        let (mut one, mut two) = (open(&mut desk, 1), open(&mut desk, 2));
        desk.deliver(progress("1").as_bytes());
        assert!(matches!(one.first.try_recv(), Ok(First::Stream)));
        assert_eq!(one.messages.try_recv().unwrap(), progress("1"));
        desk.deliver(progress("3").as_bytes());
        assert!(two.messages.try_recv().is_err());
        desk.deliver(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert!(one.messages.try_recv().is_ok());
        assert!(two.first.try_recv().is_err());
    }

    #[test]
    fn what_belongs_to_no_request_reaches_the_listener() {
        let mut desk = Desk::default();
        let changed = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert_eq!(desk.deliver(changed), None);
        let mut listener = desk.listen().unwrap();
        let (mut one, mut two) = (open(&mut desk, 1), open(&mut desk, 2));
        desk.deliver(changed);
        assert_eq!(listener.try_recv().unwrap(), changed.as_slice());
        drop(listener);
        desk.deliver(changed);
        assert!(one.messages.try_recv().is_err());
        // One request under way: the server can only speak of that one.
        assert!(desk.withdraw(2));
        desk.deliver(br#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#);
        assert!(one.messages.try_recv().is_ok());
        assert!(two.messages.try_recv().is_err());
    }

    /// What a shared child says of itself may be about anybody's request, also one that is over.
    #[test]
    fn a_shared_child_is_not_guessed_at() {
        let mut desk = Desk::shared();
        let (one, mut two) = (open(&mut desk, 1), open(&mut desk, 2));
        drop(one);
        assert!(desk.withdraw(1));
        let about_one = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"secret of one"}}"#;
        assert_eq!(desk.deliver(about_one), None);
        assert!(two.messages.try_recv().is_err());
        desk.deliver(progress("2").as_bytes());
        assert!(two.messages.try_recv().is_ok());
    }

    #[test]
    fn a_subscription_ends_with_its_cancellation() {
        let mut desk = Desk::default();
        let mut one = open(&mut desk, 1);
        desk.deliver(
            br#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#,
        );
        assert!(one.messages.try_recv().is_ok());
        desk.deliver(
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        );
        assert!(matches!(one.over.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(!desk.withdraw(1));
    }

    #[test]
    fn a_caller_that_cannot_keep_up_is_cancelled() {
        let mut desk = Desk::default();
        let one = open(&mut desk, 1);
        for _ in 0..MESSAGES_MAX {
            assert_eq!(desk.deliver(progress("1").as_bytes()), None);
        }
        assert_eq!(desk.deliver(progress("1").as_bytes()), Some(1));
        drop(one);
        let two = open(&mut desk, 2);
        drop(two.messages);
        assert_eq!(desk.deliver(progress("2").as_bytes()), Some(2));
    }

    #[test]
    fn an_identifier_is_not_used_twice_and_nothing_is_after_the_end() {
        let mut desk = Desk::default();
        let mut one = open(&mut desk, 1);
        assert_eq!(desk.register(1, b"").err(), Some(UpstreamFailure::Protocol));
        desk.end(UpstreamFailure::Interrupted);
        desk.end(UpstreamFailure::TooLong);
        assert!(one.first.try_recv().is_err());
        assert_eq!(desk.register(2, b"").err(), Some(UpstreamFailure::Interrupted));
        assert_eq!(desk.listen().err(), Some(UpstreamFailure::SessionGone));
    }

    #[test]
    fn what_is_nearly_a_message_is_none() {
        let mut desk = Desk::default();
        let mut one = open(&mut desk, 1);
        let right = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let (half, _) = right.split_at(20);
        let near: [Vec<u8>; 7] = [
            half.into(),
            format!("{right}{right}").into(),
            format!("{right} {right}").into(),
            format!("\u{feff}{right}").into(),
            format!("log: {right}").into(),
            [right.as_bytes(), &[0]].concat(),
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xbf\"}}".to_vec(),
        ];
        for line in near {
            assert_eq!(desk.deliver(&line), None);
            assert!(one.first.try_recv().is_err(), "{}", String::from_utf8_lossy(&line));
        }
        // A carriage return before the line feed is white space.
        desk.deliver(format!("{right}\r").as_bytes());
        assert!(matches!(one.first.try_recv(), Ok(First::Answer(_))));
    }

    #[test]
    fn what_is_no_message_concerns_nobody() {
        let mut desk = Desk::default();
        let mut one = open(&mut desk, 1);
        for line in
            ["Listening on stdio", "", "{}", "[]", r#"{"id":1,"id":1,"result":{}}"#, "\u{1b}[0m"]
        {
            assert_eq!(desk.deliver(line.as_bytes()), None);
        }
        assert!(one.first.try_recv().is_err());
        assert!(one.messages.try_recv().is_err());
    }
}
