//! What came of the rows, by combination and group, in one table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::modes::{Combination, Elsewhere};
use super::rows::{Group, Row};
use super::shown::Shown;
use super::world::Warmth;
use crate::step::StepFailed;

/// What came of one row in one combination.
#[derive(Debug)]
pub(super) enum Played {
    /// It holds; so many of its cases could not be played here.
    Holds(BTreeMap<Elsewhere, usize>),
    /// What is wrong.
    Fails(Vec<String>),
    /// None of its cases can be played here.
    Not(Elsewhere),
}

/// Everything that was played.
#[derive(Debug, Default)]
pub(super) struct Report {
    columns: Vec<Column>,
    /// Ids of the rows to play.
    wanted: BTreeSet<String>,
    /// Ids of the rows with tests.
    tested: BTreeSet<String>,
    /// What came of the tests that rows name, by group.
    by_tests: BTreeMap<String, Count>,
    /// Ids of the rows that say what they do not show.
    in_part: Vec<String>,
    /// Ids of the rows that are about nothing here, by what is not here.
    not_applicable: BTreeMap<String, Vec<String>>,
    /// Ids of the rows that wait, by what they wait for.
    waiting: BTreeMap<String, Vec<String>>,
    groups: BTreeSet<String>,
}

/// What came of one combination.
#[derive(Debug)]
pub(super) struct Column {
    combination: Combination,
    counts: BTreeMap<String, Count>,
    played: BTreeSet<String>,
    /// Ids of rows of which nothing was played.
    rows_elsewhere: BTreeMap<Elsewhere, Vec<String>>,
    /// Cases of rows that were played.
    cases_elsewhere: BTreeMap<Elsewhere, usize>,
    /// How long rows took.
    took: Vec<(Duration, String)>,
    notes: Vec<String>,
    leaks: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Notes a row that is to be played or tested, or what it waits for.
    pub(super) fn expect(&mut self, group: &Group, row: &Row) {
        self.groups.insert(group.group.clone());
        let id = || row.id.clone();
        if let Some(part) = &row.waits_for {
            self.waiting.entry(part.clone()).or_default().push(id());
        }
        if let Some(what) = &row.not_applicable {
            self.not_applicable.entry(what.clone()).or_default().push(id());
        }
        if row.left_out.is_some() {
            self.in_part.push(id());
        }
        if !row.cases.is_empty() {
            self.wanted.insert(id());
        }
        if !row.shown_by.is_empty() {
            self.tested.insert(id());
        }
    }

    /// Notes what came of the tests that the rows name, and tells what is wrong.
    pub(super) fn judge(&mut self, groups: &[Group], shown: &Shown) {
        for group in groups {
            for row in group.rows.iter().filter(|row| self.tested.contains(&row.id)) {
                let count = self.by_tests.entry(group.group.clone()).or_default();
                let faults = shown.faults(&row.shown_by);
                if faults.is_empty() {
                    count.passed += 1;
                    continue;
                }
                count.failed += 1;
                println!("{} {} ({}; {}; tests)", row.id, row.title, group.about, row.section);
                faults.iter().for_each(|fault| println!("    {fault}"));
            }
        }
    }

    /// Adds what came of a combination.
    pub(super) fn add(&mut self, column: Column) {
        self.columns.push(column);
        self.columns.sort_by_key(|column| column.combination);
    }

    /// Prints the table.
    ///
    /// # Errors
    /// When a row does not hold, a secret leaked, or a row was played nowhere.
    pub(super) fn print(&self, plays_all: bool, took: Duration) -> Result<(), StepFailed> {
        self.print_table();
        for column in &self.columns {
            column.print();
        }
        for (part, rows) in &self.waiting {
            println!("waiting for {part}: {}", rows.join(" "));
        }
        for (what, rows) in &self.not_applicable {
            println!("not applicable, {what}: {}", rows.join(" "));
        }
        println!("in part, see `left_out`: {}", self.in_part.join(" "));
        let both = self.wanted.intersection(&self.tested).count();
        println!(
            "{} rows have cases, which are played in the combinations above; {} are shown by tests alone, \
             which run once, most of them in one process; {both} have both",
            self.wanted.len(),
            self.tested.len() - both
        );
        let of_tests = total(self.by_tests.values().copied());
        let played = total(self.columns.iter().flat_map(|column| column.counts.values().copied()));
        let (passed, failed) = (played.passed + of_tests.passed, played.failed + of_tests.failed);
        let leaks = self.columns.iter().any(|column| !column.leaks.is_empty());
        let played: BTreeSet<&String> =
            self.columns.iter().flat_map(|column| &column.played).collect();
        let run = played.iter().copied().chain(&self.tested).collect::<BTreeSet<_>>();
        let elsewhere: usize = self.not_applicable.values().map(Vec::len).sum();
        let nowhere: Vec<&str> =
            self.wanted.iter().filter(|id| !played.contains(id)).map(String::as_str).collect();
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        println!(
            "{} rows, {waiting} waiting, {elsewhere} not applicable; {passed} times passed, {failed} \
             failed, in {} s",
            run.len(),
            took.as_secs()
        );
        if failed > 0 || leaks {
            return Err(StepFailed::Check("a negative row does not hold".to_owned()));
        }
        if passed == 0 {
            return Err(StepFailed::Check("no negative row ran".to_owned()));
        }
        if plays_all && !nowhere.is_empty() {
            return Err(StepFailed::Check(format!("played nowhere: {}", nowhere.join(" "))));
        }
        Ok(())
    }

    /// One line for each group, one column for each combination: passed of played.
    fn print_table(&self) {
        let names: Vec<String> =
            self.columns.iter().map(|column| column.combination.to_string()).collect();
        let head: String = names.iter().map(|name| format!("  {name}")).collect();
        println!("     {head}  by tests");
        let line = |label: &str, tests: Count, of: &dyn Fn(&Column) -> Count| {
            let cells = self.columns.iter().zip(&names).map(|(column, name)| {
                let Count { passed, failed } = of(column);
                format!("  {:>width$}", format!("{passed}/{}", passed + failed), width = name.len())
            });
            let Count { passed, failed } = tests;
            let tests = format!("{passed}/{}", passed + failed);
            println!("{label:<5}{}  {tests:>8}", cells.collect::<String>());
        };
        for group in &self.groups {
            let tests = self.by_tests.get(group).copied().unwrap_or_default();
            line(group, tests, &|column| column.counts.get(group).copied().unwrap_or_default());
        }
        line("all", total(self.by_tests.values().copied()), &|column| {
            total(column.counts.values().copied())
        });
    }
}

impl Column {
    pub(super) fn new(combination: Combination) -> Self {
        Self {
            combination,
            counts: BTreeMap::new(),
            played: BTreeSet::new(),
            rows_elsewhere: BTreeMap::new(),
            cases_elsewhere: BTreeMap::new(),
            took: Vec::new(),
            notes: Vec::new(),
            leaks: Vec::new(),
        }
    }

    /// Notes what came of a row, and tells what is wrong.
    pub(super) fn note(&mut self, (group, row): (&Group, &Row), played: Played, took: Duration) {
        let count = self.counts.entry(group.group.clone()).or_default();
        match played {
            Played::Holds(left_out) => {
                count.passed += 1;
                for (why, cases) in left_out {
                    *self.cases_elsewhere.entry(why).or_default() += cases;
                }
            }
            Played::Fails(faults) => {
                count.failed += 1;
                let (about, section, combination) = (&group.about, &row.section, self.combination);
                println!("{} {} ({about}; {section}; {combination})", row.id, row.title);
                faults.iter().for_each(|fault| println!("    {fault}"));
            }
            Played::Not(why) => {
                self.rows_elsewhere.entry(why).or_default().push(row.id.clone());
                return;
            }
        }
        self.played.insert(row.id.clone());
        self.took.push((took, row.id.clone()));
    }

    /// Notes what is known at the end.
    pub(super) fn end(&mut self, took: Duration, warmth: Warmth, leaks: Vec<String>) {
        self.took.sort();
        let slowest = self.took.iter().rev().take(SLOWEST);
        let slowest: Vec<String> =
            slowest.map(|(took, id)| format!("{id} {} ms", took.as_millis())).collect();
        self.notes.push(format!("{} s, most for {}", took.as_secs(), slowest.join(", ")));
        if warmth != Warmth::default() {
            let Warmth { taken, refused } = warmth;
            self.notes.push(format!(
                "{taken} tokens were taken just before their case, {refused} that are never taken \
                 were refused before it as well"
            ));
        }
        self.leaks = leaks;
    }

    /// What the table does not say.
    fn print(&self) {
        println!("{}: {}", self.combination, self.notes.join("; "));
        for (why, rows) in &self.rows_elsewhere {
            println!("    not played, {why}: {} rows ({})", rows.len(), rows.join(" "));
        }
        for (why, cases) in &self.cases_elsewhere {
            println!("    not played, {why}: {cases} cases of rows that passed");
        }
        self.leaks.iter().for_each(|leak| println!("    {leak}"));
    }
}

fn total(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), |total, count| Count {
        passed: total.passed + count.passed,
        failed: total.failed + count.failed,
    })
}

/// Rows whose time is told.
const SLOWEST: usize = 5;
