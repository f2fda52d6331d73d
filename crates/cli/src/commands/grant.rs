//! `attorn grant`: which agent may use which tools of which server.

use attorn_json::Limits;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation, Query, items};
use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::values::{Seconds, Source};

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
    /// Confirm a grant that waits for a second owner
    #[command(
        after_help = "Example:\n  attorn grant confirm grt_… --reason \"asked ann, needed for support\""
    )]
    Confirm {
        grant: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
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
    /// What calls must satisfy: a detail of RFC 9396, or a list of them; repeat for several
    #[arg(long, value_name = "@FILE")]
    constraint: Vec<Source>,
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
  attorn grant create billing-agent crm 'read:*' --expires 30d --reason \"quarter end\"
  attorn grant create billing-agent crm write:pay --constraint @small-payments.json

A constraint is a JSON object (RFC 9396) or a list of them:
  {\"type\": \"mcp_tool_call\", \"tool\": \"pay\", \"max_calls\": 20,
   \"arguments\": {\"required\": [\"amount\"], \"properties\": {\"amount\": {\"maximum\": 5000}}}}";

pub(crate) async fn run(context: &Context, command: GrantCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        GrantCommand::Create(args) => {
            let expires_s = args.expires.map(|length| clock::now_s().saturating_add(length.0));
            let constraints = constraints(&args.constraint)?;
            let body = json!({
                "constraints": constraints,
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
            list(&admin, &query).await
        }
        GrantCommand::Show { grant } => admin.show(Operation::GrantShow, &[&grant]).await,
        GrantCommand::Confirm { grant, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::GrantConfirm, &[&grant], body, change).await
        }
        GrantCommand::Revoke { grant, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::GrantRevoke, &[&grant], body, change).await
        }
    }
}

async fn list(admin: &Admin, query: Query<'_>) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::GrantList, &[], query).await?;
    let columns = ["id", "agent", "server", "patterns", "constraints", "expires_s", "revoked_s"];
    admin.output.list(items(&answer), &columns);
    for grant in items(&answer) {
        let id = text(grant, "id").unwrap_or_default();
        if let Some(finding) = text(grant, "finding") {
            admin.output.say(&format!("finding: {id}: {finding}"));
        }
        if member(grant, "awaits_second") == true && member(grant, "revoked_s").is_null() {
            admin.output.say(&format!("waits for a second owner: attorn grant confirm {id}"));
        }
    }
    Ok(Exit::Yes)
}

/// The details of all files as one list; `null` where there is no file.
fn constraints(files: &[Source]) -> Result<Value, Failure> {
    let mut all = Vec::new();
    for file in files {
        // Read strictly: what two readers could understand differently must not become a limit.
        let text = file.read()?;
        let document = attorn_json::parse(text.as_bytes(), &Limits::CONFIG)
            .map_err(|e| Failure::usage(format!("a constraint is not strict JSON: {e}")))?;
        match serde_json::from_str(document.text()) {
            Ok(Value::Array(details)) => all.extend(details),
            Ok(detail) => all.push(detail),
            Err(e) => return Err(Failure::usage(format!("a constraint is not JSON: {e}"))),
        }
    }
    Ok(if files.is_empty() { Value::Null } else { Value::Array(all) })
}
