//! The agent's side: any MCP client in, bound tokens out.
//!
//! Implemented: discovery (RFC 9728, RFC 8414), tokens by `client_credentials` with
//! `private_key_jwt` and DPoP (RFC 7523, RFC 9449), renewal, step-up, and a code flow without a
//! person where the user asks for it.
//!
//! Not implemented: flows with a person, refresh tokens, keys in an operating system's key store.

mod authorized;
mod challenge;
pub mod code;
pub mod discovery;
pub mod fetch;
pub mod metadata;
mod nonces;
mod proof;
mod request;
pub mod token;
mod world;

pub use authorized::{AuthorizedClient, CallError};
pub use request::{Refusal, TokenFailure};
pub use token::TokenSource;
pub use world::World;

#[cfg(test)]
mod tests;
