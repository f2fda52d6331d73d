//! Blocks of addresses: RFC 4632 section 3.1, RFC 4291 section 2.3.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address, or all addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is no block of addresses, or one of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address, or a block such as `10.1.2.0/24` without bits behind its prefix; not `/0`")]
pub struct NetworkError;

impl Network {
    /// Whether an address is in it. An IPv4 address is the same in its IPv6 spelling.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                bits(address.to_canonical()) & self.mask() == bits(self.address)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The prefix, as bits of an IPv6 address.
    const fn mask(&self) -> u128 {
        // Invariant: never zero bits, so the shift is below 128.
        u128::MAX << (width(self.address) - self.prefix_bits)
    }
}

/// An address as a number; an IPv4 address stands in the lowest 32 bits.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let is_mapped = matches!(address, IpAddr::V6(v6) if is_mapped(v6));
        let prefix_bits = match prefix {
            None => width(address),
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
        };
        // A block of everybody is never meant: whoever lists it trusts each of them.
        if is_mapped || !(1..=width(address)).contains(&prefix_bits) {
            return Err(NetworkError);
        }
        let network = Self { address, prefix_bits };
        // Bits behind the prefix: one of the two is a slip, and nobody knows which.
        if network.contains(address) { Ok(network) } else { Err(NetworkError) }
    }
}

/// RFC 4291 section 2.5.5.2.
const fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix_bits == width(self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, address: &str, expected: bool) {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
    }

    #[test]
    fn a_block_holds_what_begins_alike() {
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("128.0.0.0/1", "127.255.255.255", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("192.0.2.0/24", "::ffff:192.0.2.7", true);
        // The lowest bits of an IPv6 address are no IPv4 address.
        check("192.0.2.0/24", "::c000:201", false);
    }

    #[test]
    fn everybody_and_slips_are_refused() {
        for text in [
            "",
            "0.0.0.0/0",
            "::/0",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/+24",
            "192.0.2.0/",
            "192.0.2/24",
            "2001:db8::1/32",
            "2001:db8::/129",
            "::ffff:192.0.2.0/120",
            "proxy.example",
            " 192.0.2.1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    #[test]
    fn the_text_reads_back() {
        for text in ["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert!(serde_json::from_str::<Network>(r#""10.0.0.0/8""#).is_ok());
        assert!(serde_json::from_str::<Network>(r#""0.0.0.0/0""#).is_err());
    }
}
