//! `attorn client`: programs of people that hold no secret.

use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Register a public client with its exact redirect URIs
    #[command(after_help = REGISTER_EXAMPLES)]
    Register {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// Where an authorization code may go; repeat for several
        #[arg(long, required = true, value_name = "URI")]
        redirect_uri: Vec<String>,
        /// What people are shown
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        #[command(flatten)]
        change: Change,
    },
}

const REGISTER_EXAMPLES: &str = "\
Examples:
  attorn client register editor --owner platform --redirect-uri http://127.0.0.1/callback
  attorn client register notes --owner platform --redirect-uri https://notes.example/callback

`attorn agent list` shows it; suspend, resume, retire and lock it as an agent.";

pub(crate) async fn run(context: &Context, command: ClientCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ClientCommand::Register { name, owner, redirect_uri, display_name, change } => {
            let body = json!({
                "name": name,
                "owner": owner,
                "redirect_uris": redirect_uri,
                "display_name": display_name,
            });
            admin.change(Operation::ClientRegister, &[], body, change).await
        }
    }
}
