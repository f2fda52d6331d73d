//! `attorn resource`: the APIs behind MCP servers, and what they can be asked to do.

mod import;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::commands::server::jwk;
use crate::exit::{Exit, Failure};
use crate::json::member;

#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// Register an API by its URL; nobody gets tokens for it yet
    #[command(
        after_help = "Example:\n  attorn resource register billing --owner finance --url https://api.example.com/billing"
    )]
    Register {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// Its canonical https URL: the audience of its tokens
        #[arg(long)]
        url: String,
        #[command(flatten)]
        change: Change,
    },
    /// List APIs
    #[command(after_help = "Example:\n  attorn resource list")]
    List,
    /// One API with its operations and downstream rules
    #[command(after_help = "Example:\n  attorn resource show billing -o json")]
    Show { resource: String },
    /// Which operation a request would be. Exit code 0 one, 1 none
    #[command(after_help = "Example:\n  attorn resource match billing GET /invoices/7")]
    Match {
        resource: String,
        method: String,
        /// Below the URL of the API
        path: String,
    },
    /// What an API can be asked to do: add, import, remove
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Give an API the public key with which it asks about tokens (introspection)
    #[command(after_help = "Example:\n  attorn resource key billing --jwk-file billing.jwk")]
    Key {
        resource: String,
        /// The public JWK; a private one is refused
        #[arg(long, value_name = "FILE")]
        jwk_file: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Stop an API until it is resumed
    #[command(after_help = "Example:\n  attorn resource suspend billing --reason \"under attack\"")]
    Suspend {
        resource: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Let a suspended API be used again
    #[command(after_help = "Example:\n  attorn resource resume billing")]
    Resume {
        resource: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop an API for good
    #[command(after_help = "Example:\n  attorn resource retire billing --reason \"switched off\"")]
    Retire {
        resource: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Add an operation; its scope is CLASS:ID
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Take operations out of an `OpenAPI` document; shows them first
    Import(import::ImportArgs),
    /// Take an operation away; requests for it are refused
    #[command(after_help = "Example:\n  attorn resource operation remove billing invoice.pay")]
    Remove {
        resource: String,
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    resource: String,
    /// Its name in scopes, such as `invoice.get`
    id: String,
    /// GET, HEAD, POST, PUT, PATCH or DELETE
    #[arg(long)]
    method: String,
    /// Below the URL of the API, such as `/invoices/{id}`
    #[arg(long)]
    path: String,
    /// `read`, `write` or `irreversible`
    #[arg(long)]
    class: String,
    #[command(flatten)]
    change: Change,
}

const ADD_EXAMPLES: &str = "\
Examples:
  attorn resource operation add billing invoice.get --method GET --path /invoices/{id} --class read
  attorn resource operation add billing invoice.pay --method POST --path /invoices/{id}/pay --class write";

pub(crate) async fn run(context: &Context, command: ResourceCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ResourceCommand::Register { name, owner, url, change } => {
            let body = json!({ "name": name, "owner": owner, "url": url });
            admin.change(Operation::ResourceRegister, &[], body, change).await
        }
        ResourceCommand::List => {
            let columns = ["id", "name", "url", "owner", "state"];
            admin.list(Operation::ResourceList, &[], &[], &columns).await
        }
        ResourceCommand::Show { resource } => {
            admin.show(Operation::ResourceShow, &[&resource]).await
        }
        ResourceCommand::Key { resource, jwk_file, change } => {
            let body = json!({ "jwk": jwk(&jwk_file)? });
            admin.change(Operation::ResourceKey, &[&resource], body, change).await
        }
        ResourceCommand::Match { resource, method, path } => {
            let query = [("method", Some(method)), ("path", Some(path))];
            let answer = admin.read(Operation::ResourceMatch, &[&resource], &query).await?;
            admin.output.object(&answer);
            Ok(if member(&answer, "operation").is_null() { Exit::No } else { Exit::Yes })
        }
        ResourceCommand::Operation(OperationCommand::Add(args)) => {
            let AddArgs { resource, id, method, path, class, change } = args;
            let body = json!({ "id": id, "method": method, "path": path, "class": class });
            admin.change(Operation::ResourceOperationAdd, &[&resource], body, change).await
        }
        ResourceCommand::Operation(OperationCommand::Import(args)) => {
            import::import(&admin, &args).await
        }
        ResourceCommand::Operation(OperationCommand::Remove { resource, id, change }) => {
            let place = [resource.as_str(), id.as_str()];
            admin.change(Operation::ResourceOperationRemove, &place, json!({}), change).await
        }
        ResourceCommand::Suspend { resource, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::ResourceSuspend, &[&resource], body, change).await
        }
        ResourceCommand::Resume { resource, change } => {
            admin.change(Operation::ResourceResume, &[&resource], json!({}), change).await
        }
        ResourceCommand::Retire { resource, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::ResourceRetire, &[&resource], body, change).await
        }
    }
}
