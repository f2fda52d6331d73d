//! `attorn agent`: who acts.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::commands::enroll::{self, EnrollArgs, Enrolment, KeyType};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{member, set, text};
use crate::profile::{Profile, Who, thumbprint_of};
use crate::values::Seconds;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Redeem an agent's one-time code on the machine the agent runs on
    Enroll(EnrollArgs),
    /// Register an agent and get its one-time code (10 minutes, single use)
    #[command(after_help = REGISTER_EXAMPLES)]
    Register {
        /// Short name, `[a-z0-9][a-z0-9-]*`
        name: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// A person's command line instead of an agent
        #[arg(long)]
        operator: bool,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        /// How long it may act, for example `90d` [default: without an end]
        #[arg(long, value_name = "TIME")]
        expires: Option<Seconds>,
        #[command(flatten)]
        way: WayArgs,
        #[command(flatten)]
        change: Change,
    },
    /// Give an agent another end, or none
    #[command(after_help = EXPIRY_EXAMPLES)]
    Expiry {
        agent: String,
        /// How long it may act from now on, for example `90d`
        #[arg(long, value_name = "TIME", required_unless_present = "never")]
        expires: Option<Seconds>,
        /// Take its end away
        #[arg(long, conflicts_with = "expires")]
        never: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Give an agent another way to authenticate; the old one ends at once
    #[command(after_help = AUTHENTICATION_EXAMPLES)]
    Authentication {
        agent: String,
        #[command(flatten)]
        way: WayArgs,
        #[command(flatten)]
        change: Change,
    },
    /// A new one-time code for an agent that has none left
    #[command(after_help = "Example:\n  attorn agent code billing-agent --code-file code.txt")]
    Code {
        agent: String,
        /// Write the one-time code to this file (0600) instead of showing it
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// Give an agent of this machine a new key; the old one counts for five more minutes
    #[command(
        after_help = "Examples:\n  attorn agent rotate-key billing-agent\n  attorn agent rotate-key first-operator        our own key"
    )]
    RotateKey {
        agent: String,
        /// Kind of key to make
        #[arg(long, value_enum, default_value = "ed25519")]
        key_type: KeyType,
        #[command(flatten)]
        change: Change,
    },
    /// List agents
    #[command(after_help = "Example:\n  attorn agent list -o ndjson")]
    List,
    /// One agent with its keys
    #[command(after_help = "Example:\n  attorn agent show billing-agent")]
    Show { agent: String },
    /// Give an agent another owner
    #[command(after_help = "Example:\n  attorn agent owner billing-agent finance-team")]
    Owner {
        agent: String,
        owner: String,
        #[command(flatten)]
        change: Change,
    },
    /// The agent's keys and their states
    #[command(after_help = "Example:\n  attorn agent keys billing-agent")]
    Keys { agent: String },
    /// Stop an agent until it is resumed
    #[command(
        after_help = "Example:\n  attorn agent suspend billing-agent --reason \"left the project\""
    )]
    Suspend {
        agent: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Let a suspended agent act again
    #[command(after_help = "Example:\n  attorn agent resume billing-agent")]
    Resume {
        agent: String,
        #[command(flatten)]
        change: Change,
    },
    /// Stop an agent for good
    #[command(after_help = "Example:\n  attorn agent retire billing-agent --reason \"replaced\"")]
    Retire {
        agent: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
}

/// How an agent proves who it is. Without any of them, by a key of its own and a one-time code.
#[derive(Debug, Args)]
pub(crate) struct WayArgs {
    /// By a certificate of `tls.client_ca` with exactly this URI
    #[arg(long, value_name = "URI", group = "known_by")]
    tls_san_uri: Option<String>,
    /// By a certificate of `tls.client_ca` with exactly this host name
    #[arg(long, value_name = "NAME", group = "known_by")]
    tls_san_dns: Option<String>,
    /// By exactly this certificate, self-signed or not (PEM; several for a rotation)
    #[arg(long, value_name = "FILE", group = "known_by")]
    certificate: Vec<PathBuf>,
    /// By an SVID of this workload
    #[arg(long, value_name = "ID", group = "known_by")]
    spiffe_id: Option<String>,
    /// By a JWT of this platform, as the rules of `authority.trusted_issuers` say
    #[arg(long, value_name = "URL", group = "known_by")]
    workload_issuer: Option<String>,
    /// Bind tokens to the client certificate or to a DPoP key [default: as it authenticates]
    #[arg(long, value_enum)]
    binding: Option<BindingArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BindingArg {
    /// The client certificate of the connection
    Certificate,
    /// A key that signs each request
    Dpop,
}

impl WayArgs {
    /// Whether it is a JWT of a platform.
    pub(crate) const fn is_workload(&self) -> bool {
        self.workload_issuer.is_some()
    }

    /// The members of the admin API.
    pub(crate) fn put_into(&self, body: &mut Value) -> Result<(), Failure> {
        let thumbprints: Result<Vec<String>, Failure> =
            self.certificate.iter().map(|path| thumbprint_of(&files::read(path)?)).collect();
        let thumbprints = thumbprints?;
        let named = (&self.tls_san_uri, &self.tls_san_dns, &self.spiffe_id, &self.workload_issuer);
        let way = match named {
            (Some(uri), _, _, _) => json!({ "method": "tls_client_auth", "uri": uri }),
            (None, Some(dns), _, _) => json!({ "method": "tls_client_auth", "dns": dns }),
            (None, None, Some(id), _) => json!({ "method": "spiffe", "id": id }),
            (None, None, None, Some(issuer)) => json!({ "method": "workload", "issuer": issuer }),
            (None, None, None, None) if !thumbprints.is_empty() => {
                json!({ "method": "self_signed_tls_client_auth", "certificates": thumbprints })
            }
            (None, None, None, None) => json!({ "method": "private_key_jwt" }),
        };
        set(body, "authentication", way);
        match self.binding {
            None => {}
            Some(BindingArg::Certificate) => set(body, "binding", "certificate"),
            Some(BindingArg::Dpop) => set(body, "binding", "dpop"),
        }
        Ok(())
    }
}

const AUTHENTICATION_EXAMPLES: &str = "\
Examples:
  attorn agent authentication billing-agent --certificate old.crt --certificate new.crt
  attorn agent authentication billing-agent --tls-san-dns billing.agents.example.com";

const EXPIRY_EXAMPLES: &str = "\
Examples:
  attorn agent expiry billing-agent --expires 90d
  attorn agent expiry billing-agent --never";

const REGISTER_EXAMPLES: &str = "\
Examples:
  attorn agent register billing-agent --owner finance-team
  attorn agent register billing-agent --owner finance-team --expires 90d
  attorn agent register billing-agent --owner finance-team --tls-san-uri urn:agent:billing
  attorn agent register billing-agent --owner finance-team --certificate billing.crt
  attorn agent register billing-agent --owner finance-team --spiffe-id spiffe://example.org/billing
  attorn agent register deployer --owner finance-team \
    --workload-issuer https://token.actions.githubusercontent.com
  attorn agent register billing-agent --owner finance-team --code-file code.txt
Then, where the agent runs:
  attorn agent enroll --url https://authority.example.com --code @code.txt";

pub(crate) async fn run(context: &Context, command: AgentCommand) -> Result<Exit, Failure> {
    if let AgentCommand::Enroll(args) = command {
        return enroll::run(context, args).await;
    }
    let admin = Admin::open(context).await?;
    match command {
        AgentCommand::Enroll(_) => Ok(Exit::Usage),
        AgentCommand::Register { name, owner, operator, code_file, expires, way, change } => {
            let kind = if operator { "operator" } else { "agent" };
            let expires_s = expires.map(end_s);
            let mut body =
                json!({ "name": name, "owner": owner, "kind": kind, "expires_s": expires_s });
            way.put_into(&mut body)?;
            let answer = admin.send_change(Operation::AgentRegister, &[], body, change).await?;
            show_code(&admin, answer, code_file)
        }
        AgentCommand::Expiry { agent, expires, never: _, change } => {
            let body = json!({ "expires_s": expires.map(end_s) });
            admin.change(Operation::AgentExpiry, &[&agent], body, change).await
        }
        AgentCommand::Authentication { agent, way, change } => {
            let mut body = json!({});
            way.put_into(&mut body)?;
            admin.change(Operation::AgentAuthentication, &[&agent], body, change).await
        }
        AgentCommand::Code { agent, code_file, change } => {
            let answer =
                admin.send_change(Operation::AgentCode, &[&agent], json!({}), change).await?;
            show_code(&admin, answer, code_file)
        }
        AgentCommand::RotateKey { agent, key_type, change } => {
            Box::pin(rotate_key(context, &admin, (&agent, key_type), change)).await
        }
        AgentCommand::List => {
            let columns = ["id", "name", "kind", "owner", "state", "expires_s", "last_used_s"];
            admin.list(Operation::AgentList, &[], &[], &columns).await
        }
        AgentCommand::Show { agent } => admin.show(Operation::AgentShow, &[&agent]).await,
        AgentCommand::Owner { agent, owner, change } => {
            let body = json!({ "owner": owner });
            admin.change(Operation::AgentOwner, &[&agent], body, change).await
        }
        AgentCommand::Keys { agent } => {
            let columns = ["jkt", "state", "not_before_s", "not_after_s"];
            admin.list(Operation::AgentKeys, &[&agent], &[], &columns).await
        }
        AgentCommand::Suspend { agent, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::AgentSuspend, &[&agent], body, change).await
        }
        AgentCommand::Resume { agent, change } => {
            admin.change(Operation::AgentResume, &[&agent], json!({}), change).await
        }
        AgentCommand::Retire { agent, reason, change } => {
            let body = json!({ "reason": reason });
            admin.change(Operation::AgentRetire, &[&agent], body, change).await
        }
    }
}

/// A code and its enrolment in one: the code never leaves this process.
async fn rotate_key(
    context: &Context,
    admin: &Admin,
    (agent, key_type): (&str, KeyType),
    change: Change,
) -> Result<Exit, Failure> {
    let shown = admin.read(Operation::AgentShow, &[agent], &[]).await?;
    let who = match text(&shown, "kind") {
        Some("operator") => Who::Operator,
        Some("gateway") => Who::Gateway,
        Some(_) | None => Who::Agent(text(&shown, "name").unwrap_or(agent)),
    };
    // A key that is made here for an agent elsewhere would end the one that it uses.
    let identity = Profile::load(&context.profile, who)?.identity;
    if text(&shown, "id") != Some(identity.client_id.as_str()) {
        return Err(Failure::usage(format!("the key of `{agent}` is not in this profile"))
            .next(format!("attorn agent code {agent}, and enroll where it runs")));
    }
    if identity.certificate.is_some() {
        return Err(Failure::usage(format!("`{agent}` is known by its certificate, not by a key"))
            .next("attorn agent authentication --help"));
    }
    let answer = admin.send_change(Operation::AgentCode, &[agent], json!({}), change).await?;
    let Some(answer) = answer else { return Ok(Exit::Yes) };
    let code = text(&answer, "code").unwrap_or_default();
    let request = Enrolment { issuer: &identity.issuer, code, key_type };
    let enrolled = enroll::enroll(&request, identity.roots.as_deref(), &context.profile).await?;
    admin.output.object(&enrolled.summary);
    Ok(Exit::Yes)
}

/// The second in which a length of time from now is over.
fn end_s(length: Seconds) -> u64 {
    clock::now_s().saturating_add(length.0)
}

/// Hands the one-time code over: into a file when asked, else once on standard output.
pub(crate) fn show_code(
    admin: &Admin,
    answer: Option<Value>,
    code_file: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let Some(mut answer) = answer else { return Ok(Exit::Yes) };
    if member(&answer, "code").is_null() {
        admin.output.object(&answer);
        if member(&answer, "authentication").get("method").is_some_and(|way| way == "workload") {
            admin.output.say(
                "next, where the agent runs: attorn connect https://GATEWAY/SERVER/mcp \
                 --workload-token FILE",
            );
            return Ok(Exit::Yes);
        }
        let rest = match text(&answer, "kind") {
            Some("gateway") => "--admin-url URL --as-gateway",
            Some("operator") => "--admin-url URL",
            Some(_) | None => "--gateway URL",
        };
        admin.output.say(&format!(
            "next, where it runs: attorn enroll --url {} --name {} --client-id {} \
             --certificate FILE --key FILE {rest}",
            admin.issuer(),
            text(&answer, "name").unwrap_or_default(),
            text(&answer, "id").unwrap_or_default(),
        ));
        return Ok(Exit::Yes);
    }
    let mut source = "-".to_owned();
    if let (Some(path), Some(members)) = (code_file, answer.as_object_mut()) {
        let code = members.remove("code").unwrap_or_default();
        files::write_private(&path, code.as_str().unwrap_or_default().as_bytes())?;
        source = format!("@{}", path.display());
    }
    admin.output.object(&answer);
    admin.output.say(&format!(
        "next, where it runs: attorn enroll --url {} --code {source}",
        admin.issuer()
    ));
    Ok(Exit::Yes)
}
