//! The clients with which the authority asks hosts that others named.
//!
//! There are two: one for hosts that the operator listed, wherever they are, and one for all other
//! hosts, which reaches nothing but the Internet. A connection is judged when it is made, so none is
//! kept for later.

use std::path::Path;
use std::time::Duration;

use attorn_net::{Client, ClientConfig, Reach, Roots, TlsError};

/// Both clients.
#[derive(Debug)]
pub(crate) struct Outward {
    /// For hosts that the operator listed.
    pub(crate) listed: Client,
    /// For everybody's hosts.
    pub(crate) public: Client,
}

/// Why they cannot be made.
#[derive(Debug)]
pub(crate) enum OutwardRefusal {
    Roots(std::io::Error),
    Tls(TlsError),
}

impl From<TlsError> for OutwardRefusal {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl Outward {
    /// `roots` is a PEM file of the authorities that count for listed hosts instead of the public ones;
    /// `within` bounds the connection, the head and the body of an answer each.
    pub(crate) fn new(roots: Option<&Path>, within: Duration) -> Result<Self, OutwardRefusal> {
        let roots = match roots {
            Some(path) => Roots::Pem(std::fs::read_to_string(path).map_err(OutwardRefusal::Roots)?),
            None => Roots::Public,
        };
        let client = |reach, roots| {
            Client::new(ClientConfig {
                reach,
                roots,
                connect_timeout: within,
                head_timeout: within,
                body_timeout: Some(within),
                idle_max: 0,
                ..ClientConfig::default()
            })
        };
        Ok(Self {
            listed: client(Reach::Any, roots)?,
            public: client(Reach::PublicOnly, Roots::Public)?,
        })
    }
}
