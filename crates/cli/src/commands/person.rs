//! `attorn person`: people, what they may do, and how they get in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::text;
use crate::values::Seconds;

#[derive(Debug, Subcommand)]
pub(crate) enum PersonCommand {
    /// Record a person and get their one-time code (24 hours, single use)
    #[command(after_help = INVITE_EXAMPLES)]
    Invite(InviteArgs),
    /// Make a new one-time code: the password that is set with it replaces the old one
    #[command(after_help = "Example:\n  attorn person code ann --code-file ann.code")]
    Code {
        person: String,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// List people
    #[command(after_help = "Example:\n  attorn person list -o json")]
    List,
    /// One person
    #[command(after_help = "Example:\n  attorn person show ann")]
    Show { person: String },
    /// Give a person other roles, groups or another display name; what is not named stays
    #[command(after_help = SET_EXAMPLES)]
    Set(SetArgs),
    /// Say who a person is at the identity provider: whoever signs in there as that is this person
    #[command(after_help = LINK_EXAMPLES)]
    Link {
        person: String,
        /// `sub` of the provider's ID tokens
        #[arg(long)]
        subject: String,
        /// The issuer; without it, the provider of `[authority.login]`
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Take that back, with the roles and groups that the provider gave; their sessions end
    #[command(after_help = "Example:\n  attorn person unlink ann --reason \"another account\"")]
    Unlink(StopArgs),
    /// List the passkeys of a person
    #[command(after_help = "Example:\n  attorn person passkeys ann")]
    Passkeys { person: String },
    /// Take the passkeys of a person away, or one of them; their sessions end
    #[command(after_help = REMOVE_PASSKEYS_EXAMPLES)]
    RemovePasskeys {
        person: String,
        /// Only this one
        #[arg(long, value_name = "ID")]
        passkey: Option<String>,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop a person, their sessions and what agents do for them, until they are resumed
    #[command(after_help = "Example:\n  attorn person suspend ann --reason \"on leave\"")]
    Suspend(StopArgs),
    /// Let a suspended person act again; they sign in anew
    #[command(after_help = "Example:\n  attorn person resume ann")]
    Resume {
        person: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop a person for good
    #[command(after_help = "Example:\n  attorn person retire ann --reason \"left the company\"")]
    Retire(StopArgs),
    /// Let a person, or everybody of a group, use tools of a server
    #[command(after_help = GRANT_EXAMPLES)]
    Grant(GrantArgs),
    /// List what people and groups may do
    #[command(after_help = "Example:\n  attorn person grants --person ann")]
    Grants {
        /// Only what this person has, their groups' included
        #[arg(long)]
        person: Option<String>,
        /// Only on this server
        #[arg(long)]
        server: Option<String>,
    },
    /// Take a grant of a person or a group back, at once
    #[command(after_help = "Example:\n  attorn person ungrant grt_… --reason \"moved to hr\"")]
    Ungrant {
        grant: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// Short name, `[a-z0-9][a-z0-9-]*`
    name: String,
    /// What pages show
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// viewer, developer, operator, approver, auditor or admin; repeat for several
    #[arg(long)]
    role: Vec<String>,
    /// A group they belong to; repeat for several
    #[arg(long)]
    group: Vec<String>,
    /// Write the one-time code to this file (0600) instead of showing it
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    person: String,
    /// What pages show
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// All the roles they have; repeat for several
    #[arg(long, conflicts_with = "no_roles")]
    role: Vec<String>,
    /// No role at all
    #[arg(long)]
    no_roles: bool,
    /// All the groups they are in; repeat for several
    #[arg(long, conflicts_with = "no_groups")]
    group: Vec<String>,
    /// No group at all
    #[arg(long)]
    no_groups: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    person: String,
    /// Why; recorded
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The person, or `group/NAME`
    to: String,
    server: String,
    /// `read:get_invoice`, or `read:*` for every read tool
    #[arg(required = true, value_name = "PATTERN")]
    scopes: Vec<String>,
    /// End after this time, such as `30d`
    #[arg(long, value_name = "TIME")]
    expires: Option<Seconds>,
    /// Why; recorded
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    change: Change,
}

const INVITE_EXAMPLES: &str = "\
Examples:
  attorn person invite ann --display-name \"Ann Example\" --group finance --code-file ann.code
  attorn person invite bob --role approver --role auditor";

const SET_EXAMPLES: &str = "\
Examples:
  attorn person set ann --role approver --role viewer    exactly these two roles
  attorn person set ann --no-groups                      in no group any more";

const LINK_EXAMPLES: &str = "\
Examples:
  attorn person link ann --subject 00u1a2b3c4
  attorn person link ann --subject 00u1a2b3c4 --issuer https://login.example

A person who was invited and has not come yet is active with it, and their code ends.";

const REMOVE_PASSKEYS_EXAMPLES: &str = "\
Examples:
  attorn person remove-passkeys ann --reason \"laptop lost\"
  attorn person remove-passkeys ann --passkey pky_… --reason \"key lost\"

Their password stays. A new code (`attorn person code`) takes the passkeys away as well.";

const GRANT_EXAMPLES: &str = "\
Examples:
  attorn person grant ann crm read:get_invoice
  attorn person grant group/finance crm 'read:*' --expires 90d --reason \"year end\"

A grant lets nobody act by itself: an agent gets of it what the person consents to.";

pub(crate) async fn run(context: &Context, command: PersonCommand) -> Result<Exit, Failure> {
    let admin = Admin::open(context).await?;
    match command {
        PersonCommand::Invite(args) => {
            let body = json!({
                "name": args.name,
                "display_name": args.display_name,
                "roles": args.role,
                "groups": args.group,
            });
            let sent = admin.send_change(Operation::PersonInvite, &[], body, args.change).await?;
            show_code(&admin, sent, args.code_file)
        }
        PersonCommand::Code { person, code_file, change } => {
            let place = [person.as_str()];
            let sent = admin.send_change(Operation::PersonCode, &place, json!({}), change).await?;
            show_code(&admin, sent, code_file)
        }
        PersonCommand::List => {
            let columns = ["id", "name", "display_name", "state", "roles", "groups"];
            admin.list(Operation::PersonList, &[], &[], &columns).await
        }
        PersonCommand::Show { person } => admin.show(Operation::PersonShow, &[&person]).await,
        PersonCommand::Set(args) => set(&admin, args).await,
        PersonCommand::Link { person, subject, issuer, change } => {
            let body = json!({ "subject": subject, "issuer": issuer });
            admin.change(Operation::PersonLink, &[&person], body, change).await
        }
        PersonCommand::Unlink(args) => stop(&admin, Operation::PersonUnlink, args).await,
        PersonCommand::Passkeys { person } => {
            let columns = ["id", "name", "created_s", "used_s"];
            admin.list(Operation::PersonPasskeys, &[&person], &[], &columns).await
        }
        PersonCommand::RemovePasskeys { person, passkey, reason, change } => {
            let body = json!({ "passkey": passkey, "reason": reason });
            admin.change(Operation::PersonPasskeyRemove, &[&person], body, change).await
        }
        PersonCommand::Suspend(args) => stop(&admin, Operation::PersonSuspend, args).await,
        PersonCommand::Resume { person, change } => {
            admin.change(Operation::PersonResume, &[&person], json!({}), change).await
        }
        PersonCommand::Retire(args) => stop(&admin, Operation::PersonRetire, args).await,
        PersonCommand::Grant(args) => grant(&admin, args).await,
        PersonCommand::Grants { person, server } => {
            let query = [("person", person), ("server", server)];
            let columns = ["id", "person", "group", "server", "scopes", "expires_s", "revoked_s"];
            admin.list(Operation::PersonGrantList, &[], &query, &columns).await
        }
        PersonCommand::Ungrant { grant, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::PersonGrantRevoke, &[&grant], body, change).await
        }
    }
}

async fn set(admin: &Admin, args: SetArgs) -> Result<Exit, Failure> {
    // What is not named is left out, and stays as it is.
    let named = |names: Vec<String>, none: bool| (none || !names.is_empty()).then_some(names);
    let body = json!({
        "display_name": args.display_name,
        "roles": named(args.role, args.no_roles),
        "groups": named(args.group, args.no_groups),
    });
    admin.change(Operation::PersonSet, &[&args.person], body, args.change).await
}

async fn stop(admin: &Admin, operation: Operation, args: StopArgs) -> Result<Exit, Failure> {
    let body = json!({ "reason": args.reason });
    admin.change(operation, &[&args.person], body, args.change).await
}

async fn grant(admin: &Admin, args: GrantArgs) -> Result<Exit, Failure> {
    let (person, group) = match args.to.strip_prefix("group/") {
        Some(group) => (None, Some(group)),
        None => (Some(args.to.as_str()), None),
    };
    let body = json!({
        "person": person,
        "group": group,
        "server": args.server,
        "scopes": args.scopes,
        "expires_s": args.expires.map(|length| clock::now_s().saturating_add(length.0)),
        "reason": args.reason,
    });
    admin.change(Operation::PersonGrantCreate, &[], body, args.change).await
}

/// Hands the one-time code over: into a file when asked, else once on standard output.
fn show_code(
    admin: &Admin,
    answer: Option<Value>,
    code_file: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let Some(mut answer) = answer else { return Ok(Exit::Yes) };
    let name = text(&answer, "name").unwrap_or_default().to_owned();
    let mut told = "the code above".to_owned();
    if let (Some(path), Some(members)) = (code_file, answer.as_object_mut()) {
        let code = members.remove("code").unwrap_or_default();
        files::write_private(&path, code.as_str().unwrap_or_default().as_bytes())?;
        told = format!("the code in {}", path.display());
    }
    admin.output.object(&answer);
    admin.output.say(&format!("next: give {told} to {name} alone; it sets their password, once"));
    Ok(Exit::Yes)
}
