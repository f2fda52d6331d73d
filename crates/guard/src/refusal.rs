//! Why a request is refused, and the one table that puts it on the wire.

use attorn_audit::Kind;
use attorn_enforce::limited::Limited;
use attorn_oauth::access_token::TokenRefusal;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::possession::PossessionRefusal;
use attorn_oauth::replay::ReplayRefusal;
use attorn_registry::{ReasonCode, ScopeSet};
use attorn_telemetry::Limit;
use http::StatusCode;

use crate::body::BodyRefusal;

/// Why nothing was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The registry in force may be older than a lock.
    AuthorityStale,
    /// The intent could not be recorded.
    JournalUnavailable,
    Limited(Limited),
    Head(HeadRefusal),
    Credential(CredentialRefusal),
    Decision(DecisionRefusal),
}

/// The head of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadRefusal {
    BodyTooLong,
    Host,
}

/// The token and the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialRefusal {
    BearerNotAllowed,
    Possession(PossessionRefusal),
    Proof(DpopRefusal),
    ProofRepeated,
    Token(TokenRefusal),
    TokenMalformed,
    TokenMissing,
}

/// What was decided about a proven caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecisionRefusal {
    /// A value that cannot stand in a header.
    Identity,
    /// No such operation, or a path with two readings.
    OperationUnknown,
    /// A policy does not permit it, or asks for a person.
    Policy(ReasonCode),
    /// The token does not hold what the operation needs; another could.
    ScopeMissing(ScopeSet),
    /// The token, or what it rests on, does not count any more.
    Standing(ReasonCode),
}

/// Why a permitted request has no answer of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    /// The request's own body failed on its way.
    Body(BodyRefusal),
    /// No connection, for what this machine lacks.
    Exhausted,
    /// It answered with something that is no HTTP, or broke off.
    Interrupted,
    /// It did not answer in time.
    Timeout,
    /// No connection.
    Unreachable,
}

/// How a refusal looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) challenge: Challenge,
    pub(crate) reason: ReasonCode,
}

/// What `WWW-Authenticate` says (RFC 9110 section 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    None,
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
            Self::AuthorityStale => {
                plain(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::AuthorityStale)
            }
            Self::JournalUnavailable => {
                plain(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::JournalUnavailable)
            }
            // RFC 9110 section 15.6.4: not the caller's doing.
            Self::Limited(Limited { limit: Limit::Circuit, .. }) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::DownstreamPaused)
            }
            // RFC 6585 section 4.
            Self::Limited(_) => plain(StatusCode::TOO_MANY_REQUESTS, ReasonCode::RateLimited),
            // RFC 9110 section 15.5.14.
            Self::Head(HeadRefusal::BodyTooLong) => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::FrameSize)
            }
            // RFC 9110 section 15.5.20.
            Self::Head(HeadRefusal::Host) => {
                plain(StatusCode::MISDIRECTED_REQUEST, ReasonCode::FrameOrigin)
            }
            Self::Credential(refusal) => refusal.row(),
            Self::Decision(refusal) => refusal.row(),
        }
    }
}

impl CredentialRefusal {
    /// RFC 6750 section 3.1 and RFC 9449 section 7.1: 401 with a challenge.
    fn row(self) -> Row {
        let status = StatusCode::UNAUTHORIZED;
        let row = |challenge, reason| Row { status, challenge, reason };
        match self {
            Self::TokenMissing => row(Challenge::Credential, ReasonCode::TokenMissing),
            Self::TokenMalformed => row(Challenge::Token, ReasonCode::TokenMalformed),
            // RFC 9449 section 7.2: a bound token is never taken as a bearer token.
            Self::BearerNotAllowed => row(Challenge::Token, ReasonCode::TokenBearerNotAllowed),
            Self::Token(refusal) => row(Challenge::Token, refusal.reason()),
            // RFC 9449 section 4.3, check 1.
            Self::ProofRepeated => row(Challenge::Proof, ReasonCode::PossessionMalformed),
            // RFC 9449 section 9: the client repeats the request with the nonce it is given.
            Self::Proof(refusal @ (DpopRefusal::Nonce | DpopRefusal::NonceMissing)) => {
                row(Challenge::Nonce, refusal.reason())
            }
            Self::Proof(refusal) => row(Challenge::Proof, refusal.reason()),
            // Ours to answer for: the client did nothing wrong.
            Self::Possession(PossessionRefusal::Replay(full @ ReplayRefusal::Full)) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, full.reason())
            }
            // A fresh nonce of this process settles it.
            Self::Possession(PossessionRefusal::Replay(
                refusal @ (ReplayRefusal::StartedAfterIssue
                | ReplayRefusal::Ended
                | ReplayRefusal::SharedUnavailable),
            )) => row(Challenge::Nonce, refusal.reason()),
            // RFC 8705 section 3: `invalid_token`, where the certificate is another one, or none. The
            // same for a token that comes under the scheme of the other binding.
            Self::Possession(
                refusal @ (PossessionRefusal::CertificateInvalid
                | PossessionRefusal::CertificateMismatch
                | PossessionRefusal::CertificateMissing
                | PossessionRefusal::OtherMethod),
            ) => row(Challenge::Token, refusal.reason()),
            Self::Possession(refusal) => row(Challenge::Proof, refusal.reason()),
        }
    }
}

impl DecisionRefusal {
    fn row(&self) -> Row {
        match self {
            Self::Identity => plain(StatusCode::FORBIDDEN, ReasonCode::RequestMalformed),
            // RFC 9110 section 15.5.5.
            Self::OperationUnknown => plain(StatusCode::NOT_FOUND, ReasonCode::OperationUnknown),
            // RFC 6750 section 3.1.
            Self::ScopeMissing(_) => Row {
                status: StatusCode::FORBIDDEN,
                challenge: Challenge::Scope,
                reason: ReasonCode::ScopeMissing,
            },
            // RFC 6750 section 3.1: `invalid_token`, where another token would do or none does.
            Self::Standing(reason @ (ReasonCode::TokenRevoked | ReasonCode::TokenStopped)) => Row {
                status: StatusCode::UNAUTHORIZED,
                challenge: Challenge::Token,
                reason: *reason,
            },
            // RFC 9110 section 15.5.4: no token would help, and the caller is told so.
            Self::Policy(reason) | Self::Standing(reason) => plain(StatusCode::FORBIDDEN, *reason),
        }
    }
}

impl UpstreamFailure {
    pub(crate) fn row(self) -> Row {
        match self {
            Self::Body(BodyRefusal::TooLong) => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::FrameSize)
            }
            Self::Body(BodyRefusal::Broken | BodyRefusal::Trailers) => {
                plain(StatusCode::BAD_REQUEST, ReasonCode::RequestMalformed)
            }
            // RFC 9110 section 15.6.3.
            Self::Interrupted => plain(StatusCode::BAD_GATEWAY, ReasonCode::DownstreamProtocol),
            Self::Exhausted | Self::Unreachable => {
                plain(StatusCode::BAD_GATEWAY, ReasonCode::DownstreamUnreachable)
            }
            // RFC 9110 section 15.6.5.
            Self::Timeout => plain(StatusCode::GATEWAY_TIMEOUT, ReasonCode::DownstreamUnreachable),
        }
    }
}

impl Row {
    /// What the record of the refusal is about.
    pub(crate) fn kind(self) -> Kind {
        match (self.challenge, self.reason) {
            // The token held, and what it rests on did not.
            (Challenge::Token, ReasonCode::TokenRevoked | ReasonCode::TokenStopped) => {
                Kind::ResourceAccessed
            }
            (Challenge::Proof | Challenge::Nonce, _)
            | (
                Challenge::Token,
                ReasonCode::PossessionCertificateInvalid
                | ReasonCode::PossessionCertificateMissing
                | ReasonCode::PossessionKeyMismatch,
            ) => Kind::PossessionFailed,
            (Challenge::Credential | Challenge::Token, _) => Kind::TokenRefused,
            (Challenge::None | Challenge::Scope, _) => Kind::ResourceAccessed,
        }
    }
}

fn plain(status: StatusCode, reason: ReasonCode) -> Row {
    Row { status, challenge: Challenge::None, reason }
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

impl From<DecisionRefusal> for Refusal {
    fn from(refusal: DecisionRefusal) -> Self {
        Self::Decision(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_others_may_learn() {
        let check = |refusal: Refusal, status, challenge, kind| {
            let row = refusal.row();
            assert_eq!((row.status.as_u16(), row.challenge, row.kind()), (status, challenge, kind));
        };
        let accessed = Kind::ResourceAccessed;
        check(Refusal::AuthorityStale, 503, Challenge::None, accessed);
        check(Refusal::JournalUnavailable, 503, Challenge::None, accessed);
        check(HeadRefusal::Host.into(), 421, Challenge::None, accessed);
        let missing = CredentialRefusal::TokenMissing;
        check(missing.into(), 401, Challenge::Credential, Kind::TokenRefused);
        let nonce = CredentialRefusal::Proof(DpopRefusal::NonceMissing);
        check(nonce.into(), 401, Challenge::Nonce, Kind::PossessionFailed);
        let replayed = PossessionRefusal::Replay(ReplayRefusal::Replayed);
        let replayed = CredentialRefusal::Possession(replayed);
        check(replayed.into(), 401, Challenge::Proof, Kind::PossessionFailed);
        let full = CredentialRefusal::Possession(PossessionRefusal::Replay(ReplayRefusal::Full));
        check(full.into(), 503, Challenge::None, accessed);
        check(DecisionRefusal::OperationUnknown.into(), 404, Challenge::None, accessed);
        let scope = ScopeSet::parse("read:a").unwrap();
        check(DecisionRefusal::ScopeMissing(scope).into(), 403, Challenge::Scope, accessed);
        let locked = DecisionRefusal::Standing(ReasonCode::LockActive);
        check(locked.into(), 403, Challenge::None, accessed);
        let forbidden = DecisionRefusal::Policy(ReasonCode::PolicyForbid);
        check(forbidden.into(), 403, Challenge::None, accessed);
        let revoked = DecisionRefusal::Standing(ReasonCode::TokenRevoked);
        check(revoked.into(), 401, Challenge::Token, accessed);
    }
}
