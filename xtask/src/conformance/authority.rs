//! The official suite's scenarios for authorization servers, against an authority where people log in, with a
//! person at a browser.
//!
//! The suite is a public client without proofs, so the owner of the server takes such here.

use serde_json::{Value, json};

use super::{Verdicts, verdicts};
use crate::installation::free_port;
use crate::peopled_installation::{PeopledInstallation, SERVER, script};
use crate::step::StepFailed;

/// All that the suite has. One that it does not run any more is noticed.
const SCENARIOS: &[&str] = &["authorization-server-metadata-endpoint", "authorization-code-grant"];
/// Scenarios that fail here, each with how many checks and why.
const EXCEPTIONS: &[(&str, u32, &str)] = &[];

pub(super) fn run() -> Result<(), StepFailed> {
    let world = PeopledInstallation::start()?;
    world.accept_bearer()?;
    // Without a port: that of a loopback address is free (RFC 8252 section 7.3).
    let register = ["client", "register", "suite", "--owner", "test-team", "--redirect-uri"];
    let register = [&register[..], &["http://127.0.0.1/callback"]].concat();
    let client = world.installation.cli(&register)?;
    let addresses = world.installation.addresses();
    let text = script(
        "authority.mjs",
        &json!({
            "issuer": addresses.issuer,
            "client_id": client.get("id").and_then(Value::as_str),
            "resource": addresses.resource(SERVER),
            "port": free_port()?,
            "person": PeopledInstallation::person(),
            "rights": ["read:get_invoice"],
        }),
    )?;
    let found = verdicts(&text);
    let unexpected = judged(&found, EXCEPTIONS);
    if unexpected.is_empty() {
        println!("authorization server: {found:?}");
        return Ok(());
    }
    Err(StepFailed::Check(format!("authorization server: {}\n{text}", unexpected.join("; "))))
}

/// What is not as it should be: each scenario passes, but for what is listed.
fn judged(found: &Verdicts, exceptions: &[(&str, u32, &str)]) -> Vec<String> {
    let judge = |scenario: &&str| {
        let (passed, failed) = found.get(*scenario).copied().unwrap_or_default();
        let listed = exceptions.iter().find(|(known, ..)| known == scenario);
        let expected = listed.map_or(0, |(_, failed, _)| *failed);
        if passed == 0 {
            return Some(format!("{scenario} passed nothing"));
        }
        (failed != expected).then(|| format!("{scenario}: {failed} failed instead of {expected}"))
    };
    SCENARIOS.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_passes_but_for_what_is_listed() {
        let found = |first, second| -> Verdicts {
            let names = SCENARIOS.iter().map(|name| (*name).to_owned());
            names.zip([first, second]).collect()
        };
        let listed = [(SCENARIOS[1], 2, "a reason")];
        assert_eq!(judged(&found((2, 0), (1, 0)), &[]).len(), 0);
        assert_eq!(judged(&found((2, 0), (1, 2)), &listed).len(), 0);
        for wrong in [found((2, 1), (1, 0)), found((0, 0), (1, 0)), Verdicts::new()] {
            assert_ne!(judged(&wrong, &[]).len(), 0, "{wrong:?}");
        }
        let gone = judged(&found((2, 0), (1, 0)), &listed);
        assert_eq!(gone.len(), 1, "what passes again leaves the list");
    }
}
