//! The real binary over loopback: what a person types, and what comes of it.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]
#![expect(clippy::panic, reason = "a helper fails its test by panicking")]

mod commands;
mod dev;
mod journey;
mod support;
