//! `attorn audit search`.

use crate::admin::{Admin, Operation, items};
use crate::exit::{Exit, Failure};

use super::Filter;

/// What a table shows of an entry.
pub(super) const COLUMNS: [&str; 8] =
    ["index", "time", "kind", "agent", "server", "tool", "decision", "reason"];

/// Prints what matches; exit code 1 if nothing does.
pub(super) async fn run(admin: &Admin, filter: &Filter) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::AuditSearch, &[], &filter.query()).await?;
    let entries = items(&answer);
    let rows: Vec<_> = entries.iter().map(super::row).collect();
    admin.output.list(if admin.output.is_machine() { entries } else { &rows }, &COLUMNS);
    Ok(if entries.is_empty() { Exit::No } else { Exit::Yes })
}
