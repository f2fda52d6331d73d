//! `oidc-provider` for Node.js beside Attorn: the same client credentials and the same code flow in the
//! same run. What is not alike stands in `bench/results/README.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;

use attorn_jose::{Algorithm, SigningKey};

use super::delegation::{CODE_FLOW, fixture_key};
use super::flows::{CALLBACK, FlowFigure, Site};
use super::load::Load;
use super::page::Person;
use super::{Figure, Plan, token_requests};
use crate::agent::{Addresses, Agent};
use crate::bounded::Background;
use crate::installation::{free_port, wait_for_port};
use crate::interop::{interop, node_binary};
use crate::setup;
use crate::step::StepFailed;

/// Our token endpoint and theirs, ...
const CREDENTIALS: (&str, &str) =
    ("token endpoint, ES256", "oidc-provider: client credentials, ES256");
/// ... our code flow and theirs where the person is asked each time, as ours is, ...
const ASKED: &str = "oidc-provider: code flow of a native client, asked each time, DPoP ES256";
/// ... and theirs where an earlier answer holds.
const HELD: &str = "oidc-provider: code flow of a web client, asked before, DPoP ES256";
/// Everything that is measured here.
pub(super) const CASES: [&str; 3] = [CREDENTIALS.1, ASKED, HELD];
/// It takes any name and any password.
const ANN: Person = Person { name: "ann", password: "any" };

/// A running provider.
#[derive(Debug)]
pub(super) struct Provider {
    address: SocketAddr,
    addresses: Addresses,
    key: SigningKey,
    running: Background,
}

impl Provider {
    pub(super) fn start() -> Result<Self, StepFailed> {
        setup::npm()?;
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let key = fixture_key(Algorithm::Es256, 9)?;
        let mut command = Command::new(node_binary());
        command.arg(interop("clients/bench-provider.mjs"));
        command.args([&port.to_string(), CALLBACK, &key.public().to_jwk(Some("worker"))]);
        command.env("NODE_ENV", "production").stdout(Stdio::null()).stderr(Stdio::null());
        let running = Background::start("oidc-provider", &mut command)?;
        wait_for_port(port)?;
        let issuer = format!("http://{address}");
        // A resource of it is only a name.
        let addresses = Addresses { issuer, authority: address, admin: address, gateway: address };
        Ok(Self { address, addresses, key, running })
    }

    fn client(&self, id: &str) -> Agent {
        Agent::with_key(id, self.key.clone(), self.addresses.clone())
    }

    /// `private_key_jwt` and a proof, as an agent of ours.
    pub(super) fn credentials(
        &self,
        plan: &Plan,
        connections: usize,
    ) -> Result<Option<Figure>, StepFailed> {
        let load = Load {
            peer: self.address,
            connections,
            lasts: plan.lasts,
            rate: None,
            tls: None,
            make: token_requests(&Arc::new(self.client("worker")), Some("read:echo")),
        };
        plan.measure(CREDENTIALS.1, self.running.process(), &load)
    }

    /// Flows of both kinds of client.
    pub(super) fn flows(
        &self,
        plan: &Plan,
        browsers: usize,
    ) -> Result<Vec<FlowFigure>, StepFailed> {
        let resource = self.addresses.resource("bench");
        let mut figures = Vec::new();
        for (name, client) in [(ASKED, "desk"), (HELD, "site")] {
            let site = Site {
                peer: self.address,
                authorize: "/auth",
                application: &self.client(client),
                resource: &resource,
                scope: "read:echo",
                person: ANN,
            };
            let measured = plan.measure_flows(name, self.running.process(), (&site, browsers))?;
            figures.extend(measured);
        }
        Ok(figures)
    }
}

/// Says how CPU time compares, where both sides of a pair were measured.
pub(super) fn print_ratios(figures: &[Figure], flows: &[FlowFigure]) {
    let calls = figures.iter().map(|one| (one.name.as_str(), one.connections, one.cpu_us_per_call));
    let flows = flows.iter().map(|one| (one.name.as_str(), one.connections, one.cpu_us_per_flow));
    let all: Vec<_> = calls.chain(flows).collect();
    ratios(&all).iter().for_each(|line| println!("{line}"));
}

fn ratios(all: &[(&str, usize, f64)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (ours, theirs) in [CREDENTIALS, (CODE_FLOW, ASKED), (CODE_FLOW, HELD)] {
        for (_, connections, cpu) in all.iter().filter(|(name, ..)| *name == ours) {
            let other = all.iter().find(|(name, at, _)| *name == theirs && at == connections);
            let Some((.., other)) = other else { continue };
            let times = other / cpu.max(0.001);
            lines.push(format!(
                "{ours}, {connections} connections: {theirs} takes {times:.2} times the CPU"
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_same_connections() {
        let all = [
            (CREDENTIALS.0, 1, 100.0),
            (CREDENTIALS.0, 32, 200.0),
            (CREDENTIALS.1, 32, 300.0),
            (CODE_FLOW, 8, 400.0),
            (HELD, 8, 100.0),
            (ASKED, 1, 100.0),
        ];
        let lines = ratios(&all);
        let [credentials, flow] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(credentials.contains(", 32 connections") && credentials.contains(" 1.50 times"));
        assert!(flow.starts_with(CODE_FLOW) && flow.contains(HELD) && flow.contains(" 0.25 times"));
    }
}
