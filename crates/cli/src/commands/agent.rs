//! `attorn agent`: who acts.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::commands::enroll::{self, EnrollArgs};
use crate::exit::{Exit, Failure};
use crate::files;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Redeem an agent's one-time code on the machine the agent runs on
    Enroll(EnrollArgs),
    /// Register an agent and get its one-time code (10 minutes, single use)
    #[command(after_help = REGISTER_EXAMPLES)]
    Register {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// A person's command line instead of an agent
        #[arg(long)]
        operator: bool,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// A new one-time code for an agent that has none left
    #[command(after_help = "Example:\n  attorn agent code billing-agent --code-file code.txt")]
    Code {
        agent: String,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// List agents
    #[command(after_help = "Example:\n  attorn agent list -o ndjson")]
    List,
    /// One agent with its keys
    #[command(after_help = "Example:\n  attorn agent show billing-agent")]
    Show { agent: String },
    /// Give an agent another owner
    #[command(after_help = "Example:\n  attorn agent owner billing-agent finance-team")]
    Owner {
        agent: String,
        owner: String,
        #[command(flatten)]
        change: Change,
    },
    /// The agent's keys and their states
    #[command(after_help = "Example:\n  attorn agent keys billing-agent")]
    Keys { agent: String },
    /// Stop an agent until it is resumed
    #[command(
        after_help = "Example:\n  attorn agent suspend billing-agent --reason \"left the project\""
    )]
    Suspend {
        agent: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Let a suspended agent act again
    #[command(after_help = "Example:\n  attorn agent resume billing-agent")]
    Resume {
        agent: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop an agent for good
    #[command(after_help = "Example:\n  attorn agent retire billing-agent --reason \"replaced\"")]
    Retire {
        agent: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

const REGISTER_EXAMPLES: &str = "\
Examples:
  attorn agent register billing-agent --owner finance-team
  attorn agent register billing-agent --owner finance-team --code-file code.txt
Then, where the agent runs:
  attorn agent enroll --url https://authority.example.com --code @code.txt";

pub(crate) async fn run(context: &Context, command: AgentCommand) -> Result<Exit, Failure> {
    if let AgentCommand::Enroll(args) = command {
        return enroll::run(context, args).await;
    }
    let admin = Admin::open(context).await?;
    match command {
        AgentCommand::Enroll(_) => Ok(Exit::Usage),
        AgentCommand::Register { name, owner, operator, code_file, change } => {
            let kind = if operator { "operator" } else { "agent" };
            let body = json!({ "name": name, "owner": owner, "kind": kind });
            let answer = admin.send_change(Operation::AgentRegister, &[], body, change).await?;
            show_code(&admin, answer, code_file)
        }
        AgentCommand::Code { agent, code_file, change } => {
            let answer =
                admin.send_change(Operation::AgentCode, &[&agent], json!({}), change).await?;
            show_code(&admin, answer, code_file)
        }
        AgentCommand::List => {
            let columns = ["id", "name", "kind", "owner", "state"];
            admin.list(Operation::AgentList, &[], &[], &columns).await
        }
        AgentCommand::Show { agent } => admin.show(Operation::AgentShow, &[&agent]).await,
        AgentCommand::Owner { agent, owner, change } => {
            let body = json!({ "owner": owner });
            admin.change(Operation::AgentOwner, &[&agent], body, change).await
        }
        AgentCommand::Keys { agent } => {
            let columns = ["jkt", "state", "not_before_s", "not_after_s"];
            admin.list(Operation::AgentKeys, &[&agent], &[], &columns).await
        }
        AgentCommand::Suspend { agent, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::AgentSuspend, &[&agent], body, change).await
        }
        AgentCommand::Resume { agent, change } => {
            admin.change(Operation::AgentResume, &[&agent], json!({}), change).await
        }
        AgentCommand::Retire { agent, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::AgentRetire, &[&agent], body, change).await
        }
    }
}

/// Hands the one-time code over: into a file when asked, else once on standard output.
pub(crate) fn show_code(
    admin: &Admin,
    answer: Option<Value>,
    code_file: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let Some(mut answer) = answer else { return Ok(Exit::Yes) };
    let mut source = "-".to_owned();
    if let (Some(path), Some(members)) = (code_file, answer.as_object_mut()) {
        let code = members.remove("code").unwrap_or_default();
        files::write_private(&path, code.as_str().unwrap_or_default().as_bytes())?;
        source = format!("@{}", path.display());
    }
    admin.output.object(&answer);
    admin.output.say(&format!(
        "next, where it runs: attorn enroll --url {} --code {source}",
        admin.issuer()
    ));
    Ok(Exit::Yes)
}
