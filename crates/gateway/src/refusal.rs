//! Every reason for which the gateway says no, and the one table that puts each on the wire.
//!
//! No other place names a status, a JSON-RPC code or a challenge of a refusal. Every answer with
//! status 400 carries a JSON-RPC error a current client recognises, because a bare 400 tells it to
//! fall back to an older protocol (MCP 2026-07-28, Streamable HTTP, Backward Compatibility).
//!
//! All enums here are exhaustive on purpose: a new reason must not compile until its `row` maps it.

use attorn_audit::Kind;
use attorn_enforce::limited::Limited;
use attorn_json::JsonError;
use attorn_mcp::{ErrorCode, FrameRefusal, Revision};
use attorn_net::ClientCertRefusal;
use attorn_oauth::access_token::TokenRefusal;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::possession::PossessionRefusal;
use attorn_oauth::replay::ReplayRefusal;
use attorn_registry::{ReasonCode, ScopeSet};
use attorn_telemetry::Limit;
use http::StatusCode;

use crate::approvals::Wait;
use crate::upstream::UpstreamFailure;

mod rows;

use rows::{frame_reason, json_reason, limited_row, upstream_row};

/// Why a request is refused, by the step that refused it.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    Head(HeadRefusal),
    Credential(CredentialRefusal),
    Message(MessageRefusal),
    Decision(DecisionRefusal),
    /// The authority was not heard for too long: a lock may be in force that nobody told us of.
    AuthorityStale,
    /// The intent could not be recorded; nothing was forwarded.
    JournalUnavailable,
    /// The server is left alone, has no place, or is asked too often.
    Limited(Limited),
    Upstream(UpstreamFailure),
}

/// The head of the request, in the order it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadRefusal {
    PathUnknown,
    Host,
    Origin,
    Method,
    /// A listed proxy is at fault.
    ClientCert(ClientCertRefusal),
    HeaderTwin,
    Expectation,
    ContentEncoding,
    ContentType,
    Accept,
    BodyTooLong,
}

/// The token and the proof, and those who present them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialRefusal {
    TokenMissing,
    TokenMalformed,
    BearerNotAllowed,
    /// The caller, proven, asks too often.
    Limited(Limited),
    Token(TokenRefusal),
    TokenRevoked,
    /// Issued before a stop that has ended: another token would do.
    TokenStopped,
    /// It is used from another place, too.
    SeveralPlaces,
    ProofRepeated,
    Proof(DpopRefusal),
    Possession(PossessionRefusal),
    /// The agent of the token is not there any more.
    Caller(ReasonCode),
}

/// The body and the message in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageRefusal {
    AnswerToNothing,
    BodyIncomplete,
    BodyTooLong,
    Frame(FrameRefusal),
    Json(JsonError),
    MethodUnknown,
    NoStream,
    NotificationUnknown,
    SessionMissing,
    SessionUnknown,
    TooManySessions,
    TooManyStreams,
    Trailers,
    VersionUnsupported { requested: String, supported: Vec<Revision> },
}

/// What was decided about a well-formed message of a proven caller.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DecisionRefusal {
    /// Answers exactly as for something that does not exist.
    Hidden(ReasonCode),
    /// A token with this scope could be had.
    StepUp { reason: ReasonCode, scope: ScopeSet },
    /// What the token holds of this is from before a stop: another token would do.
    TokenStopped,
    /// No scope would help, and the caller is told so.
    Told(ReasonCode),
    /// The same, in answer to a tool call: a tool result, so that no client starts a login.
    ToldOfCall(ReasonCode),
    /// A person has to say yes, or said no.
    Waits(Box<Wait>),
}

/// How a refusal looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) body: RefusalBody,
    pub(crate) challenge: Challenge,
    pub(crate) reason: ReasonCode,
}

/// What the body of a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalBody {
    /// A JSON-RPC error that says no more than its code: it must not differ between cases.
    Bare(ErrorCode),
    /// A JSON-RPC error with decision and reason.
    Error(ErrorCode),
    /// A tool result with `isError`, or a question to the client's user.
    ToolResult,
}

/// What `WWW-Authenticate` says (RFC 9110 section 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    None,
    /// RFC 8705 section 3: `invalid_token`, for want of the right certificate.
    Certificate,
    /// RFC 6750 section 3.1: a request without a credential gets no error code.
    Credential,
    /// RFC 6750 section 3.1: `insufficient_scope`.
    Scope,
    /// RFC 6750 section 3.1: `invalid_token`.
    Token,
    /// RFC 9449 section 7.1: `invalid_dpop_proof`.
    Proof,
    /// RFC 9449 section 9: `use_dpop_nonce`.
    Nonce,
}

impl Refusal {
    /// The one table.
    pub(crate) fn row(&self) -> Row {
        match self {
            Self::Head(refusal) => refusal.row(),
            Self::Credential(refusal) => refusal.row(),
            Self::Message(refusal) => refusal.row(),
            Self::Decision(refusal) => refusal.row(),
            Self::AuthorityStale => Row::error(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::InternalError,
                ReasonCode::AuthorityStale,
            ),
            Self::JournalUnavailable => Row::error(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::InternalError,
                ReasonCode::JournalUnavailable,
            ),
            Self::Limited(limited) => limited_row(limited.limit),
            Self::Upstream(failure) => upstream_row(*failure),
        }
    }

    /// The limit that was reached, for those who count.
    pub(crate) fn limit_hit(&self) -> Option<Limit> {
        match self {
            Self::Message(MessageRefusal::TooManySessions) => Some(Limit::Sessions),
            Self::Message(MessageRefusal::TooManyStreams) => Some(Limit::Streams),
            Self::AuthorityStale
            | Self::Head(_)
            | Self::Credential(_)
            | Self::Message(_)
            | Self::Decision(_)
            | Self::JournalUnavailable
            | Self::Limited(_)
            | Self::Upstream(_) => self.limited().map(|limited| limited.limit),
        }
    }

    /// The limit that was reached, if it was one that says how long to stay away.
    pub(crate) fn limited(&self) -> Option<Limited> {
        match self {
            Self::Credential(CredentialRefusal::Limited(limited)) | Self::Limited(limited) => {
                Some(*limited)
            }
            Self::AuthorityStale
            | Self::Head(_)
            | Self::Credential(_)
            | Self::Message(_)
            | Self::Decision(_)
            | Self::JournalUnavailable
            | Self::Upstream(_) => None,
        }
    }
}

impl HeadRefusal {
    fn row(self) -> Row {
        let invalid = |status, reason| Row::bare(status, ErrorCode::InvalidRequest, reason);
        match self {
            Self::PathUnknown => Row::bare(
                StatusCode::NOT_FOUND,
                ErrorCode::MethodNotFound,
                ReasonCode::ServerUnknown,
            ),
            // RFC 9110 section 15.5.20.
            Self::Host => invalid(StatusCode::MISDIRECTED_REQUEST, ReasonCode::FrameOrigin),
            // MCP 2026-07-28, Streamable HTTP, Security & Endpoint.
            Self::Origin => invalid(StatusCode::FORBIDDEN, ReasonCode::FrameOrigin),
            // RFC 9110 section 15.5.6.
            Self::Method => invalid(StatusCode::METHOD_NOT_ALLOWED, ReasonCode::FrameMethod),
            // RFC 9440 section 2.2: one item, which is a certificate.
            Self::ClientCert(_) => {
                invalid(StatusCode::BAD_REQUEST, ReasonCode::PossessionCertificateHeader)
            }
            // MCP 2026-07-28, Streamable HTTP, Server Validation.
            Self::HeaderTwin => Row::bare(
                StatusCode::BAD_REQUEST,
                ErrorCode::HeaderMismatch,
                ReasonCode::FrameHeaderMismatch,
            ),
            // RFC 9110 section 15.5.18.
            Self::Expectation => {
                invalid(StatusCode::EXPECTATION_FAILED, ReasonCode::RequestMalformed)
            }
            // RFC 9110 section 15.5.16.
            Self::ContentEncoding | Self::ContentType => {
                invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, ReasonCode::FrameEncoding)
            }
            // RFC 9110 section 15.5.7.
            Self::Accept => invalid(StatusCode::NOT_ACCEPTABLE, ReasonCode::RequestMalformed),
            // RFC 9110 section 15.5.14.
            Self::BodyTooLong => invalid(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::FrameSize),
        }
    }
}

impl CredentialRefusal {
    fn row(self) -> Row {
        // RFC 6750 section 3.1 and RFC 9449 section 7.1: 401 with a challenge.
        let challenged = |challenge, reason| Row {
            status: StatusCode::UNAUTHORIZED,
            body: RefusalBody::Bare(ErrorCode::InvalidRequest),
            challenge,
            reason,
        };
        match self {
            Self::TokenMissing => challenged(Challenge::Credential, ReasonCode::TokenMissing),
            Self::TokenMalformed => challenged(Challenge::Token, ReasonCode::TokenMalformed),
            // RFC 9449 section 7.2: a bound token is never taken as a bearer token.
            Self::BearerNotAllowed => {
                challenged(Challenge::Token, ReasonCode::TokenBearerNotAllowed)
            }
            Self::Limited(limited) => limited_row(limited.limit),
            Self::Token(refusal) => challenged(Challenge::Token, refusal.reason()),
            Self::TokenRevoked => challenged(Challenge::Token, ReasonCode::TokenRevoked),
            Self::TokenStopped => challenged(Challenge::Token, ReasonCode::TokenStopped),
            Self::SeveralPlaces => challenged(Challenge::Token, ReasonCode::CredentialShared),
            // RFC 9449 section 4.3, check 1.
            Self::ProofRepeated => challenged(Challenge::Proof, ReasonCode::PossessionMalformed),
            // RFC 9449 section 9: the client repeats the request with the nonce it is given.
            Self::Proof(refusal @ (DpopRefusal::Nonce | DpopRefusal::NonceMissing)) => {
                challenged(Challenge::Nonce, refusal.reason())
            }
            Self::Proof(refusal) => challenged(Challenge::Proof, refusal.reason()),
            // Ours to answer for: the client did nothing wrong.
            Self::Possession(PossessionRefusal::Replay(full @ ReplayRefusal::Full)) => {
                Row::error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::InternalError, full.reason())
            }
            // The proof may be honest but older than this process, or have a nonce whose use elsewhere
            // cannot be known now: a fresh nonce of this process settles it.
            Self::Possession(PossessionRefusal::Replay(
                refusal @ (ReplayRefusal::StartedAfterIssue
                | ReplayRefusal::Ended
                | ReplayRefusal::SharedUnavailable),
            )) => challenged(Challenge::Nonce, refusal.reason()),
            // RFC 8705 section 3: `invalid_token` for another certificate, or none.
            Self::Possession(
                refusal @ (PossessionRefusal::CertificateInvalid
                | PossessionRefusal::CertificateMismatch
                | PossessionRefusal::CertificateMissing
                | PossessionRefusal::OtherMethod),
            ) => challenged(Challenge::Certificate, refusal.reason()),
            Self::Possession(refusal) => challenged(Challenge::Proof, refusal.reason()),
            Self::Caller(reason) => challenged(Challenge::Token, reason),
        }
    }
}

impl MessageRefusal {
    fn row(&self) -> Row {
        let bad = |code, reason| Row::error(StatusCode::BAD_REQUEST, code, reason);
        let invalid = |status, reason| Row::error(status, ErrorCode::InvalidRequest, reason);
        match self {
            Self::BodyIncomplete => bad(ErrorCode::ParseError, ReasonCode::FrameSyntax),
            // RFC 9110 section 15.5.14.
            Self::BodyTooLong => invalid(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::FrameSize),
            Self::Trailers => bad(ErrorCode::HeaderMismatch, ReasonCode::FrameHeaderMismatch),
            Self::Json(error) => bad(ErrorCode::ParseError, json_reason(error)),
            Self::Frame(refusal) => bad(refusal.code(), frame_reason(*refusal)),
            // MCP 2026-07-28, Versioning, Protocol Version Negotiation.
            Self::VersionUnsupported { .. } => {
                bad(ErrorCode::UnsupportedProtocolVersion, ReasonCode::FrameVersion)
            }
            // MCP 2026-07-28, Streamable HTTP, Protocol Version Header.
            Self::MethodUnknown => {
                Row::bare(StatusCode::NOT_FOUND, ErrorCode::MethodNotFound, ReasonCode::FrameMethod)
            }
            Self::NotificationUnknown | Self::AnswerToNothing => {
                bad(ErrorCode::InvalidRequest, ReasonCode::FrameMethod)
            }
            // MCP 2025-11-25, Transports, Session Management: 400 without, 404 for an unknown one.
            Self::SessionMissing => bad(ErrorCode::InvalidRequest, ReasonCode::RequestMalformed),
            Self::SessionUnknown => invalid(StatusCode::NOT_FOUND, ReasonCode::RequestMalformed),
            Self::TooManySessions | Self::TooManyStreams => {
                invalid(StatusCode::TOO_MANY_REQUESTS, ReasonCode::RateLimited)
            }
            // MCP 2025-11-25, Transports, Listening for Messages from the Server.
            Self::NoStream => invalid(StatusCode::METHOD_NOT_ALLOWED, ReasonCode::FrameMethod),
        }
    }
}

impl DecisionRefusal {
    pub(crate) fn reason(&self) -> ReasonCode {
        self.row().reason
    }

    fn row(&self) -> Row {
        match self {
            // As for a name the server does not have: the same bytes, so no decision either.
            Self::Hidden(reason) => Row::bare(StatusCode::OK, ErrorCode::InvalidParams, *reason),
            // MCP 2026-07-28, Authorization, Scope Challenge Handling.
            Self::StepUp { reason, scope: _ } => Row {
                status: StatusCode::FORBIDDEN,
                body: RefusalBody::Error(ErrorCode::InvalidRequest),
                challenge: Challenge::Scope,
                reason: *reason,
            },
            Self::Told(reason) => {
                Row::error(StatusCode::FORBIDDEN, ErrorCode::InvalidRequest, *reason)
            }
            Self::TokenStopped => CredentialRefusal::TokenStopped.row(),
            Self::ToldOfCall(reason) => Row::told(*reason),
            Self::Waits(wait) => Row::told(wait.reason),
        }
    }
}

impl Row {
    /// What the record of the refusal is about.
    pub(crate) fn kind(self) -> Kind {
        match self.challenge {
            Challenge::Certificate | Challenge::Proof | Challenge::Nonce => Kind::PossessionFailed,
            Challenge::Credential | Challenge::Token => Kind::TokenRefused,
            Challenge::None | Challenge::Scope => Kind::CallDecided,
        }
    }

    fn told(reason: ReasonCode) -> Self {
        let (status, body) = (StatusCode::OK, RefusalBody::ToolResult);
        Self { status, body, challenge: Challenge::None, reason }
    }

    fn bare(status: StatusCode, code: ErrorCode, reason: ReasonCode) -> Self {
        Self { status, body: RefusalBody::Bare(code), challenge: Challenge::None, reason }
    }

    fn error(status: StatusCode, code: ErrorCode, reason: ReasonCode) -> Self {
        Self { status, body: RefusalBody::Error(code), challenge: Challenge::None, reason }
    }
}

impl From<HeadRefusal> for Refusal {
    fn from(refusal: HeadRefusal) -> Self {
        Self::Head(refusal)
    }
}

impl From<CredentialRefusal> for Refusal {
    fn from(refusal: CredentialRefusal) -> Self {
        Self::Credential(refusal)
    }
}

impl From<MessageRefusal> for Refusal {
    fn from(refusal: MessageRefusal) -> Self {
        Self::Message(refusal)
    }
}

impl From<DecisionRefusal> for Refusal {
    fn from(refusal: DecisionRefusal) -> Self {
        Self::Decision(refusal)
    }
}

impl From<UpstreamFailure> for Refusal {
    fn from(failure: UpstreamFailure) -> Self {
        Self::Upstream(failure)
    }
}

#[cfg(test)]
mod tests;
