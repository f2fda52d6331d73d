//! `attorn policy`: guard-rail policies in Cedar.

use std::path::{Path, PathBuf};

use attorn_authority::policy_tag;
use attorn_policy::PolicySet;
use attorn_registry::PolicySource;
use clap::Subcommand;
use http::HeaderValue;
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
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        file: PathBuf,
        /// Why; recorded
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        replaces: Replaces,
        #[command(flatten)]
        change: Change,
    },
    /// The policies in force, below a line that names their version
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
        replaces: Replaces,
        #[command(flatten)]
        change: Change,
    },
}

/// What a change rests on. If other policies are in force by then, nothing is changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Replaces {
    /// The version it replaces [default: the one in the file's first line, or the one in force]
    #[arg(long, value_name = "VERSION")]
    replaces: Option<u64>,
}

const APPLY_EXAMPLES: &str = "\
Examples:
  attorn policy show > guard-rails.cedar
  attorn policy apply guard-rails.cedar --reason \"no bulk export\"
  attorn policy apply guard-rails.cedar --replaces 7";

/// The first line of what `policy show` prints. Not a part of the policies.
const VERSION_LINE: &str = "// attorn policy version ";

pub(crate) async fn run(context: &Context, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Validate { file } => {
            compile(&read(&file)?.text)?;
            context.output.say("the policies are valid");
            Ok(Exit::Yes)
        }
        PolicyCommand::Test { file, tests } => test(context, &file, &tests),
        PolicyCommand::Diff { file } => diff(&Admin::open(context).await?, &file).await,
        PolicyCommand::Apply { file, reason, replaces, change } => {
            let File { text, version } = read(&file)?;
            compile(&text)?;
            let body = json!({ "text": text, "reason": reason });
            let replaces = replaces.replaces.or(version);
            replace(context, Operation::PolicyApply, (body, replaces), change).await
        }
        PolicyCommand::Show => {
            let answer = Admin::open(context).await?.read(Operation::PolicyShow, &[], &[]).await?;
            match (member(&answer, "text"), context.output.is_machine()) {
                (Value::String(text), false) => {
                    let version = member(&answer, "version");
                    context.output.text(&format!("{VERSION_LINE}{version}\n{text}"));
                }
                _ => context.output.object(&answer),
            }
            Ok(Exit::Yes)
        }
        PolicyCommand::History => {
            let columns = ["version", "by", "reason", "created_s"];
            Admin::open(context).await?.list(Operation::PolicyHistory, &[], &[], &columns).await
        }
        PolicyCommand::Rollback { number, reason, replaces, change } => {
            let body = json!({ "version": number, "reason": reason });
            let asked = (body, replaces.replaces);
            replace(context, Operation::PolicyRollback, asked, change).await
        }
    }
}

/// Replaces the policies of one version, and those alone.
async fn replace(
    context: &Context,
    operation: Operation,
    (body, replaces): (Value, Option<u64>),
    change: Change,
) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    let version = match replaces {
        Some(version) => Some(version),
        // Nothing is replaced, so nothing has to be named.
        None if change.dry_run => None,
        None => {
            let now = admin.read(Operation::PolicyShow, &[], &[]).await?;
            member(&now, "version").as_u64()
        }
    };
    let tag = version.map(|version| HeaderValue::try_from(policy_tag(version))).transpose();
    let tag = tag.map_err(|_| Failure::usage("the version is no version"))?;
    let answer = admin.send_replacing(operation, &[], (body, tag), change).await?;
    answer.iter().for_each(|answer| admin.output.object(answer));
    Ok(Exit::Yes)
}

/// A policy file, and the version that it was made from if it says so.
struct File {
    text: String,
    version: Option<u64>,
}

fn read(file: &Path) -> Result<File, Failure> {
    Ok(without_version_line(files::read_text(file)?))
}

fn without_version_line(text: String) -> File {
    let named = text.split_once('\n').and_then(|(first, rest)| {
        let version = first.strip_prefix(VERSION_LINE)?.trim_end().parse().ok()?;
        Some((version, rest.to_owned()))
    });
    match named {
        Some((version, text)) => File { text, version: Some(version) },
        None => File { text, version: None },
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
    let policies = compile(&read(file)?.text)?;
    let outcomes = attorn_policy::run_tests(&policies, &files::read(tests)?)
        .map_err(|e| Failure::usage(format!("`{}`: {e}", tests.display())))?;
    let rows: Vec<_> = outcomes.iter().map(|outcome| json!(outcome)).collect();
    context.output.list(&rows, &["passed", "name", "expected", "observed"]);
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    context.output.say(&format!("{} passed, {failed} failed", outcomes.len() - failed));
    Ok(if failed == 0 { Exit::Yes } else { Exit::No })
}

async fn diff(admin: &Admin, file: &Path) -> Result<Exit, Failure> {
    let new = read(file)?.text;
    let answer = admin.read(Operation::PolicyShow, &[], &[]).await?;
    let old = text(&answer, "text").unwrap_or_default();
    if old == new {
        admin.output.say("no difference");
        return Ok(Exit::Yes);
    }
    admin.output.text(&line_diff(old, &new));
    // Whoever has seen this difference knows what they replace.
    let (file, version) = (file.display(), member(&answer, "version"));
    admin.output.say(&format!("next: attorn policy apply {file} --replaces {version}"));
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
    fn a_file_names_the_version_it_was_made_from() {
        let read = |text: &str| {
            let File { text, version } = without_version_line(text.to_owned());
            (text, version)
        };
        assert_eq!(read("// attorn policy version 7\na;\n"), ("a;\n".into(), Some(7)));
        for text in ["a;\n", "// attorn policy version x\na;\n", "\n// attorn policy version 7\n"] {
            assert_eq!(read(text), (text.into(), None));
        }
    }

    #[test]
    fn a_diff_shows_the_changed_lines() {
        assert_eq!(line_diff("a\nb\nc", "a\nx\ny\nc"), "-b\n+x\n+y");
        assert_eq!(line_diff("a", "a\nb"), "+b");
        assert_eq!(line_diff("a\na", "a"), "-a");
    }
}
