//! Whether somebody who failed is left alone, so that they are not asked again by each caller in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use attorn_net::TooSoon;
use tokio::time::Instant;

/// Opens after failures in a row; then one call at a time finds out whether they are over.
#[derive(Debug)]
pub struct Circuit {
    base: Instant,
    failures_max: u32,
    failures: AtomicU32,
    openings: AtomicU32,
    /// Milliseconds after `base` at which one call may try; 0 while the circuit is closed.
    try_at_ms: AtomicU64,
}

impl Circuit {
    /// Opens after so many failures in a row; never with 0.
    pub fn new(failures_max: u32) -> Self {
        Self {
            base: Instant::now(),
            failures_max,
            failures: AtomicU32::new(0),
            openings: AtomicU32::new(0),
            try_at_ms: AtomicU64::new(0),
        }
    }

    /// A call, if one may go there.
    ///
    /// # Errors
    /// [`TooSoon`] while it is left alone.
    pub fn admit(self: &Arc<Self>) -> Result<Attempt, TooSoon> {
        let probing = self.admit_at(self.now_ms())?;
        Ok(Attempt { circuit: Arc::clone(self), probing })
    }

    /// Whether a call may go there; `true` when it is the one that finds out.
    fn admit_at(&self, now_ms: u64) -> Result<bool, TooSoon> {
        let try_at_ms = self.try_at_ms.load(Ordering::Acquire);
        if try_at_ms == 0 {
            return Ok(false);
        }
        if now_ms < try_at_ms {
            return Err(TooSoon(Duration::from_millis(try_at_ms - now_ms)));
        }
        // Of all who come now one goes; the others wait for what it finds.
        let lease_ms = now_ms.saturating_add(PROBE_MS_MAX);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.try_at_ms.compare_exchange(try_at_ms, lease_ms, success, failure) {
            Ok(_) => Ok(true),
            Err(_) => Err(TooSoon(Duration::from_secs(1))),
        }
    }

    fn succeeded(&self) {
        // Read first: on the path of a call that goes well nothing is written.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.try_at_ms.load(Ordering::Relaxed) != 0 {
            self.openings.store(0, Ordering::Relaxed);
            self.try_at_ms.store(0, Ordering::Release);
        }
    }

    fn failed(&self, probing: bool) {
        self.failed_at(probing, self.now_ms());
    }

    fn failed_at(&self, probing: bool, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_open = self.try_at_ms.load(Ordering::Acquire) != 0;
        // Calls that were under way when it opened say nothing new.
        let opens = probing || (!is_open && self.failures_max > 0 && failures >= self.failures_max);
        if opens {
            let openings = self.openings.fetch_add(1, Ordering::Relaxed).min(DOUBLINGS_MAX);
            let pause_ms = FIRST_PAUSE_MS << openings;
            self.try_at_ms.store(now_ms.saturating_add(pause_ms).max(1), Ordering::Release);
        }
    }

    fn probe_lost(&self) {
        self.try_at_ms.store(self.now_ms().max(1), Ordering::Release);
    }

    /// Whether it is left alone, or was and nobody found out yet.
    pub fn is_open(&self) -> bool {
        self.try_at_ms.load(Ordering::Relaxed) != 0
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One call that may be made.
#[derive(Debug)]
pub struct Attempt {
    circuit: Arc<Circuit>,
    // Invariant: true for the one call that finds out whether they work again, until it did.
    probing: bool,
}

impl Attempt {
    /// Tells how it went, and again where something comes later of the same call.
    pub fn settle(&mut self, failed: bool) {
        let probing = std::mem::take(&mut self.probing);
        if failed {
            self.circuit.failed(probing);
        } else {
            self.circuit.succeeded();
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // The caller left before there was an answer: somebody else finds out.
        if self.probing {
            self.circuit.probe_lost();
        }
    }
}

const FIRST_PAUSE_MS: u64 = 1_000;
/// One second doubled five times: 32 s at most.
const DOUBLINGS_MAX: u32 = 5;
/// A call that finds out may take so long before another one tries.
const PROBE_MS_MAX: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circuit_opens_after_failures_in_a_row_and_one_call_tries() {
        let circuit = Circuit::new(3);
        circuit.failed_at(false, 10);
        circuit.failed_at(false, 10);
        circuit.succeeded();
        circuit.failed_at(false, 10);
        circuit.failed_at(false, 10);
        assert_eq!(circuit.admit_at(10), Ok(false), "a success begins a new count");
        circuit.failed_at(false, 10);
        assert_eq!(circuit.admit_at(10), Err(TooSoon(Duration::from_secs(1))));
        // Late news of calls that were under way changes nothing.
        circuit.failed_at(false, 500);
        assert_eq!(circuit.admit_at(1_010), Ok(true));
        assert!(circuit.admit_at(1_010).is_err(), "one at a time");
        circuit.failed_at(true, 1_010);
        assert_eq!(circuit.admit_at(1_011), Err(TooSoon(Duration::from_millis(1_999))));
        assert_eq!(circuit.admit_at(3_010), Ok(true));
        circuit.succeeded();
        assert_eq!(circuit.admit_at(3_011), Ok(false));
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_probe_that_was_given_up_lets_the_next_one_try() {
        let circuit = Arc::new(Circuit::new(1));
        circuit.admit().unwrap().settle(true);
        assert!(circuit.admit().is_err());
        // Its pause is over.
        circuit.try_at_ms.store(1, Ordering::Release);
        // The first millisecond of a circuit may not be over yet.
        let Ok(probe) = circuit.admit() else { return };
        assert!(probe.probing && circuit.is_open());
        drop(probe);
        assert!(circuit.admit().unwrap().probing);
    }
}
