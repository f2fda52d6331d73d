use attorn_json::{Limits, parse};
use proptest::prelude::*;

use super::*;
use crate::{
    ClientMessage, Notification, ServerMessage, param_headers, parse_client_message,
    parse_server_message,
};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

fn with_request<T>(text: &str, revision: Revision, test: impl FnOnce(&Request<'_>) -> T) -> T {
    let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
    let message = parse_client_message(&document, revision);
    let Ok(ClientMessage::Request(request)) = message else { panic!("{message:?}") };
    test(&request)
}

fn with_notification<T>(text: &str, test: impl FnOnce(&ServerNotification<'_>) -> T) -> T {
    let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
    let message = parse_server_message(&document, Revision::V2026_07_28);
    let Ok(ServerMessage::Notification(notification)) = message else { panic!("{message:?}") };
    test(&notification)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_call_is_written_anew() {
    let call = format!(
        "{{ \"jsonrpc\":\"2.0\", \"id\":\"client-7\",\r\n\"method\":\"tools/\\u0063all\",\"params\":{{\"name\":\"t\",\
        \"vendor\":1,\"arguments\":{{\n\"a\" : 1.50}},{META},\"progressToken\":\"p\",\"traceparent\":\"evil\",\
        \"baggage\":\"b\",\"com.example/x\":1,\"io.modelcontextprotocol/subscriptionId\":3}}}}}}"
    );
    let outbound = Outbound {
        id: 5,
        progress_token: Some(5),
        traceparent: Some("00-own"),
        ..Outbound::default()
    };
    let written = with_request(&call, Revision::V2026_07_28, |call| text(request(call, &outbound)));
    let expected = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{{\"name\":\"t\",\"arguments\":{{\"a\":1.5}},\
        {META},\"com.example/x\":1,\"progressToken\":5,\"traceparent\":\"00-own\"}}}}}}"
    );
    assert_eq!(written, expected);
}

#[test]
fn arguments_go_on_in_the_one_spelling_that_rules_have_read() {
    let sent_on = |arguments: &str| {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        let outbound = Outbound { id: 1, ..Outbound::default() };
        let write = |call: &Request<'_>| text(request(call, &outbound));
        let written = with_request(&call, Revision::V2025_11_25, write);
        with_request(&written, Revision::V2025_11_25, |read| {
            read.arguments().unwrap().text().to_owned()
        })
    };
    assert_eq!(sent_on(r#"{"b":1e2,"a":"\u002fcaf\u00e9\u002f"}"#), r#"{"a":"/café/","b":100}"#);
    // RFC 8785 section 3.2.2.3: no form of its own, so the client's stays.
    assert_eq!(sent_on(r#"{"n":9007199254740994}"#), r#"{"n":9007199254740994}"#);
}

#[test]
fn only_an_unsealed_cursor_is_sent_on() {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"sealed"}}"#;
    let cursor = |cursor| {
        let outbound = Outbound { id: 1, cursor, ..Outbound::default() };
        with_request(list, Revision::V2025_11_25, |list| text(request(list, &outbound)))
    };
    assert!(cursor(Some("up")).contains(r#""params":{"cursor":"up"}"#));
    assert!(cursor(None).contains(r#""params":{}"#));
}

#[test]
fn headers_are_made_from_body_and_declarations() {
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"é","arguments":{{"n":42.0,"s":" x","u":null}},{META}}}}}}}"#
    );
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"Num"},
        "s":{"type":"string","x-mcp-header":"Str"},"u":{"type":"string","x-mcp-header":"Nil"}}}"#;
    let schema = parse(schema.as_bytes(), &Limits::MESSAGE).unwrap();
    let declared = param_headers(schema.value()).unwrap();
    let made = with_request(&call, Revision::V2026_07_28, |call| headers(call, &declared));
    let expected = [
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?w6k=?="),
        ("mcp-param-num", "42"),
        ("mcp-param-str", "=?base64?IHg=?="),
    ];
    assert_eq!(made, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_result_keeps_its_bytes_under_the_client_id() {
    let result = "{\"content\":[{\"type\":\"text\",\n\"text\":\"a\\nb\"}],\"isError\":false}";
    let document = parse(result.as_bytes(), &Limits::MESSAGE).unwrap();
    let id = RequestId::Text("c\"1".into());
    assert_eq!(
        text(response(&id, document.value())),
        r#"{"jsonrpc":"2.0","id":"c\"1","result":{"content":[{"type":"text","text":"a\nb"}],"isError":false}}"#
    );
}

#[test]
fn an_upstream_error_keeps_its_code_and_nothing_else() {
    let id = RequestId::Integer(3);
    let code = |code| text(upstream_error(&id, code, Some("dec_1"), None));
    assert_eq!(
        code(-32602),
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"Invalid params","data":{"decision_id":"dec_1"}}}"#
    );
    assert!(code(-32002).contains("-32602"));
    assert!(code(-32601).contains("-32601"));
    for other in [-32020, -32022, 0, 7, i64::MIN] {
        assert!(code(other).contains("-32603"), "{other}");
    }
}

#[test]
fn an_unknown_resource_is_named_as_the_client_named_it() {
    let id = RequestId::Integer(3);
    let code = |code| text(upstream_error(&id, code, None, Some("a:b\"c")));
    for unknown in [-32602, -32002] {
        assert!(code(unknown).contains(r#""data":{"uri":"a:b\"c"}"#), "{unknown}");
    }
    assert!(!code(-32603).contains("uri"));
}

#[test]
fn progress_reaches_only_the_client_that_asked() {
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":0.5,"message":"m"}}"#;
    let token = RequestId::Text("p".into());
    let own = Relabel { progress_token: Some(&token), ..Relabel::default() };
    with_notification(progress, |progress| {
        assert_eq!(
            text(notification(progress, &own).unwrap()),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":0.5,"message":"m"}}"#
        );
        assert!(notification(progress, &Relabel::default()).is_none());
    });
}

#[test]
fn a_subscription_is_known_by_the_client_id() {
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9,"x":1}}}"#;
    let id = RequestId::Integer(1);
    let own = Relabel { subscription_id: Some(&id), ..Relabel::default() };
    with_notification(changed, |changed| {
        assert_eq!(
            text(notification(changed, &own).unwrap()),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1,"x":1}}}"#
        );
        assert!(notification(changed, &Relabel::default()).is_none());
    });
    let closed =
        r#"{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":9}}"#;
    let document = parse(closed.as_bytes(), &Limits::MESSAGE).unwrap();
    assert_eq!(
        text(listen_response(&id, document.value())),
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
    );
}

#[test]
fn unknown_notifications_and_requests_are_not_written() {
    with_notification(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, |unknown| {
        assert!(notification(unknown, &Relabel::default()).is_none());
    });
    let ask = |method: &str| {
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":"u1","method":"{method}","params":{{"a":1}}}}"#);
        let document = parse(message.as_bytes(), &Limits::MESSAGE).unwrap();
        let message = parse_server_message(&document, Revision::V2025_11_25);
        let Ok(ServerMessage::Request(request)) = message else { panic!("{message:?}") };
        server_request(&request, 4).map(text)
    };
    assert_eq!(ask("x/y"), None);
    assert_eq!(
        ask("roots/list").unwrap(),
        r#"{"jsonrpc":"2.0","id":4,"method":"roots/list","params":{"a":1}}"#
    );
}

#[test]
fn an_answer_of_an_older_client_gets_the_upstream_id() {
    let answer = r#"{"jsonrpc":"2.0","id":4,"result":{"roots":[]}}"#;
    let document = parse(answer.as_bytes(), &Limits::MESSAGE).unwrap();
    let ClientMessage::Response(answer) =
        parse_client_message(&document, Revision::V2025_11_25).unwrap()
    else {
        panic!("a response");
    };
    let upstream_id = RequestId::Text("u1".into());
    assert_eq!(
        text(client_response(&answer, &upstream_id)),
        r#"{"jsonrpc":"2.0","id":"u1","result":{"roots":[]}}"#
    );
}

#[test]
fn our_own_requests_are_well_formed() {
    for revision in Revision::ALL {
        let asker = Asker { name: "attorn", version: "0", revision };
        let mut own = vec![asker.tools_list(1, Some("c"))];
        own.push(if revision.is_modern() { asker.discover(1) } else { asker.initialize(1) });
        for message in own {
            with_request(&text(message), revision, |request| {
                assert!(!matches!(request.method, crate::Method::Unknown(_)));
            });
        }
    }
    let document = cancelled(8);
    let document = parse(&document, &Limits::MESSAGE).unwrap();
    assert!(matches!(
        parse_client_message(&document, Revision::V2025_11_25),
        Ok(ClientMessage::Notification(Notification::Cancelled {
            request_id: RequestId::Integer(8)
        }))
    ));
}

proptest! {
    /// What we write reads back as the same call, with nothing added.
    #[test]
    fn a_written_call_reads_back(name in "\\PC{1,12}", key in "[a-z]{1,4}", value in any::<i32>()) {
        let name_json = serde_json::to_string(&name).unwrap();
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name_json},"arguments":{{"{key}":{value}}}}}}}"#
        );
        let outbound = Outbound { id: 9, ..Outbound::default() };
        let written =
            with_request(&call, Revision::V2025_11_25, |call| text(request(call, &outbound)));
        prop_assert!(!written.contains('\n'));
        with_request(&written, Revision::V2025_11_25, |read| {
            assert_eq!(read.id, RequestId::Integer(9));
            assert_eq!(read.name().unwrap(), name);
            assert_eq!(read.arguments().unwrap().text(), format!(r#"{{"{key}":{value}}}"#));
        });
    }
}
