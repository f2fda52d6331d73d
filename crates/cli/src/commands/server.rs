//! `attorn server`: the MCP servers behind the gateway.

mod import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{set, text};
use crate::profile::thumbprint_of;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Register an MCP server, by URL or by the command that starts it
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// Register a server of a public registry, to wait until it is accepted
    Import(import::ImportArgs),
    /// Servers of public registries, and what speaks against each
    #[command(after_help = "Example:\n  attorn server imports")]
    Imports,
    /// Take a server of a public registry with what speaks against it
    Accept(import::AcceptArgs),
    /// List servers
    #[command(after_help = "Example:\n  attorn server list")]
    List,
    /// One server
    #[command(after_help = "Example:\n  attorn server show crm -o json")]
    Show { server: String },
    /// The tools of a server, their classes and states
    #[command(after_help = "Example:\n  attorn server tools crm")]
    Tools { server: String },
    /// Give a server a public key or a certificate of its own, with which it exchanges tokens
    #[command(
        after_help = "Examples:\n  attorn server key crm --jwk-file crm.jwk\n  attorn server key crm --certificate crm.crt"
    )]
    Key {
        server: String,
        /// The public JWK; a file with a private one is refused
        #[arg(long, value_name = "FILE", required_unless_present = "certificate")]
        jwk_file: Option<PathBuf>,
        /// Exactly this certificate, self-signed or not (PEM)
        #[arg(long, value_name = "FILE", conflicts_with = "jwk_file")]
        certificate: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// Which right of its callers a server may exchange for which right at an API
    #[command(subcommand)]
    Downstream(DownstreamCommand),
    /// Say for which classes a server takes tokens without a proof; none takes away what was said
    #[command(after_help = BEARER_EXAMPLES)]
    AcceptBearer {
        server: String,
        /// `read` or `write`; repeat for both
        #[arg(long, required_unless_present = "none", value_name = "CLASS")]
        class: Vec<String>,
        /// Take no such token any more
        #[arg(long, conflicts_with = "class")]
        none: bool,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
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

#[derive(Debug, Subcommand)]
pub(crate) enum DownstreamCommand {
    /// Let a server get tokens for an API
    #[command(after_help = DOWNSTREAM_EXAMPLES)]
    Allow(RuleArgs),
    /// Take a rule back; tokens that rest on it end at once
    #[command(
        after_help = "Example:\n  attorn server downstream remove crm billing --from read:get_invoice --to read:invoice.get"
    )]
    Remove(RuleArgs),
    /// The rules of a server
    #[command(after_help = "Example:\n  attorn server downstream list crm")]
    List { server: String },
}

#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    server: String,
    /// The API
    resource: String,
    /// A scope of the server such as `read:get_invoice`, or `read:*`
    #[arg(long, value_name = "SCOPE")]
    from: String,
    /// A scope of the API such as `read:invoice.get`, or `read:*`
    #[arg(long, value_name = "SCOPE")]
    to: String,
    #[command(flatten)]
    change: Change,
}

const DOWNSTREAM_EXAMPLES: &str = "\
Examples:
  attorn server downstream allow crm billing --from read:get_invoice --to read:invoice.get
  attorn server downstream allow crm billing --from write:* --to write:*";

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
    /// Start the command only as long as its file is the one it is now, on this machine
    #[arg(long, requires = "command")]
    pin: bool,
    /// A variable for the command, which starts with no other but PATH, HOME and the like. `NAME` alone
    /// takes the value from our environment: arguments are visible to others
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
  attorn server register tickets --owner it --env TICKETS_TOKEN -- tickets-mcp
  attorn server register time --owner it --pin -- /opt/time/mcp-server-time";

const BEARER_EXAMPLES: &str = "\
Examples:
  attorn server accept-bearer crm --class read --reason \"editor X makes no proofs yet\"
  attorn server accept-bearer crm --none --reason \"editor X does now\"

Such a token lives 60 seconds at most and goes to clients of people only. Whoever gets hold of it can
use it until then, so every entry of it is marked, and `attorn status` counts the servers.";

pub(crate) async fn run(context: &Context, command: ServerCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ServerCommand::Register(args) => {
            let mut upstream = upstream(args.url.as_deref(), &args.command, &args.variables)?;
            if args.pin {
                pin(&mut upstream)?;
            }
            let operation = registration_of(&upstream);
            let body = json!({ "name": args.name, "owner": args.owner, "upstream": upstream });
            admin.change(operation, &[], body, args.change).await
        }
        ServerCommand::Import(args) => import::import(&admin, args).await,
        ServerCommand::Imports => import::list(&admin).await,
        ServerCommand::Accept(args) => import::accept(&admin, args).await,
        ServerCommand::List => {
            let columns = ["id", "name", "owner", "state"];
            admin.list(Operation::ServerList, &[], &[], &columns).await
        }
        ServerCommand::Show { server } => admin.show(Operation::ServerShow, &[&server]).await,
        ServerCommand::Tools { server } => super::tools::list(&admin, &server).await,
        ServerCommand::Key { server, jwk_file, certificate, change } => {
            let jwk = jwk_file.map(|file| jwk(&file)).transpose()?;
            let thumbprint = |file: PathBuf| thumbprint_of(&files::read(&file)?);
            let certificate = certificate.map(thumbprint).transpose()?;
            let body = json!({ "jwk": jwk, "certificate": certificate });
            admin.change(Operation::ServerKey, &[&server], body, change).await
        }
        ServerCommand::Downstream(command) => downstream(&admin, command).await,
        ServerCommand::AcceptBearer { server, class, none: _, reason, change } => {
            let body = json!({ "classes": class, "reason": reason });
            admin.change(Operation::ServerBearer, &[&server], body, change).await
        }
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

async fn downstream(admin: &Admin, command: DownstreamCommand) -> Result<Exit, Failure> {
    let (operation, args) = match command {
        DownstreamCommand::Allow(args) => (Operation::ServerDownstreamAllow, args),
        DownstreamCommand::Remove(args) => (Operation::ServerDownstreamRemove, args),
        DownstreamCommand::List { server } => {
            let columns = ["server", "resource", "from", "to"];
            return admin.list(Operation::ServerDownstreams, &[&server], &[], &columns).await;
        }
    };
    let RuleArgs { server, resource, from, to, change } = args;
    let body = json!({ "resource": resource, "from": from, "to": to });
    admin.change(operation, &[&server], body, change).await
}

/// The text of a file with a public JWK; the authority judges it.
pub(crate) fn jwk(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|e| Failure::usage(format!("`{}`: {e}", file.display())))?;
    Ok(text.trim().to_owned())
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

/// Adds the digest of the program's file; what is a plain name becomes the file that it means here.
fn pin(upstream: &mut Value) -> Result<(), Failure> {
    let program = PathBuf::from(text(upstream, "command").unwrap_or_default());
    let file = if program.is_absolute() {
        program
    } else {
        let path = std::env::var("PATH").unwrap_or_default();
        let folders = path.split(':').filter(|folder| folder.starts_with('/'));
        let mut files = folders.map(|folder| Path::new(folder).join(&program));
        let missing = || Failure::usage(format!("no file `{}` in PATH", program.display()));
        files.find(|file| file.is_file()).ok_or_else(missing)?
    };
    set(upstream, "sha256", files::sha256_of(&file)?);
    set(upstream, "command", file.display().to_string());
    Ok(())
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
    fn a_pin_is_of_the_file_that_a_name_means() {
        let mut upstream = upstream(None, &["sh".to_owned()], &[]).unwrap();
        pin(&mut upstream).unwrap();
        assert!(text(&upstream, "command").unwrap().ends_with("/sh"), "{upstream}");
        assert_eq!(text(&upstream, "sha256").unwrap().len(), 64);
        let mut missing = json!({ "command": "attorn-no-such-program" });
        assert!(pin(&mut missing).is_err());
    }

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
