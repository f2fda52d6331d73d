//! `attorn audit tail`: asks again for what came after the last entry seen.

use std::time::Duration;

use crate::admin::{Admin, Operation, items};
use crate::exit::{Exit, Failure};
use crate::json::member;
use crate::output::cell;
use crate::signals::Signals;

use super::{Filter, row};

pub(super) async fn run(admin: &Admin, filter: &Filter) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut next: Option<u64> = None;
    loop {
        let mut query = filter.query();
        query.push(("from_index", next.map(|index| index.to_string())));
        let answer = admin.read(Operation::AuditSearch, &[], &query).await?;
        let mut entries = items(&answer).to_vec();
        entries.sort_by_key(|entry| member(entry, "index").as_u64());
        for entry in &entries {
            let index = member(entry, "index").as_u64().unwrap_or_default();
            next = Some(next.unwrap_or_default().max(index.saturating_add(1)));
            show(admin, entry);
        }
        tokio::select! {
            () = signals.stop_asked() => return Ok(Exit::Yes),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn show(admin: &Admin, entry: &serde_json::Value) {
    if admin.output.is_machine() {
        return admin.output.text(&entry.to_string());
    }
    let row = row(entry);
    let cells = super::search::COLUMNS.map(|column| cell(member(&row, column)));
    admin.output.text(&cells.join("  "));
}

/// How often the journal is asked for what is new.
const PAUSE: Duration = Duration::from_millis(500);
