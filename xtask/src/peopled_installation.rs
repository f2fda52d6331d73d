//! An installation where people log in: one person with a password, a sample server, and the host of a
//! client that is a document.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::unique;
use crate::bounded::{Background, output_within};
use crate::installation::{Installation, Setting, binary, free_port, wait_for_port};
use crate::interop::{interop, node_binary};
use crate::pki::Pki;
use crate::step::StepFailed;

/// The sample server. Its tools read (`get_invoice`), write (`add_note`), or pay.
pub const SERVER: &str = "invoices";
/// The person, who may do everything at the server that can be undone.
const NAME: &str = "ann";
/// A fixture: the installation is removed when a check is over.
const PASSWORD: &str = "correct horse battery staple";
/// Several starts of a browser on a busy machine.
const SCRIPT_WITHIN: Duration = Duration::from_secs(180);

/// The installation, and what was made for it.
#[derive(Debug)]
pub struct PeopledInstallation {
    /// The running binary.
    pub installation: Installation,
    /// The client that is a document.
    pub document: String,
    pki: Pki,
    _documents: Background,
}

impl PeopledInstallation {
    /// Starts it, and invites the person, who chooses a password in a browser.
    ///
    /// # Errors
    /// When it does not start in time, a command fails, or the browser does not get through.
    pub fn start() -> Result<Self, StepFailed> {
        let pki = Pki::make(&std::env::temp_dir().join(format!("attorn-people-{}", unique())))?;
        let (certificate, key) = (pki.path("server.pem"), pki.path("server.key"));
        let port = free_port()?;
        let documents = documents(port, &certificate, &key)?;
        let clients = format!(
            "\n[authority.clients]\nowner = \"test-team\"\nregistration = \"open\"\ndocuments = true\n\
             metadata_hosts = [\"localhost:{port}\"]\nmetadata_roots = \"{certificate}\"\n"
        );
        let setting = Setting { more: &clients, ..Setting::default() };
        let installation = Installation::start_on(&setting)?;
        let program = binary().display().to_string();
        installation.register_server(SERVER, &["--", &program, "sample-mcp-server"])?;
        installation.approve_all(SERVER)?;
        let document = format!("https://localhost:{port}/app.json");
        let made = Self { installation, document, pki, _documents: documents };
        made.invite()?;
        Ok(made)
    }

    /// Name and password of the person, as the scripts take them.
    #[must_use]
    pub fn person() -> Value {
        json!({ "name": NAME, "password": PASSWORD })
    }

    /// The owner of the server takes tokens without a proof, for all that can be undone.
    ///
    /// # Errors
    /// When the command fails.
    pub fn accept_bearer(&self) -> Result<(), StepFailed> {
        let classes = ["--class", "read", "--class", "write", "--reason", "it makes no proofs yet"];
        self.cli(&[&["server", "accept-bearer", SERVER], &classes[..]].concat())
    }

    fn cli(&self, arguments: &[&str]) -> Result<(), StepFailed> {
        self.installation.cli(arguments).map(drop)
    }

    fn invite(&self) -> Result<(), StepFailed> {
        let path = self.installation.folder().join("person.code");
        self.cli(&["person", "invite", NAME, "--code-file", &path.display().to_string()])?;
        self.cli(&["person", "grant", NAME, SERVER, "read:*", "write:*"])?;
        let code = std::fs::read_to_string(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        let issuer = &self.installation.addresses().issuer;
        let invite = json!({ "issuer": issuer, "code": code.trim() });
        let text = script("browser.mjs", &json!({ "person": Self::person(), "invite": invite }))?;
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        match report.get("ok") {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err(StepFailed::Check(format!("the invitation: {text}"))),
        }
    }
}

impl Drop for PeopledInstallation {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.pki.path("")));
    }
}

/// Runs one of the scripts in `tests/interop/clients` with its one argument, and gives back what it printed.
/// Whether it went well is in that.
///
/// # Errors
/// When it does not end in time, or printed nothing.
pub fn script(name: &str, given: &Value) -> Result<String, StepFailed> {
    let program = if name.ends_with("py") { interop(".venv/bin/python") } else { node_binary() };
    let mut command = Command::new(program);
    command.arg(interop("clients").join(name)).arg(given.to_string());
    let output = output_within(name, SCRIPT_WITHIN, &mut command)?;
    if output.stdout.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(StepFailed::Check(format!("{name} printed nothing: {errors}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn documents(port: u16, certificate: &str, key: &str) -> Result<Background, StepFailed> {
    let mut command = Command::new(node_binary());
    command.arg(interop("clients/document.mjs")).args([&port.to_string(), certificate, key]);
    let running = Background::start("document", command.stdout(Stdio::null()))?;
    wait_for_port(port)?;
    Ok(running)
}
