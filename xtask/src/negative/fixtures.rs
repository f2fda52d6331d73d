//! The tools that the canaries list, as rows need them.

use attorn_testkit::forge::merge;
use serde_json::{Value, json};

/// The tools that the canary lists while the rows run.
pub(super) fn tools() -> Value {
    let schema = |properties: Value| json!({"type": "object", "properties": properties});
    let read = json!({"readOnlyHint": true});
    let text = json!({"message": {"type": "string"}});
    let params = json!({
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "flag": {"type": "boolean", "x-mcp-header": "Flag"}
    });
    json!([
        {"name": "echo", "description": "reads", "inputSchema": schema(text.clone()), "annotations": read},
        {"name": "write_note", "description": "writes", "inputSchema": schema(text.clone())},
        {"name": "hidden_tool", "description": "granted to nobody", "inputSchema": schema(text.clone()), "annotations": read},
        {"name": "wipe", "description": "cannot be undone", "inputSchema": schema(text.clone()), "annotations": {"destructiveHint": true}},
        {"name": "param_tool", "description": "mirrors", "inputSchema": schema(params), "annotations": read},
        {"name": "drifting", "description": "changed since", "inputSchema": schema(text.clone()), "annotations": read},
        {"name": "unconfirmed_tool", "description": "new", "inputSchema": schema(text), "annotations": read}
    ])
}

/// The tools of the second canary: one shares its name with a tool of the first.
pub(super) fn tools_of_other() -> Value {
    let read = json!({"readOnlyHint": true});
    json!([
        {"name": "echo", "description": "the other's", "inputSchema": {"type": "object"}, "annotations": read},
        {"name": "other_tool", "description": "the other's alone", "inputSchema": {"type": "object"}, "annotations": read}
    ])
}

/// The tools as they were when their owner confirmed them.
pub(super) fn tools_before() -> Value {
    let mut before = tools();
    if let Some(list) = before.as_array_mut() {
        list.retain(|tool| tool.get("name").is_none_or(|name| name != "unconfirmed_tool"));
        for tool in list.iter_mut().filter(|tool| tool.get("name").is_some_and(|n| n == "drifting"))
        {
            merge(tool, &json!({"description": "as it was approved"}));
        }
    }
    before
}

/// The usual tools and one more that must not be shown; `name` is a name that rows use.
pub(super) fn tools_with(name: &str) -> Option<Value> {
    let more = match name {
        "@with_bad_param" => json!({
            "name": "bad_param", "inputSchema": {"type": "object", "properties": {
                "a": {"type": "string", "x-mcp-header": "Bad Name"}}}
        }),
        "@with_bidi" => json!({
            "name": "bidi_tool", "description": "safe \u{202e}exe.txt", "inputSchema": {"type": "object"}
        }),
        "@with_remote_ref" => json!({
            "name": "schema_tool", "inputSchema": {"$ref": "http://127.0.0.1:9/schema.json", "type": "object"}
        }),
        _ => return None,
    };
    let mut all = tools();
    all.as_array_mut()?.push(more);
    Some(all)
}
