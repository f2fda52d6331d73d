//! `cargo xtask lock-bench`: three gateway processes under load; from the sending of a lock to the
//! moment when each of them refuses.
//!
//! One caller per gateway calls without a pause. The time of a gateway ends with the first call
//! that it refuses for the lock; a call that passes after that is a failure. Others load all three.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::agent::{Agent, call_body};
use crate::bench::peers::Peer;
use crate::installation::{GatewayProcess, Installation, free_port};
use crate::step::StepFailed;

const GATEWAYS: usize = 3;
const SERVER: &str = "bench";
/// Callers beside the probed one, at each gateway.
const LOADERS: usize = 2;
/// Proofs that are sent to all gateways at once.
const PROOFS: u32 = 30;
/// No lock may take longer, wherever.
const WITHIN: Duration = Duration::from_secs(1);

/// Sets and lifts a lock `rounds` times.
///
/// # Errors
/// When a call passes after the lock, or a lock takes longer than a second.
pub fn run(rounds: u32) -> Result<(), StepFailed> {
    let upstream_port = free_port()?;
    let _upstream = Peer::part("bench-upstream", upstream_port, None)?;
    let installation = Installation::start()?;
    let url = format!("http://127.0.0.1:{upstream_port}/mcp");
    installation.register_server(SERVER, &["--url", &url])?;
    installation.approve_all(SERVER)?;
    let gateways = (0..GATEWAYS)
        .map(|number| installation.add_gateway(&format!("gw-{number}")))
        .collect::<Result<Vec<_>, _>>()?;
    let grants: &[(&str, &[&str])] = &[(SERVER, &["read:*"])];
    let victim = installation.enroll("victim", grants)?;
    let bystander = installation.enroll("bystander", grants)?;
    proofs_count_once(&victim, &gateways)?;
    let operator = installation.operator()?;
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for gateway in &gateways {
            for _ in 0..LOADERS {
                let (agent, stop, calls) = (bystander.at(gateway.address), &stop, &calls);
                scope.spawn(move || load(&agent, stop, calls));
            }
        }
        let measured = measure(&victim, &operator, &gateways, rounds);
        stop.store(true, Ordering::Relaxed);
        report(&measured?, calls.load(Ordering::Relaxed))
    })
}

/// The same request, proof included, to all gateways at once: exactly one takes it.
fn proofs_count_once(agent: &Agent, gateways: &[GatewayProcess]) -> Result<(), StepFailed> {
    let token = agent.token(SERVER, None)?;
    let body = call_body("echo", &json!({"message": "once"}));
    for round in 0..PROOFS {
        // Every gateway's nonce in turn.
        let turn = usize::try_from(round).unwrap_or(0) % gateways.len();
        let Some(minting) = gateways.get(turn).map(|gateway| agent.at(gateway.address)) else {
            continue;
        };
        minting.send(&token, SERVER, &body)?;
        let request = minting.request(&token, SERVER, &body, &minting.gateway_nonce())?;
        let taken = std::thread::scope(|scope| {
            let uses: Vec<_> = gateways
                .iter()
                .map(|gateway| {
                    let (at, request) = (agent.at(gateway.address), &request);
                    scope.spawn(move || at.send_to_gateway(request).map(|reply| reply.status))
                })
                .collect();
            let statuses = uses.into_iter().filter_map(|one| one.join().ok()?.ok());
            statuses.filter(|status| *status == 200).count()
        });
        if taken != 1 {
            return Err(StepFailed::Check(format!("a proof was taken by {taken} gateways")));
        }
    }
    println!("{PROOFS} proofs, each sent to {GATEWAYS} gateways at once: one took it");
    Ok(())
}

/// Calls until told to stop; a token lasts two minutes.
fn load(agent: &Agent, stop: &AtomicBool, calls: &AtomicU64) {
    let body = call_body("echo", &json!({"message": "load"}));
    while !stop.load(Ordering::Relaxed) {
        let Ok(token) = agent.token(SERVER, None) else { continue };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) && !stop.load(Ordering::Relaxed) {
            if agent.send(&token, SERVER, &body).is_ok_and(|reply| reply.status == 200) {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn measure(
    victim: &Agent,
    operator: &Agent,
    gateways: &[GatewayProcess],
    rounds: u32,
) -> Result<Vec<Duration>, StepFailed> {
    let mut slowest = Vec::new();
    for round in 0..rounds {
        let admin = operator.token("admin", None)?;
        let token = victim.token(SERVER, None)?;
        let calling = AtomicU64::new(0);
        let set_at = std::sync::OnceLock::new();
        let took = std::thread::scope(|scope| {
            let probes: Vec<_> = gateways
                .iter()
                .map(|gateway| {
                    let (calling, set_at, token) = (&calling, &set_at, &token);
                    scope.spawn(move || probe(victim, gateway.address, token, calling, set_at))
                })
                .collect();
            while calling.load(Ordering::Relaxed) < u64::try_from(gateways.len()).unwrap_or(0) {
                std::thread::yield_now();
            }
            let _first = set_at.set(Instant::now());
            let target = json!({"kind": "agent", "agent": "victim"});
            let lock = json!({"target": target, "reason": "measured"});
            let lock = operator.administer(&admin, "/locks", &lock)?;
            let mut took = Duration::ZERO;
            for probe in probes {
                let one =
                    probe.join().map_err(|_| StepFailed::Check("a probe died".to_owned()))??;
                took = took.max(one);
            }
            let id = lock.get("id").and_then(|id| id.as_str()).unwrap_or_default();
            let lift = json!({"reason": "measured"});
            operator.administer(&admin, &format!("/locks/{id}/lift"), &lift)?;
            Ok::<_, StepFailed>(took)
        })?;
        if took > WITHIN {
            return Err(StepFailed::Check(format!("round {round}: a lock took {took:?}")));
        }
        slowest.push(took);
        wait_until_lifted(victim, gateways)?;
    }
    Ok(slowest)
}

/// Calls one gateway until it refuses; gives the time since the lock was sent.
fn probe(
    victim: &Agent,
    gateway: SocketAddr,
    token: &str,
    calling: &AtomicU64,
    set_at: &std::sync::OnceLock<Instant>,
) -> Result<Duration, StepFailed> {
    let agent = victim.at(gateway);
    let body = call_body("echo", &json!({"message": "probe"}));
    let mut is_calling = false;
    let began = Instant::now();
    loop {
        let reply = agent.send(token, SERVER, &body)?;
        let refused = reply.text().contains("lock.active");
        if refused {
            let took = set_at.get().map(Instant::elapsed);
            // Once refused, always refused: no other path may know less.
            for _ in 0..5 {
                if !agent.send(token, SERVER, &body)?.text().contains("lock.active") {
                    return Err(StepFailed::Check("a call passed after the lock".to_owned()));
                }
            }
            return took.ok_or_else(|| StepFailed::Check("refused before the lock".to_owned()));
        }
        if reply.status != 200 {
            return Err(StepFailed::Check(format!("{}: {}", reply.status, reply.text())));
        }
        if !std::mem::replace(&mut is_calling, true) {
            calling.fetch_add(1, Ordering::Relaxed);
        }
        if began.elapsed() > Duration::from_secs(20) {
            return Err(StepFailed::Check(format!("{gateway} never refused")));
        }
    }
}

fn wait_until_lifted(victim: &Agent, gateways: &[GatewayProcess]) -> Result<(), StepFailed> {
    let token = victim.token(SERVER, None)?;
    let body = call_body("echo", &json!({"message": "again"}));
    for gateway in gateways {
        let (agent, began) = (victim.at(gateway.address), Instant::now());
        while agent.send(&token, SERVER, &body)?.status != 200
            || agent.send(&token, SERVER, &body)?.text().contains("lock.active")
        {
            if began.elapsed() > Duration::from_secs(10) {
                let address = gateway.address;
                return Err(StepFailed::Check(format!("{address} does not know of the lift")));
            }
        }
    }
    Ok(())
}

fn report(slowest: &[Duration], calls: u64) -> Result<(), StepFailed> {
    let mut sorted = slowest.to_vec();
    sorted.sort();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    };
    let (Some(max), true) = (sorted.last(), calls > 0) else {
        return Err(StepFailed::Check("nothing was measured".to_owned()));
    };
    println!(
        "{} locks, {GATEWAYS} gateways, {calls} other calls meanwhile; until the last gateway refuses: \
         p50 {:?}, p99 {:?}, max {max:?}",
        sorted.len(),
        at(50),
        at(99),
    );
    Ok(())
}
