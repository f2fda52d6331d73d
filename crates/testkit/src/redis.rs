//! A real `redis-server` on a free loopback port, which keeps nothing on disk.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ports::free_port;

/// Ten seconds in all.
const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts one with these options, such as `["--maxmemory-policy", "allkeys-lru"]`.
    ///
    /// # Errors
    /// When `redis-server` is not installed or does not come up.
    pub fn start(options: &[&str]) -> io::Result<Self> {
        let port = free_port()?;
        Self::start_at(port, options)
    }

    /// Starts one at a port where another one was stopped.
    ///
    /// # Errors
    /// When `redis-server` is not installed or does not come up.
    pub fn start_at(port: u16, options: &[&str]) -> io::Result<Self> {
        let folder = std::env::temp_dir();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir", &folder.display().to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| {
            let hint = "redis-server does not start; `cargo xtask setup` installs it";
            io::Error::new(error.kind(), format!("{hint}: {error}"))
        })?;
        let server = Self { child, port };
        for _ in 0..LOOKS {
            if TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "redis-server is not ready"))
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it, and with it everything it remembers.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end();
    }
}
