//! `attorn gateway`: gateways in processes of their own.

use std::path::PathBuf;

use attorn_authority::SERVER_NAME;
use clap::Subcommand;
use serde_json::json;

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::Context;
use crate::commands::agent::{WayArgs, show_code};
use crate::exit::{Exit, Failure};
use crate::json::text;

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Register a gateway and get its one-time code (10 minutes, single use)
    #[command(after_help = REGISTER_EXAMPLES)]
    Register {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        #[command(flatten)]
        way: WayArgs,
        #[command(flatten)]
        change: Change,
    },
    /// List gateways: which registry each has in force, and how long that took
    #[command(after_help = "Example:\n  attorn gateway list")]
    List,
    /// Let a gateway that is refused as a copy go on; whoever asks next as it is the one
    #[command(after_help = RESET_EXAMPLES)]
    Reset {
        gateway: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

const RESET_EXAMPLES: &str = "\
Example:
  attorn gateway reset gw-1 --reason \"the copy on the old host is stopped\"

Stop the process that should not run first. If it is not known where that is, give the gateway
another key instead, which ends the old one and resets it as well:
  attorn agent code gw-1 --code-file code.txt
  attorn enroll --url https://authority.example.com --code @code.txt --profile gw-profile";

const REGISTER_EXAMPLES: &str = "\
Examples:
  attorn gateway register gw-1 --owner platform --code-file code.txt
  attorn gateway register gw-1 --owner platform --tls-san-dns gw-1.example.com
  attorn gateway register gw-1 --owner platform --certificate gw-1.crt
Then, where the gateway runs:
  attorn enroll --url https://authority.example.com --code @code.txt --profile gw-profile
  attorn serve --config gateway.toml        with [gateway], [follow] profile = \"gw-profile\"";

pub(crate) async fn run(context: &Context, command: GatewayCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        GatewayCommand::Register { name, owner, code_file, way, change } => {
            if way.is_workload() {
                return Err(Failure::usage("a gateway is known by a key or by a certificate"));
            }
            let mut body = json!({ "name": name, "owner": owner, "kind": "gateway" });
            way.put_into(&mut body)?;
            let answer = admin.send_change(Operation::AgentRegister, &[], body, change).await?;
            let scopes = NEEDED.map(Operation::scope);
            let grant = json!({
                "agent": name,
                "server": SERVER_NAME,
                "patterns": scopes.map(|scope| scope.to_string()),
                "reason": "what a gateway needs",
            });
            admin.send_change(Operation::GrantCreate, &[], grant, change).await?;
            show_code(&admin, answer, code_file)
        }
        GatewayCommand::List => {
            let answer = admin.read(Operation::GatewayList, &[], &[]).await?;
            admin.output.list(items(&answer), &GATEWAY_COLUMNS);
            for gateway in items(&answer).iter().filter(|one| text(one, "refused").is_some()) {
                let name = text(gateway, "name").unwrap_or_default();
                admin.output.say(&format!("next: attorn gateway reset {name} --reason …"));
            }
            Ok(Exit::Yes)
        }
        GatewayCommand::Reset { gateway, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::GatewayReset, &[&gateway], body, change).await
        }
    }
}

/// What a gateway in a process of its own asks of its authority.
const NEEDED: [Operation; 4] = [
    Operation::RegistryFollow,
    Operation::ServerSeen,
    Operation::ApprovalAsk,
    Operation::ApprovalUse,
];

/// What a table of gateways shows.
pub(crate) const GATEWAY_COLUMNS: [&str; 6] =
    ["name", "serves", "version", "took_ms", "heard_ms_ago", "refused"];
