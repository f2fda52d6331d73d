//! Connections of one place: so many at the same time, so that nobody fills a listener alone.
//!
//! A place is the address of the socket; an IPv6 client owns a /64, so that is one. Nothing a client
//! writes counts. Addresses on loopback are a proxy or the operator's own machine: they have a bound of
//! their own. A listed proxy speaks for many and is not bounded, once its handshake shows who it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::noise::place;

/// The open connections of one listener by place. Clones count the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    per_address_max: usize,
    of_loopback_max: usize,
    // Invariant: no place has zero; so there are no more places than connections.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    place: IpAddr,
}

/// A place has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded {
    pub(crate) place: IpAddr,
}

impl Shares {
    pub(crate) fn new(per_address_max: usize, of_loopback_max: usize) -> Self {
        Self(Arc::new(Inner { per_address_max, of_loopback_max, open: Mutex::default() }))
    }

    /// One more connection from there.
    ///
    /// # Errors
    /// [`Crowded`] when there are as many as may be.
    pub(crate) fn take(&self, from: IpAddr) -> Result<Share, Crowded> {
        let (place, most) = match place(Some(from)) {
            Some(place) => (place, self.0.per_address_max),
            None => (LOOPBACK, self.0.of_loopback_max),
        };
        match self.lock().entry(place) {
            Entry::Occupied(open) if *open.get() >= most => return Err(Crowded { place }),
            Entry::Vacant(_) if most == 0 => return Err(Crowded { place }),
            Entry::Occupied(mut open) => *open.get_mut() += 1,
            Entry::Vacant(none) => *none.insert(0) += 1,
        }
        Ok(Share { shares: self.clone(), place })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.shares.lock().entry(self.place) {
            match open.get().checked_sub(1) {
                None | Some(0) => drop(open.remove()),
                Some(left) => *open.get_mut() = left,
            }
        }
    }
}

/// All of loopback is one place.
const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_leaves_that_of_others() {
        let shares = Shares::new(2, 9);
        let first = shares.take(from("192.0.2.1")).unwrap();
        let _second = shares.take(from("192.0.2.1")).unwrap();
        let crowded = Crowded { place: from("192.0.2.1") };
        assert_eq!(shares.take(from("192.0.2.1")).unwrap_err(), crowded);
        let _other = shares.take(from("192.0.2.2")).unwrap();
        drop(first);
        let _again = shares.take(from("192.0.2.1")).unwrap();
        assert_eq!(shares.take(from("192.0.2.1")).unwrap_err(), crowded);
    }

    #[test]
    fn a_network_of_ipv6_and_both_spellings_of_ipv4_are_one() {
        let shares = Shares::new(1, 9);
        let _one = shares.take(from("2001:db8:1:2::1")).unwrap();
        let place = from("2001:db8:1:2::");
        assert_eq!(shares.take(from("2001:db8:1:2:ffff::9")).unwrap_err(), Crowded { place });
        let _next = shares.take(from("2001:db8:1:3::1")).unwrap();
        let _mapped = shares.take(from("::ffff:192.0.2.7")).unwrap();
        assert!(shares.take(from("192.0.2.7")).is_err());
    }

    #[test]
    fn loopback_has_a_bound_of_its_own() {
        let shares = Shares::new(1, 3);
        let _all = ["127.0.0.1", "127.0.0.2", "::1"].map(|one| shares.take(from(one)).unwrap());
        assert_eq!(shares.take(from("127.0.0.3")).unwrap_err(), Crowded { place: LOOPBACK });
        let _other = shares.take(from("192.0.2.1")).unwrap();
        assert!(Shares::new(0, 0).take(from("192.0.2.1")).is_err());
    }

    #[test]
    fn places_without_connections_are_forgotten() {
        let shares = Shares::new(8, 8);
        let held: Vec<_> =
            (0..8).map(|last| shares.take(from(&format!("192.0.2.{last}"))).unwrap()).collect();
        assert_eq!(shares.lock().len(), 8);
        drop(held);
        assert!(shares.lock().is_empty());
    }
}
