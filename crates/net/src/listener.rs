//! Where requests come in.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::Tls;

use crate::Connections;

/// A bound socket, with TLS unless it is on loopback.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Tls>,
    address: SocketAddr,
    connections: Connections,
}

/// A listener that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refuses the address.
    #[error("cannot listen on `{address}`")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Plain HTTP is served on loopback only.
    #[error("plain HTTP is served on loopback only, and `{address}` is not; configure TLS")]
    PlainOffLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
}

impl Listener {
    /// Binds `address`; port 0 lets the operating system choose.
    ///
    /// # Errors
    /// [`BindError::PlainOffLoopback`] without `tls` anywhere but on loopback.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, BindError> {
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(BindError::PlainOffLoopback { address });
        }
        let failed = |source| BindError::Address { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let connections = Connections::default();
        Ok(Self { tcp, tls, address, connections })
    }

    /// The address bound, with the port the operating system chose.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether clients speak TLS to it.
    pub const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The connections it has and had.
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        self.tcp.accept().await
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("encrypted", &self.is_encrypted())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_stays_on_loopback() {
        let refused = Listener::bind(SocketAddr::from(([0, 0, 0, 0], 0)), None).await;
        assert!(matches!(refused, Err(BindError::PlainOffLoopback { .. })));
        let bound = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
        assert!(!bound.is_encrypted());
        assert_ne!(bound.address().port(), 0);
    }
}
