//! How a public endpoint refuses: one journal entry, one answer.

use attorn_audit::Entry;
use attorn_journal::JournalUnavailable;
use attorn_net::Body;
use attorn_oauth::error::{ErrorCode, TokenError};
use attorn_registry::ReasonCode;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::hop::RefusedHop;
use crate::http::{DPOP_NONCE, json_answer, set};
use crate::keys::KeyError;
use crate::limits::Limited;
use crate::shared::Shared;

/// Why a client gets nothing, with what only the journal is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the client is told.
    pub(crate) error: TokenError,
    /// The full reason.
    pub(crate) reason: ReasonCode,
    /// Who the client claims to be; proven or not.
    pub(crate) client_id: Option<String>,
    /// What the policies did not permit, where they were asked.
    pub(crate) hop: Option<Box<RefusedHop>>,
}

/// Why an endpoint does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// The client's fault, or the registry's verdict.
    Refused(Refused),
    /// Too many requests, or too many that failed.
    Limited(Limited),
    /// Ours: the journal or the keys are not there.
    Unavailable,
}

impl Refused {
    pub(crate) fn of(error: TokenError, client_id: Option<&str>) -> Self {
        let client_id = client_id.map(str::to_owned);
        Self { reason: error.reason(), error, client_id, hop: None }
    }
}

impl From<Refused> for Unserved {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl<E: Into<TokenError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::of(error.into(), None)
    }
}

impl From<TokenError> for Unserved {
    fn from(error: TokenError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<JournalUnavailable> for Unserved {
    fn from(_: JournalUnavailable) -> Self {
        Self::Unavailable
    }
}

impl From<Limited> for Unserved {
    fn from(limited: Limited) -> Self {
        Self::Limited(limited)
    }
}

impl From<KeyError> for Unserved {
    fn from(_: KeyError) -> Self {
        Self::Unavailable
    }
}

/// Records a refusal and answers it. `about` says what was asked; a refusal that cannot be recorded
/// is answered with 503 and tells nothing. The call for a nonce is no refusal but a step: without
/// it, nobody could set a lock while the journal is full.
pub(crate) async fn answer(shared: &Shared, about: Entry, unserved: Unserved) -> Response<Body> {
    let refused = match unserved {
        Unserved::Refused(refused) => refused,
        Unserved::Limited(limited) => return too_many(shared, about, limited).await,
        Unserved::Unavailable => return unavailable(),
    };
    shared.telemetry.calls.refused(refused.reason);
    let about = match refused.hop {
        Some(hop) => hop.note(about),
        None => about,
    };
    let entry = Entry { client_id: refused.client_id, ..about };
    let code = refused.error.code();
    let recorded = shared.note_refusal(entry, refused.reason).await.is_ok();
    if !recorded && code != ErrorCode::UseDpopNonce {
        return unavailable();
    }
    let status = StatusCode::from_u16(refused.error.http_status());
    let mut answer =
        error(status.unwrap_or(StatusCode::BAD_REQUEST), code, refused.error.description());
    if answer.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2: a 401 names a scheme.
        set(&mut answer, WWW_AUTHENTICATE, "DPoP");
    }
    if code == ErrorCode::UseDpopNonce {
        // RFC 9449 section 8: one nonce, for the next attempt.
        set(&mut answer, DPOP_NONCE, &shared.new_nonce());
    }
    answer
}

/// RFC 6585 section 4: when to come again. It stands whether or not it can be recorded.
async fn too_many(shared: &Shared, mut about: Entry, limited: Limited) -> Response<Body> {
    shared.telemetry.calls.limit_hit(limited.limit);
    shared.telemetry.calls.refused(ReasonCode::RateLimited);
    about.detail.insert("limit".to_owned(), limited.limit.as_str().to_owned());
    let _recorded = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
    let (status, code) = (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TemporarilyUnavailable);
    let mut answer = error(status, code, "too many requests");
    set(&mut answer, RETRY_AFTER, &limited.retry_after_s().to_string());
    answer
}

/// RFC 6749 section 5.2: the form of an error.
pub(crate) fn error(status: StatusCode, code: ErrorCode, description: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": code.as_str(), "error_description": description });
    json_answer(status, body.to_string())
}

/// Ours to mend: nothing was issued, changed or told.
pub(crate) fn unavailable() -> Response<Body> {
    let code = ErrorCode::TemporarilyUnavailable;
    error(StatusCode::SERVICE_UNAVAILABLE, code, "try again in a moment")
}
