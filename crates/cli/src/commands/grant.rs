//! `attorn grant`: which agent may use which tools of which server.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::values::Seconds;

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// Grant an agent tools of a server
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List grants
    #[command(after_help = "Example:\n  attorn grant list --agent billing-agent")]
    List {
        /// Only this agent's
        #[arg(long)]
        agent: Option<String>,
        /// Only on this server
        #[arg(long)]
        server: Option<String>,
    },
    /// One grant
    #[command(after_help = "Example:\n  attorn grant show grt_…")]
    Show { grant: String },
    /// Take a grant back, at once
    #[command(after_help = "Example:\n  attorn grant revoke grt_… --reason \"project ended\"")]
    Revoke {
        grant: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    agent: String,
    server: String,
    /// `read:get_invoice`, or `read:*` for every read tool
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// End after this time, such as `30d`
    #[arg(long, value_name = "TIME")]
    expires: Option<Seconds>,
    /// Why; recorded
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    change: Change,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  attorn grant create billing-agent crm read:get_invoice
  attorn grant create billing-agent crm 'read:*' --expires 30d --reason \"quarter end\"";

pub(crate) async fn run(context: &Context, command: GrantCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        GrantCommand::Create(args) => {
            let expires_s = args.expires.map(|length| clock::now_s().saturating_add(length.0));
            let body = json!({
                "agent": args.agent,
                "server": args.server,
                "patterns": args.patterns,
                "expires_s": expires_s,
                "reason": args.reason,
            });
            admin.change(Operation::GrantCreate, &[], body, args.change).await
        }
        GrantCommand::List { agent, server } => {
            let query = [("agent", agent), ("server", server)];
            let columns = ["id", "agent", "server", "patterns", "expires_s", "revoked_s"];
            admin.list(Operation::GrantList, &[], &query, &columns).await
        }
        GrantCommand::Show { grant } => admin.show(Operation::GrantShow, &[&grant]).await,
        GrantCommand::Revoke { grant, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::GrantRevoke, &[&grant], body, change).await
        }
    }
}
