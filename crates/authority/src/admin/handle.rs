//! The walk of one admin request: admit, read, admit again, record, run, publish, record, answer.

use std::sync::Arc;

use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::JournalUnavailable;
use attorn_net::Body;
use attorn_registry::ApprovalId;
use axum::extract::{RawPathParams, Request};
use http::header::ETAG;
use http::{HeaderMap, Response, StatusCode};

use super::context::Context;
use super::guard::{self, Unadmitted};
use super::operation::Operation;
use super::precondition;
use super::refusal::Refusal;
use super::route::{Done, Input, Route};
use crate::http::{BodyRefusal, DPOP_NONCE, json_answer, read_body, set};
use crate::shared::{Recorded, Shared};

/// Answers one request to `operation`.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    operation: Operation,
    route: &Route,
    segments: RawPathParams,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (now_ms, snapshot) = (shared.clock.now_ms(), shared.published.load());
    let decision_id = shared.new_decision_id().to_string();
    // Whose arguments were looked at, too.
    let approval = segments.iter().find(|(name, _)| *name == "approval");
    let approval = approval.and_then(|(_, text)| ApprovalId::parse(text).ok());
    let about = Entry {
        approval: approval.map(String::from),
        decision_id: Some(decision_id.clone()),
        method: Some(operation.row().method.as_str().to_owned()),
        server: snapshot.server_named(super::SERVER_NAME).map(|server| server.id.to_string()),
        tool: Some(operation.row().id.to_owned()),
        ..shared.entry_from(&head, Kind::AdminRefused, now_ms)
    };
    let admitted = guard::admit(&shared, &snapshot, operation, &head, now_ms / 1000);
    let operator = match admitted {
        Ok(operator) => operator,
        Err(refusal) => return unadmitted(&shared, operation, about, &refusal).await,
    };
    let about = operator.describe(about);
    let context = Context {
        shared: Arc::clone(&shared),
        snapshot,
        operator,
        decision_id,
        now_ms,
        segments: segments.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    let ran = match read_body(body, BODY_BYTES_MAX).await {
        Ok(body) => {
            let asked = (Input { query, body }, &head.headers);
            run(context, operation, route, asked, &about).await
        }
        Err(BodyRefusal::TooLong) => Err(Refusal::BodyTooLong.into()),
        Err(BodyRefusal::Broken) => Err(Refusal::Form.into()),
    };
    match ran {
        Ok(done) => {
            let mut answer = json_answer(StatusCode::OK, done.body);
            done.entity_tag.iter().for_each(|tag| set(&mut answer, ETAG, tag));
            fresh_nonce(&shared, answer)
        }
        Err(Stopped::Refused(refusal)) => refused(&shared, about, &refusal).await,
        Err(Stopped::Unadmitted(refusal)) => unadmitted(&shared, operation, about, &refusal).await,
    }
}

/// Why an admitted request is not done.
enum Stopped {
    Refused(Refusal),
    Unadmitted(Unadmitted),
}

impl<E: Into<Refusal>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

async fn run(
    context: Context,
    operation: Operation,
    route: &Route,
    (input, headers): (Input, &HeaderMap),
    about: &Entry,
) -> Result<Done, Stopped> {
    let shared = Arc::clone(&context.shared);
    let mut intent = Entry {
        decision: Some(Decision::Permit),
        kind: intent_kind(operation, route),
        ..about.clone()
    };
    if matches!(operation, Operation::RegistryApply | Operation::ResourceOperationImport) {
        // The one entry of the whole names the file; each change has one of its own after it.
        let digest = super::tools::hex(&attorn_jose::sha256(&input.body));
        intent.detail.insert("sha256".to_owned(), digest);
    }
    if !route.is_change {
        let context = context.renewed(operation).map_err(Stopped::Unadmitted)?;
        // Gateways ask all the time, and must hear of a lock also when the journal takes nothing.
        if operation != Operation::RegistryFollow {
            let _read = shared.note(&intent).await?;
        }
        let entity_tag = precondition::entity_tag(operation, &context.snapshot);
        return Ok(Done { entity_tag, ..route.run(context, input).await? });
    }
    let takes_away = operation.takes_away();
    // What the operation checks against the registry must still hold when it writes.
    let _alone = if takes_away { shared.turns.urgent().await } else { shared.turns.next().await };
    let context = context.renewed(operation).map_err(Stopped::Unadmitted)?;
    precondition::verify(operation, headers, &context.snapshot)?;
    // If the process dies after this line, the journal shows a change that may not have happened.
    // What takes rights away must work while the journal refuses all else.
    let _intended = record(&shared, &intent, takes_away).await?;
    let mut done = route.run(context, input).await?;
    // In force before it is told; a lock does not wait for its own entry.
    let published = shared.publish().await.map_err(|error| {
        tracing::error!(%error, "a change is stored and cannot be confirmed");
        Refusal::StoreUnavailable
    });
    // It is stored, so it is told in the journal whether or not it can be confirmed to its caller.
    for fact in done.facts.take().unwrap_or_default() {
        let _told = record(&shared, &fact, takes_away).await?;
    }
    published?;
    done.entity_tag = precondition::entity_tag(operation, &shared.published.load());
    Ok(done)
}

/// What leaves as a bundle is told apart from what is looked at.
fn intent_kind(operation: Operation, route: &Route) -> Kind {
    if route.is_change {
        return Kind::AdminChanged;
    }
    if operation == Operation::AuditExport { Kind::AdminExported } else { Kind::AdminRead }
}

async fn record(
    shared: &Shared,
    entry: &Entry,
    takes_away: bool,
) -> Result<Recorded, JournalUnavailable> {
    if takes_away { shared.record_emergency(entry).await } else { shared.record(entry).await }
}

/// Tells why a request was not admitted. No refusal leaves unrecorded; the call for a nonce is
/// none.
async fn unadmitted(
    shared: &Shared,
    operation: Operation,
    about: Entry,
    refusal: &Unadmitted,
) -> Response<Body> {
    let decision_id = about.decision_id.clone().unwrap_or_default();
    let entry = Entry { kind: refusal.kind(), ..about };
    let recorded = shared.note_refusal(entry, refusal.reason()).await.is_ok();
    if !recorded && !refusal.asks_for_nonce() {
        return Refusal::JournalUnavailable.answer(&decision_id);
    }
    fresh_nonce(shared, refusal.answer(shared, operation, &decision_id))
}

async fn refused(shared: &Shared, about: Entry, refusal: &Refusal) -> Response<Body> {
    let decision_id = about.decision_id.clone().unwrap_or_default();
    let mut entry = Entry {
        decision: Some(Decision::Deny),
        reason: Some(refusal.reason().as_str().to_owned()),
        ..about
    };
    entry.detail.extend(refusal.places().map(|places| ("faults".to_owned(), places)));
    if shared.note(&entry).await.is_err() {
        return Refusal::JournalUnavailable.answer(&decision_id);
    }
    fresh_nonce(shared, refusal.answer(&decision_id))
}

/// RFC 9449 section 8.2: every answer brings the nonce of the next proof.
fn fresh_nonce(shared: &Shared, mut answer: Response<Body>) -> Response<Body> {
    set(&mut answer, DPOP_NONCE, &shared.new_nonce());
    answer
}

/// Policies and tests are the longest inputs.
const BODY_BYTES_MAX: usize = 1024 * 1024;
