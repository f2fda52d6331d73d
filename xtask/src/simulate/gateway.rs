//! One gateway: what it follows, and the walk of a call as far as it has no outside.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use attorn_gateway::{Freshness, SILENT_MAX};
use attorn_jose::Algorithm;
use attorn_oauth::access_token::{self, Expected};
use attorn_oauth::dpop::{self, NonceKey, NoncePolicy, ProofExpectation};
use attorn_oauth::possession::{SharedAnswer, SharedUse, bind_here};
use attorn_oauth::registry_message;
use attorn_oauth::replay::ReplaySet;
use attorn_policy::{Operation, PolicySet, Request, decide};
use attorn_registry::{AgentId, Published, Snapshot, SnapshotParts};
use attorn_store::{InForce, Mark};
use tokio::time::Instant;

use super::broken;
use super::dice::Dice;
use super::network::{Answer, Question};
use super::world::{ISSUER, RESOURCE, TOOL, World};
use crate::step::StepFailed;

/// A running gateway.
pub(super) struct Gateway {
    number: usize,
    id: AgentId,
    path: PathBuf,
    pub(super) published: Published,
    policies: PolicySet,
    pub(super) freshness: Freshness,
    began: Began,
    mark: Mark,
    asking: Option<Question>,
    nonce_key: NonceKey,
    replays: ReplaySet,
    shared: Option<Rc<Life>>,
    /// Milliseconds by which its clock is ahead.
    pub(super) clock_ahead_ms: u64,
    /// By the simulation's own reckoning: the time of the question whose answer came last.
    pub(super) heard_ms: Option<u64>,
    /// The highest version and epoch that were in force in this state folder.
    pub(super) highest: InForce,
}

/// A moment on the clock that nobody sets, and when that was.
#[derive(Clone, Copy, Debug)]
struct Began {
    instant: Instant,
    at_ms: u64,
}

/// The memory that gateways share, from one start of it to its end.
pub(super) struct Life {
    nonce_key: NonceKey,
    used: RefCell<HashSet<[u8; 32]>>,
}

/// The memory as it is now: there, or not.
#[derive(Default)]
pub(super) struct Memory(pub(super) Option<Rc<Life>>);

impl Memory {
    pub(super) fn start(&mut self, dice: &mut Dice) -> Result<(), StepFailed> {
        let nonce_key = NonceKey::new(&dice.bytes()).map_err(broken)?;
        self.0 = Some(Rc::new(Life { nonce_key, used: RefCell::default() }));
        Ok(())
    }

    fn burn(&self, life: &Rc<Life>, shared_use: &SharedUse) -> SharedAnswer {
        match &self.0 {
            Some(now) if Rc::ptr_eq(now, life) => {
                let first = life.used.borrow_mut().insert(shared_use.replay_key);
                if first { SharedAnswer::First } else { SharedAnswer::Used }
            }
            Some(_) | None => SharedAnswer::Unavailable,
        }
    }
}

impl Gateway {
    pub(super) fn start(
        world: &World,
        (number, path): (usize, &Path),
        (now_ms, clock_ahead_ms): (u64, u64),
        dice: &mut Dice,
    ) -> Result<Self, StepFailed> {
        let began = Began { instant: Instant::now(), at_ms: now_ms };
        let id = world.gateways.get(number).cloned();
        let mark = Mark::open(path.to_path_buf()).map_err(broken)?;
        Ok(Self {
            number,
            id: id.ok_or_else(|| broken("no such gateway"))?,
            path: path.to_path_buf(),
            published: Published::new(Snapshot::new(SnapshotParts::default())),
            policies: no_policies()?,
            freshness: Freshness::followed(SILENT_MAX),
            began,
            highest: mark.at(),
            mark,
            asking: None,
            nonce_key: NonceKey::new(&dice.bytes()).map_err(broken)?,
            replays: ReplaySet::new(1 << 16, (now_ms + clock_ahead_ms) / 1000),
            shared: None,
            clock_ahead_ms,
            heard_ms: None,
        })
    }

    /// A new process on the same state, or on the state of an earlier time.
    pub(super) fn restart(
        &mut self,
        world: &World,
        now_ms: u64,
        (older, dice): (bool, &mut Dice),
    ) -> Result<(), StepFailed> {
        let saved = self.path.with_extension("saved");
        if older && saved.exists() {
            std::fs::copy(&saved, &self.path).map_err(broken)?;
        } else if self.path.exists() {
            std::fs::copy(&self.path, &saved).map_err(broken)?;
        }
        let place = (self.number, self.path.clone());
        let times = (now_ms, self.clock_ahead_ms);
        *self = Self::start(world, (place.0, &place.1), times, dice)?;
        Ok(())
    }

    fn instant(&self, now_ms: u64) -> Instant {
        self.began.instant + Duration::from_millis(now_ms.saturating_sub(self.began.at_ms))
    }

    pub(super) fn clock_s(&self, now_ms: u64) -> u64 {
        (now_ms + self.clock_ahead_ms) / 1000
    }

    pub(super) fn is_fresh(&self, now_ms: u64) -> bool {
        self.freshness.is_fresh_at(self.instant(now_ms))
    }

    /// The next question, unless one is under way that may still be answered.
    pub(super) fn ask(&mut self, now_ms: u64, dice: &mut Dice) -> Option<Question> {
        if self.asking.as_ref().is_some_and(|asked| now_ms < asked.asked_ms + GIVEN_UP_MS) {
            return None;
        }
        let question = Question {
            gateway: self.number,
            after: self.published.load().version,
            nonce: attorn_jose::base64url(&dice.bytes::<16>()),
            asked_ms: now_ms,
        };
        self.asking = Some(question.clone());
        Some(question)
    }

    /// Takes what arrived, as `follow.rs` does.
    pub(super) fn hear(&mut self, world: &World, answer: &Answer) -> Result<(), StepFailed> {
        let Some(asked) = &self.asking else { return Ok(()) };
        let audience = self.id.to_string();
        let expected = Expected { issuer: ISSUER, audience: &audience, keys: &world.keys };
        let Ok(message) = registry_message::verify(&answer.message, &expected, &asked.nonce) else {
            return Ok(());
        };
        let asked_at = self.instant(asked.asked_ms);
        let (now, known) = (self.published.load(), self.mark.at());
        let next = message.change.leading_on(&now, (known.version, known.epoch));
        self.asking = None;
        let Ok(next) = next else { return Ok(()) };
        let in_force = next.as_ref().unwrap_or(&now);
        let in_force = InForce { version: in_force.version, epoch: in_force.epoch };
        self.mark.raise(in_force).map_err(broken)?;
        if let Some(next) = next {
            if next.policy.version != now.policy.version {
                self.policies = PolicySet::compile(&next.policy).map_err(broken)?;
            }
            self.published.publish(next);
        }
        self.freshness.note_heard(asked_at);
        self.heard_ms = self.heard_ms.max(Some(answer.to.asked_ms));
        let now = self.published.load();
        let at = InForce { version: now.version, epoch: now.epoch };
        if at.is_behind(self.highest) {
            return Err(broken(format!("gateway {} went back: {at:?}", self.number)));
        }
        self.highest = at;
        Ok(())
    }

    /// Sees whether the shared memory is there.
    pub(super) fn look_for(&mut self, memory: &Memory) {
        self.shared.clone_from(&memory.0);
    }

    pub(super) fn nonce(&self, now_ms: u64, dice: &mut Dice) -> String {
        let key = self.shared.as_ref().map_or(&self.nonce_key, |life| &life.nonce_key);
        key.mint(self.clock_s(now_ms), &dice.bytes())
    }

    /// One call, in the order of `service.rs`, `possession.rs` and `tools_call.rs`. `None` when it
    /// is refused.
    pub(super) fn call(
        &mut self,
        world: &World,
        memory: &Memory,
        (token, proof): (&str, &str),
        now_ms: u64,
    ) -> Option<()> {
        if !self.is_fresh(now_ms) {
            return None;
        }
        let (snapshot, now_s) = (self.published.load(), self.clock_s(now_ms));
        let expected = Expected { issuer: ISSUER, audience: RESOURCE, keys: &world.keys };
        let token = access_token::verify(token, &expected, now_s).ok()?;
        let (jkt, own) = (token.jkt().copied()?, &self.nonce_key);
        let shared = self.shared.clone();
        let expected = ProofExpectation {
            algorithms: &Algorithm::ALL,
            htm: "POST",
            htu: RESOURCE,
            access_token: Some((token.digest(), &jkt)),
            nonce: shared.as_ref().map_or(NoncePolicy::Required(own), |life| NoncePolicy::Either {
                own,
                shared: &life.nonce_key,
            }),
            header_cache: None,
        };
        let proof = dpop::verify(proof, &expected, now_s).ok()?;
        let burned = bind_here(token, proof, &self.replays, now_s).ok()?;
        let answer = match (burned.shared_use(), &shared) {
            (Some(shared_use), Some(life)) => Some(memory.burn(life, shared_use)),
            (None, _) | (_, None) => None,
        };
        if answer == Some(SharedAnswer::Unavailable) {
            self.shared = None;
        }
        let bound = burned.settle(answer).ok()?;
        let claims = bound.claims();
        let request = Request {
            snapshot: &snapshot,
            policies: &self.policies,
            server: snapshot.server(&world.server)?,
            agent: &claims.client_id,
            person: claims.sub.person(),
            token_scope: &claims.scope,
            token_jti: &claims.jti,
            token_key: Some(claims.cnf.key()),
            token_details: None,
            token_epoch: claims.epoch,
            token_issued_s: claims.iat,
            operation: Operation::Tool(TOOL),
            arguments: None,
            now_s,
        };
        decide(&request).ok().map(|_permit| ())
    }
}

fn no_policies() -> Result<PolicySet, StepFailed> {
    let empty = attorn_registry::PolicySource { version: u64::MAX, text: String::new() };
    PolicySet::compile(&empty).map_err(broken)
}

/// A question without an answer is given up after this.
const GIVEN_UP_MS: u64 = 3000;
