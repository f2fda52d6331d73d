//! A collector on loopback takes what is told, and one that is gone costs nothing but a count.

use std::convert::Infallible;
use std::net::SocketAddr;

use attorn_net::{Body, ClientConfig, Limits, Listener, serve};
use http::Response;
use http_body_util::BodyExt;
use hyper::service::service_fn;

use super::*;

fn span(name: &'static str) -> Span {
    Span {
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        span_id: "b7ad6b7169203331".into(),
        parent_id: Some("00f067aa0ba902b7".into()),
        name,
        kind: SpanKind::Server,
        start_ns: 1_800_000_000_000_000_000,
        end_ns: 1_800_000_000_000_050_000,
        failed: false,
        attributes: vec![Attribute { key: "attorn.decision", value: "permit".into() }],
    }
}

fn exporter(endpoint: &str) -> (Exporter, Tracer) {
    let client = Client::new(ClientConfig::default()).unwrap();
    let resource = Resource { version: "0", instance: "test/1".into() };
    Exporter::new(client, endpoint, &resource).unwrap()
}

#[tokio::test]
async fn a_collector_gets_spans_and_logs() {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
    let address = listener.address();
    let (told, mut received) = mpsc::channel(8);
    let service = service_fn(move |request: Request<attorn_net::ReceivedBody>| {
        let told = told.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            told.send((path, body)).await.unwrap();
            Ok::<_, Infallible>(Response::new(Body::full("{}")))
        }
    });
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
    let (exporter, tracer) = exporter(&format!("http://{address}"));
    tracer.tell(Record::Span(span("tools/call")));
    tracer.tell(Record::Log {
        time_ns: 5,
        trace_id: None,
        body: "refused",
        attributes: Vec::new(),
    });
    let stop = Shutdown::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    let (path, body) = received.recv().await.unwrap();
    assert_eq!(path, "/v1/traces");
    let sent = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(sent["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(sent["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(sent["startTimeUnixNano"], "1800000000000000000");
    assert_eq!(sent["attributes"][0]["value"]["stringValue"], "permit");
    let (path, body) = received.recv().await.unwrap();
    assert_eq!(path, "/v1/logs");
    assert_eq!(
        body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"],
        "refused"
    );
    stop.start();
    running.await.unwrap();
    assert_eq!(tracer.dropped(), 0);
    shutdown.start();
    drop(received);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_a_count() {
    let gone = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
    let address = gone.address();
    drop(gone);
    let (exporter, tracer) = exporter(&format!("http://{address}"));
    tracer.tell(Record::Span(span("tools/call")));
    let stop = Shutdown::new();
    stop.start();
    exporter.run(stop).await;
    assert_eq!(tracer.dropped(), 1);
}
