//! Streams that may rest as long as both sides want them: how many of them a client holds open.
//!
//! They cost a task and a connection on both sides each, and at a server that is one child a place
//! among the requests of everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use attorn_registry::AgentId;

/// The resting streams of all clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resting(Arc<Mutex<HashMap<AgentId, usize>>>);

/// The place of one stream, given back when dropped.
#[derive(Debug)]
pub(crate) struct RestingPlace {
    resting: Resting,
    agent: AgentId,
}

/// The client has as many resting streams as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyStreams;

impl Resting {
    /// Takes a place for one more stream of `agent`, whatever its key or token.
    pub(crate) fn take(&self, agent: &AgentId) -> Result<RestingPlace, TooManyStreams> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(agent.clone()).or_default();
        if *count >= STREAMS_PER_CLIENT_MAX {
            return Err(TooManyStreams);
        }
        *count += 1;
        Ok(RestingPlace { resting: self.clone(), agent: agent.clone() })
    }
}

impl Drop for RestingPlace {
    fn drop(&mut self) {
        let mut open = self.resting.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.agent);
            }
        }
    }
}

const STREAMS_PER_CLIENT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_hold_all_streams() {
        let resting = Resting::default();
        let (own, other) = (AgentId::from_random(&[1; 16]), AgentId::from_random(&[2; 16]));
        let mut places: Vec<_> = (0..64).map(|_| resting.take(&own).unwrap()).collect();
        assert_eq!(resting.take(&own).err(), Some(TooManyStreams));
        assert!(resting.take(&other).is_ok());
        places.pop();
        assert!(resting.take(&own).is_ok());
        places.clear();
        assert!(resting.0.lock().unwrap().is_empty());
    }
}
