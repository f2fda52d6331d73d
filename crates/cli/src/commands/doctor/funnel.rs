//! The lines of `attorn doctor`: numbered, each failure with its fix.

use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::{Output, clean, quoted};

/// Checks in order. A failure that nothing after it depends on does not stop them.
pub(super) struct Funnel {
    output: Output,
    number: usize,
    worst: Exit,
}

impl Funnel {
    pub(super) fn new(output: Output) -> Self {
        Self { output, number: 0, worst: Exit::Yes }
    }

    pub(super) fn ok(&mut self, step: &str, detail: &str) {
        self.line(step, "ok", detail, None);
    }

    /// A check that could not be made, or that there is nothing to make of.
    pub(super) fn skip(&mut self, step: &str, detail: &str) {
        self.line(step, "-", detail, None);
    }

    /// Something to know that is no failure.
    pub(super) fn find(&mut self, step: &str, detail: &str, fix: &str) {
        self.line(step, "FIND", detail, Some(fix));
    }

    /// A check that failed. The command ends with the exit code of the first one.
    pub(super) fn fail(&mut self, step: &str, failure: &Failure) {
        if self.worst == Exit::Yes {
            self.worst = failure.exit;
        }
        self.line(step, "FAIL", &failure.what, failure.next.as_deref());
    }

    /// A check as a result.
    pub(super) fn check(&mut self, step: &str, result: Result<String, Failure>) -> bool {
        match result {
            Ok(detail) => {
                self.ok(step, &detail);
                true
            }
            Err(failure) => {
                self.fail(step, &failure);
                false
            }
        }
    }

    pub(super) fn end(self) -> Exit {
        self.worst
    }

    fn line(&mut self, step: &str, outcome: &str, detail: &str, fix: Option<&str>) {
        self.number += 1;
        let (output, number) = (self.output, self.number);
        if output.is_machine() {
            let row = json!({
                "number": number, "step": step, "outcome": outcome, "detail": detail, "fix": fix,
            });
            return output.text(&row.to_string());
        }
        let (step, detail) = (clean(step), clean(detail));
        output.say(&format!("{number:>2} {step:<12} {outcome:<5} {detail}"));
        if let Some(fix) = fix {
            output.say(&format!("   fix: {}", clean(fix)));
        }
    }
}

/// A word of a command to type that came from a file or from another party: a shell takes it as one
/// word, and as nothing else.
pub(super) fn word(text: &str) -> String {
    quoted(&clean(text))
}
