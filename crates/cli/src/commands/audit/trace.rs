//! `attorn audit trace`: everything of one call, as a tree.

use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::exit::{Exit, Failure};
use crate::json::member;
use crate::names::Names;
use crate::output::{cell, date_time};

pub(super) async fn run(admin: &Admin, id: &str) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::AuditTrace, &[id], &[]).await?;
    let entries = items(&answer);
    if entries.is_empty() {
        let mut what = format!("nothing is recorded under `{id}`");
        what.extend(removed(&answer).map(|removed| format!("; {removed}")));
        return Err(Failure::no(what).next("attorn audit search --limit 20"));
    }
    if let Some(removed) = removed(&answer) {
        admin.output.remark(&removed);
    }
    if admin.output.is_machine() {
        admin.output.list(entries, &[]);
    } else {
        let names = Names::load(admin).await?;
        let mut entries = entries.to_vec();
        entries.iter_mut().for_each(|entry| names.put_into(entry));
        admin.output.text(&tree(&entries));
    }
    Ok(Exit::Yes)
}

/// What is not in an answer although it once was in the journal.
pub(super) fn removed(answer: &Value) -> Option<String> {
    let first = member(answer, "removed_before").as_u64()?;
    Some(format!("entries before #{first} were removed by retention"))
}

/// Entries in log order, each with the facts that say who, what and why.
pub(crate) fn tree(entries: &[Value]) -> String {
    let mut lines = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        let last = position + 1 == entries.len();
        let (branch, bar) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        let time = date_time(member(entry, "time_ms").as_u64().unwrap_or_default());
        let verdict = [member(entry, "decision"), member(entry, "outcome")]
            .into_iter()
            .find(|v| !v.is_null());
        lines.push(format!(
            "{branch} #{:<5} {:<15} {:<10} {time}",
            cell(member(entry, "index")),
            cell(member(entry, "kind")),
            cell(verdict.unwrap_or(&Value::Null)),
        ));
        for group in FACTS {
            let facts = facts(entry, group);
            if !facts.is_empty() {
                lines.push(format!("{bar}   {facts}"));
            }
        }
    }
    lines.join("\n")
}

fn facts(entry: &Value, names: &[&str]) -> String {
    let known = names.iter().filter(|name| !member(entry, name).is_null());
    known.map(|name| format!("{name} {}", cell(member(entry, name)))).collect::<Vec<_>>().join("  ")
}

/// One line each: who, with what, what for, why.
const FACTS: [&[&str]; 4] = [
    &["agent", "agent_key", "owner"],
    &["token_jti", "proof_jti", "grant"],
    &["server", "tool", "class", "scope", "tool_digest"],
    &["reason", "rule", "policy_version", "arguments_digest", "result_digest", "duration_us"],
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_names_every_entry_and_its_facts() {
        let text = tree(&[
            json!({"index": 4, "kind": "call.decided", "time_ms": 0, "decision": "permit", "agent": "agt_1", "tool": "get"}),
            json!({"index": 5, "kind": "call.completed", "time_ms": 1, "outcome": "ok"}),
        ]);
        assert!(text.contains("├─ #4     call.decided    permit"), "{text}");
        assert!(text.contains("│    agent agt_1"), "{text}");
        assert!(text.contains("└─ #5     call.completed  ok"), "{text}");
    }
}
