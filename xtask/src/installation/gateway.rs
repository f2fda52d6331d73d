//! A gateway in a process of its own, which follows an installation's authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Child;

use super::{
    Installation, Setting, WIDE, binary, create, free_port, spawn, wait_for_port, with_tls, write,
};
use crate::disk::Disk;
use crate::step::{StepFailed, output_of};

/// A gateway in a process of its own; it is stopped when dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    child: Child,
    disk: Option<Disk>,
}

impl GatewayProcess {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What the process printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("serve.log")).unwrap_or_default()
    }

    /// The folder of its own journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join("state").join("journal")
    }

    /// The disk of its journal.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    fn wait_until_ready(&mut self) -> Result<(), StepFailed> {
        wait_for_port(self.address.port())
            .map_err(|error| StepFailed::Check(format!("{error}\n{}", self.log())))
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.disk.take());
    }
}

impl Installation {
    /// Starts a gateway in a process of its own, behind the address of the first one.
    ///
    /// # Errors
    /// When a command fails, or it is not ready in time.
    pub fn add_gateway(&self, name: &str) -> Result<GatewayProcess, StepFailed> {
        self.add_gateway_on(name, &Setting::default())
    }

    /// As [`Self::add_gateway`], with more than that.
    ///
    /// # Errors
    /// As [`Self::add_gateway`], or when there is no such disk.
    pub fn add_gateway_on(
        &self,
        name: &str,
        setting: &Setting<'_>,
    ) -> Result<GatewayProcess, StepFailed> {
        let folder = self.folder().join(name);
        create(&folder)?;
        let code = folder.join("code").display().to_string();
        let register = ["gateway", "register", name, "--owner", "test-team", "--code-file", &code];
        self.cli(&register)?;
        let profile = folder.join("profile").display().to_string();
        let (binary, from) = (binary().display().to_string(), format!("@{code}"));
        let issuer = self.addresses().issuer.as_str();
        let roots = setting.pki.map(|pki| pki.path("server.pem"));
        let mut enroll = vec!["--profile", &profile, "enroll", "--url", issuer, "--code", &from];
        enroll.extend(roots.iter().flat_map(|roots| ["--roots", roots.as_str()]));
        output_of(&folder, &binary, &enroll)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = format!(
            "state = \"state\"\n[gateway]\npublic_url = \"http://{}\"\n\
             [gateway.limits]\nagent = {WIDE}\nkey = {WIDE}\nserver = {WIDE}\n\
             [follow]\nprofile = \"profile\"\n[listen]\ngateway = \"{address}\"\n{}",
            self.addresses().gateway,
            setting.more
        );
        let config = setting.pki.map(|pki| with_tls(&config, pki)).unwrap_or(config);
        write(&folder.join("attorn.toml"), &config)?;
        let journal = folder.join("state/journal");
        let disk = setting.journal_disk_mib.map(|mib| Disk::mount(&journal, mib)).transpose()?;
        let mut gateway = GatewayProcess { address, child: spawn(&folder, None)?, folder, disk };
        gateway.wait_until_ready()?;
        Ok(gateway)
    }
}
