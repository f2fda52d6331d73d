//! The suite's client scenarios, with `attorn connect` as the client.

use super::conformance;
use crate::step::{StepFailed, root};

/// Scenarios that pass. Those that answer wrongly pass when they are refused.
const SCENARIOS: &[&str] = &[
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/pre-registration",
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/authorization-server-migration",
    "auth/iss-supported",
    "auth/iss-not-advertised",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
    "auth/client-credentials-jwt",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/enterprise-managed-authorization",
    "auth/wif-jwt-bearer",
];

/// Scenarios of the suite that are not played, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "auth/2025-03-26-oauth-metadata-backcompat",
        "a server without RFC 9728 names no resource that a token could be for",
    ),
    (
        "auth/2025-03-26-oauth-endpoint-fallback",
        "a server without metadata says nothing of S256, which is not taken for granted",
    ),
    (
        "auth/client-credentials-basic",
        "a program acting for itself has a key; a secret in its place is not taken",
    ),
];

/// Runs every scenario, and fails where the suite has one that is in neither list.
pub(super) fn scenarios() -> Result<(), StepFailed> {
    let listed = conformance(&["list"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let of_suite: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("auth/"))
        .collect();
    if of_suite.is_empty() {
        return Err(StepFailed::Check("the suite lists no client scenarios".to_owned()));
    }
    let excepted = |name: &str| EXCEPTIONS.iter().find(|(known, _)| *known == name);
    for name in &of_suite {
        if !SCENARIOS.contains(name) && excepted(name).is_none() {
            return Err(StepFailed::Check(format!("the suite has `{name}`, and no list has it")));
        }
    }
    let failed: Vec<&str> =
        SCENARIOS.iter().filter(|name| !matches!(passes(name), Ok(true))).copied().collect();
    for (name, reason) in EXCEPTIONS {
        println!("client {name}: not played, {reason}");
    }
    println!("client scenarios: {} of {}", SCENARIOS.len() - failed.len(), of_suite.len());
    if failed.is_empty() {
        return Ok(());
    }
    Err(StepFailed::Check(format!("client scenarios fail: {}", failed.join(", "))))
}

fn passes(scenario: &str) -> Result<bool, StepFailed> {
    let driver = format!(
        "{} {} {}",
        crate::interop::node_binary().display(),
        root().join("tests/interop/clients/conformance.mjs").display(),
        crate::installation::binary().display()
    );
    let output = conformance(&["client", "--command", &driver, "--scenario", scenario])?;
    if output.status.success() {
        println!("client {scenario}: passed");
        return Ok(true);
    }
    println!("client {scenario}: failed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary: Vec<&str> = text.lines().rev().take(16).collect();
    summary.iter().rev().for_each(|line| println!("    {line}"));
    Ok(false)
}
