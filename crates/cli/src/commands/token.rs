//! `attorn token`: look into an access token.

use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::member;
use crate::values::Source;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// What a token says, and whether the authority still stands by it. Exit code 1 if not
    #[command(
        after_help = "Examples:\n  attorn token inspect - < token.txt\n  attorn token inspect @token.txt"
    )]
    Inspect {
        /// `@FILE`, or `-` for standard input
        #[arg(value_name = "TOKEN", default_value = "-")]
        token: Source,
    },
}

pub(crate) async fn run(context: &Context, command: TokenCommand) -> Result<Exit, Failure> {
    let TokenCommand::Inspect { token } = command;
    let token = token.read()?;
    let admin = Admin::open(context).await?;
    let answer = admin.post_read(Operation::TokenInspect, json!({ "token": token })).await?;
    context.output.object(&answer);
    Ok(if member(&answer, "active") == true { Exit::Yes } else { Exit::No })
}
