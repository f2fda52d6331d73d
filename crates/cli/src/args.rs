//! The command tree. What a subcommand takes stands in its own file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands as c;
use crate::output::Format;

/// Identities, tool scopes, bound tokens and a verifiable journal for MCP.
#[derive(Debug, Parser)]
#[command(name = "attorn", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Form of the result on standard output
    #[arg(short, long, value_enum, global = true, default_value = "table", value_name = "FORM")]
    pub(crate) output: Format,
    /// Folder of keys and addresses [default: `$XDG_CONFIG_HOME/attorn`]
    #[arg(long, global = true, env = "ATTORN_PROFILE", value_name = "DIR")]
    pub(crate) profile: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine with a sample, and show what it does
    Dev(c::dev::DevArgs),
    /// Run the roles the config names
    Serve(c::serve::ServeArgs),
    /// Write a commented config and make the first administrator's code
    Init(c::init::InitArgs),
    /// Put a gateway in front of an MCP server, now
    Wrap(c::wrap::WrapArgs),
    /// Agent side: speak plain MCP here, bound HTTPS to the gateway
    Connect(c::connect::ConnectArgs),
    /// Redeem a one-time code: make a key here and prove that we hold it
    Enroll(c::enroll::EnrollArgs),
    /// What runs, and how it is
    Status,
    /// Check the way to a gateway or authority, step by step
    Doctor(c::doctor::DoctorArgs),
    /// Who this profile is to the authority
    Whoami,
    /// Would this agent's call pass? Exit code 0 yes, 1 no
    CanI(c::can_i::CanIArgs),
    /// Why a call was decided as it was, step by step
    Explain(c::explain::ExplainArgs),
    /// People and teams who answer for agents and servers
    #[command(subcommand)]
    Owner(c::owner::OwnerCommand),
    /// People: invite, roles and groups, what they may do
    #[command(subcommand)]
    Person(c::person::PersonCommand),
    /// What people gave to agents
    #[command(subcommand)]
    Consent(c::consent::ConsentCommand),
    /// Programs of people that hold no secret
    #[command(subcommand)]
    Client(c::client::ClientCommand),
    /// Agents: register, enroll, suspend, keys
    #[command(subcommand)]
    Agent(c::agent::AgentCommand),
    /// Gateways in processes of their own: register, list
    #[command(subcommand)]
    Gateway(c::gateway::GatewayCommand),
    /// Put a guard in front of an HTTP API, now
    Guard(c::guard::GuardArgs),
    /// MCP servers: register, list, suspend
    #[command(subcommand)]
    Server(c::server::ServerCommand),
    /// APIs behind MCP servers: register, operations, suspend
    #[command(subcommand)]
    Resource(c::resource::ResourceCommand),
    /// Tools: what changed, approve, classify
    #[command(subcommand)]
    Tools(c::tools::ToolsCommand),
    /// Which agent may use which tools of which server
    #[command(subcommand)]
    Grant(c::grant::GrantCommand),
    /// Calls that wait for a person: look, approve, deny
    #[command(subcommand)]
    Request(c::request::RequestCommand),
    /// Stop an agent, person, server, API, tool, token, key, grant or owner at once
    #[command(subcommand)]
    Lock(c::lock::LockCommand),
    /// Make the registry as a file has it: all of it, or nothing
    Apply(c::apply::ApplyArgs),
    /// Guard-rail policies in Cedar
    #[command(subcommand)]
    Policy(c::policy::PolicyCommand),
    /// Search, export and verify the journal
    #[command(subcommand)]
    Audit(c::audit::AuditCommand),
    /// Look into an access token
    #[command(subcommand)]
    Token(c::token::TokenCommand),
    /// Verify a release of Attorn before it is used
    #[command(subcommand)]
    Release(c::release::ReleaseCommand),
    /// The authority's signing keys
    #[command(subcommand)]
    Key(c::key::KeyCommand),
    /// See that the logs of others only grow, and cosign them
    #[command(subcommand)]
    Witness(c::witness::WitnessCommand),
    /// A small MCP server on stdio, for trying things out
    #[command(hide = true)]
    SampleMcpServer(c::sample::SampleMcpServerArgs),
    /// The HTTP API behind the sample server
    #[command(hide = true)]
    SampleApi(c::sample::SampleApiArgs),
}

/// The switch of every command that changes something.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Change {
    /// Show what would be sent, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  attorn dev                                   everything, with a sample, on this machine
  attorn wrap -- npx -y some-mcp-server        a gateway in front of a server nobody changed
  attorn init && attorn serve                  a first installation
  attorn can-i billing-agent crm/get_invoice   exit code 0 yes, 1 no

Exit codes: 0 yes, 1 no, 2 usage, 3 cannot reach, 4 integrity broken.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        super::Cli::command().debug_assert();
    }
}
