//! `attorn policy`: guard-rail policies in Cedar.

use std::path::{Path, PathBuf};

use attorn_policy::PolicySet;
use attorn_registry::PolicySource;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{member, text};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy file on this machine, without an authority
    #[command(after_help = "Example:\n  attorn policy validate guard-rails.cedar")]
    Validate { file: PathBuf },
    /// Run a policy file's tests on this machine
    #[command(after_help = "Example:\n  attorn policy test guard-rails.cedar --tests tests.json")]
    Test {
        file: PathBuf,
        /// JSON file of cases
        #[arg(long, value_name = "FILE")]
        tests: PathBuf,
    },
    /// Compare a file with what is in force. Exit code 1 if they differ
    #[command(after_help = "Example:\n  attorn policy diff guard-rails.cedar")]
    Diff { file: PathBuf },
    /// Put a file in force, after validation
    #[command(
        after_help = "Example:\n  attorn policy apply guard-rails.cedar --reason \"no bulk export\""
    )]
    Apply {
        file: PathBuf,
        /// Why; recorded
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// The policies in force
    #[command(after_help = "Example:\n  attorn policy show > guard-rails.cedar")]
    Show,
    /// Earlier versions
    #[command(after_help = "Example:\n  attorn policy history")]
    History,
    /// Put an earlier version in force again
    #[command(after_help = "Example:\n  attorn policy rollback 3 --reason \"refused too much\"")]
    Rollback {
        /// Its number in the history
        #[arg(value_name = "VERSION")]
        number: u64,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

pub(crate) async fn run(context: &Context, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Validate { file } => {
            compile(&files::read_text(&file)?)?;
            context.output.say("the policies are valid");
            Ok(Exit::Yes)
        }
        PolicyCommand::Test { file, tests } => test(context, &file, &tests),
        PolicyCommand::Diff { file } => diff(&Admin::open(context).await?, &file).await,
        PolicyCommand::Apply { file, reason, change } => {
            let text = files::read_text(&file)?;
            compile(&text)?;
            let body = json!({ "text": text, "reason": reason });
            Admin::open(context).await?.change(Operation::PolicyApply, &[], body, change).await
        }
        PolicyCommand::Show => {
            let answer = Admin::open(context).await?.read(Operation::PolicyShow, &[], &[]).await?;
            match (member(&answer, "text"), context.output.is_machine()) {
                (Value::String(text), false) => context.output.text(text),
                _ => context.output.object(&answer),
            }
            Ok(Exit::Yes)
        }
        PolicyCommand::History => {
            let columns = ["version", "by", "reason", "created_s"];
            Admin::open(context).await?.list(Operation::PolicyHistory, &[], &[], &columns).await
        }
        PolicyCommand::Rollback { number, reason, change } => {
            let body = json!({ "version": number, "reason": reason });
            Admin::open(context).await?.change(Operation::PolicyRollback, &[], body, change).await
        }
    }
}

/// Refuses what would not come into force, with each error on its line.
fn compile(text: &str) -> Result<PolicySet, Failure> {
    let source = PolicySource { version: 0, text: text.to_owned() };
    PolicySet::compile(&source).map_err(|errors| {
        Failure::no(errors.to_string()).next("attorn policy validate FILE, after a correction")
    })
}

fn test(context: &Context, file: &Path, tests: &Path) -> Result<Exit, Failure> {
    let policies = compile(&files::read_text(file)?)?;
    let outcomes = attorn_policy::run_tests(&policies, &files::read(tests)?)
        .map_err(|e| Failure::usage(format!("`{}`: {e}", tests.display())))?;
    let rows: Vec<_> = outcomes.iter().map(|outcome| json!(outcome)).collect();
    context.output.list(&rows, &["passed", "name", "expected", "observed"]);
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    context.output.say(&format!("{} passed, {failed} failed", outcomes.len() - failed));
    Ok(if failed == 0 { Exit::Yes } else { Exit::No })
}

async fn diff(admin: &Admin, file: &Path) -> Result<Exit, Failure> {
    let new = files::read_text(file)?;
    let answer = admin.read(Operation::PolicyShow, &[], &[]).await?;
    let old = text(&answer, "text").unwrap_or_default();
    if old == new {
        admin.output.say("no difference");
        return Ok(Exit::Yes);
    }
    admin.output.text(&line_diff(old, &new));
    admin.output.say(&format!("next: attorn policy apply {}", file.display()));
    Ok(Exit::No)
}

/// The changed middle of two texts: what they share at both ends is left out.
fn line_diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let gone = old.iter().take(old.len() - tail).map(|line| format!("-{line}"));
    let come = new.iter().take(new.len() - tail).map(|line| format!("+{line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_the_changed_lines() {
        assert_eq!(line_diff("a\nb\nc", "a\nx\ny\nc"), "-b\n+x\n+y");
        assert_eq!(line_diff("a", "a\nb"), "+b");
        assert_eq!(line_diff("a\na", "a"), "-a");
    }
}
