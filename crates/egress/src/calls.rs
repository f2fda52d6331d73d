//! Calls that are under way at MCP servers: what a request on its way out can belong to.
//!
//! The token of the call stays here. Whoever talks to the server gets a number.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attorn_audit::Entry;
use attorn_connect::exchange::Exchanged;
use attorn_enforce::trace::TraceContext;
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::evidence::HeldCertificate;
use attorn_registry::{ApprovalId, ScopeSet, ServerId};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// What shows that the caller held what its token is bound to.
pub enum Shown {
    /// The certificate of the connection, as the gateway saw it.
    Certificate(HeldCertificate),
    /// Nothing: the token is bound to nothing. Such a call gets no token.
    Nothing,
    /// The proof that came with the token.
    Proof(Zeroizing<String>),
}

/// A permitted call whose intent is on record.
pub struct OpenCall {
    /// Where it is under way.
    pub server: ServerId,
    /// The token it came with, verified, and as it was sent.
    pub token: VerifiedToken,
    /// The same as text.
    pub token_text: Zeroizing<String>,
    /// What it was used with.
    pub shown: Shown,
    /// The right that was used, and no more of what the token holds.
    pub scope: ScopeSet,
    /// The approval that was used up for it, where a person had to say yes.
    pub approval: Option<ApprovalId>,
    /// What the journal says of it: who, for whom, in which trace.
    pub entry: Entry,
    /// The trace of the caller, with the span that the call is.
    pub trace: TraceContext,
    /// The trace that the server was sent: not the caller's, which others know.
    pub sent_trace: String,
    /// Tokens that were exchanged for it, by API and scope.
    pub(crate) exchanged: tokio::sync::Mutex<HashMap<(String, String), Kept>>,
}

/// An exchanged token, and when it is too old to begin with.
pub(crate) struct Kept {
    pub(crate) token: Arc<Exchanged>,
    pub(crate) until: Instant,
}

impl OpenCall {
    /// A call without any exchanged token yet.
    #[must_use]
    pub fn new(
        server: ServerId,
        (token, token_text, shown): (VerifiedToken, &str, Shown),
        (scope, approval): (ScopeSet, Option<ApprovalId>),
        entry: Entry,
        (trace, sent_trace): (TraceContext, String),
    ) -> Self {
        Self {
            server,
            token,
            token_text: Zeroizing::new(token_text.to_owned()),
            shown,
            scope,
            approval,
            entry,
            trace,
            sent_trace,
            exchanged: tokio::sync::Mutex::default(),
        }
    }
}

impl OpenCall {
    /// Who showed neither the key nor the certificate of the token has nothing that could be passed on
    /// as evidence; and a static key is not for them either.
    pub(crate) fn verify_shown(&self) -> Result<(), Refusal> {
        match (self.token.confirmation(), &self.shown) {
            (Confirmation::Jkt(_), Shown::Proof(_))
            | (Confirmation::Certificate(_), Shown::Certificate(_)) => Ok(()),
            (
                Confirmation::Bearer(_) | Confirmation::Certificate(_) | Confirmation::Jkt(_),
                Shown::Certificate(_) | Shown::Nothing | Shown::Proof(_),
            ) => Err(Refusal::Evidence),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown([redacted])")
    }
}

impl fmt::Debug for OpenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCall")
            .field("decision", &self.entry.decision_id)
            .finish_non_exhaustive()
    }
}

/// Names a call that is under way. Never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(u64);

/// All calls under way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: HashMap<CallId, Arc<OpenCall>>,
}

/// Keeps a call open. Dropped, nothing more can be asked in its name.
#[derive(Debug)]
pub struct Held {
    calls: Calls,
    id: CallId,
}

/// A request belongs to no call, or to more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request belongs to no call")]
pub struct Unattributed;

impl Calls {
    /// A call begins. It is open as long as what this gives is held.
    #[must_use]
    pub fn begin(&self, call: OpenCall) -> Held {
        let mut table = self.lock();
        table.last += 1;
        let id = CallId(table.last);
        table.open.insert(id, Arc::new(call));
        drop(table);
        Held { calls: self.clone(), id }
    }

    pub(crate) fn call(&self, id: CallId) -> Result<Arc<OpenCall>, Unattributed> {
        self.lock().open.get(&id).cloned().ok_or(Unattributed)
    }

    /// The call that a server was sent with this trace: it was made for the call alone.
    pub(crate) fn of_trace(
        &self,
        server: &ServerId,
        trace: &str,
    ) -> Result<Arc<OpenCall>, Unattributed> {
        let table = self.lock();
        let is_it = |call: &&Arc<OpenCall>| call.server == *server && call.sent_trace == trace;
        let mut found = table.open.values().filter(is_it);
        match (found.next(), found.next()) {
            (Some(call), None) => Ok(Arc::clone(call)),
            (Some(_), Some(_)) | (None, _) => Err(Unattributed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The number of the call.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.calls.lock().open.remove(&self.id));
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
