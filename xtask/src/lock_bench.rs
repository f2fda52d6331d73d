//! `cargo xtask lock-bench`: three gateway processes under load; from the sending of a lock to the
//! moment when each of them refuses.
//!
//! One caller per gateway calls without a pause. The time of a gateway ends with the first call
//! that it refuses for the lock; a call that passes after that is a failure. Others load all three.
//! All of it three times: with the memory of used proofs that the gateways share, with that memory
//! stopped, and with the disks of all journals full.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attorn_testkit::redis::RedisServer;
use serde_json::json;

use crate::agent::{Agent, call_body};
use crate::bench::peers::Peer;
use crate::disk::{self, Place};
use crate::installation::{GatewayProcess, Installation, Setting, free_port};
use crate::step::StepFailed;
use crate::tls_installation::hello;

const GATEWAYS: usize = 3;
const SERVER: &str = "bench";
/// Callers beside the probed one, at each gateway.
const LOADERS: usize = 2;
/// Proofs that are sent to all gateways at once.
const PROOFS: usize = 30;
const LOCKED: &str = "lock.active";
const FULL: &str = "journal.unavailable";
/// No lock may take longer, wherever.
const WITHIN: Duration = Duration::from_secs(1);
/// The disk of each journal, large enough until it is filled, and its segments: what is set aside ahead
/// is soon used up.
const DISK_MIB: u32 = 128;
const SEGMENTS: &str = "[journal]\nsegment_mib = 1\n";
const FULL_WITHIN: Duration = Duration::from_secs(120);

/// Sets a lock `rounds` times in each of the three situations.
///
/// # Errors
/// When a call passes after the lock, or a lock takes longer than a second.
pub fn run(rounds: u32) -> Result<(), StepFailed> {
    let has_disks = match disk::alone(&["lock-bench", "--rounds", &rounds.to_string()])? {
        Place::Done => return Ok(()),
        Place::Alone => true,
        Place::Nowhere => false,
    };
    let redis = RedisServer::start(&[]);
    let redis = redis.map_err(|error| StepFailed::Check(error.to_string()))?;
    let upstream_port = free_port()?;
    let _upstream = Peer::part("bench-upstream", upstream_port, None)?;
    let more = format!("{SEGMENTS}[shared_replays]\nurl = \"{}\"\n", redis.url());
    let setting = Setting {
        more: &more,
        journal_disk_mib: has_disks.then_some(DISK_MIB),
        ..Setting::default()
    };
    let installation = Installation::start_on(&setting)?;
    let url = format!("http://127.0.0.1:{upstream_port}/mcp");
    installation.register_server(SERVER, &["--url", &url])?;
    installation.approve_all(SERVER)?;
    let gateways = (0..GATEWAYS)
        .map(|number| installation.add_gateway_on(&format!("gw-{number}"), &setting))
        .collect::<Result<Vec<_>, _>>()?;
    let grants: &[(&str, &[&str])] = &[(SERVER, &["read:*"])];
    let victim = installation.enroll("victim", grants)?;
    let bystander = installation.enroll("bystander", grants)?;
    // With a full journal nothing can be lifted again: one for each lock.
    let victims = (0..rounds as usize)
        .map(|number| installation.enroll(&victim_name(number), grants))
        .collect::<Result<Vec<_>, _>>()?;
    let operator = installation.operator()?;
    let scene = Scene { installation: &installation, gateways: &gateways, operator: &operator };
    scene.loaded(&bystander, "shared memory", || {
        scene.proofs_count_once(&victim)?;
        scene.measure(rounds, |_| scene.round(&victim, "victim"))
    })?;
    redis.stop();
    // Within a second each gateway has noticed, called or not.
    scene.wait_until_served(&victim)?;
    scene.loaded(&bystander, "shared memory stopped", || {
        scene.proofs_count_once(&victim)?;
        scene.measure(rounds, |_| scene.round(&victim, "victim"))
    })?;
    if !has_disks {
        println!("disks of the journals full: NOT MEASURED, nothing may be mounted here");
        return Ok(());
    }
    let mut prepared = Vec::new();
    for (number, agent) in victims.iter().enumerate() {
        prepared.push(Round { lift: false, ..scene.round(agent, &victim_name(number))? });
    }
    scene.fill_disks(&bystander)?;
    let mut prepared = prepared.into_iter();
    scene.loaded(&bystander, "disks of the journals full", || {
        scene.measure(rounds, |_| prepared.next().ok_or_else(|| failed("no victim left")))
    })
}

/// What is measured.
#[derive(Clone, Copy)]
struct Scene<'a> {
    installation: &'a Installation,
    gateways: &'a [GatewayProcess],
    operator: &'a Agent,
}

/// One lock: whom it hits, and the tokens that were got before.
struct Round<'a> {
    agent: &'a Agent,
    name: String,
    token: String,
    admin: String,
    lift: bool,
}

impl<'a> Scene<'a> {
    fn round(&self, agent: &'a Agent, name: &str) -> Result<Round<'a>, StepFailed> {
        let (token, admin) = (agent.token(SERVER, None)?, self.operator.token("admin", None)?);
        Ok(Round { agent, name: name.to_owned(), token, admin, lift: true })
    }

    /// The same request, proof included, to all gateways at once: exactly one takes it.
    fn proofs_count_once(&self, agent: &Agent) -> Result<(), StepFailed> {
        let token = agent.token(SERVER, None)?;
        let body = call_body("echo", &json!({"message": "once"}));
        for round in 0..PROOFS {
            // Every gateway's nonce in turn.
            let turn = round % self.gateways.len();
            let Some(minting) = self.gateways.get(turn).map(|gateway| agent.at(gateway.address))
            else {
                continue;
            };
            minting.send(&token, SERVER, &body)?;
            let request = minting.request(&token, SERVER, &body, &minting.gateway_nonce())?;
            let taken = std::thread::scope(|scope| {
                let uses: Vec<_> = self
                    .gateways
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

    /// A call just now may meet the end of the memory and be asked for a nonce once more.
    fn wait_until_served(&self, agent: &Agent) -> Result<(), StepFailed> {
        let (token, body) = (agent.token(SERVER, None)?, call_body("echo", &hello()));
        for gateway in self.gateways {
            let (at, began) = (agent.at(gateway.address), Instant::now());
            while !at.send(&token, SERVER, &body).is_ok_and(|reply| reply.status == 200) {
                if began.elapsed() > Duration::from_secs(5) {
                    return Err(failed("a gateway does not go on without the shared memory"));
                }
            }
        }
        Ok(())
    }

    /// Does the work while others call all gateways, and says what came of it.
    fn loaded(
        &self,
        bystander: &Agent,
        what: &str,
        work: impl FnOnce() -> Result<Vec<Duration>, StepFailed>,
    ) -> Result<(), StepFailed> {
        let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        let measured = std::thread::scope(|scope| {
            for gateway in self.gateways {
                for _ in 0..LOADERS {
                    let (agent, stop, calls) = (bystander.at(gateway.address), &stop, &calls);
                    scope.spawn(move || load(&agent, stop, calls));
                }
            }
            let measured = work();
            stop.store(true, Ordering::Relaxed);
            measured
        })?;
        report(what, &measured, calls.load(Ordering::Relaxed))
    }

    fn measure(
        &self,
        rounds: u32,
        mut next: impl FnMut(u32) -> Result<Round<'a>, StepFailed>,
    ) -> Result<Vec<Duration>, StepFailed> {
        let mut slowest = Vec::new();
        for number in 0..rounds {
            let round = next(number)?;
            let (answered, took) = self.lock(&round)?;
            let last = took.iter().max().copied().unwrap_or_default();
            if last > WITHIN {
                return Err(StepFailed::Check(format!(
                    "round {number}: the gateways refused {took:?} after the lock was sent, the \
                     authority answered after {answered:?}"
                )));
            }
            slowest.push(last);
        }
        Ok(slowest)
    }

    /// Sets one lock while its victim calls every gateway; the time until it is confirmed, and until
    /// each of them refuses.
    fn lock(&self, round: &Round<'_>) -> Result<(Duration, Vec<Duration>), StepFailed> {
        let calling = AtomicU64::new(0);
        let set_at = OnceLock::new();
        let everywhere = u64::try_from(self.gateways.len()).unwrap_or(0);
        let took = std::thread::scope(|scope| {
            let probes: Vec<_> = self
                .gateways
                .iter()
                .map(|gateway| {
                    let (calling, set_at) = (&calling, &set_at);
                    scope.spawn(move || probe(round, gateway.address, calling, set_at))
                })
                .collect();
            while calling.load(Ordering::Relaxed) < everywhere {
                if probes.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                    break;
                }
                std::thread::yield_now();
            }
            let sent = Instant::now();
            let _first = set_at.set(sent);
            let target = json!({"kind": "agent", "agent": round.name});
            let lock = json!({"target": target, "reason": "measured"});
            let lock = self.operator.administer(&round.admin, "/locks", &lock)?;
            let answered = sent.elapsed();
            let mut took = Vec::new();
            for probe in probes {
                took.push(probe.join().map_err(|_| failed("a probe died"))??);
            }
            let id = lock.get("id").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
            Ok::<_, StepFailed>(((answered, took), id))
        });
        let (took, id) = took?;
        if round.lift {
            let lift = json!({"reason": "measured"});
            self.operator.administer(&round.admin, &format!("/locks/{id}/lift"), &lift)?;
            wait_until_lifted(round.agent, self.gateways)?;
        }
        Ok(took)
    }

    /// Fills the disk of every journal, and then every journal: calls are refused from then on.
    fn fill_disks(&self, caller: &Agent) -> Result<(), StepFailed> {
        let gateways = self.gateways.iter().map(GatewayProcess::disk);
        for disk in gateways.chain([self.installation.disk()]).flatten() {
            disk.fill()?;
        }
        let mut nodes: Vec<_> = self.gateways.iter().map(|gateway| gateway.address).collect();
        nodes.push(self.installation.addresses().gateway);
        let token = caller.token(SERVER, None)?;
        std::thread::scope(|scope| {
            let filled: Vec<_> = nodes
                .iter()
                .map(|node| {
                    let (agent, token) = (caller.at(*node), &token);
                    scope.spawn(move || call_until_full(&agent, token))
                })
                .collect();
            filled
                .into_iter()
                .try_for_each(|one| one.join().map_err(|_| failed("a caller died"))?)
        })
    }
}

fn call_until_full(agent: &Agent, token: &str) -> Result<(), StepFailed> {
    let body = call_body("echo", &json!({"message": "fill"}));
    let began = Instant::now();
    while !agent.send(token, SERVER, &body)?.text().contains(FULL) {
        if began.elapsed() > FULL_WITHIN {
            return Err(failed("a journal does not become full"));
        }
    }
    Ok(())
}

/// Calls until told to stop; a token lasts two minutes.
fn load(agent: &Agent, stop: &AtomicBool, calls: &AtomicU64) {
    let body = call_body("echo", &json!({"message": "load"}));
    let mut token = String::new();
    while !stop.load(Ordering::Relaxed) {
        // Where no token can be issued, the last one still makes work.
        token = agent.token(SERVER, None).unwrap_or(token);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) && !stop.load(Ordering::Relaxed) {
            if agent.send(&token, SERVER, &body).is_ok() {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Calls one gateway until it refuses; gives the time since the lock was sent.
fn probe(
    round: &Round<'_>,
    gateway: SocketAddr,
    calling: &AtomicU64,
    set_at: &OnceLock<Instant>,
) -> Result<Duration, StepFailed> {
    let (agent, token) = (round.agent.at(gateway), &round.token);
    let body = call_body("echo", &json!({"message": "probe"}));
    let mut is_calling = false;
    let began = Instant::now();
    loop {
        let reply = agent.send(token, SERVER, &body)?;
        if reply.text().contains(LOCKED) {
            let took = set_at.get().map(Instant::elapsed);
            // Once refused, always refused: no other path may know less.
            for _ in 0..5 {
                if !agent.send(token, SERVER, &body)?.text().contains(LOCKED) {
                    return Err(failed("a call passed after the lock"));
                }
            }
            return took.ok_or_else(|| failed("refused before the lock"));
        }
        if reply.status != 200 && !reply.text().contains(FULL) {
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
            || agent.send(&token, SERVER, &body)?.text().contains(LOCKED)
        {
            if began.elapsed() > Duration::from_secs(10) {
                let address = gateway.address;
                return Err(StepFailed::Check(format!("{address} does not know of the lift")));
            }
        }
    }
    Ok(())
}

fn report(what: &str, slowest: &[Duration], calls: u64) -> Result<(), StepFailed> {
    let mut sorted = slowest.to_vec();
    sorted.sort();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    };
    let (Some(max), true) = (sorted.last(), calls > 0) else {
        return Err(failed("nothing was measured"));
    };
    println!(
        "{what}: {} locks, {GATEWAYS} gateways, {calls} other calls meanwhile; until the last gateway refuses: \
         p50 {:?}, p99 {:?}, max {max:?}",
        sorted.len(),
        at(50),
        at(99),
    );
    Ok(())
}

fn victim_name(number: usize) -> String {
    format!("victim-{number}")
}

fn failed(what: &str) -> StepFailed {
    StepFailed::Check(what.to_owned())
}
