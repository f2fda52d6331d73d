//! Enforcement in front of HTTP APIs that know nothing of it.
//!
//! Implemented: tokens that MCP servers got by exchange, bound to the server's own key by DPoP with
//! server nonces (RFC 9449); one operation by method and path, and all scopes that it needs; the
//! chain of actors, everything that the token rests on, and the policies, judged anew for each request;
//! intent and outcome in the journal; a new request with the verified identity in headers. As a proxy of its
//! own ([`Guard::serve`]) and as a layer of a service that is written with tower ([`Guard::layer`]).
//!
//! Not implemented: metadata of the API (RFC 9728), upgrades, trailers,
//! operations by query or body.
//!
//! Open `admit.rs` first: one function is the walk of a request.

mod access;
mod admit;
mod answer;
mod body;
mod config;
mod credential;
mod guard;
pub mod headers;
mod hop;
mod layer;
mod limits;
mod method;
mod refusal;
mod service;
pub mod target;
mod upstream;

pub use crate::access::Caller;
pub use crate::body::{AnswerBody, BodyRefusal, GuardedBody};
pub use crate::config::{Api, ApiUrl, BodyBytes, Config, RequestIdHeader, UpstreamUrl, UrlRefusal};
pub use crate::guard::{Guard, Parts, StartError};
pub use crate::layer::{GuardLayer, Guarded};
pub use crate::limits::Limits;
pub use crate::service::GuardService;
