//! The walk through a file: one item after the other, in one transaction that somebody else ends.

use std::collections::HashSet;
use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_registry::{AgentId, Grant, GrantId, ServerId, Snapshot, SnapshotDelta};
use attorn_store::{Act, Batch};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::context::Context;
use super::super::grants;
use super::super::operation::Operation;
use super::super::refusal::{Fault, Refusal};
use super::{ITEMS_MAX, PlannedChange, Wanted};

/// Where an item stands.
#[derive(Clone, Copy, Debug)]
enum Section {
    Agents,
    Grants,
    Owners,
    Policy,
    Servers,
    Tools,
}

/// What one item changes.
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) subject: String,
    pub(super) detail: String,
}

/// A walk under way.
pub(super) struct Walk<'a> {
    /// Its snapshot is the registry as the items so far leave it. It is never published.
    pub(super) context: Context,
    /// The registry before the first item: nobody's rights grow on the way.
    before: Arc<Snapshot>,
    pub(super) batch: Batch<'a>,
    /// Every grant, ended ones included.
    pub(super) grants: Vec<Grant>,
    /// The grants that the file has.
    pub(super) kept: HashSet<GrantId>,
    /// The agents that the file names.
    pub(super) named: HashSet<AgentId>,
    /// The tools that the file names.
    pub(super) tools: HashSet<(ServerId, String)>,
    pub(super) facts: Vec<Entry>,
    pub(super) changes: Vec<PlannedChange>,
    pub(super) unchanged: usize,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    pub(super) async fn begin(context: Context, by: &'a str) -> Result<Self, Refusal> {
        let act = Act { by, now_s: context.now_s() };
        // The snapshot has no grant that ended or waits.
        let grants = context.shared.store.grants().await?;
        let batch = context.shared.store.begin_batch(act).await?;
        Ok(Self {
            before: Arc::clone(&context.snapshot),
            context,
            batch,
            grants,
            kept: HashSet::new(),
            named: HashSet::new(),
            tools: HashSet::new(),
            facts: Vec::new(),
            changes: Vec::new(),
            unchanged: 0,
            faults: Vec::new(),
        })
    }

    /// Every item, each after those it can refer to.
    pub(super) async fn items(&mut self, wanted: &Wanted) -> Result<(), Refusal> {
        for (section, name, list) in [
            (Section::Owners, "owners", &wanted.owners),
            (Section::Agents, "agents", &wanted.agents),
            (Section::Servers, "servers", &wanted.servers),
            (Section::Tools, "tools", &wanted.tools),
            (Section::Grants, "grants", &wanted.grants),
        ] {
            for (index, item) in list.iter().enumerate() {
                self.item(section, format!("{name}[{index}]"), item).await?;
                self.verify_turn()?;
            }
        }
        if let Some(policy) = &wanted.policy {
            self.item(Section::Policy, "policy".to_owned(), policy).await?;
        }
        self.verify_bound(0)?;
        // What a faulty item wanted to keep is not known.
        if wanted.prune && self.faults.is_empty() {
            self.prune().await?;
        }
        Ok(())
    }

    /// Whether nobody waits who takes rights away.
    fn verify_turn(&self) -> Result<(), Refusal> {
        if self.context.shared.turns.is_urgent() { Err(Refusal::GaveWay) } else { Ok(()) }
    }

    /// Whether the changes and `more` are few enough for one transaction.
    fn verify_bound(&self, more: usize) -> Result<(), Refusal> {
        if self.changes.len().saturating_add(more) > ITEMS_MAX {
            return Err(Refusal::Item(format!(
                "a file makes at most {ITEMS_MAX} changes, what it prunes included"
            )));
        }
        Ok(())
    }

    async fn item(&mut self, section: Section, at: String, item: &RawValue) -> Result<(), Refusal> {
        let steps = match section {
            Section::Agents => self.agent(item).await,
            Section::Grants => self.grant(item).await,
            Section::Owners => self.owner(item).await,
            Section::Policy => self.policy(item).await,
            Section::Servers => self.server(item).await,
            Section::Tools => self.tool(item).await,
        };
        match steps {
            Ok(steps) if steps.is_empty() => self.unchanged += 1,
            Ok(steps) => steps.into_iter().for_each(|step| self.note(at.clone(), step)),
            Err(failure) if failure.is_failure() => return Err(failure),
            Err(refusal) => self.faults.push(Fault::new(at, &refusal)),
        }
        Ok(())
    }

    fn note(&mut self, at: String, step: Step) {
        let Step { operation, subject, detail } = step;
        self.changes.push(PlannedChange { at, operation: operation.row().id, subject, detail });
    }

    /// Revokes what the agents of the file hold at MCP servers and the file does not have. Rights to
    /// administer are not touched: they are taken back one by one.
    async fn prune(&mut self) -> Result<(), Refusal> {
        let now_s = self.context.now_s();
        let lives = |grant: &&Grant| {
            grant.revoked_s.is_none() && grant.expires_s.is_none_or(|end_s| now_s < end_s)
        };
        let is_brokered = |grant: &&Grant| {
            let server = self.context.snapshot.server(&grant.server);
            server.is_some_and(|server| !server.is_builtin())
        };
        let extra: Vec<Grant> = self
            .grants
            .iter()
            .filter(|grant| self.named.contains(&grant.agent) && !self.kept.contains(&grant.id))
            .filter(lives)
            .filter(is_brokered)
            .cloned()
            .collect();
        self.verify_bound(extra.len())?;
        for grant in extra {
            self.verify_turn()?;
            match self.revoke(&grant).await {
                Ok(step) => self.note("prune".to_owned(), step),
                Err(failure) if failure.is_failure() => return Err(failure),
                Err(refusal) => self.faults.push(Fault::new("prune".to_owned(), &refusal)),
            }
        }
        Ok(())
    }

    async fn revoke(&mut self, grant: &Grant) -> Result<Step, Refusal> {
        self.may(Operation::GrantRevoke)?;
        let revoked = self.batch.revoke_grant(&grant.id).await?;
        let fact = grants::about(&self.context, Kind::GrantRevoked, &revoked, "not in the file");
        self.facts.push(fact);
        let step = self.grant_step(Operation::GrantRevoke, &revoked);
        self.advance(|delta| delta.grants.push(revoked))?;
        Ok(step)
    }

    /// What a change of a grant says in a plan.
    pub(super) fn grant_step(&self, operation: Operation, grant: &Grant) -> Step {
        let snapshot = &self.context.snapshot;
        let agent = snapshot.agent(&grant.agent).map(|agent| agent.name.to_string());
        let server = snapshot.server(&grant.server).map(|server| server.name.to_string());
        let (agent, server) = (agent.unwrap_or_default(), server.unwrap_or_default());
        let mut detail = grants::patterns(grant).join(" ");
        if grant.awaits_second {
            detail.push_str(", waits for a second owner");
        }
        Step { operation, subject: format!("{agent} at {server}"), detail }
    }

    /// Whether the operator may run the operation that an item stands for.
    pub(super) fn may(&self, operation: Operation) -> Result<(), Refusal> {
        let Context { operator, shared, .. } = &self.context;
        operator
            .may(shared, &self.before, operation, self.context.now_s())
            .map_err(|reason| Refusal::NotAllowed(operation, reason))
    }

    /// Whether the operator may see what an item is compared with, by any of these operations. What
    /// the answer is tells what is there.
    pub(super) fn may_see(&self, look: Operation, others: &[Operation]) -> Result<(), Refusal> {
        let is_allowed = others.iter().any(|other| self.may(*other).is_ok());
        if is_allowed { Ok(()) } else { self.may(look) }
    }

    /// Lets the items to come see what this one did.
    pub(super) fn advance(&mut self, put: impl FnOnce(&mut SnapshotDelta)) -> Result<(), Refusal> {
        let now = &self.context.snapshot;
        let mut delta = SnapshotDelta {
            after: now.version,
            version: now.version.saturating_add(1),
            made_ms: self.context.now_ms,
            epoch: now.epoch,
            ..SnapshotDelta::default()
        };
        put(&mut delta);
        let next = now.apply(delta).map_err(|_| Refusal::StoreUnavailable)?;
        self.context.snapshot = Arc::new(next);
        Ok(())
    }
}

/// An item in the form of its operation.
pub(super) fn read<T: DeserializeOwned>(item: &RawValue) -> Result<T, Refusal> {
    // A derived struct would also take an array of its fields.
    if !item.get().starts_with('{') {
        return Err(Refusal::Item("an item is an object".to_owned()));
    }
    serde_json::from_str(item.get()).map_err(|error| {
        let told = error.to_string();
        // The place inside an item is one in our own spelling of it.
        let told = told.split(" at line ").next().unwrap_or_default();
        Refusal::Item(told.to_owned())
    })
}
