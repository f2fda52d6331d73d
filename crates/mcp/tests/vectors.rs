//! The cases of `vectors/mcp`, each with the section it comes from.

#![expect(clippy::expect_used, reason = "a helper fails its test by panicking")]

use attorn_json::{Limits, parse};
use attorn_mcp::sse::{Event, Parser};
use attorn_mcp::tool_definition::ToolDefinition;
use attorn_mcp::{
    ClientMessage, HeaderView, Revision, ServerMessage, check_headers, check_param_headers,
    param_headers, parse_client_message, parse_server_message,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    section: String,
    revision: Option<String>,
    input: String,
    expect: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    input_schema: Option<String>,
}

impl Case {
    fn revision(&self) -> Revision {
        self.revision.as_deref().and_then(Revision::parse).unwrap_or(Revision::V2026_07_28)
    }

    fn check(&self, outcome: &str) {
        assert_eq!(outcome, self.expect, "{} ({})", self.name, self.section);
        assert!(!self.section.is_empty(), "{} has no section", self.name);
    }
}

fn cases(text: &str) -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(text).expect("vectors are JSON");
    assert!(cases.len() > 10);
    cases
}

/// The name of a variant, without the numbers some carry.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

fn client_outcome(case: &Case) -> String {
    let document = match parse(case.input.as_bytes(), &Limits::MESSAGE) {
        Ok(document) => document,
        Err(error) => return variant(&error),
    };
    match parse_client_message(&document, case.revision()) {
        Ok(ClientMessage::Request(request)) => {
            let method = format!("{:?}", request.method);
            format!("Request {}", method.split('(').next().unwrap_or_default())
        }
        Ok(ClientMessage::Notification(notification)) => {
            format!("Notification {}", variant(&notification))
        }
        Ok(ClientMessage::Response(_)) => "Response".to_owned(),
        Err(refusal) => variant(&refusal),
    }
}

#[test]
fn reads_client_messages_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/mcp/frames.json")) {
        case.check(&client_outcome(&case));
    }
}

#[test]
fn compares_headers_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/mcp/headers.json")) {
        let document = parse(case.input.as_bytes(), &Limits::MESSAGE).expect("strict JSON");
        let message = parse_client_message(&document, case.revision()).expect("well-formed");
        let view = HeaderView::new(
            case.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())),
        );
        let mut outcome = check_headers(&view, &message);
        if let (Some(schema), ClientMessage::Request(request)) = (&case.input_schema, &message) {
            let schema = parse(schema.as_bytes(), &Limits::MESSAGE).expect("strict JSON");
            let declared = param_headers(schema.value()).expect("valid declarations");
            outcome =
                outcome.and_then(|()| check_param_headers(&view, request.arguments(), &declared));
        }
        case.check(
            &outcome.map_or_else(|refusal| format!("{refusal:?}"), |()| "accept".to_owned()),
        );
    }
}

#[test]
fn reads_tool_definitions_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/mcp/definitions.json")) {
        let document = parse(case.input.as_bytes(), &Limits::MESSAGE).expect("strict JSON");
        let outcome = ToolDefinition::parse(document.value());
        case.check(&outcome.map_or_else(|fault| format!("{fault:?}"), |_| "accept".to_owned()));
    }
}

#[test]
fn reads_server_messages_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/mcp/server-messages.json")) {
        let document = parse(case.input.as_bytes(), &Limits::MESSAGE).expect("strict JSON");
        let outcome = match parse_server_message(&document, case.revision()) {
            Ok(ServerMessage::Response(_)) => "Response".to_owned(),
            Ok(ServerMessage::Notification(notification)) => {
                format!("Notification {}", variant(&notification.kind))
            }
            Ok(ServerMessage::Request(request)) => format!("Request {:?}", request.kind),
            Err(fault) => variant(&fault),
        };
        case.check(&outcome);
    }
}

#[derive(Deserialize)]
struct StreamCase {
    name: String,
    section: String,
    input: String,
    /// Kind, data, id, reconnection time.
    expect: Vec<(String, String, Option<String>, Option<u64>)>,
}

/// Every stream is read whole, and again split at every byte.
#[test]
fn reads_event_streams_as_the_vectors_say() {
    let text = include_str!("../../../vectors/mcp/sse.json");
    let cases: Vec<StreamCase> = serde_json::from_str(text).expect("vectors are JSON");
    for case in cases {
        let expected: Vec<Event> = case
            .expect
            .iter()
            .map(|(kind, data, id, retry_ms)| Event {
                kind: kind.clone(),
                data: data.clone(),
                id: id.clone(),
                retry_ms: *retry_ms,
            })
            .collect();
        for split in 0..=case.input.len() {
            let mut parser = Parser::new(1024);
            let (head, tail) = case.input.as_bytes().split_at(split);
            parser.push(head);
            parser.push(tail);
            let mut events = Vec::new();
            while let Some(event) = parser.next_event().expect("readable") {
                events.push(event);
            }
            assert_eq!(events, expected, "{} at {split} ({})", case.name, case.section);
        }
    }
}
