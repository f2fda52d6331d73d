//! `cargo xtask negative`: every row of `vectors/negative` against the real binary.
//!
//! Each row runs all its spellings and then its positive twin, which differs in the one thing and
//! must succeed: a server that refuses everything fails here. Rows that wait for a later part are
//! counted as waiting, never as passed.

mod case;
mod rows;
mod verdict;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use attorn_testkit::canary::Script;
use attorn_testkit::wire::{RawReply, exchange};
use rows::{Case, Expect, Group, Row, Upstream};
use verdict::Observed;
use world::World;

use crate::step::{StepFailed, root};

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    waiting: BTreeMap<String, usize>,
}

/// Runs the rows whose id starts with `only`, or all.
///
/// # Errors
/// When a row fails, or when nothing ran.
pub fn run(only: Option<&str>) -> Result<(), StepFailed> {
    let groups = load(&root().join("vectors/negative"))?;
    let mut world = World::start()?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for group in &groups {
        let count = counts.entry(group.group.clone()).or_default();
        let wanted = |row: &&Row| only.is_none_or(|only| row.id.starts_with(only));
        for row in group.rows.iter().filter(wanted) {
            if let Some(part) = &row.waits_for {
                *count.waiting.entry(part.clone()).or_default() += 1;
                continue;
            }
            let faults = row_faults(&mut world, row)?;
            if faults.is_empty() {
                count.passed += 1;
            } else {
                count.failed += 1;
                println!("{} {} ({}; {})", row.id, row.title, group.about, row.section);
                faults.iter().for_each(|fault| println!("    {fault}"));
            }
        }
    }
    let leaks = world.stop_and_read_leaks()?;
    report(&counts, &leaks)
}

fn report(counts: &BTreeMap<String, Count>, leaks: &[String]) -> Result<(), StepFailed> {
    let mut total = Count::default();
    for (group, count) in counts {
        let waiting: usize = count.waiting.values().sum();
        let parts: Vec<String> =
            count.waiting.iter().map(|(part, rows)| format!("{rows} for {part}")).collect();
        let parts =
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        println!(
            "{group}: {} passed, {} failed, {waiting} waiting{parts}",
            count.passed, count.failed
        );
        total.passed += count.passed;
        total.failed += count.failed;
        *total.waiting.entry(String::new()).or_default() += waiting;
    }
    let waiting: usize = total.waiting.values().sum();
    println!("all: {} passed, {} failed, {waiting} waiting", total.passed, total.failed);
    leaks.iter().for_each(|leak| println!("    {leak}"));
    if total.failed > 0 || !leaks.is_empty() {
        return Err(StepFailed::Check("a negative row does not hold".to_owned()));
    }
    if total.passed == 0 {
        return Err(StepFailed::Check("no negative row ran".to_owned()));
    }
    Ok(())
}

fn load(folder: &Path) -> Result<Vec<Group>, StepFailed> {
    let failed = |source| StepFailed::File { path: folder.to_path_buf(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut groups: Vec<Group> = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json"))
    {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let group = serde_json::from_str(&text)
            .map_err(|error| StepFailed::Check(format!("{}: {error}", path.display())))?;
        groups.push(group);
    }
    Ok(groups)
}

fn row_faults(world: &mut World, row: &Row) -> Result<Vec<String>, StepFailed> {
    let mut faults = Vec::new();
    if row.cases.is_empty() {
        faults.push("the row has no case".to_owned());
    }
    for case in &row.cases {
        let Some(expect) = case.expect.as_ref().or(row.expect.as_ref()) else {
            faults.push(format!("{}: nothing is expected", case.name));
            continue;
        };
        let observed = play(world, case, expect)?;
        let mut found = verdict::faults(expect, &observed);
        if let Some(other) = &expect.same_reply_as {
            let other = play(world, other, expect)?;
            if other.reply.status != observed.reply.status
                || other.reply.body != observed.reply.body
            {
                found.push(format!("differs from `{}`", other.reply.text()));
            }
        }
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", case.name)));
    }
    faults.extend(twin_faults(world, row)?);
    Ok(faults)
}

/// The request that differs in the one thing, and succeeds.
fn twin_faults(world: &mut World, row: &Row) -> Result<Vec<String>, StepFailed> {
    let same_base = row.cases.first().and_then(|case| case.base.clone());
    let forged = row.cases.iter().any(|case| case.token.as_ref().is_some_and(|token| !token.omit));
    let twin = row.twin.clone().unwrap_or_else(|| Case {
        base: same_base,
        // A token made in the same way, but right, must be accepted.
        token: forged.then(rows::Forged::default),
        ..Case::default()
    });
    let reaches_server = matches!(twin.base.as_deref(), None | Some("call" | "list"));
    let right = Expect {
        status: vec![200],
        canary: usize::from(reaches_server),
        body_lacks: vec![r#""error""#.to_owned(), r#""isError":true"#.to_owned()],
        ..Expect::default()
    };
    let expect = twin.expect.clone().unwrap_or(right);
    let observed = play(world, &twin, &expect)?;
    let faults = verdict::faults(&expect, &observed);
    Ok(faults.into_iter().map(|fault| format!("positive twin: {fault}")).collect())
}

fn play(world: &mut World, case: &Case, expect: &Expect) -> Result<Observed, StepFailed> {
    set_upstream(world, case.upstream.as_ref())?;
    let request = case::build(world, case)?;
    let mark = world.journal_mark()?;
    drop(world.canary().take_seen());
    let peer = world.peer(case.base.as_deref().unwrap_or("call"));
    let started = Instant::now();
    let mut reply = RawReply::default();
    for _ in 0..case.times.unwrap_or(1) {
        reply = exchange(peer, &request)
            .map_err(|error| StepFailed::Check(format!("{}: {error}", case.name)))?;
    }
    let took_ms = started.elapsed().as_millis();
    world.learn_nonce(case.base.as_deref().unwrap_or("call"), &reply);
    let reasons = world.reasons_since(mark, !expect.reason.is_empty())?;
    let tested = case.upstream.as_ref().map(|upstream| upstream.rpc_method.clone());
    let base = if case.base.as_deref() == Some("list") { "tools/list" } else { "tools/call" };
    let tested = tested.unwrap_or_else(|| base.to_owned());
    let mut seen = world.canary().take_seen();
    // Looking at its own catalogue is the gateway's business, not the caller's request.
    seen.retain(|seen| seen.rpc_method().is_none_or(|method| method == tested));
    set_upstream(world, None)?;
    let secrets = request
        .headers
        .iter()
        .filter(|(name, _)| {
            name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("dpop")
        })
        .map(|(_, value)| String::from_utf8_lossy(value).trim_start_matches("DPoP ").to_owned())
        .collect();
    Ok(Observed { reply, reasons, seen, secrets, took_ms })
}

fn set_upstream(world: &World, upstream: Option<&Upstream>) -> Result<(), StepFailed> {
    let Some(upstream) = upstream else {
        world.canary().set_script(None);
        world.canary().set_tools(world::tools());
        return Ok(());
    };
    if let Some(tools) = &upstream.tools {
        let named = tools.as_str().and_then(world::tools_with);
        world.canary().set_tools(named.unwrap_or_else(|| tools.clone()));
    }
    let bytes = match (&upstream.bytes, upstream.status) {
        (Some(bytes), _) => bytes.clone().into_bytes(),
        (None, Some(status)) => {
            let body = upstream.body.as_ref().map(case::made).transpose()?.unwrap_or_default();
            let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
            for (name, value) in &upstream.headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            [head.into_bytes(), b"Connection: close\r\n\r\n".to_vec(), body].concat()
        }
        (None, None) => return Ok(()),
    };
    world.canary().set_script(Some(Script {
        rpc_method: upstream.rpc_method.clone(),
        bytes,
        trickle: upstream.trickle,
        hold: Duration::from_millis(upstream.hold_ms),
    }));
    Ok(())
}
