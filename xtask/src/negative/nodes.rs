//! The gateways that the rows are sent to, each with its own nonces and its own journal.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::watch::Watch;
use super::world::{Identity, Nonce};
use crate::agent::{meta, now_s, unique};
use crate::installation::GatewayProcess;
use crate::step::StepFailed;

/// How long the journal may take to show an entry.
const RECORDED_WITHIN: Duration = Duration::from_millis(1500);
/// How long a change may take to be in force everywhere.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Of refusals that anybody can cause, 50 of each reason are recorded in a second. A case stays
/// away from that.
const CROWDED: u32 = 40;
/// A token is used for so long, in seconds; it ends after twice the time.
const TOKEN_S: u64 = 60;

/// One gateway.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its process, unless it is the authority's.
    process: Option<GatewayProcess>,
    journal: RefCell<Watch>,
    /// The newest nonce it gave.
    pub(super) nonce: Nonce,
    /// Somebody whose requests do nothing but stand in the journal.
    marker: Identity,
    marker_token: RefCell<(String, u64)>,
}

impl Node {
    /// The gateway in the authority's process, or the one of a process of its own.
    pub(super) fn new(
        address: SocketAddr,
        journal: &Path,
        process: Option<GatewayProcess>,
        marker: &Identity,
    ) -> Result<Self, StepFailed> {
        Ok(Self {
            address,
            process,
            journal: RefCell::new(Watch::start(journal)?),
            nonce: Nonce::default(),
            marker: marker.at(address),
            marker_token: RefCell::default(),
        })
    }

    /// Gets ready for a case: what is in the journal up to here is not of it.
    pub(super) fn begin(&self) -> Result<(), StepFailed> {
        if self.marker_token.borrow().1 <= now_s() {
            let token = self.marker.token("canary", None)?;
            *self.marker_token.borrow_mut() = (token, now_s() + TOKEN_S);
        }
        let mut journal = self.journal.borrow_mut();
        drop(journal.new_entries()?);
        while journal.is_crowded(now_s(), CROWDED) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The token of the marker may be from before a stop: the next one is new.
    pub(super) fn forget_token(&self) {
        self.marker_token.borrow_mut().1 = 0;
    }

    /// The entries since [`Self::begin`].
    ///
    /// A journal keeps the order, so one more request is sent, and what was caused before it stands
    /// before its own entry or nowhere. Only the outcome of a call may come later: it is waited for.
    pub(super) fn entries(&self) -> Result<Vec<Value>, StepFailed> {
        let mark = self.mark()?;
        let started = Instant::now();
        let mut entries: Vec<Value> = Vec::new();
        loop {
            entries.extend(self.journal.borrow_mut().new_entries()?);
            let is_marked = entries.iter().any(|entry| is_mark(entry, &mark));
            if is_marked && open_calls(&entries) == 0 {
                break;
            }
            if started.elapsed() > RECORDED_WITHIN {
                if is_marked {
                    break;
                }
                return Err(StepFailed::Check("a refusal was not recorded in time".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Its sender also hears of new nonces.
        let own = self.marker.client_id.as_str();
        entries.retain(|entry| entry.get("client_id").is_none_or(|client| client != own));
        Ok(entries)
    }

    /// A request that is refused after its sender was proven, whatever is locked or suspended: such
    /// a refusal is always recorded. Gives the method that it asked for, which nobody else does.
    fn mark(&self) -> Result<String, StepFailed> {
        let method = format!("marker-{}", unique());
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta()}});
        let token = self.marker_token.borrow().0.clone();
        let reply = self.marker.send(&token, "canary", &body)?;
        if reply.text().contains("\"result\"") {
            return Err(StepFailed::Check(format!("the marker passed: {}", reply.text())));
        }
        Ok(method)
    }

    /// Has the gateway see the tools that a server lists now.
    pub(super) fn show_list(&self) -> Result<(), StepFailed> {
        let list = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}
        });
        let token = self.marker_token.borrow().0.clone();
        let reply = self.marker.send(&token, "canary", &list)?;
        match reply.status {
            200 => Ok(()),
            status => Err(StepFailed::Check(format!("no list: {status} {}", reply.text()))),
        }
    }

    /// What the process printed, where it is one of its own.
    pub(super) fn log(&self) -> String {
        self.process.as_ref().map(GatewayProcess::log).unwrap_or_default()
    }

    /// The whole journal of a process of its own, as text; its records must be in order.
    pub(super) fn journal_text(&self) -> Result<String, StepFailed> {
        let Some(process) = &self.process else { return Ok(String::new()) };
        let entries = attorn_journal::read_all(&process.journal())
            .map_err(|error| StepFailed::Check(format!("the journal cannot be read: {error}")))?;
        Ok(entries.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect())
    }
}

fn is_mark(entry: &Value, mark: &str) -> bool {
    entry.get("method").is_some_and(|method| method == mark)
}

/// Permitted calls whose outcome is not recorded.
fn open_calls(entries: &[Value]) -> usize {
    let text = |entry: &Value, name: &str| {
        entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let of_kind = |kind: &'static str| entries.iter().filter(move |one| text(one, "kind") == kind);
    let completed: Vec<String> =
        of_kind("call.completed").map(|entry| text(entry, "decision_id")).collect();
    of_kind("call.decided")
        .filter(|entry| text(entry, "decision") == "permit")
        .filter(|entry| !completed.contains(&text(entry, "decision_id")))
        .count()
}

/// Waits until every gateway that follows has what is in force at the authority.
pub(super) fn settle(operator: &Identity, token: &str) -> Result<(), StepFailed> {
    let status = operator.look(token, "/status")?;
    let version = status.get("registry_version").and_then(Value::as_u64);
    let version = version.ok_or_else(|| StepFailed::Check(format!("no version: {status}")))?;
    let started = Instant::now();
    loop {
        // Answered when all have acknowledged it, or after two seconds.
        let gateways = operator.look(token, &format!("/gateways?version={version}"))?;
        let items = gateways.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_there = |gateway: &Value| {
            gateway.get("version").and_then(Value::as_u64).is_some_and(|has| has >= version)
        };
        if !items.is_empty() && items.iter().all(is_there) {
            return Ok(());
        }
        if started.elapsed() > SETTLED_WITHIN {
            return Err(StepFailed::Check(format!("version {version} is not at: {gateways}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permitted_call_is_open_until_its_outcome() {
        let decided = |id: &str, decision: &str| json!({"kind": "call.decided", "decision": decision, "decision_id": id});
        let completed = |id: &str| json!({"kind": "call.completed", "decision_id": id});
        let entries =
            [decided("a", "permit"), decided("b", "deny"), decided("c", "permit"), completed("a")];
        assert_eq!(open_calls(&entries), 1);
        assert_eq!(open_calls(&entries[..2]), 1);
        assert_eq!(open_calls(&[decided("c", "permit"), completed("c")]), 0);
    }
}
