//! Where the roles listen, and what each listener takes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use attorn_net::Limits;
use serde::{Deserialize, Serialize};

/// Addresses of the listeners of the roles that run; port 0 lets the operating system choose.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Public endpoints of the authority.
    pub(crate) authority: Option<SocketAddr>,
    /// The admin API; keep it away from agents.
    pub(crate) admin: Option<SocketAddr>,
    /// The gateway.
    pub(crate) gateway: Option<SocketAddr>,
    /// Metrics and readiness; not served if it is not there. Plain HTTP: keep it on loopback.
    pub(crate) metrics: Option<SocketAddr>,
    /// Connections at the same time from one client address at each listener, of 4096 in all; an IPv6
    /// /64 is one address. More are closed at once. Not for listed proxies. Default 1024, and without
    /// a bound from loopback; where it is set, it is one for loopback as well.
    pub(crate) connections_per_address: Option<NonZeroUsize>,
}

impl Listen {
    /// What every listener takes from its clients.
    pub(crate) fn limits(&self) -> Limits {
        let limits = Limits::default();
        match self.connections_per_address.map(NonZeroUsize::get) {
            Some(most) => Limits { per_address_max: most, of_loopback_max: most, ..limits },
            None => limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Result<(usize, usize), ()> {
        let listen: Listen = toml::from_str(text).map_err(|_| ())?;
        let limits = listen.limits();
        Ok((limits.per_address_max, limits.of_loopback_max))
    }

    #[test]
    fn loopback_is_bounded_where_that_was_asked_for() {
        assert_eq!(limits(""), Ok((1024, usize::MAX)));
        assert_eq!(limits("connections_per_address = 8"), Ok((8, 8)));
        for odd in ["0", "-1", "\"8\"", "1.5"] {
            assert_eq!(limits(&format!("connections_per_address = {odd}")), Err(()), "{odd}");
        }
    }
}
