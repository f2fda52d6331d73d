use attorn_json::{Limits, parse};

use super::*;
use crate::{ClientMessage, parse_client_message};

fn kind(
    result: &str,
    method: &str,
    capabilities: &str,
    revision: Revision,
) -> Result<ResultKind, UpstreamFault> {
    let param = if method == "tools/list" { "" } else { r#""name":"n","uri":"u","# };
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{param}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#,
        revision.as_str()
    );
    let request = parse(request.as_bytes(), &Limits::MESSAGE);
    let result = parse(result.as_bytes(), &Limits::MESSAGE);
    let (Ok(request), Ok(result)) = (request, result) else { panic!("strict JSON") };
    let Ok(ClientMessage::Request(request)) = parse_client_message(&request, revision) else {
        panic!("a request");
    };
    result_kind(result.value(), &request, revision)
}

const MODERN: Revision = Revision::V2026_07_28;

#[test]
fn a_result_is_complete_unless_it_says_otherwise() {
    let complete = Ok(ResultKind::Complete { is_error: false });
    assert_eq!(kind("{}", "tools/call", "{}", MODERN), complete);
    assert_eq!(kind(r#"{"task":1,"content":[]}"#, "tools/call", "{}", MODERN), complete);
    assert_eq!(kind(r#"{"resultType":"complete"}"#, "tools/list", "{}", MODERN), complete);
    let failed = kind(r#"{"isError":true}"#, "tools/call", "{}", Revision::V2025_06_18);
    assert_eq!(failed, Ok(ResultKind::Complete { is_error: true }));
}

#[test]
fn unknown_kinds_of_result_are_refused() {
    for result in [
        r#"{"resultType":"task","taskId":"t"}"#,
        r#"{"task":{"taskId":"t"}}"#,
        r#"{"resultType":1}"#,
        r#"{"resultType":"Complete"}"#,
        r#"{"isError":"false"}"#,
    ] {
        let refused = Err(UpstreamFault::ResultKind);
        assert_eq!(kind(result, "tools/call", "{}", MODERN), refused, "{result}");
    }
}

#[test]
fn input_is_asked_for_only_where_the_protocol_allows_it() {
    let result = r#"{"resultType":"input_required","requestState":"s"}"#;
    for method in ["tools/call", "prompts/get", "resources/read"] {
        assert_eq!(kind(result, method, "{}", MODERN), Ok(ResultKind::InputRequired), "{method}");
    }
    let refused = Err(UpstreamFault::ResultKind);
    assert_eq!(kind(result, "tools/list", "{}", MODERN), refused);
    assert_eq!(kind(result, "tools/call", "{}", Revision::V2025_11_25), refused);
}

#[test]
fn input_is_asked_for_only_as_the_client_declared() {
    let ask = |method: &str| {
        format!(
            r#"{{"resultType":"input_required","inputRequests":{{"k":{{"method":"{method}"}}}}}}"#
        )
    };
    for (method, capability) in [
        ("elicitation/create", "elicitation"),
        ("sampling/createMessage", "sampling"),
        ("roots/list", "roots"),
    ] {
        let declared = format!(r#"{{"{capability}":{{}}}}"#);
        let asked = kind(&ask(method), "tools/call", &declared, MODERN);
        assert_eq!(asked, Ok(ResultKind::InputRequired), "{method}");
        let undeclared = kind(&ask(method), "tools/call", "{}", MODERN);
        assert_eq!(undeclared, Err(UpstreamFault::InputRequest), "{method}");
    }
    let other = kind(&ask("tools/call"), "tools/call", r#"{"elicitation":{}}"#, MODERN);
    assert_eq!(other, Err(UpstreamFault::InputRequest));
}

#[test]
fn an_answer_is_known_by_our_own_id() {
    let answers = |id: &str| {
        let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        let document = parse(message.as_bytes(), &Limits::MESSAGE).unwrap();
        let message = parse_server_message(&document, MODERN);
        let Ok(ServerMessage::Response(response)) = message else { panic!("{message:?}") };
        response.answers(5)
    };
    assert!(answers("5"));
    assert!(!answers("6"));
    assert!(!answers("\"5\""));
    assert!(!answers("-5"));
}
