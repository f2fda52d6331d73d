//! `cargo xtask bench`: what a call costs, beside a bare hyper proxy and nginx in the same run; what a
//! token costs, beside `oidc-provider`.
//!
//! The figure to compare is CPU time of the server's process per request, read from the operating
//! system. Calls per second depend on the load generator, which shares the machine.

mod beside;
mod browser;
mod cpu;
mod delegation;
mod flame;
mod flows;
mod growth;
mod journal;
mod load;
mod page;
pub mod parts;
pub(crate) mod peers;
mod provider;
mod streams;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use beside::Beside;
pub use flame::run_flame;
use load::{Load, MakeRequest, Measured};
use serde::Serialize;
use serde_json::{Value, json};

use crate::agent::{Agent, call_body, meta};
use crate::installation::{Installation, free_port, wait_for_port};
use crate::step::{StepFailed, output_of, root};
use crate::tls_installation::TlsInstallation;
use peers::Peer;

/// One measured case.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    connections: usize,
    calls_per_second: f64,
    cpu_us_per_call: f64,
    #[serde(flatten)]
    measured: Measured,
}

/// Which cases to run, for how long each.
#[derive(Debug)]
pub struct Plan {
    runtime: tokio::runtime::Runtime,
    lasts: Duration,
    /// Only cases whose name, connections included, holds this.
    only: Option<String>,
}

const CONNECTIONS: [usize; 3] = [1, 32, 256];

/// Runs every case for `seconds` and writes the results under `bench/results`; with `only`, those
/// cases whose name holds it, and nothing is written.
///
/// # Errors
/// When a part does not start or a case has no successful call.
pub fn run(seconds: u64, only: Option<&str>, write: bool) -> Result<(), StepFailed> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| StepFailed::Check(format!("runtime: {error}")))?;
    let lasts = Duration::from_secs(seconds);
    let plan = Plan { runtime, lasts, only: only.map(str::to_owned) };
    let upstream_port = free_port()?;
    let upstream = Peer::part("bench-upstream", upstream_port, None)?;
    let installation = Installation::start()?;
    let url = format!("http://127.0.0.1:{upstream_port}/mcp");
    installation.register_server("bench", &["--url", &url])?;
    installation.approve_all("bench")?;
    let by_certificate = tls::start(&url)?;
    let beside = Beside::start(&plan, &url)?;
    let mut figures = Vec::new();
    let mut memory = vec![("idle", cpu::memory_kib(installation.process())? / 1024)];
    for connections in CONNECTIONS {
        for peer in references(upstream_port)? {
            let load = Load {
                peer: peer.address(),
                connections,
                lasts,
                rate: None,
                tls: None,
                make: plain(peer.address()),
            };
            figures.extend(plan.measure(peer.name(), peer.process(), &load)?);
        }
        figures.extend(plan.attorn(&installation, connections)?);
        figures.extend(plan.by_certificate(&by_certificate, connections)?);
        figures.extend(beside.calls(&plan, connections)?);
    }
    let flows = beside.flows(&plan)?;
    drop(beside);
    provider::print_ratios(&figures, &flows);
    memory.push(("after 256 busy connections", cpu::memory_kib(installation.process())? / 1024));
    memory.iter().for_each(|(when, mib)| println!("memory {when}: {mib} MiB"));
    drop((installation, by_certificate));
    let count = if seconds > 1 { 10_000 } else { 200 };
    let streams = plan.part(streams::NAME, || streams::measure(&plan, &url, count))?;
    let grows = write || plan.only.is_some();
    let growth =
        if grows { plan.part(growth::NAME, || growth::measure(&plan, &url))? } else { None };
    drop(upstream);
    if let Some(only) = only {
        let is_any = !figures.is_empty() || !flows.is_empty();
        let is_any = is_any || streams.is_some() || growth.is_some();
        let none = || StepFailed::Check(format!("no case has `{only}` in its name"));
        return is_any.then_some(()).ok_or_else(none);
    }
    let journal = journal::measure(if seconds > 1 { 400_000 } else { 20_000 })?;
    if write {
        let memory: serde_json::Map<_, _> =
            memory.into_iter().map(|(when, mib)| (when.to_owned(), mib.into())).collect();
        report(&json!({
            "machine": cpu::machine(), "seconds_per_case": seconds, "figures": figures, "flows": flows,
            "memory_mib": memory, "streams": streams, "growth": growth, "journal": journal,
        }))?;
    }
    Ok(())
}

impl Plan {
    fn attorn(
        &self,
        installation: &Installation,
        connections: usize,
    ) -> Result<Vec<Figure>, StepFailed> {
        let lasts = self.lasts;
        let mut figures = Vec::new();
        for (algorithm, flags) in [("EdDSA", &[][..]), ("ES256", &["--key-type", "es256"][..])] {
            let name = format!("bench-{}-{connections}", algorithm.to_lowercase());
            let agent =
                installation.enroll_with(&name, &[("bench", &["read:*", "write:*"])], flags)?;
            let agent = Arc::new(agent);
            let gateway = installation.addresses().gateway;
            let token = agent.token("bench", None)?;
            let echo = call_body("echo", &hello());
            let note = call_body("note", &hello());
            let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}});
            for (what, body) in
                [("tools/call read", echo), ("tools/call write", note), ("tools/list", list)]
            {
                let make = protected(&agent, &token, &body);
                let load = Load { peer: gateway, connections, lasts, rate: None, make, tls: None };
                figures.extend(self.measure(
                    &format!("{what}, DPoP {algorithm}"),
                    installation.process(),
                    &load,
                )?);
            }
            let authority = installation.addresses().authority;
            let load = Load {
                peer: authority,
                connections,
                lasts,
                rate: None,
                tls: None,
                make: token_requests(&agent, None),
            };
            figures.extend(self.measure(
                &format!("token endpoint, {algorithm}"),
                installation.process(),
                &load,
            )?);
        }
        let agent = Arc::new(installation.agent(&format!("bench-eddsa-{connections}"))?);
        let token = agent.token("bench", None)?;
        let make = protected(&agent, &token, &call_body("echo", &hello()));
        let load = Load {
            peer: installation.addresses().gateway,
            connections,
            lasts,
            rate: Some(500.0),
            make,
            tls: None,
        };
        figures.extend(self.measure(
            "tools/call read, DPoP EdDSA, open loop at 500/s",
            installation.process(),
            &load,
        )?);
        Ok(figures)
    }

    fn by_certificate(
        &self,
        tls: &TlsInstallation,
        connections: usize,
    ) -> Result<Option<Figure>, StepFailed> {
        let load = Load {
            peer: tls.installation.addresses().gateway,
            connections,
            lasts: self.lasts,
            rate: None,
            make: tls::calls(tls)?,
            tls: Some(tls::secured(&tls.pki)?),
        };
        self.measure("tools/call read, mTLS", tls.installation.process(), &load)
    }

    fn wants(&self, name: &str, connections: usize) -> bool {
        let whole = format!("{name}, {connections} connections");
        self.only.as_ref().is_none_or(|only| whole.contains(only))
    }

    /// A part that is no case of its own, where it is wanted.
    fn part<T>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, StepFailed>,
    ) -> Result<Option<T>, StepFailed> {
        self.only.as_ref().is_none_or(|only| name.contains(only)).then(work).transpose()
    }

    fn measure(&self, name: &str, process: u32, load: &Load) -> Result<Option<Figure>, StepFailed> {
        if !self.wants(name, load.connections) {
            return Ok(None);
        }
        let before = cpu::micros(process)?;
        let measured = self.runtime.block_on(load::run(load))?;
        let spent = cpu::micros(process)?.saturating_sub(before);
        let calls = measured.ok + measured.other;
        if measured.ok == 0 {
            let answers = &measured.refused;
            return Err(StepFailed::Check(format!(
                "{name}, {} connections: no call succeeded; answers by status: {answers:?}",
                load.connections
            )));
        }
        let cpu_us_per_call = cpu::ratio(spent, calls);
        let calls_per_second = measured.per_second();
        println!(
            "{name}, {} connections: {calls_per_second:.0}/s, {cpu_us_per_call:.1} us CPU, p50 {} us, p99 {} us, {} others",
            load.connections, measured.p50_us, measured.p99_us, measured.other
        );
        Ok(Some(Figure {
            name: name.to_owned(),
            connections: load.connections,
            calls_per_second,
            cpu_us_per_call,
            measured,
        }))
    }
}

fn hello() -> Value {
    json!({"message": "hello"})
}

fn references(upstream: u16) -> Result<Vec<Peer>, StepFailed> {
    let mut peers = vec![Peer::part("bench-proxy", free_port()?, Some(upstream))?];
    peers.extend(Peer::nginx(free_port()?, upstream)?);
    for peer in &peers {
        wait_for_port(peer.address().port())?;
    }
    Ok(peers)
}

fn plain(peer: SocketAddr) -> MakeRequest {
    let body = call_body("echo", &hello()).to_string();
    let bytes = format!(
        "POST /mcp HTTP/1.1\r\nHost: {peer}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    Arc::new(move |_nonce| bytes.clone())
}

fn protected(agent: &Arc<Agent>, token: &str, body: &Value) -> MakeRequest {
    let (agent, token, body) = (Arc::clone(agent), token.to_owned(), body.clone());
    Arc::new(move |nonce| {
        let request = agent.request(&token, "bench", &body, nonce);
        request.map(|request| request.to_bytes()).unwrap_or_default()
    })
}

fn token_requests(agent: &Arc<Agent>, scope: Option<&'static str>) -> MakeRequest {
    let agent = Arc::clone(agent);
    Arc::new(move |nonce| {
        let request = agent.token_request_with("bench", scope, nonce);
        request.map(|request| request.to_bytes()).unwrap_or_default()
    })
}

/// Writes the results under the name of the commit they are of.
fn report(results: &Value) -> Result<(), StepFailed> {
    let commit = output_of(&root(), "git", &["rev-parse", "--short=12", "HEAD"])?;
    let mut results = results.clone();
    if let Some(members) = results.as_object_mut() {
        members.insert("commit".to_owned(), commit.trim().into());
    }
    let folder: PathBuf = root().join("bench/results");
    let path = folder.join(format!("{}.json", commit.trim()));
    let text = serde_json::to_string_pretty(&results).unwrap_or_default();
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, text + "\n"))
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    println!("written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_a_part_of_its_name() {
        let plan = |only: Option<&str>| Plan {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            lasts: Duration::ZERO,
            only: only.map(str::to_owned),
        };
        assert!(plan(None).wants("code flow", 8));
        assert!(plan(Some("flow, 8 conn")).wants("code flow", 8));
        assert!(!plan(Some("flow, 8 conn")).wants("code flow", 1));
        assert!(!plan(Some("exchange")).wants("code flow", 8));
    }
}
