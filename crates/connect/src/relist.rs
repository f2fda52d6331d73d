//! Listing tools again when a server's declarations have changed: MCP 2026-07-28, Streamable HTTP,
//! Client Behavior.

use attorn_json::{Limits, Value};
use bytes::Bytes;

use crate::message::{self, Outgoing};
use crate::relay::{Asked, first_response};
use crate::upstream::Upstream;

/// Whether mirror headers of arguments are involved at all.
pub(crate) fn may_help(asked: &Asked<'_>) -> bool {
    asked.method == "tools/call" && asked.message.modern.is_some()
}

/// Lists all tools and tells whether the called one declares something else than before. Only
/// then can sending the call again end differently.
pub(crate) async fn declarations_changed(upstream: &Upstream, asked: &Asked<'_>) -> bool {
    let Some((tool, meta)) = called(asked.message) else { return false };
    let before = upstream.declarations.of(&tool);
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let Some(page) = list(upstream, &meta, cursor.as_deref()).await else { break };
        let Ok(document) = attorn_json::parse(page.as_bytes(), &Limits::MESSAGE) else { break };
        upstream.declarations.learn(&document);
        let result = document.value().member("result");
        let next = result.and_then(|result| result.member("nextCursor"));
        cursor = next.map(|cursor| cursor.text().to_owned());
        if cursor.is_none() {
            break;
        }
    }
    upstream.declarations.of(&tool) != before
}

/// One page. `cursor` is JSON text.
async fn list(upstream: &Upstream, meta: &str, cursor: Option<&str>) -> Option<String> {
    let cursor = cursor.map(|cursor| format!(r#","cursor":{cursor}"#)).unwrap_or_default();
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"attorn-connect","method":"tools/list","params":{{"_meta":{meta}{cursor}}}}}"#
    );
    let request = message::read(&Bytes::from(text)).ok()?;
    let response = upstream.post(&request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let (head, body) = response.into_parts();
    first_response(&head.headers, body).await
}

/// The tool called, and the `_meta` to list with.
fn called(message: &Outgoing) -> Option<(String, String)> {
    let document = attorn_json::parse(&message.body, &Limits::MESSAGE).ok()?;
    let params = document.value().member("params")?;
    let name = params.member("name").and_then(Value::string)?.into_owned();
    Some((name, params.member("_meta")?.text().to_owned()))
}

const PAGES_MAX: usize = 20;
