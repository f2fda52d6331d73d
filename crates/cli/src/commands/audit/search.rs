//! `attorn audit search`.

use crate::admin::{Admin, Operation, items};
use crate::exit::{Exit, Failure};
use crate::names::Names;

use super::Filter;
use super::trace::removed;

/// What a table shows of an entry.
pub(super) const COLUMNS: [&str; 8] =
    ["index", "time_ms", "kind", "agent", "server", "tool", "decision", "reason"];

/// Prints what matches; exit code 1 if nothing does.
pub(super) async fn run(admin: &Admin, filter: &Filter) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::AuditSearch, &[], &filter.query()).await?;
    let mut entries = items(&answer).to_vec();
    if !admin.output.is_machine() {
        let names = Names::load(admin).await?;
        entries.iter_mut().for_each(|entry| names.put_into(entry));
    }
    admin.output.list(&entries, &COLUMNS);
    if let Some(removed) = removed(&answer) {
        admin.output.remark(&removed);
    }
    Ok(if entries.is_empty() { Exit::No } else { Exit::Yes })
}
