//! The error codes of OAuth, and the one table from refusals to codes.
//!
//! Implemented: RFC 6749 sections 4.1.2.1 and 5.2, RFC 6750 section 3.1, RFC 7591 section 3.2.2, RFC 8707
//! section 2, RFC 9396 section 5, RFC 9449 sections 5 and 8, OpenID Connect Core 1.0 section 3.1.2.6.

use attorn_registry::ReasonCode;

use crate::access_token::TokenRefusal;
use crate::actor::ChainRefusal;
use crate::client_assertion::AssertionRefusal;
use crate::dpop::DpopRefusal;
use crate::evidence::CertificateEvidenceRefusal;
use crate::grant::GrantRefusal;
use crate::jwt_grant::JwtGrantRefusal;
use crate::jwt_svid::SvidRefusal;
use crate::mtls::CertificateRefusal;
use crate::replay::ReplayRefusal;

/// An `error` value on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// RFC 6749 section 4.1.2.1: the person said no.
    AccessDenied,
    /// OpenID Connect Core 1.0 section 3.1.2.6: the person would have to be asked.
    ConsentRequired,
    /// RFC 6750 section 3.1: the token lacks a scope.
    InsufficientScope,
    /// RFC 9396 section 5: the details are malformed, unknown or beyond what is granted.
    InvalidAuthorizationDetails,
    /// RFC 6749 section 5.2: client authentication failed.
    InvalidClient,
    /// RFC 7591 section 3.2.2: the metadata of a client is not acceptable.
    InvalidClientMetadata,
    /// RFC 9449 section 5: the proof is not acceptable.
    InvalidDpopProof,
    /// RFC 6749 section 5.2: the grant does not hold; here, the subject token.
    InvalidGrant,
    /// RFC 7591 section 3.2.2: a redirect address is not acceptable.
    InvalidRedirectUri,
    /// RFC 6749 section 5.2: the request is malformed.
    InvalidRequest,
    /// RFC 6749 section 5.2: the scope is malformed or not granted.
    InvalidScope,
    /// RFC 8707 section 2: the resource is malformed or unknown.
    InvalidTarget,
    /// RFC 6750 section 3.1: the token is not acceptable.
    InvalidToken,
    /// OpenID Connect Core 1.0 section 3.1.2.6: somebody would have to log in.
    LoginRequired,
    /// RFC 6749 section 4.1.2.1, used here for a store that cannot take an entry.
    TemporarilyUnavailable,
    /// RFC 6749 section 5.2: the client may not use this grant.
    UnauthorizedClient,
    /// RFC 6749 section 5.2: this grant is not served.
    UnsupportedGrantType,
    /// RFC 6749 section 4.1.2.1: this response type is not served.
    UnsupportedResponseType,
    /// RFC 9449 section 8: repeat the request with the nonce that comes with the answer.
    UseDpopNonce,
}

impl ErrorCode {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::ConsentRequired => "consent_required",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::LoginRequired => "login_required",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// Why the token endpoint refuses. Every fact about the peer's fault, and one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The chain of actors cannot grow by the client.
    #[error("the chain of actors cannot grow")]
    ActorChain(ChainRefusal),
    /// `actor_token` without its type, or the type without a token.
    #[error("the actor token and its type come together")]
    ActorTokenPair,
    /// An actor token: the actor is who authenticated.
    #[error("an actor token does not count here")]
    ActorTokenRefused,
    /// What is shown as evidence of an approval is not from the process that let the call through, or
    /// not for this call.
    #[error("the evidence of an approval does not hold")]
    ApprovalEvidence,
    /// `client_assertion_type` is missing or not one that is served.
    #[error("the type of the client assertion is missing or unknown")]
    AssertionType,
    /// `authorization_details` are malformed, of another type, or nothing could satisfy them.
    #[error("the authorization details cannot be granted")]
    AuthorizationDetails,
    /// The evidence that the subject token came with its certificate is missing or does not hold.
    #[error("{0}")]
    CertificateEvidence(CertificateEvidenceRefusal),
    /// A listed proxy sent a certificate header that cannot be read.
    #[error("the certificate header of a proxy cannot be read")]
    CertificateHeader,
    /// The client is registered for certificate-bound tokens and the connection has no certificate.
    #[error("the client needs a client certificate on its connection")]
    CertificateMissing,
    /// The certificate of the connection does not stand for the client.
    #[error("client authentication failed: {0}")]
    ClientCertificate(CertificateRefusal),
    /// The JWT-SVID does not stand for the client.
    #[error("client authentication failed: {0}")]
    ClientSvid(SvidRefusal),
    /// The client did not prove who it is.
    #[error("client authentication failed: {0}")]
    ClientAuthentication(AssertionRefusal),
    /// No client authentication at all.
    #[error("client authentication is required")]
    ClientAuthenticationMissing,
    /// Two ways of client authentication in one request.
    #[error("more than one way of client authentication")]
    ClientAuthenticationRepeated,
    /// The client of a person is unknown, or may not act. The two look the same.
    #[error("the client may not act: {0}")]
    ClientStanding(ReasonCode),
    /// No `code`.
    #[error("the code is missing")]
    CodeMissing,
    /// Not a form in UTF-8, or longer than allowed.
    #[error("the form is malformed")]
    FormMalformed,
    /// The code or the refresh token gives nothing.
    #[error("{0}")]
    Grant(GrantRefusal),
    /// `grant_type` is missing.
    #[error("the grant type is missing")]
    GrantTypeMissing,
    /// The client may not use this grant.
    #[error("the client may not use this grant")]
    GrantTypeNotRegistered,
    /// `grant_type` is not served.
    #[error("the grant type is not supported")]
    GrantTypeUnsupported,
    /// The assertion of another issuer gives nothing.
    #[error("{0}")]
    JwtGrant(JwtGrantRefusal),
    /// No `assertion`.
    #[error("the assertion is missing")]
    JwtGrantMissing,
    /// A parameter occurs twice.
    #[error("a parameter is repeated")]
    ParameterRepeated,
    /// The proof of possession is not acceptable.
    #[error("{0}")]
    Possession(DpopRefusal),
    /// The proof cannot be burned.
    #[error("{0}")]
    PossessionReplay(ReplayRefusal),
    /// No `refresh_token`.
    #[error("the refresh token is missing")]
    RefreshTokenMissing,
    /// A token type that is not issued was asked for.
    #[error("the requested token type is not issued")]
    RequestedTokenType,
    /// The API is not open to tokens. It looks as one that is unknown.
    #[error("the resource is closed: {0}")]
    ResourceClosed(ReasonCode),
    /// `resource` is not an acceptable URL.
    #[error("the resource is malformed")]
    ResourceMalformed,
    /// Several `resource` parameters; a token has one audience.
    #[error("a token is for one resource")]
    ResourceRepeated,
    /// No `resource`, and the client has not exactly one.
    #[error("the resource is missing")]
    ResourceMissing,
    /// No such resource, or none for this client. The two look the same.
    #[error("the resource is unknown")]
    ResourceUnknown,
    /// `scope` is not a list of scopes.
    #[error("the scope is malformed")]
    ScopeMalformed,
    /// Nothing of what was asked is granted.
    #[error("nothing of the scope is granted")]
    ScopeNotGranted,
    /// A policy does not permit what was asked, of what would be granted.
    #[error("a policy does not permit the scope: {0}")]
    ScopeNotPermitted(ReasonCode),
    /// The subject token does not verify for the client.
    #[error("the subject token: {0}")]
    SubjectToken(TokenRefusal),
    /// The evidence that the subject token was used by its own key is missing or does not hold; for
    /// one that is bound to nothing there is none.
    #[error("the evidence of the subject token does not hold")]
    SubjectTokenEvidence(Option<DpopRefusal>),
    /// No subject token.
    #[error("the subject token is missing")]
    SubjectTokenMissing,
    /// The registry does not stand by the subject token any more.
    #[error("the subject token does not stand any more: {0}")]
    SubjectTokenStanding(ReasonCode),
    /// `subject_token_type` is missing or not one that is served.
    #[error("the type of the subject token is missing or not served")]
    SubjectTokenType,
}

impl TokenError {
    /// Whether a form had a parameter twice.
    #[must_use]
    pub const fn is_repetition(&self) -> bool {
        matches!(self, Self::ParameterRepeated)
    }

    /// The one table. Exhaustive on purpose: a new reason must not compile until it has its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            // RFC 7521 section 4.2.1 and RFC 6749 section 5.2: unsupported or missing parameters.
            Self::AssertionType
            | Self::CodeMissing
            | Self::FormMalformed
            | Self::GrantTypeMissing
            | Self::JwtGrantMissing
            | Self::RefreshTokenMissing
            // RFC 9440 section 2.2: what a listed proxy sent is no certificate.
            | Self::CertificateHeader
            // RFC 8693 section 2.2.2.
            | Self::ActorChain(_)
            | Self::ActorTokenPair
            | Self::RequestedTokenType
            | Self::SubjectTokenMissing
            | Self::SubjectTokenType
            // RFC 8705 section 3: the client asks for what its connection cannot be bound to.
            | Self::CertificateMissing
            | Self::ParameterRepeated
            | Self::ClientAuthenticationRepeated => ErrorCode::InvalidRequest,
            // Ours alone: a full set says nothing about the client (RFC 9449 section 11.1).
            Self::ClientAuthentication(AssertionRefusal::Replay(
                ReplayRefusal::Full | ReplayRefusal::SharedUnavailable,
            ))
            | Self::ClientSvid(SvidRefusal::Full)
            | Self::JwtGrant(JwtGrantRefusal::KeysUnavailable)
            | Self::PossessionReplay(ReplayRefusal::Full | ReplayRefusal::SharedUnavailable) => {
                ErrorCode::TemporarilyUnavailable
            }
            // RFC 6749 section 5.2: the grant, a code, a refresh token or a subject token, does not
            // hold. RFC 7636 section 4.6 says the same of a verifier, RFC 7521 section 4.1.1 of an
            // assertion.
            Self::ActorTokenRefused
            | Self::ApprovalEvidence
            | Self::CertificateEvidence(_)
            | Self::Grant(_)
            | Self::JwtGrant(_)
            | Self::SubjectToken(_)
            | Self::SubjectTokenEvidence(_)
            | Self::SubjectTokenStanding(_) => ErrorCode::InvalidGrant,
            // RFC 9396 section 5.
            Self::AuthorizationDetails => ErrorCode::InvalidAuthorizationDetails,
            // RFC 6749 section 5.2: unknown client, no authentication, or a wrong one. All alike.
            Self::ClientAuthentication(_)
            | Self::ClientAuthenticationMissing
            | Self::ClientCertificate(_)
            | Self::ClientStanding(_)
            | Self::ClientSvid(_) => ErrorCode::InvalidClient,
            // RFC 6749 section 5.2.
            Self::GrantTypeNotRegistered => ErrorCode::UnauthorizedClient,
            // RFC 6749 section 5.2.
            Self::GrantTypeUnsupported => ErrorCode::UnsupportedGrantType,
            // RFC 9449 sections 5 and 8.
            Self::Possession(refusal) => refusal.code(),
            // RFC 9449 section 8: a proof from before our start may be new; a nonce shows it.
            Self::PossessionReplay(ReplayRefusal::StartedAfterIssue) => ErrorCode::UseDpopNonce,
            // RFC 9449 section 11.1.
            Self::PossessionReplay(ReplayRefusal::Ended | ReplayRefusal::Replayed) => {
                ErrorCode::InvalidDpopProof
            }
            // RFC 8707 section 2.
            Self::ResourceClosed(_)
            | Self::ResourceMalformed
            | Self::ResourceMissing
            | Self::ResourceRepeated
            | Self::ResourceUnknown => ErrorCode::InvalidTarget,
            // RFC 6749 section 5.2: malformed, unknown, or beyond what was granted.
            Self::ScopeMalformed | Self::ScopeNotGranted | Self::ScopeNotPermitted(_) => {
                ErrorCode::InvalidScope
            }
        }
    }

    /// The HTTP status of the token endpoint.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self.code() {
            // RFC 6749 section 5.2.
            ErrorCode::InvalidClient => 401,
            // RFC 9110 section 15.6.4: our fault, worth another try.
            ErrorCode::TemporarilyUnavailable => 503,
            // RFC 6749 section 5.2; RFC 9449 sections 5 and 8 at a token endpoint.
            ErrorCode::AccessDenied
            | ErrorCode::ConsentRequired
            | ErrorCode::InvalidAuthorizationDetails
            | ErrorCode::InvalidClientMetadata
            | ErrorCode::InvalidRedirectUri
            | ErrorCode::LoginRequired
            | ErrorCode::UnauthorizedClient
            | ErrorCode::UnsupportedResponseType
            | ErrorCode::InvalidDpopProof
            | ErrorCode::InvalidGrant
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidScope
            | ErrorCode::InvalidTarget
            | ErrorCode::UnsupportedGrantType
            | ErrorCode::UseDpopNonce
            | ErrorCode::InsufficientScope
            | ErrorCode::InvalidToken => 400,
        }
    }

    /// The stable code for the log: the full reason, which the client is not told.
    #[must_use]
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::ClientAuthentication(AssertionRefusal::Replay(
                ReplayRefusal::Full | ReplayRefusal::SharedUnavailable,
            ))
            | Self::ClientSvid(SvidRefusal::Full) => ReasonCode::PossessionUnavailable,
            Self::CertificateHeader => ReasonCode::PossessionCertificateHeader,
            Self::CertificateMissing => ReasonCode::PossessionCertificateMissing,
            Self::ClientAuthentication(_)
            | Self::ClientAuthenticationMissing
            | Self::ClientCertificate(_)
            | Self::ClientSvid(_)
            | Self::GrantTypeNotRegistered
            | Self::ClientAuthenticationRepeated => ReasonCode::ClientAuthentication,
            Self::ActorTokenPair
            | Self::AssertionType
            | Self::CodeMissing
            | Self::FormMalformed
            | Self::GrantTypeMissing
            | Self::GrantTypeUnsupported
            | Self::JwtGrantMissing
            | Self::ParameterRepeated
            | Self::RefreshTokenMissing
            | Self::RequestedTokenType
            | Self::SubjectTokenMissing
            | Self::SubjectTokenType => ReasonCode::RequestMalformed,
            Self::ActorChain(ChainRefusal::Depth) => ReasonCode::DelegationDepth,
            Self::ActorChain(ChainRefusal::Repeated) | Self::ActorTokenRefused => {
                ReasonCode::DelegationNotAllowed
            }
            Self::SubjectToken(refusal) => refusal.reason(),
            Self::ApprovalEvidence
            | Self::CertificateEvidence(_)
            | Self::SubjectTokenEvidence(_) => ReasonCode::DelegationEvidence,
            Self::ClientStanding(reason)
            | Self::ResourceClosed(reason)
            | Self::ScopeNotPermitted(reason)
            | Self::SubjectTokenStanding(reason) => *reason,
            Self::Grant(refusal) => refusal.reason(),
            Self::JwtGrant(refusal) => refusal.reason(),
            Self::Possession(refusal) => refusal.reason(),
            Self::PossessionReplay(refusal) => refusal.reason(),
            Self::ResourceMalformed
            | Self::ResourceMissing
            | Self::ResourceRepeated
            | Self::ResourceUnknown => ReasonCode::ExchangeTarget,
            Self::AuthorizationDetails | Self::ScopeMalformed | Self::ScopeNotGranted => {
                ReasonCode::ExchangeScope
            }
        }
    }

    /// The `error_description`: fixed text, nothing of the request, and one text for everything
    /// that failed client authentication, so that nobody learns which clients exist.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::ActorChain(_) => "the chain of actors cannot grow by this client",
            Self::ActorTokenPair => "actor_token and actor_token_type come together",
            Self::ActorTokenRefused => "the actor is the authenticated client; send no actor_token",
            Self::ApprovalEvidence => {
                "subject_token_approval is for the gateway to send, about the call it let through"
            }
            Self::CertificateEvidence(_) => {
                "a certificate is told of by the gateway alone; this server has no word of it"
            }
            Self::RequestedTokenType => "only access tokens are issued",
            Self::SubjectTokenMissing => "subject_token is missing",
            Self::SubjectTokenType => "subject_token_type must be that of access tokens",
            Self::SubjectToken(_) | Self::SubjectTokenStanding(_) => {
                "the subject token is not acceptable"
            }
            Self::SubjectTokenEvidence(_) => {
                "subject_token_proof must be the DPoP proof that the subject token came with"
            }
            Self::AssertionType => "client_assertion_type must be jwt-bearer or jwt-spiffe",
            Self::AuthorizationDetails => {
                "authorization_details must be of the type mcp_tool_call, within bounds, and about \
                 tools of the scope"
            }
            Self::CertificateHeader => "a proxy on the way garbled the client certificate",
            Self::CertificateMissing => "a client certificate is required on this connection",
            Self::ClientAuthentication(AssertionRefusal::Replay(
                ReplayRefusal::Full | ReplayRefusal::SharedUnavailable,
            ))
            | Self::ClientSvid(SvidRefusal::Full)
            | Self::JwtGrant(JwtGrantRefusal::KeysUnavailable)
            | Self::PossessionReplay(ReplayRefusal::Full | ReplayRefusal::SharedUnavailable) => {
                "try again in a moment"
            }
            Self::ClientAuthentication(_)
            | Self::ClientAuthenticationMissing
            | Self::ClientCertificate(_)
            | Self::ClientStanding(_)
            | Self::ClientSvid(_) => "client authentication failed",
            Self::CodeMissing => "code is missing",
            Self::Grant(_) => "the code or refresh token is not acceptable",
            Self::JwtGrant(_) => "the assertion is not acceptable",
            Self::JwtGrantMissing => "assertion is missing",
            Self::GrantTypeNotRegistered => "the client may not use this grant type",
            Self::RefreshTokenMissing => "refresh_token is missing",
            Self::ClientAuthenticationRepeated => "use one way of client authentication",
            Self::FormMalformed => "the body must be a form in UTF-8 of at most 64 KiB",
            Self::GrantTypeMissing => "grant_type is missing",
            Self::GrantTypeUnsupported => "the grant type is not supported",
            Self::ParameterRepeated => "a parameter is repeated",
            Self::Possession(DpopRefusal::Nonce | DpopRefusal::NonceMissing)
            | Self::PossessionReplay(ReplayRefusal::StartedAfterIssue) => {
                "repeat the request with the nonce of the DPoP-Nonce header"
            }
            Self::Possession(DpopRefusal::Missing) => "a DPoP proof is required",
            Self::Possession(_) => "the DPoP proof is not acceptable",
            Self::PossessionReplay(ReplayRefusal::Ended | ReplayRefusal::Replayed) => {
                "the DPoP proof was used before"
            }
            Self::ResourceMalformed => "the resource must be an absolute https URL",
            Self::ResourceMissing => "the resource is missing",
            Self::ResourceRepeated => "a token is for one resource",
            Self::ResourceClosed(_) | Self::ResourceUnknown => "the resource is unknown",
            Self::ScopeMalformed => "the scope is malformed",
            Self::ScopeNotGranted => "nothing of the scope is granted",
            Self::ScopeNotPermitted(_) => "what was asked is not permitted",
        }
    }
}

impl From<DpopRefusal> for TokenError {
    fn from(refusal: DpopRefusal) -> Self {
        Self::Possession(refusal)
    }
}

impl From<AssertionRefusal> for TokenError {
    fn from(refusal: AssertionRefusal) -> Self {
        Self::ClientAuthentication(refusal)
    }
}

impl From<CertificateRefusal> for TokenError {
    fn from(refusal: CertificateRefusal) -> Self {
        Self::ClientCertificate(refusal)
    }
}

impl From<SvidRefusal> for TokenError {
    fn from(refusal: SvidRefusal) -> Self {
        Self::ClientSvid(refusal)
    }
}

impl From<ReplayRefusal> for TokenError {
    fn from(refusal: ReplayRefusal) -> Self {
        Self::PossessionReplay(refusal)
    }
}

impl From<GrantRefusal> for TokenError {
    fn from(refusal: GrantRefusal) -> Self {
        Self::Grant(refusal)
    }
}

impl From<JwtGrantRefusal> for TokenError {
    fn from(refusal: JwtGrantRefusal) -> Self {
        Self::JwtGrant(refusal)
    }
}
