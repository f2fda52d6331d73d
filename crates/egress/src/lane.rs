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

/// The call that a child works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Option<CallId>>>);

/// A call's turn at a child. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
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
    attorn_net::serve(listener, service, Limits::default(), shutdown)
}

impl Lane {
    /// What the child's environment gets.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Waits until the child works on nothing, and gives it this call until the call ends.
    ///
    /// # Errors
    /// The call has ended meanwhile.
    pub async fn take(&self, call: CallId) -> Result<(), Unattributed> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Unattributed)?;
        self.current.set(Some(call));
        let turn = Turn { current: self.current.clone(), _permit: permit };
        self.calls.keep(call, turn)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shutdown.start();
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
