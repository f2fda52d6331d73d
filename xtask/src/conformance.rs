//! `cargo xtask conformance`: the official suite, against a fixture directly and through Attorn.
//!
//! A verdict through the gateway must be the fixture's own verdict. What differs is in
//! `DIFFERENCES` with its reason, and a difference that is gone fails as well.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::bounded::{Background, output_within};
use crate::installation::{Installation, free_port, wait_for_port};
use crate::step::{StepFailed, root};

/// Scenarios whose verdict through the gateway is not the fixture's, each with the reason.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// How the suite is asked for a revision, and the name under which results are printed.
const RUNS: &[(&str, &[&str])] = &[
    ("2026-07-28", &["--requirements", "2026-07-28"]),
    ("2025-11-25", &["--requirements", "2025-11-25"]),
    ("2025-06-18", &["--spec-version", "2025-06-18"]),
];

/// Client scenarios that `attorn connect` takes part in.
const CLIENT_SCENARIOS: &[&str] = &[
    "auth/client-credentials-jwt",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/enterprise-managed-authorization",
    "auth/wif-jwt-bearer",
];

/// For one run of the suite, which asks for some forty scenarios.
const SUITE_WITHIN: Duration = Duration::from_secs(180);

/// Passed and failed checks by scenario.
type Verdicts = BTreeMap<String, (u32, u32)>;

/// Runs everything; `short` leaves all but the newest revision out.
///
/// # Errors
/// When a verdict differs and is not listed, or a client scenario fails.
pub fn run(short: bool) -> Result<(), StepFailed> {
    let port = free_port()?;
    let _fixture = start_fixture(port)?;
    server_runs(port, if short { 1 } else { RUNS.len() })?;
    client_scenarios()
}

fn server_runs(port: u16, runs: usize) -> Result<(), StepFailed> {
    let url = format!("http://127.0.0.1:{port}/mcp");
    let installation = Installation::start()?;
    installation.register_server("fixture", &["--url", &url])?;
    installation.approve_all("fixture")?;
    installation.enroll("suite", &[("fixture", &["read:*", "write:*"])])?;
    let connect = installation.connect_listen("fixture", "suite")?;
    let mut unexpected = Vec::new();
    for (name, arguments) in RUNS.iter().take(runs) {
        let direct = suite(&url, arguments)?;
        let through = suite(&connect.url, arguments)?;
        if direct.is_empty() {
            return Err(StepFailed::Check(format!("{name}: the suite ran nothing")));
        }
        unexpected.extend(compared(name, &direct, &through));
    }
    for line in &unexpected {
        println!("{line}");
    }
    if unexpected.is_empty() {
        return Ok(());
    }
    Err(StepFailed::Check(format!("{} verdicts differ", unexpected.len())))
}

fn compared(name: &str, direct: &Verdicts, through: &Verdicts) -> Vec<String> {
    let mut unexpected = Vec::new();
    let mut same = 0;
    for (scenario, verdict) in direct {
        let found = through.get(scenario).copied().unwrap_or_default();
        let listed = DIFFERENCES.iter().find(|(run, known, _)| *run == name && known == scenario);
        match (found == *verdict, listed) {
            (true, None) => same += 1,
            (false, Some((_, _, reason))) => println!("{name} {scenario} differs: {reason}"),
            (false, None) => unexpected.push(format!(
                "{name} {scenario}: {} passed, {} failed instead of {} and {}",
                found.0, found.1, verdict.0, verdict.1
            )),
            (true, Some(_)) => {
                unexpected
                    .push(format!("{name} {scenario} is the same again: take it off the list"));
            }
        }
    }
    let total = |verdicts: &Verdicts| {
        verdicts.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    println!(
        "{name}: {same} of {} scenarios with the fixture's verdict; checks passed and failed {:?} directly, {:?} through Attorn",
        direct.len(),
        total(direct),
        total(through)
    );
    unexpected
}

fn suite(url: &str, arguments: &[&str]) -> Result<Verdicts, StepFailed> {
    let output = conformance(&[&["server", "--url", url], arguments].concat())?;
    Ok(verdicts(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines such as `✓ tools-list: 4 passed, 0 failed`.
fn verdicts(text: &str) -> Verdicts {
    let mut found = Verdicts::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("✓ ").or_else(|| line.strip_prefix("✗ ")) else {
            continue;
        };
        let Some((scenario, counts)) = rest.split_once(": ") else { continue };
        let numbers: Vec<u32> =
            counts.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        if let [passed, failed, ..] = numbers.as_slice() {
            found.insert(scenario.to_owned(), (*passed, *failed));
        }
    }
    found
}

fn client_scenarios() -> Result<(), StepFailed> {
    for scenario in CLIENT_SCENARIOS {
        let driver = format!(
            "{} {} {}",
            crate::interop::node_binary().display(),
            root().join("tests/interop/clients/conformance.mjs").display(),
            crate::installation::binary().display()
        );
        let output = conformance(&["client", "--command", &driver, "--scenario", scenario])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let summary: Vec<&str> = text.lines().rev().take(12).collect();
        if !output.status.success() {
            summary.iter().rev().for_each(|line| println!("    {line}"));
            return Err(StepFailed::Check(format!("client scenario {scenario} fails")));
        }
        println!("client {scenario}: passed");
    }
    Ok(())
}

fn conformance(arguments: &[&str]) -> Result<Output, StepFailed> {
    let mut command = node();
    command.arg("node_modules/@modelcontextprotocol/conformance/dist/index.js").args(arguments);
    output_within("conformance", SUITE_WITHIN, &mut command)
}

fn node() -> Command {
    let mut command = Command::new(crate::interop::node_binary());
    command.current_dir(root().join("tests/interop"));
    command
}

fn start_fixture(port: u16) -> Result<Background, StepFailed> {
    let mut command = node();
    command.arg("fixture/server.mjs").env("PORT", port.to_string()).stdout(Stdio::null());
    let running = Background::start("fixture", &mut command)?;
    wait_for_port(port)?;
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_lines_are_read() {
        let found = verdicts(
            "✓ tools-list: 4 passed, 0 failed\n  ✗ x (extension)\n✗ y: 1 passed, 2 failed\n",
        );
        assert_eq!(found.get("tools-list"), Some(&(4, 0)));
        assert_eq!(found.get("y"), Some(&(1, 2)));
        assert_eq!(found.len(), 2);
    }
}
