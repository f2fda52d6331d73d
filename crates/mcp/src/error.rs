//! JSON-RPC error bodies of our own, and tool results that say no.
//!
//! Texts are fixed per code: nothing a peer sent is echoed back.

use crate::write::{ObjectWriter, write_string};
use crate::{RequestId, Revision};

/// An error code the gateway emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// -32020: MCP 2026-07-28, Streamable HTTP, Server Validation.
    HeaderMismatch,
    /// -32603: JSON-RPC 2.0 section 5.1.
    InternalError,
    /// -32602: JSON-RPC 2.0 section 5.1.
    InvalidParams,
    /// -32600: JSON-RPC 2.0 section 5.1.
    InvalidRequest,
    /// -32601: JSON-RPC 2.0 section 5.1.
    MethodNotFound,
    /// -32021: MCP 2026-07-28, Base Protocol, Error Codes.
    MissingClientCapability,
    /// -32700: JSON-RPC 2.0 section 5.1.
    ParseError,
    /// -32022: MCP 2026-07-28, Versioning, Protocol Version Negotiation.
    UnsupportedProtocolVersion,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 8] = [
        Self::HeaderMismatch,
        Self::InternalError,
        Self::InvalidParams,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::MissingClientCapability,
        Self::ParseError,
        Self::UnsupportedProtocolVersion,
    ];

    /// The number on the wire.
    pub fn number(self) -> i64 {
        match self {
            Self::HeaderMismatch => -32020,
            Self::InternalError => -32603,
            Self::InvalidParams => -32602,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::MissingClientCapability => -32021,
            Self::ParseError => -32700,
            Self::UnsupportedProtocolVersion => -32022,
        }
    }

    /// The fixed text.
    pub fn message(self) -> &'static str {
        match self {
            Self::HeaderMismatch => "Header mismatch",
            Self::InternalError => "Internal error",
            Self::InvalidParams => "Invalid params",
            Self::InvalidRequest => "Invalid request",
            Self::MethodNotFound => "Method not found",
            Self::MissingClientCapability => "Missing required client capability",
            Self::ParseError => "Parse error",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }
}

/// What an error body says besides its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorData<'a> {
    /// Our decision, by which an owner finds the whole story.
    pub decision_id: Option<&'a str>,
    /// A stable reason code.
    pub reason: Option<&'a str>,
    /// The request that a person decides about.
    pub approval: Option<&'a str>,
    /// The version a client asked for; answered with the list of those we speak.
    pub requested_version: Option<&'a str>,
    /// Revisions spoken; used with `requested_version`.
    pub supported: &'a [Revision],
    /// The resource a client asked for, in its own words.
    pub uri: Option<&'a str>,
}

/// An error response. Without an id, as for an unreadable request, the `id` member is left out:
/// MCP 2026-07-28, Base Protocol, Error Responses.
pub fn body(id: Option<&RequestId<'_>>, code: ErrorCode, data: &ErrorData<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(160);
    let mut response = ObjectWriter::open(&mut out);
    response.string("jsonrpc", "2.0");
    if let Some(id) = id {
        id.write(response.name("id"));
    }
    let mut error = ObjectWriter::open(response.name("error"));
    error.name("code").push_str(&code.number().to_string());
    error.string("message", code.message());
    if *data != ErrorData::default() {
        write_data(data, error.name("data"));
    }
    error.close();
    response.close();
    out.into_bytes()
}

fn write_data(data: &ErrorData<'_>, out: &mut String) {
    let mut object = ObjectWriter::open(out);
    if let Some(decision_id) = data.decision_id {
        object.string("decision_id", decision_id);
    }
    if let Some(reason) = data.reason {
        object.string("reason", reason);
    }
    if let Some(requested) = data.requested_version {
        let supported = object.name("supported");
        supported.push('[');
        for (index, revision) in data.supported.iter().enumerate() {
            if index > 0 {
                supported.push(',');
            }
            write_string(revision.as_str(), supported);
        }
        supported.push(']');
        object.string("requested", requested);
    }
    if let Some(uri) = data.uri {
        object.string("uri", uri);
    }
    object.close();
}

/// A tool result that reports a refusal no scope would cure. As a result, not an error, so that
/// the model reads it and no client starts a login over it.
pub fn tool_refusal(
    id: &RequestId<'_>,
    revision: Revision,
    text: &str,
    data: &ErrorData<'_>,
) -> Vec<u8> {
    let mut out = String::with_capacity(256);
    let mut response = ObjectWriter::open(&mut out);
    response.string("jsonrpc", "2.0");
    id.write(response.name("id"));
    let mut result = ObjectWriter::open(response.name("result"));
    if revision.is_modern() {
        result.string("resultType", "complete");
    }
    let content = result.name("content");
    content.push_str(r#"[{"type":"text","text":"#);
    write_string(text, content);
    content.push_str("}]");
    result.name("isError").push_str("true");
    write_result_meta(data, result.name("_meta"));
    result.close();
    response.close();
    out.into_bytes()
}

fn write_result_meta(data: &ErrorData<'_>, out: &mut String) {
    let mut meta = ObjectWriter::open(out);
    if let Some(approval) = data.approval {
        meta.string("dev.attorn/approval", approval);
    }
    if let Some(decision_id) = data.decision_id {
        meta.string("dev.attorn/decision_id", decision_id);
    }
    if let Some(reason) = data.reason {
        meta.string("dev.attorn/reason", reason);
    }
    meta.close();
}

/// What a client is asked to show its user.
#[derive(Clone, Copy, Debug)]
pub struct UrlWanted<'a> {
    /// Names the question, and what came of it.
    pub elicitation_id: &'a str,
    /// Why.
    pub message: &'a str,
    /// What the client brings along when it calls again.
    pub request_state: &'a str,
    /// Where to go.
    pub url: &'a str,
}

/// A result that asks the client to send its user to an address and then to call again: MCP
/// 2026-07-28, Multi Round-Trip Requests and Elicitation, URL Mode. Only for clients that declare it.
pub fn url_wanted(id: &RequestId<'_>, wanted: &UrlWanted<'_>, data: &ErrorData<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    let mut response = ObjectWriter::open(&mut out);
    response.string("jsonrpc", "2.0");
    id.write(response.name("id"));
    let mut result = ObjectWriter::open(response.name("result"));
    result.string("resultType", "input_required");
    let mut requests = ObjectWriter::open(result.name("inputRequests"));
    let mut request = ObjectWriter::open(requests.name("approval"));
    request.string("method", "elicitation/create");
    let mut params = ObjectWriter::open(request.name("params"));
    params.string("mode", "url");
    params.string("elicitationId", wanted.elicitation_id);
    params.string("url", wanted.url);
    params.string("message", wanted.message);
    params.close();
    request.close();
    requests.close();
    result.string("requestState", wanted.request_state);
    write_result_meta(data, result.name("_meta"));
    result.close();
    response.close();
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use attorn_json::{Limits, parse};

    use super::*;

    #[test]
    fn every_code_has_its_number_in_the_specification() {
        for (code, number) in ErrorCode::ALL
            .into_iter()
            .zip([-32020, -32603, -32602, -32600, -32601, -32021, -32700, -32022])
        {
            assert_eq!(code.number(), number);
        }
    }

    #[test]
    fn an_unreadable_request_gets_no_id() {
        let written = body(None, ErrorCode::ParseError, &ErrorData::default());
        assert_eq!(
            written,
            br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}"#
        );
    }

    #[test]
    fn an_unsupported_version_gets_the_list_of_ours() {
        let data = ErrorData {
            requested_version: Some("1900-01-01"),
            supported: &[Revision::V2026_07_28, Revision::V2025_11_25],
            ..ErrorData::default()
        };
        let code = ErrorCode::UnsupportedProtocolVersion;
        let written = body(Some(&RequestId::Integer(1)), code, &data);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25"],"requested":"1900-01-01"}}}"#
        );
    }

    #[test]
    fn an_address_is_asked_for_in_the_form_of_the_protocol() {
        let wanted = UrlWanted {
            elicitation_id: "apr_1",
            message: "a \"person\" decides",
            request_state: "state",
            url: "https://a.example/approvals/apr_1",
        };
        let data = ErrorData { approval: Some("apr_1"), ..ErrorData::default() };
        let written = url_wanted(&RequestId::Integer(7), &wanted, &data);
        let expected = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","inputRequests":{"approval":{"method":"elicitation/create","params":{"mode":"url","elicitationId":"apr_1","url":"https://a.example/approvals/apr_1","message":"a \"person\" decides"}}},"requestState":"state","_meta":{"dev.attorn/approval":"apr_1"}}}"#;
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_tool_refusal_is_a_result_of_the_revision() {
        let data = ErrorData {
            decision_id: Some("dec_1"),
            reason: Some("policy.forbid"),
            ..ErrorData::default()
        };
        let id = RequestId::Text("a".into());
        for revision in Revision::ALL {
            let written = tool_refusal(&id, revision, "not \"allowed\"", &data);
            let document = parse(&written, &Limits::MESSAGE).unwrap();
            let result = document.value().member("result").unwrap();
            assert_eq!(result.member("isError").unwrap().boolean(), Some(true));
            assert_eq!(result.member("resultType").is_some(), revision.is_modern());
        }
    }
}
