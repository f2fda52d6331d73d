//! `attorn wrap`: a gateway in front of an MCP server nobody changed, now.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attorn_registry::Name;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::enroll::{Enrolment, KeyType, enroll};
use crate::commands::{Context, server, tools};
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::output::{Output, cell};
use crate::profile;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::world::World;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WrapArgs {
    /// Name of the server [default: from the command or address]
    #[arg(long)]
    name: Option<String>,
    /// Accept the class each tool proposes for itself, this once
    #[arg(long)]
    accept_annotations: bool,
    /// What the agent made here may use; may be repeated
    #[arg(long = "grant", value_name = "PATTERN", default_values_t = [String::from("read:*")])]
    grants: Vec<String>,
    /// Name of the agent made here [default: NAME-agent]
    #[arg(long)]
    agent: Option<String>,
    /// Address of the gateway
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Keep everything in this folder
    #[arg(long, default_value = "attorn-state", value_name = "DIR")]
    dir: PathBuf,
    /// A variable for the command, `NAME=VALUE`; it starts with no other but PATH, HOME and the like
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<String>,
    /// The command that speaks MCP on its standard input and output, or one http(s) address
    #[arg(last = true, required = true, value_name = "COMMAND | URL")]
    upstream: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  attorn wrap -- npx -y @modelcontextprotocol/server-everything
  attorn wrap --accept-annotations --grant 'read:*' --grant 'write:*' -- uvx mcp-server-time
  attorn wrap --name everything -- http://127.0.0.1:3101/mcp";

pub(crate) async fn run(context: &Context, args: WrapArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_from(&args.upstream)?,
    };
    Name::parse(&name).map_err(|e| {
        Failure::usage(format!("`{name}`: {e}")).next("attorn wrap --name NAME -- …")
    })?;
    crate::files::make_private_folder(&args.dir)?;
    let folder = args
        .dir
        .canonicalize()
        .map_err(|e| Failure::usage(format!("cannot use `{}`: {e}", args.dir.display())))?;
    let world = World::start_embedded(&folder, args.listen, None).await?;
    let wrapped = tokio::select! {
        wrapped = wrap(context.output, &args, &name, (&world, &folder)) => wrapped,
        () = signals.stop_asked() => Ok(()),
    };
    let ended = match wrapped {
        Ok(()) => {
            signals.stop_asked().await;
            Ok(Exit::Yes)
        }
        Err(failure) => Err(failure),
    };
    world.stop().await;
    ended
}

async fn wrap(
    output: Output,
    args: &WrapArgs,
    name: &str,
    (world, folder): (&World, &Path),
) -> Result<(), Failure> {
    let profile_folder = folder.join("profile");
    let admin = world.enroll_administrator(&profile_folder, output).await?;
    register(&admin, args, name).await?;
    let found = wait_for_tools(&admin, name).await?;
    if args.accept_annotations {
        output.say("ACCEPTING the classes the server proposes for its own tools; check them:");
        tools::approve_as_proposed(&admin, name, NOW).await?;
    }
    tools::list(&admin, name).await?;
    if !args.accept_annotations {
        output.say(&format!("\n{found} tools wait for you: nobody can call them before"));
        output
            .say(&format!("  attorn --profile {} tools approve {name}", profile_folder.display()));
    }
    let agent = args.agent.clone().unwrap_or_else(|| format!("{name}-agent"));
    make_agent(&admin, world, &profile_folder, (&agent, name, &args.grants)).await?;
    output.say(&format!("\n{agent} may use: {}", args.grants.join(" ")));
    output.say(&format!("gateway: {}", world.resource(name)));
    output.say("\nFor your MCP client:");
    output.text(&snippet(name, &agent, &profile_folder));
    output.say("\nStays up until you press Ctrl-C.");
    Ok(())
}

async fn register(admin: &Admin, args: &WrapArgs, name: &str) -> Result<(), Failure> {
    let owners = admin.read(Operation::OwnerList, &[], &[]).await?;
    if !items(&owners).iter().any(|owner| member(owner, "name") == OWNER) {
        send(admin, Operation::OwnerCreate, json!({ "name": OWNER })).await?;
    }
    let servers = admin.read(Operation::ServerList, &[], &[]).await?;
    if items(&servers).iter().any(|server| member(server, "name") == name) {
        return Ok(());
    }
    let upstream = match args.upstream.as_slice() {
        [url] if url.contains("://") => server::upstream(Some(url), &[], &[])?,
        command => server::upstream(None, command, &variables(&args.variables))?,
    };
    let operation = server::registration_of(&upstream);
    let body = json!({ "name": name, "owner": OWNER, "upstream": upstream });
    send(admin, operation, body).await?;
    Ok(())
}

/// A launcher such as `npx` finds nothing without these two.
fn variables(given: &[String]) -> Vec<String> {
    let inherited = ["PATH", "HOME"].into_iter();
    let inherited = inherited.filter_map(|name| {
        let value = std::env::var(name).ok()?;
        // A folder that depends on where the gateway stands is refused at registration.
        let absolute = value.split(':').filter(|folder| folder.starts_with('/'));
        Some(format!("{name}={}", absolute.collect::<Vec<_>>().join(":")))
    });
    inherited.chain(given.iter().cloned()).collect()
}

/// The gateway starts the server and lists its tools; a first start may download it.
pub(crate) async fn wait_for_tools(admin: &Admin, name: &str) -> Result<usize, Failure> {
    let _progress = Progress::start("starting the server and listing its tools");
    let until = Instant::now() + START_TIME;
    let (mut known, mut since) = (0, Instant::now());
    while Instant::now() < until {
        let listed = admin.read(Operation::ToolList, &[name], &[]).await?;
        if items(&listed).len() != known {
            (known, since) = (items(&listed).len(), Instant::now());
        }
        if known > 0 && since.elapsed() >= SETTLED {
            let waiting = items(&listed).iter().filter(|tool| member(tool, "state") != "approved");
            return Ok(waiting.count());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::unreachable(format!("`{name}` showed no tools within {} s", START_TIME.as_secs()))
        .next("run the command by itself and look at what it prints"))
}

async fn make_agent(
    admin: &Admin,
    world: &World,
    folder: &Path,
    (agent, server, patterns): (&str, &str, &[String]),
) -> Result<(), Failure> {
    if profile::agents(folder).iter().any(|known| known == agent) {
        return Ok(());
    }
    let body = json!({ "name": agent, "owner": OWNER, "kind": "agent" });
    let registered = send(admin, Operation::AgentRegister, body).await?;
    let body =
        json!({ "agent": agent, "server": server, "patterns": patterns, "reason": "attorn wrap" });
    send(admin, Operation::GrantCreate, body).await?;
    let code = text(&registered, "code").unwrap_or_default();
    let enrolment = Enrolment { issuer: world.issuer(), code, key_type: KeyType::Ed25519 };
    enroll(&enrolment, None, folder).await?;
    Ok(())
}

async fn send(admin: &Admin, operation: Operation, body: Value) -> Result<Value, Failure> {
    Ok(admin.send_change(operation, &[], body, NOW).await?.unwrap_or_default())
}

/// The entry most MCP clients take in their configuration.
fn snippet(name: &str, agent: &str, profile_folder: &Path) -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "attorn".into(), |path| path.display().to_string());
    let entry = json!({
        "command": program,
        "args": ["--profile", profile_folder.display().to_string(), "connect", name, "--agent", agent],
    });
    let mut servers = serde_json::Map::new();
    servers.insert(name.to_owned(), entry);
    let snippet = json!({ "mcpServers": servers });
    serde_json::to_string_pretty(&snippet).unwrap_or_else(|_| cell(&snippet))
}

/// `server-everything` of `npx -y @modelcontextprotocol/server-everything`, `127-0-0-1` of a URL.
fn name_from(upstream: &[String]) -> Result<String, Failure> {
    let launchers = ["npx", "uvx", "node", "python", "python3", "deno", "bun", "docker", "run"];
    let word = match upstream {
        [url] if url.contains("://") => {
            url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next()
        }
        words => words
            .iter()
            .map(String::as_str)
            .map(|word| word.rsplit('/').next().unwrap_or_default())
            .find(|word| !word.starts_with('-') && !launchers.contains(word)),
    };
    let base = word.unwrap_or_default();
    let base = base.split('@').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = base.chars().map(plain).take(40).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() {
        return Err(Failure::usage("no name can be made from the command")
            .next("attorn wrap --name NAME -- …"));
    }
    Ok(name)
}

/// Who answers for what is made here: the person at the keyboard.
const OWNER: &str = "me";
const NOW: Change = Change { dry_run: false };
const START_TIME: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
/// A server of both eras is listed once in each, one after the other.
const SETTLED: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: &str) {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(name_from(&words).ok().as_deref(), Some(expected));
    }

    #[test]
    fn names_from_commands() {
        check(&["npx", "-y", "@modelcontextprotocol/server-everything"], "server-everything");
        check(&["npx", "-y", "some-server@1.2.3"], "some-server");
        check(&["uvx", "mcp-server-time", "--local-timezone", "UTC"], "mcp-server-time");
        check(&["/usr/bin/My_Server.py"], "my-server-py");
        check(&["/usr/bin/python3", "-m", "mcp_server_time"], "mcp-server-time");
        check(&["http://127.0.0.1:3101/mcp"], "127-0-0-1");
        assert!(name_from(&["npx".to_owned()]).is_err());
    }
}
