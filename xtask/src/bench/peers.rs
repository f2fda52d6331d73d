//! Processes to compare with: started for one run, stopped when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::agent::unique;
use crate::installation::wait_for_port;
use crate::step::StepFailed;

/// A running reference.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    measured: u32,
    folder: Option<PathBuf>,
}

impl Peer {
    /// One of the processes in [`super::parts`].
    pub(crate) fn part(task: &'static str, port: u16, to: Option<u16>) -> Result<Self, StepFailed> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // The running program, also when a build has put another one in its place meanwhile.
        let this = "/proc/self/exe";
        let mut command = Command::new(this);
        command.arg(task).arg(address.to_string());
        if let Some(to) = to {
            command.arg(SocketAddr::from((Ipv4Addr::LOCALHOST, to)).to_string());
        }
        let child = started(command.stdin(Stdio::null()), task)?;
        wait_for_port(port)?;
        let measured = child.id();
        Ok(Self { name: "bare hyper proxy", address, child, measured, folder: None })
    }

    /// nginx as a plain proxy with one worker, or nothing where it is not installed.
    pub(crate) fn nginx(port: u16, to: u16) -> Result<Option<Self>, StepFailed> {
        if !crate::step::answers("nginx", &["-v"]) {
            println!("nginx is not installed and is left out");
            return Ok(None);
        }
        let folder = std::env::temp_dir().join(format!("attorn-nginx-{}", unique()));
        let config = folder.join("nginx.conf");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&config, nginx_config(&folder, port, to)))
            .map_err(|source| StepFailed::File { path: config.clone(), source })?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(&config).stderr(Stdio::null());
        let child = started(&mut command, "nginx")?;
        wait_for_port(port)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let measured = worker_of(child.id()).unwrap_or_else(|| child.id());
        Ok(Some(Self { name: "nginx", address, child, measured, folder: Some(folder) }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process whose CPU time counts.
    pub(crate) fn process(&self) -> u32 {
        self.measured
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.folder.is_some() {
            // The master process ends its worker when asked, not when killed.
            let master = self.child.id().to_string();
            drop(Command::new("kill").args(["-QUIT", &master]).status());
            drop(self.child.wait());
        }
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

fn started(command: &mut Command, name: &str) -> Result<Child, StepFailed> {
    command.spawn().map_err(|source| StepFailed::Start { command: name.to_owned(), source })
}

/// The first child of a process.
fn worker_of(master: u32) -> Option<u32> {
    let path = format!("/proc/{master}/task/{master}/children");
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

fn nginx_config(folder: &std::path::Path, port: u16, to: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  \
         proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n  \
         uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         keepalive_requests 100000000;\n  upstream mcp {{ server 127.0.0.1:{to}; keepalive 64; \
         keepalive_requests 100000000; }}\n  \
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mcp; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}\n}}\n"
    )
}
