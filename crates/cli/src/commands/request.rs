//! `attorn request`: calls that wait for a person.
//!
//! An approver sees the arguments exactly as they will be sent. Characters that a reader would not
//! see are escaped, so that nothing else is approved than what is read.

use attorn_json::escape_hidden;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};

#[derive(Debug, Subcommand)]
pub(crate) enum RequestCommand {
    /// Calls that wait, or waited, for a person
    #[command(
        after_help = "Examples:\n  attorn request list\n  attorn request list --state denied"
    )]
    List {
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
    },
    /// One of them: the exact arguments, the tool, and what the agent did before
    #[command(after_help = "Example:\n  attorn request show apr_…")]
    Show { request: String },
    /// Let the call be made, once
    #[command(
        after_help = "Example:\n  attorn request approve apr_… --reason \"invoice checked, ticket 4711\""
    )]
    Approve {
        request: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Do not let it be made; an approval that was not used is taken back
    #[command(after_help = "Example:\n  attorn request deny apr_… --reason \"wrong account\"")]
    Deny {
        request: String,
        /// Why; recorded, and told to the agent
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// It waits
    Pending,
    /// It may be made
    Approved,
    /// It may not be made
    Denied,
    /// It was let through
    Used,
    /// Nobody used it in time
    Expired,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
            Self::Expired => "expired",
        }
    }
}

pub(crate) async fn run(context: &Context, command: RequestCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        RequestCommand::List { state } => {
            let query = [("state", state.map(|state| state.as_str().to_owned()))];
            let columns = ["id", "state", "agent", "server", "tool", "asked_s", "expires_s"];
            admin.list(Operation::ApprovalList, &[], &query, &columns).await
        }
        RequestCommand::Show { request } => show(&admin, &request).await,
        RequestCommand::Approve { request, reason, change } => {
            let body = json!({ "reason": reason });
            let place = [request.as_str()];
            let answer =
                admin.send_change(Operation::ApprovalApprove, &place, body, change).await?;
            let Some(answer) = answer else { return Ok(Exit::Yes) };
            admin.output.object(&plain(answer.clone()));
            if text(&answer, "state") == Some("pending") {
                admin.output.say("it waits for a second approver, who is somebody else");
            }
            Ok(Exit::Yes)
        }
        RequestCommand::Deny { request, reason, change } => {
            let body = json!({ "reason": reason });
            let place = [request.as_str()];
            let answer = admin.send_change(Operation::ApprovalDeny, &place, body, change).await?;
            if let Some(answer) = answer {
                admin.output.object(&plain(answer));
            }
            Ok(Exit::Yes)
        }
    }
}

async fn show(admin: &Admin, request: &str) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ApprovalShow, &[request], &[]).await?;
    if admin.output.is_machine() {
        admin.output.object(&answer);
        return Ok(Exit::Yes);
    }
    let arguments = text(&answer, "arguments").unwrap_or_default().to_owned();
    let earlier = items(member(&answer, "earlier")).to_vec();
    admin.output.object(&plain(answer.clone()));
    if !earlier.is_empty() {
        admin.output.say("\nwhat this agent did with this tool before:");
        let columns = ["time_ms", "decision", "reason", "approval", "decision_id"];
        admin.output.list(&earlier, &columns);
    }
    for line in shown(&arguments) {
        admin.output.text(&line);
    }
    if member(&answer, "tool_unchanged") != true {
        admin
            .output
            .say("the tool changed since the call was made; the call cannot be made any more");
    }
    if text(&answer, "state") == Some("pending") {
        admin.output.say(&format!("\nnext: attorn request approve {request} --reason …"));
        admin.output.say(&format!("  or: attorn request deny {request} --reason …"));
    }
    Ok(Exit::Yes)
}

/// The arguments as they will be sent, on one line of their own. Only hidden characters are written
/// otherwise, as `\u{…}`, which is no JSON and so cannot be taken for what it stands for.
fn shown(arguments: &str) -> Vec<String> {
    if arguments.is_empty() {
        return vec!["\nthe arguments are forgotten by now".to_owned()];
    }
    let escaped = escape_hidden(arguments);
    let mut lines = vec!["\narguments, exactly as they will be sent:".to_owned(), escaped.clone()];
    if escaped != arguments {
        lines.push("some characters in them cannot be seen; they are written as \\u{…}".to_owned());
    }
    lines
}

/// For a table: what several lines say stands below it.
fn plain(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.remove("arguments");
        members.remove("earlier");
        let words: Vec<_> = member(&Value::Object(members.clone()), "words")
            .as_array()
            .into_iter()
            .flatten()
            .map(|word| {
                let of = |name| text(word, name).unwrap_or_default().to_owned();
                format!("{}: {}", of("by"), of("reason"))
            })
            .collect();
        members.insert("words".to_owned(), Value::from(words.join("\n")));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_shown_to_the_last_character() {
        let plain = r#"{"amount":100,"note":"a \"b\" \\u{202e}"}"#;
        assert_eq!(shown(plain)[1], plain);
        assert_eq!(shown(plain).len(), 2);
        let hidden = "{\"to\":\"\u{202e}evil\u{200b}\"}";
        let lines = shown(hidden);
        assert_eq!(lines[1], r#"{"to":"\u{202e}evil\u{200b}"}"#);
        assert_eq!(lines.len(), 3);
        assert_eq!(shown("").len(), 1);
    }
}
