//! On the way to a server: its share, its door, and what is counted and traced about it.

use std::sync::Arc;

use attorn_enforce::course::{Ended, Told, attributes};
use attorn_registry::{Class, McpServer};
use attorn_telemetry::{Attribute, ServerMeter};

use crate::exchange::Exchange;
use crate::refusal::{CredentialRefusal, Refusal, Row};
use crate::servers::Behind;
use crate::trace::TraceContext;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::possession::PossessionRefusal;
use attorn_oauth::replay::ReplayRefusal;

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
            let agent = self.entry.agent.as_deref().unwrap_or_default();
            self.passage = Some(behind.door.enter(agent).map_err(Refusal::Limited)?);
        }
        Ok(())
    }

    /// The intent is on record.
    pub(crate) fn note_recorded(&mut self) {
        self.course.note_recorded();
        if let Some(meter) = self.meter() {
            meter.permitted(self.class());
        }
    }

    /// The server answered, or its answer began.
    pub(crate) fn note_reply(&mut self) {
        self.course.note_replied();
    }

    /// Wants spans of this trace, if anybody does.
    pub(crate) fn note_trace(&mut self, trace: &TraceContext) {
        self.course.note_trace(&self.gateway.telemetry.tracer, trace);
    }

    /// The answer is made: counts what it took.
    pub(crate) fn note_answered(&self) {
        let telemetry = &self.gateway.telemetry;
        if let Some((own, behind)) = self.course.own().zip(self.course.behind()) {
            telemetry.calls.own().observe(own);
            if let Some(meter) = self.meter() {
                meter.upstream.observe(behind);
            }
        }
        if self.course.is_traced() {
            let to = (&telemetry.tracer, &self.gateway.random);
            self.course.tell(to, self.as_told(Ended::Answered));
        }
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
            let to = (&telemetry.tracer, &self.gateway.random);
            self.course.tell(to, self.as_told(Ended::Refused(row.reason)));
        }
    }

    /// Identifiers and codes. No subject, no key, no argument.
    fn as_told(&self, ended: Ended) -> Told {
        let known = [
            Attribute::some("mcp.method.name", self.entry.method.as_deref()),
            Attribute::some("mcp.protocol.version", self.entry.mcp_version.as_deref()),
        ];
        let mut attributes = attributes(&self.entry, ended);
        attributes.extend(known.into_iter().flatten());
        Told { name: "mcp request", started_ms: self.started_ms, ended, attributes }
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
