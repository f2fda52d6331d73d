//! The guard in front of an API that writes down what reaches it: what the API sees, what the caller
//! sees, and what the journal holds afterwards. Over HTTP/1.1 and HTTP/2.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper fails its test by panicking"
)]

mod accesses;
mod api;
mod certificates;
mod circuits;
mod credentials;
mod forwarding;
mod layer;
mod policies;
mod registry;
mod spans;
mod stops;
mod world;
