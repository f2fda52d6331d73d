//! Headers that mirror the body of a modern request: MCP 2026-07-28, Streamable HTTP, Request
//! Metadata.
//!
//! Implemented: `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name`, and `Mcp-Param-*` for tools whose
//! definition has been seen in a `tools/list` result; invalid definitions are left out of lists.
//! Not implemented: keeping definitions over a restart; a mismatch makes the connector list again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_json::{Document, Limits, Value};
use attorn_mcp::list::{ListKind, ListPage};
use attorn_mcp::{ClientMessage, ParamHeader, Revision, emit, param_headers, parse_client_message};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::{Kind, Outgoing};

/// What tools declare, as last listed.
#[derive(Debug, Default)]
pub(crate) struct Declarations(Mutex<HashMap<String, Vec<ParamHeader>>>);

impl Declarations {
    /// Adds the mirror headers of a modern request.
    pub(crate) fn mirror(&self, message: &Outgoing, version: &str, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(version) {
            headers.insert("mcp-protocol-version", value);
        }
        let Ok(document) = attorn_json::parse(&message.body, &Limits::MESSAGE) else { return };
        let parsed = parse_client_message(&document, Revision::V2026_07_28);
        let Ok(ClientMessage::Request(request)) = parsed else {
            // A frame the protocol does not allow still says what it is; the server refuses it.
            if let Kind::Request { method, .. } | Kind::Notification { method, .. } = &message.kind
                && let Ok(value) = HeaderValue::from_str(method)
            {
                headers.insert("mcp-method", value);
            }
            return;
        };
        let declared = request.name().map(|name| self.of(&name)).unwrap_or_default();
        for (name, value) in emit::headers(&request, &declared) {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::from_str(&value))
            {
                headers.insert(name, value);
            }
        }
    }

    /// What the tool called `name` declares.
    pub(crate) fn of(&self, name: &str) -> Vec<ParamHeader> {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    /// Learns from a `tools/list` response. Returns the response without invalid tools when there
    /// are any: MCP 2026-07-28, Custom Headers from Tool Parameters.
    pub(crate) fn learn(&self, response: &Document<'_>) -> Option<String> {
        let value = response.value();
        let page = ListPage::parse(value.member("result")?, ListKind::Tools).ok()?;
        let mut known = self.lock();
        let mut invalid = false;
        for item in &page.items {
            let schema = item.value.member("inputSchema");
            match schema.map_or(Ok(Vec::new()), param_headers) {
                Ok(declared) => drop(known.insert(item.key.clone().into_owned(), declared)),
                Err(fault) => {
                    tracing::warn!(tool = ?item.key, %fault, "left out an invalid tool");
                    known.remove(item.key.as_ref());
                    invalid = true;
                }
            }
        }
        drop(known);
        invalid.then(|| without_invalid(value, &page))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<ParamHeader>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_invalid(response: Value<'_>, page: &ListPage<'_>) -> String {
    let cursor = page.next_cursor.as_deref();
    let result = page.write(Revision::V2026_07_28, u64::MAX, cursor, |item| {
        item.value.member("inputSchema").map_or(Ok(Vec::new()), param_headers).is_ok()
    });
    let id = response.member("id").map_or("null", Value::text);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn document(text: &str) -> Document<'_> {
        attorn_json::parse(text.as_bytes(), &Limits::MESSAGE).unwrap()
    }

    fn mirrored(declarations: &Declarations, text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let message = message::read(text.as_bytes()).unwrap();
        declarations.mirror(&message, "2026-07-28", &mut headers);
        headers
    }

    #[test]
    fn a_call_is_mirrored_with_its_declared_arguments() {
        let declarations = Declarations::default();
        let listed = r#"{"id":1,"result":{"tools":[{"name":"sql","inputSchema":{"type":"object",
            "properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}"#;
        assert_eq!(declarations.learn(&document(listed)), None);
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"sql","arguments":{{"region":"Köln"}},{META}}}}}"#
        );
        let headers = mirrored(&declarations, &call);
        assert_eq!(headers["mcp-method"], "tools/call");
        assert_eq!(headers["mcp-name"], "sql");
        assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
        assert_eq!(headers["mcp-param-region"], "=?base64?S8O2bG4=?=");
    }

    #[test]
    fn a_tool_with_an_invalid_declaration_is_left_out() {
        let listed = r#"{"id":1,"result":{"tools":[{"name":"bad","inputSchema":{"type":"object",
            "properties":{"n":{"type":"number","x-mcp-header":"N"}}}},{"name":"good"}],"nextCursor":"c"}}"#;
        let kept = Declarations::default().learn(&document(listed)).unwrap();
        assert!(!kept.contains("bad") && kept.contains("good"), "{kept}");
        assert!(kept.contains(r#""nextCursor":"c""#), "{kept}");
    }

    #[test]
    fn a_frame_nobody_allows_still_names_its_method() {
        let text = format!(r#"{{"id":1,"method":"tools/call","params":{{{META}}}}}"#);
        let headers = mirrored(&Declarations::default(), &text);
        assert_eq!(headers["mcp-method"], "tools/call");
        assert!(!headers.contains_key("mcp-name"));
    }
}
