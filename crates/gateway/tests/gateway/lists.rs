//! Lists: filtered, private, their cursors sealed.

use attorn_testkit::canary::Script;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, modern, tools};

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn list(cursor: Option<&str>) -> crate::world::Ask {
    let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
    modern("tools/list", params, None)
}

#[tokio::test]
async fn a_list_shows_what_the_caller_may_call() {
    let world = World::new("list");
    let answer = world.ask("", list(None)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(names(&answer.json()), ["get", "set", "drop", "region"]);
    assert_eq!(answer.json()["result"]["cacheScope"], "private");
    assert!(answer.json()["result"]["ttlMs"].as_u64().unwrap() <= 30_000);
    world.change(|parts| parts.grants.clear());
    assert!(names(&world.ask("", list(None)).await.json()).is_empty());
}

#[tokio::test]
async fn a_definition_other_than_the_approved_one_is_not_listed() {
    let mut listed = tools();
    listed[1]["description"] = json!("changed");
    let world = World::with("list-changed", listed);
    assert_eq!(names(&world.ask("", list(None)).await.json()), ["get", "drop", "region"]);
}

#[tokio::test]
async fn a_list_is_filtered_however_it_comes() {
    let world = World::new("list-sse");
    let page = |text: &str| format!("HTTP/1.1 200 OK\r\n{text}");
    let whole = format!(r#"{{"jsonrpc":"2.0","id":${{id}},"result":{{"tools":{}}}}}"#, tools());
    let first = whole.find("\"result\"").unwrap();
    let (head, tail) = whole.split_at(first);
    let answers = [
        page(&format!("Content-Type: Application/JSON; charset=utf-8\r\n\r\n{whole}")),
        page(&format!(
            "Content-Type: text/event-stream\r\n\r\n: hi\r\ndata: {head}\rdata:{tail}\n\n"
        )),
    ];
    for (bytes, trickle) in answers.iter().flat_map(|one| [(one, false), (one, true)]) {
        world.canary.set_script(Some(Script {
            rpc_method: "tools/list".into(),
            bytes: bytes.clone().into_bytes(),
            trickle,
            ..Script::default()
        }));
        let answer = world.ask("", list(None)).await;
        let text = answer.text.strip_prefix("data: ").unwrap_or(&answer.text);
        let answer: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(names(&answer), ["get", "set", "drop", "region"], "{bytes}");
        assert!(!text.contains("hidden"));
    }
}

#[tokio::test]
async fn what_is_no_list_is_not_passed_on() {
    let world = World::new("list-odd");
    world.ask("", list(None)).await;
    let body = format!(r#"{{"jsonrpc":"2.0","id":${{id}},"result":{{"tools":{}}}}}"#, tools());
    let answers = [
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
        format!("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n{body}"),
        format!("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n{body}"),
        format!("HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\n\r\n{body}"),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n{body}"
        ),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_owned(),
        r#"HTTP/1.1 200 OK
Content-Type: application/json

{"jsonrpc":"2.0","id":${id},"result":{"tools":[]},"error":{"code":1,"message":""}}"#
            .replace('\n', "\r\n"),
    ];
    for bytes in answers {
        world.canary.set_script(Some(Script {
            rpc_method: "tools/list".into(),
            bytes: bytes.clone().into_bytes(),
            ..Script::default()
        }));
        let answer = world.ask("", list(None)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{bytes}");
        assert_eq!(answer.json()["id"], "c-1", "{bytes}");
        assert!(!answer.text.contains("hidden") && !answer.text.contains("\"get\""), "{bytes}");
    }
}

#[tokio::test]
async fn a_cursor_is_sealed_and_leads_on() {
    let world = World::new("cursor");
    world.ask("", list(None)).await;
    let page = r#"{"jsonrpc":"2.0","id":${id},"result":{"tools":[],"nextCursor":"17-hidden"}}"#;
    world.canary.set_script(Some(Script {
        rpc_method: "tools/list".into(),
        bytes: format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{page}").into(),
        ..Script::default()
    }));
    let answer = world.ask("", list(None)).await;
    let cursor = answer.json()["result"]["nextCursor"].as_str().unwrap().to_owned();
    assert!(!answer.text.contains("17-hidden"));
    world.canary.set_script(None);
    drop(world.canary.take_seen());
    assert_eq!(world.ask("", list(Some(&cursor))).await.status, StatusCode::OK);
    let seen = world.canary.take_seen();
    assert!(seen.iter().any(|one| one.body.contains("\"cursor\":\"17-hidden\"")));
    let forged = world.ask("", list(Some("17-hidden"))).await;
    assert_eq!(forged.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn resources_need_their_scope() {
    let world = World::new("resources");
    let uri = "canary://note";
    let read = || modern("resources/read", json!({ "uri": uri }), Some(uri));
    let answer = world.ask("read:get", read()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.header("www-authenticate").contains("scope=\"read:@resources read:get\""));
    assert_eq!(world.ask("read:@resources", read()).await.status, StatusCode::OK);
    let list = || modern("resources/list", json!({}), None);
    assert!(world.ask("", list()).await.text.contains(uri));
    world.change(|parts| parts.grants.clear());
    assert!(!world.ask("", list()).await.text.contains(uri));
    let answer = world.ask("read:@resources", read()).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
}

/// A server that never stops inventing tools is not remembered.
#[tokio::test]
async fn the_tools_of_a_server_are_bounded() {
    let tool = |n: usize| json!({ "name": format!("t{n}"), "inputSchema": { "type": "object" } });
    let world = World::with("many-tools", (0..5_000).map(tool).collect());
    let listed = world.gateway.list_tools("crm").await;
    assert_eq!(listed, Err(attorn_gateway::ListError::Unreachable));
    world.canary.set_tools((0..4_000).map(tool).collect());
    assert_eq!(world.gateway.list_tools("crm").await, Ok(()));
}
