//! `attorn audit prune`: removes old entries while nobody serves.

use std::path::PathBuf;

use attorn_telemetry::shipped;
use clap::Args;
use serde_json::json;

use crate::clock;
use crate::commands::Context;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::outside::causes;
use crate::world::node::Node;
use crate::world::retention::{older_than, plan, remove_payloads};

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The configuration file: its state folder has the journal
    #[arg(long, default_value = "attorn.toml", value_name = "FILE", env = "ATTORN_CONFIG")]
    config: PathBuf,
    /// Keep entries of the last so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    keep_days: u32,
    /// Why, for the journal
    #[arg(long)]
    reason: String,
    /// Only say what would be removed (it still opens the journal as a start does)
    #[arg(long)]
    dry_run: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  attorn audit prune --keep-days 365 --reason \"retention policy 7\" --dry-run
  attorn audit prune --keep-days 365 --reason \"retention policy 7\"

Only whole tiles of 256 entries go, none that a restart would read again, and none that a
`[[ship]]` of the configuration has not accepted. Where the journal was replaced from a backup, and
is not the one that was shipped, nothing of it counts as accepted. Hashes stay: the rest verifies as
before, and so does an export that was made before. There is no way back.

A dry run removes nothing, but it opens the journal as a start does: it needs the folder for itself,
signs a checkpoint, begins a segment, and records the outcome of calls that a crash cut off.";

pub(super) async fn run(context: &Context, prune: &Prune) -> Result<Exit, Failure> {
    let config = Config::load(&prune.config)?;
    let Node { journal, payloads, .. } = Node::open_existing(&config).await?;
    let now_ms = clock::now_ms();
    let broken = |error: &dyn std::error::Error| Failure::broken(causes(error));
    let mut kept = Vec::with_capacity(config.ship.len());
    for ship in &config.ship {
        let next = shipped(&ship.cursor(&config.state), &journal).await;
        kept.push(next.map_err(|error| broken(&error))?);
    }
    let kept = kept.into_iter().min();
    let planned = plan(&journal, older_than(prune.keep_days, now_ms), kept).await;
    let planned = planned.map_err(|error| broken(&error))?;
    let (first, before) = (journal.first(), planned.before);
    let removed = if prune.dry_run {
        Ok(())
    } else {
        journal.remove(planned.removal("operator", &prune.reason, now_ms)).await
    };
    if !prune.dry_run {
        remove_payloads(&payloads, older_than(prune.keep_days, now_ms)).await;
    }
    let (entries, file) = (journal.size(), config.state.join("journal/tombstone"));
    journal.close().await;
    removed.map_err(|error| broken(&error))?;
    context.output.object(&json!({
        "dry_run": prune.dry_run,
        "removed": before - first,
        "removed_before": before,
        "left": entries - before,
        "tombstone": (before > 0 && !prune.dry_run).then(|| file.display().to_string()),
    }));
    Ok(Exit::Yes)
}
