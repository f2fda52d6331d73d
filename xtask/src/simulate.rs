//! `cargo xtask simulate`: an authority, its registry, two gateways and their callers, on one thread,
//! with every choice taken from a seed.
//!
//! Real: the registry on SQLite, the marks, what leads from one version to the next, the signed
//! messages, the order of questions, freshness, tokens, proofs, the memory of used proofs, and the
//! decision. Modelled: time, the network, the memory that gateways share, and the callers. Not
//! there: HTTP, the journal, the MCP servers, and a backup that holds the mark as well.
//!
//! `truth.rs` says in its own words what must be permitted; `scene.rs` compares after each step.

mod authority;
mod dice;
mod gateway;
mod network;
mod scene;
mod truth;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attorn_planted::Bug;

use crate::step::{StepFailed, root, run_with};

use self::scene::{Scene, Seen};
use self::world::World;

/// The binary that can have a bug.
const PLANTED: &str = "target/planted/debug/xtask";
/// Of the bugs that can be planted, those that the simulation has the means to notice.
const NOTICED: [Bug; 7] = [
    Bug::DefinitionNotCompared,
    Bug::LockIgnored,
    Bug::ProofNonceUnchecked,
    Bug::ProofReused,
    Bug::ProofTokenHashUnchecked,
    Bug::RevocationIgnored,
    Bug::TokenEndUnchecked,
];
/// Seeds with a planted bug: the first that notices ends the run.
const SEEDS_WITH_BUG: u64 = 40;

/// What to run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    pub seeds: u64,
    /// The first of them; a failure names its own
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Plant each bug that this should notice, one at a time, in a build of its own
    #[arg(long)]
    pub planted: bool,
}

/// Runs the seeds, one after the other.
///
/// # Errors
/// At the first seed in which something does not hold; the text names it and what was done.
pub fn run(plan: &Plan) -> Result<(), StepFailed> {
    if plan.planted {
        return with_bugs();
    }
    if let Ok(bug) = std::env::var("ATTORN_PLANTED") {
        let planted = attorn_planted::plant(&bug);
        planted.map_err(|error| StepFailed::Check(format!("`{bug}`: {error}")))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| StepFailed::Check(format!("runtime: {error}")))?;
    let (started, mut seen) = (Instant::now(), Seen::default());
    let folder = Folder::new()?;
    let world = runtime.block_on(World::prepared(&folder.0))?;
    for seed in plan.seed..plan.seed.saturating_add(plan.seeds) {
        let one = runtime.block_on(async {
            let mut scene = Scene::new(&world, seed).await?;
            let ran = scene.run().await;
            scene.end().await;
            ran
        });
        let one = one.map_err(|broken| {
            StepFailed::Check(format!(
                "seed {seed}: {broken}\ncargo xtask simulate --seed {seed} --seeds 1"
            ))
        })?;
        seen.add(one);
    }
    println!("{} seeds in {:.1} s: {seen}", plan.seeds, started.elapsed().as_secs_f64());
    if plan.seeds >= SEEDS_THAT_SHOW {
        seen.shows_something()?;
    }
    Ok(())
}

/// From this many seeds on, everything that can happen must have happened.
const SEEDS_THAT_SHOW: u64 = 20;

/// Is the simulation able to fail? Each bug must be noticed by some seed.
fn with_bugs() -> Result<(), StepFailed> {
    let shared = root().join("target").display().to_string();
    let build = ["build", "--locked", "--workspace", "--bin", "xtask", "--test", "keys"];
    let feature = ["--features", "attorn-planted/planted", "--target-dir", "target/planted"];
    let arguments: Vec<&str> = build.into_iter().chain(feature).collect();
    run_with("cargo", &arguments, &[("CARGO_BUILD_BUILD_DIR", &shared)])?;
    let mut unnoticed = Vec::new();
    for bug in NOTICED {
        let mut command = std::process::Command::new(root().join(PLANTED));
        command.args(["simulate", "--seeds", &SEEDS_WITH_BUG.to_string()]);
        command.env("ATTORN_PLANTED", bug.name());
        let output = crate::bounded::output_within("simulate", WITHIN, &mut command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("seed ")).unwrap_or("not noticed");
        println!("{:<30} {line}", bug.name());
        if output.status.success() || !said.contains("seed ") {
            unnoticed.push(bug.name());
        }
    }
    if unnoticed.is_empty() {
        return Ok(());
    }
    Err(StepFailed::Check(format!("not noticed: {}", unnoticed.join(" "))))
}

const WITHIN: Duration = Duration::from_secs(120);

/// Where the registries are: in memory if the machine has such a place.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, StepFailed> {
        let memory = Path::new("/dev/shm");
        let at = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = at.join(format!("attorn-simulate-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Turns any error into one that ends the seed.
fn broken(what: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(what.to_string())
}
