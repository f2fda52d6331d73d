//! The gateway in front of a canary: what reaches the canary, what the caller sees, and what the
//! journal holds afterwards.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper fails its test by panicking"
)]

mod approvals;
mod arguments;
mod calls;
mod credentials;
mod definitions;
mod desk;
mod limits;
mod lists;
mod older;
mod people;
mod renewal;
mod responses;
mod shared;
mod stdio;
mod telemetry;
mod world;
