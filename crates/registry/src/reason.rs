//! The stable reason codes: what the log, the refusals and the documentation call a cause.
//!
//! A code never changes its meaning and is never used again for another one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such reason code")]
pub struct UnknownReason;

// A macro, so that a code, its spelling and its meaning cannot drift apart.
macro_rules! reason_codes {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// Why something was refused. Exhaustive on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum ReasonCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl ReasonCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as logs and answers spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// One line for the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

reason_codes! {
    TokenMissing = "token.missing", "no access token came with the request";
    TokenMalformed = "token.malformed", "the access token does not have the form we issue";
    TokenSignature = "token.signature", "the signature of the access token does not hold";
    TokenExpired = "token.expired", "the access token is past its end, or not yet valid";
    TokenAudience = "token.audience", "the access token is for another server";
    TokenIssuer = "token.issuer", "the access token is from another issuer";
    TokenRevoked = "token.revoked", "the access token was revoked, or is older than an emergency rotation";
    TokenStopped = "token.stopped", "the access token is from before a lock or a suspension that has ended";
    TokenForeign = "token.foreign", "the access token belongs to another client";
    TokenBearerNotAllowed = "token.bearer_not_allowed", "an access token without proof of possession is not accepted here";

    PossessionMissing = "possession.missing", "no proof of possession came with the access token";
    PossessionMalformed = "possession.malformed", "the proof of possession does not have the required form";
    PossessionKeyMismatch = "possession.key_mismatch", "the proof is by another key than the one the token is bound to";
    PossessionReplayed = "possession.replayed", "the proof was used before";
    PossessionMethod = "possession.method", "the proof is for another HTTP method";
    PossessionUrl = "possession.url", "the proof is for another URL";
    PossessionTokenHash = "possession.token_hash", "the proof is for another access token";
    PossessionNonce = "possession.nonce", "the proof holds no fresh nonce of ours";
    PossessionClock = "possession.clock", "the proof is too old, or from the future";
    PossessionCertificateMissing = "possession.certificate_missing", "the token is bound to a certificate and none was presented";
    PossessionCertificateInvalid = "possession.certificate_invalid", "the client certificate has ended, or nobody vouches for it any more";
    PossessionCertificateHeader = "possession.certificate_header", "a trusted proxy sent a certificate header that cannot be read";
    PossessionUnavailable = "possession.unavailable", "used proofs cannot be remembered at the moment";

    ClientAuthentication = "client.authentication", "the client did not prove who it is";
    CredentialShared = "credential.shared", "the credential was used from two places within the life of a token";
    ClientUnknown = "client.unknown", "no such application, or it may not ask people";
    ClientMetadata = "client.metadata", "what the application says of itself cannot be accepted";
    RedirectMismatch = "redirect.mismatch", "the address to come back to is not registered for the application";
    CodeInvalid = "code.invalid", "the authorization code is unknown or too old, or came with another client, address or verifier";
    CodeReplayed = "code.replayed", "the authorization code was used before; what it gave was ended";
    RefreshInvalid = "refresh.invalid", "the refresh token is unknown, has ended, or belongs to another client";
    RefreshReplayed = "refresh.replayed", "the refresh token was used before; its whole family was ended";
    LoginFailed = "login.failed", "the name or the password is wrong, or the account may not log in";
    LoginCode = "login.code", "the identity provider did not give an ID token for its code";
    LoginDenied = "login.denied", "the identity provider did not sign the person in";
    LoginIssuer = "login.issuer", "the answer is from another issuer than the identity provider";
    LoginNotRecent = "login.not_recent", "the change needs a log-in of the last minutes";
    LoginPasswordsOff = "login.passwords_off", "people log in at the identity provider alone";
    LoginPersonUnknown = "login.person_unknown", "nobody here is linked to who signed in at the identity provider";
    LoginProviderUnavailable = "login.provider_unavailable", "the identity provider cannot be asked, or does not answer as one";
    LoginState = "login.state", "the answer belongs to no log-in of this browser, came twice, or came too late";
    LoginToken = "login.token", "the ID token of the identity provider does not hold";
    LoginRequired = "login.required", "nobody is logged in, or the session has ended";
    PasskeyChallenge = "passkey.challenge", "the answer of a passkey belongs to no challenge of this browser, came twice, or came too late";
    PasskeyCounter = "passkey.counter", "the signature counter of the passkey did not grow; there may be a copy of it";
    PasskeyLimit = "passkey.limit", "the person has as many passkeys as may be";
    PasskeyRefused = "passkey.refused", "what the passkey or the browser says does not hold";
    PasskeyTaken = "passkey.taken", "the passkey is registered already";
    PasskeyUnavailable = "passkey.unavailable", "passkeys cannot be had: at this address, or by who signs in elsewhere";
    PasskeyUnknown = "passkey.unknown", "no such passkey is registered, or it is somebody else's";
    FormForged = "form.forged", "the form did not come from a page of ours in the same browser and session";
    ConsentDenied = "consent.denied", "the person did not allow it";
    RequestMalformed = "request.malformed", "the request does not have the required form";
    RequestPrecondition = "request.precondition", "the change does not name the state it replaces, or that state is gone";
    AssertionMalformed = "assertion.malformed", "the assertion of another issuer does not have the required form";
    AssertionIssuer = "assertion.issuer", "the assertion is by an issuer, or of a tenant, that is not trusted for it";
    AssertionSignature = "assertion.signature", "the signature of the assertion does not hold, or its issuer has no such key";
    AssertionAudience = "assertion.audience", "the assertion is for another server";
    AssertionExpired = "assertion.expired", "the assertion is past its end, not yet valid, or valid for too long";
    AssertionClient = "assertion.client", "the assertion is for another client than the one that asks";
    AssertionReplayed = "assertion.replayed", "the assertion was used before, or with another key";
    AssertionUnmapped = "assertion.unmapped", "the claims of the assertion name no agent, or several";
    IssuerUnreachable = "issuer.unreachable", "the keys of another issuer cannot be had at the moment";
    EnrolmentRefused = "enrolment.refused", "the enrolment code is unknown, used or expired, or its proof does not hold";

    AgentUnknown = "agent.unknown", "no such agent is registered";
    AgentPending = "agent.pending", "the agent is registered but not enrolled";
    AgentSuspended = "agent.suspended", "the agent is suspended";
    AgentRetired = "agent.retired", "the agent is retired";
    AgentExpired = "agent.expired", "the agent is past its end, or was stopped because nobody used it";
    OperatorLast = "operator.last", "it would leave nobody who can administer";
    AgentOwnerless = "agent.ownerless", "the agent has no active owner";

    PersonUnknown = "person.unknown", "no such person is registered";
    PersonPending = "person.pending", "the person was invited but has not signed in yet";
    PersonSuspended = "person.suspended", "the person is suspended";
    PersonRetired = "person.retired", "the person is retired";
    RoleMissing = "role.missing", "the person has no role that allows it";
    ConsentMissing = "consent.missing", "the person gave the agent nothing at this server, or took it back";

    ServerUnknown = "server.unknown", "no such MCP server is registered";
    ServerPending = "server.pending", "the MCP server is registered but not active";
    ServerSuspended = "server.suspended", "the MCP server is suspended";
    ServerRetired = "server.retired", "the MCP server is retired";
    ServerOwnerless = "server.ownerless", "the MCP server has no active owner";

    ResourceUnknown = "resource.unknown", "no such API is registered";
    ResourcePending = "resource.pending", "the API is registered but not active";
    ResourceSuspended = "resource.suspended", "the API is suspended";
    ResourceRetired = "resource.retired", "the API is retired";
    ResourceOwnerless = "resource.ownerless", "the API has no active owner";

    OperationUnknown = "operation.unknown", "the API has no such operation, or the path can be read in two ways";

    LockActive = "lock.active", "a lock is in force on the caller, the target or the credential";

    FrameSize = "frame.size", "the message is larger than the limit";
    FrameEncoding = "frame.encoding", "the message is not plain UTF-8 text";
    FrameSyntax = "frame.syntax", "the message is not JSON, or not a JSON-RPC message";
    FrameDuplicateKey = "frame.duplicate_key", "an object in the message names a member twice";
    FrameDepth = "frame.depth", "the message is nested deeper than the limit";
    FrameBatch = "frame.batch", "batches of messages are not accepted";
    FrameHeaderMismatch = "frame.header_mismatch", "a header and the message disagree";
    FrameVersion = "frame.version", "the protocol version is not served";
    FrameMethod = "frame.method", "the method is unknown, or not allowed here";
    FrameOrigin = "frame.origin", "the web origin or the host is not allowed";

    ToolUnknown = "tool.unknown", "the server has no such tool";
    ToolUnconfirmed = "tool.unconfirmed", "the owner has not approved the tool yet";
    ToolHiddenText = "tool.hidden_text", "the definition holds characters that a reader would not see";
    ToolDefinitionChanged = "tool.definition_changed", "the definition of the tool changed since it was approved";

    ScopeMissing = "scope.missing", "the token or the grants do not hold the needed scope";
    ConstraintViolated = "constraint.violated", "the arguments are outside what the token allows";
    PolicyNoPermit = "policy.no_permit", "no policy permits the call";
    PolicyForbid = "policy.forbid", "a policy forbids the call";
    PolicyError = "policy.error", "a policy could not be evaluated";
    DutyConflict = "duty.conflict", "the call conflicts with another duty of the same caller; not given yet";

    ApprovalRequired = "approval.required", "a person has to approve the call first";
    ApprovalPending = "approval.pending", "the approval was asked for and not given yet";
    ApprovalDenied = "approval.denied", "a person said that the call may not be made";
    ApprovalExpired = "approval.expired", "the approval is past its end";
    ApprovalArgumentsChanged = "approval.arguments_changed", "the approval is for other arguments";
    ApprovalUsed = "approval.used", "the approval was used; the call needs another one";
    ApprovalSelf = "approval.self", "nobody approves their own request";

    DelegationDepth = "delegation.depth", "the chain of actors is too long";
    DelegationNotAllowed = "delegation.not_allowed", "the actor may not act for the subject";
    DelegationWidened = "delegation.widened", "the delegated right is wider than its parent";
    DelegationEvidence = "delegation.evidence", "the evidence for the delegation does not hold";
    ExchangeTarget = "exchange.target", "a token for this target cannot be issued to the caller";
    ExchangeScope = "exchange.scope", "a token with this scope cannot be issued to the caller";

    DownstreamRefused = "downstream.refused", "the target refused the call";
    DownstreamUnreachable = "downstream.unreachable", "the target could not be reached";
    DownstreamProtocol = "downstream.protocol", "the target broke the protocol";
    DownstreamBusy = "downstream.busy", "the target has as many calls under way as it may have";
    DownstreamPaused = "downstream.paused", "the target failed several times in a row and is left alone for a moment";
    DownstreamUnattributed = "downstream.unattributed", "the outbound request belongs to no call";
    RateLimited = "rate.limited", "too many requests";
    JournalUnavailable = "journal.unavailable", "the log cannot take an entry, so nothing is done";
    EntryRemoved = "entry.removed", "the entry was removed by retention; its hash is still in the log";
    PayloadAbsent = "payload.absent", "the payload was never sealed, or was removed with age";
    PayloadErased = "payload.erased", "the payload was erased, and nobody can read it any more";
    AuthorityStale = "authority.stale", "the authority was not heard from for too long";
    GatewayCopied = "gateway.copied", "another process goes on as this gateway: a copy, or the one that was copied";
    GatewayLogForked = "gateway.log_forked", "the log of the gateway lost entries, or has others than it told of before";
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReasonCode {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(UnknownReason)
    }
}

impl TryFrom<String> for ReasonCode {
    type Error = UnknownReason;
    fn try_from(text: String) -> Result<Self, UnknownReason> {
        text.parse()
    }
}

impl From<ReasonCode> for String {
    fn from(code: ReasonCode) -> Self {
        code.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        let distinct: BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(distinct.len(), ReasonCode::ALL.len());
        for code in ReasonCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
        assert_eq!("token".parse::<ReasonCode>(), Err(UnknownReason));
    }

    #[test]
    fn codes_have_one_form_and_meanings_are_one_line() {
        for code in ReasonCode::ALL {
            let (area, cause) = code.as_str().split_once('.').unwrap();
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain(area) && plain(cause), "{code}");
            assert!(!code.meaning().ends_with('.') && !code.meaning().contains('\n'), "{code}");
        }
    }
}
