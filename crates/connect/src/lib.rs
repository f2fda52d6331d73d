//! The agent's side: any MCP client in, bound tokens out.
//!
//! [`Connector::open`] finds the authorization server of an MCP server and gets a first token;
//! [`run_stdio`] and [`LocalPort`] serve a client with it. [`AuthorizedClient`] is the part that
//! holds the key and signs, for use without MCP.
//!
//! Implemented: discovery (RFC 9728, RFC 8414), tokens by `client_credentials` with
//! `private_key_jwt` and DPoP (RFC 7523, RFC 9449) with the nonces of both servers, or by a client
//! certificate (RFC 8705), renewal by one
//! caller for all, step-up on `insufficient_scope`; stdio and loopback HTTP towards clients of every
//! revision from 2025-03-26 to 2026-07-28; acting for a person by the code flow (RFC 8252); assertions of
//! platforms and identity providers (RFC 7523).
//!
//! Not implemented: keys in an operating system's key store, the device grant.
//!
//! The client never sees a credential: none is in an answer, an error or a log line.

pub mod assertion;
mod authorized;
mod challenge;
pub mod code;
mod connector;
pub mod discovery;
mod events;
pub mod exchange;
mod fault;
pub mod fetch;
mod guard;
pub mod key_file;
mod lines;
mod listen;
pub mod login_file;
mod message;
pub mod metadata;
mod mirror;
mod nonces;
mod proof;
mod relay;
mod relist;
mod request;
pub mod secret;
mod stdio;
pub mod token;
mod upstream;
mod world;

pub use authorized::{AuthorizedClient, CallError};
pub use connector::{Connector, Era, OpenError, Options};
pub use listen::LocalPort;
pub use request::{Refusal, TokenFailure};
pub use stdio::{run, run_stdio};
pub use token::TokenSource;
pub use world::World;

#[cfg(test)]
mod tests;
