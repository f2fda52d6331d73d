//! A real `haproxy` on loopback, which ends TLS in front of something.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ten seconds in all.
const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A running proxy. Dropping it ends the process.
#[derive(Debug)]
pub struct HaProxy(Child);

/// One port in front of another.
#[derive(Clone, Debug)]
pub struct Front {
    /// Where clients come.
    pub port: u16,
    /// Where it asks.
    pub to: u16,
    /// More words of the `bind` line, such as whether clients are asked for certificates.
    pub bind: String,
    /// What is done to requests, one `http-request` rule a line.
    pub rules: Vec<String>,
}

/// The files of a proxy: certificate and key in one PEM file each.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// What it shows to clients.
    pub server: &'a Path,
    /// What it shows to whom it asks.
    pub own: &'a Path,
    /// Whom it trusts there.
    pub roots: &'a Path,
}

impl HaProxy {
    /// Starts one in `folder` with these ports.
    ///
    /// # Errors
    /// When `haproxy` is not installed or does not come up.
    pub fn start(folder: &Path, files: Files<'_>, fronts: &[Front]) -> io::Result<Self> {
        let path: PathBuf = folder.join("haproxy.cfg");
        let parts: Vec<String> = fronts.iter().map(|front| front.text(files)).collect();
        let text = format!(
            "global\n  maxconn 256\ndefaults\n  mode http\n  timeout connect 5s\n  \
             timeout client 30s\n  timeout server 30s\n{}",
            parts.concat()
        );
        std::fs::write(&path, text)?;
        let log = std::fs::File::create(folder.join("haproxy.log"))?;
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.map_err(|error| {
            let hint = "haproxy does not start; `cargo xtask setup` installs it";
            io::Error::new(error.kind(), format!("{hint}: {error}"))
        })?;
        let proxy = Self(child);
        for front in fronts {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, front.port));
            let mut looks = 0..LOOKS;
            while TcpStream::connect(address).is_err() {
                if looks.next().is_none() {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "haproxy is not ready"));
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
        Ok(proxy)
    }
}

impl Front {
    fn text(&self, files: Files<'_>) -> String {
        let Self { port, to, bind, rules } = self;
        let rules: String = rules.iter().map(|rule| format!("  http-request {rule}\n")).collect();
        format!(
            "frontend to-{to}\n  bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1 {bind}\n{rules}  \
             default_backend at-{to}\nbackend at-{to}\n  server attorn 127.0.0.1:{to} ssl \
             verify required verifyhost localhost ca-file {} crt {} alpn h2,http/1.1\n",
            files.server.display(),
            files.roots.display(),
            files.own.display()
        )
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
