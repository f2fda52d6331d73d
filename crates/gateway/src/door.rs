//! The door to one server: how many calls are under way there, and whether it is left alone.
//!
//! A server that hangs must not hold every place of the gateway, and one that fails must not be
//! asked again by each caller in turn. Each server has a door of its own: what one does closes none
//! of the others.
//!
//! Not implemented: a share for each caller among the calls under way at one server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use attorn_net::{Bucket, TooSoon};
use attorn_telemetry::{Limit, Occupied, ServerMeter};
use tokio::time::Instant;

use crate::limits::{Limited, Limits};
use crate::upstream::UpstreamFailure;

/// Who may go to one server now.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) meter: Arc<ServerMeter>,
    rate: Bucket,
    circuit: Circuit,
    calls_max: u64,
}

/// The place of one call. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Passage {
    door: Arc<Door>,
    // Invariant: true for the one call that finds out whether the server works again, until it did.
    probing: bool,
    _place: Occupied,
}

impl Door {
    pub(crate) fn new(limits: &Limits, meter: Arc<ServerMeter>) -> Self {
        Self {
            meter,
            rate: Bucket::new(limits.server),
            circuit: Circuit::new(limits.circuit_failures),
            calls_max: u64::try_from(limits.calls_per_server).unwrap_or(u64::MAX),
        }
    }

    /// Takes one request from the server's share.
    pub(crate) fn knock(&self) -> Result<(), Limited> {
        self.rate.take().map_err(Limited::by(Limit::Server))
    }

    /// A place for one call, if the server is well and has one.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Passage, Limited> {
        let place = self.meter.in_flight.occupy();
        if self.meter.in_flight.count() > self.calls_max {
            return Err(Limited { limit: Limit::Bulkhead, wait: Duration::ZERO });
        }
        let probing = self.circuit.admit().map_err(Limited::by(Limit::Circuit))?;
        Ok(Passage { door: Arc::clone(self), probing, _place: place })
    }
}

impl Passage {
    /// Tells the door how the server answered.
    pub(crate) fn settle(&mut self, failure: Option<UpstreamFailure>) {
        let circuit = &self.door.circuit;
        let probing = std::mem::take(&mut self.probing);
        if failure.is_some_and(is_its_fault) {
            circuit.failed(probing);
        } else {
            circuit.succeeded();
        }
        self.door.meter.circuit_open.set(u64::from(circuit.is_open()));
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // The caller left before the server answered: somebody else finds out.
        if self.probing {
            self.door.circuit.probe_lost();
        }
    }
}

/// Whether a failure says that the server is not well, and not that it says no.
fn is_its_fault(failure: UpstreamFailure) -> bool {
    match failure {
        UpstreamFailure::Interrupted | UpstreamFailure::Timeout | UpstreamFailure::Unreachable => {
            true
        }
        UpstreamFailure::Status(status) => status.is_server_error(),
        UpstreamFailure::Busy
        | UpstreamFailure::ChildGone
        | UpstreamFailure::ContentEncoding
        | UpstreamFailure::MediaType
        | UpstreamFailure::NoStream
        | UpstreamFailure::NotRecorded
        | UpstreamFailure::Protocol
        | UpstreamFailure::SessionGone
        | UpstreamFailure::TooLong => false,
    }
}

/// Opens after failures in a row; then one call at a time finds out whether they are over.
#[derive(Debug)]
struct Circuit {
    base: Instant,
    failures_max: u32,
    failures: AtomicU32,
    openings: AtomicU32,
    /// Milliseconds after `base` at which one call may try; 0 while the circuit is closed.
    try_at_ms: AtomicU64,
}

impl Circuit {
    fn new(failures_max: u32) -> Self {
        Self {
            base: Instant::now(),
            failures_max,
            failures: AtomicU32::new(0),
            openings: AtomicU32::new(0),
            try_at_ms: AtomicU64::new(0),
        }
    }

    /// Whether a call may go there; `true` when it is the one that finds out.
    fn admit(&self) -> Result<bool, TooSoon> {
        self.admit_at(self.now_ms())
    }

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

    fn is_open(&self) -> bool {
        self.try_at_ms.load(Ordering::Relaxed) != 0
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

const FIRST_PAUSE_MS: u64 = 1_000;
/// One second doubled five times: 32 s at most.
const DOUBLINGS_MAX: u32 = 5;
/// A call that finds out may take so long before another one tries.
const PROBE_MS_MAX: u64 = 30_000;

#[cfg(test)]
mod tests {
    use attorn_net::Rate;
    use http::StatusCode;

    use super::*;

    fn door(limits: &Limits) -> Arc<Door> {
        Arc::new(Door::new(limits, Arc::default()))
    }

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
        let limits = Limits { circuit_failures: 1, ..Limits::default() };
        let door = door(&limits);
        door.enter().unwrap().settle(Some(UpstreamFailure::Unreachable));
        assert_eq!(door.enter().unwrap_err().limit, Limit::Circuit);
        door.circuit.try_at_ms.store(1, Ordering::Release);
        let probe = door.enter();
        // The first millisecond of a door may not be over yet.
        if let Ok(probe) = probe {
            assert!(probe.probing);
            drop(probe);
            assert!(door.enter().unwrap().probing);
        }
    }

    #[test]
    fn what_a_server_says_no_to_is_no_failure() {
        let limits = Limits { circuit_failures: 1, ..Limits::default() };
        let door = door(&limits);
        for failure in [UpstreamFailure::Status(StatusCode::FORBIDDEN), UpstreamFailure::Protocol] {
            door.enter().unwrap().settle(Some(failure));
            assert!(door.enter().is_ok());
        }
        door.enter().unwrap().settle(Some(UpstreamFailure::Status(StatusCode::BAD_GATEWAY)));
        assert!(door.enter().is_err());
        assert_eq!(door.meter.circuit_open.count(), 1);
    }

    #[test]
    fn a_full_server_takes_no_more_and_others_do() {
        let limits = Limits { calls_per_server: 2, server: Rate::new(1, 1), ..Limits::default() };
        let (full, other) = (door(&limits), door(&limits));
        let (first, _second) = (full.enter().unwrap(), full.enter().unwrap());
        assert_eq!(full.enter().unwrap_err().limit, Limit::Bulkhead);
        assert!(other.enter().is_ok());
        drop(first);
        assert!(full.enter().is_ok());
        assert_eq!(full.knock(), Ok(()));
        assert_eq!(full.knock().unwrap_err().limit, Limit::Server);
        assert_eq!(other.knock(), Ok(()));
    }
}
