//! A whole installation for a test: the real binary on loopback ports, in a folder of its own.

mod gateway;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attorn_testkit::ports;
use serde_json::Value;

pub use self::gateway::GatewayProcess;
use crate::agent::{Addresses, Agent, unique};
use crate::disk::Disk;
use crate::memory_limit::MemoryLimit;
use crate::pki::Pki;
use crate::step::{StepFailed, output_of, root};

/// Rates that a load of one agent does not reach: the checks stay on the path, and do not refuse.
const WIDE: &str = "{ per_s = 1000000, burst = 1000000 }";
/// A registry of a million agents takes its time to be read.
const START_WITHIN: Duration = Duration::from_secs(120);

/// The binary under test: the release build where `ATTORN_BINARY` names it, else the debug build.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("ATTORN_BINARY")
        .map_or_else(|| root().join("target/debug/attorn"), PathBuf::from)
}

/// A running installation; it is stopped, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Installation {
    folder: PathBuf,
    addresses: Addresses,
    /// The authorities to trust, where it speaks TLS.
    roots: Option<String>,
    child: Child,
    /// The disk of its journal alone, where it has one.
    disk: Option<Disk>,
}

/// How an installation differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// It speaks TLS, and asks clients for certificates.
    pub pki: Option<&'a Pki>,
    /// Added to its configuration file.
    pub more: &'a str,
    /// Its journal has a disk of its own, so large.
    pub journal_disk_mib: Option<u32>,
    /// Its authority is called `localhost` and not by an address: passkeys belong to a name.
    pub has_name: bool,
    /// It runs within this limit of memory.
    pub memory: Option<&'a MemoryLimit>,
}

/// A running `attorn connect --listen`; it is stopped when dropped.
#[derive(Debug)]
pub struct Connect {
    /// The URL to give to a client.
    pub url: String,
    child: Child,
}

impl Drop for Connect {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Installation {
    /// Starts the binary, enrols the first operator and creates an owner.
    ///
    /// # Errors
    /// When it does not start in time or a command fails.
    pub fn start() -> Result<Self, StepFailed> {
        Self::start_on(&Setting::default())
    }

    /// As [`Self::start`], on TLS, with clients asked for certificates.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(pki: &Pki) -> Result<Self, StepFailed> {
        Self::start_on(&Setting { pki: Some(pki), ..Setting::default() })
    }

    /// As [`Self::start`], with more than that.
    ///
    /// # Errors
    /// As [`Self::start`], or when there is no such disk.
    pub fn start_on(setting: &Setting<'_>) -> Result<Self, StepFailed> {
        let pki = setting.pki;
        let folder = std::env::temp_dir().join(format!("attorn-test-{}", unique()));
        create(&folder)?;
        let journal = folder.join("state/journal");
        let disk = setting.journal_disk_mib.map(|mib| Disk::mount(&journal, mib)).transpose()?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let authority = local(free_port()?);
        let admin = local(free_port()?);
        let gateway = local(free_port()?);
        let issuer = match pki {
            None if setting.has_name => format!("http://localhost:{}", authority.port()),
            None => format!("http://{authority}"),
            Some(_) => format!("https://localhost:{}", authority.port()),
        };
        let config = config_text(&folder, authority, admin, gateway) + setting.more;
        let config = config.replace(
            &format!("issuer = \"http://{authority}\""),
            &format!("issuer = \"{issuer}\""),
        );
        let addresses = Addresses { issuer, authority, admin, gateway };
        let config = pki.map(|pki| with_tls(&config, pki)).unwrap_or(config);
        let roots = pki.map(|pki| pki.path("server.pem"));
        write(&folder.join("attorn.toml"), &config)?;
        output_of(&folder, &binary().display().to_string(), &["init"])?;
        let child = spawn(&folder, setting.memory)?;
        let installation = Self { folder, addresses, roots, child, disk };
        installation.wait_until_ready()?;
        installation.first_operator()?;
        installation.cli(&["owner", "create", "test-team"])?;
        Ok(installation)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk of its journal.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is gone, or waits to be buried.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        status.map_or(true, |status| status.contains(") Z "))
    }

    /// What the process printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("serve.log")).unwrap_or_default()
    }

    /// The folder with state, keys and journal.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Runs one command against it and gives back what it printed as JSON.
    ///
    /// # Errors
    /// When the command does not end with zero.
    pub fn cli(&self, arguments: &[&str]) -> Result<Value, StepFailed> {
        let profile = self.profile().display().to_string();
        // Options go first: what follows `--` is a command for the server.
        let mut all = vec!["-o", "json", "--profile", &profile];
        all.extend(arguments);
        let text = output_of(&self.folder, &binary().display().to_string(), &all)?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Registers a server; `upstream` is `--url URL` or `-- COMMAND..`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn register_server(&self, name: &str, upstream: &[&str]) -> Result<(), StepFailed> {
        let mut arguments = vec!["server", "register", name, "--owner", "test-team"];
        arguments.extend(upstream);
        self.cli(&arguments).map(drop)
    }

    /// Waits until the gateway has listed the tools and confirms them all as proposed.
    ///
    /// # Errors
    /// When no tool shows up in time.
    pub fn approve_all(&self, server: &str) -> Result<(), StepFailed> {
        let started = Instant::now();
        let mut known = 0;
        loop {
            let tools = self.cli(&["tools", "list", server])?;
            let count = tools.as_array().map_or(0, Vec::len);
            // A server of both eras is listed once in each, one after the other.
            let is_settled = count > 0 && count == std::mem::replace(&mut known, count);
            if is_settled {
                return self.cli(&["tools", "approve", server]).map(drop);
            }
            if started.elapsed() > START_WITHIN {
                return Err(StepFailed::Check(format!(
                    "{server}: no tools were seen\n{}",
                    self.log()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Registers and enrols an agent with these grants.
    ///
    /// # Errors
    /// When a command fails.
    pub fn enroll(&self, name: &str, grants: &[(&str, &[&str])]) -> Result<Agent, StepFailed> {
        self.enroll_with(name, grants, &[])
    }

    /// As [`Self::enroll`], with more options for `attorn agent enroll`.
    ///
    /// # Errors
    /// When a command fails.
    pub fn enroll_with(
        &self,
        name: &str,
        grants: &[(&str, &[&str])],
        options: &[&str],
    ) -> Result<Agent, StepFailed> {
        let code = self.folder.join(format!("{name}.code")).display().to_string();
        self.cli(&["agent", "register", name, "--owner", "test-team", "--code-file", &code])?;
        let from = format!("@{code}");
        let mut enroll = vec!["agent", "enroll", "--url", &self.addresses.issuer, "--code", &from];
        enroll.extend(options);
        self.cli(&enroll)?;
        for (server, patterns) in grants {
            let mut arguments = vec!["grant", "create", name, server];
            arguments.extend(*patterns);
            self.cli(&arguments)?;
        }
        self.agent(name)
    }

    /// An agent that is enrolled already.
    ///
    /// # Errors
    /// When its files are not there.
    pub fn agent(&self, name: &str) -> Result<Agent, StepFailed> {
        self.enrolled(&self.profile().join("agents").join(name))
    }

    /// The first operator.
    ///
    /// # Errors
    /// When its files are not there.
    pub fn operator(&self) -> Result<Agent, StepFailed> {
        self.enrolled(&self.profile().join("operator"))
    }

    fn enrolled(&self, place: &Path) -> Result<Agent, StepFailed> {
        let identity = place.join("identity.toml");
        let text = std::fs::read_to_string(&identity)
            .map_err(|source| StepFailed::File { path: identity.clone(), source })?;
        let table: toml::Table = text
            .parse()
            .map_err(|error| StepFailed::Check(format!("{}: {error}", identity.display())))?;
        let client_id = table.get("client_id").and_then(toml::Value::as_str).unwrap_or_default();
        Agent::load(client_id, &place.join("key.pem"), self.addresses.clone())
    }

    /// The private key file of an enrolled agent.
    #[must_use]
    pub fn key_of(&self, name: &str) -> PathBuf {
        self.profile().join("agents").join(name).join("key.pem")
    }

    /// The command line of `attorn connect` for an agent.
    #[must_use]
    pub fn connect_command(&self, server: &str, agent: &str) -> Vec<String> {
        let profile = self.profile().display().to_string();
        let binary = binary().display().to_string();
        [&binary, "--profile", &profile, "connect", server, "--agent", agent]
            .map(str::to_owned)
            .to_vec()
    }

    /// Starts `attorn connect --listen` for the agent that is enrolled under that client id.
    ///
    /// # Errors
    /// When it prints no URL.
    pub fn connect_listen(&self, server: &str, agent: &str) -> Result<Connect, StepFailed> {
        let command = self.connect_command(server, agent);
        let (program, arguments) = command.split_first().ok_or_else(nothing)?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file(&self.folder.join("connect.log"))?)
            .spawn()
            .map_err(|source| StepFailed::Start { command: "attorn connect".to_owned(), source })?;
        let output = child.stdout.take().ok_or_else(nothing)?;
        let url = BufReader::new(output).lines().map_while(Result::ok).find_map(|line| {
            let start = line.find("http://127.0.0.1:")?;
            line.get(start..)?.split([' ', '"', '`']).next().map(str::to_owned)
        });
        let Some(url) = url else {
            let said = std::fs::read_to_string(self.folder.join("connect.log")).unwrap_or_default();
            return Err(StepFailed::Check(format!("`connect --listen` printed no URL: {said}")));
        };
        Ok(Connect { url, child })
    }

    /// Ends the process as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<(), StepFailed> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|error| StepFailed::Check(format!("kill: {error}")))
    }

    /// Starts the process again after [`Self::kill`].
    ///
    /// # Errors
    /// When it does not come up in time.
    pub fn restart(&mut self) -> Result<(), StepFailed> {
        self.child = spawn(&self.folder, None)?;
        self.wait_until_ready()
    }

    /// The journal's entries from an index on.
    ///
    /// # Errors
    /// When the journal cannot be read or does not verify.
    pub fn journal_entries(&self, from: u64) -> Result<Vec<Value>, StepFailed> {
        entries_of(&self.journal(), from)
    }

    /// Exports everything and verifies the bundle offline.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn verify_journal(&self) -> Result<(), StepFailed> {
        let bundle = self.folder.join("bundle.json").display().to_string();
        self.cli(&["audit", "export", "--to", &bundle])?;
        self.cli(&["audit", "verify", &bundle]).map(drop)
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    fn profile(&self) -> PathBuf {
        self.folder.join("profile")
    }

    fn first_operator(&self) -> Result<(), StepFailed> {
        let code = format!("@{}", self.state().join("first-admin.code").display());
        let mut enroll = vec!["enroll", "--url", &self.addresses.issuer, "--code", &code];
        enroll.extend(self.roots.iter().flat_map(|roots| ["--roots", roots.as_str()]));
        self.cli(&enroll).map(drop)
    }

    fn wait_until_ready(&self) -> Result<(), StepFailed> {
        let Addresses { authority, admin, gateway, .. } = self.addresses;
        for address in [authority, admin, gateway] {
            wait_for_port(address.port())
                .map_err(|error| StepFailed::Check(format!("{error}\n{}", self.log())))?;
        }
        Ok(())
    }
}

/// The entries of a journal from an index on.
///
/// # Errors
/// When it cannot be read or does not verify.
pub fn entries_of(journal: &Path, from: u64) -> Result<Vec<Value>, StepFailed> {
    let entries = attorn_journal::read_all(journal)
        .map_err(|error| StepFailed::Check(format!("the journal cannot be read: {error}")))?;
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    let read = entries.iter().skip(skip).filter_map(|bytes| serde_json::from_slice(bytes).ok());
    Ok(read.collect())
}

impl Drop for Installation {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.disk.take());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn config_text(
    folder: &Path,
    authority: SocketAddr,
    admin: SocketAddr,
    gateway: SocketAddr,
) -> String {
    let state = folder.join("state").display().to_string();
    format!(
        "state = \"{state}\"\n\n\
         [authority]\nissuer = \"http://{authority}\"\nadmin_url = \"http://{admin}\"\n\
         gateway_url = \"http://{gateway}\"\n\n\
         [authority.limits]\nclient = {WIDE}\n\n\
         [gateway]\npublic_url = \"http://{gateway}\"\n\n\
         [gateway.limits]\nagent = {WIDE}\nkey = {WIDE}\nserver = {WIDE}\n\
         calls_per_server = 20000\n\n\
         [listen]\nauthority = \"{authority}\"\nadmin = \"{admin}\"\ngateway = \"{gateway}\"\n"
    )
}

/// The same addresses under the one name that the test certificate has.
fn with_tls(config: &str, pki: &Pki) -> String {
    let config = config.replace("\"http://127.0.0.1:", "\"https://localhost:");
    format!(
        "{config}\n[tls]\ncertificates = \"{}\"\nkey = \"{}\"\nclient_auth = \"optional\"\n\
         client_ca = \"{}\"\n\n[[tls.spiffe]]\ntrust_domain = \"example.org\"\nbundle = \"{}\"\n\n\
         [[trusted_proxies]]\nname = \"edge\"\nlisteners = [\"authority\", \"gateway\"]\n\
         certificates = \"{}\"\n",
        pki.path("server.pem"),
        pki.path("server.key"),
        pki.path("client-ca.pem"),
        pki.path("bundle.json"),
        pki.path("proxy.pem")
    )
}

fn spawn(folder: &Path, memory: Option<&MemoryLimit>) -> Result<Child, StepFailed> {
    let log = log_file(&folder.join("serve.log"))?;
    let copy =
        log.try_clone().map_err(|source| StepFailed::File { path: folder.into(), source })?;
    // With this signal ignored, a limit on the size of files is an error for the process and not its
    // end: a check breaks the disk with it.
    let enter = memory.map(|limit| format!("echo $$ > {} && ", limit.processes().display()));
    let enter = enter.unwrap_or_default();
    Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; {enter}exec \"$0\" serve --config attorn.toml")])
        .arg(binary())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
        .map_err(|source| StepFailed::Start { command: "attorn serve".to_owned(), source })
}

fn log_file(path: &Path) -> Result<std::fs::File, StepFailed> {
    let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
    open.map_err(|source| StepFailed::File { path: path.to_path_buf(), source })
}

/// A loopback port that nobody listens on, for a process under test.
///
/// # Errors
/// When none can be bound.
pub fn free_port() -> Result<u16, StepFailed> {
    ports::free_port().map_err(|error| StepFailed::Check(format!("port: {error}")))
}

/// Waits until somebody listens on a loopback port.
///
/// # Errors
/// When nobody does in time.
pub fn wait_for_port(port: u16) -> Result<(), StepFailed> {
    let started = Instant::now();
    while started.elapsed() < START_WITHIN {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(StepFailed::Check(format!("nobody listens on port {port}")))
}

fn create(folder: &Path) -> Result<(), StepFailed> {
    std::fs::create_dir_all(folder)
        .map_err(|source| StepFailed::File { path: folder.to_path_buf(), source })
}

fn write(path: &Path, text: &str) -> Result<(), StepFailed> {
    std::fs::write(path, text)
        .map_err(|source| StepFailed::File { path: path.to_path_buf(), source })
}

fn nothing() -> StepFailed {
    StepFailed::Check("an empty command".to_owned())
}
