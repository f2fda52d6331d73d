//! One message of the client, read just far enough to carry it.
//!
//! The text goes on as it came: judging it is the server's business, and a connector that rewrote
//! it could only make the two differ.

use attorn_json::{Document, Limits, Value};
use attorn_mcp::RequestId;
use bytes::Bytes;

/// A message with the facts its transport needs.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Bytes,
    pub(crate) kind: Kind,
    /// The protocol version in `_meta`: only modern requests carry one.
    pub(crate) modern: Option<String>,
}

/// What a message is in JSON-RPC terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Notification { method: String, cancels: Option<RequestId<'static>> },
    Request { id: RequestId<'static>, id_text: String, method: String },
    Response,
}

/// Why a line is no message. The id is told when there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoMessage {
    /// A batch, or something else that is no request, notification or response.
    Form,
    /// Not strict JSON, or too large.
    Json,
}

/// Reads one message.
pub(crate) fn read(text: &[u8]) -> Result<Outgoing, NoMessage> {
    let document = attorn_json::parse(text, &Limits::MESSAGE).map_err(|_| NoMessage::Json)?;
    let value = document.value();
    let modern = version(value);
    let method = value.member("method").and_then(Value::string);
    let kind = match (method, value.member("id")) {
        (Some(method), None) => {
            let cancelled = method == "notifications/cancelled";
            let id = value.member("params").and_then(|params| params.member("requestId"));
            let cancels = id.filter(|_| cancelled).and_then(RequestId::parse);
            Kind::Notification {
                method: method.into_owned(),
                cancels: cancels.map(RequestId::into_owned),
            }
        }
        (Some(method), Some(id)) => Kind::Request {
            id: RequestId::parse(id).ok_or(NoMessage::Form)?.into_owned(),
            id_text: id.text().to_owned(),
            method: method.into_owned(),
        },
        (None, Some(_)) if value.is_object() => Kind::Response,
        (None, _) => return Err(NoMessage::Form),
    };
    Ok(Outgoing { body: Bytes::copy_from_slice(document.text().as_bytes()), kind, modern })
}

/// The version a modern request speaks: MCP 2026-07-28, Base Protocol, `_meta`.
fn version(message: Value<'_>) -> Option<String> {
    let meta = message.member("params")?.member("_meta")?;
    Some(meta.member(VERSION_KEY)?.string()?.into_owned())
}

/// The message as one line: line ends in strict JSON stand between tokens only.
pub(crate) fn one_line(document: &Document<'_>) -> String {
    document.text().chars().filter(|character| !matches!(character, '\n' | '\r')).collect()
}

pub(crate) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_are_told_apart() {
        let request = read(br#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).unwrap();
        assert!(matches!(request.kind, Kind::Request { id: RequestId::Integer(7), .. }));
        let response = read(br#"{"jsonrpc":"2.0","id":"a","result":{}}"#).unwrap();
        assert_eq!(response.kind, Kind::Response);
        let text =
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
        let cancelled = read(text).unwrap().kind;
        assert!(matches!(
            cancelled,
            Kind::Notification { cancels: Some(RequestId::Integer(7)), .. }
        ));
    }

    #[test]
    fn the_version_is_read_from_meta_only() {
        let text =
            format!(r#"{{"id":1,"method":"m","params":{{"_meta":{{"{VERSION_KEY}":"v"}}}}}}"#);
        assert_eq!(read(text.as_bytes()).unwrap().modern.as_deref(), Some("v"));
        let legacy = br#"{"id":1,"method":"initialize","params":{"protocolVersion":"v"}}"#;
        assert_eq!(read(legacy).unwrap().modern, None);
    }

    #[test]
    fn batches_and_broken_text_are_no_messages() {
        assert_eq!(read(b"[]").unwrap_err(), NoMessage::Form);
        assert_eq!(read(br#"{"id":1}"#).unwrap().kind, Kind::Response);
        assert_eq!(read(br#"{"id":null,"method":"m"}"#).unwrap_err(), NoMessage::Form);
        assert_eq!(read(br#"{"id":1,"id":2,"method":"m"}"#).unwrap_err(), NoMessage::Json);
    }
}
