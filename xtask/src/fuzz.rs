//! `cargo xtask fuzz-smoke`: mutated vectors against every parser, for a bounded time.
//!
//! Needs no nightly compiler and follows no coverage. Inputs are made from the vectors by a seeded
//! generator, so a run with the same `--seed` makes the same inputs. Inputs whose outcome is new
//! become seeds themselves. Each target has an oracle that says more than "no panic"; the list
//! with the oracles, and what a run found, is in `fuzz/README.md`.

mod access;
mod arguments;
mod assertions;
mod audit;
mod client_cert;
mod clients;
mod compact;
mod config;
mod corpus;
mod headers;
mod jose;
mod json;
mod jsonrpc;
mod lists;
mod mutate;
mod oauth;
mod openapi;
mod policy;
mod proofs;
mod provider;
mod random;
mod registry;
mod runner;
mod spell;
mod spiffe;
mod sse;
mod target;
mod urls;
mod webauthn;
pub(crate) mod world;

use std::path::PathBuf;

use crate::step::StepFailed;

pub use runner::{Ending, Plan};

use target::Target;

/// Without `--seed`.
pub const DEFAULT_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Every target there is, in the order of the list in `fuzz/README.md`.
const TARGETS: &[Target] = &[
    compact::JWT_DECODE,
    compact::JWT_VERIFY_VS_REFERENCE,
    proofs::DPOP_PROOF,
    proofs::CLIENT_ASSERTION,
    jose::JWK_JWKS,
    oauth::FORM_BODY,
    clients::REDIRECT_COMPARE,
    clients::CIMD_DOCUMENT,
    jsonrpc::JSONRPC_PARSE,
    headers::HEADER_BODY_MATCH,
    headers::BASE64_SENTINEL,
    headers::MCP_PARAM_HEADER,
    sse::SSE_PARSER,
    lists::LIST_FILTER,
    arguments::SCHEMA_CHECK,
    policy::POLICY_PARSE_EVAL,
    arguments::ARGUMENT_RULE,
    urls::URI_CANONICAL,
    audit::AUDIT_RECORD_CODEC,
    audit::AUDIT_VERIFIER,
    config::CONFIG_LOAD,
    json::JSON_STRICT,
    access::ACCESS_TOKEN,
    registry::REGISTRY_MESSAGE,
    spiffe::SPIFFE_ID,
    spiffe::SPIFFE_BUNDLE,
    client_cert::CLIENT_CERT_HEADER,
    provider::PROVIDER_DOCUMENT,
    provider::ISSUER_KEYS,
    provider::ID_TOKEN,
    assertions::JWT_GRANT,
    webauthn::PASSKEY_ANSWER,
    openapi::OPENAPI_DOCUMENT,
];

/// Parsers that no target reaches. They are named and never counted as run.
const WAITING: &[(&str, &str)] =
    &[("peer_certificate", "its parser is private to `net`; rustls verifies before it reads")];

/// Runs every target for `seconds` with the default seed.
///
/// # Errors
/// When an oracle does not hold, an input makes a parser panic, or a target accepts nothing.
pub fn smoke(seconds: u64) -> Result<(), StepFailed> {
    run(&Plan { ending: Ending::Seconds(seconds), seed: DEFAULT_SEED, target: None })
}

/// Runs the targets a plan names.
///
/// # Errors
/// As [`smoke`], and when no target has the name.
pub fn run(plan: &Plan) -> Result<(), StepFailed> {
    println!("seed {} (repeat with --seed)", plan.seed);
    for (name, why) in WAITING {
        println!("{name:<24} not run: {why}");
    }
    runner::run(TARGETS, plan)
}

/// Gives one saved input to one target again.
///
/// # Errors
/// As [`smoke`], and when the file cannot be read.
pub fn replay(target: &str, input: PathBuf) -> Result<(), StepFailed> {
    runner::replay(TARGETS, target, input)
}

/// Prints the targets with their oracles, and those that wait.
pub fn list() {
    for target in TARGETS {
        println!("{:<24} {}", target.name, target.oracle);
    }
    for (name, why) in WAITING {
        println!("{name:<24} not there: {why}");
    }
}

#[cfg(test)]
mod tests;
