//! `cargo xtask injected`: an agent that does what a hostile text tells it, 200 times.
//!
//! It holds its own key and tokens for one tool, and somebody else's stolen token. Each attempt
//! must be refused, leave one entry with the reason that is expected, and reach no server. Between
//! them, the one call it was granted must go on passing.

use std::fmt;

use attorn_jose::{Algorithm, SigningKey, sha256};
use attorn_testkit::canary::Canary;
use attorn_testkit::wire::{RawReply, RawRequest};
use serde_json::{Value, json};

use crate::agent::{Agent, call_body, unique};
use crate::installation::Installation;
use crate::step::StepFailed;

/// What is granted is read at one of two servers; both have the same tools.
const SERVER: &str = "crm";
const OTHER: &str = "billing";
const GRANTED: &str = "find";
const NOT_GRANTED: [&str; 3] = ["export", "update", "erase"];

/// One thing tried: what is sent, where, and why it is refused.
struct Attempt {
    what: String,
    to: To,
    request: RawRequest,
    reason: &'static str,
}

#[derive(Clone, Copy)]
enum To {
    Authority,
    Gateway,
}

/// Everything an attempt is made from.
struct Play<'a> {
    agent: &'a Agent,
    thief: Agent,
    /// Of another agent, with more rights.
    stolen: String,
    token: String,
    other_token: String,
}

/// Plays all attempts.
///
/// # Errors
/// When one is not refused as expected, reaches a server, or leaves no entry.
pub fn run() -> Result<(), StepFailed> {
    let canary = Canary::start(tools()).map_err(|error| failed(&"the canary", &error))?;
    let installation = Installation::start()?;
    for server in [SERVER, OTHER] {
        installation.register_server(server, &["--url", &canary.url()])?;
        installation.approve_all(server)?;
    }
    let agent =
        installation.enroll("injected", &[(SERVER, &["read:find"]), (OTHER, &["read:find"])])?;
    let victim = installation.enroll("victim", &[(SERVER, &["read:*", "write:*"])])?;
    let (seed, addresses) = (sha256(unique().as_bytes()), installation.addresses().clone());
    let own_key = SigningKey::from_seed(Algorithm::EdDsa, &seed).map_err(|e| failed(&"key", &e))?;
    let play = Play {
        thief: Agent::with_key(&agent.client_id, own_key, addresses),
        stolen: victim.token(SERVER, None)?,
        token: agent.token(SERVER, None)?,
        other_token: agent.token(OTHER, None)?,
        agent: &agent,
    };
    granted_call_passes(&play)?;
    let before = denials(&installation)?.len();
    drop(canary.take_seen());
    let mut expected = Vec::new();
    for round in 0.. {
        let attempts = play.attempts(round)?;
        for attempt in attempts.into_iter().take(ATTEMPTS - expected.len()) {
            play.send(&attempt)?;
            expected.push((attempt.what, attempt.reason));
        }
        if expected.len() >= ATTEMPTS {
            break;
        }
        granted_call_passes(&play)?;
    }
    let executed = canary.take_seen().iter().filter(|seen| !seen.body.contains(GRANTED)).count();
    let denied = denials(&installation)?.split_off(before);
    judge(&expected, &denied, executed)
}

fn judge(
    expected: &[(String, &str)],
    denied: &[String],
    executed: usize,
) -> Result<(), StepFailed> {
    let mut faults = Vec::new();
    for (number, (what, reason)) in expected.iter().enumerate() {
        let found = denied.get(number).map_or("no entry", String::as_str);
        if found != *reason {
            faults.push(format!("{what}: {found} instead of {reason}"));
        }
    }
    println!(
        "{} attempts, {executed} executed outside the grants, {} entries with their reasons",
        expected.len(),
        denied.len()
    );
    faults.iter().for_each(|fault| println!("    {fault}"));
    if executed > 0 || !faults.is_empty() || denied.len() != expected.len() {
        return Err(StepFailed::Check("an injected agent got further than it should".to_owned()));
    }
    Ok(())
}

/// The reasons of all refusals that are on record, in order.
fn denials(installation: &Installation) -> Result<Vec<String>, StepFailed> {
    let entries = installation.journal_entries(0)?;
    let denied = entries.iter().filter(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        text("decision") == "deny" && text("reason") != "possession.nonce"
    });
    Ok(denied.filter_map(|entry| entry.get("reason")?.as_str().map(str::to_owned)).collect())
}

fn granted_call_passes(play: &Play<'_>) -> Result<(), StepFailed> {
    let reply = play.agent.call(&play.token, SERVER, GRANTED, &json!({"query": "x"}))?;
    if reply.status == 200 && reply.text().contains("canary called") {
        return Ok(());
    }
    Err(StepFailed::Check(format!("the granted call: {} {}", reply.status, reply.text())))
}

impl Play<'_> {
    fn send(&self, attempt: &Attempt) -> Result<RawReply, StepFailed> {
        match attempt.to {
            To::Authority => self.agent.send_to_authority(&attempt.request),
            To::Gateway => self.agent.send_to_gateway(&attempt.request),
        }
    }

    fn attempts(&self, round: u32) -> Result<Vec<Attempt>, StepFailed> {
        let mut attempts = Vec::new();
        for tool in NOT_GRANTED {
            attempts.push(self.call(
                &format!("call {tool}"),
                &self.token,
                &call_body(tool, &json!({"query": round})),
                "scope.missing",
            )?);
            attempts.push(self.widened(tool)?);
        }
        for name in ["FIND", "find/../export", "crm.find", "*"] {
            let body = call_body(name, &json!({}));
            let what = format!("the name {name}");
            attempts.push(self.call(&what, &self.token, &body, "tool.unknown")?);
        }
        // The header cannot carry them as they are, so it says something else.
        for name in ["find ", "fi\u{200b}nd"] {
            let (body, what) = (call_body(name, &json!({})), format!("the name {name:?}"));
            attempts.push(self.call(&what, &self.token, &body, "frame.header_mismatch")?);
        }
        attempts.extend(self.other_servers()?);
        attempts.extend(self.stolen()?);
        attempts.extend(self.headers()?);
        attempts.extend(self.arguments()?);
        Ok(attempts)
    }

    /// A call as the agent makes it, with the nonce it has.
    fn call(
        &self,
        what: &str,
        token: &str,
        body: &Value,
        reason: &'static str,
    ) -> Result<Attempt, StepFailed> {
        let request = self.agent.request(token, SERVER, body, &self.agent.gateway_nonce())?;
        Ok(Attempt { what: what.to_owned(), to: To::Gateway, request, reason })
    }

    /// The token endpoint, asked for more than is granted.
    fn widened(&self, tool: &str) -> Result<Attempt, StepFailed> {
        let scope = format!("write:{tool} irreversible:{tool}");
        let request = self.agent.token_request(SERVER, Some(&scope))?;
        let what = format!("a token for {scope}");
        Ok(Attempt { what, to: To::Authority, request, reason: "exchange.scope" })
    }

    fn other_servers(&self) -> Result<Vec<Attempt>, StepFailed> {
        let body = call_body(GRANTED, &json!({}));
        let nonce = self.agent.gateway_nonce();
        let foreign = |what: &str, token: &str, server: &str, reason: &'static str| {
            let request = self.agent.request(token, server, &body, &nonce)?;
            Ok(Attempt { what: what.to_owned(), to: To::Gateway, request, reason })
        };
        Ok(vec![
            foreign("the token at another server", &self.token, OTHER, "token.audience")?,
            foreign("another server's token here", &self.other_token, SERVER, "token.audience")?,
            foreign("a server nobody knows", &self.token, "unknown", "server.unknown")?,
        ])
    }

    fn stolen(&self) -> Result<Vec<Attempt>, StepFailed> {
        let body = call_body("export", &json!({}));
        let mut attempts = Vec::new();
        let mismatch = "possession.key_mismatch";
        attempts.push(self.call("a stolen token, own key", &self.stolen, &body, mismatch)?);
        let nonce = self.agent.gateway_nonce();
        let request = self.thief.request(&self.token, SERVER, &body, &nonce)?;
        let what = "the own token, a made-up key".to_owned();
        attempts.push(Attempt { what, to: To::Gateway, request, reason: mismatch });
        let bearer = format!("Bearer {}", self.stolen);
        let mut attempt =
            self.call("a stolen token as bearer", &self.stolen, &body, "token.bearer_not_allowed")?;
        attempt.request.set_header("Authorization", Some(bearer.into_bytes()));
        attempt.request.set_header("DPoP", None);
        attempts.push(attempt);
        let mut attempt =
            self.call("a stolen token without proof", &self.stolen, &body, "possession.missing")?;
        attempt.request.set_header("DPoP", None);
        attempts.push(attempt);
        let mut attempt = self.call("no token", &self.token, &body, "token.missing")?;
        attempt.request.set_header("Authorization", None);
        attempts.push(attempt);
        // Burned by a call that passes, then sent again.
        let body = call_body(GRANTED, &json!({}));
        let again = self.call("a proof used twice", &self.token, &body, "possession.replayed")?;
        let first = self.agent.send_to_gateway(&again.request)?;
        if first.status != 200 {
            return Err(StepFailed::Check(format!("first use: {} {}", first.status, first.text())));
        }
        attempts.push(again);
        Ok(attempts)
    }

    fn headers(&self) -> Result<Vec<Attempt>, StepFailed> {
        let mismatch = "frame.header_mismatch";
        let granted = call_body(GRANTED, &json!({}));
        let hidden = call_body("export", &json!({}));
        let mut attempts = Vec::new();
        let mut with =
            |what: &str, body: &Value, reason: &'static str, headers: &[(&str, &str)]| {
                let mut attempt = self.call(what, &self.token, body, reason)?;
                for (name, value) in headers {
                    attempt.request.set_header(name, Some(value.as_bytes().to_vec()));
                }
                attempts.push(attempt);
                Ok::<(), StepFailed>(())
            };
        with("body export, header find", &hidden, mismatch, &[("Mcp-Name", "find")])?;
        with("body find, header export", &granted, mismatch, &[("Mcp-Name", "export")])?;
        with("another method", &granted, mismatch, &[("Mcp-Method", "tools/list")])?;
        with("a header's twin", &granted, mismatch, &[("Mcp_Name", "export")])?;
        with("a method override", &granted, "frame.method", &[("X-HTTP-Method-Override", "GET")])?;
        with("coded", &granted, "frame.encoding", &[("Content-Encoding", "gzip")])?;
        with("another origin", &granted, "frame.origin", &[("Origin", "https://evil.example")])?;
        with("another host", &granted, "frame.origin", &[("Host", "evil.example")])?;
        Ok(attempts)
    }

    fn arguments(&self) -> Result<Vec<Attempt>, StepFailed> {
        let granted = call_body(GRANTED, &json!({}));
        let mut attempts = Vec::new();
        let mut raw = |what: &str, reason: &'static str, text: String| {
            let mut attempt = self.call(what, &self.token, &granted, reason)?;
            attempt.request.body = text.into_bytes();
            attempts.push(attempt);
            Ok::<(), StepFailed>(())
        };
        let text = granted.to_string();
        let duplicate = "frame.duplicate_key";
        let twice = text.replace(r#""name":"find""#, r#""name":"find","name":"export""#);
        raw("two names", duplicate, twice)?;
        let escaped = text.replace(r#""name":"find""#, r#""name":"find","n\u0061me":"export""#);
        raw("two names, one escaped", duplicate, escaped)?;
        raw("a batch", "frame.batch", format!("[{text}]"))?;
        raw("deep", "frame.depth", format!("{}1{}", "[".repeat(200), "]".repeat(200)))?;
        raw("not JSON", "frame.syntax", "{".to_owned())?;
        raw("with a mark", "frame.encoding", format!("\u{feff}{text}"))?;
        Ok(attempts)
    }
}

fn failed(what: &dyn fmt::Display, error: &dyn fmt::Display) -> StepFailed {
    StepFailed::Check(format!("{what}: {error}"))
}

fn tools() -> Value {
    let schema = json!({"type": "object"});
    let tool = |name: &str, hints: Value| json!({"name": name, "description": name, "inputSchema": schema, "annotations": hints});
    json!([
        tool("find", json!({"readOnlyHint": true})),
        tool("export", json!({"readOnlyHint": true})),
        tool("update", json!({"destructiveHint": false})),
        tool("erase", json!({"destructiveHint": true}))
    ])
}

const ATTEMPTS: usize = 200;
