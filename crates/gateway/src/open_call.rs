//! A call that is under way, for the way out of its server: what the server asks of an API meanwhile,
//! it asks in the name of this call.

use attorn_egress::{Held, OpenCall, Shown};
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{ApprovalId, McpServer, Scope, ScopeSet};
use http::header::AUTHORIZATION;
use http::{HeaderName, request};

use crate::exchange::{Caller, Exchange};
use crate::trace::TraceContext;

impl Exchange {
    /// The trace that the server is sent, where what it asks of an API is told by it: one that nobody
    /// else knows. The entry links it to the caller's.
    pub(crate) fn trace_to_send(&mut self, server: &McpServer) -> Option<TraceContext> {
        let is_of = self.gateway.egress.as_ref().is_some_and(|egress| egress.is_of(server));
        let trace = TraceContext::continued(None, None, &self.gateway.random.bytes());
        let linked = || ("server_trace".to_owned(), trace.trace_id().to_owned());
        self.entry.detail.extend(is_of.then(linked));
        is_of.then_some(trace)
    }

    /// Opens a call whose intent is on record. Nothing where its server has no way out.
    ///
    /// The token is kept where requests to the API are made. What talks to the MCP server gets a
    /// number.
    pub(crate) fn open_call(
        &self,
        head: &request::Parts,
        (server, caller): (&McpServer, &Caller),
        (used, approval): (Scope, Option<ApprovalId>),
        (trace, sent_trace): (&TraceContext, &TraceContext),
    ) -> Option<Held> {
        let egress = self.gateway.egress.as_ref().filter(|egress| egress.is_of(server))?;
        let sent = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        // RFC 9110 section 11.4: scheme, space, credentials. It was verified under this form.
        let (_scheme, token) = sent(AUTHORIZATION)?.split_once(' ')?;
        let shown = match (caller.token.confirmation(), caller.certificate) {
            (Confirmation::Certificate(_), Some(held)) => Shown::Certificate(held),
            (Confirmation::Jkt(_), _) => {
                sent(DPOP).map_or(Shown::Nothing, |proof| Shown::Proof(proof.to_owned().into()))
            }
            (Confirmation::Bearer(_), _) | (Confirmation::Certificate(_), None) => Shown::Nothing,
        };
        let credentials = (caller.token.clone(), token.trim_start(), shown);
        let right: (ScopeSet, _) = (std::iter::once(used).collect(), approval);
        let traces = (trace.clone(), sent_trace.trace_id().to_owned());
        let call = OpenCall::new(server.id.clone(), credentials, right, self.entry.clone(), traces);
        Some(egress.calls().begin(call))
    }
}

const DPOP: HeaderName = HeaderName::from_static("dpop");
