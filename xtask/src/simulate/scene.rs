//! One run: what happens is chosen by the seed, and after each step everything is compared.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use attorn_gateway::SILENT_MAX;
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_registry::{Snapshot, SnapshotParts};

use super::authority::{Authority, Crash};
use super::broken;
use super::dice::Dice;
use super::gateway::{Gateway, Memory};
use super::network::{Message, Network};
use super::truth::{AGENTS, Held, Truth};
use super::world::{GATEWAYS, RESOURCE, START_MS, World};
use crate::step::StepFailed;

/// Steps of one run.
const STEPS: u32 = 250;
/// Steps without any fault at its end.
const QUIET_STEPS: u32 = 60;
/// A gateway that heard nothing for this long refuses everything, as in `admin/gateways.rs`.
const SILENT_MS: u64 = 10_000;

/// A registry that was in force.
struct Past {
    version: u64,
    truth: Truth,
    since_ms: u64,
    until_ms: Option<u64>,
}

/// A lock that somebody waits for.
struct Waited {
    version: u64,
    acknowledged: bool,
}

/// A call as it was sent.
struct Sent {
    token: usize,
    proof: String,
    jti: String,
}

/// One run.
pub(super) struct Scene<'a> {
    world: &'a World,
    dice: Dice,
    now_ms: u64,
    network: Network,
    authority: Authority,
    gateways: Vec<Gateway>,
    memory: Memory,
    shares: bool,
    past: Vec<Past>,
    waited: Vec<Waited>,
    tokens: Vec<Held>,
    sent: Vec<Sent>,
    taken: HashSet<String>,
    folder: PathBuf,
    log: Vec<String>,
    seen: Seen,
}

impl<'a> Scene<'a> {
    pub(super) async fn new(world: &'a World, seed: u64) -> Result<Self, StepFailed> {
        let mut dice = Dice::new(seed);
        let folder = world.folder.join(format!("seed-{seed}"));
        std::fs::create_dir_all(&folder).map_err(broken)?;
        // Clocks that are set differ, by less than what tokens and proofs allow for.
        let ahead = |dice: &mut Dice| dice.below(4000);
        let authority =
            Authority::new(world, &folder.join("registry.db"), ahead(&mut dice)).await?;
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let path = folder.join(format!("gateway-{number}.mark"));
            let times = (START_MS, ahead(&mut dice));
            gateways.push(Gateway::start(world, (number, &path), times, &mut dice)?);
        }
        let (mut memory, shares) = (Memory::default(), dice.happens(50));
        if shares {
            memory.start(&mut dice)?;
        }
        let mut scene = Self {
            world,
            dice,
            now_ms: START_MS,
            network: Network::default(),
            authority,
            gateways,
            memory,
            shares,
            past: Vec::new(),
            waited: Vec::new(),
            tokens: Vec::new(),
            sent: Vec::new(),
            taken: HashSet::new(),
            folder,
            log: Vec::new(),
            seen: Seen::default(),
        };
        scene.note_in_force()?;
        Ok(scene)
    }

    /// Runs to the end, or to the first thing that does not hold.
    pub(super) async fn run(&mut self) -> Result<Seen, StepFailed> {
        for _ in 0..STEPS {
            self.pass_time();
            let stepped = self.step().await;
            stepped.map_err(|failed| self.told(&failed))?;
        }
        self.come_to_rest().await.map_err(|failed| self.told(&failed))?;
        Ok(std::mem::take(&mut self.seen))
    }

    pub(super) async fn end(self) {
        self.authority.store.close().await;
        drop(std::fs::remove_dir_all(&self.folder));
    }

    fn told(&self, failed: &StepFailed) -> StepFailed {
        let start = self.log.len().saturating_sub(LOG_LINES);
        let last = self.log.get(start..).unwrap_or_default().join("\n  ");
        broken(format!("{failed}\nafter\n  {last}"))
    }

    fn did(&mut self, what: impl fmt::Display) {
        let at = self.now_ms - START_MS;
        self.log.push(format!("{at} ms: {what}"));
    }

    fn pass_time(&mut self) {
        self.now_ms += match self.dice.below(100) {
            0..=79 => 1 + self.dice.below(300),
            80..=96 => self.dice.below(2500),
            _ => self.dice.below(12_000),
        };
    }

    async fn step(&mut self) -> Result<(), StepFailed> {
        self.deliver().await?;
        match self.dice.below(100) {
            0..=54 => self.call()?,
            55..=69 => self.issue()?,
            70..=85 => self.change().await?,
            86..=89 => {
                let gateway = self.dice.place(GATEWAYS);
                self.did(format!("gateway {gateway} is cut off"));
                self.network.cut_off(gateway);
            }
            90..=92 => {
                self.did("healed");
                self.network.heal();
            }
            93..=95 => self.restart_gateway()?,
            96..=97 => self.restart_authority().await?,
            _ => self.touch_memory()?,
        }
        self.acknowledge();
        Ok(())
    }

    /// Messages arrive, gateways ask, the authority answers.
    async fn deliver(&mut self) -> Result<(), StepFailed> {
        for message in self.network.arrived(self.now_ms) {
            match message {
                Message::Question(question) => {
                    self.authority.hear(self.world, self.now_ms, question);
                }
                Message::Answer(answer) => {
                    if let Some(gateway) = self.gateways.get_mut(answer.to.gateway) {
                        gateway.hear(self.world, &answer)?;
                    }
                }
            }
        }
        for answer in self.authority.answers(self.world, self.now_ms).await? {
            self.network.send(self.now_ms, Message::Answer(answer), &mut self.dice);
        }
        for gateway in &mut self.gateways {
            if let Some(question) = gateway.ask(self.now_ms, &mut self.dice) {
                self.network.send(self.now_ms, Message::Question(question), &mut self.dice);
            }
        }
        Ok(())
    }

    async fn change(&mut self) -> Result<(), StepFailed> {
        let chosen = (self.now_ms, &mut self.dice);
        let locked = self.authority.change(self.world, &self.tokens, chosen).await?;
        let crash = match self.dice.below(100) {
            0..=1 => Crash::BeforeMark,
            2..=3 => Crash::BeforePublish,
            _ => Crash::Nowhere,
        };
        self.authority.publish(self.now_ms, crash).await?;
        self.seen.changes += 1;
        self.did(format!("change to version {}, crash {crash:?}", self.authority.version()));
        if crash != Crash::Nowhere {
            return self.restart_authority().await;
        }
        self.note_in_force()?;
        if locked.is_some() {
            let version = self.authority.version();
            self.waited.push(Waited { version, acknowledged: false });
        }
        Ok(())
    }

    /// What is in force now begins, and what was before ends.
    fn note_in_force(&mut self) -> Result<(), StepFailed> {
        let (version, truth) = (self.authority.version(), self.authority.truth.clone());
        if let Some(last) = self.past.last_mut() {
            if last.version == version {
                if last.truth == truth {
                    return Ok(());
                }
                return Err(broken(format!("two registries have the number {version}")));
            }
            last.until_ms = Some(self.now_ms);
        }
        if self.past.iter().any(|past| past.version >= version) {
            return Err(broken(format!("the registry went back to {version}")));
        }
        self.past.push(Past { version, truth, since_ms: self.now_ms, until_ms: None });
        Ok(())
    }

    fn issue(&mut self) -> Result<(), StepFailed> {
        let number = self.tokens.len();
        let chosen = (self.now_ms, &mut self.dice);
        let token = self.authority.issue(self.world, number, chosen)?;
        self.tokens.extend(token);
        Ok(())
    }

    fn restart_gateway(&mut self) -> Result<(), StepFailed> {
        let (number, older) = (self.dice.place(GATEWAYS), self.dice.happens(30));
        self.did(format!("gateway {number} starts again, older state {older}"));
        if let Some(gateway) = self.gateways.get_mut(number) {
            gateway.restart(self.world, self.now_ms, (older, &mut self.dice))?;
        }
        Ok(())
    }

    async fn restart_authority(&mut self) -> Result<(), StepFailed> {
        let backup = self.dice.happens(30);
        let restored = self.authority.restart(self.now_ms, (backup, &mut self.dice)).await?;
        self.did(format!("the authority starts again, restored {restored}"));
        self.seen.restored += u64::from(restored);
        if restored {
            // What was taken back since is in force again; that every token ended is seen by the
            // epoch.
            self.waited.clear();
        }
        self.note_in_force()
    }

    fn touch_memory(&mut self) -> Result<(), StepFailed> {
        if !self.shares {
            return Ok(());
        }
        if self.memory.0.is_some() && self.dice.happens(50) {
            self.did("the shared memory is gone");
            self.memory.0 = None;
        } else {
            self.did("the shared memory is there");
            self.memory.start(&mut self.dice)?;
        }
        Ok(())
    }

    /// Locks that every gateway which counts as serving has in force.
    fn acknowledge(&mut self) {
        let clock_ms = self.now_ms + self.authority.clock_ahead_ms;
        for waited in self.waited.iter_mut().filter(|waited| !waited.acknowledged) {
            waited.acknowledged = self.authority.followers.all_at(
                waited.version,
                &self.world.gateways,
                (clock_ms, SILENT_MS),
            );
            self.seen.acknowledged += u64::from(waited.acknowledged);
        }
    }

    /// A new call, or one that was sent before, to any gateway.
    fn call(&mut self) -> Result<(), StepFailed> {
        let number = self.dice.place(GATEWAYS);
        let memory_seen = self.dice.happens(70);
        let Some(gateway) = self.gateways.get_mut(number) else { return Ok(()) };
        if memory_seen {
            gateway.look_for(&self.memory);
        }
        let again = !self.sent.is_empty() && self.dice.happens(30);
        if !again {
            let Some(token) = self.tokens.get(self.dice.place(self.tokens.len())) else {
                return Ok(());
            };
            let nonce = gateway.nonce(self.now_ms, &mut self.dice);
            let sent = sign(self.world, token, &nonce, (self.now_ms, &mut self.dice))?;
            self.sent.push(sent);
        }
        let newest = self.sent.len().saturating_sub(1);
        let place = if again { newest.saturating_sub(self.dice.place(8)) } else { newest };
        // Now and then with another token of the same agent than it was made for.
        let swapped = self.dice.happens(5);
        let Some(sent) = self.sent.get(place) else { return Ok(()) };
        let mut token = self.tokens.get(sent.token);
        if swapped {
            let agent = token.map(|token| token.agent);
            token = self.tokens.iter().rev().find(|other| Some(other.agent) == agent);
        }
        let Some(token) = token else { return Ok(()) };
        let call = (token.text.as_str(), sent.proof.as_str());
        self.seen.calls += 1;
        if gateway.call(self.world, &self.memory, call, self.now_ms).is_none() {
            return Ok(());
        }
        self.seen.passed += 1;
        if token.number != sent.token {
            return Err(broken("a proof passed with a token it was not made for"));
        }
        let (token, jti) = (token.clone(), sent.jti.clone());
        self.judge(number, &token, jti)
    }

    /// A call passed: it must have been permitted, lately, and for the first time.
    fn judge(&mut self, number: usize, token: &Held, jti: String) -> Result<(), StepFailed> {
        let Some(gateway) = self.gateways.get(number) else { return Ok(()) };
        let version = gateway.published.load().version;
        let who = format!("gateway {number} at version {version} let agent {} pass", token.agent);
        if !self.taken.insert(jti) {
            return Err(broken(format!("{who} with a proof that was taken before")));
        }
        let bounded_ms = u64::try_from(SILENT_MAX.as_millis()).unwrap_or(u64::MAX);
        let earliest_ms = self.now_ms.saturating_sub(bounded_ms);
        if gateway.heard_ms.is_none_or(|heard_ms| heard_ms < earliest_ms) {
            return Err(broken(format!("{who} after a silence of more than ten seconds")));
        }
        let past = self.past.iter().find(|past| past.version == version);
        let past = past.ok_or_else(|| broken(format!("{who}, a version that never was")))?;
        if past.until_ms.is_some_and(|until_ms| until_ms < earliest_ms) {
            let since_ms = past.since_ms - START_MS;
            return Err(broken(format!("{who}, in force from {since_ms} ms and long over")));
        }
        if !past.truth.permits(token, gateway.clock_s(self.now_ms)) {
            return Err(broken(format!("{who} against {:?}", past.truth)));
        }
        let acknowledged = self.waited.iter().filter(|waited| waited.acknowledged);
        if let Some(missed) = acknowledged.map(|waited| waited.version).find(|at| *at > version) {
            return Err(broken(format!(
                "{who} after the lock of version {missed} was acknowledged"
            )));
        }
        Ok(())
    }

    /// Everything heals: both gateways end up with the authority's registry, and decide by it.
    async fn come_to_rest(&mut self) -> Result<(), StepFailed> {
        self.did("everything heals");
        self.network.heal();
        self.network.healed = true;
        if self.shares && self.memory.0.is_none() {
            self.memory.start(&mut self.dice)?;
        }
        for _ in 0..QUIET_STEPS {
            self.now_ms += 100 + self.dice.below(400);
            self.deliver().await?;
        }
        let expected = comparable(&self.authority.published.load());
        let past = self.past.last().map(|past| past.truth.clone());
        let truth = past.ok_or_else(|| broken("nothing was ever in force"))?;
        for agent in 0..AGENTS {
            self.tokens.extend(self.authority.issue_for(
                self.world,
                (agent, self.tokens.len()),
                (self.now_ms, 60),
            )?);
        }
        for number in 0..GATEWAYS {
            let Some(gateway) = self.gateways.get_mut(number) else { continue };
            gateway.look_for(&self.memory);
            if comparable(&gateway.published.load()) != expected {
                return Err(broken(format!("gateway {number} ends with another registry")));
            }
            if !gateway.is_fresh(self.now_ms) {
                return Err(broken(format!("gateway {number} does not hear its authority")));
            }
            for token in &self.tokens {
                let nonce = gateway.nonce(self.now_ms, &mut self.dice);
                let sent = sign(self.world, token, &nonce, (self.now_ms, &mut self.dice))?;
                let call = (token.text.as_str(), sent.proof.as_str());
                let passed = gateway.call(self.world, &self.memory, call, self.now_ms).is_some();
                if passed != truth.permits(token, gateway.clock_s(self.now_ms)) {
                    let what = format!("gateway {number} at rest: passed {passed}, {token:?}");
                    return Err(broken(format!("{what} by {truth:?}")));
                }
                self.seen.at_rest += u64::from(passed);
            }
        }
        Ok(())
    }
}

/// A proof of the token's holder for one call.
fn sign(
    world: &World,
    token: &Held,
    nonce: &str,
    (now_ms, dice): (u64, &mut Dice),
) -> Result<Sent, StepFailed> {
    let jti = attorn_jose::base64url(&dice.bytes::<12>());
    let proof = NewProof {
        htm: "POST",
        htu: RESOURCE,
        iat_s: now_ms / 1000,
        jti: &jti,
        access_token: Some(&token.text),
        nonce: Some(nonce),
    };
    let (_, key) = world.agents.get(token.agent).ok_or_else(|| broken("no such agent"))?;
    Ok(Sent { token: token.number, proof: new_proof(key, &proof).map_err(broken)?, jti })
}

/// A registry without order, and without what has ended or was taken back: a delta drops it later
/// than a whole reading.
fn comparable(snapshot: &Snapshot) -> SnapshotParts {
    let mut parts = SnapshotParts::from(snapshot);
    parts.made_ms = 0;
    parts.agents.sort_by(|one, other| one.id.cmp(&other.id));
    parts.owners.sort_by(|one, other| one.id.cmp(&other.id));
    parts.grants.retain(|grant| grant.revoked_s.is_none());
    parts.grants.sort_by(|one, other| one.id.cmp(&other.id));
    parts.locks.clear();
    parts.revoked.clear();
    parts
}

/// What happened, over all runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    calls: u64,
    passed: u64,
    changes: u64,
    acknowledged: u64,
    restored: u64,
    at_rest: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.passed += other.passed;
        self.changes += other.changes;
        self.acknowledged += other.acknowledged;
        self.restored += other.restored;
        self.at_rest += other.at_rest;
    }

    /// A run in which nothing passes shows nothing.
    pub(super) fn shows_something(&self) -> Result<(), StepFailed> {
        let each = [self.passed, self.changes, self.acknowledged, self.restored, self.at_rest];
        if each.iter().all(|times| *times > 0) {
            Ok(())
        } else {
            Err(broken(format!("too little: {self}")))
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} passed, {} changes, {} locks acknowledged, {} backups, {} passed at rest",
            self.calls, self.passed, self.changes, self.acknowledged, self.restored, self.at_rest
        )
    }
}

/// Lines of what was done that a failure shows.
const LOG_LINES: usize = 25;
