//! The walk of one request. Read this file first.
//!
//! The order is a security property. Nothing of the operation is looked at before the caller proved
//! its key, so that a stranger learns nothing of what there is; nothing outside happens between the
//! decision and its recorded intent; what goes on is a new request.

use std::sync::Arc;

use attorn_enforce::circuit::Attempt;
use attorn_enforce::host;
use attorn_enforce::limited::Limited;
use attorn_enforce::record::{Recorded, durability};
use attorn_net::{Body, Peer};
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_policy::HopPermit;
use attorn_registry::{Class, Matched, ReasonCode, Resource, Scope, ServerId};
use attorn_telemetry::Limit;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, request};
use http_body::Body as HttpBody;

use crate::access::{Access, Caller};
use crate::body::{GuardedBody, Sent};
use crate::guard::Inner;
use crate::headers;
use crate::refusal::{DecisionRefusal, HeadRefusal, Refusal};
use crate::target::Target;

/// A request that may go on: its intent is in the journal. Dropped without an answer it records that
/// the caller gave up.
#[derive(Debug)]
#[must_use]
pub(crate) struct Admitted {
    pub(crate) access: Access,
    pub(crate) recorded: Recorded<Permit>,
    pub(crate) sent: Arc<Sent>,
    pub(crate) target: Target,
    pub(crate) attempt: Attempt<ServerId>,
}

/// Proof that a request may go on. Only [`Access::decide`] makes one.
#[derive(Debug)]
pub(crate) struct Permit {
    class: Class,
    caller: Caller,
    // Invariant: what the policies said of this request. Held, not read.
    _hop: HopPermit,
}

/// Judges a request. Gives it back as the API may see it, or the answer.
pub(crate) async fn admit<B>(
    guard: &Arc<Inner>,
    request: Request<B>,
) -> Result<(Admitted, Request<GuardedBody<B>>), Response<Body>>
where
    B: HttpBody<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    let target = Target::of(&head.uri, &guard.api.url).with_body(&head, body.is_end_stream());
    let mut access = Access::new(Arc::clone(guard), &head, &target);
    let (permit, headers) = match access.judge(&head, &target, body.size_hint().lower()).await {
        Ok(judged) => judged,
        Err(refusal) => return Err(access.refuse(&refusal).await),
    };

    // 6. The API is not left alone: what finds it so never was.
    let caller = permit.caller.server.clone();
    let attempt = match guard.circuit.admit(caller).map_err(Limited::by(Limit::Circuit)) {
        Ok(attempt) => attempt,
        Err(limited) => return Err(access.refuse(&Refusal::Limited(limited)).await),
    };

    // 7. The intent is recorded before anything leaves.
    let (caller, durability) = (permit.caller.clone(), durability(permit.class));
    let recorded = guard.recorder.intent(permit, &mut access.entry, durability).await;
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(unavailable) => {
            tracing::error!(%unavailable, "an intent could not be recorded; nothing is forwarded");
            return Err(access.refuse(&Refusal::JournalUnavailable).await);
        }
    };
    access.course.note_recorded();
    guard.counted.permitted.add_one();

    // 8. A new request, made from what was decided.
    let (body, sent) = GuardedBody::new(body, guard.api.body_bytes_max.get());
    let mut next = Request::new(body);
    *next.method_mut() = head.method;
    *next.uri_mut() = head.uri;
    *next.headers_mut() = headers;
    next.extensions_mut().insert(caller);
    Ok((Admitted { access, recorded, sent, target, attempt }, next))
}

impl Access {
    async fn judge(
        &mut self,
        head: &request::Parts,
        target: &Target,
        body_bytes_min: u64,
    ) -> Result<(Permit, http::HeaderMap), Refusal> {
        let guard = self.guard();
        // 0. Who may not have heard of a lock answers nothing.
        if !guard.freshness.is_fresh() {
            return Err(Refusal::AuthorityStale);
        }
        // 1. The head: for us, and of a size that is taken.
        guard.verify_host(head)?;
        guard.verify_size(head, body_bytes_min)?;
        // 2 and 3. A token that was issued for this API, and proof of its key, which is burned.
        let proven = self.enter(head, target).await?;
        // 4 and 5. The API, the operation, its scopes, all that the token rests on, and the policies.
        let permit = self.decide(head, target, proven.token.claims())?;
        let told = (&self.trace, guard.api.request_id_header.name());
        let headers = headers::forwarded(&head.headers, &permit.caller, told);
        Ok((permit, headers.ok_or(DecisionRefusal::Identity)?))
    }

    /// Whether a proven caller may do what it asks for: now, by the snapshot in force.
    fn decide(
        &mut self,
        head: &request::Parts,
        target: &Target,
        claims: &AccessTokenClaims<ServerId>,
    ) -> Result<Permit, DecisionRefusal> {
        let view = Arc::clone(&self.view);
        let snapshot = &view.snapshot;
        let standing = DecisionRefusal::Standing;
        let resource = snapshot.resource_at(self.guard().api.url.as_str());
        let resource = resource.ok_or(DecisionRefusal::Standing(ReasonCode::ResourceUnknown))?;
        self.entry.downstream_resource = Some(resource.id.to_string());
        snapshot.verify_resource(resource, self.now_s).map_err(standing)?;
        // All that the API could take the request for, not only what it should.
        let matched = operation(resource, head, target).ok_or(DecisionRefusal::OperationUnknown)?;
        self.note_operation(&matched);
        if !matched.needed.is_subset(&claims.scope) {
            return Err(DecisionRefusal::ScopeMissing(matched.needed));
        }
        // A token of this kind that verified has a parent.
        let of = claims
            .downstream_use()
            .ok_or(DecisionRefusal::Standing(ReasonCode::DelegationNotAllowed))?;
        let left = snapshot.downstream_scopes(resource, (&of, &claims.scope), self.now_s);
        let left = left.map_err(standing)?;
        // What the rules gave when the token was issued, and give no more.
        if !matched.needed.is_subset(&left) {
            return Err(standing(ReasonCode::ScopeMissing));
        }
        let parent = claims
            .parent
            .as_ref()
            .ok_or(DecisionRefusal::Standing(ReasonCode::DelegationNotAllowed))?;
        let hop = self.ask_policies((claims, parent), resource, &matched.needed)?;
        let actors = std::iter::successors(claims.act.as_ref(), |actor| actor.act.as_deref());
        let caller = Caller {
            subject: claims.sub.to_string(),
            actors: actors.map(|actor| actor.sub.clone()).collect(),
            agent: parent.client_id.clone(),
            approval: claims.attorn_approval.clone(),
            server: claims.client_id.clone(),
            operation: matched.operation.id.as_str().to_owned(),
            decision_id: self.decision_id().to_owned(),
            token_id: claims.jti.clone(),
            scope: matched.needed,
        };
        let class = caller.scope.iter().map(|scope: &Scope| scope.class).max();
        Ok(Permit { class: class.unwrap_or(Class::Irreversible), caller, _hop: hop })
    }
}

fn operation<'r>(
    resource: &'r Resource,
    head: &request::Parts,
    target: &Target,
) -> Option<Matched<'r>> {
    target.operation(resource, head.method.as_str())
}

impl Inner {
    /// RFC 9110 section 7.4: addressed to this API, by one name.
    fn verify_host(&self, head: &request::Parts) -> Result<(), HeadRefusal> {
        let host = host::addressed(head).ok_or(HeadRefusal::Host)?;
        let peer = head.extensions.get::<Peer>();
        if peer.is_some_and(|peer| peer.is_misdirected(&head.uri, &head.headers)) {
            return Err(HeadRefusal::Host);
        }
        // RFC 9110 section 4.2.3: the host is case-insensitive.
        let own = std::iter::once(self.api.url.authority());
        let mut names = own.chain(self.api.hosts.iter().map(String::as_str));
        let is_own = names.any(|name| name.eq_ignore_ascii_case(host));
        if is_own { Ok(()) } else { Err(HeadRefusal::Host) }
    }

    /// What says of itself that it is too long is not begun.
    fn verify_size(&self, head: &request::Parts, body_bytes_min: u64) -> Result<(), HeadRefusal> {
        let declared = host::single(&head.headers, &CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
        if declared.max(body_bytes_min) > self.api.body_bytes_max.get() {
            return Err(HeadRefusal::BodyTooLong);
        }
        Ok(())
    }
}
