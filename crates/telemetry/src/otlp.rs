//! OTLP over HTTP in JSON: batches of spans and log records to one collector.
//!
//! Implements OTLP 1.3, OTLP/HTTP with JSON encoding: `/v1/traces` and `/v1/logs`, one request at a
//! time, no retry. What a collector does not take is counted as dropped and forgotten.

use std::time::Duration;

use attorn_net::{Client, Shutdown};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::span::{Attribute, Record, Span, SpanKind, Tracer};

/// Who sends: the attributes of OpenTelemetry's resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `service.version`.
    pub version: &'static str,
    /// `service.instance.id`: the name of the node.
    pub instance: String,
}

/// Sends what a [`Tracer`] takes.
#[derive(Debug)]
pub struct Exporter {
    tracer: Tracer,
    records: mpsc::Receiver<Record>,
    client: Client,
    traces: Uri,
    logs: Uri,
    resource: Value,
}

impl Exporter {
    /// An exporter to the collector at `endpoint`, a URL without a path, and its tracer.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn new(
        client: Client,
        endpoint: &str,
        resource: &Resource,
    ) -> Result<(Self, Tracer), http::uri::InvalidUri> {
        let (tracer, records) = Tracer::new(QUEUE_RECORDS_MAX);
        let base = endpoint.trim_end_matches('/');
        let resource = json!({ "attributes": [
            text("service.name", "attorn"),
            text("service.version", resource.version),
            text("service.instance.id", &resource.instance),
        ]});
        let exporter = Self {
            tracer: tracer.clone(),
            records,
            client,
            traces: format!("{base}/v1/traces").parse()?,
            logs: format!("{base}/v1/logs").parse()?,
            resource,
        };
        Ok((exporter, tracer))
    }

    /// Sends batches until `shutdown`, and what is left then.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut batch = Vec::new();
        loop {
            let stop = tokio::select! {
                () = shutdown.started() => true,
                taken = self.records.recv_many(&mut batch, BATCH_RECORDS_MAX) => taken == 0,
            };
            if stop {
                while let Ok(record) = self.records.try_recv() {
                    batch.push(record);
                }
                return self.send(std::mem::take(&mut batch)).await;
            }
            // A moment later there is more to send together.
            if batch.len() < BATCH_RECORDS_MAX {
                tokio::select! {
                    () = shutdown.started() => {}
                    () = tokio::time::sleep(BATCH_PAUSE) => {}
                }
                let left = BATCH_RECORDS_MAX - batch.len();
                for _ in 0..left {
                    let Ok(record) = self.records.try_recv() else { break };
                    batch.push(record);
                }
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    async fn send(&self, batch: Vec<Record>) {
        let (mut spans, mut logs) = (Vec::new(), Vec::new());
        for record in batch {
            match record {
                Record::Span(span) => spans.push(span_json(&span)),
                Record::Log { time_ns, trace_id, body, attributes } => {
                    logs.push(log_json(time_ns, trace_id.as_deref(), body, &attributes));
                }
            }
        }
        let scope = json!({ "name": "attorn" });
        if !spans.is_empty() {
            let count = spans.len();
            let body = json!({ "resourceSpans": [{ "resource": self.resource,
                "scopeSpans": [{ "scope": scope, "spans": spans }] }] });
            self.post(&self.traces, &body, count).await;
        }
        if !logs.is_empty() {
            let count = logs.len();
            let body = json!({ "resourceLogs": [{ "resource": self.resource,
                "scopeLogs": [{ "scope": scope, "logRecords": logs }] }] });
            self.post(&self.logs, &body, count).await;
        }
    }

    async fn post(&self, to: &Uri, body: &Value, records: usize) {
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let taken = match self.client.send_within(request, ANSWER_WITHIN).await {
            Ok(answer) => {
                let status = answer.status();
                // Read, so that the connection can be used again; what it says does not matter.
                drop(answer.into_body().bytes(ANSWER_BYTES_MAX).await);
                status.is_success()
            }
            Err(error) => {
                tracing::debug!(%error, "the collector does not answer");
                false
            }
        };
        if !taken {
            self.tracer.lost(u64::try_from(records).unwrap_or(u64::MAX));
        }
    }
}

fn span_json(span: &Span) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id.as_deref().unwrap_or_default(),
        "name": span.name,
        "kind": kind,
        // OTLP 1.3, JSON encoding: 64-bit numbers are texts.
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": attributes(&span.attributes),
        "status": { "code": if span.failed { 2 } else { 0 } },
    })
}

fn log_json(time_ns: u64, trace_id: Option<&str>, body: &str, about: &[Attribute]) -> Value {
    json!({
        "timeUnixNano": time_ns.to_string(),
        "severityNumber": SEVERITY_WARN,
        "severityText": "WARN",
        "body": { "stringValue": body },
        "attributes": attributes(about),
        "traceId": trace_id.unwrap_or_default(),
    })
}

fn attributes(attributes: &[Attribute]) -> Vec<Value> {
    attributes.iter().map(|attribute| text(attribute.key, &attribute.value)).collect()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

const QUEUE_RECORDS_MAX: usize = 8_192;
const BATCH_RECORDS_MAX: usize = 512;
const BATCH_PAUSE: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const SEVERITY_WARN: u64 = 13;

#[cfg(test)]
mod tests;
