//! Rates that gateways share: each takes a slice of a budget at a time and spends it alone.
//!
//! The budget is one number in the shared memory, as in [`attorn_net::Buckets`], and a script takes
//! from it, by the server's clock. A slice is a fiftieth of the rate, or of the burst where that is
//! less, and ends after a second: so an agent that calls often costs some fifty questions a second,
//! and all gateways together never give more than the budget and the slices they hold, which is two
//! per cent for each gateway. Unspent slices are lost: then they give less.
//!
//! Not remembered: what was taken, once the memory is gone. The next one begins with a full budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attorn_net::Rate;
use tokio::time::Instant;

use crate::shared::SharedReplays;

/// One rate, for everybody it is counted for.
#[derive(Debug)]
pub struct SharedRate {
    name: &'static str,
    rate: Rate,
    slices: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slice>>>>,
}

/// What one asks for came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedTake {
    /// One was taken.
    Taken,
    /// The budget is used up; after this time there is more.
    TooSoon(Duration),
    /// The memory does not answer: nothing was taken.
    Unavailable,
}

/// What this gateway may still give.
#[derive(Debug)]
struct Slice {
    left: u32,
    ends: Instant,
}

impl SharedRate {
    /// `name` tells it from other rates in the memory.
    #[must_use]
    pub fn new(name: &'static str, rate: Rate) -> Self {
        Self { name, rate, slices: Mutex::default() }
    }

    /// Takes one from the budget of `key`. Waits for the memory only when the slice is spent; of
    /// many who wait for one key, one asks.
    pub async fn take(&self, shared: &SharedReplays, key: &str) -> SharedTake {
        let Some(slice) = self.slice(key) else { return SharedTake::TooSoon(LIFE) };
        let mut slice = slice.lock().await;
        if slice.left > 0 && slice.ends > Instant::now() {
            slice.left -= 1;
            return SharedTake::Taken;
        }
        let Some(current) = shared.current() else { return SharedTake::Unavailable };
        let asked = Instant::now();
        let name = format!("attorn:rate:{}:{key}", self.name);
        match current.lease(&name, self.rate, self.slice_len()).await {
            None => SharedTake::Unavailable,
            Some((0, wait)) => SharedTake::TooSoon(wait),
            Some((given, _)) => {
                *slice = Slice { left: given - 1, ends: asked + LIFE };
                SharedTake::Taken
            }
        }
    }

    fn slice_len(&self) -> u32 {
        (self.rate.per_s().min(self.rate.burst()) / SLICES).clamp(1, SLICE_MAX)
    }

    /// `None` when there is no room to remember another one.
    fn slice(&self, key: &str) -> Option<Arc<tokio::sync::Mutex<Slice>>> {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = slices.get(key) {
            return Some(Arc::clone(slice));
        }
        if slices.len() >= ENTRIES_MAX {
            let now = Instant::now();
            // A slice that ended is the same as none.
            slices.retain(|_, slice| slice.try_lock().map_or(true, |slice| slice.ends > now));
        }
        if slices.len() >= ENTRIES_MAX {
            return None;
        }
        let slice = Arc::new(tokio::sync::Mutex::new(Slice { left: 0, ends: Instant::now() }));
        slices.insert(key.to_owned(), Arc::clone(&slice));
        Some(slice)
    }
}

const SLICES: u32 = 50;
const SLICE_MAX: u32 = 100;
const LIFE: Duration = Duration::from_secs(1);
const ENTRIES_MAX: usize = 65_536;
