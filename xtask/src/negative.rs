//! `cargo xtask negative`: every row of `vectors/negative` against the real binary.
//!
//! Each row runs all its spellings and then its positive twin, which differs in the one thing and
//! must succeed: a server that refuses everything fails here. All of it is played in several
//! combinations: over HTTP/1.1 and HTTP/2, with one gateway and two, with tokens that a gateway has
//! never seen and that it has just taken. A case that has no meaning in a combination is not played
//! there and not counted as passed. What is not one request is shown by tests that the row names;
//! they run here, or have just run. Rows that wait for a later part, or are about nothing that Attorn has, are named
//! so, never counted as passed. Which rows there must be stands in two lists beside them.

mod application;
mod approved;
mod bases;
mod case;
mod fixtures;
mod ids;
mod modes;
mod mt;
mod nodes;
mod people;
mod platforms;
mod play;
mod report;
mod rows;
mod shown;
mod verdict;
mod watch;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::modes::Elsewhere;
pub use self::modes::{Cache, Combination, Http, Modes, Nodes};
use self::play::play;
use self::report::{Column, Played, Report};
use self::rows::{Case, Expect, Group, Row};
use self::shown::Shown;
pub use self::shown::Tests;
use self::world::{World, is_of_authority};
use crate::step::{StepFailed, root};

/// Plays the rows whose id starts with `only`, or all, in the combinations that are chosen; `tests`
/// says what is done about rows that tests show.
///
/// # Errors
/// When a row fails, or when nothing ran.
pub fn run(only: Option<&str>, modes: Modes, tests: Tests) -> Result<(), StepFailed> {
    let folder = root().join("vectors/negative");
    let groups = load(&folder)?;
    ids::verify(&folder, &groups)?;
    let mut report = Report::default();
    let mut rows: Vec<(&Group, &Row)> = Vec::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for group in &groups {
        let wanted = |row: &&Row| only.is_none_or(|only| row.id.starts_with(only));
        for row in group.rows.iter().filter(wanted) {
            verify_shape(row)?;
            report.expect(group, row);
            named.extend(row.shown_by.iter().map(String::as_str));
            if !row.cases.is_empty() {
                rows.push((group, row));
            }
        }
    }
    let started = Instant::now();
    let shown = Shown::by(tests, &named)?;
    report.judge(&groups, &shown);
    let combinations = modes.chosen();
    let plays_all = combinations.len() == Combination::PAIRWISE.len();
    let (left, report) = (Mutex::new(combinations), Mutex::new(report));
    std::thread::scope(|scope| {
        // Most of the time something waits for something.
        let players: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(combination) = next(&left) {
                        let column = column(combination, &rows)?;
                        locked(&report).add(column);
                    }
                    Ok::<_, StepFailed>(())
                })
            })
            .collect();
        players.into_iter().try_for_each(|player| {
            player.join().map_err(|_| StepFailed::Check("a player died".to_owned()))?
        })
    })?;
    locked(&report).print(plays_all, started.elapsed())
}

/// Plays rows in one combination, on an installation of its own.
fn column(combination: Combination, rows: &[(&Group, &Row)]) -> Result<Column, StepFailed> {
    let started = Instant::now();
    let world = World::start(combination)?;
    let mut column = Column::new(combination);
    for (group, row) in rows {
        let row_started = Instant::now();
        let played = row_played(&world, row)
            .map_err(|failed| StepFailed::Check(format!("{} ({combination}): {failed}", row.id)))?;
        column.note((group, row), played, row_started.elapsed());
    }
    let warmth = world.warmth();
    let leaks = world.stop_and_read_leaks()?;
    column.end(started.elapsed(), warmth, leaks);
    Ok(column)
}

/// The lock is not held while it is played.
fn next(left: &Mutex<Vec<Combination>>) -> Option<Combination> {
    locked(left).pop()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with each of these rows; a row that holds has no fault.
///
/// A name is an id, or an id and the combination to play it in, as in `AT-50@2.1.warm`; without
/// one it is [`Combination::PLAIN`].
///
/// # Errors
/// When there is no such row, or a row cannot be played.
pub fn faults_of(names: &[&str]) -> Result<BTreeMap<String, Vec<String>>, StepFailed> {
    let groups = load(&root().join("vectors/negative"))?;
    let mut by_combination: BTreeMap<Combination, Vec<(&str, &Row)>> = BTreeMap::new();
    for name in names {
        let (id, combination) = name.split_once('@').unwrap_or((name, ""));
        let combination = match combination {
            "" => Combination::PLAIN,
            text => text.parse().map_err(|error| StepFailed::Check(format!("{name}: {error}")))?,
        };
        let mut all = groups.iter().flat_map(|group| &group.rows);
        let row = all.find(|row| row.id == id && !row.cases.is_empty());
        let row = row.ok_or_else(|| StepFailed::Check(format!("no row `{id}`")))?;
        by_combination.entry(combination).or_default().push((name, row));
    }
    let mut found = BTreeMap::new();
    for (combination, rows) in by_combination {
        let world = World::start(combination)?;
        for (name, row) in rows {
            let faults = match row_played(&world, row)? {
                Played::Holds(_) => Vec::new(),
                Played::Fails(faults) => faults,
                Played::Not(why) => {
                    return Err(StepFailed::Check(format!("{name} is {why}")));
                }
            };
            found.insert(name.to_owned(), faults);
        }
    }
    Ok(found)
}

/// A row is run, or waits, or is about nothing here: one of them, and nothing else.
fn verify_shape(row: &Row) -> Result<(), StepFailed> {
    let runs = !row.cases.is_empty() || !row.shown_by.is_empty();
    let ways = [runs, row.waits_for.is_some(), row.not_applicable.is_some()];
    if ways.into_iter().filter(|way| *way).count() == 1 {
        return Ok(());
    }
    let id = &row.id;
    Err(StepFailed::Check(format!("{id} has cases or tests, or waits, or does not apply")))
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

/// What came of a row, its policies in force meanwhile.
fn row_played(world: &World, row: &Row) -> Result<Played, StepFailed> {
    let mut left_out: BTreeMap<Elsewhere, usize> = BTreeMap::new();
    let mut cases: Vec<&Case> = Vec::new();
    for case in &row.cases {
        match world.combination.leaves_out(case) {
            Some(why) => *left_out.entry(why).or_default() += 1,
            None => cases.push(case),
        }
    }
    if cases.is_empty()
        && let Some(why) = left_out.keys().next()
    {
        return Ok(Played::Not(*why));
    }
    // What one case takes back, the next one presents.
    world.begin_row(row.cases.iter().any(|case| case.base.as_deref() == Some("revoke")));
    let before = row.policy.as_deref().map(|text| world.apply_policy(text)).transpose()?;
    let faults = faults_in(world, row, &cases);
    if let Some(before) = before {
        world.restore_policy(before)?;
    }
    let faults = faults?;
    Ok(if faults.is_empty() { Played::Holds(left_out) } else { Played::Fails(faults) })
}

fn faults_in(world: &World, row: &Row, cases: &[&Case]) -> Result<Vec<String>, StepFailed> {
    let mut faults = Vec::new();
    if cases.is_empty() {
        faults.push("the row has no case".to_owned());
    }
    // Of two gateways, the one in a process of its own.
    let last = world.node_count() - 1;
    world.go_to(last);
    for case in cases {
        let found = case_faults(world, row, case)?;
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", case.name)));
    }
    let twin = twin_of(row);
    // There is one authority, whoever follows it; what it was asked to make is there then.
    let first = if is_of_authority(twin.base.as_deref().unwrap_or("call")) { last } else { 0 };
    for node in (first..=last).rev() {
        world.go_to(node);
        faults.extend(twin_faults(world, &twin)?);
    }
    Ok(faults)
}

fn case_faults(world: &World, row: &Row, case: &Case) -> Result<Vec<String>, StepFailed> {
    let http = world.combination.http;
    let Some(expect) = case.expected(row, http) else {
        return Ok(vec!["nothing is expected".to_owned()]);
    };
    let observed = play(world, case, expect)?;
    let mut found = verdict::faults(expect, &observed);
    if let Some(other) = &expect.same_reply_as {
        let other = play(world, other, expect)?;
        if other.reply.status != observed.reply.status || other.reply.body != observed.reply.body {
            found.push(format!("differs from `{}`", other.reply.text()));
        }
    }
    if let (Http::Two, Some(other), false) = (http, &case.over_http2, found.is_empty()) {
        found.push(format!("expected over HTTP/2, because: {}", other.why));
    }
    Ok(found)
}

/// The request that differs in the one thing, and succeeds.
fn twin_of(row: &Row) -> Case {
    let same_base = row.cases.first().and_then(|case| case.base.clone());
    let forged = row.cases.iter().any(|case| case.token.as_ref().is_some_and(|token| !token.omit));
    row.twin.clone().unwrap_or_else(|| Case {
        base: same_base,
        // A token made in the same way, but right, must be accepted.
        token: forged.then(rows::Forged::default),
        ..Case::default()
    })
}

fn twin_faults(world: &World, twin: &Case) -> Result<Vec<String>, StepFailed> {
    if let Some(why) = world.combination.leaves_out(twin) {
        return Ok(vec![format!("its positive twin is {why}")]);
    }
    let reaches_server = matches!(twin.base.as_deref(), None | Some("call" | "connect" | "list"));
    let right = Expect {
        status: vec![200],
        canary: usize::from(reaches_server),
        body_lacks: vec![r#""error""#.to_owned(), r#""isError":true"#.to_owned()],
        ..Expect::default()
    };
    let expect = twin.expect.clone().unwrap_or(right);
    let observed = play(world, twin, &expect)?;
    let faults = verdict::faults(&expect, &observed);
    Ok(faults.into_iter().map(|fault| format!("positive twin: {fault}")).collect())
}

/// Combinations that are played at the same time.
const AT_ONCE: usize = 2;
