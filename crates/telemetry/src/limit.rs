//! The limits that are counted when somebody runs into them.

/// A limit that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Failed credentials from one address.
    Address,
    /// Requests of one agent.
    Agent,
    /// Calls under way at one server.
    Bulkhead,
    /// A server that failed too often and is left alone.
    Circuit,
    /// Requests under one key.
    Key,
    /// Bytes of request bodies held at the same time.
    Memory,
    /// Requests to one server.
    Server,
    /// Sessions of one client.
    Sessions,
    /// Resting streams of one client.
    Streams,
    /// Token requests of one client.
    TokenClient,
    /// Failed credentials from everybody.
    Unauthenticated,
}

impl Limit {
    /// Every limit, in alphabetical order.
    pub const ALL: [Self; 11] = [
        Self::Address,
        Self::Agent,
        Self::Bulkhead,
        Self::Circuit,
        Self::Key,
        Self::Memory,
        Self::Server,
        Self::Sessions,
        Self::Streams,
        Self::TokenClient,
        Self::Unauthenticated,
    ];

    /// The word in metrics and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Agent => "agent",
            Self::Bulkhead => "bulkhead",
            Self::Circuit => "circuit",
            Self::Key => "key",
            Self::Memory => "memory",
            Self::Server => "server",
            Self::Sessions => "sessions",
            Self::Streams => "streams",
            Self::TokenClient => "token_client",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}
