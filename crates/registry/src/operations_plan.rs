//! What a list of operations would make of those that an API has.
//!
//! One function to show it and to do it, so that what is done is what was shown. The class of an
//! operation that is there was its owner's word: a list raises it and never lowers it, unless it says
//! that the owner says so. *Not* checked: whether the API does what the list says.

use std::collections::{BTreeMap, BTreeSet};

use crate::resource::RECORDS_MAX;
use crate::{HttpMethod, OperationId, Resource, ResourceOperation, ResourceRefusal};

/// An operation of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOperation {
    /// As it should be.
    pub operation: ResourceOperation,
    /// Whether the class is the owner's own word and no proposal: only then it may be lower than the
    /// one that is there.
    pub is_stated: bool,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationChange {
    /// It has another class.
    Class,
    /// It has another method or path, and perhaps another class.
    Moved,
    /// It was not there.
    New,
    /// It is there and not in the list.
    Removed,
    /// It is there like that.
    Same,
    /// It is left out: another operation that stays has its method and path.
    Taken,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOperation {
    /// What becomes of it.
    pub change: OperationChange,
    /// As it would be. What is removed is as it was, what is left out as the list has it.
    pub operation: ResourceOperation,
    /// What is there under its name; for what is left out, what has its method and path.
    pub before: Option<ResourceOperation>,
}

/// What a list would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationsPlan {
    /// In the order of the list, and after that what is removed.
    pub planned: Vec<PlannedOperation>,
    /// All operations of the API afterwards.
    pub operations: Vec<ResourceOperation>,
}

impl OperationChange {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Moved => "moved",
            Self::New => "new",
            Self::Removed => "removed",
            Self::Same => "same",
            Self::Taken => "taken",
        }
    }

    /// Whether the registry is another one afterwards.
    #[must_use]
    pub const fn changes(self) -> bool {
        match self {
            Self::Class | Self::Moved | Self::New | Self::Removed => true,
            Self::Same | Self::Taken => false,
        }
    }
}

impl OperationsPlan {
    /// What changes, in the order of the plan.
    pub fn changes(&self) -> impl Iterator<Item = &PlannedOperation> {
        self.planned.iter().filter(|one| one.change.changes())
    }

    /// How many operations are there as the list has them.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.planned.iter().filter(|one| one.change == OperationChange::Same).count()
    }

    /// What changes, as one text that is the same for the same changes; nothing where nothing does.
    /// Whoever lets it happen names a digest of it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut lines: Vec<String> = self.changes().map(PlannedOperation::line).collect();
        // The order of a document is no matter for who accepts it.
        lines.sort_unstable();
        let text = lines
            .into_iter()
            .fold("attorn/operations/v1\n".to_owned(), |text, line| text + &line + "\n");
        self.changes().next().map(|_one| text)
    }
}

impl PlannedOperation {
    fn line(&self) -> String {
        let word = self.change.as_str();
        match &self.before {
            // What is removed is as it was.
            Some(before) if *before != self.operation => {
                format!("{word} {before} -> {}", self.operation)
            }
            Some(_) | None => format!("{word} {}", self.operation),
        }
    }
}

impl Resource {
    /// What a list of operations would make of this API's. What is there and not in the list stays,
    /// or is removed where `removes_others` says so.
    ///
    /// # Errors
    /// [`ResourceRefusal::OperationTaken`] where two of the list have one name, or one method and
    /// path; [`ResourceRefusal::TooMany`].
    pub fn plan_operations(
        &self,
        wanted: &[WantedOperation],
        removes_others: bool,
    ) -> Result<OperationsPlan, ResourceRefusal> {
        let names: BTreeSet<_> = wanted.iter().map(|one| &one.operation.id).collect();
        let places: BTreeSet<_> = wanted.iter().map(|one| one.operation.place()).collect();
        if names.len() < wanted.len() || places.len() < wanted.len() {
            return Err(ResourceRefusal::OperationTaken);
        }
        let there: BTreeMap<_, _> = self.operations.iter().map(|own| (&own.id, own)).collect();
        let is_other = |own: &&ResourceOperation| !names.contains(&own.id);
        let others: Vec<_> = self.operations.iter().filter(is_other).collect();
        let staying: &[_] = if removes_others { &[] } else { &others };
        let taken = taken(wanted, &there, staying);

        let planned_one = |one: &WantedOperation| {
            let id = &one.operation.id;
            planned(one, there.get(id).copied(), taken.get(id).copied())
        };
        let mut planned: Vec<_> = wanted.iter().map(planned_one).collect();
        let mut changed: BTreeMap<_, _> = planned
            .iter()
            .filter(|one| one.change != OperationChange::Taken)
            .map(|one| (one.operation.id.clone(), one.operation.clone()))
            .collect();
        // What is there keeps its place in the list: of two equals the first one names a request.
        let mut operations = Vec::new();
        for own in &self.operations {
            match changed.remove(&own.id) {
                Some(operation) => operations.push(operation),
                None if removes_others && is_other(&own) => {}
                None => operations.push(own.clone()),
            }
        }
        let is_new = |one: &&WantedOperation| changed.contains_key(&one.operation.id);
        operations.extend(wanted.iter().filter(is_new).map(|one| one.operation.clone()));
        if operations.len() > RECORDS_MAX {
            return Err(ResourceRefusal::TooMany);
        }
        if removes_others {
            planned.extend(others.into_iter().map(|own| PlannedOperation {
                change: OperationChange::Removed,
                operation: own.clone(),
                before: Some(own.clone()),
            }));
        }
        Ok(OperationsPlan { planned, operations })
    }
}

fn planned(
    one: &WantedOperation,
    own: Option<&ResourceOperation>,
    taken_by: Option<&ResourceOperation>,
) -> PlannedOperation {
    let WantedOperation { operation, is_stated } = one;
    let line = |change, operation: &ResourceOperation, before: Option<&ResourceOperation>| {
        PlannedOperation { change, operation: operation.clone(), before: before.cloned() }
    };
    if let Some(by) = taken_by {
        return line(OperationChange::Taken, operation, Some(by));
    }
    let Some(own) = own else { return line(OperationChange::New, operation, None) };
    let class = if *is_stated { operation.class } else { operation.class.max(own.class) };
    let operation = ResourceOperation { class, ..operation.clone() };
    let change = if operation.method != own.method || operation.path != own.path {
        OperationChange::Moved
    } else if operation.class != own.class {
        OperationChange::Class
    } else {
        OperationChange::Same
    };
    line(change, &operation, Some(own))
}

/// Which of the list cannot be where it wants to be, and who is there. One that is left out stays
/// where it was, and may be in the way of another one.
fn taken<'r>(
    wanted: &[WantedOperation],
    there: &BTreeMap<&OperationId, &'r ResourceOperation>,
    staying: &[&'r ResourceOperation],
) -> BTreeMap<OperationId, &'r ResourceOperation> {
    let mut places: BTreeMap<(HttpMethod, String), &ResourceOperation> =
        staying.iter().map(|own| (own.place(), *own)).collect();
    let mut taken = BTreeMap::new();
    loop {
        let before = taken.len();
        for WantedOperation { operation, .. } in wanted {
            let id = &operation.id;
            let by = if taken.contains_key(id) { None } else { places.get(&operation.place()) };
            let Some(by) = by.copied() else { continue };
            taken.insert(id.clone(), by);
            places.extend(there.get(id).map(|own| (own.place(), *own)));
        }
        if taken.len() == before {
            return taken;
        }
    }
}

#[cfg(test)]
#[path = "operations_plan_tests.rs"]
mod tests;
