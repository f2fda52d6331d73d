//! What is counted and traced about requests.

use std::convert::Infallible;
use std::net::SocketAddr;

use attorn_gateway::Limits;
use attorn_net::{Body, Client, ClientConfig, Listener, Shutdown, serve};
use attorn_telemetry::{Exporter, Resource, Telemetry};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{World, call, server_id, tools};

#[tokio::test]
async fn calls_refusals_and_times_are_counted() {
    let world = World::new("metrics");
    for _ in 0..2 {
        assert_eq!(world.ask("read:get", call("get", &json!({}))).await.status, StatusCode::OK);
    }
    world.ask("read:get", call("set", &json!({}))).await;
    world.ask("read:get", call("hidden", &json!({}))).await;
    let ended = |entries: &[attorn_audit::Entry]| {
        let done = entries.iter().filter(|one| one.outcome.is_some() && one.tool.is_some());
        done.count() == 2
    };
    world.entries(ended).await;
    let text = world.telemetry.exposition();
    let id = server_id();
    for line in [
        format!(
            "attorn_calls_total{{server=\"{id}\",class=\"read\",decision=\"permit\",reason=\"\"}} 2\n"
        ),
        format!(
            "attorn_calls_total{{server=\"{id}\",class=\"write\",decision=\"deny\",reason=\"scope.missing\"}} 1\n"
        ),
        format!(
            "attorn_calls_total{{server=\"{id}\",class=\"none\",decision=\"deny\",reason=\"tool.unconfirmed\"}} 1\n"
        ),
        "attorn_refusals_total{reason=\"possession.nonce\"} 4\n".to_owned(),
        "attorn_gateway_seconds_count 2\n".to_owned(),
        format!("attorn_upstream_seconds_count{{server=\"{id}\"}} 2\n"),
        format!("attorn_calls_in_flight{{server=\"{id}\"}} 0\n"),
        "attorn_replay_entries{role=\"gateway\"} 4\n".to_owned(),
        "attorn_sessions 0\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    // AD-19: no name of an agent, a tool or a server, and no token.
    for never in ["agt_", "crm", "hidden", "DPoP", "eyJ"] {
        assert!(!text.contains(never), "{never}\n{text}");
    }
}

/// A collector on loopback; what it was sent comes out of the channel.
async fn collector(shutdown: &Shutdown) -> (SocketAddr, mpsc::Receiver<Value>) {
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
    drop(tokio::spawn(serve(listener, service, Default::default(), shutdown.clone())));
    (address, received)
}

#[tokio::test]
async fn spans_join_the_trace_of_the_caller() {
    let shutdown = Shutdown::new();
    let (address, mut received) = collector(&shutdown).await;
    let client = Client::new(ClientConfig::default()).unwrap();
    let resource = Resource { version: "0", instance: "test/1".into() };
    let (exporter, tracer) =
        Exporter::new(client, &format!("http://{address}"), &resource).unwrap();
    let mut telemetry = Telemetry::default();
    telemetry.tracer = tracer;
    drop(tokio::spawn(exporter.run(shutdown.clone())));
    let world = World::told("spans", (tools(), Limits::default()), telemetry);
    let mut ask = call("get", &json!({}));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    ask.headers.push(("traceparent".into(), parent.into()));
    assert_eq!(world.ask("read:get", ask).await.status, StatusCode::OK);
    let mut spans = Vec::new();
    while spans.len() < 3 {
        let sent = received.recv().await.unwrap();
        let found = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
        spans.extend(found.unwrap_or_default());
    }
    let span = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let whole = span("mcp request");
    assert_eq!(whole["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(whole["parentSpanId"], "00f067aa0ba902b7");
    for inner in ["decision", "upstream"] {
        assert_eq!(span(inner)["parentSpanId"], whole["spanId"]);
        assert_eq!(span(inner)["traceId"], whole["traceId"]);
    }
    let calls = world.calls();
    let (_, sent_on) = calls[0].headers.iter().find(|(name, _)| name == "traceparent").unwrap();
    assert_eq!(sent_on.split('-').nth(2), whole["spanId"].as_str());
    let text = json!(spans).to_string();
    assert!(text.contains("permit") && text.contains("tools/call"));
    for never in ["eyJ", "DPoP", "sub"] {
        assert!(!text.contains(never), "{never}");
    }
    shutdown.start();
}
