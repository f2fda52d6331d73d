//! Checks of what no single request shows: the order of record and effect, and silence.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use attorn_testkit::canary::Canary;
use attorn_testkit::wire::RawReply;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::agent::Agent;
use crate::crash;
use crate::installation::Installation;
use crate::step::StepFailed;

/// No executed call without its intent after a `kill -9`.
pub(super) const CRASH: &str = "crash";
/// A gateway whose authority is gone refuses.
pub(super) const CUT_OFF: &str = "cut-off";
/// The intent of a call that writes is on the disk when the call arrives.
pub(super) const DURABLE: &str = "durable";
/// A call whose intent cannot be written is refused.
pub(super) const JOURNAL_FAILS: &str = "journal-fails";

/// All of them.
pub(super) const ALL: [&str; 4] = [CRASH, CUT_OFF, DURABLE, JOURNAL_FAILS];

/// What is wrong; empty when the check holds.
pub(super) fn faults(name: &str) -> Result<Vec<String>, StepFailed> {
    match name {
        CRASH => killed(),
        CUT_OFF => cut_off(),
        DURABLE => durable(),
        JOURNAL_FAILS => journal_fails(),
        other => Err(StepFailed::Check(format!("no check `{other}`"))),
    }
}

/// One server and an agent that may use all of it.
struct Scene {
    canary: Canary,
    installation: Installation,
    agent: Agent,
    token: String,
}

impl Scene {
    fn start() -> Result<Self, StepFailed> {
        let canary = Canary::start(crash::tools())
            .map_err(|error| StepFailed::Check(format!("the canary does not start: {error}")))?;
        let installation = Installation::start()?;
        installation.register_server(SERVER, &["--url", &canary.url()])?;
        installation.approve_all(SERVER)?;
        let agent = installation.enroll("caller", &[(SERVER, &["read:*", "write:*"])])?;
        let token = agent.token(SERVER, None)?;
        Ok(Self { canary, installation, agent, token })
    }

    fn write(&self) -> Result<RawReply, StepFailed> {
        self.agent.call(&self.token, SERVER, "note", &json!({"message": "x"}))
    }

    /// A call that writes and passes; later ones have a nonce from the start.
    fn first_write(&self) -> Result<(), StepFailed> {
        passed(&self.write()?)
    }

    /// Whether a call has reached the server since the last time this was asked.
    fn call_arrived(&self) -> bool {
        let seen = self.canary.take_seen();
        seen.iter().any(|seen| seen.rpc_method().is_some_and(|method| method == "tools/call"))
    }

    /// How many entries there are, once all of them are on the disk.
    fn settled(&self) -> Result<u64, StepFailed> {
        let started = Instant::now();
        loop {
            let entries = self.installation.journal_entries(0)?.len() as u64;
            if self.durable_entries()? == entries {
                return Ok(entries);
            }
            if started.elapsed() > SETTLED_WITHIN {
                return Err(StepFailed::Check("the journal is never on the disk".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The journal's mark: the number of entries that were fsynced.
    fn durable_entries(&self) -> Result<u64, StepFailed> {
        let path = self.installation.journal().join("wal").join("durable");
        let mut number = [0; 8];
        std::fs::File::open(&path)
            .and_then(|file| file.read_exact_at(&mut number, 0))
            .map_err(|source| StepFailed::File { path, source })?;
        Ok(u64::from_le_bytes(number))
    }
}

fn killed() -> Result<Vec<String>, StepFailed> {
    match crash::run(KILLS) {
        Ok(()) => Ok(Vec::new()),
        Err(StepFailed::Check(fault)) if fault.contains(crash::NO_INTENT) => Ok(vec![fault]),
        Err(failed) => Err(failed),
    }
}

fn cut_off() -> Result<Vec<String>, StepFailed> {
    let mut scene = Scene::start()?;
    let gateway = scene.installation.add_gateway("alone")?;
    let agent = scene.agent.at(gateway.address);
    let call = || agent.call(&scene.token, SERVER, "echo", &json!({"message": "x"}));
    let started = Instant::now();
    // It has to hear of the registry first.
    while passed(&call()?).is_err() {
        if started.elapsed() > SETTLED_WITHIN {
            return passed(&call()?).map(|()| Vec::new());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    scene.installation.kill()?;
    let cut = Instant::now();
    loop {
        let reply = agent.call(&scene.token, SERVER, "echo", &json!({"message": "x"}))?;
        if reply.status == 503 {
            return Ok(Vec::new());
        }
        if cut.elapsed() > CUT_OFF_WITHIN {
            let silent = cut.elapsed().as_secs();
            return Ok(vec![format!("status {} after {silent} s of silence", reply.status)]);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The server asks the disk itself when a call arrives. The mark is set after the fsync and before
/// the call goes out, so it covers the intent then, or there was no fsync.
fn durable() -> Result<Vec<String>, StepFailed> {
    let scene = Scene::start()?;
    scene.first_write()?;
    let mut faults = Vec::new();
    for _ in 0..CALLS {
        let before = scene.settled()?;
        scene.call_arrived();
        let (at_arrival, reply) = std::thread::scope(|scope| {
            let calling = scope.spawn(|| scene.write());
            let started = Instant::now();
            while !scene.call_arrived() && started.elapsed() < SETTLED_WITHIN {
                std::thread::yield_now();
            }
            let at_arrival = scene.durable_entries();
            (at_arrival, calling.join())
        });
        let reply = reply.map_err(|_| StepFailed::Check("the caller died".to_owned()))?;
        passed(&reply?)?;
        if at_arrival? <= before {
            faults.push("a call arrived before its intent was on the disk".to_owned());
        }
    }
    Ok(faults)
}

/// No file may grow any more: the next write to the journal fails, as on a broken disk.
fn journal_fails() -> Result<Vec<String>, StepFailed> {
    let scene = Scene::start()?;
    scene.first_write()?;
    scene.settled()?;
    let longest = longest_file(&scene.installation.journal().join("wal"))?;
    let process = i32::try_from(scene.installation.process()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(longest), maximum: Some(longest) };
    prlimit(process, Resource::Fsize, limit)
        .map_err(|error| StepFailed::Check(format!("the limit cannot be set: {error}")))?;
    scene.call_arrived();
    let reply = scene.write()?;
    let mut faults = Vec::new();
    if reply.status != 503 {
        faults.push(format!("status {} although the journal failed", reply.status));
    }
    if scene.call_arrived() {
        faults.push("the call reached the server although the journal failed".to_owned());
    }
    Ok(faults)
}

fn longest_file(folder: &Path) -> Result<u64, StepFailed> {
    let failed = |source| StepFailed::File { path: folder.to_path_buf(), source };
    let mut longest = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        longest = longest.max(entry.and_then(|entry| entry.metadata()).map_err(failed)?.len());
    }
    Ok(longest)
}

fn passed(reply: &RawReply) -> Result<(), StepFailed> {
    if reply.status == 200 && reply.text().contains("canary called") {
        return Ok(());
    }
    Err(StepFailed::Check(format!("a granted call: {} {}", reply.status, reply.text())))
}

const SERVER: &str = "canary";
const KILLS: u32 = 3;
/// Calls whose intent is looked for on the disk.
const CALLS: usize = 10;
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Ten seconds of silence are borne; the rest is for a busy machine.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(15);
