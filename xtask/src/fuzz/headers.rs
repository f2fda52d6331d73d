//! Headers that mirror the body: accepted means that a reader of headers and a reader of bodies
//! see one call.

use std::borrow::Cow;

use attorn_json::parse;
use attorn_mcp::tool_definition::ToolDefinition;
use attorn_mcp::{
    ClientMessage, HeaderView, Request, Revision, check_headers, check_param_headers, emit,
    parse_client_message,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::mutate::frame;
use super::random::Random;
use super::spell::{LIMITS, respelled};
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const HEADER_BODY_MATCH: Target = Target {
    name: "header_body_match",
    oracle: "accepted: each mirrored header is there once and its decoded value is the body's, as \
             other readers see both; a header more, less or changed is refused; ours are accepted",
    prepare: header_body,
};

pub(crate) const BASE64_SENTINEL: Target = Target {
    name: "base64_sentinel",
    oracle: "a header value is accepted for a name exactly if a decoder of our own makes that name \
             of it; what we write for a name is visible ASCII and is accepted for it alone",
    prepare: sentinel,
};

pub(crate) const MCP_PARAM_HEADER: Target = Target {
    name: "mcp_param_header",
    oracle: "declared headers are tokens, told apart without case, as many as serde_json finds, \
             the same in any spelling; what we send for them is accepted, and refused without one",
    prepare: param_header,
};

const VERSION: &str = "2026-07-28";

fn header_body(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds = Vec::new();
    for row in corpus.rows("mcp/headers.json")? {
        let pairs = row.get("headers").and_then(Value::as_array).into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines: Vec<String> = pairs
            .filter_map(|pair| Some(format!("{}: {}", text(pair.get(0)?), text(pair.get(1)?))))
            .collect();
        let body = row.get("input").map(text).unwrap_or_default();
        seeds.push(format!("{}\n\n{body}", lines.join("\n")).into_bytes());
    }
    Ok(Subject { seeds, shape: Shape::Framed, check: Box::new(check_frame) })
}

fn check_frame(input: &[u8]) -> Result<Seen, String> {
    let (head, body) = frame(input);
    let Ok(document) = parse(body, &LIMITS) else { return Ok(Seen::refused(&"body")) };
    let Ok(message) = parse_client_message(&document, Revision::V2026_07_28) else {
        return Ok(Seen::refused(&"message"));
    };
    let head = String::from_utf8_lossy(head).into_owned();
    let headers: Vec<(&str, &[u8])> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    if let Err(refusal) = check_headers(&HeaderView::new(headers.iter().copied()), &message) {
        return Ok(Seen::refused(&refusal));
    }
    let request = match &message {
        ClientMessage::Request(request) => request,
        ClientMessage::Notification(_) | ClientMessage::Response(_) => {
            return Ok(Seen::accepted(&"no request"));
        }
    };
    let read: Value = serde_json::from_str(document.text()).map_err(|error| error.to_string())?;
    check_mirrors(&headers, &read)?;
    check_variants(&headers, &message)?;
    check_own(request, &message)?;
    Ok(Seen::accepted(&request.method.class()))
}

/// The one value of a header, as a reader who knows nothing of MCP finds it.
fn only<'h>(headers: &[(&str, &'h [u8])], wanted: &str) -> Option<&'h str> {
    let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let value = found.next().filter(|_| found.next().is_none())?.1;
    std::str::from_utf8(value).ok()
}

fn check_mirrors(headers: &[(&str, &[u8])], body: &Value) -> Result<(), String> {
    let method = body.get("method").and_then(Value::as_str);
    ensure(method.is_some() && only(headers, "mcp-method") == method, "another method")?;
    let version = body.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    let version = version.and_then(Value::as_str);
    ensure(only(headers, "mcp-protocol-version") == version, "another version")?;
    let name = match method {
        Some("tools/call" | "prompts/get") => body.pointer("/params/name"),
        Some("resources/read") => body.pointer("/params/uri"),
        Some(_) | None => return Ok(()),
    };
    let sent = only(headers, "mcp-name").and_then(reference_decode);
    ensure(sent.is_some() && sent.as_deref() == name.and_then(Value::as_str), "another name")
}

fn check_variants(headers: &[(&str, &[u8])], message: &ClientMessage<'_>) -> Result<(), String> {
    let refused = |headers: &[(&str, &[u8])]| {
        check_headers(&HeaderView::new(headers.iter().copied()), message).is_err()
    };
    for wanted in ["mcp-method", "mcp-protocol-version"] {
        let without: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case(wanted))
            .copied()
            .collect();
        ensure(refused(&without), &format!("accepted without {wanted}"))?;
        let value = only(headers, wanted).unwrap_or_default();
        let upper = wanted.to_ascii_uppercase();
        let mut twice = headers.to_vec();
        twice.push((&upper, value.as_bytes()));
        ensure(refused(&twice), &format!("accepted with {wanted} twice"))?;
        let changed = format!("{value}x");
        let mut other = without.clone();
        other.push((wanted, changed.as_bytes()));
        ensure(refused(&other), &format!("accepted with another {wanted}"))?;
    }
    Ok(())
}

fn check_own(request: &Request<'_>, message: &ClientMessage<'_>) -> Result<(), String> {
    let own = emit::headers(request, &[]);
    let version = ("mcp-protocol-version".to_owned(), VERSION.to_owned());
    let all: Vec<(String, String)> = own.into_iter().chain([version]).collect();
    let view = HeaderView::new(all.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    // A message may name a revision of the future in its `_meta`; ours never does.
    if request.meta.protocol_version.as_deref() != Some(VERSION) {
        return Ok(());
    }
    check_headers(&view, message).map_err(|refusal| format!("our own headers: {refusal}"))
}

/// MCP 2026-07-28, Streamable HTTP, Value Encoding, written a second time.
fn reference_decode(value: &str) -> Option<Cow<'_, str>> {
    let marked = value.len() >= "=?base64??=".len();
    let inner = value.strip_prefix("=?base64?").filter(|_| marked);
    let Some(inner) = inner.and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(inner).ok().filter(|bytes| STANDARD.encode(bytes) == inner)?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

const SENTINEL_WORDS: &[&str] =
    &["=?base64?", "?=", "=?BASE64?", "=", "==", "?", "ZWNobw==", "\t", " ", "\u{e9}", "/", "+"];

fn sentinel(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds: Vec<Vec<u8>> = ["echo", "=?base64?ZWNobw==?=", "=?base64??=", "=?base64?=", ""]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    for row in corpus.rows("mcp/headers.json")? {
        for pair in row.get("headers").and_then(Value::as_array).into_iter().flatten() {
            seeds.extend(pair.get(1).and_then(Value::as_str).map(|v| v.as_bytes().to_vec()));
        }
    }
    Ok(Subject { seeds, shape: Shape::Text(SENTINEL_WORDS), check: Box::new(check_sentinel) })
}

fn check_sentinel(input: &[u8]) -> Result<Seen, String> {
    let value = String::from_utf8_lossy(input).into_owned();
    let visible = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let decoded = if visible { reference_decode(&value) } else { None };
    let changed = format!("{value}x");
    let candidates =
        [Some(value.as_str()), decoded.as_deref(), Some(changed.as_str()), Some("echo")];
    let mut accepted = false;
    for name in candidates.into_iter().flatten() {
        let body = call(name, &json!({}));
        let taken = asked(&body, |_, message| {
            let headers = [
                ("mcp-method", "tools/call".as_bytes()),
                ("mcp-protocol-version", VERSION.as_bytes()),
                ("mcp-name", value.as_bytes()),
            ];
            Ok(check_headers(&HeaderView::new(headers), message).is_ok())
        })?;
        let Some(taken) = taken else { continue };
        ensure(taken == (decoded.as_deref() == Some(name)), "another name than the decoder's")?;
        accepted |= taken;
    }
    // And the way back: what we write for any name.
    let body = call(&value, &json!({}));
    asked(&body, |request, message| {
        check_own(request, message)?;
        let own = emit::headers(request, &[]);
        let written = own.iter().find(|(name, _)| name == "mcp-name").map(|(_, value)| value);
        let written = written.ok_or("no name is sent on")?;
        ensure(written.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "not visible")?;
        ensure(reference_decode(written).as_deref() == Some(&value), "another name is sent on")
    })?;
    Ok(if accepted {
        Seen::accepted(&(decoded.is_some(), visible))
    } else {
        Seen::refused(&visible)
    })
}

fn call(name: &str, arguments: &Value) -> Vec<u8> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": name, "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        .to_string()
        .into_bytes()
}

/// Asks about a body as a request; `None` where it is none.
fn asked<T>(
    body: &[u8],
    ask: impl FnOnce(&Request<'_>, &ClientMessage<'_>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let Ok(document) = parse(body, &LIMITS) else { return Ok(None) };
    match parse_client_message(&document, Revision::V2026_07_28) {
        Ok(message) => match &message {
            ClientMessage::Request(request) => ask(request, &message).map(Some),
            ClientMessage::Notification(_) | ClientMessage::Response(_) => Ok(None),
        },
        Err(_) => Ok(None),
    }
}

fn param_header(corpus: &Corpus) -> Result<Subject, String> {
    let seeds = corpus.texts("mcp/definitions.json", "/input")?;
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_definition) })
}

fn check_definition(input: &[u8]) -> Result<Seen, String> {
    let document = match parse(input, &LIMITS) {
        Ok(document) => document,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let outcome = ToolDefinition::parse(document.value());
    let spelled = respelled(&document, &mut Random::of(input));
    let again = parse(&spelled, &LIMITS).map_err(|error| format!("spelling: {error}"))?;
    let again = ToolDefinition::parse(again.value());
    // A definition with integers beyond 2^53 is known by its spelling, which is stricter.
    let comparable = document.value().canonical().is_ok();
    let definition = match outcome {
        Ok(definition) => definition,
        Err(refusal) => {
            // Which of two faults comes first depends on the order of members.
            ensure(again.is_err() || !comparable, "refused, and accepted in another spelling")?;
            return Ok(Seen::refused(&refusal));
        }
    };
    let again = again.map_err(|error| format!("refused in another spelling: {error}"))?;
    ensure(again.digest == definition.digest || !comparable, "two digests by spelling")?;
    let mut names: Vec<String> =
        definition.param_headers.iter().map(|header| header.name().to_ascii_lowercase()).collect();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    ensure(names.iter().all(|name| !name.is_empty() && name.bytes().all(token)), "no token")?;
    ensure(
        !names.iter().any(|name| name == "authorization" || name == "dpop"),
        "a header of ours",
    )?;
    names.sort();
    let count = names.len();
    names.dedup();
    ensure(names.len() == count, "one header twice")?;
    let read: Value = serde_json::from_str(document.text()).map_err(|error| error.to_string())?;
    let schema = read.get("inputSchema").cloned().unwrap_or_default();
    ensure(count == declared(&schema), "another number of headers than declared")?;
    check_sent(&definition, &schema)?;
    Ok(Seen::accepted(&(count, definition.hint, definition.findings)))
}

/// `x-mcp-header` along the chain of `properties`.
fn declared(schema: &Value) -> usize {
    let properties = schema.get("properties").and_then(Value::as_object);
    let here = |property: &Value| usize::from(property.get("x-mcp-header").is_some());
    properties.into_iter().flatten().map(|(_, property)| here(property) + declared(property)).sum()
}

fn check_sent(definition: &ToolDefinition, schema: &Value) -> Result<(), String> {
    let arguments = example(schema);
    asked(&call(&definition.name, &arguments), |request, _| {
        let sent = emit::headers(request, &definition.param_headers);
        let judge = |sent: &[(String, String)]| {
            let pairs = sent.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let view = HeaderView::new(pairs);
            check_param_headers(&view, request.arguments(), &definition.param_headers)
        };
        judge(&sent).map_err(|refusal| format!("our own headers: {refusal}"))?;
        let mirrored = sent.iter().position(|(name, _)| name.starts_with("mcp-param-"));
        if let Some(place) = mirrored {
            let mut fewer = sent;
            let taken = fewer.remove(place);
            ensure(judge(&fewer).is_err(), "accepted without a header it declares")?;
            fewer.extend([taken.clone(), taken]);
            ensure(judge(&fewer).is_err(), "accepted with a header twice")?;
        }
        Ok(())
    })
    .map(drop)
}

/// Arguments that have a value wherever a schema declares a simple one.
fn example(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Value::from("caf\u{e9} \""),
        Some("integer") => Value::from(-7),
        Some("boolean") => Value::from(true),
        Some(_) | None => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let members = properties.into_iter().flatten();
            members.map(|(name, property)| (name.clone(), example(property))).collect()
        }
    }
}
