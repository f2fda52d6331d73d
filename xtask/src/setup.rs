//! Installs what the tests need and a fresh machine lacks: Node.js, Go, nginx, `HAProxy`, Redis,
//! PostgreSQL and Chromium from Debian; MCP servers, clients and the conformance suite from npm and `PyPI`, at pinned versions.

use crate::step::{StepFailed, answers, root, run, run_with};

/// Debian packages, each with a command that shows it is there.
const DEBIAN: &[(&str, &[&str], &str)] = &[
    ("node", &["--version"], "nodejs"),
    ("npm", &["--version"], "npm"),
    ("go", &["version"], "golang-go"),
    ("curl", &["--version"], "curl"),
    ("nginx", &["-v"], "nginx-light"),
    ("haproxy", &["-v"], "haproxy"),
    ("python3", &["-c", "import venv, ensurepip"], "python3-venv"),
    ("valgrind", &["--version"], "valgrind"),
    ("sqlite3", &["--version"], "sqlite3"),
    ("redis-server", &["--version"], "redis-server"),
    ("sh", &["-c", "ls /usr/lib/postgresql/*/bin/postgres"], "postgresql"),
    ("chromium", &["--version"], "chromium"),
    ("test", &["-d", "/usr/share/gocode/src/golang.org/x/mod"], "golang-golang-x-mod-dev"),
];

/// Installs what is missing and leaves the rest alone.
///
/// # Errors
/// When a package cannot be installed; the message names the command that failed.
pub fn everything() -> Result<(), StepFailed> {
    debian()?;
    npm()?;
    pypi("tests/interop")?;
    // It needs another generation of the SDK than our clients, and so a folder of its own.
    pypi("tests/interop/atlassian")
}

fn debian() -> Result<(), StepFailed> {
    let missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(program, probe, _)| !answers(program, probe))
        .map(|(_, _, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !answers("apt-get", &["--version"]) {
        return Err(StepFailed::Check(format!(
            "the tests need these Debian packages or their like: {}",
            missing.join(" ")
        )));
    }
    let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
    run_with("apt-get", &["update", "-qq"], &quiet)?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    run_with("apt-get", &arguments, &quiet)
}

/// What comes from npm, alone.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn npm() -> Result<(), StepFailed> {
    let folder = root().join("tests/interop");
    let stamp = folder.join("node_modules/.package-lock.json");
    let wanted = modified(&folder.join("package-lock.json"));
    if wanted.is_some() && modified(&stamp) >= wanted {
        return Ok(());
    }
    run("npm", &["ci", "--prefix", "tests/interop", "--no-audit", "--no-fund", "--loglevel=error"])
}

/// Installs what `requirements.txt` in a folder names, in an environment of that folder.
fn pypi(place: &str) -> Result<(), StepFailed> {
    let folder = root().join(place);
    let stamp = folder.join(".venv/pyvenv.cfg");
    let requirements = format!("{place}/requirements.txt");
    let wanted = modified(&root().join(&requirements));
    let stamped = folder.join(".venv/installed");
    if wanted.is_some() && stamp.exists() && modified(&stamped) >= wanted {
        return Ok(());
    }
    run("python3", &["-m", "venv", &format!("{place}/.venv")])?;
    run(
        &format!("{place}/.venv/bin/pip"),
        &["install", "-q", "--disable-pip-version-check", "-r", &requirements],
    )?;
    std::fs::write(&stamped, "").map_err(|source| StepFailed::File { path: stamped, source })
}

fn modified(path: &std::path::Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}
