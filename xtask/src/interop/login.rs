//! A person in a browser logs in at a provider, lets an application act for them, and the application
//! calls a tool.
//!
//! The provider is `oidc-provider`, the browser Chromium without scripts, the application
//! `oauth4webapi`. Nothing of it is ours but Attorn.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attorn_jose::{Algorithm, SigningKey};
use serde_json::Value;

use super::node_binary;
use crate::agent::unique;
use crate::bounded::{Background, output_within};
use crate::installation::{Installation, Setting, binary, free_port, wait_for_port};
use crate::step::{StepFailed, root};

const CLIENT_ID: &str = "attorn-at-corp";
/// A browser starts once, and goes four ways.
const BROWSER_WITHIN: Duration = Duration::from_secs(180);

/// Runs it, and reads what the journal says of it.
///
/// # Errors
/// At the first step that does not lead where it should.
pub(super) fn run() -> Result<(), StepFailed> {
    let started = Instant::now();
    let port = free_port()?;
    let provider = format!("http://127.0.0.1:{port}");
    let key = fixture_key()?;
    let file = ClientKey::write(&key)?;
    let setting = Setting { more: &configuration(&provider, &file.0), ..Setting::default() };
    let installation = Installation::start_on(&setting)?;
    let _provider = start_provider(port, &installation, &key)?;
    let client_id = prepare(&installation)?;
    let resource = installation.addresses().resource("invoices");
    let mut browser = Command::new(node_binary());
    browser.current_dir(root().join("tests/interop")).arg("clients/login.mjs");
    browser.args([&installation.addresses().issuer, &resource, &client_id, &provider]);
    let output = output_within("a browser", BROWSER_WITHIN, &mut browser)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    if report.get("ok") != Some(&Value::Bool(true)) {
        let (told, log) = (String::from_utf8_lossy(&output.stderr), installation.log());
        return wrong(format!("the browser: {text} {told}\n{log}"));
    }
    verify(&installation, &provider)?;
    installation.verify_journal()?;
    println!("log-in at oidc-provider by Chromium: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn configuration(provider: &str, key: &str) -> String {
    format!(
        "\n[authority.clients]\nowner = \"test-team\"\n\n\
         [authority.login]\nissuer = \"{provider}\"\ndisplay_name = \"Corp\"\n\
         client_id = \"{CLIENT_ID}\"\nclient_key = \"{key}\"\n\
         scopes = [\"openid\", \"profile\", \"groups\"]\n\n\
         [authority.login.roles]\ncorp-it = [\"operator\", \"viewer\"]\n"
    )
}

fn start_provider(
    port: u16,
    installation: &Installation,
    key: &SigningKey,
) -> Result<Background, StepFailed> {
    let callback = format!("{}/login/callback", installation.addresses().issuer);
    let jwk = key.public().to_jwk(Some("attorn"));
    let mut command = Command::new(node_binary());
    command.current_dir(root().join("tests/interop")).arg("clients/provider.mjs");
    command.args([&port.to_string(), CLIENT_ID, &callback, &jwk]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Background::start("oidc-provider", &mut command)?;
    wait_for_port(port)?;
    Ok(running)
}

/// A server, Ann who may read from it and is linked, and an application. Gives the application.
fn prepare(installation: &Installation) -> Result<String, StepFailed> {
    let sample = binary().display().to_string();
    installation.register_server("invoices", &["--", &sample, "sample-mcp-server"])?;
    installation.approve_all("invoices")?;
    let code = installation.state().join("ann.code").display().to_string();
    installation.cli(&["person", "invite", "ann", "--code-file", &code])?;
    installation.cli(&["person", "link", "ann", "--subject", "ann-at-corp"])?;
    installation.cli(&["person", "grant", "ann", "invoices", "read:*"])?;
    let redirect = ["--redirect-uri", "http://127.0.0.1/callback"];
    let register = ["client", "register", "desk", "--owner", "test-team"];
    let made = installation.cli(&[&register[..], &redirect[..]].concat())?;
    let id = made.get("id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| StepFailed::Check(format!("no client: {made}")))
}

/// What the journal and the registry have of it.
fn verify(installation: &Installation, provider: &str) -> Result<(), StepFailed> {
    let entries = installation.journal_entries(0)?;
    let text = |entry: &Value, pointer: &str| {
        entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let of = |kind: &'static str| entries.iter().filter(move |entry| text(entry, "/kind") == kind);
    let at_provider = |entry: &&Value| text(entry, "/detail/provider") == provider;
    // Twice she came in; a stranger, another nonce and a second answer did not.
    let logged_in = of("identity.login").filter(at_provider).count();
    let refused: Vec<(String, String)> = of("identity.login_refused")
        .filter(at_provider)
        .map(|entry| (text(entry, "/reason"), text(entry, "/detail/check")))
        .collect();
    let expected = [("login.person_unknown", ""), ("login.token", "nonce"), ("login.state", "")];
    let is_expected = refused.iter().map(|(a, b)| (a.as_str(), b.as_str())).eq(expected);
    if logged_in != 2 || !is_expected {
        return wrong(format!("{logged_in} log-ins, refused: {refused:?}"));
    }
    let ann = installation.cli(&["person", "show", "ann"])?;
    let roles = ann.get("provided_roles").map(Value::to_string).unwrap_or_default();
    if roles != r#"["viewer","operator"]"# {
        return wrong(format!("her groups gave {roles}"));
    }
    let used = of("call.decided").any(|entry| text(entry, "/decision") == "permit");
    if used { Ok(()) } else { wrong("no call of hers was permitted".to_owned()) }
}

/// The key of the authority at the provider, in a file of its own.
struct ClientKey(String);

impl ClientKey {
    fn write(key: &SigningKey) -> Result<Self, StepFailed> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        let pem = key.to_pkcs8_pem().map_err(|error| StepFailed::Check(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("attorn-client-key-{}", unique()));
        let failed = |source| StepFailed::File { path: path.clone(), source };
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(pem.as_bytes()).map_err(failed)?;
        Ok(Self(path.display().to_string()))
    }
}

impl Drop for ClientKey {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn fixture_key() -> Result<SigningKey, StepFailed> {
    SigningKey::from_seed(Algorithm::Es256, &[61; 32])
        .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))
}

fn wrong<T>(what: String) -> Result<T, StepFailed> {
    Err(StepFailed::Check(what))
}
