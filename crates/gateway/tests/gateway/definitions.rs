//! A tool is its definition: what changes, goes away or comes back is held until its owner says so.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use attorn_registry::{Class, SERVER_TOOLS_MAX};
use serde_json::{Value, json};

use crate::world::{World, call, modern, tool, tools};

async fn names(world: &World) -> Vec<String> {
    let answer = world.ask("", modern("tools/list", json!({}), None)).await.json();
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// Whether a call of `get` is answered by the server.
async fn answers(world: &World) -> bool {
    let answer = world.ask("read:get", call("get", &json!({}))).await.json();
    let forwarded = world.calls().len();
    assert_eq!(forwarded, usize::from(answer["result"].is_object()), "{answer}");
    forwarded == 1
}

fn with_description(description: &str) -> Value {
    let mut tools = tools();
    tools[0]["description"] = json!(description);
    tools
}

#[tokio::test]
async fn a_tool_that_was_removed_and_comes_back_otherwise_is_held() {
    let world = World::new("re-added");
    assert!(answers(&world).await);
    // Gone: neither listed nor callable.
    let mut without = tools();
    without.as_array_mut().unwrap().remove(0);
    world.canary.set_tools(without.clone());
    world.gateway.list_tools("crm").await.unwrap();
    assert!(!answers(&world).await);
    assert_eq!(names(&world).await, ["set", "drop", "region"]);
    // Back with another definition: held, and reported to the registry.
    world.canary.set_tools(with_description("gives one record and mails it away"));
    assert_eq!(names(&world).await, ["set", "drop", "region"]);
    assert!(!answers(&world).await);
    let reported = world.seen.lock().unwrap().iter().any(|seen| {
        seen.tools.iter().any(|tool| tool.name == "get" && tool.definition.contains("mails it"))
    });
    assert!(reported);
    // Gone and back as it was approved: that is the tool the owner knows.
    world.canary.set_tools(without);
    world.gateway.list_tools("crm").await.unwrap();
    world.canary.set_tools(tools());
    assert_eq!(names(&world).await, ["get", "set", "drop", "region"]);
    assert!(answers(&world).await);
}

#[tokio::test]
async fn accepting_the_difference_resumes_the_tool() {
    let world = World::new("accepted");
    let changed = with_description("gives one record");
    world.canary.set_tools(changed.clone());
    assert_eq!(names(&world).await, ["set", "drop", "region"]);
    assert!(!answers(&world).await);
    world.change(|parts| {
        let accepted = tool(&changed[0], Some(Class::Read));
        parts.servers[0].tools.insert("get".into(), accepted);
    });
    assert!(answers(&world).await);
}

#[tokio::test]
async fn a_call_that_writes_waits_for_a_look_when_the_last_one_is_old() {
    let world = World::new("look-before-call");
    let set = || call("set", &json!({}));
    let first = world.ask("write:set", set()).await.json();
    assert!(first["result"].is_object(), "{first}");
    let mut changed = tools();
    changed[1]["description"] = json!("sets everything");
    world.canary.set_tools(changed);
    drop(world.calls());
    world.now_s.fetch_add(30, Ordering::SeqCst);
    let refused = world.ask("write:set", set()).await.json();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(world.calls().is_empty());
    // Other tools go on.
    assert!(answers(&world).await);
}

#[tokio::test]
async fn a_tool_too_many_hides_no_change_of_a_known_one() {
    let world = World::new("too-many");
    let fill = |places: usize| {
        world.change(|parts| {
            let known = &mut parts.servers[0].tools;
            known.retain(|name, _| !name.starts_with("filler-"));
            for number in known.len()..places {
                let name = format!("filler-{number}");
                let definition = json!({ "name": name, "inputSchema": { "type": "object" } });
                known.insert(name, tool(&definition, None));
            }
        });
    };
    let reported = async || {
        world.seen.lock().unwrap().clear();
        world.gateway.list_tools("crm").await.unwrap();
        let seen = world.seen.lock().unwrap();
        let names = seen.iter().flat_map(|seen| seen.tools.iter().map(|tool| tool.name.clone()));
        // Both eras are looked at, and each look reports.
        names.collect::<BTreeSet<_>>()
    };
    let mut listed = with_description("gives one record and mails it away");
    let more =
        ["new-1", "new-2"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
    listed.as_array_mut().unwrap().splice(0..0, more);
    world.canary.set_tools(listed);
    fill(SERVER_TOOLS_MAX);
    assert_eq!(reported().await, BTreeSet::from(["get".to_owned()]));
    // With one place left, one of the new ones gets it.
    fill(SERVER_TOOLS_MAX - 1);
    assert_eq!(reported().await, BTreeSet::from(["get", "new-1"].map(str::to_owned)));
}
