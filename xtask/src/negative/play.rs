//! Plays one case: what goes first, the request, what comes back, and what is put back.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attorn_testkit::canary::Script;
use attorn_testkit::http2::{self, Http2Request};
use attorn_testkit::wire::{self, RawReply, RawRequest};
use serde_json::Value;

use super::approved;
use super::case;
use super::fixtures;
use super::modes::Http;
use super::mt;
use super::rows::{Case, Expect, Http2, Upstream};
use super::verdict::Observed;
use super::world::{World, is_of_authority};
use crate::step::StepFailed;

/// How long the canary may take to see a request, or its peer leave.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// Sends what a case describes and gathers everything that came of it.
///
/// # Errors
/// When the request cannot be made or sent, or a command of the case fails.
pub(super) fn play(world: &World, case: &Case, expect: &Expect) -> Result<Observed, StepFailed> {
    if let Some(mtls) = &case.mtls {
        return mt::play(world, case, mtls);
    }
    world.begin()?;
    let base = case.base.as_deref().unwrap_or("call");
    for _ in 0..case.first_as_well {
        let request = case::build(world, case)?;
        set_upstream(world, case.upstream.as_ref())?;
        let sent = exchanged(world, case, world.peer(base)?, &request);
        sent.map_err(|error| StepFailed::Check(format!("{}: {error}", case.name)))?;
    }
    // Made before anything changes: a token is right until then, and a list is what it is.
    let approval = case.approved.as_ref().map(|wanted| approved::prepare(world, wanted));
    let approval = approval.transpose()?;
    let mut request = case::build(world, case)?;
    if let Some(approval) = approval {
        request.body = case::replaced(&request.body, "${approval}", &approval);
    }
    set_upstream(world, case.upstream.as_ref())?;
    let policy = case.policy.as_deref().map(|text| world.apply_policy(text)).transpose()?;
    let made = run_all(world, case, &case.before, None)?;
    let observed = observe(world, case, expect, &request);
    run_all(world, case, &case.after, made.as_deref())?;
    if !case.before.is_empty() {
        world.forget_tokens();
    }
    if let Some(version) = policy {
        world.restore_policy(version)?;
    }
    set_upstream(world, None)?;
    if case.upstream.as_ref().is_some_and(|upstream| upstream.rpc_method == "tools/list") {
        world.restore_tools()?;
    }
    if base == "revoke" {
        world.settle()?;
    }
    observed
}

fn observe(
    world: &World,
    case: &Case,
    expect: &Expect,
    request: &RawRequest,
) -> Result<Observed, StepFailed> {
    let base = case.base.as_deref().unwrap_or("call");
    world.mark(base)?;
    drop((world.canary().take_seen(), world.canary().take_left(), world.other().take_seen()));
    let peer = world.peer(base)?;
    let started = Instant::now();
    let mut reply = RawReply::default();
    let times = case.times.unwrap_or(1);
    for _ in 0..times {
        reply = exchanged(world, case, peer, request)
            .map_err(|error| StepFailed::Check(format!("{}: {error}", case.name)))?;
    }
    let took_ms = started.elapsed().as_millis();
    world.learn_nonce(base, &reply);
    let texts = |entries: &[Value], name: &str| -> Vec<String> {
        let found = entries.iter().filter_map(|entry| entry.get(name)?.as_str());
        found.map(str::to_owned).collect()
    };
    let tested = case.upstream.as_ref().map(|upstream| upstream.rpc_method.clone());
    let method = if base == "list" { "tools/list" } else { "tools/call" };
    let tested = tested.unwrap_or_else(|| method.to_owned());
    // Looking at its own catalogue is the gateway's business, not the caller's request.
    let of_caller = |seen: &attorn_testkit::canary::Seen| {
        seen.rpc_method().is_none_or(|method| method == tested)
    };
    let mut seen = world.canary().take_seen();
    seen.retain(of_caller);
    let mut seen_by_other = world.other().take_seen();
    seen_by_other.retain(of_caller);
    let entries = world.entries(base)?;
    // That something was used twice is told beside its refusal.
    let is_refusal = |entry: &&Value| entry.get("kind").is_none_or(|kind| kind != "token.replayed");
    // A gateway elsewhere renews a token of its own every two minutes, and hears of a new nonce then.
    let is_told_of = |text: &str| reply.text().contains(text);
    let hears = expect.reason.iter().any(|reason| reason == NONCE) || is_told_of("use_dpop_nonce");
    let is_elsewhere = world.node_count() > 1 && is_of_authority(base) && !hears;
    let is_refusal = |entry: &&Value| {
        let of_another = is_elsewhere && entry.get("reason").is_some_and(|reason| reason == NONCE);
        is_refusal(entry) && !of_another
    };
    let refusals: Vec<Value> = entries.iter().filter(is_refusal).cloned().collect();
    let server_left = expect.server_left && within(|| world.canary().take_left() > 0);
    let secrets = secrets(base, request);
    world.remember_sent(&secrets);
    Ok(Observed {
        reply,
        reasons: texts(&refusals, "reason"),
        times,
        outcomes: texts(&entries, "outcome"),
        seen,
        seen_by_other: seen_by_other.len(),
        server_left,
        // What it says of itself may be kept.
        from_authority: is_of_authority(base) && base != "discovery",
        secrets,
        took_ms,
    })
}

pub(super) fn exchanged(
    world: &World,
    case: &Case,
    peer: SocketAddr,
    request: &RawRequest,
) -> std::io::Result<RawReply> {
    let is_http2 = world.combination.http == Http::Two;
    let frames = is_http2.then(|| over_http2(request, case.http2.as_ref()));
    if case.hang_up {
        let stream = match &frames {
            Some(frames) => http2::send(peer, frames)?,
            None => wire::send(peer, request)?,
        };
        let canary = world.canary();
        within(|| canary.saw("tools/call"));
        drop(stream);
        return Ok(RawReply::default());
    }
    match &frames {
        Some(frames) => http2::exchange(peer, frames),
        None => wire::exchange(peer, request),
    }
}

fn within(holds: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < SEEN_WITHIN {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// The same request as frames, with the changes of the case.
fn over_http2(request: &RawRequest, changes: Option<&Http2>) -> Http2Request {
    let mut frames = Http2Request::from(request);
    let Some(changes) = changes else { return frames };
    let bytes =
        |(name, value): &(String, String)| (name.clone().into_bytes(), value.clone().into_bytes());
    let mut fields: Vec<_> = changes.first.iter().map(bytes).collect();
    fields.append(&mut frames.fields);
    fields.retain(|(name, _)| !changes.without.iter().any(|left| left.as_bytes() == name));
    fields.extend(changes.last.iter().map(bytes));
    Http2Request { fields, trailers: changes.trailers.iter().map(bytes).collect(), ..frames }
}

/// Runs the commands of a case and gives back the id that the last one printed.
fn run_all(
    world: &World,
    case: &Case,
    commands: &[Vec<String>],
    id: Option<&str>,
) -> Result<Option<String>, StepFailed> {
    if commands.is_empty() {
        return Ok(None);
    }
    let agent = world.identity(case.agent.as_deref().unwrap_or("alpha"))?;
    let needs = |what: &str| commands.iter().flatten().any(|word| word.contains(what));
    let jti = if needs("${jti}") {
        let (_, claims) = case::decoded(&world.token(agent, "canary")?)?;
        claims.get("jti").and_then(Value::as_str).unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    let key = agent.key.public().thumbprint().to_string();
    let mut printed = None;
    for command in commands {
        let filled = command.iter().map(|word| {
            word.replace("${jti}", &jti)
                .replace("${key}", &key)
                .replace("${client}", &agent.client_id)
                .replace("${id}", id.unwrap_or_default())
        });
        let output = world.cli(&filled.collect::<Vec<_>>())?;
        printed = output.get("id").and_then(Value::as_str).map(str::to_owned);
    }
    Ok(printed)
}

/// What a request holds that no reply and no log may hold.
fn secrets(base: &str, request: &RawRequest) -> Vec<String> {
    let credential = |name: &str| {
        name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("dpop")
    };
    let headers = request.headers.iter().filter(|(name, _)| credential(name));
    let mut found: Vec<String> = headers
        .map(|(_, value)| String::from_utf8_lossy(value).trim_start_matches("DPoP ").to_owned())
        .collect();
    if is_of_authority(base) && !matches!(base, "admin" | "enroll") {
        let form = url::form_urlencoded::parse(&request.body);
        let credentials = [
            "assertion",
            "client_assertion",
            "code",
            "code_verifier",
            "password",
            "refresh_token",
            "token",
        ];
        let form = form.filter(|(name, _)| credentials.contains(&name.as_ref()));
        found.extend(form.map(|(_, value)| value.into_owned()));
    }
    if base == "enroll"
        && let Ok(Value::Object(body)) = serde_json::from_slice(&request.body)
    {
        found.extend(body.values().filter_map(Value::as_str).map(str::to_owned));
    }
    found
}

fn set_upstream(world: &World, upstream: Option<&Upstream>) -> Result<(), StepFailed> {
    let Some(upstream) = upstream else {
        world.canary().set_script(None);
        world.canary().set_tools(fixtures::tools());
        return Ok(());
    };
    if let Some(tools) = &upstream.tools {
        let named = tools.as_str().and_then(fixtures::tools_with);
        world.canary().set_tools(named.unwrap_or_else(|| tools.clone()));
    }
    let bytes = match (&upstream.bytes, upstream.status) {
        (Some(bytes), _) => bytes.clone().into_bytes(),
        (None, Some(status)) => {
            let body = upstream.body.as_ref().map(case::made).transpose()?.unwrap_or_default();
            let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
            for (name, value) in &upstream.headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            [head.into_bytes(), b"Connection: close\r\n\r\n".to_vec(), body].concat()
        }
        (None, None) => return Ok(()),
    };
    world.canary().set_script(Some(Script {
        rpc_method: upstream.rpc_method.clone(),
        bytes,
        trickle: upstream.trickle,
        hold: Duration::from_millis(upstream.hold_ms),
        ..Script::default()
    }));
    Ok(())
}

const NONCE: &str = "possession.nonce";
