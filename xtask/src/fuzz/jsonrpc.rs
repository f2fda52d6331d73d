//! Client messages: what is decided about is what every other reader sees and what is sent on.

use attorn_json::{Document, parse};
use attorn_mcp::emit::{self, Outbound};
use attorn_mcp::{ClientMessage, Request, Revision, parse_client_message};
use serde_json::Value;

use super::corpus::Corpus;
use super::random::Random;
use super::spell::{LIMITS, respelled};
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const JSONRPC_PARSE: Target = Target {
    name: "jsonrpc_parse",
    oracle: "decision(bytes) = decision(bytes spelled otherwise); method, name and arguments are \
             those serde_json reads; what is sent on is strict JSON, says the same, and is \
             accepted",
    prepare,
};

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let seeds = corpus.texts("mcp/frames.json", "/input")?;
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let document = match parse(input, &LIMITS) {
        Ok(document) => document,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let spelled = respelled(&document, &mut Random::of(input));
    let again = parse(&spelled, &LIMITS).map_err(|error| format!("spelling: {error}"))?;
    let mut seen = Seen::refused(&"in each revision");
    for revision in [Revision::V2026_07_28, Revision::V2025_06_18] {
        let outcome = parse_client_message(&document, revision);
        let other = parse_client_message(&again, revision);
        // Which of two faults is named may depend on the order of members; whether may not.
        ensure(told(&outcome) == told(&other), "the spelling of a message matters")?;
        match &outcome {
            Err(refusal) => seen = if seen.accepted { seen } else { Seen::refused(refusal) },
            Ok(ClientMessage::Request(request)) => {
                check_request(&document, request)?;
                check_emitted(request, revision)?;
                seen = Seen::accepted(&request.method.class());
            }
            Ok(ClientMessage::Notification(_)) => seen = Seen::accepted(&"notification"),
            Ok(ClientMessage::Response(_)) => seen = Seen::accepted(&"response"),
        }
    }
    Ok(seen)
}

/// A decision without the spelling of what it is about.
fn told<E>(outcome: &Result<ClientMessage<'_>, E>) -> String {
    match outcome {
        Err(_) => "refused".to_owned(),
        Ok(ClientMessage::Request(request)) => format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            request.id,
            request.method,
            request.name(),
            request.uri(),
            request.meta.protocol_version,
            request.meta.progress_token,
            request.arguments().map(attorn_json::Value::canonical),
        ),
        Ok(ClientMessage::Notification(notification)) => {
            format!("{:?}", std::mem::discriminant(notification))
        }
        Ok(ClientMessage::Response(response)) => format!("{:?}", response.id),
    }
}

/// No other reader finds another call in the bytes.
fn check_request(document: &Document<'_>, request: &Request<'_>) -> Result<(), String> {
    let read: Value = serde_json::from_str(document.text()).map_err(|error| error.to_string())?;
    let text = |pointer: &str| read.pointer(pointer).and_then(Value::as_str);
    ensure(text("/jsonrpc") == Some("2.0"), "another version of JSON-RPC")?;
    ensure(text("/method") == Some(request.method.as_str()), "another method")?;
    let known = ["jsonrpc", "id", "method", "params"];
    let names = read.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    ensure(names.into_iter().all(|name| known.contains(&name)), "a member nobody knows")?;
    if let Some(name) = request.name() {
        ensure(text("/params/name") == Some(&*name), "another name")?;
    }
    if let Some(uri) = request.uri() {
        ensure(text("/params/uri") == Some(&*uri), "another URI")?;
    }
    Ok(())
}

fn check_emitted(request: &Request<'_>, revision: Revision) -> Result<(), String> {
    let sent = emit::request(request, &Outbound { id: 7, ..Outbound::default() });
    ensure(!sent.contains(&b'\n') && !sent.contains(&b'\r'), "sent on in two lines")?;
    let document = parse(&sent, &LIMITS).map_err(|error| format!("sent on: {error}"))?;
    let again = parse_client_message(&document, revision);
    let again = match again {
        Ok(ClientMessage::Request(again)) => again,
        Ok(ClientMessage::Notification(_) | ClientMessage::Response(_)) => {
            return Err("sent on as another kind of message".to_owned());
        }
        Err(refusal) => return Err(format!("what is sent on is refused: {refusal}")),
    };
    ensure(again.id.to_json() == "7", "the client's id is sent on")?;
    ensure(again.method == request.method, "another method is sent on")?;
    ensure(
        again.name() == request.name() && again.uri() == request.uri(),
        "another name is sent on",
    )?;
    let form = |request: &Request<'_>| {
        let arguments = request.arguments()?;
        arguments.canonical().ok().or_else(|| Some(arguments.text().as_bytes().to_vec()))
    };
    let (before, after) = (form(request), form(&again));
    let same = before == after || request.arguments().is_some_and(|a| a.canonical().is_err());
    ensure(same, "other arguments are sent on")
}
