//! The way out for MCP servers that know nothing of Attorn. A server is given an address of ours in
//! the place of its API's; what it asks there is asked in the name of the call that caused it.
//!
//! Implemented: attribution of a request to a call, by the trace context that a server passes on, or
//! by the child process that works on one call at a time; the operation by method and path; a token
//! for the API by exchange (RFC 8693), bound to the server's own key (RFC 9449), for no more than the
//! rules give for the tool that was called; or, for APIs that know nothing but a static key, that key,
//! which neither agent nor server ever holds; intent and outcome in the journal.
//!
//! Not implemented: calls under tokens that are bound to nothing, TLS towards servers elsewhere, bodies
//! that are longer than fits in memory, upgrades.
//! Not checked: that a server does what it was called for. One that mixes up two calls of its own, or
//! goes on with one after it has answered, asks in the name of another call of its own.
//!
//! Open `walk.rs` first.

mod calls;
mod config;
mod credential;
mod egress;
mod lane;
mod refusal;
mod secret;
mod service;
mod spans;
mod walk;

pub use crate::calls::{CallId, Calls, Held, OpenCall, Shown, Unattributed};
pub use crate::config::{Config, StaticKey};
pub use crate::egress::{Egress, Keys, Parts, StartError};
pub use crate::lane::{Lane, Lanes, Turn};
pub use crate::service::EgressService;
