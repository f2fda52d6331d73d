//! Failed credentials: how many are looked at before the next ones are refused unseen.
//!
//! Verifying a signature costs more than sending one. Each credential that fails is charged to the
//! address it came from and to everybody together; an address that has used up its share is refused
//! before any signature is verified. A credential that holds costs nothing here.
//!
//! The address is that of the socket: nothing a client writes into a header counts. An IPv6 client
//! owns a /64, so that is one address. Addresses on loopback are a proxy or the operator's own
//! machine, and are not counted: a proxy in front has to limit by itself. The same holds for listed
//! proxies: see [`crate::Peer::charged`].

use std::net::{IpAddr, Ipv6Addr};

use crate::rate::{Bucket, Buckets, Rate, TooSoon};

/// The shares of all addresses.
#[derive(Debug)]
pub struct NoiseGate {
    by_address: Buckets<IpAddr>,
    together: Bucket,
}

/// Whose share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noisy {
    /// That of the address.
    Address(TooSoon),
    /// That of everybody, and this address failed lately: a credential known from before may still
    /// be looked at.
    Everybody(TooSoon),
}

impl NoiseGate {
    /// Failures that one address may cause, and all together.
    #[must_use]
    pub fn new(address: Rate, together: Rate) -> Self {
        Self { by_address: Buckets::new(address, ADDRESSES_MAX), together: Bucket::new(together) }
    }

    /// Whether a credential from there is looked at.
    ///
    /// # Errors
    /// [`Noisy`] when it is not.
    pub fn admit(&self, from: Option<IpAddr>) -> Result<(), Noisy> {
        // Who did not fail lately is let in, however loud the others are.
        let Some(address) = place(from) else { return Ok(()) };
        if self.by_address.is_full(&address) {
            return Ok(());
        }
        self.by_address.look(&address).map_err(Noisy::Address)?;
        self.together.look().map_err(Noisy::Everybody)
    }

    /// A credential from there failed.
    pub fn charge(&self, from: Option<IpAddr>) {
        if let Some(address) = place(from) {
            let _spent = self.together.take().is_err();
            let _spent = self.by_address.take(&address).is_err();
        }
    }
}

/// The place that an address stands for: an IPv6 client owns a /64. `None` on loopback, which is a
/// proxy or the operator's own machine.
#[must_use]
pub fn place(from: Option<IpAddr>) -> Option<IpAddr> {
    let address = from?.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    })
}

/// More places than a gateway has clients that fail at once; what finds none waits a second.
const ADDRESSES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn an_address_is_refused_after_its_share_and_others_are_not() {
        let gate = NoiseGate::new(Rate::new(1, 2), Rate::new(100, 100));
        let (loud, quiet) = (from("192.0.2.1"), from("192.0.2.2"));
        gate.charge(Some(loud));
        assert_eq!(gate.admit(Some(loud)), Ok(()));
        gate.charge(Some(loud));
        assert!(matches!(gate.admit(Some(loud)), Err(Noisy::Address(_))));
        assert_eq!(gate.admit(Some(quiet)), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let gate = NoiseGate::new(Rate::new(1, 1), Rate::new(100, 100));
        gate.charge(Some(from("2001:db8:1:2::1")));
        assert!(gate.admit(Some(from("2001:db8:1:2:ffff::9"))).is_err());
        assert_eq!(gate.admit(Some(from("2001:db8:1:3::1"))), Ok(()));
        gate.charge(Some(from("::ffff:192.0.2.7")));
        assert!(gate.admit(Some(from("192.0.2.7"))).is_err());
    }

    #[test]
    fn all_together_have_a_share_too() {
        let gate = NoiseGate::new(Rate::new(10, 10), Rate::new(1, 3));
        for last in 1..=3 {
            gate.charge(Some(from(&format!("192.0.2.{last}"))));
        }
        assert!(matches!(gate.admit(Some(from("192.0.2.1"))), Err(Noisy::Everybody(_))));
        // Somebody who did not fail is not made to pay for it, and loopback is not counted.
        assert_eq!(gate.admit(Some(from("192.0.2.9"))), Ok(()));
        gate.charge(Some(from("127.0.0.1")));
        assert_eq!(gate.admit(Some(from("127.0.0.1"))), Ok(()));
    }
}
