//! The walk of one request on its way out. Read this file first.
//!
//! A request belongs to one call, or it does not leave. What it may do is what the rules give for the
//! right that the call used. The intent is recorded before anything leaves.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Entry, Kind, Outcome};
use attorn_enforce::course::{Course, Ended};
use attorn_enforce::record::{AccessEnd, Ending, Recorded, durability};
use attorn_enforce::trace::TraceContext;
use attorn_guard::headers::{answered, carried};
use attorn_guard::target::Target;
use attorn_net::Body;
use attorn_registry::{
    Ancestor, Class, DecisionId, DownstreamUse, McpServer, ReasonCode, Resource, Scope, ScopeSet,
    ScopeTarget, Snapshot,
};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, request};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use url::Url;

use crate::calls::OpenCall;
use crate::credential::Credential;
use crate::egress::{Inner, Rule};
use crate::lane::Current;
use crate::refusal::Refusal;

/// How a request is attributed to a call.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// To the call that a child works on.
    Child(Current),
    /// To the call in whose trace it is.
    Trace,
}

/// Proof that a request may leave. Only [`Outbound::decide`] makes one.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) needed: ScopeSet,
    class: Class,
}

/// One request, and what is known about it.
pub(crate) struct Outbound {
    pub(crate) egress: Arc<Inner>,
    pub(crate) rule: Arc<Rule>,
    snapshot: Arc<Snapshot>,
    pub(crate) entry: Entry,
    /// The caller's, once it is known which call it belongs to; else what the server sent.
    pub(crate) trace: TraceContext,
    pub(crate) course: Course,
    pub(crate) started_ms: u64,
    now_s: u64,
}

/// What leaves, as often as it has to.
struct Sendable {
    method: Method,
    uri: Uri,
    /// What a proof names.
    proven: Url,
    headers: HeaderMap,
    body: Bytes,
}

/// Answers one request of a server.
pub(crate) async fn handle<B>(
    egress: Arc<Inner>,
    rule: Arc<Rule>,
    (by, hosts): (By, Arc<[String]>),
    request: Request<B>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let mut outbound = Outbound::new(egress, rule, &head);
    match outbound.pass((&by, &hosts), head, body).await {
        Ok(response) => response,
        Err(refusal) => outbound.refuse(refusal).await,
    }
}

impl Outbound {
    fn new(egress: Arc<Inner>, rule: Arc<Rule>, head: &request::Parts) -> Self {
        let (now_ms, snapshot) = (egress.clock.now_ms(), egress.published.load());
        let mut entry = Entry::new(Kind::ResourceAccessed, now_ms);
        entry.role = Some(ROLE.to_owned());
        entry.decision_id = Some(DecisionId::from_random(&egress.random.bytes()).to_string());
        entry.method = Some(head.method.as_str().to_owned());
        entry.server = rule.server(&snapshot).map(|server| server.id.to_string());
        let parent = attorn_enforce::host::single(&head.headers, &TRACEPARENT);
        let trace = TraceContext::continued(parent, None, &egress.random.bytes());
        let mut course = Course::default();
        course.note_trace(&egress.telemetry.tracer, &trace);
        let now_s = now_ms / 1000;
        Self { egress, rule, snapshot, entry, trace, course, started_ms: now_ms, now_s }
    }

    async fn pass<B>(
        &mut self,
        (by, hosts): (&By, &[String]),
        head: request::Parts,
        body: B,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // 0. Who may not have heard of a lock lets nothing out.
        if !self.egress.freshness.is_fresh() {
            return Err(Refusal::AuthorityStale);
        }
        verify_host(&head, hosts)?;
        let rule = Arc::clone(&self.rule);
        let _place = rule.places.try_acquire().map_err(|_full| Refusal::Busy)?;
        // 1. The call it belongs to.
        let snapshot = Arc::clone(&self.snapshot);
        let server = self.rule.server(&snapshot).ok_or(Refusal::Unattributed)?;
        let call = self.attribute(by, server, &head)?;
        self.note_call(&call);
        self.join(&call.trace);
        // 2. The API, the operation, and whether the called tool gives what it needs.
        let url = &self.rule.config.resource;
        let resource = snapshot.resource_at(url.as_str());
        let resource = resource.ok_or(Refusal::Standing(ReasonCode::ResourceUnknown))?;
        let target = self.target(&head.uri).ok_or(Refusal::OperationUnknown)?;
        let target = target.with_body(&head, body.is_end_stream());
        let permit = self.decide(&call, (server, resource), &head.method, &target)?;
        // 3. The request as it will leave.
        let sendable = self.sendable(&head, &target, body).await?;
        // 4. What it is let in with there.
        let credential = self.credential(&call, server, &permit).await?;
        // 5. All of it once more: the call may have ended meanwhile, and a lock may have come.
        let permit = self.judge_again((by, &head, &target), &call)?;
        // 6. The intent, before anything leaves.
        let durability = durability(permit.class);
        let recorded = self.egress.recorder.intent(permit, &mut self.entry, durability).await;
        let recorded = recorded.map_err(|unavailable| {
            tracing::error!(%unavailable, "an intent could not be recorded; nothing leaves");
            Refusal::JournalUnavailable
        })?;
        self.course.note_recorded();
        // 7. The API, and how it ended.
        Ok(self.ask(sendable, &credential, recorded).await)
    }

    /// The same questions to the registry as it is now.
    fn judge_again(
        &mut self,
        (by, head, target): (&By, &request::Parts, &Target),
        call: &Arc<OpenCall>,
    ) -> Result<Permit, Refusal> {
        if !self.egress.freshness.is_fresh() {
            return Err(Refusal::AuthorityStale);
        }
        self.snapshot = self.egress.published.load();
        self.now_s = self.egress.clock.now_s();
        let snapshot = Arc::clone(&self.snapshot);
        let server = self.rule.server(&snapshot).ok_or(Refusal::Unattributed)?;
        if !Arc::ptr_eq(&self.attribute(by, server, head)?, call) {
            return Err(Refusal::Unattributed);
        }
        let resource = snapshot.resource_at(self.rule.config.resource.as_str());
        let resource = resource.ok_or(Refusal::Standing(ReasonCode::ResourceUnknown))?;
        self.decide(call, (server, resource), &head.method, target)
    }

    fn attribute(
        &self,
        by: &By,
        server: &McpServer,
        head: &request::Parts,
    ) -> Result<Arc<OpenCall>, Refusal> {
        let calls = &self.egress.calls;
        let found = match by {
            By::Child(current) => {
                let current = current.get().ok_or(Refusal::Unattributed)?;
                calls.call(current)
            }
            By::Trace => {
                let parent = attorn_enforce::host::single(&head.headers, &TRACEPARENT);
                let parent = parent.ok_or(Refusal::Unattributed)?;
                let trace =
                    TraceContext::continued(Some(parent), None, &self.egress.random.bytes());
                calls.of_trace(&server.id, trace.trace_id())
            }
        };
        found.map_err(|_| Refusal::Unattributed).and_then(|call| {
            if call.server == server.id { Ok(call) } else { Err(Refusal::Unattributed) }
        })
    }

    /// What the call is known by, so that the chain is joined by names and not by times.
    fn note_call(&mut self, call: &OpenCall) {
        let (of, entry) = (&call.entry, &mut self.entry);
        entry.actor_chain.clone_from(&of.actor_chain);
        entry.agent.clone_from(&of.agent);
        entry.agent_key.clone_from(&of.agent_key);
        entry.approval.clone_from(&of.approval);
        entry.owner.clone_from(&of.owner);
        entry.server_key.clone_from(&of.server_key);
        entry.subject.clone_from(&of.subject);
        entry.token_jti.clone_from(&of.token_jti);
        entry.tool.clone_from(&of.tool);
        entry.trace_id.clone_from(&of.trace_id);
        entry.detail.extend(of.decision_id.clone().map(|id| ("call".to_owned(), id)));
    }

    /// The address stands for the API's URL: what comes after it comes after that.
    fn target(&self, sent: &Uri) -> Option<Target> {
        let api = &self.rule.config.resource;
        let own = api.path().strip_suffix('/').unwrap_or_else(|| api.path());
        let path = match (sent.path(), own) {
            ("/", _) => api.path().to_owned(),
            (path, own) => format!("{own}{path}"),
        };
        let query = sent.query().map_or(String::new(), |query| format!("?{query}"));
        let uri: Uri = format!("{path}{query}").parse().ok()?;
        let target = Target::of(&uri, api);
        target.below.is_some().then_some(target)
    }

    /// The rules of the API, for the right that the call used and the agent still has.
    fn decide(
        &mut self,
        call: &OpenCall,
        (server, resource): (&McpServer, &Resource),
        method: &Method,
        target: &Target,
    ) -> Result<Permit, Refusal> {
        self.entry.downstream_resource = Some(resource.id.to_string());
        self.entry.arguments_digest = Some(self.egress.recorder.digest(target.text().as_bytes()));
        self.snapshot.verify_resource(resource, self.now_s).map_err(Refusal::Standing)?;
        let matched = target.operation(resource, method.as_str());
        let matched = matched.ok_or(Refusal::OperationUnknown)?;
        let operation = matched.operation.id.as_str().to_owned();
        self.entry.detail.insert("operation".to_owned(), operation);
        self.entry.class = Some(matched.operation.class.as_str().to_owned());
        self.entry.scope = Some(matched.needed.to_string());
        let claims = call.token.claims();
        if self.now_s >= claims.exp {
            return Err(Refusal::Standing(ReasonCode::TokenExpired));
        }
        call.verify_shown()?;
        let parent = Ancestor {
            client_id: claims.client_id.clone(),
            jti: claims.jti.clone(),
            key: claims.cnf.key(),
        };
        let of = DownstreamUse {
            server: &server.id,
            jti: &claims.jti,
            key: server.active_key().ok_or(Refusal::KeyUnavailable)?.jkt,
            epoch: claims.epoch,
            issued_s: claims.iat,
            grant: claims.grt.as_ref(),
            person: claims.sub.person(),
            parent: &parent,
        };
        let held = self.snapshot.verify_lineage(&of, self.now_s).map_err(Refusal::Standing)?;
        // A right that the token limits by arguments ends at the server, which alone sees them.
        let details = claims.authorization_details.as_ref();
        let is_free = |scope: &&Scope| match (&scope.tool, details) {
            (ScopeTarget::Tool(tool), Some(details)) => {
                details.as_slice().iter().all(|detail| detail.tool != *tool)
            }
            (ScopeTarget::Tool(_), None) | (ScopeTarget::Prompts | ScopeTarget::Resources, _) => {
                true
            }
        };
        let used: ScopeSet = held.intersect(&call.scope).iter().filter(is_free).cloned().collect();
        let given = resource.scopes_for(&server.id, &used);
        if !matched.needed.is_subset(&given) {
            return Err(Refusal::ScopeMissing);
        }
        let class = matched.needed.iter().map(|scope| scope.class).max();
        Ok(Permit { class: class.unwrap_or(Class::Irreversible), needed: matched.needed })
    }

    async fn sendable<B>(
        &self,
        head: &request::Parts,
        target: &Target,
        body: B,
    ) -> Result<Sendable, Refusal>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let config = &self.rule.config;
        let most = usize::try_from(config.body_bytes_max.get()).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect();
        let body = tokio::time::timeout(BODY_COMES, body).await;
        let body = body.ok().and_then(Result::ok).ok_or(Refusal::Body)?.to_bytes();
        let mut headers = carried(&head.headers, config.request_id_header.name());
        let parent = HeaderValue::from_str(&self.trace.traceparent());
        headers.extend(parent.ok().map(|parent| (TRACEPARENT, parent)));
        let at = match &config.upstream {
            Some(upstream) => upstream.as_str(),
            None => config.resource.as_str(),
        };
        let below = target.below.as_deref().unwrap_or_default();
        let query = target.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        let base = if below.is_empty() { at } else { at.strip_suffix('/').unwrap_or(at) };
        let uri = format!("{base}{below}{query}").parse();
        let uri = uri.map_err(|_| Refusal::OperationUnknown)?;
        let proven = Url::parse(&target.htu).map_err(|_| Refusal::OperationUnknown)?;
        Ok(Sendable { method: head.method.clone(), uri, proven, headers, body })
    }

    /// Sends it, and once more where the API only wants its nonce: it did nothing then.
    async fn ask(
        &mut self,
        sendable: Sendable,
        credential: &Credential,
        recorded: Recorded<Permit>,
    ) -> Response<Body> {
        let mut answer = self.send(&sendable, credential).await;
        if let (Ok((head, _)), Credential::Token(..)) = (&answer, credential)
            && head.status == http::StatusCode::UNAUTHORIZED
            && self.rule.exchanger.learn(&sendable.proven, &head.headers)
            && wants_nonce(&head.headers)
        {
            answer = self.send(&sendable, credential).await;
        }
        self.course.note_replied();
        let request_bytes = u64::try_from(sendable.body.len()).unwrap_or(u64::MAX);
        let (mut head, body) = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                let access = AccessEnd { request_id: None, request_bytes, response_bytes: 0 };
                recorded.end(Ending {
                    reason: Some(reason),
                    access: Some(access),
                    ..Ending::new(Outcome::UpstreamError)
                });
                self.tell(Ended::Failed(reason));
                return self.rendered(Refusal::Upstream(reason));
            }
        };
        if let Credential::Token(..) = credential {
            self.rule.exchanger.learn(&sendable.proven, &head.headers);
        }
        let request_id = self.rule.config.request_id_header.of(&head.headers);
        let response_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        recorded.end(Ending {
            status: Some(head.status.as_u16()),
            access: Some(AccessEnd { request_id, request_bytes, response_bytes }),
            ..Ending::new(Outcome::Ok)
        });
        self.tell(Ended::Answered);
        answered(&mut head.headers);
        head.headers.remove(http::header::CONTENT_LENGTH);
        Response::from_parts(head, Body::full(body))
    }

    async fn send(
        &self,
        sendable: &Sendable,
        credential: &Credential,
    ) -> Result<(http::response::Parts, Bytes), ReasonCode> {
        let mut request = Request::new(sendable.body.clone());
        *request.method_mut() = sendable.method.clone();
        *request.uri_mut() = sendable.uri.clone();
        *request.headers_mut() = sendable.headers.clone();
        match credential {
            Credential::Static(name, value) => {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            Credential::Token(identity, token) => {
                let of = (&sendable.method, &sendable.proven);
                let bound = self.rule.exchanger.bind(&identity.key, of, token);
                request.headers_mut().extend(bound.map_err(|_| ReasonCode::ClientAuthentication)?);
            }
        }
        let config = &self.rule.config;
        let response = self.rule.client.send_within(request, config.answer_within()).await;
        let response = response.map_err(|error| {
            tracing::warn!(resource = config.resource.as_str(), %error, "the API gave no answer");
            ReasonCode::DownstreamUnreachable
        })?;
        let most = usize::try_from(config.body_bytes_max.get()).unwrap_or(usize::MAX);
        let (head, body) = response.into_parts();
        let body = body.bytes(most).await.map_err(|_| ReasonCode::DownstreamProtocol)?;
        Ok((head, body))
    }

    async fn refuse(self, refusal: Refusal) -> Response<Body> {
        let reason = refusal.reason();
        self.egress.telemetry.calls.refused(reason);
        self.tell(Ended::Refused(reason));
        let response = self.rendered(refusal);
        self.egress.recorder.refusal(self.entry, reason).await;
        response
    }

    fn rendered(&self, refusal: Refusal) -> Response<Body> {
        let body = json!({
            "error": refusal.status().canonical_reason().unwrap_or("refused"),
            "reason": refusal.reason().as_str(),
            "decision_id": self.entry.decision_id,
        });
        let mut response = Response::new(Body::full(body.to_string()));
        *response.status_mut() = refusal.status();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// Addressed by the name it was given out under, and not by a web page: a page can be made to ask
/// loopback addresses, by a name of its own (DNS rebinding) or without reading the answer.
fn verify_host(head: &request::Parts, hosts: &[String]) -> Result<(), Refusal> {
    let host = attorn_enforce::host::addressed(head).ok_or(Refusal::Host)?;
    let is_ours = hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
    let is_page = [ORIGIN, SEC_FETCH_SITE].iter().any(|name| head.headers.contains_key(name));
    if is_ours && !is_page { Ok(()) } else { Err(Refusal::Host) }
}

/// RFC 9449 section 9: the one challenge after which the same request may be sent again.
fn wants_nonce(headers: &HeaderMap) -> bool {
    let challenges = headers.get_all(http::header::WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).any(|text| text.contains("use_dpop_nonce"))
}

const ROLE: &str = "egress";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const BODY_COMES: Duration = Duration::from_secs(30);
