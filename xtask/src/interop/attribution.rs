//! Whether every request at an API stands for the call that caused it, and for no other.
//!
//! The arguments of each call name the agent that makes it, so the API's own record says who should have
//! been named. What it was told, and what the journal holds, have to say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::stand_in::Seen;

/// What is known about requests, from both ends.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// At the API.
    pub(super) requests: Vec<Seen>,
    /// In the journal, from before the first call on.
    pub(super) entries: Vec<Value>,
    /// The names of agents by their identifiers.
    pub(super) names: BTreeMap<String, String>,
}

/// One call, as its entry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call<'f> {
    id: &'f str,
    agent: &'f str,
    /// Keyed, so it says nothing by itself: but equal for equal arguments alone.
    arguments: &'f str,
}

/// Gives the number of calls that asked for an issue, or says what is wrong.
pub(super) fn verify(facts: &Facts) -> Result<usize, String> {
    let calls = calls(&facts.entries);
    let leaving = leaving(&facts.entries, &calls)?;
    let mut used = BTreeSet::new();
    let mut by_issue: BTreeMap<&str, &str> = BTreeMap::new();
    let mut asking = Vec::new();
    for request in &facts.requests {
        let wrong = |what: &str| format!("{what}: {request:?}");
        let told = |name| request.header(name).ok_or_else(|| wrong(name));
        for credential in ["authorization", "dpop", "cookie"] {
            if request.headers.iter().any(|(name, _)| name == credential) {
                return Err(wrong(credential));
            }
        }
        let (agent, token) = (told("attorn-agent")?, told("attorn-token-id")?);
        if told("attorn-subject")? != agent || !told("attorn-actors")?.contains("srv_") {
            return Err(wrong("an agent acts for itself, through a server"));
        }
        let call = leaving.get(token).ok_or_else(|| wrong("no entry of the way out"))?;
        used.insert(token);
        if call.agent != agent {
            return Err(wrong(&format!("the call {} is that of {}", call.id, call.agent)));
        }
        let Some(issue) = request.issue() else { continue };
        let named = facts.names.get(agent).ok_or_else(|| wrong("an agent without a name"))?;
        if issue.split('-').next() != Some(named.to_uppercase().as_str()) {
            return Err(wrong(&format!("asked in the name of {named}")));
        }
        // Of the calls of one agent too each is told from the others.
        if *by_issue.entry(issue).or_insert(call.arguments) != call.arguments {
            return Err(wrong("two sets of arguments asked for one issue"));
        }
        asking.push(call.id);
    }
    if by_issue.values().collect::<BTreeSet<_>>().len() != by_issue.len() {
        return Err(format!("one set of arguments asked for two issues: {by_issue:?}"));
    }
    if leaving.keys().any(|token| !used.contains(token)) {
        return Err("an entry of the way out has no request at the API".to_owned());
    }
    let count = asking.len();
    if asking.into_iter().collect::<BTreeSet<_>>().len() != count {
        return Err("one call asked for two issues".to_owned());
    }
    Ok(count)
}

/// Calls that were permitted, by their identifier.
fn calls(entries: &[Value]) -> BTreeMap<&str, Call<'_>> {
    let permitted = of_kind(entries, "call.decided").filter(|entry| is_permit(entry));
    let call = |entry| {
        let (id, agent) = (text(entry, "decision_id")?, text(entry, "agent")?);
        let arguments = text(entry, "arguments_digest").unwrap_or_default();
        Some((id, Call { id, agent, arguments }))
    };
    permitted.filter_map(call).collect()
}

/// The call of each token that requests left with.
fn leaving<'f>(
    entries: &'f [Value],
    calls: &BTreeMap<&'f str, Call<'f>>,
) -> Result<BTreeMap<&'f str, Call<'f>>, String> {
    let mut tokens: BTreeMap<&str, Call<'_>> = BTreeMap::new();
    let accessed = of_kind(entries, "resource.accessed").filter(|entry| is_permit(entry));
    for entry in accessed.filter(|entry| text(entry, "role") == Some("egress")) {
        let wrong = |what: &str| format!("{what}: {entry}");
        let named = entry.pointer("/detail/call").and_then(Value::as_str);
        let named = named.ok_or_else(|| wrong("an entry names no call"))?;
        let call = *calls.get(named).ok_or_else(|| wrong("an entry names a call that is none"))?;
        if text(entry, "agent") != Some(call.agent) {
            return Err(wrong(&format!("the call is that of {}", call.agent)));
        }
        let token = text(entry, "exchanged_jti").ok_or_else(|| wrong("an entry has no token"))?;
        if *tokens.entry(token).or_insert(call) != call {
            return Err(wrong("a token is used for two calls"));
        }
    }
    Ok(tokens)
}

fn of_kind<'f>(entries: &'f [Value], kind: &'f str) -> impl Iterator<Item = &'f Value> {
    entries.iter().filter(move |entry| text(entry, "kind") == Some(kind))
}

fn is_permit(entry: &Value) -> bool {
    text(entry, "decision") == Some("permit")
}

fn text<'f>(entry: &'f Value, member: &str) -> Option<&'f str> {
    entry.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two agents, two calls each, one request for each call.
    fn right() -> Facts {
        let (mut requests, mut entries, mut names) = (Vec::new(), Vec::new(), BTreeMap::new());
        for agent in 0..2 {
            let id = format!("agt_{agent}");
            names.insert(id.clone(), format!("caller{agent}"));
            for number in 0..2 {
                let (call, token) =
                    (format!("dec_{agent}{number}"), format!("jti_{agent}{number}"));
                entries.push(json!({
                    "kind": "call.decided", "decision": "permit", "decision_id": call, "agent": id,
                    "arguments_digest": format!("hmac-sha256:{agent}{number}"),
                }));
                entries.push(json!({
                    "kind": "resource.accessed", "decision": "permit", "role": "egress",
                    "agent": id, "exchanged_jti": token, "detail": { "call": call },
                }));
                let headers = [
                    ("attorn-agent", id.as_str()),
                    ("attorn-subject", &id),
                    ("attorn-actors", r#"["srv_1"]"#),
                    ("attorn-token-id", &token),
                ];
                let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                requests.push(Seen {
                    path: format!("/issues/CALLER{agent}-{number}"),
                    headers: headers.map(owned).to_vec(),
                });
            }
        }
        Facts { requests, entries, names }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Facts), expected: &str) {
        let mut facts = right();
        change(&mut facts);
        let told = verify(&facts).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }

    fn swap_paths(facts: &mut Facts, one: usize, other: usize) {
        let path = facts.requests[one].path.clone();
        let other = std::mem::replace(&mut facts.requests[other].path, path);
        facts.requests[one].path = other;
    }

    #[test]
    fn requests_that_stand_for_their_calls_pass() {
        assert_eq!(verify(&right()), Ok(4));
    }

    #[test]
    fn a_request_in_the_name_of_another_agent_is_noticed() {
        refused(|facts| swap_paths(facts, 0, 2), "asked in the name of caller0");
    }

    #[test]
    fn a_request_in_the_name_of_another_call_of_the_same_agent_is_noticed() {
        // The second time the same issue is asked for, it is by the call for the other one.
        let again = |facts: &mut Facts| {
            let mut more = right();
            swap_paths(&mut more, 0, 1);
            facts.requests.extend(more.requests);
        };
        refused(again, "two sets of arguments asked for one issue");
        refused(
            |facts| {
                let mut second = facts.requests[0].clone();
                second.path = "/issues/CALLER0-9".to_owned();
                facts.requests.push(second);
            },
            "one set of arguments asked for two issues",
        );
        refused(|facts| facts.requests.push(facts.requests[0].clone()), "one call asked");
    }

    #[test]
    fn what_the_api_was_told_has_to_be_on_record() {
        let strange = ("attorn-agent".to_owned(), "agt_1".to_owned());
        let subject = ("attorn-subject".to_owned(), "agt_1".to_owned());
        let told = |facts: &mut Facts| {
            drop(facts.requests[0].headers.splice(..2, [strange, subject]));
        };
        refused(told, "is that of agt_0");
        refused(|facts| facts.entries[1]["agent"] = json!("agt_1"), "is that of agt_0");
        refused(|facts| facts.entries[1]["detail"] = json!({}), "names no call");
        refused(|facts| drop(facts.entries.remove(0)), "a call that is none");
        refused(|facts| drop(facts.entries.remove(1)), "no entry of the way out");
        refused(|facts| drop(facts.requests.remove(0)), "no request at the API");
        refused(
            |facts| {
                let token = facts.entries[3]["exchanged_jti"].clone();
                facts.entries[1]["exchanged_jti"] = token;
            },
            "used for two calls",
        );
    }

    #[test]
    fn a_credential_of_the_server_is_noticed() {
        let credential = ("authorization".to_owned(), "Bearer x".to_owned());
        refused(|facts| facts.requests[0].headers.push(credential), "authorization");
        refused(|facts| facts.requests[0].headers.truncate(2), "attorn-token-id");
    }
}
