//! Why a request does not leave, and the one table that puts it on the wire.

use attorn_registry::ReasonCode;
use http::StatusCode;

/// Why a request does not leave, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The authority was not heard of for too long, or does not answer.
    AuthorityStale,
    /// The body is longer than is taken, or broke off.
    Body,
    /// As many requests are under way as may be.
    Busy,
    /// The caller showed neither a key nor a certificate: there is nothing to exchange.
    Evidence,
    /// The authority gives no token for it.
    Exchange,
    /// It is addressed to somebody else, or comes from a web page.
    Host,
    /// The intent could not be recorded.
    JournalUnavailable,
    /// The key of the server, or of the API, cannot be had.
    KeyUnavailable,
    /// No such operation, or a path with two readings.
    OperationUnknown,
    /// The tool that was called does not give what the operation needs.
    ScopeMissing,
    /// The API, or what the call rests on, does not count any more.
    Standing(ReasonCode),
    /// It belongs to no call.
    Unattributed,
    /// The API gave no answer that can be passed on.
    Upstream(ReasonCode),
}

impl Refusal {
    /// RFC 9110 section 15.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::AuthorityStale | Self::Busy | Self::JournalUnavailable | Self::KeyUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::OperationUnknown => StatusCode::NOT_FOUND,
            Self::Evidence
            | Self::Exchange
            | Self::ScopeMissing
            | Self::Standing(_)
            | Self::Unattributed => StatusCode::FORBIDDEN,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The stable code of the journal and of the answer.
    pub(crate) const fn reason(self) -> ReasonCode {
        match self {
            Self::AuthorityStale => ReasonCode::AuthorityStale,
            Self::Body => ReasonCode::FrameSize,
            Self::Busy => ReasonCode::DownstreamBusy,
            Self::Evidence => ReasonCode::DelegationEvidence,
            Self::Exchange => ReasonCode::ExchangeScope,
            Self::Host => ReasonCode::FrameOrigin,
            Self::JournalUnavailable => ReasonCode::JournalUnavailable,
            Self::KeyUnavailable => ReasonCode::ClientAuthentication,
            Self::OperationUnknown => ReasonCode::OperationUnknown,
            Self::ScopeMissing => ReasonCode::ScopeMissing,
            Self::Standing(reason) | Self::Upstream(reason) => reason,
            Self::Unattributed => ReasonCode::DownstreamUnattributed,
        }
    }
}
