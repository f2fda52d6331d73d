//! `cargo xtask interop`: other people's servers behind Attorn, other people's clients in front.

mod attribution;
mod egress;
mod events;
mod json_texts;
mod login;
mod pages;
mod people;
mod stand_in;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bounded::{Background, output_within};
use crate::installation::{Connect, Installation, free_port, wait_for_port};
use crate::step::{StepFailed, root};
use crate::tls_installation::TlsInstallation;
use crate::wrapped::Wrapped;

/// One server, one tool to call, one to hide.
struct Subject {
    server: &'static str,
    call: &'static str,
    arguments: &'static str,
    hidden: &'static str,
    /// Good ones: a server that refuses the arguments would look like a gateway that refuses the
    /// call.
    hidden_arguments: &'static str,
}

impl Subject {
    fn options(&self) -> [&'static str; 8] {
        [
            "--call",
            self.call,
            "--arguments",
            self.arguments,
            "--hidden",
            self.hidden,
            "--hidden-arguments",
            self.hidden_arguments,
        ]
    }
}

const EVERYTHING: Subject = Subject {
    server: "everything",
    call: "echo",
    arguments: r#"{"message":"hi"}"#,
    hidden: "get-sum",
    hidden_arguments: r#"{"a":1,"b":2}"#,
};
const EVERYTHING_HTTP: Subject = Subject { server: "everything-http", ..EVERYTHING };
const TIME: Subject = Subject {
    server: "time",
    call: "get_current_time",
    arguments: r#"{"timezone":"UTC"}"#,
    hidden: "convert_time",
    hidden_arguments: r#"{"source_timezone":"UTC","time":"12:00","target_timezone":"UTC"}"#,
};
/// What `attorn wrap` grants by itself is what a server calls reading.
const EVERYTHING_WRAPPED: Subject = Subject {
    server: "wrapped everything",
    hidden: "toggle-simulated-logging",
    hidden_arguments: "{}",
    ..EVERYTHING
};
/// All its tools read, so one that is not there stands for the hidden one.
const TIME_WRAPPED: Subject =
    Subject { server: "wrapped time", hidden: "set_time", hidden_arguments: "{}", ..TIME };

/// For one client: a few calls, and the start of everything on a busy machine.
const CLIENT_WITHIN: Duration = Duration::from_secs(90);

/// The Node.js that the pinned packages brought.
#[must_use]
pub fn node_binary() -> PathBuf {
    root().join("tests/interop/node_modules/node/bin/node")
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every client against every server.
    Servers,
    /// Clients with certificates.
    Certificates,
    /// `attorn wrap`.
    Wrapped,
    /// Unmodified servers that call an API.
    Egress,
    /// Clients that act for a person, who answers in a browser.
    People,
    /// People who log in at a provider, in a browser.
    Login,
    /// The pages for people, in a browser.
    Pages,
    /// Events of OCSF against its schema.
    Events,
    /// The texts of `JSONTestSuite`.
    Json,
}

/// Runs all parts, or one.
///
/// # Errors
/// At the first client that does not get what it was granted, or gets more; and at the first request that
/// does not stand for the call that caused it.
pub fn run(only: Option<Part>) -> Result<(), StepFailed> {
    let all = [
        Part::Servers,
        Part::Certificates,
        Part::Wrapped,
        Part::Egress,
        Part::People,
        Part::Login,
        Part::Pages,
        Part::Events,
        Part::Json,
    ];
    for part in all.into_iter().filter(|part| only.is_none_or(|only| only == *part)) {
        match part {
            Part::Servers => {
                let port = free_port()?;
                let _http = everything_over_http(port)?;
                with_servers(port)?;
            }
            Part::Certificates => with_certificates()?,
            Part::Wrapped => wrapped()?,
            Part::Egress => egress::run()?,
            Part::People => people::run()?,
            Part::Login => login::run()?,
            Part::Pages => pages::run()?,
            Part::Events => events::run()?,
            Part::Json => json_texts::run()?,
        }
    }
    Ok(())
}

fn with_servers(port: u16) -> Result<(), StepFailed> {
    let installation = Installation::start()?;
    let node = node_binary().display().to_string();
    let script = everything_script().display().to_string();
    let python = interop(".venv/bin/python").display().to_string();
    let url = format!("http://127.0.0.1:{port}/mcp");
    installation.register_server("everything", &["--", &node, &script, "stdio"])?;
    let time = ["--", &python, "-m", "mcp_server_time", "--local-timezone", "UTC"];
    installation.register_server("time", &time)?;
    installation.register_server("everything-http", &["--url", &url])?;
    for subject in [&EVERYTHING, &TIME, &EVERYTHING_HTTP] {
        installation.approve_all(subject.server)?;
        one_server(&installation, subject)?;
    }
    Ok(())
}

/// The official Python client through `attorn connect` with a certificate, and plain `curl` with
/// the same one; a token of one certificate is of no use with another.
fn with_certificates() -> Result<(), StepFailed> {
    let tls = TlsInstallation::start()?;
    let python = interop(".venv/bin/python").display().to_string();
    let time = ["--", &python, "-m", "mcp_server_time", "--local-timezone", "UTC"];
    tls.installation.register_server("time", &time)?;
    tls.installation.approve_all("time")?;
    tls.grant("billing", "time", "read:get_current_time")?;
    tls.grant("billing", "time", "write:get_current_time")?;
    tls.enroll("billing", "own")?;
    let connect = tls.installation.connect_command("time", "billing");
    for client in ["python", "typescript"] {
        check(&TIME, client, "mTLS", stdio_client(client, &TIME.options(), &connect))?;
    }
    let token = tls.token("billing", "own", "time")?;
    let call = |certificate: Option<&str>| {
        let arguments = serde_json::json!({"timezone": "UTC"});
        let bearer = vec![format!("Authorization: Bearer {token}")];
        tls.call(("time", TIME.call, &arguments), certificate, bearer, Vec::new())
    };
    for (certificate, expected) in [(Some("own"), 200), (Some("twin"), 401), (None, 401)] {
        let reply = call(certificate)?;
        let shown = certificate.unwrap_or("no certificate");
        if reply.status != expected {
            let told = reply.text();
            return Err(StepFailed::Check(format!("curl with {shown}: {} {told}", reply.status)));
        }
        println!("time by curl with {shown}: {expected}, as it should be");
    }
    Ok(())
}

/// What a person types who wants to try it, with real servers and a real client.
fn wrapped() -> Result<(), StepFailed> {
    let everything = everything_pinned()?;
    let time = interop(".venv/bin/mcp-server-time").display().to_string();
    let servers: [(&Subject, &[&str]); 2] = [
        // As the README has it, with the version that is tested.
        (&EVERYTHING_WRAPPED, &["npx", "-y", &everything]),
        (&TIME_WRAPPED, &[&time, "--local-timezone", "UTC"]),
    ];
    for (subject, upstream) in servers {
        let running = Wrapped::start(upstream)?;
        let command = stdio_client("typescript", &subject.options(), &running.connect);
        check(subject, "typescript", "the printed command", command)?;
    }
    Ok(())
}

/// The package as `npx` takes it, at the version of our lock file.
fn everything_pinned() -> Result<String, StepFailed> {
    const PACKAGE: &str = "@modelcontextprotocol/server-everything";
    let path = interop("package.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    let package: Value = serde_json::from_str(&text).unwrap_or_default();
    let version = package.pointer("/dependencies").and_then(|all| all.get(PACKAGE)?.as_str());
    let version =
        version.ok_or_else(|| StepFailed::Check(format!("{}: no version", path.display())))?;
    Ok(format!("{PACKAGE}@{version}"))
}

fn one_server(installation: &Installation, subject: &Subject) -> Result<(), StepFailed> {
    let patterns = [format!("read:{}", subject.call), format!("write:{}", subject.call)];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let name = format!("agent-of-{}", subject.server);
    let agent = installation.enroll(&name, &[(subject.server, &patterns)])?;
    let common = subject.options();
    let connect = installation.connect_command(subject.server, &name);
    let listening = installation.connect_listen(subject.server, &name)?;
    for client in ["typescript", "python"] {
        check(subject, client, "stdio", stdio_client(client, &common, &connect))?;
        check(subject, client, "loopback HTTP", http_client(client, &common, &listening))?;
    }
    let key = installation.key_of(&name).display().to_string();
    let resource = installation.addresses().resource(subject.server);
    let mut native = Command::new(node_binary());
    native.arg("clients/sdk.mjs").args(["--url", &resource, "--client-id", &agent.client_id]);
    native.args(["--key", &key, "--issuer", &installation.addresses().issuer]).args(common);
    check(subject, "typescript", "its own DPoP", native)?;
    let mut strict = Command::new(node_binary());
    strict.args(["clients/oauth4webapi.mjs", &resource, &agent.client_id, &key]);
    strict.args([subject.call, subject.arguments, subject.hidden, subject.hidden_arguments]);
    check(subject, "oauth4webapi", "its own DPoP", strict)
}

fn stdio_client(client: &str, common: &[&str], connect: &[String]) -> Command {
    let mut command = start_of(client);
    command.args(common).arg("--stdio");
    if client == "typescript" {
        command.arg("--");
    }
    command.args(connect);
    command
}

fn http_client(client: &str, common: &[&str], listening: &Connect) -> Command {
    let mut command = start_of(client);
    command.args(["--url", &listening.url]).args(common);
    command
}

fn start_of(client: &str) -> Command {
    if client == "typescript" {
        let mut command = Command::new(node_binary());
        command.arg("clients/sdk.mjs");
        command
    } else {
        let mut command = Command::new(interop(".venv/bin/python"));
        command.arg("clients/sdk.py");
        command
    }
}

fn check(
    subject: &Subject,
    client: &str,
    way: &str,
    mut command: Command,
) -> Result<(), StepFailed> {
    let shown = format!("{} by {client} over {way}", subject.server);
    command.current_dir(root().join("tests/interop"));
    let output = output_within(&shown, CLIENT_WITHIN, &mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    if output.status.success() && report.get("ok") == Some(&Value::Bool(true)) {
        println!("{shown}: ok");
        return Ok(());
    }
    Err(StepFailed::Check(format!("{shown}: {text} {}", String::from_utf8_lossy(&output.stderr))))
}

fn everything_over_http(port: u16) -> Result<Background, StepFailed> {
    let mut command = Command::new(node_binary());
    command.arg(everything_script()).arg("streamableHttp").env("PORT", port.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Background::start("everything", &mut command)?;
    wait_for_port(port)?;
    Ok(running)
}

fn everything_script() -> PathBuf {
    interop("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

/// A file of the tests with other people's programs.
#[must_use]
pub fn interop(path: &str) -> PathBuf {
    root().join("tests/interop").join(path)
}

/// Builds the binary under test, unless one is named from outside.
///
/// # Errors
/// When it does not build.
pub fn build_binary() -> Result<(), StepFailed> {
    if std::env::var_os("ATTORN_BINARY").is_some() {
        return Ok(());
    }
    crate::step::run("cargo", &["build", "--locked", "--package", "attorn"])
}
