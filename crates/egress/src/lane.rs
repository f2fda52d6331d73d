//! The way out of one child process, which works on one request at a time: whatever it asks meanwhile,
//! it asks for that one.
//!
//! A request that was given up before the child answered leaves a child behind that may still work on
//! it. Such a lane is closed: nothing is asked through it any more, and its child is not used again.

use std::sync::{Arc, Mutex, PoisonError};

use attorn_net::{Limits, Listener, Shutdown};
use attorn_registry::ServerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::calls::CallId;
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
    current: Current,
    turns: Arc<Semaphore>,
    variables: Vec<(String, String)>,
    shutdown: Shutdown,
}

/// The call that a child works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Option<CallId>>>);

/// A request's turn at a child. Ends when it is dropped; [`Turn::abandon`] closes the lane instead.
#[derive(Debug)]
pub struct Turn {
    current: Current,
    turns: Arc<Semaphore>,
    // Given back last: the next one begins when this one is no longer the current one.
    _permit: OwnedSemaphorePermit,
}

/// The child is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the child is not used any more")]
pub struct LaneClosed;

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
            drop(tokio::spawn(serve(listener, service, shutdown.clone())));
        }
        Ok(Lane { current, turns: Arc::new(Semaphore::new(1)), variables, shutdown })
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

    /// Waits until the child works on nothing. Without a call nothing can be asked meanwhile.
    ///
    /// # Errors
    /// The lane was closed.
    pub async fn take(&self, call: Option<CallId>) -> Result<Turn, LaneClosed> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| LaneClosed)?;
        self.current.set(call);
        let (current, turns) = (self.current.clone(), Arc::clone(&self.turns));
        Ok(Turn { current, turns, _permit: permit })
    }

    /// Whether the child may be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.turns.is_closed()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

impl Turn {
    /// The child was not heard to have ended its work: nobody else gets it.
    pub fn abandon(self) {
        // Before the permit goes: who waits must not get it.
        self.turns.close();
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
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn lane() -> Lane {
        Lane {
            current: Current::default(),
            turns: Arc::new(Semaphore::new(1)),
            variables: Vec::new(),
            shutdown: Shutdown::new(),
        }
    }

    #[tokio::test]
    async fn a_child_works_for_one_at_a_time_and_for_nobody_in_between() {
        let lane = lane();
        let (first, second) = (CallId::example(1), CallId::example(2));
        let turn = lane.take(Some(first)).await.unwrap();
        assert_eq!(lane.current.get(), Some(first));
        let mut waiting = pin!(lane.take(Some(second)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(lane.current.get(), Some(first), "who waits changes nothing");
        drop(turn);
        assert_eq!(lane.current.get(), None);
        let turn = waiting.await.unwrap();
        assert_eq!(lane.current.get(), Some(second));
        drop(turn);
        // What is no call gets a turn as well, and nothing can be asked in its name.
        let _turn = lane.take(None).await.unwrap();
        assert_eq!(lane.current.get(), None);
    }

    #[tokio::test]
    async fn a_child_that_was_left_behind_is_nobodys() {
        let lane = lane();
        let turn = lane.take(Some(CallId::example(1))).await.unwrap();
        let mut waiting = pin!(lane.take(Some(CallId::example(2))));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert!(lane.is_open());
        turn.abandon();
        assert!(!lane.is_open());
        assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Err(LaneClosed))));
        assert_eq!(lane.current.get(), None, "its late requests belong to nobody");
        assert!(matches!(lane.take(None).await, Err(LaneClosed)));
    }
}
