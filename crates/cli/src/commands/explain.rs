//! `attorn explain`: why a call was decided as it was.

use clap::Args;
use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::output::{cell, clean};

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
    let verdict = if permitted { "PERMITTED" } else { "DENIED" };
    let [agent, server, tool] = ["agent", "server", "tool"].map(|name| cell(member(answer, name)));
    output.say(&format!("{verdict}  {agent} -> {server}/{tool}  {headline}"));
    if tool.is_empty() {
        let reason = text(answer, "reason").map_or_else(|| "-".to_owned(), clean);
        output.say(&format!("refused before a tool was looked at: {reason}"));
        return exit;
    }
    let steps = member(answer, "steps").as_array().map_or(&[][..], Vec::as_slice);
    for step in steps {
        output.say(&format!(
            "{:>2} {:<13} {:<14} {}",
            cell(member(step, "number")),
            cell(member(step, "name")),
            words(text(step, "outcome").unwrap_or_default()),
            cell(member(step, "detail")),
        ));
    }
    if let Some(reason) = text(answer, "reason") {
        output.say(&format!("reason: {}", clean(reason)));
    }
    let failed = steps.iter().find(|step| text(step, "outcome") == Some("fail"));
    if let Some(next) = failed.and_then(|step| next_command(step, [&agent, &server, &tool])) {
        output.say(&format!("next: {next}"));
    }
    exit
}

/// What an owner would type to change the outcome of the first failed step.
fn next_command(step: &Value, [agent, server, tool]: [&str; 3]) -> Option<String> {
    match text(step, "name")? {
        "agent" => Some(format!("attorn agent show {agent}")),
        "server" => Some(format!("attorn server show {server}")),
        "lock" => Some("attorn lock list".to_owned()),
        "tool" => Some(format!("attorn tools diff {server}/{tool}")),
        "scope" => Some(format!("attorn grant create {agent} {server} CLASS:{tool}")),
        "policy" => Some("attorn policy show".to_owned()),
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
