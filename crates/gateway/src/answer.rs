//! Responses of the gateway: results it relays and refusals it renders.

use attorn_mcp::ErrorData;
use attorn_mcp::error::{body, tool_refusal};
use attorn_net::Body;
use attorn_oauth::challenge::NewChallenge;
use attorn_oauth::error::ErrorCode as OAuthCode;
use attorn_registry::{Class, Scope, ScopeSet, Tool};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::exchange::Exchange;
use crate::refusal::{Challenge, DecisionRefusal, MessageRefusal, Refusal, RefusalBody, Row};

impl Exchange {
    /// A JSON answer. Responses carry only headers made here; none of an upstream's.
    pub(crate) fn json(&self, status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
        let mut response = self.empty(status);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::full(message);
        response
    }

    /// An event stream (MCP 2026-07-28, Streamable HTTP, Receiving Messages).
    pub(crate) fn stream(&self, messages: Body) -> Response<Body> {
        let mut response = self.empty(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        *response.body_mut() = messages;
        response
    }

    /// An answer without a body.
    pub(crate) fn empty(&self, status: StatusCode) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        insert(headers, DPOP_NONCE, self.nonce.as_deref());
        response
    }

    /// Records a refusal and renders it.
    pub(crate) async fn refuse(mut self, refusal: Refusal) -> Response<Body> {
        let row = refusal.row();
        // RFC 9449 sections 8 and 9: a challenge about nonces carries one, and every other
        // challenge may, so that the next proof needs no extra round.
        if row.challenge != Challenge::None && self.nonce.is_none() {
            self.nonce = Some(self.gateway.possession.nonce(self.now_s));
        }
        let response = self.render(&refusal, row);
        self.note_refused(&refusal, row);
        if let Some(limited) = refusal.limited() {
            self.entry.detail.insert("limit".to_owned(), limited.limit.as_str().to_owned());
        }
        let entry = std::mem::replace(&mut self.entry, attorn_audit::Entry::new(row.kind(), 0));
        let entry = attorn_audit::Entry { kind: row.kind(), ..entry };
        self.gateway.recorder.refusal(entry, row.reason).await;
        response
    }

    pub(crate) fn render(&self, refusal: &Refusal, row: Row) -> Response<Body> {
        let mut response = match row.body {
            RefusalBody::Bare(code) => {
                self.json(row.status, body(self.id.as_ref(), code, &version_data(refusal)))
            }
            RefusalBody::Error(code) => {
                let data = ErrorData {
                    decision_id: Some(self.decision_id()),
                    reason: Some(row.reason.as_str()),
                    ..version_data(refusal)
                };
                self.json(row.status, body(self.id.as_ref(), code, &data))
            }
            RefusalBody::ToolResult => match refusal {
                Refusal::Decision(DecisionRefusal::Waits(wait)) => {
                    self.json(row.status, self.waits(wait))
                }
                Refusal::Decision(_)
                | Refusal::Head(_)
                | Refusal::Credential(_)
                | Refusal::Message(_)
                | Refusal::AuthorityStale
                | Refusal::JournalUnavailable
                | Refusal::Limited(_)
                | Refusal::Upstream(_) => self.json(row.status, self.tool_result(row)),
            },
        };
        let headers = response.headers_mut();
        for value in self.challenges(refusal, row.challenge) {
            // RFC 9110 section 11.6.1: each in a field of its own.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        if matches!(row.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            // Spread, so that those who were refused together do not all come back together.
            let [spread] = self.gateway.random.bytes();
            let wait_s = refusal.limited().map_or(1, |limited| limited.retry_after_s(spread));
            headers.insert(RETRY_AFTER, HeaderValue::from(wait_s));
        }
        response
    }

    fn tool_result(&self, row: Row) -> Vec<u8> {
        let Some(id) = &self.id else { return Vec::new() };
        let decision_id = self.decision_id();
        let text = format!(
            "Refused: {} ({}). Decision {decision_id}; the owner of this agent can look it up.",
            row.reason.meaning(),
            row.reason,
        );
        let data = ErrorData {
            decision_id: Some(decision_id),
            reason: Some(row.reason.as_str()),
            ..ErrorData::default()
        };
        tool_refusal(id, self.revision, &text, &data)
    }

    /// The challenge for clients with proofs, and one for those without where the server takes them.
    fn challenges(&self, refusal: &Refusal, challenge: Challenge) -> Vec<String> {
        let (error, scope) = match challenge {
            Challenge::None => return Vec::new(),
            Challenge::Credential => (None, self.first_scope()),
            Challenge::Certificate | Challenge::Token => {
                (Some(OAuthCode::InvalidToken), self.first_scope())
            }
            Challenge::Proof => (Some(OAuthCode::InvalidDpopProof), None),
            Challenge::Nonce => (Some(OAuthCode::UseDpopNonce), None),
            Challenge::Scope => (Some(OAuthCode::InsufficientScope), step_up_scope(refusal)),
        };
        // What is wrong with a proof is nothing to a client that makes none.
        let of_proof = matches!(challenge, Challenge::Proof | Challenge::Nonce);
        let takes_bearer = self.server().is_some_and(|server| !server.accept_bearer.is_empty());
        let also_bearer = takes_bearer && !of_proof;
        let url = self.gateway.config.public_url.metadata_url(&self.server_name);
        let challenge = NewChallenge {
            error,
            resource_metadata: Some(&url),
            scope: scope.as_ref(),
            algorithms: &ALGORITHMS,
        };
        let bearer = also_bearer.then(|| challenge.to_bearer_header());
        std::iter::once(challenge.to_header()).chain(bearer).collect()
    }

    /// The smallest useful set: what reads and nothing that writes (RFC 6750 section 3).
    fn first_scope(&self) -> Option<ScopeSet> {
        let tools = self.server()?.tools.values();
        let reading = tools.flat_map(Tool::scopes).filter(|scope| scope.class == Class::Read);
        let scope: ScopeSet = reading.chain([Scope::RESOURCES, Scope::PROMPTS]).collect();
        let plain = || ScopeSet::from_iter([Scope::RESOURCES, Scope::PROMPTS]);
        // A header has to stay within what clients and proxies take.
        Some(if scope.len() <= CHALLENGE_SCOPES_MAX { scope } else { plain() })
    }
}

fn step_up_scope(refusal: &Refusal) -> Option<ScopeSet> {
    match refusal {
        Refusal::Decision(DecisionRefusal::StepUp { scope, .. }) => Some(scope.clone()),
        Refusal::Decision(
            DecisionRefusal::Hidden(_)
            | DecisionRefusal::Told(_)
            | DecisionRefusal::ToldOfCall(_)
            | DecisionRefusal::TokenStopped
            | DecisionRefusal::Waits(_),
        )
        | Refusal::Head(_)
        | Refusal::Credential(_)
        | Refusal::Message(_)
        | Refusal::AuthorityStale
        | Refusal::JournalUnavailable
        | Refusal::Limited(_)
        | Refusal::Upstream(_) => None,
    }
}

/// MCP 2026-07-28, Versioning, Protocol Version Negotiation: what was asked for and what there is.
fn version_data(refusal: &Refusal) -> ErrorData<'_> {
    match refusal {
        Refusal::Message(MessageRefusal::VersionUnsupported { requested, supported }) => {
            ErrorData { requested_version: Some(requested), supported, ..ErrorData::default() }
        }
        Refusal::Message(_)
        | Refusal::Decision(_)
        | Refusal::Head(_)
        | Refusal::Credential(_)
        | Refusal::AuthorityStale
        | Refusal::JournalUnavailable
        | Refusal::Limited(_)
        | Refusal::Upstream(_) => ErrorData::default(),
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "Ed25519", "PS256"];
const CHALLENGE_SCOPES_MAX: usize = 64;
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
