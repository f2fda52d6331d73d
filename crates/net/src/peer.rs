//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Facts about the connection a request came in on; found in the request's extensions.
///
/// It holds nothing a client can write: no `Host`, no `Forwarded`, no `X-Forwarded-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end's address as the socket reports it.
    pub address: SocketAddr,
    /// Whether this listener ended TLS itself.
    pub encrypted: bool,
}
