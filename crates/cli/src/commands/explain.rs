//! `attorn explain`: why a call was decided as it was.

use clap::Args;
use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::output::{cell, clean, date_time};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  attorn explain dec_…\n  attorn explain --last")]
pub(crate) struct ExplainArgs {
    /// Identifier of the decision, from an answer or the journal
    #[arg(required_unless_present = "last")]
    decision: Option<String>,
    /// The newest refused call
    #[arg(long, conflicts_with = "decision")]
    last: bool,
}

pub(crate) async fn run(context: &Context, args: ExplainArgs) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    let decision = match args.decision {
        Some(decision) => decision,
        None => last_refused(&admin).await?,
    };
    let answer = admin.read(Operation::DecisionExplain, &[&decision], &[]).await?;
    Ok(show_steps(context, &decision, &answer))
}

async fn last_refused(admin: &Admin) -> Result<String, Failure> {
    let query = [
        ("decision", Some("deny".to_owned())),
        ("kind", Some("call.decided".to_owned())),
        ("limit", Some("1".to_owned())),
    ];
    let answer = admin.read(Operation::AuditSearch, &[], &query).await?;
    let newest = items(&answer).first().and_then(|entry| text(entry, "decision_id"));
    newest
        .map(str::to_owned)
        .ok_or_else(|| Failure::no("no call was refused yet").next("attorn audit search"))
}

/// Prints the funnel; yes only if every step passed.
pub(crate) fn show_steps(context: &Context, headline: &str, answer: &Value) -> Exit {
    // What was decided then counts; for a call that was never made, what would be decided now.
    let permitted = match text(answer, "decision") {
        Some(decision) => decision == "permit",
        None => member(answer, "allowed") == true,
    };
    let exit = if permitted { Exit::Yes } else { Exit::No };
    let output = context.output;
    if output.is_machine() {
        output.object(answer);
        return exit;
    }
    for line in lines(permitted, headline, answer) {
        output.say(&line);
    }
    exit
}

fn lines(permitted: bool, headline: &str, answer: &Value) -> Vec<String> {
    let verdict = if permitted { "PERMITTED" } else { "DENIED" };
    let [agent, server, tool] = ["agent", "server", "tool"].map(|name| cell(member(answer, name)));
    let target = if tool.is_empty() { server.clone() } else { format!("{server}/{tool}") };
    let when = member(answer, "time_ms").as_u64().map(date_time).unwrap_or_default();
    let mut lines = vec![format!("{verdict}  {agent} -> {target}  {headline}  {when}")];
    let steps = member(answer, "steps").as_array().map_or(&[][..], Vec::as_slice);
    for step in steps {
        lines.push(format!(
            "{:>2} {:<13} {:<14} {}",
            cell(member(step, "number")),
            cell(member(step, "name")),
            words(text(step, "outcome").unwrap_or_default()),
            clean(text(step, "detail").unwrap_or_default()),
        ));
        if let Some(now) = text(step, "now") {
            lines.push(format!("{:32}now: {}", "", clean(now)));
        }
    }
    if let Some(reason) = text(answer, "reason") {
        lines.push(format!("reason: {}", clean(reason)));
    }
    if let Some(effective) = text(answer, "effective") {
        lines.push(format!("Effective right = {}", clean(effective)));
    }
    if steps.iter().any(|step| text(step, "basis") == Some("present")) {
        lines.push(
            "ok and FAIL are on record; \"would\" is judged with the policies of then and the \
             registry as it is now, without the arguments"
                .to_owned(),
        );
    }
    let failed = steps.iter().find(|step| text(step, "outcome") == Some("fail"));
    let next = failed.and_then(|step| next_command(step, [&agent, &server, &tool]));
    lines.extend(next.map(|next| format!("next: {next}")));
    lines
}

/// What an owner would type to change the outcome of the first failed step.
fn next_command(step: &Value, [agent, server, tool]: [&str; 3]) -> Option<String> {
    let detail = text(step, "detail").unwrap_or_default();
    match text(step, "name")? {
        "identities" if detail.starts_with("lock.") => Some("attorn lock list".to_owned()),
        "identities" if detail.starts_with("server.") => {
            Some(format!("attorn server show {server}"))
        }
        "agent" | "identities" => Some(format!("attorn agent show {agent}")),
        "server" => Some(format!("attorn server show {server}")),
        "lock" => Some("attorn lock list".to_owned()),
        "tool" => Some(format!("attorn tools diff {server}/{tool}")),
        "scope" => Some(format!("attorn grant create {agent} {server} CLASS:{tool}")),
        "policy" => Some("attorn policy show".to_owned()),
        "token" | "possession" => Some(format!("attorn doctor {server} --client {agent}")),
        "forward" => Some("attorn doctor".to_owned()),
        "approval" => Some("attorn request list".to_owned()),
        _ => None,
    }
}

/// The words of the funnel for a step's outcome.
fn words(outcome: &str) -> &str {
    match outcome {
        "fail" => "FAIL",
        "would_deny" => "would deny",
        "would_pass" => "would pass",
        "not_evaluated" => "not evaluated",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_funnel_goes_past_the_failure_and_ends_with_a_command() {
        let answer = json!({
            "decision": "deny", "reason": "scope.missing", "agent": "billing", "server": "crm",
            "tool": "export", "time_ms": 1_790_932_447_000_u64,
            "effective": "person n/a ∩ policy no",
            "steps": [
                { "number": 1, "name": "transport", "outcome": "ok", "detail": "MCP 2026-07-28", "basis": "recorded" },
                { "number": 6, "name": "scope", "outcome": "fail", "detail": "scope.missing: …", "basis": "recorded", "now": "read:export, grant grt_1" },
                { "number": 7, "name": "policy", "outcome": "would_deny", "detail": "forbid \"x\" (policies v3:31)", "basis": "present" },
            ],
        });
        let lines = lines(false, "dec_1", &answer);
        assert_eq!(lines[0], "DENIED  billing -> crm/export  dec_1  2026-10-02 09:14:07Z");
        assert_eq!(lines[2], " 6 scope         FAIL           scope.missing: …");
        assert!(lines[3].ends_with("now: read:export, grant grt_1"));
        assert_eq!(lines[4], " 7 policy        would deny     forbid \"x\" (policies v3:31)");
        assert_eq!(lines[6], "Effective right = person n/a ∩ policy no");
        assert_eq!(lines.last().unwrap(), "next: attorn grant create billing crm CLASS:export");
    }
}
