//! Cases over TLS, on an installation that asks its clients for certificates.

use std::time::{Duration, Instant};

use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_registry::AgentId;
use attorn_testkit::canary::Canary;
use attorn_testkit::canary::Seen;
use attorn_testkit::forge::{self, Signer};
use attorn_testkit::wire::RawReply;
use serde_json::Value;

use super::case::decoded;
use super::modes::{Cache, Combination, Http, Nodes};
use super::rows::{Case, Mtls};
use super::verdict::Observed;
use super::world::{World, issuer_key};
use crate::agent::{now_s, unique};
use crate::installation::{GatewayProcess, Installation};
use crate::step::StepFailed;
use crate::tls_installation::{TlsInstallation, hello};

const RECORDED_WITHIN: Duration = Duration::from_millis(1500);

/// Starts the installation in front of the same canary.
pub(super) fn start(
    canary: &Canary,
    combination: Combination,
) -> Result<TlsInstallation, StepFailed> {
    let mut tls = TlsInstallation::start_with(combination.nodes == Nodes::Two)?;
    tls.installation.register_server("canary", &["--url", &canary.url()])?;
    tls.installation.approve_all("canary")?;
    for agent in ["billing", "hosted", "selfmade", "workload"] {
        tls.grant(agent, "canary", "read:echo")?;
    }
    bound_by_key(&tls.installation, &tls.pki.path("server.pem"))?;
    tls.grant("bound", "canary", "read:echo")?;
    tls.settle()?;
    tls.http2 = combination.http == Http::Two;
    Ok(tls)
}

/// An agent that authenticates by a key and wants its tokens bound to certificates.
fn bound_by_key(installation: &Installation, roots: &str) -> Result<(), StepFailed> {
    let code = installation.state().join("bound.code").display().to_string();
    let register = ["agent", "register", "bound", "--owner", "test-team", "--binding"];
    installation.cli(&[&register[..], &["certificate", "--code-file", &code]].concat())?;
    let (issuer, code) = (&installation.addresses().issuer, format!("@{code}"));
    let enroll = ["agent", "enroll", "--url", issuer, "--roots", roots, "--code", &code];
    installation.cli(&enroll).map(drop)
}

/// Sends what a case describes and gathers everything that came of it.
pub(super) fn play(world: &World, case: &Case, mtls: &Mtls) -> Result<Observed, StepFailed> {
    let tls = world.tls()?;
    tls.go_to_second(world.is_at_second());
    let is_call = mtls.request == "call";
    if world.combination.cache == Cache::Cold {
        tls.forget_tokens();
    }
    // Got before the journal is looked at.
    let token = match mtls.request.as_str() {
        "call" => Some(token(tls, mtls, world.combination.cache)?),
        _ => None,
    };
    let mark = tls.entries(is_call, 0)?.len() as u64;
    drop((world.canary().take_seen(), world.canary().take_left(), world.other().take_seen()));
    let started = Instant::now();
    let reply = match mtls.request.as_str() {
        "call" => call(tls, mtls, token.as_deref().unwrap_or_default())?,
        "token" | "assertion" => token_reply(tls, mtls)?,
        other => return Err(StepFailed::Check(format!("{}: no request `{other}`", case.name))),
    };
    let took_ms = started.elapsed().as_millis();
    let reasons = reasons_since(tls, is_call, mark)?;
    // Looking at its own catalogue is the gateway's business, not the caller's request.
    let of_caller = |seen: &Seen| seen.rpc_method().is_none_or(|method| method == "tools/call");
    let (mut seen, mut seen_by_other) = (world.canary().take_seen(), world.other().take_seen());
    seen.retain(of_caller);
    seen_by_other.retain(of_caller);
    Ok(Observed {
        reply,
        reasons,
        times: 1,
        outcomes: Vec::new(),
        seen,
        seen_by_other: seen_by_other.len(),
        server_left: false,
        from_authority: token.is_none(),
        secrets: token.into_iter().collect(),
        took_ms,
    })
}

/// The agent's real token, or one that the issuer's own key signed with another confirmation.
///
/// Where the gateway is to know it, its owner presents the real one before.
fn token(tls: &TlsInstallation, mtls: &Mtls, cache: Cache) -> Result<String, StepFailed> {
    let agent = mtls.agent.as_deref().unwrap_or("billing");
    let own = match agent {
        "selfmade" => "registered",
        "workload" => "svid",
        _ => "own",
    };
    let own = mtls.token_with.as_deref().unwrap_or(own);
    let token = tls.token(agent, own, "canary")?;
    if cache == Cache::Warm {
        let right = Mtls { certificate: Some(own.to_owned()), ..Mtls::default() };
        let reply = call(tls, &right, &token)?;
        if reply.status != 200 {
            return Err(StepFailed::Check(format!("a right token is not taken: {}", reply.text())));
        }
    }
    let Some(cnf) = &mtls.cnf else { return Ok(token) };
    let (header, mut claims) = decoded(&token)?;
    let mut filled = cnf.to_string();
    for name in ["own", "other-ca", "expired", "longer"] {
        filled = filled.replace(&format!("${{{name}}}"), &tls.pki.thumbprint(name)?);
    }
    let cnf: Value = serde_json::from_str(&filled)
        .map_err(|error| StepFailed::Check(format!("a confirmation: {error}")))?;
    if let Some(claims) = claims.as_object_mut() {
        claims.insert("cnf".to_owned(), cnf);
        claims.insert("jti".to_owned(), unique().into());
    }
    let key = issuer_key(&tls.installation)?;
    forge::compact(&header.to_string(), &claims.to_string(), &Signer::Key(&key))
        .map_err(|error| StepFailed::Check(format!("cannot sign: {error}")))
}

fn call(tls: &TlsInstallation, mtls: &Mtls, token: &str) -> Result<RawReply, StepFailed> {
    let scheme = mtls.scheme.as_deref().unwrap_or("Bearer");
    let mut headers = headers(tls, mtls)?;
    headers.push(format!("Authorization: {scheme} {token}"));
    let options = mtls.options.iter().map(String::as_str).collect();
    let call = ("canary", "echo", &hello());
    tls.call(call, mtls.certificate.as_deref(), headers, options)
}

fn token_reply(tls: &TlsInstallation, mtls: &Mtls) -> Result<RawReply, StepFailed> {
    let resource = tls.resource("canary");
    let mut form = vec![("grant_type", "client_credentials"), ("resource", resource.as_str())];
    let assertion;
    let agent = mtls.agent.as_deref().unwrap_or("billing");
    if mtls.request == "assertion" {
        assertion = assertion_of(&tls.installation, agent)?;
        form.push(("client_assertion_type", ASSERTION_TYPE));
        form.push(("client_assertion", &assertion));
    } else {
        form.push(("client_id", tls.client_id(agent)?));
    }
    let options = mtls.options.iter().map(String::as_str).collect();
    tls.token_reply(&form, mtls.certificate.as_deref(), headers(tls, mtls)?, options)
}

fn assertion_of(installation: &Installation, agent: &str) -> Result<String, StepFailed> {
    let failed = |error: String| StepFailed::Check(format!("an assertion: {error}"));
    let agent = installation.agent(agent)?;
    let client_id = AgentId::parse(&agent.client_id).map_err(|e| failed(e.to_string()))?;
    let issuer = &installation.addresses().issuer;
    let assertion = NewAssertion { client_id: &client_id, issuer, now_s: now_s(), jti: &unique() };
    new_assertion(&agent.key, &assertion).map_err(|e| failed(e.to_string()))
}

/// `${own}` and the like stand for a certificate as a header would carry it.
fn headers(tls: &TlsInstallation, mtls: &Mtls) -> Result<Vec<String>, StepFailed> {
    let mut lines = mtls.headers.clone();
    for name in ["own", "twin", "expired", "other-ca", "joined"] {
        let (from, to) = (format!("${{{name}}}"), tls.pki.in_header(name)?);
        lines.iter_mut().for_each(|line| *line = line.replace(&from, &to));
    }
    Ok(lines)
}

/// The reasons that stand in the journal since, up to those of one more request, which goes out now.
fn reasons_since(
    tls: &TlsInstallation,
    is_call: bool,
    mark: u64,
) -> Result<Vec<String>, StepFailed> {
    tls.mark(is_call)?;
    let started = Instant::now();
    loop {
        let entries = tls.entries(is_call, mark)?;
        let found = entries.iter().filter_map(|entry| entry.get("reason")?.as_str());
        let mut reasons: Vec<String> = found.map(str::to_owned).collect();
        if let Some(end) = reasons.iter().position(|reason| reason == "frame.method") {
            reasons.truncate(end);
            return Ok(reasons);
        }
        if started.elapsed() > RECORDED_WITHIN {
            return Err(StepFailed::Check("a refusal was not recorded in time".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What no log may hold, in the form the runner looks for it.
pub(super) fn verify(tls: &TlsInstallation) -> Result<(), StepFailed> {
    tls.installation.verify_journal()?;
    let mut printed = tls.installation.log();
    printed.extend(tls.second.as_ref().map(GatewayProcess::log));
    match printed.contains("panicked at") {
        true => Err(StepFailed::Check("the TLS installation panicked".to_owned())),
        false => Ok(()),
    }
}
