//! Whether somebody who failed is left alone, so that they are not asked again by each caller in turn.
//!
//! Callers can cause failures, and can be slow when they find out whether these are over. So who alone
//! saw failures is kept away alone; all are, once two callers saw them. And where all are kept away,
//! whoever tries holds the place of the others for a second, and its own until it was answered: it may
//! be slow, leave or fail as often as it likes.
//!
//! Not checked: that two callers are not one behind two names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attorn_net::TooSoon;
use tokio::time::Instant;

/// Opens after failures in a row; then single calls find out whether they are over.
#[derive(Debug)]
pub struct Circuit<C: Clone + Eq> {
    base: Instant,
    failures_max: u32,
    /// Whether there is anything to look at: not while all goes well.
    is_troubled: AtomicBool,
    trouble: Mutex<Trouble<C>>,
}

/// Failures since the last call that went well, and who is kept away for them. Times are milliseconds
/// after the circuit's `base`.
#[derive(Debug)]
struct Trouble<C> {
    failures: u32,
    /// Who saw the first of them.
    first: Option<C>,
    /// Whether somebody else saw one too.
    by_several: bool,
    /// When the next one may try, while all are kept away.
    next_ms: Option<u64>,
    /// Who is kept away by themselves.
    waits: Vec<Wait<C>>,
    /// The number of the latest probe. It only rises, so that an old probe is told from a new one.
    probes: u64,
}

#[derive(Debug)]
struct Wait<C> {
    caller: C,
    until_ms: u64,
    /// Probes of this caller that failed.
    failures: u32,
    /// The probe that is under way.
    probe: Option<u64>,
}

impl<C: Clone + Eq> Circuit<C> {
    /// Opens after so many failures in a row; never with 0.
    pub fn new(failures_max: u32) -> Self {
        Self {
            base: Instant::now(),
            failures_max,
            is_troubled: AtomicBool::new(false),
            trouble: Mutex::new(Trouble::new()),
        }
    }

    /// A call, if this caller may go there.
    ///
    /// # Errors
    /// [`TooSoon`] while it is left alone.
    pub fn admit(self: &Arc<Self>, caller: C) -> Result<Attempt<C>, TooSoon> {
        let probe = if self.is_troubled.load(Ordering::Acquire) {
            self.trouble().admit(&caller, self.now_ms())?
        } else {
            None
        };
        Ok(Attempt { circuit: Arc::clone(self), caller, probe })
    }

    fn succeeded(&self) {
        // Read first: on the path of a call that goes well nothing is written.
        if self.is_troubled.load(Ordering::Acquire) {
            let mut trouble = self.trouble();
            trouble.end();
            self.is_troubled.store(false, Ordering::Release);
        }
    }

    fn failed(&self, caller: &C, probe: Option<u64>) {
        if self.failures_max > 0 {
            let mut trouble = self.trouble();
            match probe {
                Some(number) => trouble.probe_failed(number, self.now_ms()),
                None => trouble.failed(caller, self.failures_max, self.now_ms()),
            }
            self.is_troubled.store(true, Ordering::Release);
        }
    }

    /// Whether it is left alone by anybody, or was and nobody found out yet.
    pub fn is_open(&self) -> bool {
        self.is_troubled.load(Ordering::Acquire) && self.trouble().is_open()
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble<C>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl<C: Clone + Eq> Trouble<C> {
    const fn new() -> Self {
        Self {
            failures: 0,
            first: None,
            by_several: false,
            next_ms: None,
            waits: Vec::new(),
            probes: 0,
        }
    }

    /// Whether a call may go there; with a number when it is one that finds out.
    fn admit(&mut self, caller: &C, now_ms: u64) -> Result<Option<u64>, TooSoon> {
        let own = self.waits.iter().find(|one| one.caller == *caller);
        let Some(until_ms) = self.next_ms.max(own.map(|own| own.until_ms)) else {
            return Ok(None);
        };
        if now_ms < until_ms {
            // What a probe under way finds may be known before its time is over.
            let is_asking = own.is_some_and(|own| own.probe.is_some());
            let told_ms = if is_asking { PLACE_MS } else { u64::MAX };
            return Err(TooSoon(Duration::from_millis((until_ms - now_ms).min(told_ms))));
        }
        let failures = own.map_or(0, |own| own.failures);
        self.probes = self.probes.saturating_add(1);
        // The others wait a second for what it finds, however long it takes.
        self.next_ms = self.next_ms.map(|_| now_ms.saturating_add(PLACE_MS));
        let (until_ms, probe) = (now_ms.saturating_add(PROBE_MS_MAX), Some(self.probes));
        self.keep(Wait { caller: caller.clone(), until_ms, failures, probe });
        Ok(probe)
    }

    /// A call failed that was not to find out anything.
    fn failed(&mut self, caller: &C, failures_max: u32, now_ms: u64) {
        // Calls that were under way when their caller was kept away say nothing new.
        if self.next_ms.is_some() || self.waits.iter().any(|one| one.caller == *caller) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.by_several |= self.first.get_or_insert_with(|| caller.clone()) != caller;
        if self.failures < failures_max {
            return;
        }
        let until_ms = now_ms.saturating_add(FIRST_PAUSE_MS);
        if self.by_several {
            self.next_ms = Some(until_ms);
        } else {
            self.keep(Wait { caller: caller.clone(), until_ms, failures: 0, probe: None });
        }
    }

    /// Its caller waits twice as long as before, and nobody else does.
    fn probe_failed(&mut self, number: u64, now_ms: u64) {
        if let Some(wait) = self.under_way(number, now_ms) {
            wait.failures = wait.failures.saturating_add(1).min(DOUBLINGS_MAX);
            wait.until_ms = now_ms.saturating_add(FIRST_PAUSE_MS << wait.failures);
            wait.probe = None;
        }
    }

    /// The caller left before there was an answer. Somebody else has a second before it may try again.
    fn probe_lost(&mut self, number: u64, now_ms: u64) {
        if let Some(wait) = self.under_way(number, now_ms) {
            wait.until_ms = now_ms.saturating_add(PLACE_MS + FIRST_PAUSE_MS);
            wait.probe = None;
        }
    }

    /// The wait of a probe. None for one whose time is over, or from before a call went well: what
    /// comes of it says nothing any more.
    fn under_way(&mut self, number: u64, now_ms: u64) -> Option<&mut Wait<C>> {
        let is_it = |one: &&mut Wait<C>| one.probe == Some(number) && now_ms < one.until_ms;
        self.waits.iter_mut().find(is_it)
    }

    fn keep(&mut self, wait: Wait<C>) {
        self.waits.retain(|one| one.caller != wait.caller);
        if self.waits.len() >= WAITS_MAX {
            let soonest_ms = self.waits.iter().map(|one| one.until_ms).min();
            let place = self.waits.iter().position(|one| Some(one.until_ms) == soonest_ms);
            drop(place.map(|place| self.waits.swap_remove(place)));
        }
        self.waits.push(wait);
    }

    /// A call went well.
    fn end(&mut self) {
        *self = Self { probes: self.probes, ..Self::new() };
    }

    fn is_open(&self) -> bool {
        self.next_ms.is_some() || !self.waits.is_empty()
    }
}

/// One call that may be made.
#[derive(Debug)]
pub struct Attempt<C: Clone + Eq> {
    circuit: Arc<Circuit<C>>,
    caller: C,
    // Invariant: a number for a call that finds out whether they work again, until it did.
    probe: Option<u64>,
}

impl<C: Clone + Eq> Attempt<C> {
    /// Tells how it went, and again where something comes later of the same call.
    pub fn settle(&mut self, failed: bool) {
        let probe = self.probe.take();
        if failed {
            self.circuit.failed(&self.caller, probe);
        } else {
            self.circuit.succeeded();
        }
    }
}

impl<C: Clone + Eq> Drop for Attempt<C> {
    fn drop(&mut self) {
        if let Some(number) = self.probe {
            self.circuit.trouble().probe_lost(number, self.circuit.now_ms());
        }
    }
}

const FIRST_PAUSE_MS: u64 = 1_000;
/// One second doubled five times: 32 s at most.
const DOUBLINGS_MAX: u32 = 5;
/// How long one that finds out keeps others from it.
const PLACE_MS: u64 = 1_000;
/// And how long it keeps its own caller from trying again.
const PROBE_MS_MAX: u64 = 30_000;
/// With one probe a second and at most 32 s to wait, hardly more than half of them wait.
const WAITS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: fn(u64) -> TooSoon = |ms| TooSoon(Duration::from_millis(ms));

    /// Failures of calls at 10 ms after the start, three of which open.
    fn troubled(callers: &[&'static str]) -> Trouble<&'static str> {
        let mut trouble = Trouble::new();
        for caller in callers {
            assert_eq!(trouble.admit(caller, 10), Ok(None));
            trouble.failed(caller, 3, 10);
        }
        trouble
    }

    #[test]
    fn one_that_fails_alone_is_kept_away_alone() {
        let mut trouble = troubled(&["a", "a"]);
        assert_eq!(trouble.admit(&"a", 10), Ok(None), "two in a row are not three");
        trouble.failed(&"a", 3, 10);
        assert_eq!(trouble.admit(&"a", 10), Err(SOON(1_000)));
        assert_eq!(trouble.admit(&"b", 10), Ok(None), "nobody else notices");
        // Late news of calls that were under way changes nothing.
        trouble.failed(&"a", 3, 500);
        let probe = trouble.admit(&"a", 1_010).unwrap().unwrap();
        assert_eq!(trouble.admit(&"a", 1_010), Err(SOON(1_000)), "one at a time");
        trouble.probe_failed(probe, 1_010);
        assert_eq!(trouble.admit(&"a", 1_011), Err(SOON(1_999)));
        assert!(trouble.admit(&"a", 3_010).unwrap().is_some());
        trouble.end();
        assert_eq!(trouble.admit(&"a", 3_011), Ok(None));
        assert!(!trouble.is_open());
    }

    #[test]
    fn what_goes_well_begins_a_new_count() {
        let mut trouble = troubled(&["a", "b"]);
        trouble.end();
        trouble.failed(&"a", 3, 10);
        trouble.failed(&"b", 3, 10);
        assert!(!trouble.is_open());
        assert_eq!(trouble.admit(&"c", 10), Ok(None));
    }

    #[test]
    fn all_are_kept_away_once_two_saw_it_and_one_a_second_tries() {
        let mut trouble = troubled(&["a", "a", "b"]);
        for caller in ["a", "b", "c"] {
            assert_eq!(trouble.admit(&caller, 10), Err(SOON(1_000)), "{caller}");
        }
        let probe = trouble.admit(&"a", 1_010).unwrap().unwrap();
        assert_eq!(trouble.admit(&"b", 1_010), Err(SOON(1_000)), "one at a time");
        trouble.probe_failed(probe, 1_020);
        // Who failed waits twice as long, and who did not does not.
        assert_eq!(trouble.admit(&"a", 2_010), Err(SOON(1_010)));
        let probe = trouble.admit(&"b", 2_010).unwrap().unwrap();
        trouble.probe_failed(probe, 2_020);
        assert!(trouble.admit(&"a", 3_020).unwrap().is_some());
    }

    /// A caller that is slow, or leaves, or fails on purpose keeps nobody else away.
    #[test]
    fn a_probe_holds_the_place_of_others_for_a_second() {
        let mut trouble = troubled(&["a", "a", "b"]);
        let slow = trouble.admit(&"a", 1_010).unwrap().unwrap();
        assert_eq!(trouble.admit(&"b", 2_009), Err(SOON(1)));
        assert!(trouble.admit(&"b", 2_010).unwrap().is_some());
        assert!(trouble.admit(&"a", 3_010).is_err(), "it has a probe under way");
        trouble.probe_lost(slow, 3_010);
        assert!(trouble.admit(&"a", 5_009).is_err(), "somebody else comes first");
        assert!(trouble.admit(&"c", 3_010).unwrap().is_some());
        assert!(trouble.admit(&"a", 5_010).unwrap().is_some());
    }

    #[test]
    fn a_probe_whose_time_is_over_says_nothing_any_more() {
        let mut trouble = troubled(&["a", "a", "b"]);
        let slow = trouble.admit(&"a", 1_010).unwrap().unwrap();
        // Another one found out: what the first one does now opens nothing.
        assert!(trouble.admit(&"b", 2_010).unwrap().is_some());
        trouble.end();
        for news in [Trouble::probe_lost, Trouble::probe_failed] {
            news(&mut trouble, slow, 3_000);
            assert!(!trouble.is_open());
        }
        // Nor does it speak for a later probe of the same caller.
        let mut trouble = troubled(&["a", "a", "a"]);
        let slow = trouble.admit(&"a", 1_010).unwrap().unwrap();
        let next = trouble.admit(&"a", 31_010).unwrap().unwrap();
        trouble.probe_failed(slow, 31_011);
        trouble.probe_lost(slow, 31_011);
        assert_eq!(trouble.admit(&"a", 31_010), Err(SOON(1_000)), "the next one is under way");
        trouble.probe_failed(next, 31_011);
        assert_eq!(trouble.admit(&"a", 31_011), Err(SOON(2_000)));
    }

    #[test]
    fn there_is_an_end_to_who_is_remembered() {
        let mut trouble = Trouble::new();
        for caller in [0, 0, 1] {
            trouble.failed(&caller, 3, 0);
        }
        for caller in 0..200 {
            let now_ms = 1_000 * (caller + 1);
            assert!(trouble.admit(&caller, now_ms).unwrap().is_some());
        }
        assert_eq!(trouble.waits.len(), WAITS_MAX);
        assert!(trouble.waits.iter().all(|one| one.caller >= 200 - 64), "the soonest go first");
    }

    #[test]
    fn a_circuit_closes_with_a_call_that_went_well_and_not_with_one_that_was_given_up() {
        let circuit = Arc::new(Circuit::new(1));
        circuit.admit("a").unwrap().settle(true);
        assert!(circuit.admit("a").is_err() && circuit.is_open());
        circuit.trouble().waits[0].until_ms = 0;
        let probe = circuit.admit("a").unwrap();
        assert!(probe.probe.is_some());
        drop(probe);
        assert!(circuit.admit("a").is_err() && circuit.is_open());
        circuit.admit("b").unwrap().settle(false);
        assert!(!circuit.is_open());
        assert!(circuit.admit("a").unwrap().probe.is_none());
        // With 0 it never opens.
        let circuit = Arc::new(Circuit::new(0));
        circuit.admit("a").unwrap().settle(true);
        assert!(circuit.admit("a").is_ok() && !circuit.is_open());
    }
}
