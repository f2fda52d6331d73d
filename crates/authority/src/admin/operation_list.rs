//! Operations of an API out of a list, all of them or none: what an `OpenAPI` document describes,
//! read by whoever holds it.
//!
//! The document stays with its reader, since it says more of an API than is needed here. A plan and a
//! change are one function, and a change has to name the digest of what would change: nobody confirms
//! classes that they were not shown. What was shown counts as long as it would still happen.
//!
//! *Not* checked: that the list is what a document says, and that the API does what it says.

use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_registry::{
    Class, HttpMethod, OperationChange, OperationId, OperationsPlan, PathTemplate,
    PlannedOperation, Resource, ResourceOperation, WantedOperation,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::operation::Operation;
use super::refusal::Refusal;
use super::resources::{self, OperationView};
use super::tools::hex;

/// The operations that an API should have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationList {
    operations: Vec<OperationWanted>,
    /// Take away the operations that are not in the list.
    #[serde(default)]
    remove_others: bool,
    /// The `digest` of the plan that is accepted. Needed where something would change.
    digest: Option<String>,
}

/// One of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationWanted {
    /// Its name in scopes: 1 to 64 of `A-Za-z0-9_.-`.
    id: String,
    /// `read`, `write` or `irreversible`.
    class: String,
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    method: String,
    /// Below the URL, such as `/invoices/{id}`.
    path: String,
    /// Whether the class is the owner's own word and no proposal. A proposal lowers the class of no
    /// operation that is there.
    #[serde(default)]
    stated: bool,
}

/// What a list would change, or changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationListPlan {
    /// Whether it was done.
    applied: bool,
    /// In the order of the list, and after that what is removed.
    operations: Vec<PlannedView>,
    /// Operations that are as the list has them.
    unchanged: usize,
    /// What to name to let it happen; absent where nothing changes.
    digest: Option<String>,
}

/// What becomes of one operation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedView {
    /// `new`, `class`, `moved`, `removed`, `same`; or `taken` where another one that stays has its
    /// method and path, so that it is left out.
    change: &'static str,
    operation: OperationView,
    /// What is there under its name, or has its method and path: scope, method and path.
    before: Option<String>,
}

pub(crate) async fn plan(
    context: Context,
    list: OperationList,
) -> Result<OperationListPlan, Refusal> {
    let resource = resources::named(&context, context.segment("resource"))?;
    Ok(OperationListPlan::of(&list.plan(resource)?, false))
}

/// The caller holds the lock on changes.
pub(crate) async fn import(
    context: Context,
    list: OperationList,
) -> Result<Effect<OperationListPlan>, Refusal> {
    let resource = resources::named(&context, context.segment("resource"))?;
    let plan = list.plan(resource)?;
    let output = OperationListPlan::of(&plan, true);
    if output.digest.is_none() {
        return Ok(Effect { output, facts: Vec::new() });
    }
    for change in plan.changes() {
        stands_for(change.change).iter().try_for_each(|operation| context.may(*operation))?;
    }
    if output.digest != list.digest {
        return Err(Refusal::PlanChanged);
    }
    let facts: Vec<_> = plan.changes().map(|one| fact(&context, resource, one)).collect();
    let shared = Arc::clone(&context.shared);
    let mut batch = shared.store.begin_batch(context.act()).await?;
    batch.set_operations(&resource.id, (&resource.operations, &plan.operations)).await?;
    // Without all of its entries there is no change. Dies after this line, or fails: the journal
    // holds changes that did not happen, but none happened that it does not hold.
    shared.record_all(&facts).await?;
    batch.commit().await?;
    Ok(Effect { output, facts: Vec::new() })
}

/// The operations that an operator would need one by one: a list does no more than they do.
const fn stands_for(change: OperationChange) -> &'static [Operation] {
    const ADD: Operation = Operation::ResourceOperationAdd;
    const REMOVE: Operation = Operation::ResourceOperationRemove;
    match change {
        OperationChange::Class | OperationChange::Moved => &[ADD, REMOVE],
        OperationChange::New => &[ADD],
        OperationChange::Removed => &[REMOVE],
        OperationChange::Same | OperationChange::Taken => &[],
    }
}

/// In the words of the operations that do one at a time.
fn fact(context: &Context, resource: &Resource, one: &PlannedOperation) -> Entry {
    let mut fact = resources::about(context, Kind::AdminChanged, resource);
    if one.change == OperationChange::Removed {
        let id = one.operation.id.as_str().to_owned();
        fact.detail.insert("operation_removed".to_owned(), id);
        return fact;
    }
    fact.detail.insert("operation".to_owned(), one.operation.to_string());
    let before = one.before.as_ref().map(ToString::to_string);
    fact.detail.extend(before.map(|before| ("operation_before".to_owned(), before)));
    fact
}

impl OperationList {
    fn plan(&self, resource: &Resource) -> Result<OperationsPlan, Refusal> {
        let wanted: Vec<_> =
            self.operations.iter().map(OperationWanted::read).collect::<Result<_, _>>()?;
        if wanted.is_empty() && self.remove_others {
            // Whoever means that removes them, or retires the API.
            return Err(Refusal::Item("an empty list takes nothing away".to_owned()));
        }
        Ok(resource.plan_operations(&wanted, self.remove_others)?)
    }
}

impl OperationWanted {
    fn read(&self) -> Result<WantedOperation, Refusal> {
        let class: Class = self.class.parse().map_err(|_| Refusal::Form)?;
        let operation = ResourceOperation {
            id: OperationId::parse(&self.id)?,
            class,
            method: HttpMethod::parse(&self.method)?,
            path: PathTemplate::parse(&self.path)?,
        };
        Ok(WantedOperation { operation, is_stated: self.stated })
    }
}

impl OperationListPlan {
    fn of(plan: &OperationsPlan, applied: bool) -> Self {
        let digest = plan.text().map(|text| hex(&attorn_jose::sha256(text.as_bytes())));
        let view = |one: &PlannedOperation| PlannedView {
            change: one.change.as_str(),
            operation: OperationView::of(&one.operation),
            before: one.before.as_ref().map(ToString::to_string),
        };
        let operations = plan.planned.iter().map(view).collect();
        Self { applied, operations, unchanged: plan.unchanged(), digest }
    }
}
