//! Agents that have ended or that nobody used: noticed once a minute, suspended and recorded.
//!
//! An agent past its end is refused from that second on, also before it is noticed here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_audit::{Entry, Kind};
use attorn_journal::JournalUnavailable;
use attorn_registry::{Agent, AgentId, LifeCycle, ReasonCode};
use attorn_store::{Act, Failure, StoreError};

use crate::shared::{PublishError, Shared};

/// When agents were given tokens, as far as the registry does not know it yet.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<AgentId, Use>>);

#[derive(Clone, Copy, Debug)]
struct Use {
    used_s: u64,
    noted_s: Option<u64>,
}

impl Uses {
    /// An agent was given a token.
    pub(crate) fn note(&self, agent: &AgentId, now_s: u64) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(agent) {
            Some(known) => known.used_s = now_s,
            None => {
                uses.insert(agent.clone(), Use { used_s: now_s, noted_s: None });
            }
        }
    }

    /// What is worth a write: the first use of this process, and then one an hour.
    fn due(&self) -> Vec<(AgentId, u64)> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for (agent, one) in uses.iter_mut() {
            let since_s = one.noted_s.map(|noted_s| one.used_s.abs_diff(noted_s));
            if since_s.is_none_or(|s| s >= NOTED_EVERY_S) {
                one.noted_s = Some(one.used_s);
                due.push((agent.clone(), one.used_s));
            }
        }
        due
    }
}

/// Why nobody could be stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error("the journal takes nothing")]
    Journal(#[from] JournalUnavailable),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for SweepError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// Writes down who was used.
pub(crate) async fn note_uses(shared: &Shared) -> Result<(), Failure> {
    let due = shared.uses.due();
    if due.is_empty() { Ok(()) } else { shared.store.note_agent_uses(&due).await }
}

/// Suspends every active agent that has ended or was not used for too long.
pub(crate) async fn sweep(shared: &Shared) -> Result<(), SweepError> {
    let _alone = shared.turns.next().await;
    let (now_ms, snapshot) = (shared.clock.now_ms(), shared.published.load());
    let now_s = now_ms / 1000;
    let is_active = |agent: &&Agent| agent.state == LifeCycle::Active;
    let ended = snapshot.agents().filter(is_active).filter(|agent| agent.has_ended(now_s));
    let mut stopped: Vec<(&Agent, &str)> = ended.map(|agent| (agent, "past its end")).collect();
    if let Some(days) = shared.config.agents_unused_days {
        let since_s = now_s.saturating_sub(u64::from(days.get()).saturating_mul(DAY_S));
        let unused = shared.store.agents_unused_since(since_s).await?;
        let unused = unused.iter().filter_map(|id| snapshot.agent(id)).filter(is_active);
        let unused = unused.filter(|agent| !agent.has_ended(now_s));
        stopped.extend(unused.map(|agent| (agent, "not used")));
    }
    for (agent, why) in &stopped {
        let mut entry = Entry {
            agent: Some(agent.id.to_string()),
            by: Some(BY.to_owned()),
            owner: agent.owner.as_ref().map(ToString::to_string),
            reason: Some(ReasonCode::AgentExpired.as_str().to_owned()),
            ..shared.entry(Kind::IdentitySuspended, now_ms)
        };
        entry.detail.insert("name".to_owned(), agent.name.to_string());
        entry.detail.insert("reason".to_owned(), (*why).to_owned());
        // If the process dies after this line, the next sweep does it again and says so again.
        let _recorded = shared.record(&entry).await?;
        let act = Act { by: BY, now_s };
        shared.store.set_agent_state(&act, &agent.id, LifeCycle::Suspended).await?;
    }
    if stopped.is_empty() { Ok(()) } else { Ok(shared.publish().await?) }
}

/// Who did what nobody asked for.
const BY: &str = "attorn";
const DAY_S: u64 = 24 * 3600;
const NOTED_EVERY_S: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_at_once_and_then_hourly() {
        let (uses, agent) = (Uses::default(), AgentId::from_random(&[1; 16]));
        assert!(uses.due().is_empty());
        uses.note(&agent, 1000);
        assert_eq!(uses.due(), [(agent.clone(), 1000)]);
        uses.note(&agent, 1000 + NOTED_EVERY_S - 1);
        assert!(uses.due().is_empty());
        uses.note(&agent, 1000 + NOTED_EVERY_S);
        assert_eq!(uses.due(), [(agent, 1000 + NOTED_EVERY_S)]);
        assert!(uses.due().is_empty());
    }
}
