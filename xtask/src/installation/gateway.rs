//! A gateway in a process of its own, beside the installation that it follows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;

use super::wait_for_port;
use crate::step::StepFailed;

/// A gateway in a process of its own; it is stopped when dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl GatewayProcess {
    /// Waits until the process listens.
    pub(super) fn started(
        address: SocketAddr,
        folder: PathBuf,
        child: Child,
    ) -> Result<Self, StepFailed> {
        let gateway = Self { address, folder, child };
        wait_for_port(address.port())
            .map_err(|error| StepFailed::Check(format!("{error}\n{}", gateway.log())))?;
        Ok(gateway)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its own journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join("state").join("journal")
    }

    /// What the process printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("serve.log")).unwrap_or_default()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
