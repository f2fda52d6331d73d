//! Which reason code a message that cannot be read has.

use attorn_json::JsonError;
use attorn_mcp::FrameRefusal;
use attorn_registry::ReasonCode;

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
