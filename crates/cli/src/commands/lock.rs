//! `attorn lock`: stop something at once.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::commands::gateway::GATEWAY_COLUMNS;
use crate::exit::{Exit, Failure};
use crate::json::{member, set, text};
use crate::values::{Seconds, ToolRef};

#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Refuse everything of a target, from now on
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List locks
    #[command(after_help = "Example:\n  attorn lock list")]
    List,
    /// End a lock
    #[command(after_help = "Example:\n  attorn lock lift lck_… --reason \"key replaced\"")]
    Lift {
        lock: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// `agent/NAME`, `server/NAME`, `person/NAME`, `resource/NAME`, `tool/SERVER/TOOL`, `token/JTI`, `grant/ID`, `key/THUMBPRINT` or `owner/NAME`
    target: LockedThing,
    /// Why; recorded
    #[arg(long)]
    reason: String,
    /// End by itself after this time, such as `8h`
    #[arg(long, value_name = "TIME")]
    expires: Option<Seconds>,
    #[command(flatten)]
    change: Change,
}

/// What a lock stops, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LockedThing {
    Agent(String),
    Grant(String),
    Key(String),
    Owner(String),
    Person(String),
    Resource(String),
    Server(String),
    Token(String),
    Tool(ToolRef),
}

impl FromStr for LockedThing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected KIND/NAME, for example `agent/billing-agent`".to_owned();
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        if name.is_empty() {
            return Err(wrong());
        }
        let owned = name.to_owned();
        match kind {
            "agent" => Ok(Self::Agent(owned)),
            "grant" => Ok(Self::Grant(owned)),
            "key" => Ok(Self::Key(owned)),
            "owner" => Ok(Self::Owner(owned)),
            "person" => Ok(Self::Person(owned)),
            "resource" => Ok(Self::Resource(owned)),
            "server" => Ok(Self::Server(owned)),
            "token" => Ok(Self::Token(owned)),
            "tool" => name.parse().map(Self::Tool),
            _ => Err(wrong()),
        }
    }
}

impl LockedThing {
    /// The target in the form of the admin API.
    fn to_json(&self) -> Value {
        match self {
            Self::Agent(name) => json!({ "kind": "agent", "agent": name }),
            Self::Grant(id) => json!({ "kind": "grant", "grant": id }),
            Self::Key(jkt) => json!({ "kind": "key", "jkt": jkt }),
            Self::Owner(name) => json!({ "kind": "owner", "owner": name }),
            Self::Person(name) => json!({ "kind": "person", "person": name }),
            Self::Resource(name) => json!({ "kind": "resource", "resource": name }),
            Self::Server(name) => json!({ "kind": "server", "server": name }),
            Self::Token(jti) => json!({ "kind": "token", "jti": jti }),
            Self::Tool(at) => json!({ "kind": "tool", "server": at.server, "tool": at.tool }),
        }
    }
}

const CREATE_EXAMPLES: &str = "\
Examples:
  attorn lock create agent/billing-agent --reason \"key leaked\"
  attorn lock create person/ann --reason \"laptop stolen\"
  attorn lock create tool/crm/export_contacts --reason \"bulk export\" --expires 8h";

pub(crate) async fn run(context: &Context, command: LockCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        LockCommand::Create(args) => {
            let expires_s = args.expires.map(|length| clock::now_s().saturating_add(length.0));
            let body = json!({
                "target": args.target.to_json(),
                "reason": args.reason,
                "expires_s": expires_s,
            });
            let answer = admin.send_change(Operation::LockCreate, &[], body, args.change).await?;
            told(&admin, answer).await
        }
        LockCommand::List => list(&admin).await,
        LockCommand::Lift { lock, reason, change } => {
            let body = json!({ "reason": reason });
            let answer = admin.send_change(Operation::LockLift, &[&lock], body, change).await?;
            told(&admin, answer).await
        }
    }
}

/// Prints the lock, and which gateways have it in force after how many milliseconds.
async fn told(admin: &Admin, answer: Option<Value>) -> Result<Exit, Failure> {
    let Some(mut answer) = answer else { return Ok(Exit::Yes) };
    let version = member(&answer, "registry_version").as_u64();
    let query = [("version", version.map(|version| version.to_string()))];
    let gateways = admin.read(Operation::GatewayList, &[], &query).await?;
    let gateways = items(&gateways).to_vec();
    if admin.output.is_machine() {
        if let Some(members) = answer.as_object_mut() {
            members.insert("gateways".to_owned(), Value::Array(gateways));
        }
        admin.output.object(&answer);
        return Ok(Exit::Yes);
    }
    admin.output.object(&answer);
    if !gateways.is_empty() {
        admin.output.list(&gateways, &GATEWAY_COLUMNS);
    }
    let is_behind = |gateway: &&Value| member(gateway, "version").as_u64() < version;
    for gateway in gateways.iter().filter(is_behind) {
        let name = text(gateway, "name").unwrap_or_default();
        admin.output.say(&format!(
            "{name} has not said that it knows; it refuses everything within 10 s of its last word"
        ));
    }
    Ok(Exit::Yes)
}

async fn list(admin: &Admin) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::LockList, &[], &[]).await?;
    let mut locks = items(&answer).to_vec();
    if !admin.output.is_machine() {
        for lock in &mut locks {
            let target = as_typed(member(lock, "target"));
            set(lock, "target", target);
        }
    }
    admin.output.list(&locks, &["id", "target", "holds", "reason", "by", "expires_s", "lifted_s"]);
    Ok(Exit::Yes)
}

/// The target as `lock create` takes it.
fn as_typed(target: &Value) -> String {
    let parts =
        ["kind", "agent", "grant", "jkt", "owner", "person", "resource", "server", "jti", "tool"];
    let given = parts.iter().filter_map(|part| text(target, part));
    given.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let tool: LockedThing = "tool/crm/export".parse().unwrap();
        assert_eq!(tool.to_json(), json!({ "kind": "tool", "server": "crm", "tool": "export" }));
        assert_eq!(as_typed(&tool.to_json()), "tool/crm/export");
        for wrong in ["agent", "agent/", "tool/crm", "people/x"] {
            assert!(wrong.parse::<LockedThing>().is_err(), "{wrong}");
        }
    }
}
