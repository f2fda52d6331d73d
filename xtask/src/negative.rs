//! `cargo xtask negative`: every row of `vectors/negative` against the real binary.
//!
//! Each row runs all its spellings and then its positive twin, which differs in the one thing and
//! must succeed: a server that refuses everything fails here. What is not one request is shown by
//! tests that the row names; they run here. Rows that wait for a later part, or are about nothing
//! that Attorn has, are counted so, never as passed.

mod bases;
mod case;
mod fixtures;
mod mt;
mod play;
mod rows;
mod shown;
mod verdict;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use play::play;
use rows::{Case, Expect, Group, Row};
use shown::Shown;
use world::World;

use crate::step::{StepFailed, root};

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    /// Of the passed, those that only tests show.
    by_tests: usize,
    /// Of the passed, those that say what they leave out.
    in_part: usize,
    failed: usize,
    not_applicable: usize,
    waiting: BTreeMap<String, usize>,
}

/// Runs the rows whose id starts with `only`, or all.
///
/// # Errors
/// When a row fails, or when nothing ran.
pub fn run(only: Option<&str>) -> Result<(), StepFailed> {
    let mut groups = load(&root().join("vectors/negative"))?;
    for group in &mut groups {
        group.rows.retain(|row| only.is_none_or(|only| row.id.starts_with(only)));
    }
    let rows = groups.iter().flat_map(|group| &group.rows);
    let named: BTreeSet<&str> = rows.flat_map(|row| &row.shown_by).map(String::as_str).collect();
    let shown = Shown::run(&named)?;
    let world = World::start()?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for group in groups.iter().filter(|group| !group.rows.is_empty()) {
        let count = counts.entry(group.group.clone()).or_default();
        for row in &group.rows {
            let mut faults = shape_faults(row);
            if faults.is_empty() && row.not_applicable.is_some() {
                count.not_applicable += 1;
                continue;
            }
            if faults.is_empty()
                && let Some(part) = &row.waits_for
            {
                *count.waiting.entry(part.clone()).or_default() += 1;
                continue;
            }
            faults.extend(shown.faults(&row.shown_by));
            if !row.cases.is_empty() {
                faults.extend(row_faults(&world, row)?);
            }
            if faults.is_empty() {
                count.passed += 1;
                count.by_tests += usize::from(row.cases.is_empty());
                count.in_part += usize::from(row.left_out.is_some());
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

/// What is wrong with each of these rows; a row that holds has no fault.
///
/// # Errors
/// When there is no such row, or a row cannot be played.
pub fn faults_of(ids: &[&str]) -> Result<BTreeMap<String, Vec<String>>, StepFailed> {
    let groups = load(&root().join("vectors/negative"))?;
    let world = World::start()?;
    let mut found = BTreeMap::new();
    for id in ids {
        let mut all = groups.iter().flat_map(|group| &group.rows);
        let row = all.find(|row| row.id == *id && !row.cases.is_empty());
        let row = row.ok_or_else(|| StepFailed::Check(format!("no row `{id}`")))?;
        found.insert(row.id.clone(), row_faults(&world, row)?);
    }
    Ok(found)
}

/// A row is run, or waits, or is about nothing here: one of them, and nothing else.
fn shape_faults(row: &Row) -> Vec<String> {
    let runs = !row.cases.is_empty() || !row.shown_by.is_empty();
    let ways = [runs, row.waits_for.is_some(), row.not_applicable.is_some()];
    if ways.into_iter().filter(|way| *way).count() == 1 {
        return Vec::new();
    }
    vec!["a row has cases or tests, or waits, or does not apply".to_owned()]
}

fn report(counts: &BTreeMap<String, Count>, leaks: &[String]) -> Result<(), StepFailed> {
    let mut total = Count::default();
    for (group, count) in counts {
        println!("{}", line(group, count));
        total.passed += count.passed;
        total.by_tests += count.by_tests;
        total.in_part += count.in_part;
        total.failed += count.failed;
        total.not_applicable += count.not_applicable;
        for (part, rows) in &count.waiting {
            *total.waiting.entry(part.clone()).or_default() += rows;
        }
    }
    println!("{}", line("all", &total));
    leaks.iter().for_each(|leak| println!("    {leak}"));
    if total.failed > 0 || !leaks.is_empty() {
        return Err(StepFailed::Check("a negative row does not hold".to_owned()));
    }
    if total.passed == 0 {
        return Err(StepFailed::Check("no negative row ran".to_owned()));
    }
    Ok(())
}

fn line(name: &str, count: &Count) -> String {
    let Count { passed, by_tests, in_part, failed, not_applicable, waiting } = count;
    let parts: Vec<String> =
        waiting.iter().map(|(part, rows)| format!("{rows} for {part}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let waiting: usize = waiting.values().sum();
    format!(
        "{name}: {passed} passed ({by_tests} by tests, {in_part} in part), {failed} failed, \
         {waiting} waiting{parts}, {not_applicable} not applicable"
    )
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

/// What is wrong with a row, its policies in force meanwhile.
fn row_faults(world: &World, row: &Row) -> Result<Vec<String>, StepFailed> {
    let before = row.policy.as_deref().map(|text| world.apply_policy(text)).transpose()?;
    let faults = case_faults(world, row);
    if let Some(before) = before {
        world.restore_policy(before)?;
    }
    faults
}

fn case_faults(world: &World, row: &Row) -> Result<Vec<String>, StepFailed> {
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
fn twin_faults(world: &World, row: &Row) -> Result<Vec<String>, StepFailed> {
    let same_base = row.cases.first().and_then(|case| case.base.clone());
    let forged = row.cases.iter().any(|case| case.token.as_ref().is_some_and(|token| !token.omit));
    let twin = row.twin.clone().unwrap_or_else(|| Case {
        base: same_base,
        // A token made in the same way, but right, must be accepted.
        token: forged.then(rows::Forged::default),
        ..Case::default()
    });
    let reaches_server = matches!(twin.base.as_deref(), None | Some("call" | "connect" | "list"));
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
