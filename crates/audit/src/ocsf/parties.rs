//! Who acts, for whom, by what right, and from where.

use core::net::IpAddr;

use serde_json::Value;

use super::object::Object;
use crate::Entry;

/// OCSF 1.9.0, object `user`. Our identifiers say by their form what they name; anything else is a
/// name, of an operator or a role.
pub(super) fn user(who: &str) -> Object {
    let typed = |id: u64, caption: &str| Object::new().with("type", caption).with("type_id", id);
    match who.split_once('_').map(|(kind, _)| kind) {
        Some("usr") => typed(1, "User").with("uid", who),
        Some("agt" | "srv") => typed(4, "Service").with("uid", who),
        Some(_) | None if who == "attorn" => typed(3, "System").with("name", who),
        Some(_) | None => Object::new().with("name", who),
    }
}

/// OCSF 1.9.0, object `actor`: the principal, the client it used, and the token as its session. One
/// of them is required; at worst it is the process that tells.
pub(super) fn actor(entry: &Entry, who: Option<&String>, session: Option<Value>) -> Object {
    Object::new()
        .with_some("app_uid", entry.client_id.clone())
        .with_some("session", session)
        .with_some("user", who.map(|who| user(who)))
        .unless_empty()
        .unwrap_or_else(|| Object::new().with("app_name", teller(entry)))
}

/// For whom it is done: a person, or an agent for itself.
pub(super) fn principal(entry: &Entry) -> Option<&String> {
    [&entry.by, &entry.subject, &entry.agent].into_iter().flatten().next()
}

/// The process that tells: its role, where it says so.
pub(super) fn teller(entry: &Entry) -> String {
    entry.role.clone().unwrap_or_else(|| "attorn".to_owned())
}

/// OCSF 1.9.0, profile `ai_operation`: the agent, and the grant under which it acts. For a person
/// that is their consent.
pub(super) fn ai_operation(entry: &Entry) -> Object {
    let Some(agent) = entry.agent.clone() else { return Object::new() };
    let delegation = entry.detail.get("consent").or(entry.grant.as_ref());
    let delegation = delegation.map(|uid| Object::new().with("uid", uid.as_str()));
    Object::new()
        .with("ai_agent", Object::new().with("uid", agent))
        .with_some("delegation", delegation)
}

/// OCSF 1.9.0, object `network_endpoint`: the address, where the entry has one, and who is there.
/// Nothing where neither is known.
pub(super) fn source(entry: &Entry, who: [&Option<String>; 2]) -> Option<Object> {
    // Values are the writer's word; only an address is an address.
    let address = entry.detail.get("peer").filter(|peer| peer.parse::<IpAddr>().is_ok());
    Object::new()
        .with_some("ip", address.cloned())
        .with_some("uid", who.into_iter().flatten().next().cloned())
        .unless_empty()
}

/// An object with this `uid` and nothing else.
pub(super) fn with_uid(uid: Option<&String>) -> Option<Value> {
    uid.map(|uid| Object::new().with("uid", uid.as_str()).into())
}
