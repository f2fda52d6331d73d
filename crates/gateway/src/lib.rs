//! Enforcement in front of MCP servers nobody has to change.
//!
//! Implemented: Streamable HTTP towards clients in revisions 2026-07-28, 2025-11-25, 2025-06-18
//! and 2025-03-26; access tokens bound by DPoP with server nonces (RFC 9449) or to a certificate
//! (RFC 8705), and bearer tokens where a server takes them; protected resource metadata (RFC 9728);
//! one decision per tool call, resource and prompt; filtered lists and streams; calls that wait for a
//! person; intent and outcome of everything forwarded in the journal. What a server asks of APIs is
//! in `attorn-egress`.
//!
//! Not implemented: JSON-RPC batches, resumption of streams, tasks.
//!
//! Open `tools_call.rs` first: one function is the walk of a call.

mod answer;
mod approvals;
mod arrival;
mod budget;
mod catalogue;
mod config;
mod cursor;
mod door;
mod exchange;
mod forward;
mod front;
mod gateway;
mod held;
mod http_upstream;
mod limits;
mod media;
mod methods;
mod older;
mod open_call;
mod pending;
mod possession;
mod prm;
mod reach;
mod refusal;
mod relay;
mod renewal;
mod resting;
mod route;
mod sealing;
mod servers;
mod service;
mod sessions;
mod stdio;
mod stream;
mod tokens;
mod tools_call;
mod upstream;

// Under their old names in this crate: what enforcement points have in common.
use attorn_enforce::{record, trace};

pub use attorn_enforce::{Freshness, SILENT_MAX};

pub use crate::approvals::{ApprovalDesk, DeskSilent, UseAnswer};
pub use crate::budget::Carried;
pub use crate::catalogue::{ObservedTool, SeenTools, ToolObserver};
pub use crate::config::{BodyBytes, Config, LookSeconds, PublicUrl, PublicUrlError};
pub use crate::gateway::{Gateway, ListError, Parts, StartError};
pub use crate::limits::Limits;
pub use crate::service::GatewayService;
