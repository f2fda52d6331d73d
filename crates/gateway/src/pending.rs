//! What a session of an older revision waits for, in both directions.
//!
//! A server may ask the client something while a call runs (sampling, elicitation, roots; MCP
//! 2025-11-25, Client Features). The question goes to the client under an identifier of ours, and
//! only that identifier is answered, once: a client cannot answer what was never asked. The
//! client's calls are known to the upstream under identifiers of ours too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_mcp::RequestId;

/// Open questions and open calls of one session.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// Our identifier of a question to the upstream's own.
    questions: HashMap<u64, RequestId<'static>>,
    /// The client's identifier of a call to ours.
    calls: HashMap<RequestId<'static>, u64>,
}

/// The client owes more answers than a session may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyQuestions;

impl Pending {
    /// Takes a question of the upstream; the result is the identifier the client will see.
    pub(crate) fn ask(&self, upstream_id: RequestId<'static>) -> Result<u64, TooManyQuestions> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.questions.len() >= QUESTIONS_MAX {
            return Err(TooManyQuestions);
        }
        inner.last += 1;
        let id = inner.last;
        inner.questions.insert(id, upstream_id);
        Ok(id)
    }

    /// The upstream's own identifier for the client's answer to `id`, which is used up by it.
    pub(crate) fn answer(&self, id: u64) -> Option<RequestId<'static>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).questions.remove(&id)
    }

    /// Our identifier of a question that the upstream takes back.
    pub(crate) fn take_back(&self, upstream_id: &RequestId<'_>) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.questions.iter().find(|(_, own)| *own == upstream_id).map(|(id, _)| *id)?;
        inner.questions.remove(&id);
        Some(id)
    }

    /// Notes a call of the client, so that it can be cancelled.
    pub(crate) fn begin(&self, client_id: RequestId<'static>, upstream_id: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.calls.len() < CALLS_MAX {
            inner.calls.insert(client_id, upstream_id);
        }
    }

    /// Our identifier of an open call of the client.
    pub(crate) fn call(&self, client_id: &RequestId<'static>) -> Option<u64> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).calls.get(client_id).copied()
    }

    /// Forgets a call that ended.
    pub(crate) fn end(&self, client_id: &RequestId<'static>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(client_id);
    }
}

const QUESTIONS_MAX: usize = 64;
const CALLS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use attorn_mcp::RequestId;

    use super::{Pending, TooManyQuestions};

    fn text(id: &str) -> RequestId<'static> {
        RequestId::Text(id.to_owned().into())
    }

    #[test]
    fn a_question_is_answered_once_and_under_our_identifier() {
        let pending = Pending::default();
        let id = pending.ask(text("up-1")).unwrap();
        assert_eq!(pending.answer(id + 1), None);
        assert_eq!(pending.answer(id), Some(text("up-1")));
        assert_eq!(pending.answer(id), None);
    }

    #[test]
    fn a_question_taken_back_is_not_answered() {
        let pending = Pending::default();
        let id = pending.ask(text("up-1")).unwrap();
        assert_eq!(pending.take_back(&text("up-2")), None);
        assert_eq!(pending.take_back(&text("up-1")), Some(id));
        assert_eq!(pending.answer(id), None);
    }

    #[test]
    fn questions_are_bounded() {
        let pending = Pending::default();
        for _ in 0..64 {
            pending.ask(text("q")).unwrap();
        }
        assert_eq!(pending.ask(text("q")), Err(TooManyQuestions));
    }

    #[test]
    fn a_call_is_found_until_it_ends() {
        let pending = Pending::default();
        pending.begin(text("c"), 7);
        assert_eq!(pending.call(&text("c")), Some(7));
        pending.end(&text("c"));
        assert_eq!(pending.call(&text("c")), None);
    }
}
