//! `attorn owner`: people and teams who answer for agents and servers.

use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum OwnerCommand {
    /// Record an owner
    #[command(
        after_help = "Example:\n  attorn owner create finance-team --email finance@example.com"
    )]
    Create {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Where to reach them
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Say which person or group an owner is, and who answers after them
    #[command(after_help = SET_EXAMPLES)]
    Set {
        /// The owner
        name: String,
        /// The person it is
        #[arg(long, conflicts_with = "group")]
        person: Option<String>,
        /// The group it is: anybody of it answers
        #[arg(long)]
        group: Option<String>,
        /// The owner who answers once they are gone
        #[arg(long, value_name = "OWNER")]
        successor: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// List owners
    #[command(after_help = "Example:\n  attorn owner list -o json")]
    List,
}

const SET_EXAMPLES: &str = "\
Examples:
  attorn owner set finance-team --person ann --successor head-of-finance
  attorn owner set finance-team --group finance
  attorn owner set finance-team                     bound to nobody again

What is said here replaces what was said before. Tokens from before do not count again.";

pub(crate) async fn run(context: &Context, command: OwnerCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        OwnerCommand::Create { name, email, change } => {
            let body = json!({ "name": name, "email": email });
            admin.change(Operation::OwnerCreate, &[], body, change).await
        }
        OwnerCommand::Set { name, person, group, successor, change } => {
            let body = json!({ "person": person, "group": group, "successor": successor });
            admin.change(Operation::OwnerSet, &[&name], body, change).await
        }
        OwnerCommand::List => {
            let columns = ["id", "name", "email", "state", "person", "group", "successor"];
            admin.list(Operation::OwnerList, &[], &[], &columns).await
        }
    }
}
