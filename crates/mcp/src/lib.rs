//! The MCP messages Attorn enforces, per revision.
//!
//! Implemented: revisions 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28 as a gateway between a
//! client and a server needs them. Client messages are parsed into exact shapes
//! ([`parse_client_message`]), compared with their headers ([`check_headers`],
//! [`check_param_headers`]), and sent on as new messages ([`emit`]). Server messages are
//! classified ([`parse_server_message`]), lists are filtered ([`list`]), event streams are read
//! and written ([`sse`]), and tools are known by the digest of their definition
//! ([`tool_definition`]).
//!
//! Not implemented: JSON-RPC batches (refused in every revision), the HTTP+SSE transport of
//! 2024-11-05, stream resumption, tasks, and JSON Schema validation of arguments.

pub mod emit;
pub mod error;
mod header;
mod id;
pub mod list;
mod message;
mod meta;
mod method;
mod param_header;
mod refusal;
mod revision;
mod sentinel;
mod server_message;
pub mod sse;
pub mod tool_definition;
mod write;

pub use crate::error::{ErrorCode, ErrorData};
pub use crate::header::{HeaderView, check_headers, check_param_headers};
pub use crate::id::RequestId;
pub use crate::message::{
    ClientMessage, ClientResponse, CompletionTarget, Notification, Request, ResponseBody,
    parse_client_message,
};
pub use crate::meta::Meta;
pub use crate::method::{Method, MethodClass};
pub use crate::param_header::{ParamHeader, ParamHeaderFault, ParamKind, param_headers};
pub use crate::refusal::{FrameRefusal, MirrorHeader};
pub use crate::revision::Revision;
pub use crate::server_message::{
    NotificationKind, Outcome, ResultKind, ServerMessage, ServerNotification, ServerRequest,
    ServerRequestKind, ServerResponse, UpstreamError, UpstreamFault, parse_server_message,
    result_kind, upstream_integer,
};
pub use attorn_json::{TextFinding, text_findings};
