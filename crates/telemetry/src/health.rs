//! Whether the process can do its work: named checks, asked when somebody asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attorn_journal::Journal;

/// A check: what is wrong, as a word of ours, or nothing.
pub type Check = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// The checks of one process. Clones are the same. Without a check everything is well.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Check>>>);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.problems()).finish()
    }
}

impl Health {
    /// Adds a check.
    pub fn add(&self, check: impl Fn() -> Option<&'static str> + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(check));
    }

    /// Checks the journal: it must take entries, and cover them with a checkpoint in time.
    pub fn watch_journal(&self, journal: &Journal) {
        let journal = journal.clone();
        self.add(move || {
            let status = journal.status();
            if status.failed {
                return Some("journal.failed");
            }
            // Sunlight's rule, made exact: late is a checkpoint while an entry has waited for it.
            // A log that rests needs none.
            let late =
                |waited: Option<Duration>| waited.is_some_and(|waited| waited > CHECKPOINT_WITHIN);
            if late(status.waiting) || late(status.fsync_running) {
                return Some("checkpoint.late");
            }
            None
        });
    }

    /// What is wrong now, in the order of the checks.
    #[must_use]
    pub fn problems(&self) -> Vec<&'static str> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|check| check()).collect()
    }

    /// The answer of `/readyz`: its status, and a JSON list of what is wrong.
    #[must_use]
    pub fn readiness(&self) -> (http::StatusCode, String) {
        let problems = self.problems();
        let status = if problems.is_empty() {
            http::StatusCode::OK
        } else {
            http::StatusCode::SERVICE_UNAVAILABLE
        };
        (
            status,
            serde_json::json!({ "ready": problems.is_empty(), "problems": problems }).to_string(),
        )
    }
}

const CHECKPOINT_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_while_no_check_says_otherwise() {
        let health = Health::default();
        let told = || {
            let (status, body) = health.readiness();
            (status.as_u16(), serde_json::from_str::<serde_json::Value>(&body).unwrap())
        };
        assert_eq!(told(), (200, serde_json::json!({ "ready": true, "problems": [] })));
        health.add(|| None);
        health.clone().add(|| Some("snapshot.stale"));
        let problems = ["snapshot.stale"];
        assert_eq!(told(), (503, serde_json::json!({ "ready": false, "problems": problems })));
    }
}
