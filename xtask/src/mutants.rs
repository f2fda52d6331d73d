//! `cargo xtask mutants CRATE`: is there a test for each line?
//!
//! cargo-mutants changes one expression at a time and runs the tests of that crate. What no test
//! notices is a survivor. `bench/mutants.json` lists those that are known, each with the reason why
//! it may live; another one fails the run. `docs/mutants.md` is made from the same file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::step::{StepFailed, answers, output_of, root, run, run_with};

const VERSION: &str = "25.3.1";
const KNOWN: &str = "bench/mutants.json";

/// What to mutate.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// `jose`, `oauth`, `policy`, `mcp`, `audit`, or any other crate's name
    pub krate: String,
    /// Only this part of the mutants, such as `0/8`
    #[arg(long)]
    pub shard: Option<String>,
}

/// What was run, and what is known of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// By crate.
    crates: BTreeMap<String, Ran>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ran {
    /// Which shards were run, in words; empty for none.
    ran: String,
    caught: u32,
    unviable: u32,
    /// The survivors, and why each may live.
    survivors: BTreeMap<String, String>,
}

/// Mutates one crate, or a shard of it, and compares what survives with what is known.
///
/// # Errors
/// When a mutant survives that is not known, or cargo-mutants cannot be run.
pub fn run_plan(plan: &Plan) -> Result<(), StepFailed> {
    install()?;
    let package = format!("attorn-{}", plan.krate);
    let output = root().join("target/mutants-found").join(&plan.krate).display().to_string();
    std::fs::create_dir_all(&output).map_err(|source| file(&output, source))?;
    let mut arguments = vec!["mutants", "--package", &package, "--test-package", &package];
    arguments.extend(["--output", &output, "--timeout", "60", "--jobs", "1", "--no-shuffle"]);
    arguments.extend(plan.shard.iter().flat_map(|shard| ["--shard", shard.as_str()]));
    // A folder of its own: what it builds is never what a test or a person runs.
    let target = root().join("target/mutants").display().to_string();
    let environment = [("CARGO_TARGET_DIR", target.as_str()), ("NEXTEST", "")];
    // It ends with another status than zero when something survives; the lists say what.
    let ran = run_with("cargo", &arguments, &environment);
    let found = Path::new(&output).join("mutants.out");
    let missed = lines(&found.join("missed.txt"))?;
    let (caught, late) = (lines(&found.join("caught.txt"))?, lines(&found.join("timeout.txt"))?);
    if caught.is_empty() && missed.is_empty() {
        return Err(ran.err().unwrap_or_else(|| failed("no mutant was tried".to_owned())));
    }
    let known = known()?;
    let known = known.crates.get(&plan.krate);
    let is_known =
        |line: &&String| known.is_some_and(|ran| ran.survivors.contains_key(without_place(line)));
    let (expected, new): (Vec<_>, Vec<_>) = missed.iter().partition(is_known);
    println!(
        "{}: {} caught, {} ran into the time limit, {} known survivors, {} new",
        plan.krate,
        caught.len(),
        late.len(),
        expected.len(),
        new.len()
    );
    for line in &new {
        println!("  {line}");
    }
    if new.is_empty() { Ok(()) } else { Err(failed(format!("{} mutants survive", new.len()))) }
}

/// The document made from what is known; it is stale for ever where that cannot be read.
pub(crate) fn document_now() -> String {
    known().map_or_else(|failed| failed.to_string(), |known| document(&known))
}

fn document(known: &Known) -> String {
    let mut text = String::from(DOCUMENT_HEAD);
    for (name, ran) in &known.crates {
        let what = if ran.ran.is_empty() { "not run" } else { &ran.ran };
        let (caught, unviable, alive) = (ran.caught, ran.unviable, ran.survivors.len());
        text.push_str(&format!("| `{name}` | {what} | {caught} | {unviable} | {alive} |\n"));
    }
    for (name, ran) in known.crates.iter().filter(|(_, ran)| !ran.survivors.is_empty()) {
        text.push_str(&format!("\n## {name}\n\n| Mutant | Why it may live |\n|---|---|\n"));
        for (mutant, why) in &ran.survivors {
            text.push_str(&format!("| `{}` | {why} |\n", mutant.replace('|', "\\|")));
        }
    }
    text
}

const DOCUMENT_HEAD: &str = "\
# Mutants

Made by `cargo xtask docs` from `bench/mutants.json`; do not edit.

`cargo xtask mutants CRATE` changes one expression of a crate at a time and runs the crate's own tests. A
survivor is a change that no test noticed. Each is listed here with the reason why it may live; another
one fails the command. What was not run is not known.

| Crate | Run | Caught | Does not compile | Survivors |
|---|---|---|---|---|
";

fn known() -> Result<Known, StepFailed> {
    let path = root().join(KNOWN);
    let text = std::fs::read_to_string(&path).map_err(|source| file(KNOWN, source))?;
    serde_json::from_str(&text).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn install() -> Result<(), StepFailed> {
    let there = output_of(&root(), "cargo", &["mutants", "--version"]);
    if there.is_ok_and(|said| said.trim().ends_with(VERSION)) {
        return Ok(());
    }
    if !answers("cargo", &["--version"]) {
        return Err(failed("there is no cargo".to_owned()));
    }
    run("cargo", &["install", "cargo-mutants", "--version", VERSION, "--locked"])
}

/// A mutant without line and column, which change with every edit above it.
fn without_place(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, mutant)| mutant)
}

fn lines(path: &Path) -> Result<Vec<String>, StepFailed> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StepFailed::File { path: path.to_path_buf(), source })?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn file(path: &str, source: std::io::Error) -> StepFailed {
    StepFailed::File { path: path.into(), source }
}

fn failed(what: String) -> StepFailed {
    StepFailed::Check(what)
}
