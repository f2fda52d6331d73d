//! The authority: the registry, its mark, who follows, and what an operator does.

use std::path::{Path, PathBuf};

use attorn_authority::{Followers, change_after, next_snapshot};
use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::registry_message::{self, RegistryMessage};
use attorn_oauth::subject::Subject;
use attorn_registry::{
    Class, GrantId, LifeCycle, Lock, LockId, LockTarget, Published, Scope, Snapshot, SnapshotDelta,
    SnapshotParts,
};
use attorn_store::{Confirmed, InForce, Mark, Store};

use super::broken;
use super::dice::Dice;
use super::network::{Answer, Question};
use super::truth::{AGENTS, Held, Truth};
use super::world::{ISSUER, KID, RESOURCE, START_MS, TOOL, World, act, seen_tool};
use crate::step::StepFailed;

/// A running authority.
pub(super) struct Authority {
    path: PathBuf,
    pub(super) store: Store,
    pub(super) published: Published,
    last: Option<SnapshotDelta>,
    pub(super) followers: Followers,
    mark: Mark,
    /// Questions that are answered when there is news, at the latest at the time.
    waiting: Vec<(u64, Question)>,
    pub(super) truth: Truth,
    grants: [Option<GrantId>; AGENTS],
    locks: [Option<LockId>; AGENTS],
    edition: u64,
    /// Milliseconds by which its clock is ahead.
    pub(super) clock_ahead_ms: u64,
    /// Older states: file and what it meant.
    backups: Vec<Backup>,
}

struct Backup {
    path: PathBuf,
    truth: Truth,
    grants: [Option<GrantId>; AGENTS],
    locks: [Option<LockId>; AGENTS],
    edition: u64,
}

/// Where a process ends in the middle of putting a change in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// It is stored.
    BeforeMark,
    /// It is stored and marked.
    BeforePublish,
    Nowhere,
}

impl Authority {
    pub(super) async fn new(
        world: &World,
        path: &Path,
        clock_ahead_ms: u64,
    ) -> Result<Self, StepFailed> {
        std::fs::copy(world.prepared_path(), path).map_err(broken)?;
        let store = open(path).await?;
        let grant = |number: usize| {
            let number = u8::try_from(number).unwrap_or(0);
            Some(GrantId::from_random(&[number; 16]))
        };
        let mut authority = Self {
            path: path.to_path_buf(),
            store,
            published: nothing(),
            last: None,
            followers: Followers::new(START_MS + clock_ahead_ms),
            mark: Mark::open(path.with_extension("mark")).map_err(broken)?,
            waiting: Vec::new(),
            truth: Truth::new(),
            grants: std::array::from_fn(grant),
            locks: [const { None }; AGENTS],
            edition: 0,
            clock_ahead_ms,
            backups: Vec::new(),
        };
        authority.publish(START_MS, Crash::Nowhere).await?;
        Ok(authority)
    }

    fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.clock_ahead_ms
    }

    /// The number of what is in force.
    pub(super) fn version(&self) -> u64 {
        self.published.load().version
    }

    /// Puts what is stored in force, up to where the process ends.
    pub(super) async fn publish(&mut self, now_ms: u64, crash: Crash) -> Result<(), StepFailed> {
        if crash == Crash::BeforeMark {
            return Ok(());
        }
        let (now, clock_ms) = (self.published.load(), self.clock_ms(now_ms));
        let (next, delta) = next_snapshot(&self.store, &now, clock_ms).await.map_err(broken)?;
        let in_force = InForce { version: next.version, epoch: next.epoch };
        self.mark.raise(in_force).map_err(broken)?;
        if crash == Crash::BeforePublish {
            return Ok(());
        }
        self.published.publish(next);
        self.followers.note_published(in_force.version, clock_ms);
        self.last = delta;
        Ok(())
    }

    /// One change that fits what is so now; gives whom it locked.
    pub(super) async fn change(
        &mut self,
        world: &World,
        tokens: &[Held],
        (now_ms, dice): (u64, &mut Dice),
    ) -> Result<Option<usize>, StepFailed> {
        let agent = dice.place(AGENTS);
        let act = act(self.clock_ms(now_ms));
        match dice.below(8) {
            0 | 1 => self.grant_or_revoke(world, agent, dice, now_ms).await?,
            2 | 3 => return self.lock_or_lift(world, agent, dice, now_ms).await,
            4 => self.suspend_or_activate(world, agent, now_ms).await?,
            5 => self.show_or_approve_tool(world, now_ms).await?,
            6 => {
                if let Some(token) = tokens.get(dice.place(tokens.len())) {
                    let (jti, end_s) = (jti(token.number), token.expires_s);
                    self.store.revoke_token(&act, &jti, end_s).await.map_err(broken)?;
                    // One that has ended may be forgotten; it is refused for its end.
                    self.truth.revoked.insert(token.number);
                }
            }
            _ => {
                // Rare: it ends everything.
                if dice.happens(30) {
                    let raised = self.store.raise_epoch(&act, InForce::default()).await;
                    self.truth.epoch = raised.map_err(broken)?.record;
                }
            }
        }
        Ok(None)
    }

    async fn grant_or_revoke(
        &mut self,
        world: &World,
        agent: usize,
        dice: &mut Dice,
        now_ms: u64,
    ) -> Result<(), StepFailed> {
        let act = act(self.clock_ms(now_ms));
        let Some(held) = self.grants.get_mut(agent) else { return Ok(()) };
        let granted = if let Some(id) = held.take() {
            self.store.revoke_grant(&act, &id).await.map_err(broken)?;
            false
        } else {
            let grant = world.grant(agent, dice.bytes());
            self.store.create_grant(&act, &grant).await.map_err(broken)?;
            *held = Some(grant.id);
            true
        };
        set(&mut self.truth.granted, agent, granted);
        Ok(())
    }

    async fn lock_or_lift(
        &mut self,
        world: &World,
        agent: usize,
        dice: &mut Dice,
        now_ms: u64,
    ) -> Result<Option<usize>, StepFailed> {
        let act = act(self.clock_ms(now_ms));
        let Some(held) = self.locks.get_mut(agent) else { return Ok(None) };
        if let Some(id) = held.take() {
            self.store.lift_lock(&act, &id).await.map_err(broken)?;
            set(&mut self.truth.locked_until_s, agent, None);
            return Ok(None);
        }
        let Some((id, _)) = world.agents.get(agent) else { return Ok(None) };
        let lasts_s = if dice.happens(50) { 3600 } else { 5 + dice.below(60) };
        let lock = Lock {
            id: LockId::from_random(&dice.bytes()),
            target: LockTarget::Agent { agent: id.clone() },
            reason: "simulated".to_owned(),
            by: String::new(),
            created_s: 0,
            expires_s: act.now_s + lasts_s,
            lifted_s: None,
        };
        self.store.create_lock(&act, &lock).await.map_err(broken)?;
        *held = Some(lock.id);
        set(&mut self.truth.locked_until_s, agent, Some(lock.expires_s));
        Ok(Some(agent))
    }

    async fn suspend_or_activate(
        &mut self,
        world: &World,
        agent: usize,
        now_ms: u64,
    ) -> Result<(), StepFailed> {
        let act = act(self.clock_ms(now_ms));
        let Some((id, _)) = world.agents.get(agent) else { return Ok(()) };
        let active = !self.truth.active.get(agent).copied().unwrap_or(false);
        let state = if active { LifeCycle::Active } else { LifeCycle::Suspended };
        self.store.set_agent_state(&act, id, state).await.map_err(broken)?;
        set(&mut self.truth.active, agent, active);
        Ok(())
    }

    async fn show_or_approve_tool(&mut self, world: &World, now_ms: u64) -> Result<(), StepFailed> {
        let act = act(self.clock_ms(now_ms));
        if self.truth.approved {
            self.edition += 1;
            let tool = seen_tool(self.edition);
            let seen = self.store.record_seen_tools(&act, &world.server, &[tool]).await;
            seen.map_err(broken)?;
        } else {
            let confirmed = Confirmed::plain(seen_tool(self.edition).digest, Class::Read);
            let approved = self.store.approve_tool(&act, &world.server, TOOL, &confirmed).await;
            approved.map_err(broken)?;
        }
        self.truth.approved = !self.truth.approved;
        Ok(())
    }

    /// A token for some agent, if the registry in force lets it have one.
    pub(super) fn issue(
        &self,
        world: &World,
        number: usize,
        (now_ms, dice): (u64, &mut Dice),
    ) -> Result<Option<Held>, StepFailed> {
        let agent = dice.place(AGENTS);
        self.issue_for(world, (agent, number), (now_ms, 5 + dice.below(200)))
    }

    /// A token for this agent, for so many seconds.
    pub(super) fn issue_for(
        &self,
        world: &World,
        (agent, number): (usize, usize),
        (now_ms, lifetime_s): (u64, u64),
    ) -> Result<Option<Held>, StepFailed> {
        let Some((id, key)) = world.agents.get(agent) else { return Ok(None) };
        let (snapshot, now_s) = (self.published.load(), self.clock_ms(now_ms) / 1000);
        let holder = attorn_registry::Holder::alone(id);
        let scope = snapshot.held_scopes(holder, &world.server, now_s).unwrap_or_default();
        if scope.is_empty() {
            return Ok(None);
        }
        let claims = AccessTokenClaims {
            act: None,
            attorn_approval: None,
            aud: RESOURCE.to_owned(),
            authorization_details: None,
            client_id: id.clone(),
            cnf: Confirmation::Jkt(key.public().thumbprint()),
            epoch: snapshot.epoch,
            exp: now_s + lifetime_s,
            grt: None,
            iat: now_s,
            iss: ISSUER.to_owned(),
            jti: jti(number),
            nbf: now_s,
            parent: None,
            scope,
            sub: Subject::Agent(id.clone()),
        };
        let scoped = claims.scope.contains(&Scope::of_tool(Class::Read, TOOL));
        let text = access_token::issue(&claims, KID, &world.issuer).map_err(broken)?;
        let (epoch, expires_s) = (claims.epoch, claims.exp);
        Ok(Some(Held { number, agent, epoch, expires_s, scoped, text }))
    }

    /// Takes a question. It is answered at once if there is news.
    pub(super) fn hear(&mut self, world: &World, now_ms: u64, question: Question) {
        let Some(gateway) = world.gateways.get(question.gateway) else { return };
        let clock_ms = self.clock_ms(now_ms);
        self.followers.note_asked(gateway, question.after, clock_ms);
        if question.after > self.version() {
            // Refused: this registry is from a backup.
            return;
        }
        self.waiting.push((now_ms + WAIT_MS, question));
    }

    /// The answers that are due.
    pub(super) async fn answers(
        &mut self,
        world: &World,
        now_ms: u64,
    ) -> Result<Vec<Answer>, StepFailed> {
        let now = self.published.load();
        let is_due = |(until_ms, question): &(u64, Question)| {
            now.version > question.after || *until_ms <= now_ms
        };
        let (due, waiting): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(is_due);
        self.waiting = waiting;
        let mut answers = Vec::new();
        for (_, to) in due {
            let told = (&*now, self.last.as_ref());
            let clock_ms = self.clock_ms(now_ms);
            let change = change_after(&self.store, told, to.after, clock_ms).await;
            let message = RegistryMessage {
                aud: world.gateways.get(to.gateway).map(ToString::to_string).unwrap_or_default(),
                change: change.map_err(broken)?,
                iat: clock_ms / 1000,
                iss: ISSUER.to_owned(),
                lease: None,
                nonce: to.nonce.clone(),
            };
            let message = registry_message::issue(&message, KID, &world.issuer).map_err(broken)?;
            answers.push(Answer { to, message });
        }
        Ok(answers)
    }

    /// Ends the process and starts it again; from an older state if `backup` says so.
    pub(super) async fn restart(
        &mut self,
        now_ms: u64,
        (backup, dice): (bool, &mut Dice),
    ) -> Result<bool, StepFailed> {
        self.store.close().await;
        let restored = backup && !self.backups.is_empty();
        if restored {
            let place = dice.place(self.backups.len());
            if let Some(old) = self.backups.get(place) {
                std::fs::copy(&old.path, &self.path).map_err(broken)?;
                self.truth = old.truth.clone();
                (self.grants, self.locks) = (old.grants.clone(), old.locks.clone());
                self.edition = old.edition;
            }
        } else if self.backups.len() < BACKUPS_MAX {
            let path = self.path.with_extension(format!("{}.db", self.backups.len()));
            std::fs::copy(&self.path, &path).map_err(broken)?;
            let (truth, edition) = (self.truth.clone(), self.edition);
            let (grants, locks) = (self.grants.clone(), self.locks.clone());
            self.backups.push(Backup { path, truth, grants, locks, edition });
        }
        self.store = open(&self.path).await?;
        self.mark = Mark::open(self.path.with_extension("mark")).map_err(broken)?;
        (self.published, self.last) = (nothing(), None);
        (self.followers, self.waiting) = (Followers::new(self.clock_ms(now_ms)), Vec::new());
        // As `restored.rs` does.
        let registry = self.store.in_force().await.map_err(broken)?;
        if let Some(beyond) = self.mark.beyond(registry) {
            let act = act(self.clock_ms(now_ms));
            let raised = self.store.raise_epoch(&act, beyond).await;
            self.truth.epoch = raised.map_err(broken)?.record;
        }
        self.publish(now_ms, Crash::Nowhere).await?;
        Ok(restored)
    }
}

fn nothing() -> Published {
    Published::new(Snapshot::new(SnapshotParts::default()))
}

async fn open(path: &Path) -> Result<Store, StepFailed> {
    Store::open(&path.display().to_string()).await.map_err(broken)
}

fn jti(number: usize) -> String {
    format!("t{number}")
}

fn set<T>(list: &mut [T; AGENTS], agent: usize, value: T) {
    if let Some(place) = list.get_mut(agent) {
        *place = value;
    }
}

/// A question is answered at the latest after this, as in `admin/gateways.rs`.
const WAIT_MS: u64 = 2000;
const BACKUPS_MAX: usize = 8;
