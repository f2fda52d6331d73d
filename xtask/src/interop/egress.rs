//! MCP servers that know nothing of Attorn call their API through it, eight agents at once.
//!
//! `mcp-atlassian` as it is published, which serves sessions and has a process for each; and the two
//! servers in `samples/`, which serve MCP 2026-07-28 with one process for all callers. What
//! `mcp-atlassian` asks beyond the registered operations is refused, and it works all the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use attorn_testkit::wire::{RawReply, RawRequest, exchange};
use serde_json::{Value, json};

use super::attribution::{Facts, verify};
use super::stand_in::StandIn;
use super::{interop, node_binary};
use crate::bounded::output_within;
use crate::installation::{Installation, Setting, free_port};
use crate::step::{StepFailed, root};

/// A server, and how it is called.
struct Server {
    name: &'static str,
    command: Vec<String>,
    /// Where it reads the address of its API.
    variable: &'static str,
    /// All else that it is given.
    environment: &'static [&'static str],
    tool: &'static str,
    argument: &'static str,
    operations: &'static [&'static str],
    version: &'static str,
}

/// Attorn with a guard before the API, the servers behind it, and agents that may call them.
struct World {
    api: StandIn,
    installation: Installation,
    names: BTreeMap<String, String>,
}

/// Runs each server.
///
/// # Errors
/// At the first request that does not stand for the call that caused it.
pub(super) fn run() -> Result<(), StepFailed> {
    let started = Instant::now();
    let servers = servers()?;
    let world = World::start(&servers)?;
    let [jira, samples @ ..] = &servers;
    credential_is_sent(&world.api, jira)?;
    for server in &servers {
        world.all_at_once(server)?;
    }
    for sample in samples {
        world.nobody_asks(sample)?;
    }
    println!("unmodified servers behind Attorn: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn servers() -> Result<[Server; 3], StepFailed> {
    let atlassian = interop("atlassian/.venv/bin/mcp-atlassian");
    let samples = root().join("samples");
    // Node.js looks for packages beside the file.
    let (typescript, copy) = (samples.join("typescript-server/server.ts"), interop("sample.ts"));
    std::fs::copy(&typescript, &copy)
        .map_err(|source| StepFailed::File { path: typescript, source })?;
    let sample = |name, program: &Path, file: &Path| Server {
        name,
        command: vec![shown(program), shown(file)],
        variable: "ISSUES_API_URL",
        environment: &[],
        tool: "get_issue",
        argument: "key",
        operations: &["sample.get"],
        version: "2026-07-28",
    };
    Ok([
        Server {
            name: "jira",
            command: vec![shown(&atlassian), "--read-only".to_owned()],
            variable: "JIRA_URL",
            environment: &[
                // It does not start without a credential. This one is worth nothing.
                "JIRA_PERSONAL_TOKEN=fixture-not-a-secret",
                // Else it asks a package index for a newer version of itself.
                "FASTMCP_CHECK_FOR_UPDATES=off",
                // Else each process lists the fields of an issue in another order, and a tool is its
                // definition: the gateway would hold it until somebody confirms the new one.
                "PYTHONHASHSEED=0",
            ],
            tool: "jira_get_issue",
            argument: "issue_key",
            operations: &["issue.get", "field.list"],
            version: "2025-11-25",
        },
        sample(
            "issues-python",
            &interop(".venv/bin/python"),
            &samples.join("python-server/server.py"),
        ),
        sample("issues-typescript", &node_binary(), &copy),
    ])
}

/// The twin of all that follows: without Attorn the API gets the credential of the server, and nobody
/// is named.
fn credential_is_sent(api: &StandIn, server: &Server) -> Result<(), StepFailed> {
    let mut environment: serde_json::Map<String, Value> = server
        .environment
        .iter()
        .filter_map(|given| given.split_once('='))
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    let address = format!("http://{}", api.address);
    environment.insert(server.variable.to_owned(), Value::from(address));
    let calls = [json!({ server.argument: "NOBODY-1" })];
    let session = json!({ "command": server.command, "environment": environment, "calls": calls });
    many(&std::env::temp_dir(), server, &[session])?;
    let seen = api.take();
    let is_sent = |seen: &super::stand_in::Seen| {
        seen.header("authorization") == Some("Bearer fixture-not-a-secret")
            && seen.header("attorn-agent").is_none()
    };
    if seen.is_empty() || !seen.iter().all(is_sent) {
        return wrong(format!("{} alone sends no credential: {seen:?}", server.name));
    }
    println!("{} alone: {} requests with its own credential", server.name, seen.len());
    Ok(())
}

impl World {
    fn start(servers: &[Server]) -> Result<Self, StepFailed> {
        let api = StandIn::start()?;
        let guard = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let url = format!("http://{guard}/jira");
        let mut more = format!(
            "[[guard]]\npublic_url = \"{url}\"\nlisten = \"{guard}\"\nupstream = \"http://{}\"\n",
            api.address
        );
        for Server { name, variable, .. } in servers {
            more += &format!(
                "[[egress]]\nserver = \"{name}\"\nresource = \"{url}\"\nvariable = \"{variable}\"\n"
            );
        }
        let setting = Setting { more: &more, ..Setting::default() };
        let mut world =
            Self { api, installation: Installation::start_on(&setting)?, names: BTreeMap::new() };
        world.register_api(&url)?;
        for server in servers {
            world.register(server)?;
        }
        let read = |server: &Server| format!("read:{}", server.tool);
        let scopes: Vec<String> = servers.iter().map(read).collect();
        for caller in callers() {
            let scopes: Vec<[&str; 1]> = scopes.iter().map(|scope| [scope.as_str()]).collect();
            let grants = servers.iter().zip(&scopes);
            let grants: Vec<(&str, &[&str])> =
                grants.map(|(server, scope)| (server.name, scope.as_slice())).collect();
            let agent = world.installation.enroll(&caller, &grants)?;
            world.names.insert(agent.client_id, caller);
        }
        Ok(world)
    }

    fn register_api(&self, url: &str) -> Result<(), StepFailed> {
        let run = |arguments: &[&str]| self.installation.cli(arguments).map(drop);
        run(&["resource", "register", "issues", "--owner", "test-team", "--url", url])?;
        for (id, path) in [
            ("issue.get", "/rest/api/2/issue/{key}"),
            ("field.list", "/rest/api/2/field"),
            ("sample.get", "/issues/{key}"),
        ] {
            let add = ["resource", "operation", "add", "issues", id, "--method", "GET"];
            run(&[&add[..], &["--path", path, "--class", "read"]].concat())?;
        }
        Ok(())
    }

    fn register(&self, server: &Server) -> Result<(), StepFailed> {
        let variables = server.environment.iter().flat_map(|variable| ["--env", *variable]);
        let mut arguments: Vec<&str> = variables.collect();
        arguments.push("--");
        arguments.extend(server.command.iter().map(String::as_str));
        self.installation.register_server(server.name, &arguments)?;
        self.installation.approve_all(server.name)?;
        for operation in server.operations {
            let (from, to) = (format!("read:{}", server.tool), format!("read:{operation}"));
            let allow = ["server", "downstream", "allow", server.name, "issues"];
            self.installation.cli(&[&allow[..], &["--from", &from, "--to", &to]].concat())?;
        }
        Ok(())
    }

    /// All agents call one tool at the same time, each several times.
    fn all_at_once(&self, server: &Server) -> Result<(), StepFailed> {
        let before = self.installation.journal_entries(0)?.len();
        drop(self.api.take());
        let issues = |caller: &str| {
            let caller = caller.to_uppercase();
            // Each issue twice: what is asked again has to be told apart again.
            (0..CALLS).map(move |number| format!("{caller}-{}", number / 2 + 1))
        };
        let session = |caller: String| {
            let calls = issues(&caller).map(|issue| json!({ server.argument: issue }));
            let calls: Vec<Value> = calls.collect();
            let command = self.installation.connect_command(server.name, &caller);
            json!({ "command": command, "calls": calls })
        };
        let sessions: Vec<Value> = callers().map(session).collect();
        let report = many(self.installation.folder(), server, &sessions)?;
        for (caller, told) in callers().zip(report.as_array().into_iter().flatten()) {
            let version = told.get("version").and_then(Value::as_str);
            if version != Some(server.version) {
                return wrong(format!("{} speaks {version:?}", server.name));
            }
            let answers = told.get("answers").and_then(Value::as_array);
            for (issue, answer) in issues(&caller).zip(answers.into_iter().flatten()) {
                if !answer.to_string().contains(&format!("the issue {issue}")) {
                    return wrong(format!("{issue} was answered with {answer}"));
                }
            }
        }
        let from = u64::try_from(before).unwrap_or(u64::MAX);
        let requests = self.api.take();
        let count = requests.len();
        let entries = self.installation.journal_entries(from)?;
        let facts = Facts { requests, entries, names: self.names.clone() };
        let calls =
            verify(&facts).map_err(|what| StepFailed::Check(format!("{}: {what}", server.name)))?;
        if calls != CALLERS * CALLS {
            return wrong(format!("{}: {calls} calls asked for an issue", server.name));
        }
        if facts.entries.iter().any(|entry| reason(entry) == UNATTRIBUTED) {
            return wrong(format!("{}: a request belonged to no call", server.name));
        }
        println!("{}: {CALLERS} agents, {calls} calls, {count} requests told apart", server.name);
        Ok(())
    }

    /// Between calls, what a server asks belongs to nobody. The process of a server of 2026-07-28 stays
    /// for the next call, and so does its address.
    fn nobody_asks(&self, server: &Server) -> Result<(), StepFailed> {
        let before = self.installation.journal_entries(0)?.len();
        let address = address_of_child(self.installation.process(), server)?;
        let reply = get(address, "/issues/CALLER0-1")?;
        if reply.status != 403 || !reply.text().contains(UNATTRIBUTED) {
            return wrong(format!("outside of calls: {} {}", reply.status, reply.text()));
        }
        let entries =
            self.installation.journal_entries(u64::try_from(before).unwrap_or(u64::MAX))?;
        let refused = entries.iter().filter(|entry| reason(entry) == UNATTRIBUTED).count();
        if refused != 1 || !self.api.take().is_empty() {
            return wrong(format!("outside of calls: {refused} refusals on record"));
        }
        println!("{}: a request outside of calls is refused", server.name);
        Ok(())
    }
}

/// Makes the calls of all sessions with the official Python client and gives back what it says of each.
fn many(folder: &Path, server: &Server, sessions: &[Value]) -> Result<Value, StepFailed> {
    let path = folder.join(format!("calls-{}.json", crate::agent::unique()));
    let given = json!({ "tool": server.tool, "sessions": sessions });
    std::fs::write(&path, given.to_string())
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    let mut command = Command::new(interop(".venv/bin/python"));
    command.arg(interop("clients/many.py")).arg(&path);
    let output = output_within(server.name, CLIENTS_WITHIN, &mut command)?;
    drop(std::fs::remove_file(&path));
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let told = report.get_mut("sessions").map(Value::take);
    told.filter(|_| output.status.success()).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        StepFailed::Check(format!("{}: {report} {errors}", server.name))
    })
}

/// What the one child of a server was given as the address of its API.
fn address_of_child(parent: u32, server: &Server) -> Result<SocketAddr, StepFailed> {
    let parent = format!("PPid:\t{parent}\n");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.map(|process| process.path()).filter(|process| {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        status.contains(&parent)
    });
    let file = server.command.get(1).map_or("", String::as_str);
    let address = children
        .filter(|child| {
            let line = std::fs::read(child.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(file)
        })
        .find_map(|child| {
            let environment = std::fs::read(child.join("environ")).ok()?;
            let text = String::from_utf8_lossy(&environment).into_owned();
            let given = format!("{}=http://", server.variable);
            text.split('\0').find_map(|one| one.strip_prefix(&given)?.parse().ok())
        });
    address.ok_or_else(|| StepFailed::Check(format!("{} has no child", server.name)))
}

fn get(address: SocketAddr, path: &str) -> Result<RawReply, StepFailed> {
    let request = RawRequest {
        method: "GET".to_owned(),
        target: path.to_owned(),
        headers: vec![("Host".to_owned(), address.to_string().into_bytes())],
        body: Vec::new(),
        verbatim: None,
    };
    exchange(address, &request).map_err(|error| StepFailed::Check(format!("{address}: {error}")))
}

fn reason(entry: &Value) -> &str {
    entry.get("reason").and_then(Value::as_str).unwrap_or_default()
}

/// Keys of issues begin with these names, so a name is letters and digits.
fn callers() -> impl Iterator<Item = String> {
    (0..CALLERS).map(|number| format!("caller{number}"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn wrong<T>(what: String) -> Result<T, StepFailed> {
    Err(StepFailed::Check(what))
}

const CALLERS: usize = 8;
/// Of each agent.
const CALLS: usize = 4;
const CLIENTS_WITHIN: Duration = Duration::from_secs(90);
const UNATTRIBUTED: &str = "downstream.unattributed";
