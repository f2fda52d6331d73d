//! Programs of other people: started for a while, or run to their end within a time.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::step::StepFailed;

const PAUSE: Duration = Duration::from_millis(20);

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Starts it without input; what it prints goes where `command` says.
    ///
    /// # Errors
    /// When it cannot be started; the error calls it `name`.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, StepFailed> {
        let child = command.stdin(Stdio::null()).spawn();
        child.map(Self).map_err(|source| StepFailed::Start { command: name.to_owned(), source })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, once, if that was asked to be a pipe.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a program to its end and gives back what it printed.
///
/// # Errors
/// When it cannot be started, or runs longer than `limit`; it is killed then.
pub fn output_within(
    name: &str,
    limit: Duration,
    command: &mut Command,
) -> Result<Output, StepFailed> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| StepFailed::Start { command: name.to_owned(), source };
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (collected(child.stdout.take()), collected(child.stderr.take()));
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            let text = |reader: JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
            return Ok(Output { status, stdout: text(stdout), stderr: text(stderr) });
        }
        if Instant::now() > until {
            drop(child.kill());
            drop(child.wait());
            let seconds = limit.as_secs();
            return Err(StepFailed::Check(format!("{name} did not end within {seconds} s")));
        }
        std::thread::sleep(PAUSE);
    }
}

fn collected<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before a broken pipe is still worth showing.
            drop(pipe.read_to_end(&mut text));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_by_itself_or_is_ended() {
        let quick = output_within("echo", Duration::from_secs(20), Command::new("echo").arg("a"));
        assert_eq!(quick.unwrap().stdout, b"a\n");
        let mut slow = Command::new("sleep");
        let ended = output_within("sleep", Duration::from_millis(1), slow.arg("60"));
        assert!(matches!(ended, Err(StepFailed::Check(_))));
    }
}
