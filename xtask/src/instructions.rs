//! `cargo xtask instructions`: how many instructions the pure steps of a call take, counted by
//! valgrind, against `bench/instructions.json`.
//!
//! A count hardly depends on the machine, so it can be a gate where a time cannot: a second parse or
//! a second signature shows at once. Counted is the build that the tests use; the cryptographic
//! library is optimised in every build.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;

use attorn_audit::{Entry, Kind};
use attorn_jose::{Algorithm, HeaderCache, SigningKey, sha256};
use attorn_mcp::{Revision, parse_client_message};
use attorn_oauth::dpop::{self, NewProof, NonceKey, NoncePolicy, ProofExpectation, new_proof};
use attorn_policy::{Operation, PolicySet, decide};
use attorn_registry::{PolicySource, ScopeSet};

use crate::agent::call_body;
use crate::bounded::output_within;
use crate::fuzz::world::{Ask, World};
use crate::step::{StepFailed, root};
use crate::tls_installation::hello;

/// So much more than the file says is taken for a change of compiler or library, in percent.
const SLACK_PERCENT: u64 = 10;
/// What one operation takes is the difference of two runs by this.
const TIMES: u64 = 20;
const COUNTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(120);
const FILE: &str = "bench/instructions.json";
const NOW_S: u64 = 1_800_000_000;
const URL: &str = "https://gateway.example/billing/mcp";
const TOKEN: &str = "the-access-token";

/// A step of a call that has no outside.
struct Part {
    name: &'static str,
    /// Does it so often.
    work: fn(u64) -> Result<(), String>,
}

const PARTS: [Part; 5] = [
    Part { name: "verify a proof, EdDSA", work: |times| verify(Algorithm::EdDsa, times) },
    Part { name: "verify a proof, ES256", work: |times| verify(Algorithm::Es256, times) },
    Part { name: "parse a message", work: parse },
    Part { name: "decide, asked before", work: decide_again },
    Part { name: "write an entry", work: append },
];

/// Counts every part; with `write`, the file is made anew instead of compared with.
///
/// # Errors
/// When valgrind is missing, or a part takes more than it may.
pub fn run(write: bool) -> Result<(), StepFailed> {
    let path = root().join(FILE);
    let failed = |source| StepFailed::File { path: path.clone(), source };
    let mut counts = BTreeMap::new();
    for Part { name, .. } in PARTS {
        let (few, many) = (counted(name, 1)?, counted(name, 1 + TIMES)?);
        counts.insert(name.to_owned(), many.saturating_sub(few) / TIMES);
    }
    if write {
        let text = serde_json::to_string_pretty(&counts).unwrap_or_default();
        return std::fs::write(&path, text + "\n").map_err(failed);
    }
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let allowed: BTreeMap<String, u64> = serde_json::from_str(&text)
        .map_err(|error| StepFailed::Check(format!("{FILE}: {error}")))?;
    let mut over = Vec::new();
    for (name, count) in &counts {
        let allowed = allowed.get(name).copied().unwrap_or_default();
        println!("{name}: {count} instructions, {allowed} in {FILE}");
        if *count > allowed + allowed * SLACK_PERCENT / 100 {
            over.push(name.as_str());
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    let over = over.join("; ");
    Err(StepFailed::Check(format!(
        "more than {SLACK_PERCENT} % over {FILE}: {over}. If that is meant: `cargo xtask instructions --write`"
    )))
}

/// Does one part so often; what [`run`] counts.
///
/// # Errors
/// When there is no such part, or it does not do what it should.
pub fn do_part(name: &str, times: u64) -> Result<(), StepFailed> {
    let part = PARTS.iter().find(|part| part.name == name);
    let part = part.ok_or_else(|| StepFailed::Check(format!("no part `{name}`")))?;
    (part.work)(times).map_err(StepFailed::Check)
}

fn counted(name: &str, times: u64) -> Result<u64, StepFailed> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(format!("/proc/{}/exe", std::process::id()));
    command.args(["count-part", name, &times.to_string()]);
    let output = output_within("valgrind", COUNTED_WITHIN, &mut command)?;
    let text = String::from_utf8_lossy(&output.stderr);
    // ==1234== I refs:        1,234,567
    let line = text.lines().find_map(|line| line.split_once("refs:"));
    let number: String = line
        .map(|(_, rest)| rest.chars().filter(char::is_ascii_digit).collect())
        .unwrap_or_default();
    match number.parse() {
        Ok(count) if output.status.success() => Ok(count),
        _ => Err(StepFailed::Check(format!("{name}: valgrind does not count: {text}"))),
    }
}

fn verify(algorithm: Algorithm, times: u64) -> Result<(), String> {
    let key = SigningKey::from_seed(algorithm, &[7; 32]).map_err(|error| error.to_string())?;
    let nonces = NonceKey::new(&[1; 32]).map_err(|error| error.to_string())?;
    let nonce = nonces.mint(NOW_S - 5, &[1; 12]);
    let proof = NewProof {
        htm: "POST",
        htu: URL,
        iat_s: NOW_S,
        jti: "proof-1",
        access_token: Some(TOKEN),
        nonce: Some(&nonce),
    };
    let text = new_proof(&key, &proof).map_err(|error| error.to_string())?;
    let (digest, jkt) = (sha256(TOKEN.as_bytes()), key.public().thumbprint());
    let cache = HeaderCache::new(64);
    let expected = ProofExpectation {
        algorithms: &Algorithm::ALL,
        htm: "POST",
        htu: URL,
        access_token: Some((&digest, &jkt)),
        nonce: NoncePolicy::Required(&nonces),
        header_cache: Some(&cache),
    };
    for _ in 0..times {
        let verified = dpop::verify(black_box(&text), &expected, NOW_S);
        drop(black_box(verified.map_err(|error| error.to_string())?));
    }
    Ok(())
}

fn parse(times: u64) -> Result<(), String> {
    let body = call_body("echo", &hello()).to_string();
    for _ in 0..times {
        let document =
            attorn_json::parse(black_box(body.as_bytes()), &attorn_json::Limits::MESSAGE)
                .map_err(|error| error.to_string())?;
        let message = parse_client_message(&document, Revision::V2026_07_28);
        drop(black_box(message.map_err(|error| error.to_string())?));
    }
    Ok(())
}

fn decide_again(times: u64) -> Result<(), String> {
    let world = World::new()?;
    let source = PolicySource { version: 7, text: PolicySet::starter_text().to_owned() };
    let policies = PolicySet::compile(&source).map_err(|error| format!("{error:?}"))?;
    let scope = ScopeSet::parse("read:get").map_err(|error| error.to_string())?;
    let ask =
        Ask { server: "crm", operation: Operation::Tool("get"), scope: &scope, arguments: None };
    // The first time is another matter: it compiles and remembers.
    for _ in 0..=times {
        let permitted = world.ask(&policies, &ask, |request| decide(black_box(request)).is_ok());
        if permitted != Some(true) {
            return Err("the call is not permitted".to_owned());
        }
    }
    Ok(())
}

fn append(times: u64) -> Result<(), String> {
    let text = |text: &str| Some(text.to_owned());
    let entry = Entry {
        agent: text("agt_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        agent_key: text("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        arguments_digest: text("hmac-sha256:0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        decision_id: text("dec_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        owner: text("own_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        scope: text("read:echo"),
        server: text("srv_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        tool: text("echo"),
        trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
        ..Entry::new(Kind::CallDecided, NOW_S * 1000)
    };
    for _ in 0..times {
        let _hash = black_box(sha256(&black_box(&entry).to_canonical()));
    }
    Ok(())
}
