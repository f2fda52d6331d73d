//! `attorn consent`: what people gave to agents.

use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum ConsentCommand {
    /// List consents
    #[command(after_help = "Example:\n  attorn consent list --person ann")]
    List {
        /// Only this person's
        #[arg(long)]
        person: Option<String>,
        /// Only on this server
        #[arg(long)]
        server: Option<String>,
    },
    /// Take a consent back, at once
    #[command(after_help = "Example:\n  attorn consent revoke con_… --reason \"given by mistake\"")]
    Revoke {
        consent: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

pub(crate) async fn run(context: &Context, command: ConsentCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ConsentCommand::List { person, server } => {
            let query = [("person", person), ("server", server)];
            let columns =
                ["id", "person", "agent", "server", "scopes", "expires_s", "revoked_s", "counts"];
            admin.list(Operation::ConsentList, &[], &query, &columns).await
        }
        ConsentCommand::Revoke { consent, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::ConsentRevoke, &[&consent], body, change).await
        }
    }
}
