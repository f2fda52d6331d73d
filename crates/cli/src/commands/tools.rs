//! `attorn tools`: a tool is its definition; a new or changed one waits for its owner.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::values::{ServerOrTool, ToolRef};

#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// The tools of a server, their classes and states
    #[command(after_help = "Example:\n  attorn tools list crm")]
    List { server: String },
    /// What changed since the owner last approved. Exit code 1 if something waits
    #[command(
        after_help = "Examples:\n  attorn tools diff crm\n  attorn tools diff crm/get_invoice"
    )]
    Diff {
        #[arg(value_name = "SERVER[/TOOL]")]
        target: ServerOrTool,
    },
    /// Accept the definition as last seen, with its class
    #[command(after_help = APPROVE_EXAMPLES)]
    Approve {
        #[arg(value_name = "SERVER[/TOOL]")]
        target: ServerOrTool,
        /// The class instead of the proposed one
        #[arg(long, value_enum)]
        class: Option<ToolClass>,
        #[command(flatten)]
        change: Change,
    },
    /// Change the class of an approved tool
    #[command(after_help = "Example:\n  attorn tools classify crm/export_contacts irreversible")]
    Classify {
        #[arg(value_name = "SERVER/TOOL")]
        target: ToolRef,
        #[arg(value_enum)]
        class: ToolClass,
        #[command(flatten)]
        change: Change,
    },
}

/// What a call of the tool can do to the world.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ToolClass {
    /// Changes nothing
    Read,
    /// Changes something that can be changed back
    Write,
    /// Cannot be undone; each call needs a person's approval
    Irreversible,
}

impl ToolClass {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Irreversible => "irreversible",
        }
    }
}

const APPROVE_EXAMPLES: &str = "\
Examples:
  attorn tools approve crm                              every waiting tool as proposed
  attorn tools approve crm/get_invoice --class read";

pub(crate) async fn run(context: &Context, command: ToolsCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ToolsCommand::List { server } => list(&admin, &server).await,
        ToolsCommand::Diff { target } => diff(&admin, &target).await,
        ToolsCommand::Approve { target, class, change } => {
            approve(&admin, &target, class, change).await
        }
        ToolsCommand::Classify { target, class, change } => {
            let body = json!({ "class": class.name() });
            let place = [target.server.as_str(), target.tool.as_str()];
            admin.change(Operation::ToolClassify, &place, body, change).await
        }
    }
}

pub(crate) async fn list(admin: &Admin, server: &str) -> Result<Exit, Failure> {
    let columns = ["name", "state", "class", "proposed_class"];
    admin.list(Operation::ToolList, &[server], &[], &columns).await
}

async fn diff(admin: &Admin, target: &ServerOrTool) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ToolDiff, &[&target.server], &[]).await?;
    let waiting: Vec<_> = items(&answer)
        .iter()
        .filter(|tool| {
            target.tool.as_ref().is_none_or(|name| member(tool, "name") == name.as_str())
        })
        .cloned()
        .collect();
    if waiting.is_empty() {
        admin.output.say("every definition is as approved");
        return Ok(Exit::Yes);
    }
    if admin.output.is_machine() {
        admin.output.list(&waiting, &[]);
    } else {
        waiting.iter().for_each(|tool| admin.output.object(tool));
    }
    admin.output.say(&format!("next: attorn tools approve {}", target.server));
    Ok(Exit::No)
}

async fn approve(
    admin: &Admin,
    target: &ServerOrTool,
    class: Option<ToolClass>,
    change: Change,
) -> Result<Exit, Failure> {
    if let Some(tool) = &target.tool {
        let body = json!({ "class": class.map(ToolClass::name) });
        let place = [target.server.as_str(), tool.as_str()];
        return admin.change(Operation::ToolApprove, &place, body, change).await;
    }
    if class.is_some() {
        return Err(Failure::usage("`--class` needs one tool")
            .next(format!("attorn tools diff {}", target.server)));
    }
    approve_as_proposed(admin, &target.server, change).await?;
    list(admin, &target.server).await
}

/// Approves every waiting tool with its proposed class.
pub(crate) async fn approve_as_proposed(
    admin: &Admin,
    server: &str,
    change: Change,
) -> Result<(), Failure> {
    let answer = admin.read(Operation::ToolDiff, &[server], &[]).await?;
    for tool in items(&answer) {
        let Some(name) = text(tool, "name") else { continue };
        // What is approved is what was looked at, even if it changes in between.
        let body = json!({ "digest": member(tool, "digest") });
        admin.send_change(Operation::ToolApprove, &[server, name], body, change).await?;
    }
    Ok(())
}
