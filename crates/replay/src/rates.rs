//! Rates that gateways share: each takes a slice of a budget at a time and spends it alone.
//!
//! The budget is one number in the shared memory, as in [`attorn_net::Buckets`], and a script takes
//! from it, by the server's clock. A slice is a fiftieth of the rate, or of the burst where that is
//! less, and ends after a second: so an agent that calls often costs some fifty questions a second,
//! and all gateways together never give more than the budget and the slices they hold, which is two
//! per cent for each gateway. Unspent slices are lost: then they give less. Once the budget is used
//! up nobody asks until there is more.
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
    /// Over budget: until then the memory is not asked again.
    refused_until: Instant,
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
        let now = Instant::now();
        if slice.left > 0 && slice.ends > now {
            slice.left -= 1;
            return SharedTake::Taken;
        }
        if let Some(wait) = slice.refused_for(now) {
            return SharedTake::TooSoon(wait);
        }
        let Some(current) = shared.current() else { return SharedTake::Unavailable };
        let asked = Instant::now();
        let name = format!("attorn:rate:{}:{key}", self.name);
        match current.lease(&name, self.rate, self.slice_len()).await {
            None => SharedTake::Unavailable,
            Some((0, wait)) => {
                // Not for longer: a memory that comes back has a full budget.
                slice.refused_until = asked + wait.min(LIFE);
                SharedTake::TooSoon(wait)
            }
            Some((given, _)) => {
                *slice = Slice { left: given - 1, ends: asked + LIFE, refused_until: asked };
                SharedTake::Taken
            }
        }
    }

    /// How long the budget of `key` is known to be used up. Takes nothing and asks nobody.
    pub async fn known_refusal(&self, key: &str) -> Option<Duration> {
        let slice = self.slices.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()?;
        let slice = slice.lock().await;
        slice.refused_for(Instant::now())
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
            // A slice that ended is the same as none, and so is a refusal.
            slices.retain(|_, slice| slice.try_lock().map_or(true, |slice| slice.is_in_use(now)));
        }
        if slices.len() >= ENTRIES_MAX {
            return None;
        }
        let now = Instant::now();
        let slice = Slice { left: 0, ends: now, refused_until: now };
        let slice = Arc::new(tokio::sync::Mutex::new(slice));
        slices.insert(key.to_owned(), Arc::clone(&slice));
        Some(slice)
    }
}

impl Slice {
    fn refused_for(&self, now: Instant) -> Option<Duration> {
        let wait = self.refused_until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn is_in_use(&self, now: Instant) -> bool {
        self.ends > now || self.refused_until > now
    }
}

const SLICES: u32 = 50;
const SLICE_MAX: u32 = 100;
const LIFE: Duration = Duration::from_secs(1);
const ENTRIES_MAX: usize = 65_536;
