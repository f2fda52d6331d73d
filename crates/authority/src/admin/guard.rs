//! Who may run an operation. Every route passes here and nowhere else.
//!
//! Order: token, proof, replay, then the same decision as for any tool call. The body is not
//! looked at.

use attorn_audit::{Entry, Kind};
use attorn_jose::Jkt;
use attorn_net::{Body, Peer};
use attorn_oauth::access_token::{self, AccessTokenClaims, TokenRefusal, VerifiedToken};
use attorn_oauth::challenge::{NewChallenge, Presented, presented};
use attorn_oauth::dpop::{self, DpopRefusal, NoncePolicy, ProofExpectation};
use attorn_oauth::error::ErrorCode;
use attorn_oauth::mtls;
use attorn_oauth::possession::{self, BoundToken, PossessionRefusal};
use attorn_oauth::replay::ReplayRefusal;
use attorn_policy::{Denial, Permit};
use attorn_registry::{AgentId, Authentication, ReasonCode, ScopeSet, Snapshot};
use http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Response, StatusCode};

use super::operation::{Operation, SERVER_NAME};
use crate::http::{json_answer, set};
use crate::proof::{ALGORITHMS, certificate, is_misdirected, proof_of};
use crate::shared::Shared;
use crate::standing::verify_not_ended;

/// A caller who may run the operation asked for. Only [`admit`] makes one.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) id: AgentId,
    pub(crate) name: String,
    pub(crate) scope: ScopeSet,
    bound: BoundToken,
    // Invariant: the permit for this very request; it is not given away.
    permit: Permit,
}

/// Why a request is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unadmitted {
    /// A listed proxy sent a certificate header that cannot be read.
    CertificateHeader,
    /// The decision went against it.
    Denied(Denial),
    /// The request belongs to another listener.
    Misdirected,
    /// The registry holds no keys to verify with, or not the admin server.
    NotReady,
    /// Token and proof do not belong together, or the proof was used.
    Possession(PossessionRefusal),
    /// The proof does not hold.
    Proof(DpopRefusal),
    /// The token came under another scheme than that of its binding.
    Scheme,
    /// The token does not hold.
    Token(TokenRefusal),
    /// No token came.
    TokenMissing,
}

/// Admits a request, or says why not.
pub(crate) fn admit(
    shared: &Shared,
    snapshot: &Snapshot,
    operation: Operation,
    head: &Parts,
    now_s: u64,
) -> Result<Operator, Unadmitted> {
    let bound = prove_possession(shared, snapshot, head, now_s)?;
    let permit = decide(shared, snapshot, operation, bound.claims(), now_s)?;
    let claims = bound.claims();
    // An agent that may act has a record, so the name is never really missing.
    let name = snapshot.agent(&claims.client_id).map(|agent| agent.name.to_string());
    Ok(Operator {
        id: claims.client_id.clone(),
        name: name.unwrap_or_default(),
        scope: claims.scope.clone(),
        bound,
        permit,
    })
}

fn decide(
    shared: &Shared,
    snapshot: &Snapshot,
    operation: Operation,
    claims: &AccessTokenClaims,
    now_s: u64,
) -> Result<Permit, Unadmitted> {
    let server = snapshot.server_named(SERVER_NAME).ok_or(Unadmitted::NotReady)?;
    let policies = shared.policies.load();
    let request = attorn_policy::Request {
        snapshot,
        policies: &policies,
        server,
        agent: &claims.client_id,
        person: claims.sub.person(),
        token_scope: &claims.scope,
        token_jti: &claims.jti,
        token_key: Some(claims.cnf.key()),
        token_details: claims.authorization_details.as_ref(),
        token_epoch: claims.epoch,
        token_issued_s: claims.iat,
        operation: attorn_policy::Operation::Tool(operation.row().id),
        arguments: None,
        now_s,
    };
    attorn_policy::decide(&request).map_err(Unadmitted::Denied)
}

fn prove_possession(
    shared: &Shared,
    snapshot: &Snapshot,
    head: &Parts,
    now_s: u64,
) -> Result<BoundToken, Unadmitted> {
    if is_misdirected(head) {
        return Err(Unadmitted::Misdirected);
    }
    if head.extensions.get::<Peer>().is_some_and(|peer| peer.client_cert.is_err()) {
        return Err(Unadmitted::CertificateHeader);
    }
    let presented = token_of(&head.headers)?;
    let (Presented::Bearer(text) | Presented::Dpop(text)) = presented;
    let keys = shared.keys.in_use().map_err(|_| Unadmitted::NotReady)?;
    let audience = shared.config.admin_resource();
    let expected = access_token::Expected {
        issuer: &shared.config.issuer,
        audience: &audience,
        keys: &keys.verifying,
    };
    let token = access_token::verify(text, &expected, now_s).map_err(Unadmitted::Token)?;
    verify_not_ended(shared, &token).map_err(Unadmitted::Token)?;
    match (presented, token.jkt().copied()) {
        (Presented::Dpop(_), Some(jkt)) => by_proof(shared, head, (token, jkt), now_s),
        // RFC 8705 section 3: a token that is bound to the certificate of its connection.
        (Presented::Bearer(_), None) => {
            let agent = snapshot.agent(&token.claims().client_id);
            let authentication = agent.map(|agent| &agent.authentication);
            let authentication = authentication.unwrap_or(&Authentication::PrivateKeyJwt);
            mtls::bind(token, certificate(head).as_ref(), authentication, now_s)
                .map_err(Unadmitted::Possession)
        }
        // RFC 9449 section 7.2: a token bound by DPoP under `Bearer` is refused; the other way
        // round as well.
        (Presented::Bearer(_), Some(_)) | (Presented::Dpop(_), None) => Err(Unadmitted::Scheme),
    }
}

fn by_proof(
    shared: &Shared,
    head: &Parts,
    (token, jkt): (VerifiedToken, Jkt),
    now_s: u64,
) -> Result<BoundToken, Unadmitted> {
    let proof = proof_of(&head.headers).map_err(Unadmitted::Proof)?;
    // RFC 9449 section 4.3: from the configured address, never from `Host`.
    let htu = format!("{}{}", shared.config.admin_url, head.uri.path());
    let expected = ProofExpectation {
        algorithms: &ALGORITHMS,
        htm: head.method.as_str(),
        htu: &htu,
        access_token: Some((token.digest(), &jkt)),
        nonce: NoncePolicy::Required(&shared.nonces),
        header_cache: Some(&shared.header_cache),
    };
    let proof = dpop::verify(proof, &expected, now_s).map_err(Unadmitted::Proof)?;
    possession::bind(token, proof, &shared.replays, now_s).map_err(Unadmitted::Possession)
}

/// Whether a denial is about the caller or its token, and not about what was asked.
const fn ends_the_token(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::AgentExpired
            | ReasonCode::AgentOwnerless
            | ReasonCode::AgentPending
            | ReasonCode::AgentRetired
            | ReasonCode::AgentSuspended
            | ReasonCode::AgentUnknown
            | ReasonCode::ConsentMissing
            | ReasonCode::DelegationNotAllowed
            | ReasonCode::LockActive
            | ReasonCode::PersonPending
            | ReasonCode::PersonRetired
            | ReasonCode::PersonSuspended
            | ReasonCode::PersonUnknown
            | ReasonCode::TokenRevoked
            | ReasonCode::TokenStopped
    )
}

/// RFC 9449 section 7.1: one `Authorization` header, one space, one token.
fn token_of(headers: &HeaderMap) -> Result<Presented<'_>, Unadmitted> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unadmitted::TokenMissing)?;
    if values.next().is_some() {
        return Err(Unadmitted::Scheme);
    }
    let value = value.to_str().map_err(|_| Unadmitted::Scheme)?;
    presented(value).ok_or(Unadmitted::Scheme)
}

impl Operator {
    /// Decides once more, on the registry as it is now. A body may come long after its head, and
    /// a change may wait for another one: whoever was stopped meanwhile changes nothing.
    pub(crate) fn admit_again(
        self,
        shared: &Shared,
        snapshot: &Snapshot,
        operation: Operation,
        now_s: u64,
    ) -> Result<Self, Unadmitted> {
        self.bound.token().still_valid(now_s).map_err(Unadmitted::Token)?;
        verify_not_ended(shared, self.bound.token()).map_err(Unadmitted::Token)?;
        let permit = decide(shared, snapshot, operation, self.bound.claims(), now_s)?;
        Ok(Self { permit, ..self })
    }

    /// Whether the operator may run another operation as well: the decision that its own route
    /// would make.
    pub(crate) fn may(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        operation: Operation,
        now_s: u64,
    ) -> Result<(), ReasonCode> {
        let decided = decide(shared, snapshot, operation, self.bound.claims(), now_s);
        decided.map(drop).map_err(|refusal| refusal.reason())
    }

    /// Adds who asks, with which credentials, and what allows it.
    pub(crate) fn describe(&self, entry: Entry) -> Entry {
        Entry {
            agent: Some(self.id.to_string()),
            by: Some(self.name.clone()),
            class: Some(self.permit.class().as_str().to_owned()),
            client_id: Some(self.id.to_string()),
            grant: self.permit.grant().map(ToString::to_string),
            policy_version: Some(self.permit.policy_version().to_string()),
            proof_jti: self.bound.proof_jti().map(str::to_owned),
            proof_key: Some(self.bound.proof_key().to_string()),
            rule: Some(self.permit.rule().to_owned()),
            scope: Some(self.permit.scope().to_string()),
            token_jti: Some(self.bound.claims().jti.clone()),
            ..entry
        }
    }

    /// The key that was proven.
    pub(crate) fn key(&self) -> Jkt {
        self.bound.proof_key()
    }

    /// First second at which the token does not count any more.
    pub(crate) fn token_ends_s(&self) -> u64 {
        self.bound.claims().exp
    }
}

impl Unadmitted {
    /// The stable code of the journal.
    pub(crate) fn reason(&self) -> ReasonCode {
        match self {
            Self::CertificateHeader => ReasonCode::PossessionCertificateHeader,
            Self::Denied(denial) => denial.reason,
            Self::Misdirected => ReasonCode::FrameOrigin,
            Self::NotReady => ReasonCode::AuthorityStale,
            Self::Possession(refusal) => refusal.reason(),
            Self::Proof(refusal) => refusal.reason(),
            Self::Scheme => ReasonCode::TokenBearerNotAllowed,
            Self::Token(refusal) => refusal.reason(),
            Self::TokenMissing => ReasonCode::TokenMissing,
        }
    }

    /// What the refusal is recorded as.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::CertificateHeader | Self::Denied(_) | Self::Misdirected | Self::NotReady => {
                Kind::AdminRefused
            }
            Self::Possession(_) | Self::Proof(_) | Self::Scheme => Kind::PossessionFailed,
            Self::Token(_) | Self::TokenMissing => Kind::TokenRefused,
        }
    }

    /// Whether the client only has to come back with our nonce.
    pub(crate) fn asks_for_nonce(&self) -> bool {
        self.code().1 == Some(ErrorCode::UseDpopNonce)
    }

    /// What goes on the wire: RFC 9449 section 7.1 and RFC 6750 section 3.1.
    fn code(&self) -> (StatusCode, Option<ErrorCode>) {
        match self {
            // RFC 9440 section 2.2, RFC 6750 section 3.1.
            Self::CertificateHeader => (StatusCode::BAD_REQUEST, Some(ErrorCode::InvalidRequest)),
            // RFC 6750 section 3.1: the token stands for somebody who may not act any more.
            Self::Denied(denial) if ends_the_token(denial.reason) => {
                (StatusCode::UNAUTHORIZED, Some(ErrorCode::InvalidToken))
            }
            Self::Denied(_) => (StatusCode::FORBIDDEN, Some(ErrorCode::InsufficientScope)),
            // RFC 9110 section 15.5.20.
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, None),
            // Ours, not the caller's: a used proof that cannot be remembered is not a wrong one.
            Self::NotReady | Self::Possession(PossessionRefusal::Replay(ReplayRefusal::Full)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(ErrorCode::TemporarilyUnavailable))
            }
            // RFC 8705 section 3: 401 and `invalid_token`.
            Self::Possession(
                PossessionRefusal::CertificateInvalid
                | PossessionRefusal::CertificateMismatch
                | PossessionRefusal::CertificateMissing
                | PossessionRefusal::OtherMethod,
            ) => (StatusCode::UNAUTHORIZED, Some(ErrorCode::InvalidToken)),
            Self::Possession(_) => (StatusCode::UNAUTHORIZED, Some(ErrorCode::InvalidDpopProof)),
            Self::Proof(refusal) => (StatusCode::UNAUTHORIZED, Some(refusal.code())),
            Self::Scheme | Self::Token(_) => {
                (StatusCode::UNAUTHORIZED, Some(ErrorCode::InvalidToken))
            }
            // RFC 6750 section 3.1: no error code where no token was presented.
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, None),
        }
    }

    /// The answer. The caller may not be an operator, so it says no more than the code.
    pub(crate) fn answer(
        &self,
        shared: &Shared,
        operation: Operation,
        decision_id: &str,
    ) -> Response<Body> {
        let (status, error) = self.code();
        let body = serde_json::json!({
            "error": error.map_or("unauthorized", ErrorCode::as_str),
            "message": "the request is not admitted",
            "decision_id": decision_id,
        });
        let mut answer = json_answer(status, body.to_string());
        if status != StatusCode::SERVICE_UNAVAILABLE {
            // RFC 6750 section 3.1: the scope that is necessary.
            let scope = ScopeSet::from_iter([operation.scope()]);
            let challenge = NewChallenge {
                error,
                resource_metadata: Some(&shared.config.admin_metadata_url()),
                scope: Some(&scope),
                algorithms: &ALGORITHMS.map(attorn_jose::Algorithm::name),
            };
            set(&mut answer, WWW_AUTHENTICATE, &challenge.to_header());
        }
        answer
    }
}
