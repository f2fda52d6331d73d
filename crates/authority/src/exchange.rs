//! Token exchange at `/token`: an MCP server gets a token of its own for the API behind it.
//!
//! Implemented: RFC 8693 for access tokens of ours that were issued for the server which asks. The
//! new token keeps the subject, wraps the chain of actors, is bound to the server's own key or
//! certificate, ends no later than its parent and names it. The proof that the subject token came with
//! is verified again: who only saw a token cannot exchange it. A certificate leaves no proof behind:
//! there the process that saw it in the handshake says so, and nobody else can. Where a person approved
//! the call, the new token names the approval: on the word of the same process, and as the registry
//! knows it. The policies in force are asked about each scope: see [`attorn_policy::decide_hop`].
//! Not implemented: tokens of other issuers, actor tokens, exchange by APIs, subject tokens bound to
//! certificates from servers that exchange by themselves.

use attorn_audit::{Decision, Entry, Kind};
use attorn_jose::{CertificateThumbprint, Jkt};
use attorn_net::Body;
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, VerifiedToken};
use attorn_oauth::actor::Actor;
use attorn_oauth::client_assertion::AuthenticatedClient;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{self, DpopRefusal, NoncePolicy, ProofExpectation, VerifiedProof};
use attorn_oauth::error::TokenError;
use attorn_oauth::evidence::{CertificateEvidenceRefusal, EvidenceFor};
use attorn_oauth::mtls::{CertificateRefusal, PresentedCertificate};
use attorn_oauth::scope::narrow;
use attorn_oauth::token_request::{ACCESS_TOKEN, PresentedClient, TokenExchange};
use attorn_policy::{Approved, HopDenial, HopPermit, HopRequest, PolicySet, decide_hop};
use attorn_registry::{
    Ancestor, ApprovalId, ApprovalState, ApprovalTerms, DownstreamUse, McpServer, ReasonCode,
    Resource, Scope, ScopeSet, ScopeTarget, ServerId, Snapshot,
};
use http::request::Parts;
use http::{Response, StatusCode};

use crate::client;
use crate::hop::{RefusedHop, note_permit};
use crate::http::{DPOP_NONCE, json_answer, set};
use crate::proof::{ALGORITHMS, certificate, verify_proof};
use crate::refused::{Refused, Unserved};
use crate::shared::{Recorded, Shared};
use crate::standing::verify_not_ended;
use crate::token::{Holder, lifetime_s};
use crate::traced;

/// The steps of one exchange. Nothing is burned before everything that can be verified was, but the
/// client's assertion, which is its authentication.
pub(crate) async fn redeem(
    shared: &Shared,
    head: &Parts,
    asked: &TokenExchange,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let certificate = certificate(head);
    // Before the client: a proof that only lacks our nonce must not cost the client its assertion.
    let own = Own::of(shared, (head, &asked.client), certificate.as_ref(), now_s)?;
    let certificate = certificate.as_ref();
    let client = client::authenticate_server(shared, &snapshot, &asked.client, certificate, now_s)?;
    let name = client.client_id().to_string();
    shared.throttle.admit(&name)?;
    let refused = |error| Refused::of(error, Some(&name));
    // Bound to what the server authenticated with and to nothing else: else a server could hand its
    // rights to anybody, and a lock on its key would not end them.
    if own.confirmation().key() != client.key() {
        return Err(refused(TokenError::Possession(DpopRefusal::KeyMismatch)).into());
    }
    let server = snapshot.server(client.client_id());
    let server = server.ok_or_else(|| refused(TokenError::ClientAuthenticationMissing))?;
    let subject = subject_token(shared, server, &asked.subject_token, now_s).map_err(refused)?;
    verify_evidence(shared, server, &subject, asked, now_s).map_err(refused)?;
    let resource = target(&snapshot, server, asked, now_s).map_err(refused)?;
    let approval = verify_approval(shared, server, &subject, asked.approval.as_deref()).await;
    let approval = approval.map_err(|unproven| unproven.of(&name))?;
    let jti = attorn_jose::base64url(&shared.random.bytes::<16>());
    let (subject, cnf) = (&subject, own.confirmation());
    let exchange = Exchange { server, subject, resource, approval, cnf, jti, now_s };
    let scope = exchange.scope(&snapshot, asked.scope.as_ref()).map_err(refused)?;
    let policies = shared.policies.load_full();
    let permitted = exchange.permitted((&snapshot, &policies), (&scope, asked.scope.is_some()));
    let (permit, withheld) = permitted.map_err(|denial| exchange.refused(denial, &name))?;
    let claims = exchange.claims(shared, permit.scopes().clone()).map_err(refused)?;
    // RFC 9449 section 11.1: burned last.
    let holder = own.burn(shared, now_s).map_err(refused)?;
    let keys = shared.keys.in_use()?;
    let token =
        access_token::issue(&claims, &keys.kid, &keys.signer).map_err(|_| Unserved::Unavailable)?;
    let mut about = shared.entry_from(head, Kind::TokenExchanged, now_ms);
    // The call that it is for, where the server says so: only a name, and nothing is decided by it.
    about.trace_id = traced::trace_id(head);
    note_permit(&mut about, &permit, &withheld);
    let entry = exchange.entry(about, &claims, &client, &holder);
    // If the process dies after this line, a token is on record that nobody holds.
    let recorded = shared.record(&entry).await?;
    Ok(answer(shared, &token, &claims, &recorded))
}

/// What the new token is bound to. It is not burned yet.
enum Own {
    /// RFC 8705 section 3.
    Certificate(CertificateThumbprint),
    /// RFC 9449 section 5.
    Key(VerifiedProof),
}

impl Own {
    /// The way in which the server authenticates decides: whoever comes with a certificate needs no
    /// proof, and one beside it changes nothing.
    fn of(
        shared: &Shared,
        (head, client): (&Parts, &PresentedClient),
        certificate: Option<&PresentedCertificate<'_>>,
        now_s: u64,
    ) -> Result<Self, TokenError> {
        match client {
            PresentedClient::Certificate { .. } => {
                let certificate = certificate.ok_or(CertificateRefusal::Missing)?;
                Ok(Self::Certificate(certificate.thumbprint))
            }
            PresentedClient::Assertion { .. } | PresentedClient::JwtSvid { .. } => {
                Ok(Self::Key(verify_proof(shared, head, "/token", now_s)?))
            }
        }
    }

    fn confirmation(&self) -> Confirmation {
        match self {
            Self::Certificate(thumbprint) => Confirmation::Certificate(*thumbprint),
            Self::Key(proof) => Confirmation::Jkt(proof.jkt()),
        }
    }

    fn burn(self, shared: &Shared, now_s: u64) -> Result<Holder, TokenError> {
        let confirmation = self.confirmation();
        let proof_jti = match self {
            // The handshake was the proof.
            Self::Certificate(_) => None,
            Self::Key(proof) => Some(proof.burn(&shared.replays, now_s)?.proof_jti().to_owned()),
        };
        Ok(Holder { confirmation, proof_jti })
    }
}

/// RFC 8693 section 2.1: a token of ours, alive, and meant for whoever exchanges it.
fn subject_token(
    shared: &Shared,
    server: &McpServer,
    token: &str,
    now_s: u64,
) -> Result<VerifiedToken, TokenError> {
    let unusable = TokenError::SubjectTokenStanding(ReasonCode::AuthorityStale);
    let keys = shared.keys.in_use().map_err(|_| unusable)?;
    let audience = shared.config.resource_of(server.name.as_str());
    let expected =
        Expected { issuer: &shared.config.issuer, audience: &audience, keys: &keys.verifying };
    let token = access_token::verify(token, &expected, now_s).map_err(TokenError::SubjectToken)?;
    verify_not_ended(shared, &token).map_err(TokenError::SubjectToken)?;
    Ok(token)
}

/// That whoever the subject token belongs to used it at this server, within the last minute. The token
/// says what shows that; evidence of the other kind is about another token.
fn verify_evidence(
    shared: &Shared,
    server: &McpServer,
    subject: &VerifiedToken,
    asked: &TokenExchange,
    now_s: u64,
) -> Result<(), TokenError> {
    let (proof, word) = (asked.subject_token_proof.as_deref(), asked.certificate.as_deref());
    let other_method = TokenError::CertificateEvidence(CertificateEvidenceRefusal::OtherMethod);
    match subject.confirmation() {
        // Whoever has such a token can use it: nothing shows whose it is.
        Confirmation::Bearer(_) => Err(TokenError::SubjectTokenEvidence(None)),
        Confirmation::Certificate(_) if proof.is_some() => Err(other_method),
        Confirmation::Certificate(thumbprint) => {
            verify_word(shared, server, (subject, thumbprint), word, now_s)
        }
        Confirmation::Jkt(_) if word.is_some() => Err(other_method),
        Confirmation::Jkt(jkt) => {
            verify_subject_proof(shared, server, (subject, jkt), proof, now_s)
        }
    }
}

/// RFC 8705 section 3, on the word of the process that saw the certificate. Not checked: that it is the
/// first use of this word, as one call may need several tokens.
fn verify_word(
    shared: &Shared,
    server: &McpServer,
    (subject, thumbprint): (&VerifiedToken, &CertificateThumbprint),
    word: Option<&str>,
    now_s: u64,
) -> Result<(), TokenError> {
    let missing = TokenError::CertificateEvidence(CertificateEvidenceRefusal::Missing);
    let word = word.ok_or(missing)?;
    let of = EvidenceFor { server: &server.id, subject_token: subject.digest() };
    let verified = shared.evidence.verify_certificate(word, (thumbprint, of), now_s);
    verified.map_err(TokenError::CertificateEvidence)
}

/// RFC 9449 section 4.3 once more, on the proof that the subject token came with. Not checked: its
/// nonce, which the gateway minted, and that it is new: a gateway in front of the server has burned it,
/// and one call may need several tokens.
fn verify_subject_proof(
    shared: &Shared,
    server: &McpServer,
    (subject, jkt): (&VerifiedToken, &Jkt),
    proof: Option<&str>,
    now_s: u64,
) -> Result<(), TokenError> {
    let missing = TokenError::SubjectTokenEvidence(Some(DpopRefusal::Missing));
    let proof = proof.ok_or(missing)?;
    let expected = ProofExpectation {
        algorithms: &ALGORITHMS,
        // MCP 2026-07-28, Streamable HTTP: every message is a POST to the one endpoint.
        htm: "POST",
        // From the configuration: where this server is reached.
        htu: &shared.config.resource_of(server.name.as_str()),
        access_token: Some((subject.digest(), jkt)),
        nonce: NoncePolicy::Off,
        header_cache: None,
    };
    match dpop::verify(proof, &expected, now_s) {
        Ok(_verified) => Ok(()),
        Err(refusal) => Err(TokenError::SubjectTokenEvidence(Some(refusal))),
    }
}

/// Why an exchange does not name the approval that it was shown.
enum Unproven {
    Forged,
    StoreUnavailable,
}

impl Unproven {
    fn of(self, client: &str) -> Unserved {
        match self {
            Self::Forged => Refused::of(TokenError::ApprovalEvidence, Some(client)).into(),
            Self::StoreUnavailable => Unserved::Unavailable,
        }
    }
}

/// The approval of the call, if it has one. Only the process that let the call through can say so: a
/// server that names one by itself is refused. What it says must be in the registry: an approval that
/// was used up, of this agent for this subject at this server.
async fn verify_approval(
    shared: &Shared,
    server: &McpServer,
    subject: &VerifiedToken,
    shown: Option<&str>,
) -> Result<Option<(ApprovalId, ApprovalTerms)>, Unproven> {
    let Some(shown) = shown else { return Ok(None) };
    let of = EvidenceFor { server: &server.id, subject_token: subject.digest() };
    let id = shared.evidence.verify_approval(shown, of).map_err(|_| Unproven::Forged)?;
    let known = shared.store.approval(&id).await.map_err(|_| Unproven::StoreUnavailable)?;
    let claims = subject.claims();
    let it = known.map(|request| request.approval).filter(|approval| {
        let call = &approval.call;
        matches!(approval.state, ApprovalState::Used { .. })
            && call.agent == claims.client_id
            && call.server == server.id
            && call.subject == claims.sub.as_str()
    });
    it.map(|approval| Some((id, approval.call.terms))).ok_or(Unproven::Forged)
}

/// RFC 8707 section 2: the one API. Unknown, closed and not for this server look alike.
fn target<'s>(
    snapshot: &'s Snapshot,
    server: &McpServer,
    asked: &TokenExchange,
    now_s: u64,
) -> Result<&'s Resource, TokenError> {
    let resource = snapshot.resource_at(asked.resource.as_str());
    let resource = resource.filter(|resource| resource.is_downstream_of(&server.id));
    let resource = resource.ok_or(TokenError::ResourceUnknown)?;
    snapshot.verify_resource(resource, now_s).map_err(TokenError::ResourceClosed)?;
    Ok(resource)
}

/// Everything the new token is made from.
struct Exchange<'a> {
    server: &'a McpServer,
    subject: &'a VerifiedToken,
    resource: &'a Resource,
    /// The approval of the call, as the registry knows it.
    approval: Option<(ApprovalId, ApprovalTerms)>,
    /// What the new token is bound to.
    cnf: Confirmation,
    jti: String,
    now_s: u64,
}

impl Exchange<'_> {
    fn parent(&self) -> Ancestor {
        let claims = self.subject.claims();
        Ancestor {
            client_id: claims.client_id.clone(),
            jti: claims.jti.clone(),
            key: claims.cnf.key(),
        }
    }

    /// What was asked, of what the resource's rules give for what the subject token holds and the
    /// agent still has.
    fn scope(&self, snapshot: &Snapshot, asked: Option<&ScopeSet>) -> Result<ScopeSet, TokenError> {
        let claims = self.subject.claims();
        let of = DownstreamUse {
            server: &self.server.id,
            jti: &self.jti,
            key: self.cnf.key(),
            epoch: claims.epoch,
            issued_s: claims.iat,
            grant: claims.grt.as_ref(),
            person: claims.sub.person(),
            parent: &self.parent(),
        };
        let held = snapshot.verify_lineage(&of, self.now_s);
        let held = held.map_err(TokenError::SubjectTokenStanding)?;
        let held = held.intersect(&claims.scope);
        // A right that the token limits by arguments ends at the server, which alone sees them.
        let details = claims.authorization_details.as_ref();
        let limited: Vec<&str> = details
            .map(|details| details.as_slice().iter().map(|one| one.tool.as_str()).collect())
            .unwrap_or_default();
        let is_free = |scope: &&Scope| match &scope.tool {
            ScopeTarget::Tool(tool) => !limited.contains(&tool.as_str()),
            ScopeTarget::Prompts | ScopeTarget::Resources => true,
        };
        let held: ScopeSet = held.iter().filter(is_free).cloned().collect();
        narrow(asked, &self.resource.scopes_for(&self.server.id, &held))
    }

    /// What the policies say of each scope, now. What they do not permit falls away, which
    /// RFC 6749 section 3.3 allows; who asked for it by name is refused, and learns it here and not at
    /// the API.
    fn permitted(
        &self,
        (snapshot, policies): (&Snapshot, &PolicySet),
        (scope, is_named): (&ScopeSet, bool),
    ) -> Result<(HopPermit, Vec<HopDenial>), HopDenial> {
        let claims = self.subject.claims();
        let terms = self.approval.as_ref().map(|(_, terms)| *terms);
        let decided = decide_hop(
            &HopRequest {
                snapshot,
                policies,
                server: self.server,
                agent: &claims.client_id,
                person: claims.sub.person(),
                api: self.resource,
                approved: terms.map_or(Approved::No, Approved::Under),
                now_s: self.now_s,
            },
            scope,
        );
        if is_named { decided.whole().map(|permit| (permit, Vec::new())) } else { decided.part() }
    }

    /// RFC 8693 section 2.2.2: in the form of RFC 6749 section 5.2, with the full story in the journal.
    fn refused(&self, denial: HopDenial, client: &str) -> Refused {
        let (claims, error) = (self.subject.claims(), TokenError::ScopeNotPermitted(denial.reason));
        let hop = RefusedHop {
            denial,
            agent: claims.client_id.to_string(),
            resource: self.resource.id.to_string(),
            server: self.server.id.to_string(),
            subject: claims.sub.to_string(),
            token_jti: claims.jti.clone(),
        };
        Refused { hop: Some(Box::new(hop)), ..Refused::of(error, Some(client)) }
    }

    /// RFC 8693 section 4.1 and RFC 9068 section 2.2. `sub` stays; whoever asks becomes the current
    /// actor.
    fn claims(
        &self,
        shared: &Shared,
        scope: ScopeSet,
    ) -> Result<AccessTokenClaims<ServerId>, TokenError> {
        let parent = self.subject.claims();
        let caller = self.server.id.as_str();
        let act = Actor::wrap(parent.act.as_ref(), parent.sub.as_str(), caller);
        // Not before its parent, which may be dated a second ahead, after a stop that has ended.
        let iat = self.now_s.max(parent.iat).max(shared.clock.tokens_from_s());
        let end_s = iat.saturating_add(lifetime_s(&shared.config, &scope));
        Ok(AccessTokenClaims {
            act: Some(act.map_err(TokenError::ActorChain)?),
            attorn_approval: self.approval.as_ref().map(|(id, _)| id.clone()),
            aud: self.resource.url.clone(),
            // They are about tools of the server, and say nothing at the API.
            authorization_details: None,
            client_id: self.server.id.clone(),
            cnf: self.cnf,
            // Of the parent: a token does not outlive an emergency rotation by being exchanged.
            epoch: parent.epoch,
            exp: end_s.min(parent.exp),
            grt: parent.grt.clone(),
            iat,
            iss: shared.config.issuer.clone(),
            jti: self.jti.clone(),
            nbf: self.now_s,
            parent: Some(self.parent()),
            scope,
            sub: parent.sub.clone(),
        })
    }

    fn entry(
        &self,
        mut about: Entry,
        claims: &AccessTokenClaims<ServerId>,
        client: &AuthenticatedClient<ServerId>,
        holder: &Holder,
    ) -> Entry {
        let parent = self.subject.claims();
        about.detail.insert("parent_scope".to_owned(), parent.scope.to_string());
        Entry {
            actor_chain: claims.act.as_ref().map(Actor::chain),
            agent: Some(parent.client_id.to_string()),
            agent_key: Some(parent.cnf.key().to_string()),
            approval: claims.attorn_approval.as_ref().map(ToString::to_string),
            audience: Some(claims.aud.clone()),
            client_id: Some(claims.client_id.to_string()),
            decision: Some(Decision::Permit),
            downstream_resource: Some(self.resource.id.to_string()),
            exchanged_jti: Some(claims.jti.clone()),
            grant: claims.grt.as_ref().map(ToString::to_string),
            proof_jti: holder.proof_jti.clone(),
            proof_key: Some(holder.confirmation.key().to_string()),
            scope: Some(claims.scope.to_string()),
            server: Some(self.server.id.to_string()),
            server_key: Some(client.key().to_string()),
            subject: Some(claims.sub.to_string()),
            token_jti: Some(parent.jti.clone()),
            ..about
        }
    }
}

/// RFC 8693 section 2.2.1. Needs the proof that the token is on record. No refresh token: it would
/// outlive what it rests on.
fn answer(
    shared: &Shared,
    token: &str,
    claims: &AccessTokenClaims<ServerId>,
    _recorded: &Recorded,
) -> Response<Body> {
    let body = serde_json::json!({
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": claims.cnf.token_type(),
        "expires_in": claims.exp.saturating_sub(claims.iat),
        "scope": claims.scope.to_string(),
    });
    let mut answer = json_answer(StatusCode::OK, body.to_string());
    // RFC 9449 section 8.2: the nonce of the next request.
    set(&mut answer, DPOP_NONCE, &shared.new_nonce());
    answer
}
