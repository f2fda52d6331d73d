//! A request on its way out as spans: under the call it belongs to, in the trace of the caller.

use attorn_enforce::course::{Ended, Told, attributes};
use attorn_enforce::trace::TraceContext;
use attorn_telemetry::Attribute;

use crate::walk::Outbound;

impl Outbound {
    /// From here on it is a span of the call, whose own is its parent. What the API and the authority
    /// are told of is this span: theirs come under it.
    pub(crate) fn join(&mut self, call: &TraceContext) {
        let random = &self.egress.random.bytes();
        self.trace = TraceContext::continued(Some(&call.traceparent()), None, random);
        self.course.note_trace(&self.egress.telemetry.tracer, &self.trace);
    }

    /// Tells how it ended, if anybody listens.
    pub(crate) fn tell(&self, ended: Ended) {
        if !self.course.is_traced() {
            return;
        }
        let mut attributes = attributes(&self.entry, ended);
        let operation = self.entry.detail.get("operation").map(String::as_str);
        attributes.extend(Attribute::some("attorn.operation", operation));
        let (name, started_ms) = ("egress request", self.started_ms);
        let told = Told { name, started_ms, ended, attributes };
        self.course.tell((&self.egress.telemetry.tracer, &self.egress.random), told);
    }
}
