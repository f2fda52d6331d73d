//! The rows of what is no refusal of our own making: limits, servers, JSON and frames.

use attorn_json::JsonError;
use attorn_mcp::{ErrorCode, FrameRefusal};
use attorn_planted::{Bug, is_planted};
use attorn_registry::ReasonCode;
use attorn_telemetry::Limit;
use http::StatusCode;

use super::{MessageRefusal, Row};
use crate::upstream::UpstreamFailure;

/// RFC 6585 section 4 for who asks too often; 503 where the server is not to be asked.
pub(super) fn limited_row(limit: Limit) -> Row {
    let unavailable =
        |reason| Row::error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::InternalError, reason);
    match limit {
        Limit::Bulkhead => unavailable(ReasonCode::DownstreamBusy),
        Limit::Circuit => unavailable(ReasonCode::DownstreamPaused),
        // RFC 9110 section 15.6.4: ours to answer for, and over in a moment.
        Limit::Memory => unavailable(ReasonCode::RateLimited),
        Limit::Address
        | Limit::Agent
        | Limit::Key
        | Limit::Server
        | Limit::Sessions
        | Limit::Streams
        | Limit::TokenClient
        | Limit::Unauthenticated => Row::error(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::InvalidRequest,
            ReasonCode::RateLimited,
        ),
    }
}

/// The upstream's own words never explain a failure to the client.
pub(super) fn upstream_row(failure: UpstreamFailure) -> Row {
    let internal = |status, reason| Row::error(status, ErrorCode::InternalError, reason);
    match failure {
        // Ours to answer for: the server was not asked, because nothing goes out unrecorded.
        UpstreamFailure::NotRecorded => {
            internal(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::JournalUnavailable)
        }
        UpstreamFailure::Busy => {
            internal(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::DownstreamBusy)
        }
        UpstreamFailure::Exhausted | UpstreamFailure::Unreachable => {
            internal(StatusCode::BAD_GATEWAY, ReasonCode::DownstreamUnreachable)
        }
        UpstreamFailure::Timeout => {
            internal(StatusCode::GATEWAY_TIMEOUT, ReasonCode::DownstreamUnreachable)
        }
        // An upstream's 401, 403 or redirect is never shown as our own (RFC 9110 section 15.6.3).
        UpstreamFailure::Status(status) if is_planted(Bug::UpstreamStatusPassed) => {
            internal(status, ReasonCode::DownstreamRefused)
        }
        UpstreamFailure::Status(_) => {
            internal(StatusCode::BAD_GATEWAY, ReasonCode::DownstreamRefused)
        }
        UpstreamFailure::ContentEncoding
        | UpstreamFailure::Interrupted
        | UpstreamFailure::MediaType
        | UpstreamFailure::Protocol
        | UpstreamFailure::TooLong => {
            internal(StatusCode::BAD_GATEWAY, ReasonCode::DownstreamProtocol)
        }
        // MCP 2025-11-25, Transports, Session Management.
        UpstreamFailure::ChildGone | UpstreamFailure::SessionGone => {
            MessageRefusal::SessionUnknown.row()
        }
        UpstreamFailure::NoStream => MessageRefusal::NoStream.row(),
    }
}

pub(super) fn json_reason(error: &JsonError) -> ReasonCode {
    match error {
        JsonError::Bom
        | JsonError::Encoding
        | JsonError::LoneSurrogate { .. }
        | JsonError::NulInKey { .. } => ReasonCode::FrameEncoding,
        JsonError::ByteLimit { .. } | JsonError::MemberLimit { .. } => ReasonCode::FrameSize,
        JsonError::DepthLimit { .. } => ReasonCode::FrameDepth,
        JsonError::DuplicateKey => ReasonCode::FrameDuplicateKey,
        JsonError::NumberRange { .. }
        | JsonError::Syntax { .. }
        | JsonError::TrailingData { .. } => ReasonCode::FrameSyntax,
    }
}

pub(super) fn frame_reason(refusal: FrameRefusal) -> ReasonCode {
    match refusal {
        FrameRefusal::Batch => ReasonCode::FrameBatch,
        FrameRefusal::HeaderDuplicate(_)
        | FrameRefusal::HeaderMalformed(_)
        | FrameRefusal::HeaderMismatch(_)
        | FrameRefusal::HeaderMissing(_) => ReasonCode::FrameHeaderMismatch,
        FrameRefusal::VersionUnsupported => ReasonCode::FrameVersion,
        FrameRefusal::IdForm
        | FrameRefusal::JsonRpcVersion
        | FrameRefusal::MetaMissing
        | FrameRefusal::MetaShape
        | FrameRefusal::MethodForm
        | FrameRefusal::NotAnObject
        | FrameRefusal::OutcomeShape
        | FrameRefusal::ParamCase
        | FrameRefusal::ParamMissing
        | FrameRefusal::ParamShape
        | FrameRefusal::ParamsShape
        | FrameRefusal::RequestWithOutcome
        | FrameRefusal::ResponseFromClient
        | FrameRefusal::UnknownMember => ReasonCode::FrameSyntax,
    }
}
