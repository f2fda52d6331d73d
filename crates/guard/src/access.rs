//! One request on its way through the guard: what is known about it so far.

use std::net::IpAddr;
use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_enforce::course::{Course, Ended, Told, attributes};
use attorn_enforce::proofs::Proven;
use attorn_enforce::trace::TraceContext;
use attorn_enforce::view::View;
use attorn_net::Peer;
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::actor::Actor;
use attorn_registry::{AgentId, ApprovalId, DecisionId, Matched, ScopeSet, ServerId};
use attorn_telemetry::Attribute;
use http::request;

use crate::guard::Inner;
use crate::target::Target;

/// What is known about a request. Its entry is the template of every record about it.
#[derive(Debug)]
pub(crate) struct Access {
    guard: Arc<Inner>,
    /// One view for everything that is decided about the request.
    pub(crate) view: Arc<View>,
    pub(crate) now_s: u64,
    pub(crate) entry: Entry,
    /// A nonce to send along.
    pub(crate) nonce: Option<String>,
    /// Where failures are charged to; nowhere behind a listed proxy.
    pub(crate) from: Option<IpAddr>,
    pub(crate) trace: TraceContext,
    pub(crate) course: Course,
    started_ms: u64,
}

/// Who asks an API for what, as the guard verified it. A service behind the layer finds it in the
/// extensions of the request; an API behind the proxy finds the same in headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom the token is about.
    pub subject: String,
    /// Who acts for the subject, the current actor first.
    pub actors: Vec<String>,
    /// The agent whose token was exchanged.
    pub agent: AgentId,
    /// The approval of the call that the server works on, where a person approved it.
    pub approval: Option<ApprovalId>,
    /// The MCP server that asks.
    pub server: ServerId,
    /// What the operation needs.
    pub scope: ScopeSet,
    /// The operation.
    pub operation: String,
    /// Names the guard's entries about this request.
    pub decision_id: String,
    /// The token.
    pub token_id: String,
}

impl Access {
    pub(crate) fn new(guard: Arc<Inner>, head: &request::Parts, target: &Target) -> Self {
        let view = guard.views.current();
        let now_ms = guard.clock.now_ms();
        let header = |name| attorn_enforce::host::single(&head.headers, &name);
        let (parent, state) =
            (header(crate::headers::TRACEPARENT), header(crate::headers::TRACESTATE));
        let trace = TraceContext::continued(parent, state, &guard.random.bytes());
        let mut course = Course::default();
        course.note_trace(&guard.telemetry.tracer, &trace);
        let mut entry = Entry::new(Kind::ResourceAccessed, now_ms);
        entry.role = Some(ROLE.to_owned());
        entry.decision_id = Some(DecisionId::from_random(&guard.random.bytes()).to_string());
        entry.method = Some(head.method.as_str().to_owned());
        entry.trace_id = Some(trace.trace_id().to_owned());
        // Which invoice was asked for, for who has the key of the digests.
        entry.arguments_digest = Some(guard.recorder.digest(target.text().as_bytes()));
        let peer = head.extensions.get::<Peer>();
        if let Some(proxy) = peer.and_then(|peer| peer.proxy.as_ref()) {
            entry.detail.insert("proxy".to_owned(), proxy.to_string());
        }
        let from = peer.and_then(Peer::charged);
        let (now_s, nonce) = (now_ms / 1000, None);
        Self { view, now_s, entry, nonce, from, trace, course, started_ms: now_ms, guard }
    }

    /// The guard. A clone of the reference, so that the entry can be written meanwhile.
    pub(crate) fn guard(&self) -> Arc<Inner> {
        Arc::clone(&self.guard)
    }

    /// Notes whose token it is, also when its proof then fails: a stolen token has a name.
    pub(crate) fn note_token(&mut self, token: &VerifiedToken<ServerId>) {
        let claims = token.claims();
        let entry = &mut self.entry;
        entry.actor_chain = claims.act.as_ref().map(Actor::chain);
        entry.approval = claims.attorn_approval.as_ref().map(ToString::to_string);
        entry.audience = Some(claims.aud.clone());
        entry.client_id = Some(claims.client_id.to_string());
        entry.exchanged_jti = Some(claims.jti.clone());
        entry.grant = claims.grt.as_ref().map(ToString::to_string);
        entry.server = Some(claims.client_id.to_string());
        entry.server_key = Some(claims.cnf.key().to_string());
        entry.subject = Some(claims.sub.to_string());
        if let Some(parent) = &claims.parent {
            entry.agent = Some(parent.client_id.to_string());
            entry.agent_key = Some(parent.key.to_string());
            entry.token_jti = Some(parent.jti.clone());
            let agent = self.view.snapshot.agent(&parent.client_id);
            entry.owner = agent.and_then(|agent| agent.owner.as_ref()).map(ToString::to_string);
        }
    }

    /// Notes the proof, once it holds.
    pub(crate) fn note_proof(&mut self, proven: &Proven<ServerId>) {
        self.entry.proof_jti = proven.token.proof_jti().map(str::to_owned);
        self.entry.proof_key = Some(proven.token.proof_key().to_string());
        self.nonce.clone_from(&proven.nonce);
    }

    /// Notes what is asked for.
    pub(crate) fn note_operation(&mut self, matched: &Matched<'_>) {
        let operation = matched.operation.id.as_str();
        self.entry.detail.insert("operation".to_owned(), operation.to_owned());
        self.entry.class = Some(matched.operation.class.as_str().to_owned());
        self.entry.scope = Some(matched.needed.to_string());
    }

    /// Tells how it ended as spans of the caller's trace, if anybody listens.
    pub(crate) fn tell(&self, ended: Ended) {
        if !self.course.is_traced() {
            return;
        }
        let mut attributes = attributes(&self.entry, ended);
        let operation = self.entry.detail.get("operation").map(String::as_str);
        attributes.extend(Attribute::some("attorn.operation", operation));
        let told = Told { name: "api request", started_ms: self.started_ms, ended, attributes };
        self.course.tell((&self.guard.telemetry.tracer, &self.guard.random), told);
    }

    pub(crate) fn decision_id(&self) -> &str {
        self.entry.decision_id.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
impl Caller {
    /// Somebody, for tests.
    pub(crate) fn example() -> Self {
        Self {
            subject: "ann".to_owned(),
            actors: vec!["srv".to_owned(), "agt".to_owned()],
            agent: AgentId::from_random(&[1; 16]),
            approval: None,
            server: ServerId::from_random(&[2; 16]),
            scope: ScopeSet::parse("read:invoice.get").unwrap(),
            operation: "invoice.get".to_owned(),
            decision_id: "dec_x".to_owned(),
            token_id: "jti".to_owned(),
        }
    }
}

/// The role of the guard in its entries.
const ROLE: &str = "guard";
