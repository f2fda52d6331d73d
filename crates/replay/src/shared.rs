//! The shared memory as a gateway sees it: there, or not there.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use attorn_net::{Random, Rate, Shutdown};
use attorn_oauth::dpop::NonceKey;
use attorn_oauth::possession::{SharedAnswer, SharedUse};
use tokio::sync::Notify;

use crate::address::Address;
use crate::memory::{Memory, MemoryError, is_refusal};

const LOOK: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The memory that several gateways share. Clones are the same.
#[derive(Clone, Debug)]
pub struct SharedReplays(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: ArcSwapOption<Memory>,
    lost: Notify,
}

/// The memory as it was when a request came: its nonce key and its answers belong together.
#[derive(Debug)]
pub struct Current {
    memory: Arc<Memory>,
    shared: Arc<Inner>,
}

impl SharedReplays {
    /// Connects in the background, and again whenever the memory goes away, until `shutdown`. Call
    /// it inside a tokio runtime.
    #[must_use]
    pub fn start(address: Address, random: Random, shutdown: Shutdown) -> Self {
        let inner = Arc::new(Inner { current: ArcSwapOption::empty(), lost: Notify::new() });
        let (kept, connecting) = (Arc::clone(&inner), async move {
            shutdown.started().await;
        });
        tokio::spawn(async move {
            tokio::select! {
                () = connecting => {}
                () = keep(&kept, &address, &random) => {}
            }
        });
        Self(inner)
    }

    /// The memory, if it is there.
    #[must_use]
    pub fn current(&self) -> Option<Current> {
        let memory = self.0.current.load_full()?;
        Some(Current { memory, shared: Arc::clone(&self.0) })
    }

    /// Whether the memory is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.current.load().is_some()
    }
}

impl Current {
    /// The key of the nonces that all gateways of this memory accept.
    #[must_use]
    pub fn nonce_key(&self) -> &NonceKey {
        &self.memory.nonce_key
    }

    /// Burns a proof for all of them. Anything but a clear answer ends this memory's use until it
    /// is connected anew.
    pub async fn burn(&self, shared_use: &SharedUse) -> SharedAnswer {
        let answer = self.memory.burn(shared_use).await;
        if let Ok(clear @ (SharedAnswer::First | SharedAnswer::Used)) = answer {
            return clear;
        }
        self.shared.lose(&self.memory);
        SharedAnswer::Unavailable
    }
}

impl Current {
    /// Takes up to `want` from a shared budget: how many it gives, or how long until it gives one.
    /// `None` when it cannot say. Silence ends its use as for [`Current::burn`]; an answer that
    /// refuses does not, since used proofs do not need what rates need.
    pub(crate) async fn lease(&self, name: &str, rate: Rate, want: u32) -> Option<(u32, Duration)> {
        if !self.memory.has_rates() {
            return None;
        }
        match self.memory.lease(name, rate, want).await {
            Ok(leased) => Some(leased),
            Err(error) => {
                if !is_refusal(&error) {
                    self.shared.lose(&self.memory);
                }
                None
            }
        }
    }
}

impl Inner {
    /// From now on nonces are this gateway's own.
    fn lose(&self, memory: &Arc<Memory>) {
        let before = self.current.compare_and_swap(memory, None);
        // Of many calls that see it go away, one says so.
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, memory)) {
            tracing::warn!("the shared memory of used proofs is gone; nonces are our own");
            self.lost.notify_one();
        }
    }
}

/// Keeps a memory in place for as long as it is polled.
async fn keep(inner: &Inner, address: &Address, random: &Random) {
    let mut pause = PAUSE;
    loop {
        match Memory::open(address, &random.bytes()).await {
            Ok(memory) => {
                let memory = Arc::new(memory);
                inner.current.store(Some(Arc::clone(&memory)));
                tracing::info!(?address, "the shared memory of used proofs is there");
                pause = PAUSE;
                until_lost(inner, &memory).await;
            }
            Err(error) => {
                say(address, &error);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Also looks by itself: between two calls nobody else would notice.
async fn until_lost(inner: &Inner, memory: &Arc<Memory>) {
    loop {
        tokio::select! {
            () = inner.lost.notified() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if !memory.is_alive().await {
            inner.lose(memory);
        }
    }
}

fn say(address: &Address, error: &MemoryError) {
    tracing::warn!(?address, %error, "the shared memory of used proofs cannot be used");
}
