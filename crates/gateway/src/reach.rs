//! On the way to a server: its share, its door, and what is counted and traced about it.

use std::sync::Arc;
use std::time::Duration;

use attorn_registry::{Class, McpServer};
use attorn_telemetry::{Attribute, Record, ServerMeter, Span, SpanKind};
use tokio::time::Instant;

use crate::exchange::Exchange;
use crate::refusal::{CredentialRefusal, Refusal, Row};
use crate::servers::Behind;
use crate::trace::TraceContext;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::possession::PossessionRefusal;
use attorn_oauth::replay::ReplayRefusal;

/// The moments of one request, and the span it is.
#[derive(Debug)]
pub(crate) struct Course {
    started: Instant,
    recorded: Option<Instant>,
    replied: Option<Instant>,
    // Invariant: `Some` only while somebody wants spans.
    trace: Option<TraceContext>,
}

impl Course {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), recorded: None, replied: None, trace: None }
    }
}

impl Exchange {
    /// The server, asked for its tools if it never was, with one request taken from its share.
    pub(crate) async fn reach(&mut self, server: &McpServer) -> Result<Arc<Behind>, Refusal> {
        let behind = self.gateway.seen_server(server).await?;
        behind.door.knock().map_err(Refusal::Limited)?;
        self.behind = Some(Arc::clone(&behind));
        Ok(behind)
    }

    /// A place at the server, before the intent is recorded: what finds none never was.
    pub(crate) fn pass(&mut self) -> Result<(), Refusal> {
        if let Some(behind) = &self.behind
            && !self.rests
            && self.passage.is_none()
        {
            self.passage = Some(behind.door.enter().map_err(Refusal::Limited)?);
        }
        Ok(())
    }

    /// The intent is on record.
    pub(crate) fn note_recorded(&mut self) {
        self.course.recorded = Some(Instant::now());
        if let Some(meter) = self.meter() {
            meter.permitted(self.class());
        }
    }

    /// The server answered, or its answer began.
    pub(crate) fn note_reply(&mut self) {
        self.course.replied = Some(Instant::now());
    }

    /// Wants spans of this trace, if anybody does.
    pub(crate) fn note_trace(&mut self, trace: &TraceContext) {
        if self.gateway.telemetry.tracer.is_on() {
            self.course.trace = Some(trace.clone());
        }
    }

    /// The answer is made: counts what it took.
    pub(crate) fn note_answered(&self) {
        let Course { started, recorded, replied, .. } = &self.course;
        if let (Some(recorded), Some(replied)) = (recorded, replied) {
            let own = (*recorded - *started) + replied.elapsed();
            self.gateway.telemetry.calls.own().observe(own);
            if let Some(meter) = self.meter() {
                meter.upstream.observe(*replied - *recorded);
            }
        }
        self.tell_spans(None);
    }

    /// Counts a refusal, charges it to where it came from, and tells who listens.
    pub(crate) fn note_refused(&self, refusal: &Refusal, row: Row) {
        let telemetry = &self.gateway.telemetry;
        telemetry.calls.refused(row.reason);
        if let Some(meter) = self.meter() {
            meter.refused(self.class(), row.reason);
        }
        if let Some(limit) = refusal.limit_hit() {
            telemetry.calls.limit_hit(limit);
        }
        if costs_a_signature(refusal) {
            self.gateway.throttle.failed(self.from);
        }
        if telemetry.tracer.is_on() {
            telemetry.tracer.tell(Record::Log {
                time_ns: self.gateway.clock.now_ms().saturating_mul(1_000_000),
                trace_id: self.course.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
                body: "refused",
                attributes: self.attributes(Some(row)),
            });
            self.tell_spans(Some(row));
        }
    }

    /// The decision, and where it went on, the call to the server.
    fn tell_spans(&self, refused: Option<Row>) {
        let Some(trace) = &self.course.trace else { return };
        let Course { started, recorded, replied, .. } = &self.course;
        let start_ns = self.started_ms.saturating_mul(1_000_000);
        let at = |moment: Instant| start_ns.saturating_add(nanoseconds(moment - *started));
        let span = |name, kind, (from, to)| Span {
            trace_id: trace.trace_id().to_owned(),
            span_id: TraceContext::new_span_id(self.gateway.random.bytes()),
            parent_id: Some(trace.span_id().to_owned()),
            name,
            kind,
            start_ns: from,
            end_ns: to,
            failed: false,
            attributes: Vec::new(),
        };
        let now = Instant::now();
        let whole = Span {
            span_id: trace.span_id().to_owned(),
            parent_id: trace.parent_id().map(str::to_owned),
            failed: refused.is_some(),
            attributes: self.attributes(refused),
            ..span("mcp request", SpanKind::Server, (start_ns, at(now)))
        };
        let decided = recorded.unwrap_or(now);
        let decision = span("decision", SpanKind::Internal, (start_ns, at(decided)));
        let call = recorded.zip(*replied).map(|(recorded, replied)| {
            span("upstream", SpanKind::Client, (at(recorded), at(replied)))
        });
        for span in [Some(whole), Some(decision), call].into_iter().flatten() {
            self.gateway.telemetry.tracer.tell(Record::Span(span));
        }
    }

    /// Identifiers and codes. No subject, no key, no argument.
    fn attributes(&self, refused: Option<Row>) -> Vec<Attribute> {
        let entry = &self.entry;
        let decision = if refused.is_some() { "deny" } else { "permit" };
        let known = [
            Attribute::some("mcp.method.name", entry.method.as_deref()),
            Attribute::some("mcp.protocol.version", entry.mcp_version.as_deref()),
            Attribute::some("attorn.server.id", entry.server.as_deref()),
            Attribute::some("attorn.agent.id", entry.agent.as_deref()),
            Attribute::some("attorn.approval.id", entry.approval.as_deref()),
            Attribute::some("attorn.class", entry.class.as_deref()),
            Attribute::some("attorn.decision", Some(decision)),
            Attribute::some("attorn.decision.id", entry.decision_id.as_deref()),
            Attribute::some("attorn.reason", refused.map(|row| row.reason.as_str())),
            Attribute::some("attorn.rule", entry.rule.as_deref()),
        ];
        known.into_iter().flatten().collect()
    }

    fn meter(&self) -> Option<Arc<ServerMeter>> {
        match &self.behind {
            Some(behind) => Some(Arc::clone(&behind.door.meter)),
            // Not on the path of a call that goes well.
            None => self.server().map(|server| self.gateway.telemetry.calls.server(&server.id)),
        }
    }

    /// The class of what is asked for: noted by the permit, else that of the approved tool.
    fn class(&self) -> Option<Class> {
        if let Some(class) = &self.entry.class {
            return class.parse().ok();
        }
        let tool = self.entry.tool.as_deref()?;
        self.server()?.tools.get(tool)?.approved_class()
    }
}

/// Whether somebody made us verify a signature, or could have, with credentials that do not hold.
/// Asking without any, or without our nonce, is how an honest client begins.
fn costs_a_signature(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Credential(credential) => match credential {
            CredentialRefusal::TokenMissing
            | CredentialRefusal::Limited(_)
            | CredentialRefusal::Caller(_)
            | CredentialRefusal::TokenRevoked
            | CredentialRefusal::SeveralPlaces
            | CredentialRefusal::TokenStopped
            | CredentialRefusal::Proof(DpopRefusal::Nonce | DpopRefusal::NonceMissing)
            | CredentialRefusal::Possession(PossessionRefusal::Replay(
                ReplayRefusal::Full
                | ReplayRefusal::Ended
                | ReplayRefusal::SharedUnavailable
                | ReplayRefusal::StartedAfterIssue,
            )) => false,
            CredentialRefusal::TokenMalformed
            | CredentialRefusal::BearerNotAllowed
            | CredentialRefusal::Token(_)
            | CredentialRefusal::ProofRepeated
            | CredentialRefusal::Proof(_)
            | CredentialRefusal::Possession(_) => true,
        },
        Refusal::AuthorityStale
        | Refusal::Head(_)
        | Refusal::Message(_)
        | Refusal::Decision(_)
        | Refusal::JournalUnavailable
        | Refusal::Limited(_)
        | Refusal::Upstream(_) => false,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
