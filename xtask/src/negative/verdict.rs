//! Compares what came of a case with what must come of it, universal rules included.

use attorn_testkit::canary::Seen;
use attorn_testkit::wire::RawReply;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::rows::Expect;

/// Everything observed while a case ran.
#[derive(Debug)]
pub(super) struct Observed {
    /// The last reply.
    pub(super) reply: RawReply,
    /// Reason codes of the journal entries that the case caused.
    pub(super) reasons: Vec<String>,
    /// How often the request was sent.
    pub(super) times: usize,
    /// Outcomes of the journal entries that the case caused.
    pub(super) outcomes: Vec<String>,
    /// What reached the canary.
    pub(super) seen: Vec<Seen>,
    /// How many requests reached the second canary.
    pub(super) seen_by_other: usize,
    /// Whether the canary saw its peer go away.
    pub(super) server_left: bool,
    /// The reply issues or takes back credentials.
    pub(super) from_authority: bool,
    /// Texts that must stand in no reply: the token, the proof, the assertion as sent.
    pub(super) secrets: Vec<String>,
    /// How long the reply took, in milliseconds.
    pub(super) took_ms: u128,
}

/// What is wrong with it; empty when the case holds.
#[must_use]
pub(super) fn faults(expect: &Expect, observed: &Observed) -> Vec<String> {
    let mut faults = Vec::new();
    outcome(expect, observed, &mut faults);
    texts(expect, observed, &mut faults);
    universal(expect, observed, &mut faults);
    faults
}

fn outcome(expect: &Expect, observed: &Observed, faults: &mut Vec<String>) {
    let reply = &observed.reply;
    if !expect.status.contains(&reply.status) {
        faults.push(format!(
            "status {} instead of {:?}: {}",
            reply.status,
            expect.status,
            short(reply)
        ));
    }
    let body = reply.json().unwrap_or(Value::Null);
    let code = body.pointer("/error/code").and_then(Value::as_i64);
    if expect.rpc_code.is_some() && code != expect.rpc_code {
        faults.push(format!(
            "JSON-RPC code {code:?} instead of {:?}: {}",
            expect.rpc_code,
            short(reply)
        ));
    }
    let error = body.get("error").and_then(Value::as_str);
    if expect.oauth_error.is_some() && error != expect.oauth_error.as_deref() {
        faults.push(format!("error {error:?} instead of {:?}", expect.oauth_error));
    }
    let recorded = &observed.reasons;
    if expect.reason.is_empty() {
        if !recorded.is_empty() {
            faults.push(format!("the journal has {recorded:?}, expected nothing"));
        }
    } else if recorded.is_empty() || !recorded.iter().all(|reason| expect.reason.contains(reason)) {
        faults.push(format!("the journal has {recorded:?} instead of {:?}", expect.reason));
    }
    for (name, seen, allowed) in [
        ("the server", observed.seen.len(), expect.canary),
        ("the other server", observed.seen_by_other, expect.other),
    ] {
        if seen != allowed {
            faults.push(format!("{seen} requests reached {name}, expected {allowed}"));
        }
    }
    if observed.times == 1 && recorded.len() > 1 {
        faults.push(format!("one refusal was recorded {} times", recorded.len()));
    }
    if let Some(outcome) = &expect.outcome
        && !observed.outcomes.contains(outcome)
    {
        faults.push(format!("the journal has {:?} instead of {outcome}", observed.outcomes));
    }
    if expect.server_left && !observed.server_left {
        faults.push("the server was not told that the caller left".to_owned());
    }
}

fn texts(expect: &Expect, observed: &Observed, faults: &mut Vec<String>) {
    let reply = &observed.reply;
    let headers = |name: &str| {
        let found = reply.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("\n")
    };
    for (name, text) in &expect.header_has {
        if !headers(name).contains(text) {
            faults.push(format!("header {name} is {:?}, without `{text}`", headers(name)));
        }
    }
    for (name, text) in &expect.header_lacks {
        if headers(name).contains(text) {
            faults.push(format!("header {name} holds `{text}`"));
        }
    }
    for name in expect.header_absent.iter().filter(|name| reply.header(name).is_some()) {
        faults.push(format!("there is a header {name}: {:?}", headers(name)));
    }
    let body = reply.text();
    for text in expect.body_has.iter().filter(|text| !body.contains(text.as_str())) {
        faults.push(format!("the body lacks `{text}`: {}", short(reply)));
    }
    for text in expect.body_lacks.iter().filter(|text| body.contains(text.as_str())) {
        faults.push(format!("the body holds `{text}`"));
    }
    let reached: String =
        observed.seen.iter().map(|seen| format!("{:?} {}", seen.headers, seen.body)).collect();
    for text in expect.canary_lacks.iter().filter(|text| reached.contains(text.as_str())) {
        faults.push(format!("the server saw `{text}`"));
    }
    for text in expect.canary_has.iter().filter(|text| !reached.contains(text.as_str())) {
        faults.push(format!("the server did not see `{text}`: {reached}"));
    }
}

/// What holds for every row.
fn universal(expect: &Expect, observed: &Observed, faults: &mut Vec<String>) {
    let reply = &observed.reply;
    // Status 0 is no reply.
    if (matches!(reply.status, 401 | 403) || (observed.from_authority && reply.status != 0))
        && !reply.header("cache-control").is_some_and(|value| value.contains("no-store"))
    {
        faults.push("no `Cache-Control: no-store` where a cache must keep nothing".to_owned());
    }
    let text = format!("{:?} {}", reply.headers, reply.text());
    for secret in observed.secrets.iter().filter(|secret| secret.len() > 16) {
        if spellings(secret).iter().any(|spelling| text.contains(spelling)) {
            faults.push("the reply holds a credential that was sent".to_owned());
        }
    }
    let allowed = [-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022];
    if let Some(code) = reply.json().as_ref().and_then(|body| body.pointer("/error/code"))
        && expect.canary == 0
        && !code
            .as_i64()
            .is_some_and(|code| allowed.contains(&code) || !(-32768..=-32000).contains(&code))
    {
        faults.push(format!("JSON-RPC code {code} is not one that may be sent"));
    }
    // A page is for a person, and no client goes on after it.
    let is_page = observed.from_authority
        && reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    if reply.status == 400 && reply.json().is_none() && !is_page && !expect.refused_by_http {
        faults.push("a 400 without a JSON body makes clients fall back".to_owned());
    }
    if observed.took_ms > 3_000 {
        faults.push(format!("the reply took {} ms", observed.took_ms));
    }
}

/// A secret as it is, reversed, percent-encoded and in both alphabets of base64.
///
/// Base64 spells the same bytes in three ways, by where they start: only what does not depend on
/// the neighbours is compared.
pub(super) fn spellings(secret: &str) -> Vec<String> {
    let reversed: String = secret.chars().rev().collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let encoded = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut all = vec![secret.to_owned(), reversed, percent.to_lowercase(), percent, encoded];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for shift in 0..3 {
            let bytes = [vec![0; shift], secret.as_bytes().to_vec()].concat();
            let text = engine.encode(bytes);
            all.extend(text.get(4..text.len().saturating_sub(4)).map(str::to_owned));
        }
    }
    all
}

fn short(reply: &RawReply) -> String {
    reply.text().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_secret_inside_encoded_text() {
        let secret = "a-secret-of-some-length";
        for shift in 0..3 {
            let around = format!("{}{secret} and more", "x".repeat(shift));
            let text = STANDARD_NO_PAD.encode(around);
            assert!(spellings(secret).iter().any(|spelling| text.contains(spelling)), "{text}");
        }
        let other = STANDARD_NO_PAD.encode("another-text-of-some-length");
        assert!(!spellings(secret).iter().any(|spelling| other.contains(spelling)));
    }
}
