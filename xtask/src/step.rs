//! Runs one command after another, says which, and stops at the first that fails.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bounded::output_within;

/// For one command whose output is wanted.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// Why a step did not end well.
#[derive(Debug)]
pub enum StepFailed {
    /// The command ended with another status than zero.
    Status { command: String, status: Option<i32> },
    /// The command could not be started.
    Start { command: String, source: std::io::Error },
    /// A check of our own did not hold; the text says which.
    Check(String),
    /// A file could not be read or written.
    File { path: PathBuf, source: std::io::Error },
}

impl fmt::Display for StepFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { command, status: Some(status) } => {
                write!(f, "`{command}` ended with {status}")
            }
            Self::Status { command, status: None } => write!(f, "`{command}` was killed"),
            Self::Start { command, source } => write!(f, "`{command}` did not start: {source}"),
            Self::Check(what) => write!(f, "{what}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for StepFailed {}

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Runs one command in the workspace folder and waits for it.
///
/// # Errors
/// When it cannot be started or does not end with status zero.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), StepFailed> {
    run_with(program, arguments, &[])
}

/// As [`run`], with additions to the environment.
///
/// # Errors
/// When it cannot be started or does not end with status zero.
pub fn run_with(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(), StepFailed> {
    let command = format!("{program} {}", arguments.join(" "));
    println!("\n=== {command}");
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|source| StepFailed::Start { command: command.clone(), source })?;
    println!("--- {:.1} s", started.elapsed().as_secs_f64());
    if status.success() {
        return Ok(());
    }
    Err(StepFailed::Status { command, status: status.code() })
}

/// Whether `program --version` (or the given probe) can be run at all.
#[must_use]
pub fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command in a folder and gives back what it printed.
///
/// # Errors
/// When it cannot be started, does not end in time or with status zero.
pub fn output_of(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, StepFailed> {
    let command = format!("{program} {}", arguments.join(" "));
    let mut started = Command::new(program);
    started.args(arguments).current_dir(folder);
    let output = output_within(&command, COMMAND_WITHIN, &mut started)?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(StepFailed::Status { command, status: output.status.code() });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
