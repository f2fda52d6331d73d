//! A real PostgreSQL server on a free loopback port, with a data folder that goes away with it.
//!
//! Who connects as `postgres` needs no password; everybody else has to log in.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ports::free_port;

/// Twenty seconds in all.
const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Ends the server, and takes its folder away, when nobody holds the other end of the pipe any more: a
/// test that was killed leaves nothing behind. A word instead ends the server alone.
const WATCHED: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 & server=$!
read -r word; kill -QUIT "$server"; wait "$server"
[ -n "$word" ] || rm -rf "$folder""#;

const ACCESS: &str = "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\n\
                      host all all 127.0.0.1/32 scram-sha-256\n";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct PostgresServer {
    child: Option<Child>,
    folder: PathBuf,
    port: u16,
}

/// What a server shows in TLS, as PEM text.
#[derive(Clone, Copy, Debug)]
pub struct ServerCertificate<'a> {
    /// Its chain.
    pub chain: &'a str,
    /// Its private key.
    pub key: &'a str,
}

impl PostgresServer {
    /// Starts one.
    ///
    /// # Errors
    /// When the server is not installed or does not come up.
    pub fn start() -> io::Result<Self> {
        Self::start_with(None, "")
    }

    /// Starts one with a certificate, and lines of its own in `postgresql.conf`.
    ///
    /// # Errors
    /// When the server is not installed or does not come up.
    pub fn start_with(tls: Option<ServerCertificate<'_>>, more: &str) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A sync costs nothing where files are in memory; what is tested is the same.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let folder = parent.join(format!("attorn-postgres-{}-{number}", std::process::id()));
        let port = free_port()?;
        let mut server = Self { child: None, folder, port };
        let initdb = server.program("initdb")?;
        let folder = server.folder.display().to_string();
        let options = ["-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"];
        let made = unprivileged(&initdb).args(options).arg(&folder).output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let mut settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n\
             shared_buffers = 16MB\nmax_connections = 60\n{more}\n"
        );
        if let Some(ServerCertificate { chain, key }) = tls {
            settings.push_str("ssl = on\n");
            server.write("server.crt", chain)?;
            server.write("server.key", key)?;
        }
        server.write("pg_hba.conf", ACCESS)?;
        server.write("postgresql.auto.conf", &settings)?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts it again with what it knew, at the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> io::Result<()> {
        let program = self.program("postgres")?;
        let child = unprivileged(Path::new("sh"))
            .args(["-c", WATCHED, "sh"])
            .arg(&self.folder)
            .arg(program)
            .arg("-D")
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .spawn()?;
        self.child = Some(child);
        for _ in 0..LOOKS {
            if self.query("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("the server is not ready: {log}")))
    }

    /// Takes it away as a loss of power does; what it confirmed is kept for [`Self::start_again`].
    ///
    /// # Errors
    /// When its process cannot be told.
    pub fn crash(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(mut input) = child.stdin.take() {
            input.write_all(b"keep\n")?;
        }
        child.wait().map(|_status| ())
    }

    /// The URL of a database, as the user who needs no password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in a database and gives what they printed.
    ///
    /// # Errors
    /// What the server said.
    pub fn query(&self, database: &str, sql: &str) -> io::Result<String> {
        let options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let said = Command::new("psql").args(options).arg(self.url(database)).output();
        let said = said.map_err(|error| missing(&error))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned());
        }
        Err(io::Error::other(String::from_utf8_lossy(&said.stderr).into_owned()))
    }

    /// A program of the newest version that is installed.
    fn program(&self, name: &str) -> io::Result<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|error| missing(&error))?;
        let version = |entry: &std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        let programs = versions
            .filter_map(|entry| entry.ok())
            .filter_map(|entry| Some((version(&entry)?, entry.path().join("bin").join(name))))
            .filter(|(_, program)| program.is_file());
        let newest = programs.max().map(|(_, program)| program);
        newest.ok_or_else(|| missing(&io::Error::from(io::ErrorKind::NotFound)))
    }

    /// Writes a file as the user the server runs as.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let script = "umask 077; cat > \"$1\"";
        let mut child = unprivileged(Path::new("sh"))
            .args(["-c", script, "sh"])
            .arg(self.folder.join(name))
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes())?;
        }
        if child.wait()?.success() { Ok(()) } else { Err(io::Error::other(name.to_owned())) }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            drop(child.wait());
        }
        // After a crash nobody else takes it away.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The server refuses to run as root: as root, it is started as the user Debian makes for it.
fn unprivileged(program: &Path) -> Command {
    let mut user = String::new();
    let read =
        std::fs::File::open("/proc/self/status").and_then(|mut f| f.read_to_string(&mut user));
    let is_root = read.is_ok() && user.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let mut command = Command::new(if is_root { Path::new("setpriv") } else { program });
    if is_root {
        let options = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];
        command.args(options).arg(program);
    }
    command.current_dir("/");
    command
}

fn missing(error: &io::Error) -> io::Error {
    let hint = "PostgreSQL does not start; `cargo xtask setup` installs it";
    io::Error::new(error.kind(), format!("{hint}: {error}"))
}
