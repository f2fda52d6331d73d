//! One signal that asks every task to finish.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks tasks to stop. Clones share the signal; once started it stays started.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A signal not yet given.
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }

    /// Gives the signal. Repeating it changes nothing.
    pub fn start(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the signal was given.
    pub fn is_started(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits for the signal.
    pub async fn started(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.sender.subscribe().wait_for(|started| *started).await.map(drop);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_the_signal() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.started().await }
        });
        assert!(!shutdown.is_started());
        shutdown.start();
        waiting.await.unwrap();
        shutdown.started().await;
        assert!(shutdown.is_started());
    }
}
