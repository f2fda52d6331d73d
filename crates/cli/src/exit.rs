//! How a command ends: one exit code a fact, and a next step a person can type.

use std::fmt;
use std::process::ExitCode;

use attorn_registry::ReasonCode;

/// Exit codes of every command. Scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done, or the answer is yes.
    Yes,
    /// 1: refused, not found, or the answer is no.
    No,
    /// 2: the command line or a local file cannot be used as it is.
    Usage,
    /// 3: the other side did not answer.
    Unreachable,
    /// 4: a record does not verify.
    Broken,
}

impl Exit {
    /// The number the process ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Broken => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command stopped, and what to type next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) what: String,
    pub(crate) next: Option<String>,
    /// What the authority calls the cause, where it was the authority that refused.
    pub(crate) reason: Option<ReasonCode>,
}

impl Failure {
    pub(crate) fn no(what: impl Into<String>) -> Self {
        Self::new(Exit::No, what)
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub(crate) fn unreachable(what: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, what)
    }

    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::new(Exit::Broken, what)
    }

    /// Adds the command to try next; the last one given wins.
    pub(crate) fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    pub(crate) fn because(mut self, reason: Option<ReasonCode>) -> Self {
        self.reason = reason;
        self
    }

    fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), next: None, reason: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "attorn: {}", self.what)?;
        match &self.next {
            Some(next) => write!(out, "\n  next: {next}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let all = [Exit::Yes, Exit::No, Exit::Usage, Exit::Unreachable, Exit::Broken];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn failure_ends_with_the_next_command() {
        let failure = Failure::unreachable("no answer").next("attorn doctor");
        assert_eq!(failure.to_string(), "attorn: no answer\n  next: attorn doctor");
    }
}
