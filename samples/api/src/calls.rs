//! Who called: the newest requests with all that the API can tell about their caller.

use std::collections::VecDeque;

use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;

/// One request as the API saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    number: u64,
    method: String,
    path: String,
    /// The `User-Agent` as sent: a claim, not a proof.
    caller: String,
    /// W3C trace context, when the caller sent one.
    traceparent: Option<String>,
    /// For whom, through whom and by which agent, where a guard in front verified it. Worth nothing
    /// to who can be reached around the guard.
    subject: Option<String>,
    actors: Option<Value>,
    agent: Option<String>,
    /// The approval of the call that asked, where a person approved it.
    approval: Option<String>,
    /// The guard's own record of the request.
    decision: Option<String>,
}

/// The newest [`CALLS_MAX`] calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    kept: VecDeque<Call>,
    count: u64,
}

impl Calls {
    /// Gives the number of the request.
    pub(crate) fn remember(&mut self, method: &Method, path: &str, headers: &HeaderMap) -> u64 {
        self.count = self.count.saturating_add(1);
        if self.kept.len() >= CALLS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Call {
            number: self.count,
            method: method.as_str().to_owned(),
            path: path.to_owned(),
            caller: text(headers, "user-agent").unwrap_or_else(|| "anonymous".to_owned()),
            traceparent: text(headers, "traceparent"),
            subject: text(headers, "attorn-subject"),
            actors: text(headers, "attorn-actors").and_then(|it| serde_json::from_str(&it).ok()),
            agent: text(headers, "attorn-agent"),
            approval: text(headers, "attorn-approval"),
            decision: text(headers, "attorn-decision"),
        });
        self.count
    }

    pub(crate) fn list(&self) -> Vec<Call> {
        self.kept.iter().cloned().collect()
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

const CALLS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_leaves_first() {
        let mut calls = Calls::default();
        for _ in 0..=CALLS_MAX {
            calls.remember(&Method::GET, "/invoices", &HeaderMap::new());
        }
        let kept = calls.list();
        assert_eq!(kept.len(), CALLS_MAX);
        assert_eq!(kept[0].number, 2);
        assert_eq!(kept[0].caller, "anonymous");
    }
}
