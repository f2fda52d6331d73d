//! A file of what the registry should hold: what differs is changed, all of it or nothing.
//!
//! Every item passes what its single operation passes: the decision about the operator, the checks
//! against the registry (as the items before it leave it), and the rules of the store, which writes
//! them in one transaction. A plan is the same walk without its end, so it cannot promise more than
//! an application keeps.
//!
//! A walk keeps the registry to itself. One that takes rights away does not wait for its end: the walk
//! stops without a trace in the registry.
//!
//! Nothing is deleted. With `prune`, grants of the agents that the file names are revoked when the
//! file does not have them. Not implemented: states, locks and keys in a file.

mod items;
mod walk;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use self::walk::Walk;
use super::context::{Context, Effect};
use super::operation::Operation;
use super::refusal::{Fault, Refusal};

/// What a file asks for. Each item has the form of the operation that makes it; one that exists as
/// it is described stays as it is. Without `Debug`: upstreams may hold secrets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// As for `owner.create`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    owners: Vec<Box<RawValue>>,
    /// As for `agent.register`. A new agent waits for its code, which is made for itself.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    agents: Vec<Box<RawValue>>,
    /// As for `server.register`, or without `upstream` for one that exists.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    servers: Vec<Box<RawValue>>,
    /// `server`, `name` and what `tool.approve` takes; `digest` where the tool waits.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    tools: Vec<Box<RawValue>>,
    /// As for `grant.create`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    grants: Vec<Box<RawValue>>,
    /// As for `policy.apply`.
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
    /// Revoke grants of the named agents that the file does not have.
    #[serde(default)]
    prune: bool,
}

/// What differs, or what was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    /// Whether it was done.
    applied: bool,
    changes: Vec<PlannedChange>,
    /// Items that are as the file has them.
    unchanged: usize,
    /// What cannot be applied. With one of them, nothing is.
    faults: Vec<Fault>,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedChange {
    /// The item of the file, such as `grants[2]`; `prune` for what the file does not have.
    at: String,
    /// The operation it stands for.
    operation: &'static str,
    /// What it is about, by name.
    subject: String,
    /// What becomes of it.
    detail: String,
}

pub(crate) async fn plan(context: Context, wanted: Wanted) -> Result<Plan, Refusal> {
    let shared = Arc::clone(&context.shared);
    // It keeps the registry to itself as an application does, and asks for no more than to read.
    let _only = shared.planning.try_lock().map_err(|_| Refusal::PlanUnderWay)?;
    let _alone = shared.turns.next().await;
    let context = Context { snapshot: shared.published.load(), ..context };
    context.may(Operation::RegistryPlan)?;
    walked(context, wanted, false).await.map(|walked| walked.output)
}

/// The caller holds the lock on changes.
pub(crate) async fn apply(context: Context, wanted: Wanted) -> Result<Effect<Plan>, Refusal> {
    walked(context, wanted, true).await
}

async fn walked(
    context: Context,
    wanted: Wanted,
    is_applied: bool,
) -> Result<Effect<Plan>, Refusal> {
    if wanted.len() > ITEMS_MAX {
        return Err(Refusal::Item(format!("a file has at most {ITEMS_MAX} items")));
    }
    let shared = Arc::clone(&context.shared);
    let by = context.operator.id.to_string();
    let mut walk = Walk::begin(context, &by).await?;
    walk.items(&wanted).await?;
    let Walk { batch, changes, unchanged, faults, facts, .. } = walk;
    if is_applied {
        if !faults.is_empty() {
            return Err(Refusal::Faults(faults));
        }
        // Without all of its entries there is no change. Dies after this line, or fails: the journal
        // holds changes that did not happen, but none happened that it does not hold.
        shared.record_all(&facts).await?;
        batch.commit().await?;
    }
    let plan = Plan { applied: is_applied, changes, unchanged, faults };
    Ok(Effect { output: plan, facts: Vec::new() })
}

impl Wanted {
    fn len(&self) -> usize {
        let lists = [&self.owners, &self.agents, &self.servers, &self.tools, &self.grants];
        lists.into_iter().map(Vec::len).sum()
    }
}

/// One transaction keeps everybody else waiting. For items, and for changes with prunings.
const ITEMS_MAX: usize = 500;
