//! Why a client message is refused, and what the client is told.

use crate::ErrorCode;

/// A header that mirrors the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorHeader {
    /// `Mcp-Method`
    Method,
    /// `Mcp-Name`
    Name,
    /// One of `Mcp-Param-*`
    Param,
    /// `MCP-Protocol-Version`
    ProtocolVersion,
}

/// Exhaustive on purpose: a new reason must not compile until [`FrameRefusal::code`] maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    /// Several messages in one array.
    #[error("batch")]
    Batch,
    /// A mirror header occurs twice.
    #[error("repeated header")]
    HeaderDuplicate(MirrorHeader),
    /// A mirror header holds bytes or an encoding it may not hold.
    #[error("malformed header")]
    HeaderMalformed(MirrorHeader),
    /// A mirror header differs from the body.
    #[error("header differs from body")]
    HeaderMismatch(MirrorHeader),
    /// A mirror header is missing.
    #[error("missing header")]
    HeaderMissing(MirrorHeader),
    /// The id is no short string and no safe integer.
    #[error("malformed id")]
    IdForm,
    /// `jsonrpc` is not "2.0".
    #[error("unknown JSON-RPC version")]
    JsonRpcVersion,
    /// `_meta` lacks a field that every request carries.
    #[error("missing request metadata")]
    MetaMissing,
    /// `_meta` or a field of it has the wrong type.
    #[error("malformed request metadata")]
    MetaShape,
    /// `method` is missing or no short string.
    #[error("malformed method")]
    MethodForm,
    /// The message is no object.
    #[error("not an object")]
    NotAnObject,
    /// `result` and `error` together, or one that is no object.
    #[error("malformed response")]
    OutcomeShape,
    /// A parameter is spelled like a known one but for its case.
    #[error("parameter in another case")]
    ParamCase,
    /// A required parameter is missing.
    #[error("missing parameter")]
    ParamMissing,
    /// A parameter has the wrong type or is too long.
    #[error("malformed parameter")]
    ParamShape,
    /// `params` is no object.
    #[error("malformed params")]
    ParamsShape,
    /// `method` or `params` together with `result` or `error`.
    #[error("request and response in one message")]
    RequestWithOutcome,
    /// A response where the revision has none from clients.
    #[error("response from a client")]
    ResponseFromClient,
    /// A top-level member that JSON-RPC does not define.
    #[error("unknown member")]
    UnknownMember,
    /// A protocol version nobody here speaks.
    #[error("unsupported protocol version")]
    VersionUnsupported,
}

impl FrameRefusal {
    /// The JSON-RPC error code. The HTTP status is 400 for all of them.
    pub fn code(self) -> ErrorCode {
        match self {
            // JSON-RPC 2.0 section 5.1: not a valid request object.
            Self::Batch
            | Self::IdForm
            | Self::JsonRpcVersion
            | Self::MethodForm
            | Self::NotAnObject
            | Self::OutcomeShape
            | Self::ParamCase
            | Self::ParamsShape
            | Self::RequestWithOutcome
            | Self::ResponseFromClient
            | Self::UnknownMember => ErrorCode::InvalidRequest,
            // JSON-RPC 2.0 section 5.1: invalid method parameters.
            Self::ParamMissing | Self::ParamShape => ErrorCode::InvalidParams,
            // MCP 2026-07-28, Base Protocol, Per-request protocol fields.
            Self::MetaMissing | Self::MetaShape => ErrorCode::InvalidParams,
            // MCP 2026-07-28, Streamable HTTP, Server Validation.
            Self::HeaderDuplicate(_)
            | Self::HeaderMalformed(_)
            | Self::HeaderMismatch(_)
            | Self::HeaderMissing(_) => ErrorCode::HeaderMismatch,
            // MCP 2026-07-28, Versioning, Protocol Version Negotiation.
            Self::VersionUnsupported => ErrorCode::UnsupportedProtocolVersion,
        }
    }
}
