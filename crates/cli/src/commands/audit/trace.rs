//! `attorn audit trace`: everything of one chain, as a tree.

use attorn_audit::trace::{Node, assemble};
use clap::Args;
use serde_json::{Value, json};

use super::chain::{ChainArgs, nothing};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, set};
use crate::names::Names;
use crate::output::{cell, date_time};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TraceArgs {
    /// A decision, a trace, a token (of an agent or exchanged), an approval, or an agent
    #[arg(required_unless_present = "downstream_id")]
    id: Option<String>,
    /// The name that the API gave the request, in its header `x-request-id`
    #[arg(long, value_name = "ID", conflicts_with_all = ["id", "by"])]
    downstream_id: Option<String>,
    #[command(flatten)]
    chain: ChainArgs,
}

const EXAMPLES: &str = "\
Examples:
  attorn audit trace dec_…
  attorn audit trace --downstream-id 7f3a9c
  attorn audit trace dec_… --journal /srv/gw-1/state/journal --journal guard-export.json
  attorn audit trace dec_… --offline --journal node.json --journal guard.json

What is missing in a chain is shown in it as a finding: allowed and without outcome, an exchange
without access, an access without decision. What hangs together is told by names, never by time.";

pub(super) async fn run(context: &Context, args: &TraceArgs) -> Result<Exit, Failure> {
    let id = args.id.as_deref().or(args.downstream_id.as_deref()).unwrap_or_default();
    let chain = args.chain.read(context, id, args.downstream_id.is_some()).await?;
    if chain.entries.is_empty() {
        return Err(nothing(id, &chain));
    }
    for remark in &chain.remarks {
        context.output.remark(remark);
    }
    let roots = assemble(chain.entries);
    if context.output.is_machine() {
        let shown: Vec<Value> = roots.iter().map(document).collect();
        context.output.object(&json!({ "chain": shown, "remarks": chain.remarks }));
        return Ok(Exit::Yes);
    }
    let names = match &chain.admin {
        Some(admin) => Names::load(admin).await?,
        None => Names::default(),
    };
    let mut lines = Vec::new();
    for (at, root) in roots.iter().enumerate() {
        draw(root, ("", at + 1 == roots.len()), &names, &mut lines);
    }
    context.output.text(&lines.join("\n"));
    Ok(Exit::Yes)
}

/// A node with all members of its entry.
fn document(node: &Node) -> Value {
    let mut shown = members(node);
    set(&mut shown, "log", node.located.log.as_str());
    let findings: Vec<Value> = node.findings.iter().map(|one| one.as_str().into()).collect();
    set(&mut shown, "findings", findings);
    set(&mut shown, "children", node.children.iter().map(document).collect::<Vec<_>>());
    shown
}

fn members(node: &Node) -> Value {
    let canonical = node.located.entry.to_canonical();
    // Canonical bytes of an entry are a JSON object.
    let mut shown: Value = serde_json::from_slice(&canonical).unwrap_or_default();
    set(&mut shown, "index", node.located.index);
    shown
}

fn draw(node: &Node, (before, is_last): (&str, bool), names: &Names, lines: &mut Vec<String>) {
    let (branch, bar) = if is_last { ("└─", "   ") } else { ("├─", "│  ") };
    let mut entry = members(node);
    names.put_into(&mut entry);
    let log = &node.located.log;
    lines.push(format!("{before}{branch} {}  {log}", headline(&entry)));
    let below = format!("{before}{bar}");
    let mark = if node.children.is_empty() { "  " } else { "│ " };
    for group in FACTS {
        let facts = facts(&entry, group);
        if !facts.is_empty() {
            lines.push(format!("{below}{mark}  {facts}"));
        }
    }
    for finding in &node.findings {
        lines.push(format!("{below}{mark}  ! {finding}"));
    }
    for (at, child) in node.children.iter().enumerate() {
        draw(child, (&below, at + 1 == node.children.len()), names, lines);
    }
}

fn headline(entry: &Value) -> String {
    let time = date_time(member(entry, "time_ms").as_u64().unwrap_or_default());
    let verdict =
        [member(entry, "decision"), member(entry, "outcome")].into_iter().find(|v| !v.is_null());
    format!(
        "#{:<5} {:<15} {:<10} {time}",
        cell(member(entry, "index")),
        cell(member(entry, "kind")),
        cell(verdict.unwrap_or(&Value::Null)),
    )
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
        lines.push(format!("{branch} {}", headline(entry)));
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
const FACTS: [&[&str]; 6] = [
    &["subject", "actor_chain"],
    &["agent", "agent_key", "owner"],
    &["token_jti", "exchanged_jti", "proof_jti", "grant"],
    &["server", "tool", "class", "scope", "tool_digest"],
    &["downstream_resource", "downstream_request_id", "downstream_status", "trace_id"],
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
