use std::collections::BTreeSet;

use attorn_mcp::MirrorHeader;

use super::*;

/// One of every refusal. A new variant that is not here is caught by `row`, which must map it.
fn every() -> Vec<Refusal> {
    let head = [
        HeadRefusal::PathUnknown,
        HeadRefusal::Host,
        HeadRefusal::Origin,
        HeadRefusal::Method,
        HeadRefusal::ClientCert(ClientCertRefusal::Repeated),
        HeadRefusal::HeaderTwin,
        HeadRefusal::Expectation,
        HeadRefusal::ContentEncoding,
        HeadRefusal::ContentType,
        HeadRefusal::Accept,
        HeadRefusal::BodyTooLong,
    ];
    let credential = [
        CredentialRefusal::TokenMissing,
        CredentialRefusal::TokenMalformed,
        CredentialRefusal::BearerNotAllowed,
        CredentialRefusal::Token(TokenRefusal::Expired),
        CredentialRefusal::TokenRevoked,
        CredentialRefusal::TokenStopped,
        CredentialRefusal::SeveralPlaces,
        CredentialRefusal::ProofRepeated,
        CredentialRefusal::Proof(DpopRefusal::Nonce),
        CredentialRefusal::Proof(DpopRefusal::Url),
        CredentialRefusal::Possession(PossessionRefusal::OtherToken),
        CredentialRefusal::Possession(PossessionRefusal::Replay(ReplayRefusal::Replayed)),
        CredentialRefusal::Possession(PossessionRefusal::Replay(ReplayRefusal::Full)),
        CredentialRefusal::Possession(PossessionRefusal::Replay(ReplayRefusal::SharedUnavailable)),
        CredentialRefusal::Possession(PossessionRefusal::Replay(ReplayRefusal::StartedAfterIssue)),
        CredentialRefusal::Caller(ReasonCode::AgentUnknown),
    ];
    let message = [
        MessageRefusal::AnswerToNothing,
        MessageRefusal::BodyIncomplete,
        MessageRefusal::BodyTooLong,
        MessageRefusal::Frame(FrameRefusal::Batch),
        MessageRefusal::Frame(FrameRefusal::HeaderMismatch(MirrorHeader::Name)),
        MessageRefusal::Json(JsonError::DuplicateKey),
        MessageRefusal::MethodUnknown,
        MessageRefusal::NoStream,
        MessageRefusal::NotificationUnknown,
        MessageRefusal::SessionMissing,
        MessageRefusal::SessionUnknown,
        MessageRefusal::TooManySessions,
        MessageRefusal::TooManyStreams,
        MessageRefusal::Trailers,
        MessageRefusal::VersionUnsupported { requested: String::new(), supported: Vec::new() },
    ];
    let decision = [
        DecisionRefusal::Hidden(ReasonCode::ToolUnknown),
        DecisionRefusal::StepUp { reason: ReasonCode::ScopeMissing, scope: ScopeSet::default() },
        DecisionRefusal::TokenStopped,
        DecisionRefusal::Told(ReasonCode::LockActive),
        DecisionRefusal::ToldOfCall(ReasonCode::PolicyForbid),
        DecisionRefusal::Waits(Box::new(Wait::new(ReasonCode::ApprovalPending))),
    ];
    head.into_iter()
        .map(Refusal::from)
        .chain(credential.into_iter().map(Refusal::from))
        .chain(message.into_iter().map(Refusal::from))
        .chain(decision.into_iter().map(Refusal::from))
        .chain(every_failure().into_iter().map(Refusal::from))
        .chain([Refusal::AuthorityStale, Refusal::JournalUnavailable])
        .collect()
}

fn every_failure() -> [UpstreamFailure; 14] {
    [
        UpstreamFailure::Busy,
        UpstreamFailure::ChildGone,
        UpstreamFailure::ContentEncoding,
        UpstreamFailure::Exhausted,
        UpstreamFailure::NotRecorded,
        UpstreamFailure::Interrupted,
        UpstreamFailure::MediaType,
        UpstreamFailure::NoStream,
        UpstreamFailure::Protocol,
        UpstreamFailure::SessionGone,
        UpstreamFailure::Status(StatusCode::UNAUTHORIZED),
        UpstreamFailure::Timeout,
        UpstreamFailure::TooLong,
        UpstreamFailure::Unreachable,
    ]
}

fn status(refusal: impl Into<Refusal>) -> u16 {
    refusal.into().row().status.as_u16()
}

#[test]
fn a_400_says_what_a_current_client_recognises() {
    let known = [
        ErrorCode::HeaderMismatch,
        ErrorCode::InvalidParams,
        ErrorCode::InvalidRequest,
        ErrorCode::ParseError,
        ErrorCode::UnsupportedProtocolVersion,
    ];
    for refusal in every() {
        let row = refusal.row();
        if row.status != StatusCode::BAD_REQUEST {
            continue;
        }
        let (RefusalBody::Bare(code) | RefusalBody::Error(code)) = row.body else {
            panic!("{refusal:?} has no JSON-RPC error");
        };
        assert!(known.contains(&code), "{refusal:?}");
    }
}

#[test]
fn every_401_is_challenged_and_nothing_else_but_step_up_is() {
    for refusal in every() {
        let row = refusal.row();
        let is_challenged = row.challenge != Challenge::None;
        let step_up = matches!(refusal, Refusal::Decision(DecisionRefusal::StepUp { .. }));
        assert_eq!(is_challenged, row.status == StatusCode::UNAUTHORIZED || step_up, "{refusal:?}");
    }
}

#[test]
fn an_upstream_is_never_taken_for_us() {
    for refusal in every().iter().filter(|one| matches!(one, Refusal::Upstream(_))) {
        let row = refusal.row();
        assert!(![401, 403].contains(&row.status.as_u16()), "{refusal:?}");
        assert_eq!(row.challenge, Challenge::None);
    }
}

#[test]
fn what_cannot_be_remembered_or_recorded_is_ours_to_answer_for() {
    assert_eq!(status(Refusal::JournalUnavailable), 503);
    let full = PossessionRefusal::Replay(ReplayRefusal::Full);
    assert_eq!(status(CredentialRefusal::Possession(full)), 503);
    let replayed = PossessionRefusal::Replay(ReplayRefusal::Replayed);
    assert_eq!(status(CredentialRefusal::Possession(replayed)), 401);
}

#[test]
fn hidden_says_nothing_but_that_it_is_unknown() {
    let rows: BTreeSet<String> = [
        ReasonCode::ToolUnknown,
        ReasonCode::ToolUnconfirmed,
        ReasonCode::ScopeMissing,
        ReasonCode::PolicyForbid,
    ]
    .map(|reason| {
        let row = Refusal::from(DecisionRefusal::Hidden(reason)).row();
        format!("{} {:?} {:?}", row.status, row.body, row.challenge)
    })
    .into();
    assert_eq!(rows.len(), 1, "{rows:?}");
}

#[test]
fn the_table_is_the_profile() {
    assert_eq!(status(HeadRefusal::Origin), 403);
    assert_eq!(status(HeadRefusal::Host), 421);
    assert_eq!(status(HeadRefusal::Method), 405);
    assert_eq!(status(HeadRefusal::Accept), 406);
    assert_eq!(status(HeadRefusal::ContentType), 415);
    assert_eq!(status(HeadRefusal::ContentEncoding), 415);
    assert_eq!(status(HeadRefusal::Expectation), 417);
    assert_eq!(status(MessageRefusal::BodyTooLong), 413);
    assert_eq!(status(MessageRefusal::MethodUnknown), 404);
    assert_eq!(status(MessageRefusal::SessionUnknown), 404);
    assert_eq!(status(UpstreamFailure::Protocol), 502);
}
