//! `attorn tools`: a tool is its definition; a new or changed one waits for its owner.

mod propose;
mod rules;
mod words;

use attorn_json::escape_hidden;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, set, text};
use crate::values::ServerOrTool;

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
    Approve(ApproveArgs),
    /// Change the classes or the effects of an approved tool
    #[command(after_help = CLASSIFY_HELP)]
    Classify(ClassifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[arg(value_name = "SERVER[/TOOL]")]
    target: ServerOrTool,
    /// The class instead of the one approved before, or proposed
    #[arg(long, value_enum)]
    class: Option<ToolClass>,
    /// Take definitions with characters that would not be seen
    #[arg(long)]
    accept_hidden_characters: bool,
    #[command(flatten)]
    effects: EffectArgs,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    #[arg(value_name = "SERVER/TOOL")]
    target: ServerOrTool,
    /// The class of every call, or of those no rule speaks of
    #[arg(value_enum)]
    class: Option<ToolClass>,
    /// Give calls with certain arguments another class; the first that matches counts
    #[arg(long, value_name = "CONDITION:CLASS", value_parser = rules::parse)]
    when: Vec<Value>,
    /// Print what the definition suggests, and change nothing
    #[arg(long, conflicts_with_all = ["class", "when", "effect", "no_effects"])]
    propose: bool,
    #[command(flatten)]
    effects: EffectArgs,
    #[command(flatten)]
    change: Change,
}

/// What a tool does to the flow of information.
#[derive(Debug, Args)]
pub(crate) struct EffectArgs {
    /// What the tool does to the flow of information; repeat for several
    #[arg(long, value_enum, value_name = "EFFECT")]
    effect: Vec<Effect>,
    /// The tool has none of the effects
    #[arg(long, conflicts_with = "effect")]
    no_effects: bool,
}

/// An effect of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effect {
    /// Its results hold what not everybody may know
    ReadsPrivate,
    /// Its results hold what strangers wrote
    TakesUntrusted,
    /// Its arguments reach somebody outside
    SendsOutside,
}

impl EffectArgs {
    /// The form of the admin API; `null` leaves them as they are.
    fn to_json(&self) -> Value {
        if self.effect.is_empty() && !self.no_effects {
            return Value::Null;
        }
        let has = |effect| self.effect.contains(&effect);
        json!({
            "reads_private": has(Effect::ReadsPrivate),
            "takes_untrusted": has(Effect::TakesUntrusted),
            "sends_outside": has(Effect::SendsOutside),
        })
    }
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
  attorn tools approve crm                              every waiting tool: as before, or as proposed
  attorn tools approve crm/get_invoice --class read
  attorn tools approve crm/fetch_mail --effect takes-untrusted --effect reads-private";

const CLASSIFY_HELP: &str = "\
Examples:
  attorn tools classify crm/export_contacts irreversible
  attorn tools classify crm/db write --when '/mode=read|list:read' --when '/mode=drop:irreversible'
  attorn tools classify crm/files write --when '/path^=/public/ && !/force:read'
  attorn tools classify crm/pay irreversible --when '/amount<=100:write'
  attorn tools classify crm/send_mail --effect sends-outside
  attorn tools classify crm --propose

A rule is CONDITION[ && CONDITION...]:CLASS. The first rule that matches gives the class.
A condition is a JSON pointer into the arguments and a test:
  /mode=read        exactly this value; true, null and numbers are values, \"5\" in quotes is text
  /mode=read|list   one of these values
  /path^=/public/   a text that starts like this
  /limit<=100       a number; also <, > and >=
  /force?           there, whatever it is
  !/force           not there
Arguments that a rule cannot judge have the highest class of the tool.";

pub(crate) async fn run(context: &Context, command: ToolsCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        ToolsCommand::List { server } => list(&admin, &server).await,
        ToolsCommand::Diff { target } => diff(&admin, &target).await,
        ToolsCommand::Approve(args) => approve(&admin, &args).await,
        ToolsCommand::Classify(args) if args.propose => propose(&admin, &args.target).await,
        ToolsCommand::Classify(args) => classify(&admin, args).await,
    }
}

pub(crate) async fn list(admin: &Admin, server: &str) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ToolList, &[server], &[]).await?;
    if admin.output.is_machine() {
        admin.output.list(items(&answer), &[]);
        return Ok(Exit::Yes);
    }
    let rows: Vec<Value> = items(&answer).iter().map(shown).collect();
    admin.output.list(&rows, &["name", "state", "class", "rules", "effects", "proposed_class"]);
    items(&answer).iter().for_each(|tool| warn_of_hidden(admin, tool));
    Ok(Exit::Yes)
}

/// A tool for a table: its name with hidden characters escaped, its rules as they are typed.
fn shown(tool: &Value) -> Value {
    let mut row = tool.clone();
    set(&mut row, "name", escape_hidden(text(tool, "name").unwrap_or_default()));
    let rules: Vec<String> =
        member(tool, "rules").as_array().into_iter().flatten().map(rules::shown).collect();
    set(&mut row, "rules", rules.join("; "));
    row
}

/// Names what a reader would not see, with the characters as `\u{…}`.
fn warn_of_hidden(admin: &Admin, tool: &Value) {
    let name = escape_hidden(text(tool, "name").unwrap_or_default());
    for place in member(tool, "hidden_text").as_array().into_iter().flatten() {
        let of = |member_name| text(place, member_name).unwrap_or_default();
        let what = crate::output::cell(member(place, "what"));
        admin.output.say(&format!("{name}: hidden text at {}: {what}: {}", of("at"), of("text")));
    }
}

async fn diff(admin: &Admin, target: &ServerOrTool) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ToolDiff, &[&target.server], &[]).await?;
    let waiting: Vec<_> = items(&answer)
        .iter()
        .filter(|tool| {
            target.tool.as_ref().is_none_or(|name| member(tool, "name") == name.as_str())
        })
        .map(with_changes)
        .collect();
    if waiting.is_empty() {
        admin.output.say("every definition is as approved");
        return Ok(Exit::Yes);
    }
    if admin.output.is_machine() {
        admin.output.list(&waiting, &[]);
    } else {
        waiting.iter().for_each(|tool| show_waiting(admin, tool));
    }
    admin.output.say(&format!("next: attorn tools approve {}", target.server));
    Ok(Exit::No)
}

/// Adds what changed, word by word.
fn with_changes(tool: &Value) -> Value {
    let mut tool = tool.clone();
    let changed: Vec<Value> = changes_of(&tool).iter().map(words::Changed::to_json).collect();
    set(&mut tool, "changes", changed);
    tool
}

fn changes_of(tool: &Value) -> Vec<words::Changed> {
    let before = member(tool, "approved_definition");
    if before.is_null() { Vec::new() } else { words::changes(before, member(tool, "definition")) }
}

fn show_waiting(admin: &Admin, tool: &Value) {
    let output = admin.output;
    let name = escape_hidden(text(tool, "name").unwrap_or_default());
    let state = text(tool, "state").unwrap_or_default();
    let class = text(tool, "class").or_else(|| text(tool, "proposed_class")).unwrap_or_default();
    output.say(&format!("{name}  {state}  {class}"));
    if member(tool, "approved_definition").is_null() {
        output.say(&format!("  new: {}", escape_hidden(&member(tool, "definition").to_string())));
    }
    for changed in changes_of(tool) {
        output.say(&format!("  {}: {}", changed.at, changed.marked()));
    }
    warn_of_hidden(admin, tool);
}

async fn approve(admin: &Admin, args: &ApproveArgs) -> Result<Exit, Failure> {
    let ApproveArgs { target, class, accept_hidden_characters, effects, change } = args;
    let Some(name) = &target.tool else {
        if class.is_some() || !effects.to_json().is_null() {
            return Err(Failure::usage("`--class` and `--effect` need one tool")
                .next(format!("attorn tools diff {}", target.server)));
        }
        let all =
            approve_waiting(admin, &target.server, *accept_hidden_characters, *change).await?;
        list(admin, &target.server).await?;
        return Ok(all);
    };
    let answer = admin.read(Operation::ToolDiff, &[&target.server], &[]).await?;
    let seen = items(&answer).iter().find(|tool| text(tool, "name") == Some(name));
    if let Some(tool) = seen {
        warn_of_hidden(admin, tool);
    }
    let body = json!({
        "class": class.map(ToolClass::name),
        "effects": effects.to_json(),
        // What is approved is what was looked at, even if it changes in between.
        "digest": seen.map(|tool| member(tool, "digest")),
        "accept_hidden_characters": *accept_hidden_characters,
    });
    admin.change(Operation::ToolApprove, &[&target.server, name], body, *change).await
}

/// Approves every waiting tool; one that hides something is held and holds up no other.
async fn approve_waiting(
    admin: &Admin,
    server: &str,
    accept_hidden_characters: bool,
    change: Change,
) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ToolDiff, &[server], &[]).await?;
    let mut exit = Exit::Yes;
    for tool in items(&answer) {
        let Some(name) = text(tool, "name") else { continue };
        let hides = member(tool, "hidden_text").as_array().is_some_and(|all| !all.is_empty());
        warn_of_hidden(admin, tool);
        if hides && !accept_hidden_characters {
            admin.output.say(&format!("{}: held", escape_hidden(name)));
            exit = Exit::No;
            continue;
        }
        // What is approved is what was looked at, even if it changes in between.
        let body = json!({
            "digest": member(tool, "digest"),
            "accept_hidden_characters": accept_hidden_characters,
        });
        admin.send_change(Operation::ToolApprove, &[server, name], body, change).await?;
    }
    if exit == Exit::No {
        admin.output.say("next: attorn tools approve SERVER/TOOL --accept-hidden-characters");
    }
    Ok(exit)
}

async fn classify(admin: &Admin, args: ClassifyArgs) -> Result<Exit, Failure> {
    let ClassifyArgs { target, class, when, propose: _, effects, change } = args;
    let Some(tool) = &target.tool else {
        return Err(Failure::usage("a class is given to one tool: SERVER/TOOL")
            .next(format!("attorn tools classify {} --propose", target.server)));
    };
    if class.is_none() && when.is_empty() && effects.to_json().is_null() {
        return Err(Failure::usage("nothing to change: give a class, rules or effects")
            .next(format!("attorn tools classify {}/{tool} --propose", target.server)));
    }
    let body = json!({
        "class": class.map(ToolClass::name),
        "rules": if when.is_empty() { Value::Null } else { Value::Array(when) },
        "effects": effects.to_json(),
    });
    let place = [target.server.as_str(), tool.as_str()];
    admin.change(Operation::ToolClassify, &place, body, change).await
}

/// Prints what the definitions suggest. Nothing is changed: an owner confirms each by its command.
async fn propose(admin: &Admin, target: &ServerOrTool) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ToolDefinitions, &[&target.server], &[]).await?;
    let wanted = items(&answer).iter().filter(|tool| {
        target.tool.as_ref().is_none_or(|name| member(tool, "name") == name.as_str())
    });
    let proposals: Vec<_> =
        wanted.map(|tool| propose::proposal(member(tool, "definition"))).collect();
    if admin.output.is_machine() {
        let rows: Vec<Value> = proposals.iter().map(|it| it.to_json(&target.server)).collect();
        admin.output.list(&rows, &[]);
        return Ok(Exit::Yes);
    }
    for proposal in &proposals {
        let because = proposal.because.join("; ");
        admin
            .output
            .say(&escape_hidden(&format!("{}  # {because}", proposal.command(&target.server))));
    }
    if proposals.is_empty() {
        admin.output.say("nothing to propose: no such tool");
    }
    Ok(Exit::Yes)
}

/// Approves every waiting tool as before, or with its proposed class.
pub(crate) async fn approve_as_proposed(
    admin: &Admin,
    server: &str,
    change: Change,
) -> Result<(), Failure> {
    approve_waiting(admin, server, false, change).await.map(|_some_may_be_held| ())
}
