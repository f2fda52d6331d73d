//! `attorn key`: the authority's signing keys.

use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the signing keys and their states
    #[command(after_help = "Example:\n  attorn key list")]
    List,
    /// Sign with the pre-published key from now on; tokens of the old one stay valid
    #[command(
        after_help = "Examples:\n  attorn key rotate\n  attorn key rotate --emergency --reason \"backup stolen\""
    )]
    Rotate {
        /// The old key is lost: every older token ends now
        #[arg(long, requires = "reason")]
        emergency: bool,
        /// Why; recorded
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        change: Change,
    },
}

pub(crate) async fn run(context: &Context, command: KeyCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        KeyCommand::List => admin.list(Operation::KeyList, &[], &[], &["kid", "state"]).await,
        KeyCommand::Rotate { emergency, reason, change } => {
            let operation =
                if emergency { Operation::KeyEmergencyRotate } else { Operation::KeyRotate };
            admin.change(operation, &[], json!({ "reason": reason }), change).await
        }
    }
}
