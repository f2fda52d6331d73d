//! What each class says that the others do not.

use serde_json::Value;

use super::object::Object;
use super::parties::{actor, ai_operation, principal, source, teller, user, with_uid};
use crate::Entry;

/// OCSF 1.9.0, class `api_activity`. `actor`, `api` and `src_endpoint` are required.
pub(super) fn api_activity(entry: &Entry) -> Object {
    let from = source(entry, [&entry.agent, &entry.client_id]);
    // A gateway that looks for tools asks for itself.
    let unseen = || Object::new().with("name", entry.by.as_deref().unwrap_or(UNKNOWN));
    let session = with_uid(entry.token_jti.as_ref());
    Object::new()
        .with("actor", actor(entry, principal(entry), session))
        .with("api", api(entry))
        .with_some("resources", resources(entry))
        .with("src_endpoint", from.unwrap_or_else(unseen))
        .with_some("trace", with_uid(entry.trace_id.as_ref()))
        .and(ai_operation(entry))
}

/// OCSF 1.9.0, object `api`: `operation` is required. That is the tool, the operation of an API, or
/// the method where there is neither.
fn api(entry: &Entry) -> Object {
    let named = entry.tool.as_ref().or_else(|| entry.detail.get("operation"));
    let operation = named.or(entry.method.as_ref()).map_or(entry.kind.as_str(), String::as_str);
    // An intent has no answer yet.
    let response = entry.outcome.map(|outcome| {
        let code = entry.downstream_status.as_ref().and_then(|code| code.parse::<u16>().ok());
        Object::new()
            .with_some("code", code)
            .with_some("error", entry.reason.clone())
            .with("message", outcome.as_str())
    });
    let service = entry.server.as_ref().or(entry.downstream_resource.as_ref());
    Object::new()
        .with("operation", operation)
        .with_some("request", with_uid(entry.request_id.as_ref().or(entry.decision_id.as_ref())))
        .with_some("response", response)
        .with_some("service", with_uid(service))
        .with_some("version", entry.mcp_version.clone())
}

fn resources(entry: &Entry) -> Option<Vec<Value>> {
    let of = |kind: &str, member: &str, value: &String| {
        Object::new().with("type", kind).with(member, value.as_str())
    };
    let tool = entry.tool.as_ref().map(|tool| of("MCP tool", "name", tool));
    let api = entry.downstream_resource.as_ref().map(|api| of("API", "uid", api));
    let all: Vec<Value> = tool.into_iter().chain(api).map(Value::from).collect();
    (!all.is_empty()).then_some(all)
}

/// OCSF 1.9.0, class `authentication`. `user` is required, and one of `service` and `dst_endpoint`.
pub(super) fn authentication(entry: &Entry) -> Object {
    let who = [&entry.subject, &entry.agent, &entry.by, &entry.client_id];
    let who = who.into_iter().flatten().next().map_or(UNKNOWN, String::as_str);
    let service = Object::new().with("name", teller(entry)).with_some("uid", entry.server.clone());
    // People log in with a password or at a provider: of that the entry has its own word.
    let is_oauth = !entry.kind.as_str().starts_with("identity.");
    let (protocol, protocol_id) =
        if is_oauth { (Some("OAUTH 2.0"), Some(6)) } else { (None, None) };
    Object::new()
        .with("actor", actor(entry, principal(entry), None))
        .with_some("auth_protocol", protocol)
        .with_some("auth_protocol_id", protocol_id)
        .with("service", service)
        .with_some("session", with_uid(entry.token_jti.as_ref()))
        .with_some("src_endpoint", source(entry, [&entry.agent, &entry.client_id]))
        .with("user", user(who))
        .and(ai_operation(entry))
}

/// OCSF 1.9.0, class `entity_management`: `entity` is required. The agent of such an entry is what
/// is changed, not who acts.
pub(super) fn entity_management(entry: &Entry) -> Object {
    Object::new()
        .with("actor", actor(entry, entry.by.as_ref(), None))
        .with_some("comment", entry.detail.get("reason").cloned())
        .with("entity", entity(entry))
        .with_some("src_endpoint", source(entry, [&entry.client_id, &None]))
}

/// OCSF 1.9.0, object `managed_entity`: by the area of the kind, `<area>.<fact>`.
fn entity(entry: &Entry) -> Object {
    let kind = entry.kind.as_str();
    let area = kind.split_once('.').map_or(kind, |(area, _)| area);
    let detail = |name: &str| entry.detail.get(name);
    let (uid, caption) = match area {
        "approval" => (entry.approval.as_ref(), "Approval"),
        "consent" => (detail("consent"), "Consent"),
        "grant" => (entry.grant.as_ref(), "Grant"),
        "key" => {
            let key = entry.agent_key.as_ref().or(entry.server_key.as_ref());
            (key.or_else(|| detail("key")).or_else(|| detail("kid")), "Key")
        }
        "lock" => (detail("lock"), "Lock"),
        "payload" => (detail("decision"), "Payload"),
        "policy" => return policy(entry),
        "admin" | "tool" => {
            let caption = if area == "tool" { "MCP tool" } else { "Operation" };
            let named = entry.tool.as_ref();
            return named.map_or_else(
                || identity(entry, area),
                |name| other(caption).with("name", name.as_str()),
            );
        }
        _ => return identity(entry, area),
    };
    match uid {
        Some(uid) => other(caption).with("uid", uid.as_str()),
        None => identity(entry, area),
    }
}

/// OCSF 1.9.0, object `managed_entity`: 99 is for types that it does not list; `type` names them.
fn other(caption: &str) -> Object {
    Object::new().with("type", caption).with("type_id", 99)
}

fn policy(entry: &Entry) -> Object {
    let name = "policy set";
    let version = entry.policy_version.as_deref();
    let policy = Object::new().with("name", name).with_some("version", version);
    Object::new()
        .with("name", name)
        .with("policy", policy)
        .with("type", "Policy")
        .with("type_id", 5)
        .with_some("version", version)
}

/// Somebody or something that is registered; at worst the area that the entry is about.
fn identity(entry: &Entry, area: &str) -> Object {
    if let Some(person) = entry.subject.as_ref().filter(|id| id.starts_with("usr_")) {
        let typed = Object::new().with("type", "User").with("type_id", 2);
        return typed.with("uid", person.as_str()).with("user", user(person));
    }
    let known = [
        (&entry.agent, "Agent"),
        (&entry.server, "MCP server"),
        (&entry.downstream_resource, "API"),
        (&entry.owner, "Owner"),
    ];
    let found = known.into_iter().find_map(|(id, caption)| Some((id.as_ref()?, caption)));
    match found {
        Some((id, caption)) => other(caption).with("uid", id.as_str()),
        None => other("Area").with("name", area),
    }
}

/// Where OCSF requires somebody and the entry knows nobody.
const UNKNOWN: &str = "unknown";
