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
    /// List owners
    #[command(after_help = "Example:\n  attorn owner list -o json")]
    List,
}

pub(crate) async fn run(context: &Context, command: OwnerCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        OwnerCommand::Create { name, email, change } => {
            let body = json!({ "name": name, "email": email });
            admin.change(Operation::OwnerCreate, &[], body, change).await
        }
        OwnerCommand::List => {
            admin.list(Operation::OwnerList, &[], &[], &["id", "name", "email", "state"]).await
        }
    }
}
