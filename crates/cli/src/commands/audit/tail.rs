//! `attorn audit tail`: asks again for what came after the last entry seen.

use std::time::Duration;

use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::names::Names;
use crate::output::named;
use crate::signals::Signals;

use super::Filter;
use super::search::COLUMNS;

pub(super) async fn run(admin: &Admin, filter: &Filter) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut next: Option<u64> = None;
    let names =
        if admin.output.is_machine() { Names::default() } else { Names::load(admin).await? };
    loop {
        let mut query = filter.query();
        query.push(("from_index", next.map(|index| index.to_string())));
        if next.is_none() && filter.limit.is_none() {
            query.push(("limit", Some(FIRST_ENTRIES.to_owned())));
        }
        let answer = admin.read(Operation::AuditSearch, &[], &query).await?;
        let mut entries = items(&answer).to_vec();
        entries.sort_by_key(|entry| member(entry, "index").as_u64());
        for entry in &mut entries {
            let index = member(entry, "index").as_u64().unwrap_or_default();
            next = Some(next.unwrap_or_default().max(index.saturating_add(1)));
            // Each look is itself recorded: showing that would never end.
            if filter.kind.is_none() && text(entry, "kind") == Some("admin.read") {
                continue;
            }
            names.put_into(entry);
            show(admin, entry);
        }
        tokio::select! {
            () = signals.stop_asked() => return Ok(Exit::Yes),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn show(admin: &Admin, entry: &Value) {
    if admin.output.is_machine() {
        return admin.output.text(&entry.to_string());
    }
    let cells = COLUMNS.map(|column| named(column, member(entry, column)));
    admin.output.text(&cells.join("  "));
}

/// Entries shown before the new ones.
const FIRST_ENTRIES: &str = "20";
/// How often the journal is asked for what is new.
const PAUSE: Duration = Duration::from_secs(1);
