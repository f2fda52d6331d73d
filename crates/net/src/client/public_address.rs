//! Addresses that are reached over the Internet: what is left of the special-purpose registries of
//! IANA (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is nobody's own network, machine or group, and leads to no such by itself.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // "This network", private use, loopback: RFC 791 section 3.2, RFC 1918 section 3.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Shared by carriers: RFC 6598 section 7.
        [100, 64..=127, ..] => false,
        // Link-local, where metadata services of clouds live: RFC 3927 section 2.1.
        [169, 254, ..] => false,
        // Protocol assignments, documentation, relays to IPv6: RFC 6890 section 2.2.2.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => false,
        // Benchmarks and documentation: RFC 2544 appendix C, RFC 5737 section 3.
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        // Groups, reserved, broadcast: RFC 1112 section 4.
        [224..=255, ..] => false,
        _ => true,
    }
}

/// Global unicast is `2000::/3` (RFC 4291 section 2.4), so loopback, link-local, unique local, group,
/// mapped and translated addresses are none. Of it, what embeds or documents others is taken away.
const fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_global = first & 0xe000 == 0x2000;
    // Teredo and other assignments to protocols: RFC 2928 section 2, RFC 4380 section 2.6.
    let is_assigned = first == 0x2001 && second < 0x0200;
    // Documentation: RFC 3849 section 2, RFC 9637 section 3.
    let is_example = first == 0x2001 && second == 0x0db8 || first == 0x3fff && second < 0x1000;
    // 6to4 embeds an IPv4 address: RFC 3056 section 2.
    let is_embedded = first == 0x2002;
    is_global && !is_assigned && !is_example && !is_embedded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
    }

    #[test]
    fn addresses_of_the_internet() {
        for text in ["8.8.8.8", "1.1.1.1", "100.63.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1"] {
            check(text, true);
        }
        for text in ["2606:4700::1111", "2001:4860:4860::8888", "2a00::1"] {
            check(text, true);
        }
    }

    #[test]
    fn everything_else() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            check(text, false);
        }
        for text in [
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
        ] {
            check(text, false);
        }
    }
}
