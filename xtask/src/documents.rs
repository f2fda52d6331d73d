//! `cargo xtask docs-run`: runs the shell examples of the documents, top to bottom.
//!
//! Every block that begins with three backticks and `sh` runs, in order, in one folder per
//! document. A block that must fail says so in its first line: `# exit code 4`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::agent::unique;
use crate::installation::binary;
use crate::step::{StepFailed, root};

/// The documents whose examples run.
const DOCUMENTS: &[&str] = &[
    "docs/delegate.md",
    "docs/guard-an-api.md",
    "docs/people.md",
    "docs/protect-a-server.md",
    "docs/connect-a-client.md",
    "docs/connect-an-app.md",
    "docs/policies.md",
    "docs/approvals.md",
    "docs/investigate.md",
    "docs/sign-in.md",
    "docs/log-in-at-your-provider.md",
    "docs/workloads.md",
    "docs/id-jag.md",
];

/// Runs them all.
///
/// # Errors
/// When a block ends with another exit code than it says, or a document has no block.
pub fn run() -> Result<(), StepFailed> {
    for document in DOCUMENTS {
        let folder = std::env::temp_dir().join(format!("attorn-docs-{}", unique()));
        let result = one(document, &folder);
        drop(std::fs::remove_dir_all(&folder));
        result?;
    }
    Ok(())
}

fn one(document: &str, folder: &Path) -> Result<(), StepFailed> {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| StepFailed::File { path: path.clone(), source })?;
    let blocks = blocks(&text);
    if blocks.is_empty() {
        return Err(StepFailed::Check(format!("{document} has no example")));
    }
    std::fs::create_dir_all(folder)
        .map_err(|source| StepFailed::File { path: folder.to_path_buf(), source })?;
    let script = script(&blocks);
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "bash", "-c", &script])
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .env("PATH", path_with_binary())
        .stdin(Stdio::null())
        .output()
        .map_err(|source| StepFailed::Start { command: document.to_owned(), source })?;
    if output.status.success() {
        println!("{document}: {} examples ran", blocks.len());
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(StepFailed::Check(format!("{document}: {printed}\n{errors}")))
}

/// The shell blocks of a document.
fn blocks(text: &str) -> Vec<String> {
    blocks_in(text, "sh")
}

fn blocks_in(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(language) {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(block.join("\n"));
        }
    }
    found
}

/// One script for all blocks; what it started in the background ends with it.
fn script(blocks: &[String]) -> String {
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n".to_owned();
    for block in blocks {
        let expected = block.lines().next().and_then(|line| line.strip_prefix("# exit code "));
        let expected = expected.unwrap_or("0");
        let end = format!(
            "\ncode=$?\nif [ $code -ne {expected} ]; then echo \"exit code $code instead of {expected}\" >&2; exit 1; fi\n"
        );
        script.push_str(block);
        script.push_str(&end);
    }
    script
}

fn path_with_binary() -> std::ffi::OsString {
    let mut paths: Vec<PathBuf> = binary().parent().map(Path::to_path_buf).into_iter().collect();
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(paths).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shell_blocks_run() {
        let text = "a\n```sh\none\ntwo\n```\n```\nthree\n```\n```sh\n# exit code 4\nfour\n```\n";
        assert_eq!(blocks(text), ["one\ntwo", "# exit code 4\nfour"]);
        assert!(script(&blocks(text)).contains("-ne 4"));
    }

    #[test]
    fn listings_are_parts_of_scripts_that_run() {
        let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
        let page = read("docs/connect-an-app.md");
        for (language, script) in [("js", "sdk-code.mjs"), ("python", "sdk_code.py")] {
            let script = read(&format!("tests/interop/clients/{script}"));
            let listings = blocks_in(&page, language);
            assert_ne!(listings.len(), 0, "{language}");
            for listing in listings {
                assert!(script.contains(&listing), "not in the script: {listing}");
            }
        }
    }
}
