//! `attorn audit export`: entries of the authority's journal by a filter, or one chain out of all
//! journals that have a part of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attorn_audit::LineForm;
use attorn_journal::{CheckError, ReadError};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Filter;
use super::chain::{Chain, ChainArgs, Journal, located_in, nothing};
use crate::admin::{Admin, Operation};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::member;
use crate::outside::causes;
use crate::progress::Progress;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: Filter,
    /// One chain, as `attorn audit trace` shows it, with one file for each log
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// The same, by the name that the API gave the request
    #[arg(long, value_name = "ID", conflicts_with = "trace")]
    downstream_id: Option<String>,
    #[command(flatten)]
    chain: ChainArgs,
    /// What is written: proofs with the entries, or events for another system
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "bundle")]
    format: ExportFormat,
    /// File to write; a folder for a chain
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
}

/// What an export is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Entries with their proofs, for `attorn audit verify`
    Bundle,
    /// Events of OCSF 1.9.0, one JSON document a line, for a SIEM
    Ocsf,
}

impl ExportFormat {
    const fn ending(self) -> &'static str {
        match self {
            Self::Bundle => "json",
            Self::Ocsf => "ndjson",
        }
    }

    /// Out of a bundle what is written. Events are made of a bundle that verified, and of nothing else.
    fn of_bundle(self, bundle: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Bundle => Ok(bundle),
            // It proves nothing and does not verify; for events it is no failure that there are none.
            Self::Ocsf if is_empty(&bundle) => Ok(Vec::new()),
            Self::Ocsf => {
                let entries = located_in(&bundle, &[]).map_err(Failure::broken)?;
                let mut lines = Vec::new();
                for one in entries {
                    let place = (one.log.as_str(), one.index);
                    LineForm::Ocsf.push(place, &one.entry.to_canonical(), &mut lines);
                }
                Ok(lines)
            }
        }
    }
}

fn is_empty(bundle: &[u8]) -> bool {
    let bundle: Value = serde_json::from_slice(bundle).unwrap_or_default();
    member(&bundle, "entries").as_array().is_some_and(Vec::is_empty)
}

const EXAMPLES: &str = "\
Examples:
  attorn audit export --agent billing-agent --to export.json && attorn audit verify export.json
  attorn audit export --kind call.decided --format ocsf --to calls.ndjson   for a SIEM
  attorn audit export --trace dec_… --to case-12 && attorn audit verify case-12
  attorn audit export --trace dec_… --to case-12 \\
    --journal /srv/guard-1/state/journal --key authority.example.com/guard/guard-1+…

A journal's folder needs the key of its log, which `attorn serve` prints at its start.";

pub(super) async fn run(context: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let id = args.trace.as_deref().or(args.downstream_id.as_deref());
    if let Some(id) = id {
        let is_downstream = args.downstream_id.is_some();
        let chain = args.chain.read(context, id, is_downstream).await?;
        if chain.entries.is_empty() {
            return Err(nothing(id, &chain));
        }
        return write_chain(context, args, &chain).await;
    }
    let admin = Admin::open(context).await?;
    let bundle = {
        let _progress = Progress::start("exporting");
        admin.post_bytes(Operation::AuditExport, &args.filter.body()).await?
    };
    let written = args.format.of_bundle(bundle.to_vec())?;
    write(&args.to, &written)?;
    let (bytes, to) = (written.len(), args.to.display());
    admin.output.say(&format!("wrote {bytes} bytes to {to}"));
    match args.format {
        ExportFormat::Bundle => admin.output.say(&format!("next: attorn audit verify {to}")),
        ExportFormat::Ocsf => admin.output.say(PROOF_HINT),
    }
    Ok(Exit::Yes)
}

/// One file for each log. Each bundle verifies by itself, so that one that was changed is named.
async fn write_chain(context: &Context, args: &ExportArgs, chain: &Chain) -> Result<Exit, Failure> {
    let to = &args.to;
    std::fs::create_dir_all(to)
        .map_err(|e| Failure::usage(format!("cannot make `{}`: {e}", to.display())))?;
    let mut names = BTreeSet::new();
    for (log, places) in chain.places() {
        let bundle = match (chain.journals.iter().find(|one| one.log == log), &chain.admin) {
            (Some(journal), _) => of_journal(&args.chain, journal, &places).await?,
            (None, Some(admin)) if chain.asked.as_deref() == Some(log) => {
                let body = json!({ "indices": places });
                admin.post_bytes(Operation::AuditExport, &body).await?.to_vec()
            }
            (None, Some(_) | None) => continue,
        };
        let mut name = file_name(log);
        while !names.insert(name.clone()) {
            name.push('_');
        }
        let file = format!("{name}.{}", args.format.ending());
        write(&to.join(&file), &args.format.of_bundle(bundle)?)?;
        let entries = places.len();
        context.output.say(&format!("wrote {entries} entries of {log} to {file}"));
    }
    for remark in &chain.remarks {
        context.output.remark(remark);
    }
    match args.format {
        ExportFormat::Bundle => {
            context.output.say(&format!("next: attorn audit verify {}", to.display()));
        }
        ExportFormat::Ocsf => context.output.say(PROOF_HINT),
    }
    Ok(Exit::Yes)
}

/// Out of a folder the entries that are wanted; an export is what it is.
async fn of_journal(
    args: &ChainArgs,
    journal: &Journal,
    places: &[u64],
) -> Result<Vec<u8>, Failure> {
    if !journal.is_folder {
        return files::read_bounded(&journal.path, super::verify::EXPORT_BYTES_MAX);
    }
    let keys = args.keys()?;
    let own: Vec<_> = keys.into_iter().filter(|key| key.name() == journal.log).collect();
    if own.is_empty() {
        let what = format!("`{}` needs the key of its log with `--key`", journal.path.display());
        return Err(Failure::usage(what).next("`attorn serve` prints it as `log key`"));
    }
    let mut tries = 0..SIGNED_TRIES;
    loop {
        let error = match attorn_journal::export(&journal.path, &own, places, None) {
            Ok(bundle) => return Ok(bundle),
            Err(error) => error,
        };
        // A log that is being written signs its newest entries a moment after they are there.
        let may_come = matches!(error, CheckError::Read(ReadError::Missing { .. }));
        if !may_come || tries.next().is_none() {
            let place = journal.path.display();
            return Err(Failure::broken(format!("`{place}`: {}", causes(&error))));
        }
        tokio::time::sleep(SIGNED_PAUSE).await;
    }
}

fn file_name(log: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
    log.chars().map(plain).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|e| Failure::usage(format!("cannot write `{}`: {e}", path.display())))
}

const PROOF_HINT: &str =
    "events have no proofs: attorn audit proof INDEX, with `metadata.sequence`";
/// Five seconds, which is more than a log that is written takes.
const SIGNED_TRIES: u32 = 50;
const SIGNED_PAUSE: Duration = Duration::from_millis(100);
