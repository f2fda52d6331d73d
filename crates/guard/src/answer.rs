//! Answers: refusals that the guard renders, and what the API said, with its outcome.

use std::sync::Arc;

use attorn_audit::{Entry, Outcome};
use attorn_enforce::course;
use attorn_enforce::record::{AccessEnd, Ending, Recorded};
use attorn_jose::Algorithm;
use attorn_net::Body;
use attorn_oauth::challenge::NewChallenge;
use attorn_oauth::error::ErrorCode;
use attorn_registry::{ReasonCode, ScopeSet};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as HttpBody;
use serde_json::json;

use crate::access::Access;
use crate::admit::{Admitted, Permit};
use crate::body::{AnswerBody, Sent};
use crate::headers::{self, DPOP_NONCE};
use crate::refusal::{Challenge, DecisionRefusal, Refusal, Row, UpstreamFailure};

impl Access {
    /// Records a refusal and renders it.
    pub(crate) async fn refuse(mut self, refusal: &Refusal) -> Response<Body> {
        let (guard, row) = (self.guard(), refusal.row());
        guard.counted.refused.add_one();
        guard.telemetry.calls.refused(row.reason);
        if matches!(refusal, Refusal::Credential(_)) && row.challenge != Challenge::Nonce {
            guard.throttle.failed(self.from);
        }
        // RFC 9449 section 9: a challenge about nonces carries one, and every other may.
        if row.challenge != Challenge::None && self.nonce.is_none() {
            self.nonce = Some(guard.proofs.nonce(self.now_s));
        }
        let mut response = self.rendered(row);
        let headers = response.headers_mut();
        insert(headers, WWW_AUTHENTICATE, challenge(refusal, row.challenge).as_deref());
        if let Refusal::Limited(limited) = refusal {
            guard.telemetry.calls.limit_hit(limited.limit);
            let [spread] = guard.random.bytes();
            headers.insert(RETRY_AFTER, HeaderValue::from(limited.retry_after_s(spread)));
            self.entry.detail.insert("limit".to_owned(), limited.limit.as_str().to_owned());
        }
        self.tell(course::Ended::Refused(row.reason));
        let entry = Entry { kind: row.kind(), ..self.entry };
        guard.recorder.refusal(entry, row.reason).await;
        response
    }

    /// A small JSON answer: why, and where it is on record.
    fn rendered(&self, row: Row) -> Response<Body> {
        let body = json!({
            "error": row.status.canonical_reason().unwrap_or("refused"),
            "reason": row.reason.as_str(),
            "decision_id": self.decision_id(),
        });
        let mut response = Response::new(Body::full(body.to_string()));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        insert(headers, DPOP_NONCE, self.nonce.as_deref());
        if row.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Admitted {
    /// What the API said, on its way back. The outcome is recorded when all of it has gone by.
    pub(crate) fn answer<B>(self, response: Response<B>) -> Response<AnswerBody<B>>
    where
        B: HttpBody,
    {
        let (mut head, body) = response.into_parts();
        let Self { mut access, recorded, sent, mut attempt, target: _ } = self;
        attempt.settle(is_its_fault(head.status));
        access.course.note_replied();
        access.tell(course::Ended::Answered);
        let request_id = access.guard().api.request_id_header.of(&head.headers);
        headers::answered(&mut head.headers);
        // RFC 9449 section 8.2: a new nonce before the old one ends.
        insert(&mut head.headers, DPOP_NONCE, access.nonce.as_deref());
        let ended = Ended { recorded, status: head.status, request_id, sent };
        Response::from_parts(head, AnswerBody::passed(body, ended))
    }

    /// Records that there is no answer, and says so.
    pub(crate) fn fail(mut self, failure: UpstreamFailure) -> Response<Body> {
        let failure = self.sent.fault().map_or(failure, UpstreamFailure::Body);
        if self.is_of_the_api(failure) {
            self.attempt.settle(true);
        }
        let row = failure.row();
        let response = self.access.rendered(row);
        let outcome = match failure {
            UpstreamFailure::Body(_) => Outcome::Cancelled,
            UpstreamFailure::Exhausted
            | UpstreamFailure::Interrupted
            | UpstreamFailure::Timeout
            | UpstreamFailure::Unreachable => Outcome::UpstreamError,
        };
        self.end(outcome, row.reason);
        response
    }

    /// Whether a failure says that the API is not well. While the caller still sends, it may be the caller
    /// who is slow, and whoever is must not close the API to everybody.
    fn is_of_the_api(&self, failure: UpstreamFailure) -> bool {
        match failure {
            UpstreamFailure::Body(_) | UpstreamFailure::Exhausted => false,
            UpstreamFailure::Interrupted | UpstreamFailure::Timeout => self.sent.is_whole(),
            UpstreamFailure::Unreachable => true,
        }
    }

    /// Records that there is no answer.
    pub(crate) fn end(mut self, outcome: Outcome, reason: ReasonCode) {
        self.access.course.note_replied();
        self.access.tell(course::Ended::Failed(reason));
        let access =
            AccessEnd { request_id: None, request_bytes: self.sent.bytes(), response_bytes: 0 };
        let reason = Some(reason);
        self.recorded.end(Ending { reason, access: Some(access), ..Ending::new(outcome) });
    }
}

/// What is recorded once an answer has gone by.
#[derive(Debug)]
pub(crate) struct Ended {
    recorded: Recorded<Permit>,
    status: StatusCode,
    request_id: Option<String>,
    sent: Arc<Sent>,
}

impl Ended {
    /// `whole` says whether the API ended its answer or broke it off; nothing where the caller left.
    pub(crate) fn record(self, whole: Option<bool>, response_bytes: u64) {
        let outcome = match whole {
            Some(true) => Outcome::Ok,
            Some(false) => Outcome::UpstreamError,
            None => Outcome::Cancelled,
        };
        let reason = (whole == Some(false)).then_some(ReasonCode::DownstreamProtocol);
        let (request_id, request_bytes) = (self.request_id, self.sent.bytes());
        self.recorded.end(Ending {
            reason,
            status: Some(self.status.as_u16()),
            access: Some(AccessEnd { request_id, request_bytes, response_bytes }),
            ..Ending::new(outcome)
        });
    }
}

/// Whether a status says that the API is not well (RFC 9110 sections 15.6.3 to 15.6.5). A 500 may be about
/// the one request. The others can be too, where an API asks what a caller names: who causes them alone
/// is kept away alone, by the circuit.
fn is_its_fault(status: StatusCode) -> bool {
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
        .contains(&status)
}

fn challenge(refusal: &Refusal, challenge: Challenge) -> Option<String> {
    let needed: Option<&ScopeSet> = match refusal {
        Refusal::Decision(DecisionRefusal::ScopeMissing(needed)) => Some(needed),
        Refusal::AuthorityStale
        | Refusal::JournalUnavailable
        | Refusal::Limited(_)
        | Refusal::Head(_)
        | Refusal::Credential(_)
        | Refusal::Decision(
            DecisionRefusal::Identity
            | DecisionRefusal::OperationUnknown
            | DecisionRefusal::Policy(_)
            | DecisionRefusal::Standing(_),
        ) => None,
    };
    let error = match challenge {
        Challenge::None => return None,
        Challenge::Credential => None,
        Challenge::Scope => Some(ErrorCode::InsufficientScope),
        Challenge::Token => Some(ErrorCode::InvalidToken),
        Challenge::Proof => Some(ErrorCode::InvalidDpopProof),
        Challenge::Nonce => Some(ErrorCode::UseDpopNonce),
    };
    let algorithms = Algorithm::ALL.map(Algorithm::name);
    let new =
        NewChallenge { error, resource_metadata: None, scope: needed, algorithms: &algorithms };
    Some(new.to_header())
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}
