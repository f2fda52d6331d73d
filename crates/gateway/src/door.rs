//! The door to one server: how many calls are under way there, and whether it is left alone.
//!
//! A server that hangs must not hold every place of the gateway, and one that fails must not be
//! asked again by each caller in turn. Each server has a door of its own: what one does closes none
//! of the others. Nor does what one agent does close a door to the others.
//!
//! Not implemented: a share for each caller among the calls under way at one server.

use std::sync::Arc;
use std::time::Duration;

use attorn_enforce::circuit::{Attempt, Circuit};
use attorn_enforce::limited::Limited;
use attorn_net::Bucket;
use attorn_telemetry::{Limit, Occupied, ServerMeter};
use http::StatusCode;

use crate::limits::Limits;
use crate::upstream::UpstreamFailure;

/// Who may go to one server now.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) meter: Arc<ServerMeter>,
    rate: Bucket,
    /// By the agent that calls.
    circuit: Arc<Circuit<String>>,
    calls_max: u64,
}

/// The place of one call. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Passage {
    door: Arc<Door>,
    attempt: Attempt<String>,
    _place: Occupied,
}

impl Door {
    pub(crate) fn new(limits: &Limits, meter: Arc<ServerMeter>) -> Self {
        Self {
            meter,
            rate: Bucket::new(limits.server),
            circuit: Arc::new(Circuit::new(limits.circuit_failures)),
            calls_max: u64::try_from(limits.calls_per_server).unwrap_or(u64::MAX),
        }
    }

    /// Takes one request from the server's share.
    pub(crate) fn knock(&self) -> Result<(), Limited> {
        self.rate.take().map_err(Limited::by(Limit::Server))
    }

    /// A place for one call of an agent, if the server is well and has one.
    pub(crate) fn enter(self: &Arc<Self>, agent: &str) -> Result<Passage, Limited> {
        let place = self.meter.in_flight.occupy();
        if self.meter.in_flight.count() > self.calls_max {
            return Err(Limited { limit: Limit::Bulkhead, wait: Duration::ZERO });
        }
        let attempt = self.circuit.admit(agent.to_owned()).map_err(Limited::by(Limit::Circuit))?;
        Ok(Passage { door: Arc::clone(self), attempt, _place: place })
    }
}

impl Passage {
    /// Tells the door how the server answered.
    pub(crate) fn settle(&mut self, failure: Option<UpstreamFailure>) {
        // The server was not asked: nothing is known of it.
        if failure != Some(UpstreamFailure::Exhausted) {
            self.attempt.settle(failure.is_some_and(is_its_fault));
        }
        self.door.meter.circuit_open.set(u64::from(self.door.circuit.is_open()));
    }
}

/// Whether a failure says that the server is not well, and not that it says no. A 500 may be about the
/// one call: who can cause it must not close the server to everybody.
fn is_its_fault(failure: UpstreamFailure) -> bool {
    match failure {
        UpstreamFailure::Interrupted | UpstreamFailure::Timeout | UpstreamFailure::Unreachable => {
            true
        }
        // RFC 9110 sections 15.6.3 to 15.6.5.
        UpstreamFailure::Status(status) => {
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
                .contains(&status)
        }
        UpstreamFailure::Busy
        | UpstreamFailure::ChildGone
        | UpstreamFailure::ContentEncoding
        | UpstreamFailure::Exhausted
        | UpstreamFailure::MediaType
        | UpstreamFailure::NoStream
        | UpstreamFailure::NotRecorded
        | UpstreamFailure::Protocol
        | UpstreamFailure::SessionGone
        | UpstreamFailure::TooLong => false,
    }
}

#[cfg(test)]
mod tests {
    use attorn_net::Rate;

    use super::*;

    fn door(limits: &Limits) -> Arc<Door> {
        Arc::new(Door::new(limits, Arc::default()))
    }

    #[test]
    fn what_a_server_says_no_to_is_no_failure() {
        let limits = Limits { circuit_failures: 1, ..Limits::default() };
        let door = door(&limits);
        for failure in [
            UpstreamFailure::Status(StatusCode::FORBIDDEN),
            UpstreamFailure::Status(StatusCode::INTERNAL_SERVER_ERROR),
            UpstreamFailure::Protocol,
            UpstreamFailure::Exhausted,
        ] {
            door.enter("a").unwrap().settle(Some(failure));
            assert!(door.enter("a").is_ok(), "{failure}");
        }
        door.enter("a").unwrap().settle(Some(UpstreamFailure::Status(StatusCode::BAD_GATEWAY)));
        assert!(door.enter("a").is_err());
        assert_eq!(door.meter.circuit_open.count(), 1);
    }

    #[test]
    fn an_agent_that_fails_alone_closes_the_door_to_itself_alone() {
        let limits = Limits { circuit_failures: 3, ..Limits::default() };
        let door = door(&limits);
        let fails = |agent| door.enter(agent).unwrap().settle(Some(UpstreamFailure::Timeout));
        for _ in 0..3 {
            fails("a");
        }
        assert_eq!(door.enter("a").unwrap_err().limit, Limit::Circuit);
        fails("b");
        assert_eq!(door.enter("c").unwrap_err().limit, Limit::Circuit, "two saw it");
    }

    #[test]
    fn a_full_server_takes_no_more_and_others_do() {
        let limits = Limits { calls_per_server: 2, server: Rate::new(1, 1), ..Limits::default() };
        let (full, other) = (door(&limits), door(&limits));
        let (first, _second) = (full.enter("a").unwrap(), full.enter("a").unwrap());
        assert_eq!(full.enter("a").unwrap_err().limit, Limit::Bulkhead);
        assert!(other.enter("a").is_ok());
        drop(first);
        assert!(full.enter("a").is_ok());
        assert_eq!(full.knock(), Ok(()));
        assert_eq!(full.knock().unwrap_err().limit, Limit::Server);
        assert_eq!(other.knock(), Ok(()));
    }
}
