//! What is traced about requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use attorn_enforce::Freshness;
use attorn_guard::UpstreamUrl;
use attorn_net::{Body, Client, ClientConfig, Limits, Listener, Shutdown, serve};
use attorn_telemetry::{Exporter, Resource, Telemetry};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::world::{BOTH, World, ask};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const READ: &str = "read:invoice.get";

/// A collector on loopback, and the spans and logs that it is sent.
struct Collector {
    received: mpsc::Receiver<Value>,
    spans: Vec<Value>,
    logs: Vec<Value>,
}

impl Collector {
    async fn start(shutdown: &Shutdown) -> (Self, Telemetry) {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
        let address = listener.address();
        let (told, received) = mpsc::channel(64);
        let service = service_fn(move |request: Request<attorn_net::ReceivedBody>| {
            let told = told.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                told.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
                Ok::<_, Infallible>(Response::new(Body::full("{}")))
            }
        });
        drop(tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone())));
        let client = Client::new(ClientConfig::default()).unwrap();
        let resource = Resource { version: "0", instance: "test/1".into() };
        let to = format!("http://{address}");
        let (exporter, tracer) = Exporter::new(client, &to, &resource).unwrap();
        drop(tokio::spawn(exporter.run(shutdown.clone())));
        let mut telemetry = Telemetry::default();
        telemetry.tracer = tracer;
        (Self { received, spans: Vec::new(), logs: Vec::new() }, telemetry)
    }

    /// The spans of the trace of these tests, once this many are there.
    async fn spans(&mut self, count: usize) -> Vec<Value> {
        loop {
            let of_trace = |span: &&Value| span["traceId"] == TRACE;
            let found: Vec<Value> = self.spans.iter().filter(of_trace).cloned().collect();
            if found.len() >= count {
                self.spans.clear();
                return found;
            }
            let sent = self.received.recv().await.unwrap();
            let items = |at: &Value| at.as_array().cloned().unwrap_or_default();
            self.spans.extend(items(&sent["resourceSpans"][0]["scopeSpans"][0]["spans"]));
            self.logs.extend(items(&sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]));
        }
    }
}

fn named<'s>(spans: &'s [Value], name: &str) -> &'s Value {
    spans.iter().find(|span| span["name"] == name).unwrap()
}

fn told(span: &Value, key: &str) -> String {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|attribute| attribute["key"] == key);
    found.map(|one| one["value"]["stringValue"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn in_trace(below: &str) -> crate::world::Ask {
    ask("GET", below).with("traceparent", &format!("00-{TRACE}-{SPAN}-01"))
}

#[tokio::test]
async fn spans_join_the_trace_of_who_asks() {
    for version in BOTH {
        let shutdown = Shutdown::new();
        let (mut collector, telemetry) = Collector::start(&shutdown).await;
        let with = (Arc::new(Freshness::own()), telemetry);
        let world = World::told("spans", version, with, |_| ()).await;
        let answer = world.ask(READ, in_trace("/invoices/7")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let spans = collector.spans(3).await;
        let whole = named(&spans, "api request");
        assert_eq!((&whole["parentSpanId"], &whole["kind"]), (&SPAN.into(), &2.into()));
        assert_eq!(whole["status"]["code"], 0);
        for inner in ["decision", "upstream"] {
            assert_eq!(named(&spans, inner)["parentSpanId"], whole["spanId"], "{inner}");
        }
        assert_eq!(told(whole, "attorn.decision"), "permit");
        assert_eq!(told(whole, "attorn.operation"), "invoice.get");
        // The API gets the guard's span as its parent.
        let seen = world.api.take_seen().pop().unwrap();
        let sent = seen.header("traceparent").unwrap();
        assert_eq!(sent.split('-').nth(2), whole["spanId"].as_str());
        let text = serde_json::to_string(&spans).unwrap();
        for never in ["eyJ", "DPoP", "sub", "/invoices/7"] {
            assert!(!text.contains(never), "{never}");
        }
        shutdown.start();
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_an_api_that_is_gone_failed() {
    let shutdown = Shutdown::new();
    let (mut collector, telemetry) = Collector::start(&shutdown).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let with = (Arc::new(Freshness::own()), telemetry);
    let world = World::told("spans-refused", http::Version::HTTP_11, with, |config| {
        config.upstream = UpstreamUrl::parse(&format!("http://{address}/v1")).unwrap();
    });
    let world = world.await;
    // Nobody proved anything, and what nobody may do: neither got as far as the API.
    for (scope, below, reason) in
        [(None, "/invoices/7", "token.missing"), (Some(READ), "/none", "operation.unknown")]
    {
        let answer = match scope {
            Some(scope) => world.ask(scope, in_trace(below)).await,
            None => world.send(in_trace(below)).await,
        };
        assert_eq!(answer.told().1, reason);
        let spans = collector.spans(2).await;
        let whole = named(&spans, "api request");
        assert_eq!((&whole["parentSpanId"], &whole["status"]["code"]), (&SPAN.into(), &2.into()));
        assert_eq!(told(whole, "attorn.reason"), reason);
        assert_eq!(told(whole, "attorn.decision"), "deny");
        assert!(spans.iter().all(|span| span["name"] != "upstream"));
    }
    // It was permitted, and there was nobody.
    world.ask(READ, in_trace("/invoices/7")).await;
    let spans = collector.spans(3).await;
    let (whole, behind) = (named(&spans, "api request"), named(&spans, "upstream"));
    assert_eq!((&whole["status"]["code"], &behind["status"]["code"]), (&2.into(), &2.into()));
    assert_eq!(told(whole, "attorn.reason"), "downstream.unreachable");
    assert_eq!(told(whole, "attorn.decision"), "permit");
    // Refusals are log records too, and what failed is none.
    while collector.logs.len() < 2 {
        let sent = collector.received.recv().await.unwrap();
        let all = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().cloned();
        collector.logs.extend(all.unwrap_or_default());
    }
    let reasons: Vec<_> = collector.logs.iter().map(|log| told(log, "attorn.reason")).collect();
    assert!(reasons.contains(&"operation.unknown".to_owned()), "{reasons:?}");
    assert!(!reasons.contains(&"downstream.unreachable".to_owned()), "{reasons:?}");
    shutdown.start();
}
