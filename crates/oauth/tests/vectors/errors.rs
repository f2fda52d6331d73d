//! The table of wire codes, compared row by row with the file that cites the sections.

use std::collections::BTreeMap;

use attorn_oauth::access_token::TokenRefusal;
use attorn_oauth::actor::ChainRefusal;
use attorn_oauth::client_assertion::AssertionRefusal;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::error::TokenError;
use attorn_oauth::evidence::CertificateEvidenceRefusal;
use attorn_oauth::grant::GrantRefusal;
use attorn_oauth::jwt_grant::JwtGrantRefusal;
use attorn_oauth::jwt_svid::SvidRefusal;
use attorn_oauth::mtls::CertificateRefusal;
use attorn_oauth::replay::ReplayRefusal;
use attorn_registry::ReasonCode;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    section: String,
    input: String,
    expect: Expect,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct Expect {
    code: String,
    status: u16,
    reason: String,
}

const REPLAYS: [ReplayRefusal; 5] = [
    ReplayRefusal::Ended,
    ReplayRefusal::Full,
    ReplayRefusal::Replayed,
    ReplayRefusal::SharedUnavailable,
    ReplayRefusal::StartedAfterIssue,
];

const PROOFS: [DpopRefusal; 16] = [
    DpopRefusal::Algorithm,
    DpopRefusal::Claims,
    DpopRefusal::Clock,
    DpopRefusal::Jti,
    DpopRefusal::Key,
    DpopRefusal::KeyMismatch,
    DpopRefusal::Malformed,
    DpopRefusal::Method,
    DpopRefusal::Missing,
    DpopRefusal::Nonce,
    DpopRefusal::NonceMissing,
    DpopRefusal::Signature,
    DpopRefusal::TokenHash,
    DpopRefusal::TooLong,
    DpopRefusal::Type,
    DpopRefusal::Url,
];

const CERTIFICATES: [CertificateRefusal; 6] = [
    CertificateRefusal::Clock,
    CertificateRefusal::Method,
    CertificateRefusal::Missing,
    CertificateRefusal::Name,
    CertificateRefusal::Unregistered,
    CertificateRefusal::Untrusted,
];

const SVIDS: [SvidRefusal; 9] = [
    SvidRefusal::Audience,
    SvidRefusal::Claims,
    SvidRefusal::Clock,
    SvidRefusal::Full,
    SvidRefusal::Malformed,
    SvidRefusal::OtherHolder,
    SvidRefusal::Signature,
    SvidRefusal::Subject,
    SvidRefusal::Type,
];

const SUBJECTS: [TokenRefusal; 15] = [
    TokenRefusal::ActorChain,
    TokenRefusal::Audience,
    TokenRefusal::AuthorizationDetails,
    TokenRefusal::Claims,
    TokenRefusal::Expired,
    TokenRefusal::Future,
    TokenRefusal::Issuer,
    TokenRefusal::KeyInHeader,
    TokenRefusal::KeyUnknown,
    TokenRefusal::Lifetime,
    TokenRefusal::Malformed,
    TokenRefusal::MayAct,
    TokenRefusal::Signature,
    TokenRefusal::Type,
    TokenRefusal::Unbound,
];

const JWT_GRANTS: [JwtGrantRefusal; 16] = [
    JwtGrantRefusal::Actor,
    JwtGrantRefusal::Audience,
    JwtGrantRefusal::Claims,
    JwtGrantRefusal::ClientMismatch,
    JwtGrantRefusal::Clock,
    JwtGrantRefusal::Issuer,
    JwtGrantRefusal::Jti,
    JwtGrantRefusal::KeyUnknown,
    JwtGrantRefusal::KeysUnavailable,
    JwtGrantRefusal::Malformed,
    JwtGrantRefusal::Possession,
    JwtGrantRefusal::Replayed,
    JwtGrantRefusal::Signature,
    JwtGrantRefusal::Standing(ReasonCode::PersonUnknown),
    JwtGrantRefusal::Tenant,
    JwtGrantRefusal::Unmapped,
];

const CERTIFICATE_EVIDENCE: [CertificateEvidenceRefusal; 4] = [
    CertificateEvidenceRefusal::Clock,
    CertificateEvidenceRefusal::Forged,
    CertificateEvidenceRefusal::Missing,
    CertificateEvidenceRefusal::OtherMethod,
];

/// Every error, each variant listed after the one before it. Exhaustive on purpose: a new variant
/// does not compile until it stands here, and then fails until the file has its row.
fn all() -> Vec<TokenError> {
    let mut all = Vec::new();
    let mut next = Some(TokenError::ActorTokenPair);
    while let Some(error) = next {
        all.push(error);
        next = match error {
            TokenError::ActorTokenPair => Some(TokenError::ActorTokenRefused),
            TokenError::ActorTokenRefused => Some(TokenError::ApprovalEvidence),
            TokenError::ApprovalEvidence => Some(TokenError::AssertionType),
            TokenError::AssertionType => Some(TokenError::AuthorizationDetails),
            TokenError::AuthorizationDetails => Some(TokenError::CertificateHeader),
            TokenError::CertificateHeader => Some(TokenError::CertificateMissing),
            TokenError::CertificateMissing => Some(TokenError::ClientAuthenticationMissing),
            TokenError::ClientAuthenticationMissing => {
                Some(TokenError::ClientAuthenticationRepeated)
            }
            TokenError::ClientAuthenticationRepeated => Some(TokenError::CodeMissing),
            TokenError::CodeMissing => Some(TokenError::FormMalformed),
            TokenError::FormMalformed => Some(TokenError::GrantTypeMissing),
            TokenError::GrantTypeMissing => Some(TokenError::GrantTypeNotRegistered),
            TokenError::GrantTypeNotRegistered => Some(TokenError::GrantTypeUnsupported),
            TokenError::GrantTypeUnsupported => Some(TokenError::JwtGrantMissing),
            TokenError::JwtGrantMissing => Some(TokenError::ParameterRepeated),
            TokenError::ParameterRepeated => Some(TokenError::RefreshTokenMissing),
            TokenError::RefreshTokenMissing => Some(TokenError::RequestedTokenType),
            TokenError::RequestedTokenType => Some(TokenError::ResourceMalformed),
            TokenError::ResourceMalformed => Some(TokenError::ResourceMissing),
            TokenError::ResourceMissing => Some(TokenError::ResourceRepeated),
            TokenError::ResourceRepeated => Some(TokenError::ResourceUnknown),
            TokenError::ResourceUnknown => Some(TokenError::ScopeMalformed),
            TokenError::ScopeMalformed => Some(TokenError::ScopeNotGranted),
            TokenError::ScopeNotGranted => Some(TokenError::SubjectTokenMissing),
            TokenError::SubjectTokenMissing => Some(TokenError::SubjectTokenType),
            // These hold a refusal of their own; see below.
            TokenError::SubjectTokenType
            | TokenError::ActorChain(_)
            | TokenError::CertificateEvidence(_)
            | TokenError::ResourceClosed(_)
            | TokenError::ScopeNotPermitted(_)
            | TokenError::SubjectToken(_)
            | TokenError::SubjectTokenEvidence(_)
            | TokenError::SubjectTokenStanding(_)
            | TokenError::ClientAuthentication(_)
            | TokenError::ClientCertificate(_)
            | TokenError::ClientStanding(_)
            | TokenError::ClientSvid(_)
            | TokenError::Grant(_)
            | TokenError::JwtGrant(_)
            | TokenError::Possession(_)
            | TokenError::PossessionReplay(_) => None,
        };
    }
    all.extend(PROOFS.map(TokenError::Possession));
    all.extend(REPLAYS.map(TokenError::PossessionReplay));
    all.extend(REPLAYS.map(|r| TokenError::ClientAuthentication(AssertionRefusal::Replay(r))));
    all.extend(assertions().map(TokenError::ClientAuthentication));
    all.extend(CERTIFICATES.map(TokenError::ClientCertificate));
    all.extend(SVIDS.map(TokenError::ClientSvid));
    all.extend([ChainRefusal::Depth, ChainRefusal::Repeated].map(TokenError::ActorChain));
    all.extend(SUBJECTS.map(TokenError::SubjectToken));
    all.extend([None, Some(DpopRefusal::Missing)].map(TokenError::SubjectTokenEvidence));
    all.extend(CERTIFICATE_EVIDENCE.map(TokenError::CertificateEvidence));
    // Every reason of the registry passes through unchanged; these stand for all.
    all.push(TokenError::ResourceClosed(ReasonCode::ResourceSuspended));
    all.push(TokenError::ScopeNotPermitted(ReasonCode::PolicyForbid));
    all.push(TokenError::SubjectTokenStanding(ReasonCode::LockActive));
    all.push(TokenError::ClientStanding(ReasonCode::ClientUnknown));
    all.extend(grants().map(TokenError::Grant));
    all.extend(JWT_GRANTS.map(TokenError::JwtGrant));
    all
}

fn grants() -> [GrantRefusal; 10] {
    [
        GrantRefusal::CodeOfAnotherClient,
        GrantRefusal::CodeReplayed,
        GrantRefusal::CodeUnknown,
        GrantRefusal::CodeVerifier,
        GrantRefusal::KeyMismatch,
        GrantRefusal::RedirectUri,
        GrantRefusal::RefreshOfAnotherClient,
        GrantRefusal::RefreshReplayed,
        GrantRefusal::RefreshUnknown,
        GrantRefusal::Standing(ReasonCode::AgentSuspended),
    ]
}

fn assertions() -> [AssertionRefusal; 9] {
    [
        AssertionRefusal::Audience,
        AssertionRefusal::Claims,
        AssertionRefusal::ClientMismatch,
        AssertionRefusal::ClientUnknown,
        AssertionRefusal::Clock,
        AssertionRefusal::Jti,
        AssertionRefusal::Malformed,
        AssertionRefusal::Signature,
        AssertionRefusal::Type,
    ]
}

#[test]
fn every_error_has_its_row() {
    let file = include_str!("../../../../vectors/oauth/error-codes.json");
    let rows: Vec<Row> = serde_json::from_str(file).unwrap();
    let mut by_input: BTreeMap<String, Row> = BTreeMap::new();
    for row in rows {
        assert!(row.section.starts_with("RFC "), "{}: cites nothing", row.name);
        assert!(by_input.insert(row.input.clone(), row).is_none(), "a row stands twice");
    }
    for error in all() {
        let row = by_input.remove(&format!("{error:?}"));
        let row = row.unwrap_or_else(|| panic!("no row for {error:?}"));
        let found = Expect {
            code: error.code().as_str().to_owned(),
            status: error.http_status(),
            reason: error.reason().to_string(),
        };
        assert_eq!(found, row.expect, "{error:?}, {}", row.section);
    }
    assert!(by_input.is_empty(), "rows without an error: {:?}", by_input.keys());
}

#[test]
fn descriptions_are_fixed_texts_without_an_oracle() {
    for error in all() {
        let text = error.description();
        assert!(!text.is_empty() && text.is_ascii() && !text.contains(['"', '\\', '\n']), "{text}");
    }
    // RFC 6749 section 5.2: an unknown client and a wrong key look the same.
    let texts: std::collections::BTreeSet<_> = assertions()
        .map(|refusal| TokenError::ClientAuthentication(refusal).description())
        .into_iter()
        .chain(CERTIFICATES.map(|refusal| TokenError::ClientCertificate(refusal).description()))
        .collect();
    assert_eq!(texts.len(), 1);
}

#[test]
fn an_assertion_that_gives_nothing_tells_nothing() {
    let is_peers = |refusal: &JwtGrantRefusal| *refusal != JwtGrantRefusal::KeysUnavailable;
    let mut refusals = JWT_GRANTS.into_iter().filter(is_peers).map(TokenError::JwtGrant);
    let first = refusals.next().unwrap();
    assert!(refusals.all(|other| other.description() == first.description()));
}
