//! `attorn explain`: why a call was decided as it was.

use clap::Args;
use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::output::cell;

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
    if context.output.is_machine() {
        context.output.object(answer);
        return exit;
    }
    let verdict = if permitted { "PERMITTED" } else { "DENIED" };
    context.output.say(&format!("{verdict}  {}", cell(&Value::from(headline))));
    for step in member(answer, "steps").as_array().into_iter().flatten() {
        context.output.say(&format!(
            "{:>2} {:<13} {:<14} {}",
            cell(member(step, "number")),
            cell(member(step, "name")),
            outcome(member(step, "outcome")),
            cell(member(step, "detail")),
        ));
    }
    if let Some(reason) = text(answer, "reason") {
        context.output.say(&format!("reason: {reason}"));
    }
    exit
}

/// The words of the funnel for a step's outcome.
fn outcome(outcome: &Value) -> &str {
    match outcome.as_str().unwrap_or_default() {
        "ok" => "ok",
        "fail" => "FAIL",
        "would_deny" => "would deny",
        "would_pass" => "would pass",
        "not_evaluated" => "not evaluated",
        other => other,
    }
}
