//! `cargo xtask fuzz-smoke`: mutated vectors against every parser, for a bounded time.
//!
//! Needs no nightly compiler: inputs are made from seeds by bit flips, cuts, repeats and splices
//! with a fixed generator, so a failure is found again by its number. It is a smoke test; it does
//! not follow coverage.

use std::time::{Duration, Instant};

use attorn_json::Limits;

use crate::step::StepFailed;

/// A parser and what must hold of whatever it accepts.
struct Target {
    name: &'static str,
    seeds: &'static [&'static str],
    check: fn(&[u8]) -> Result<bool, String>,
}

const JWK: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const JWS: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[1,2.5,"x\u00e9"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"a","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
const EVENTS: &str = ": hi\r\nid: 1\nevent: message\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\r";
const ENTRY: &str = r#"{"agent":"agt_1","decision":"deny","kind":"call.decided","reason":"tool.unknown","time_ms":1}"#;

const TARGETS: &[Target] = &[
    Target { name: "json", seeds: &[CALL, JWK, ENTRY], check: json },
    Target { name: "jws", seeds: &[JWS], check: jws },
    Target { name: "jwk", seeds: &[JWK], check: jwk },
    Target { name: "dpop", seeds: &[JWS], check: dpop },
    Target { name: "jsonrpc", seeds: &[CALL], check: jsonrpc },
    Target { name: "sse", seeds: &[EVENTS], check: sse },
    Target { name: "entry", seeds: &[ENTRY], check: entry },
];

/// Runs every target for `seconds`.
///
/// # Errors
/// When an accepted input breaks what must hold of it; a panic ends the run by itself.
pub fn smoke(seconds: u64) -> Result<(), StepFailed> {
    for target in TARGETS {
        let started = Instant::now();
        let mut random = Generator(0x9E37_79B9_7F4A_7C15);
        let (mut runs, mut accepted) = (0_u64, 0_u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..256 {
                let input = mutated(target.seeds, &mut random, runs);
                runs += 1;
                match (target.check)(&input) {
                    Ok(true) => accepted += 1,
                    Ok(false) => {}
                    Err(what) => {
                        let shown = String::from_utf8_lossy(&input).into_owned();
                        return Err(StepFailed::Check(format!(
                            "{} input {runs}: {what}: {shown}",
                            target.name
                        )));
                    }
                }
            }
        }
        if accepted == 0 {
            return Err(StepFailed::Check(format!("{}: nothing was accepted", target.name)));
        }
        println!("{}: {runs} inputs, {accepted} accepted", target.name);
    }
    Ok(())
}

/// What is accepted has one canonical form, and that form is its own.
fn json(input: &[u8]) -> Result<bool, String> {
    let Ok(document) = attorn_json::parse(input, &Limits::MESSAGE) else { return Ok(false) };
    let Ok(canonical) = attorn_json::canonical(&document) else { return Ok(true) };
    let again = attorn_json::parse(&canonical, &Limits::MESSAGE).map_err(|e| e.to_string())?;
    let twice = attorn_json::canonical(&again).map_err(|e| e.to_string())?;
    if twice == canonical { Ok(true) } else { Err("two canonical forms".to_owned()) }
}

/// A signature holds over the seed and over nothing else.
fn jws(input: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(false) };
    let Ok(compact) = attorn_jose::Compact::parse(text, &Limits::JWT) else { return Ok(false) };
    let key = attorn_jose::PublicKey::parse_jwk(JWK).map_err(|e| e.to_string())?;
    if compact.verify(&key).is_ok() && text != JWS {
        return Err("another text verifies".to_owned());
    }
    Ok(true)
}

/// An accepted key writes itself back as the same key.
fn jwk(input: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(false) };
    let Ok(key) = attorn_jose::PublicKey::parse_jwk(text) else { return Ok(false) };
    let again = attorn_jose::PublicKey::parse_jwk(&key.to_jwk(None)).map_err(|e| e.to_string())?;
    if again.thumbprint() == key.thumbprint() {
        Ok(true)
    } else {
        Err("two thumbprints".to_owned())
    }
}

/// The seed is a JWS but no proof: nothing near it may pass as one.
fn dpop(input: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(false) };
    let expected = attorn_oauth::dpop::ProofExpectation {
        algorithms: &[attorn_jose::Algorithm::EdDsa, attorn_jose::Algorithm::Es256],
        htm: "POST",
        htu: "https://gateway.example/a/mcp",
        access_token: None,
        nonce: attorn_oauth::dpop::NoncePolicy::Off,
        header_cache: None,
    };
    if attorn_oauth::dpop::verify(text, &expected, 0).is_ok() {
        return Err("a proof was accepted".to_owned());
    }
    // Counts as looked at when it got past the form of a JWS.
    Ok(attorn_jose::Compact::parse(text, &Limits::JWT).is_ok())
}

/// What is accepted is strict JSON.
fn jsonrpc(input: &[u8]) -> Result<bool, String> {
    let Ok(document) = attorn_json::parse(input, &Limits::MESSAGE) else { return Ok(false) };
    let revision = attorn_mcp::Revision::V2026_07_28;
    Ok(attorn_mcp::parse_client_message(&document, revision).is_ok())
}

/// Cut anywhere, the events are the same.
fn sse(input: &[u8]) -> Result<bool, String> {
    let whole = events(&[input]);
    let (left, right) = input.split_at(input.len() / 2);
    if whole != events(&[left, right]) {
        return Err("cut in two, other events".to_owned());
    }
    Ok(whole.is_some_and(|events| !events.is_empty()))
}

fn events(parts: &[&[u8]]) -> Option<Vec<String>> {
    let mut parser = attorn_mcp::sse::Parser::new(1 << 20);
    let mut found = Vec::new();
    for part in parts {
        parser.push(part);
        while let Some(event) = parser.next_event().ok()? {
            found.push(event.data);
        }
    }
    Some(found)
}

/// An accepted entry writes itself back byte for byte.
fn entry(input: &[u8]) -> Result<bool, String> {
    let Ok(entry) = attorn_audit::Entry::parse(input) else { return Ok(false) };
    if entry.to_canonical() == input {
        Ok(true)
    } else {
        Err("written back differently".to_owned())
    }
}

/// xorshift: fast, and the same in each run.
struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.0 % bound).unwrap_or_default()
    }
}

fn mutated(seeds: &[&str], random: &mut Generator, run: u64) -> Vec<u8> {
    let seed = seeds.get(random.below(seeds.len())).copied().unwrap_or_default();
    let mut bytes = seed.as_bytes().to_vec();
    if run.is_multiple_of(64) {
        return bytes;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => bytes.truncate(at),
            2 => bytes.insert(at, u8::try_from(random.below(256)).unwrap_or_default()),
            3 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + random.below(32)).min(bytes.len());
                let piece: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}
