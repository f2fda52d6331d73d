//! The way out of one child process, which works on one call at a time: whatever it asks meanwhile,
//! it asks for that call.

use std::sync::{Arc, Mutex, PoisonError};

use attorn_net::{Limits, Listener, Shutdown};
use attorn_registry::ServerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::calls::{CallId, Calls, Unattributed};
use crate::egress::Egress;
use crate::service::EgressService;

/// Makes the way out of each child of one server.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub(crate) egress: Egress,
    pub(crate) server: ServerId,
}

/// The way out of one child. Dropped with it.
#[derive(Debug)]
pub struct Lane {
    calls: Calls,
    current: Current,
    turns: Arc<Semaphore>,
    variables: Vec<(String, String)>,
    shutdown: Shutdown,
}

/// The call that a child works on, as long as it is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Option<CallId>>>);

/// A turn at a child. Nobody else has one until it is dropped, which is when the child has answered: a
/// call may end before that, and then nothing is asked in its name, but in no other name either.
#[derive(Debug)]
pub struct Turn {
    current: Current,
    // Given back last: the next call begins when this one is no longer the current one.
    _permit: OwnedSemaphorePermit,
}

impl Lanes {
    /// An address for each API that the server reaches by a variable of its children.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(&self) -> std::io::Result<Lane> {
        let (current, shutdown) = (Current::default(), Shutdown::new());
        let mut variables = Vec::new();
        for (variable, service) in self.egress.of_children(&self.server, &current) {
            let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = Listener::bind(loopback, None).await.map_err(std::io::Error::other)?;
            variables.push((variable, format!("http://{}", listener.address())));
            let served = serve(listener, service, shutdown.clone());
            drop(tokio::spawn(served));
        }
        let calls = self.egress.calls().clone();
        Ok(Lane { calls, current, turns: Arc::new(Semaphore::new(1)), variables, shutdown })
    }
}

fn serve(
    listener: Listener,
    service: EgressService,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + Send {
    let service = service.at(listener.address());
    attorn_net::serve(listener, service, Limits::default(), shutdown)
}

impl Lane {
    /// What the child's environment gets.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Waits until the child works on nothing. What it asks from then on belongs to this call, and to
    /// nobody where the turn is for something else.
    ///
    /// # Errors
    /// The call has ended meanwhile, or the lane is closed.
    pub async fn take(&self, call: Option<CallId>) -> Result<Turn, Unattributed> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Unattributed)?;
        if let Some(call) = call {
            self.calls.call(call)?;
        }
        self.current.set(call);
        Ok(Turn { current: self.current.clone(), _permit: permit })
    }

    /// Whether anybody can get a turn.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.turns.is_closed()
    }

    /// Nobody has a turn after this one.
    pub fn close(&self) {
        self.turns.close();
        self.shutdown.start();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

impl Current {
    pub(crate) fn get(&self) -> Option<CallId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, call: Option<CallId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.current.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane {
            calls: Calls::default(),
            current: Current::default(),
            turns: Arc::new(Semaphore::new(1)),
            variables: Vec::new(),
            shutdown: Shutdown::new(),
        }
    }

    fn is_ready<T>(future: impl Future<Output = T>) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn one_turn_at_a_time_and_none_after_the_end() {
        let lane = lane();
        let turn = lane.take(None).await.unwrap();
        assert!(!is_ready(lane.take(None)), "two turns at once");
        drop(turn);
        let turn = lane.take(None).await.unwrap();
        let waiting = lane.take(None);
        lane.close();
        drop(turn);
        assert!(waiting.await.is_err(), "a turn at a child that is ended");
        assert!(lane.take(None).await.is_err());
    }
}
