//! `attorn server`: the MCP servers behind the gateway.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::text;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Register an MCP server, by URL or by the command that starts it
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// List servers
    #[command(after_help = "Example:\n  attorn server list")]
    List,
    /// One server
    #[command(after_help = "Example:\n  attorn server show crm -o json")]
    Show { server: String },
    /// The tools of a server, their classes and states
    #[command(after_help = "Example:\n  attorn server tools crm")]
    Tools { server: String },
    /// Stop a server until it is resumed
    #[command(after_help = "Example:\n  attorn server suspend crm --reason \"under attack\"")]
    Suspend {
        server: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Let a suspended server be used again
    #[command(after_help = "Example:\n  attorn server resume crm")]
    Resume {
        server: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop a server for good
    #[command(after_help = "Example:\n  attorn server retire crm --reason \"replaced by crm-2\"")]
    Retire {
        server: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Short name; part of its address at the gateway
    name: String,
    /// Who answers for it
    #[arg(long)]
    owner: String,
    /// Streamable HTTP address of the server
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    url: Option<String>,
    /// A variable for the command, which starts with no other. `NAME` alone takes the value from
    /// our environment: arguments are visible to others
    #[arg(long = "env", value_name = "NAME[=VALUE]", requires = "command")]
    variables: Vec<String>,
    #[command(flatten)]
    change: Change,
    /// The command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const REGISTER_EXAMPLES: &str = "\
Examples:
  attorn server register crm --owner sales --url http://127.0.0.1:3101/mcp
  attorn server register time --owner it -- uvx mcp-server-time --local-timezone UTC
  attorn server register tickets --owner it --env TICKETS_TOKEN -- tickets-mcp";

pub(crate) async fn run(context: &Context, command: ServerCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ServerCommand::Register(args) => {
            let upstream = upstream(args.url.as_deref(), &args.command, &args.variables)?;
            let operation = registration_of(&upstream);
            let body = json!({ "name": args.name, "owner": args.owner, "upstream": upstream });
            admin.change(operation, &[], body, args.change).await
        }
        ServerCommand::List => {
            let columns = ["id", "name", "owner", "state"];
            admin.list(Operation::ServerList, &[], &[], &columns).await
        }
        ServerCommand::Show { server } => admin.show(Operation::ServerShow, &[&server]).await,
        ServerCommand::Tools { server } => super::tools::list(&admin, &server).await,
        ServerCommand::Suspend { server, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::ServerSuspend, &[&server], body, change).await
        }
        ServerCommand::Resume { server, change } => {
            admin.change(Operation::ServerResume, &[&server], json!({}), change).await
        }
        ServerCommand::Retire { server, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::ServerRetire, &[&server], body, change).await
        }
    }
}

/// A server that is a command is registered under a scope of its own.
pub(crate) fn registration_of(upstream: &Value) -> Operation {
    match text(upstream, "kind") {
        Some("stdio") => Operation::ServerRegisterCommand,
        Some(_) | None => Operation::ServerRegister,
    }
}

/// Where the gateway finds the server, in the registry's form.
pub(crate) fn upstream(
    url: Option<&str>,
    command: &[String],
    variables: &[String],
) -> Result<Value, Failure> {
    if let Some(url) = url {
        return Ok(json!({ "kind": "http", "url": url }));
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("neither a command nor `--url` was given"));
    };
    let mut env = serde_json::Map::new();
    for variable in variables {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (variable.as_str(), own_variable(variable)?),
        };
        env.insert(name.to_owned(), Value::from(value));
    }
    // Resolved here and now: what it would mean later depends on where the gateway was started.
    let program = if program.contains('/') {
        let absolute = std::path::absolute(program);
        absolute.map_err(|e| Failure::usage(format!("`{program}`: {e}")))?.display().to_string()
    } else {
        program.clone()
    };
    Ok(json!({ "kind": "stdio", "command": program, "args": arguments, "env": env }))
}

/// A secret of the command, without standing in our arguments.
fn own_variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| {
        Failure::usage(format!("`{name}` is not of the form NAME=VALUE, and not set here"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_given_or_taken_from_here() {
        let command = ["run".to_owned()];
        let env = |variable: &str| {
            let upstream = upstream(None, &command, &[variable.to_owned()]);
            upstream.ok().map(|upstream| upstream["env"].clone())
        };
        assert_eq!(env("KEY=a=b"), Some(json!({ "KEY": "a=b" })));
        let path = std::env::var("PATH").unwrap();
        assert_eq!(env("PATH"), Some(json!({ "PATH": path })));
        assert_eq!(env("ATTORN_NO_SUCH_VARIABLE"), None);
    }
}
