//! `attorn wrap` as a person types it: one command, and what it prints works in a client.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::agent::unique;
use crate::bounded::Background;
use crate::installation::binary;
use crate::step::StepFailed;

/// A wrapped server may take its time to start, and a machine may be busy.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A running `attorn wrap`; it is stopped, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Wrapped {
    /// The command its snippet gives to a client.
    pub connect: Vec<String>,
    // In this order: the folder goes when nobody writes to it any more.
    _running: Background,
    _folder: Scratch,
}

#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Wrapped {
    /// Puts Attorn in front of a command and reads what is printed until it stays up.
    ///
    /// # Errors
    /// When it does not come up in time, or prints no snippet.
    pub fn start(upstream: &[&str]) -> Result<Self, StepFailed> {
        let path = std::env::temp_dir().join(format!("attorn-wrap-{}", unique()));
        std::fs::create_dir_all(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        let folder = Scratch(path);
        let mut command = Command::new(binary());
        command.args(["wrap", "--accept-annotations", "--"]).args(upstream).current_dir(&folder.0);
        command.stdout(Stdio::piped()).stderr(log_in(&folder.0)?);
        let mut running = Background::start("attorn wrap", &mut command)?;
        let printed = printed_until_up(&mut running);
        let Some(connect) = snippet(&printed) else {
            let said = std::fs::read_to_string(folder.0.join(LOG)).unwrap_or_default();
            return Err(StepFailed::Check(format!("`attorn wrap`: no snippet\n{printed}\n{said}")));
        };
        Ok(Self { connect, _running: running, _folder: folder })
    }
}

fn log_in(folder: &Path) -> Result<std::fs::File, StepFailed> {
    let path = folder.join(LOG);
    std::fs::File::create(&path).map_err(|source| StepFailed::File { path, source })
}

fn printed_until_up(running: &mut Background) -> String {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = running.take_stdout() {
        // Ends with the process, or when nobody listens any more.
        let _reader = std::thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
    }
    let until = Instant::now() + START_WITHIN;
    let mut printed = String::new();
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if line.starts_with("Stays up") {
            break;
        }
        printed.push_str(&line);
        printed.push('\n');
    }
    printed
}

/// The command of the one entry of `mcpServers`, where such an object is among the lines.
fn snippet(printed: &str) -> Option<Vec<String>> {
    let from = printed.find("\n{\n")?;
    let object = Value::Object(
        serde_json::Deserializer::from_str(printed.get(from..)?).into_iter().next()?.ok()?,
    );
    let (_name, entry) = object.get("mcpServers")?.as_object()?.iter().next()?;
    let program = entry.get("command")?.as_str()?.to_owned();
    let arguments = entry.get("args")?.as_array()?.iter().map(|word| word.as_str());
    std::iter::once(Some(program)).chain(arguments.map(|word| word.map(str::to_owned))).collect()
}

const LOG: &str = "wrap.log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snippet_is_found_among_other_lines() {
        let printed = "tools\n\n{\n\"mcpServers\":{\"t\":{\"command\":\"a\",\"args\":[\"b\",\"c\"]}}}\nmore\n";
        assert_eq!(snippet(printed).unwrap(), ["a", "b", "c"]);
        assert!(snippet("tools\n").is_none());
    }
}
