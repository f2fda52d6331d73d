//! `attorn audit verify`: reads one file, or one folder, and nothing else.

use std::path::{Path, PathBuf};

use attorn_audit::cosignature::CosignerKey;
use attorn_audit::note::NoteVerifier;
use attorn_audit::verify::{Broken, Trust, Witnesses, verify_witnessed};
use attorn_journal::{Checked, check};
use serde_json::json;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::outside::causes;
use crate::progress::Progress;

pub(crate) fn run(
    context: &Context,
    file: &Path,
    keys: &[String],
    (witness_keys, quorum): (&[String], Option<usize>),
) -> Result<Exit, Failure> {
    let witness_key = |key: &String| {
        let parsed = CosignerKey::from_vkey(key);
        parsed.map_err(|e| Failure::usage(format!("`{key}` is not a key of a witness: {e}")))
    };
    let witness_keys: Vec<_> = witness_keys.iter().map(witness_key).collect::<Result<_, _>>()?;
    let quorum = quorum.unwrap_or(witness_keys.len());
    if !witness_keys.is_empty() && !(1..=witness_keys.len()).contains(&quorum) {
        return Err(Failure::usage("`--quorum` is not between 1 and the number of witness keys"));
    }
    let witnesses = Witnesses { keys: &witness_keys, quorum };
    let mut pinned = Vec::with_capacity(keys.len());
    for key in keys {
        let parsed = NoteVerifier::from_vkey(key);
        pinned.push(parsed.map_err(|e| Failure::usage(format!("`{key}` is not a log key: {e}")))?);
    }
    let trust = if pinned.is_empty() { Trust::Embedded } else { Trust::Pinned(&pinned) };
    if let Some(exports) = exports(file)? {
        for export in exports {
            bundle(context, &export, trust, &witnesses)?;
        }
        return Ok(Exit::Yes);
    }
    if file.is_dir() {
        if !witness_keys.is_empty() {
            return Err(Failure::usage("the cosignatures of a folder are not looked at")
                .next("attorn audit export --to FILE, and verify that file"));
        }
        return journal(context, file, &pinned);
    }
    bundle(context, file, trust, &witnesses)?;
    Ok(Exit::Yes)
}

/// The exports in a folder, in the order of their names; nothing where it is no folder, or a
/// journal's.
fn exports(folder: &Path) -> Result<Option<Vec<PathBuf>>, Failure> {
    if !folder.is_dir() || folder.join("checkpoint").exists() {
        return Ok(None);
    }
    let failed = |e| Failure::usage(format!("cannot read `{}`: {e}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let what = format!("`{}` holds no export and no journal", folder.display());
        return Err(Failure::usage(what));
    }
    Ok(Some(found))
}

fn bundle(
    context: &Context,
    file: &Path,
    trust: Trust<'_>,
    witnesses: &Witnesses<'_>,
) -> Result<(), Failure> {
    let bundle = files::read_bounded(file, EXPORT_BYTES_MAX)?;
    let checked = {
        // Nobody waits for a small file.
        let _progress = (bundle.len() > LARGE_BYTES).then(|| Progress::start("verifying"));
        verify_witnessed(&bundle, trust, witnesses)
    };
    match checked {
        Ok(report) => {
            context.output.object(&json!({
                "verified": true,
                "entries": report.indices.len(),
                "first_index": report.indices.first(),
                "last_index": report.indices.last(),
                "origin": report.checkpoint.origin,
                "tree_size": report.checkpoint.size,
                "extends_earlier": report.earlier.map(|earlier| earlier.size),
                "signer": if report.pinned { "known from elsewhere" } else { "as named in the file" },
                "seen_by": report.cosignatures.iter().map(|one| &one.name).collect::<Vec<_>>(),
            }));
            Ok(())
        }
        Err(broken) => Err(refused(context, file, (&bundle, &broken))),
    }
}

/// Every entry, every tile, and whether what is missing was removed as the log says.
fn journal(context: &Context, folder: &Path, keys: &[NoteVerifier]) -> Result<Exit, Failure> {
    if keys.is_empty() {
        return Err(Failure::usage("a folder names no key: give the log's own with `--key`")
            .next("`attorn serve` prints it as `log key`"));
    }
    let checked = {
        let _progress = Progress::start("verifying");
        check(folder, keys)
    };
    match checked {
        Ok(Checked { signed, tombstone }) => {
            let removed = tombstone.as_ref().map_or(0, |tombstone| tombstone.end);
            context.output.object(&json!({
                "verified": true,
                "entries": signed.checkpoint.size.saturating_sub(removed),
                "removed_by_retention": removed,
                "removed_at_ms": tombstone.as_ref().map(|tombstone| tombstone.time_ms),
                "removal_announced_at": tombstone.as_ref().map(|tombstone| tombstone.announced),
                "origin": signed.checkpoint.origin,
                "tree_size": signed.checkpoint.size,
                "signer": "known from elsewhere",
            }));
            Ok(Exit::Yes)
        }
        Err(broken) => {
            let broken = causes(&broken);
            if context.output.is_machine() {
                context.output.object(&json!({ "verified": false, "broken": broken }));
            }
            let what = format!("`{}` does not verify: {broken}", folder.display());
            Err(Failure::broken(what).next("keep the folder as it is, and look at a copy"))
        }
    }
}

/// Names the entry, and the log that the file says it is from.
fn refused(context: &Context, file: &Path, (bundle, broken): (&[u8], &Broken)) -> Failure {
    let index = match broken {
        Broken::Entry { index } | Broken::Order { index } => Some(*index),
        Broken::Checkpoint(_)
        | Broken::Consistency { .. }
        | Broken::Cosignature(_)
        | Broken::NotWitnessed { .. }
        | Broken::EarlierCheckpoint(_)
        | Broken::Empty
        | Broken::Key(_)
        | Broken::NotABundle
        | Broken::NotJson
        | Broken::Version => None,
    };
    if context.output.is_machine() {
        let answer = json!({
            "verified": false,
            "index": index,
            "broken": broken.to_string(),
            "claimed_origin": claimed_origin(bundle),
        });
        context.output.object(&answer);
    }
    let of = claimed_origin(bundle).map_or_else(String::new, |log| format!(" (log `{log}`)"));
    let failure = Failure::broken(format!("`{}`{of} does not verify: {broken}", file.display()));
    match index {
        Some(index) => failure.next(format!("attorn audit show {index}")),
        None => failure.next("attorn audit export --to NEW, and keep both files"),
    }
}

/// The first line of the checkpoint, as the file has it.
fn claimed_origin(bundle: &[u8]) -> Option<String> {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).ok()?;
    let origin = bundle.get("checkpoint")?.as_str()?.lines().next()?;
    let is_plain = origin.bytes().all(|byte| byte.is_ascii_graphic()) && origin.len() <= 256;
    is_plain.then(|| origin.to_owned())
}

/// Far more than an export can have; less than a machine has memory.
pub(super) const EXPORT_BYTES_MAX: u64 = 1 << 30;
const LARGE_BYTES: usize = 8 << 20;
