//! One request on its way through the gateway: what is known about it so far.

use std::net::IpAddr;
use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_enforce::course::Course;
use attorn_enforce::view::View;
use attorn_mcp::{RequestId, Revision};
use attorn_net::Peer;
use attorn_oauth::access_token::{AccessTokenClaims, VerifiedToken};
use attorn_oauth::actor::Actor;
use attorn_oauth::evidence::HeldCertificate;
use attorn_policy::{Operation, Request as PolicyRequest};
use attorn_registry::{AgentId, DecisionId, Holder, McpServer, ReasonCode};

use crate::door::Passage;
use crate::gateway::Inner;
use crate::possession::Proven;
use crate::refusal::DecisionRefusal;
use crate::servers::Behind;
use crate::sessions::Principal;
use crate::tokens::{counts_now, is_from_before_stop};
use crate::trace::TraceContext;

/// What is known about a request. Its entry is the template of every record about it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) gateway: Arc<Inner>,
    /// One view for everything that is decided about the request.
    pub(crate) view: Arc<View>,
    pub(crate) now_s: u64,
    /// Name of the server in the path; not yet known to exist.
    pub(crate) server_name: String,
    pub(crate) entry: Entry,
    /// Known once the message is parsed; every answer carries it then.
    pub(crate) id: Option<RequestId<'static>>,
    pub(crate) revision: Revision,
    /// A nonce to send along.
    pub(crate) nonce: Option<String>,
    /// Where failures are charged to; nowhere behind a listed proxy.
    pub(crate) from: Option<IpAddr>,
    pub(crate) started_ms: u64,
    pub(crate) course: Course,
    /// The server, once a request is on its way there.
    pub(crate) behind: Option<Arc<Behind>>,
    /// It asks for a stream that may rest, which takes no place among the calls.
    pub(crate) rests: bool,
    pub(crate) passage: Option<Passage>,
}

impl Exchange {
    pub(crate) fn new(gateway: Arc<Inner>, server_name: &str) -> Self {
        let view = gateway.views.current();
        let now_ms = gateway.clock.now_ms();
        let mut entry = Entry::new(Kind::CallDecided, now_ms);
        entry.role = Some("gateway".to_owned());
        entry.decision_id = Some(DecisionId::from_random(&gateway.random.bytes()).to_string());
        Self {
            view,
            now_s: now_ms / 1000,
            server_name: server_name.to_owned(),
            entry,
            id: None,
            revision: Revision::WITHOUT_HEADER,
            nonce: None,
            from: None,
            started_ms: now_ms,
            course: Course::default(),
            behind: None,
            rests: false,
            passage: None,
            gateway,
        }
    }

    /// Notes where the request came from, and which listed proxy vouches for its certificate.
    pub(crate) fn note_peer(&mut self, peer: Option<&Peer>) {
        let Some(peer) = peer else { return };
        self.from = peer.charged();
        if let Some(proxy) = &peer.proxy {
            self.entry.detail.insert("proxy".to_owned(), proxy.to_string());
        }
        if let Err(refusal) = peer.client_cert {
            self.entry.detail.insert("client_cert".to_owned(), refusal.to_string());
        }
    }

    /// Notes whose token it is, also when its proof then fails: a stolen token has a name.
    pub(crate) fn note_token(&mut self, token: &VerifiedToken) {
        let claims = token.claims();
        let entry = &mut self.entry;
        entry.agent = Some(claims.client_id.to_string());
        if claims.cnf.is_bearer() {
            // Nobody proved a key: whoever reads the entry has to know.
            entry.detail.insert("bearer".to_owned(), "true".to_owned());
        } else {
            entry.agent_key = Some(claims.cnf.key().to_string());
        }
        entry.audience = Some(claims.aud.clone());
        entry.client_id = Some(claims.client_id.to_string());
        entry.grant = claims.grt.as_ref().map(ToString::to_string);
        entry.actor_chain = claims.act.as_ref().map(Actor::chain);
        entry.subject = Some(claims.sub.to_string());
        entry.token_jti = Some(claims.jti.clone());
        let agent = self.view.snapshot.agent(&claims.client_id);
        entry.owner = agent.and_then(|agent| agent.owner.as_ref()).map(ToString::to_string);
        self.note_consent(claims);
    }

    /// Notes by which consent the agent acts for the person.
    fn note_consent(&mut self, claims: &AccessTokenClaims) {
        let Some((person, server)) = claims.sub.person().zip(self.server()) else { return };
        let (agent, now_s) = (&claims.client_id, self.started_ms / 1000);
        let given = self.view.snapshot.delegation(person, agent, &server.id, now_s);
        let consent = given.ok().map(|given| given.consent().id.to_string());
        self.entry.detail.extend(consent.map(|id| ("consent".to_owned(), id)));
    }

    /// Notes the proof, once it holds.
    pub(crate) fn note_proof(&mut self, proven: &Proven) {
        self.entry.proof_jti = proven.token.proof_jti().map(str::to_owned);
        if !proven.token.claims().cnf.is_bearer() {
            self.entry.proof_key = Some(proven.token.proof_key().to_string());
        }
        self.nonce.clone_from(&proven.nonce);
    }

    /// Notes what is asked for.
    pub(crate) fn note_message(&mut self, method: &str, trace: &TraceContext) {
        self.entry.mcp_version = Some(self.revision.as_str().to_owned());
        self.entry.method = Some(method.to_owned());
        self.entry.request_id = self.id.as_ref().map(ToString::to_string);
        self.entry.trace_id = Some(trace.trace_id().to_owned());
        self.note_trace(trace);
    }

    pub(crate) fn decision_id(&self) -> &str {
        self.entry.decision_id.as_deref().unwrap_or_default()
    }

    /// The server of the path, if it is one a gateway stands in front of.
    pub(crate) fn server(&self) -> Option<&McpServer> {
        self.view.server(&self.server_name)
    }
}

/// A proven caller at one server: what lists and decisions need to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) token: VerifiedToken,
    /// The certificate that the token is bound to, where it came with one.
    pub(crate) certificate: Option<HeldCertificate>,
}

impl Caller {
    pub(crate) fn agent(&self) -> &AgentId {
        &self.token.claims().client_id
    }

    /// Whose right is used.
    pub(crate) fn holder(&self) -> Holder<'_> {
        let claims = self.token.claims();
        Holder { agent: &claims.client_id, person: claims.sub.person() }
    }

    pub(crate) fn principal(&self) -> Principal {
        let claims = self.token.claims();
        Principal {
            subject: claims.sub.to_string(),
            client_id: claims.client_id.to_string(),
            key: claims.cnf.key(),
        }
    }

    /// The question to the policy about `operation`. `None` when no policy is in force.
    pub(crate) fn question<'a>(
        &'a self,
        view: &'a View,
        server: &'a McpServer,
        operation: Operation<'a>,
        now_s: u64,
    ) -> Option<PolicyRequest<'a>> {
        let claims = self.token.claims();
        Some(PolicyRequest {
            snapshot: &view.snapshot,
            policies: view.policies.as_deref()?,
            server,
            agent: &claims.client_id,
            person: claims.sub.person(),
            token_scope: &claims.scope,
            token_jti: &claims.jti,
            token_key: Some(claims.cnf.key()),
            token_details: claims.authorization_details.as_ref(),
            token_epoch: claims.epoch,
            token_issued_s: claims.iat,
            operation,
            arguments: None,
            now_s,
        })
    }

    /// Whether the caller may use `operation` as far as a list shows it.
    pub(crate) fn sees(
        &self,
        view: &View,
        server: &McpServer,
        operation: Operation<'_>,
        now_s: u64,
    ) -> bool {
        self.question(view, server, operation, now_s)
            .is_some_and(|question| attorn_policy::is_visible(&question))
    }

    /// Whether the caller may be here at all: what handshakes and lists need instead of a scope.
    pub(crate) fn verify_standing(
        &self,
        view: &View,
        server: &McpServer,
        now_s: u64,
    ) -> Result<Standing, DecisionRefusal> {
        let claims = self.token.claims();
        let snapshot = &view.snapshot;
        let agent = snapshot.acting(self.holder(), now_s).map_err(DecisionRefusal::Told)?;
        snapshot.verify_server(server).map_err(DecisionRefusal::Told)?;
        let subject = attorn_registry::LockedSubject {
            agent: &claims.client_id,
            person: claims.sub.person(),
            server: &server.id,
            tool: None,
            token_jti: Some(&claims.jti),
            key: Some(claims.cnf.key()),
        };
        // A stream outlives neither the token's epoch nor the key it was opened with.
        if !counts_now(claims, agent, snapshot, now_s) {
            return Err(DecisionRefusal::Told(ReasonCode::TokenRevoked));
        }
        if is_from_before_stop(claims, server, snapshot, now_s) {
            return Err(DecisionRefusal::TokenStopped);
        }
        if snapshot.lock_on(&subject, now_s).is_some() {
            return Err(DecisionRefusal::Told(ReasonCode::LockActive));
        }
        // Whoever has a token without a key can use it, so nothing that it opened outlives it.
        if claims.cnf.is_bearer() && now_s >= claims.exp {
            return Err(DecisionRefusal::Told(ReasonCode::TokenExpired));
        }
        // The owner may have closed the server to tokens without a proof since.
        if claims.cnf.is_bearer() && !server.accepts_bearer(&claims.scope) {
            return Err(DecisionRefusal::Told(ReasonCode::TokenBearerNotAllowed));
        }
        // Whom nobody gave anything here has no business here, not even with a list.
        if let Some(person) = claims.sub.person() {
            let given = snapshot.delegation(person, &claims.client_id, &server.id, now_s);
            if !given.map_err(DecisionRefusal::Told)?.gives_something() {
                return Err(DecisionRefusal::Told(ReasonCode::ScopeMissing));
            }
        }
        Ok(Standing(()))
    }
}

/// Proof that caller and server are active and not locked. It permits handshakes, lists and what
/// belongs to a permitted request; a tool, a resource or a prompt needs a `Permit`.
#[derive(Debug)]
#[must_use]
pub(crate) struct Standing(());
