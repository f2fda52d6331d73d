//! The real binary over loopback: what a person types, and what comes of it.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]
#![expect(clippy::indexing_slicing, reason = "answers are read like JSON")]
#![expect(clippy::panic, reason = "a helper fails its test by panicking")]

mod administration;
mod apply;
mod approvals;
mod arguments;
mod bundles;
mod commands;
mod definitions;
mod delegation;
mod dev;
mod egress;
mod egress_turns;
mod erasure;
mod federation;
mod gateways;
mod guard;
mod journey;
mod mtls;
mod observed;
mod postgres;
mod proxies;
mod release;
mod retention;
mod server_certificate;
mod server_keys;
mod shipping;
mod sign_in;
mod support;
mod surroundings;
mod tls;
mod wire;
mod witness;
mod wrap;
