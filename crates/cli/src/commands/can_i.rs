//! `attorn can-i`: would this call pass?

use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::commands::Context;
use crate::commands::explain::show_steps;
use crate::exit::{Exit, Failure};
use crate::values::{Source, ToolRef};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CanIArgs {
    /// The agent that would call
    agent: String,
    /// The person it would act for
    #[arg(long = "for", value_name = "PERSON")]
    person: Option<String>,
    /// The tool it would call
    #[arg(value_name = "SERVER/TOOL")]
    target: ToolRef,
    /// The arguments it would give: `@FILE` or `-` for standard input
    #[arg(long, value_name = "ARGS")]
    args: Option<Source>,
}

const EXAMPLES: &str = "\
Examples:
  attorn can-i billing-agent crm/get_invoice
  attorn can-i editor crm/get_invoice --for ann
  attorn can-i billing-agent crm/get_invoice --args @call.json && echo yes";

pub(crate) async fn run(context: &Context, args: CanIArgs) -> Result<Exit, Failure> {
    let arguments = match &args.args {
        None => Value::Null,
        Some(source) => serde_json::from_str(&source.read()?)
            .map_err(|e| Failure::usage(format!("the arguments are not JSON: {e}")))?,
    };
    let admin = Admin::open(context).await?;
    let body = json!({
        "agent": args.agent,
        "person": args.person,
        "server": args.target.server,
        "tool": args.target.tool,
        "arguments": arguments,
    });
    let answer = admin.post_read(Operation::AccessCanI, body).await?;
    Ok(show_steps(context, "(now)", &answer))
}
