//! Who asks: a token for this API, and proof of the key it is bound to.

use attorn_enforce::proofs::{Asked, ProofRefusal, Proven};
use attorn_jose::CertificateThumbprint;
use attorn_net::Peer;
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, TokenRefusal, VerifiedToken};
use attorn_oauth::challenge::{Presented, presented};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::mtls::{self, PresentedCertificate};
use attorn_oauth::possession::PossessionRefusal;
use attorn_registry::ServerId;
use http::header::AUTHORIZATION;
use http::{HeaderMap, request};

use crate::access::Access;
use crate::refusal::{CredentialRefusal, Refusal};
use crate::target::Target;

impl Access {
    /// A token that was issued to an MCP server for this API, used by the server's key for the first
    /// time with this proof, or over a connection with the server's certificate. Nothing of the operation
    /// is looked at before.
    pub(crate) async fn enter(
        &mut self,
        head: &request::Parts,
        target: &Target,
    ) -> Result<Proven<ServerId>, Refusal> {
        let guard = self.guard();
        guard.throttle.look(self.from).map_err(Refusal::Limited)?;
        let token = self.token(&head.headers)?;
        self.note_token(&token);
        if let Confirmation::Certificate(_) = token.confirmation() {
            return self.by_certificate(head, token);
        }
        let asked = Asked { htm: head.method.as_str(), htu: &target.htu };
        let held = guard.proofs.verify(&head.headers, asked, &token, self.now_s);
        let held = held.map_err(CredentialRefusal::from)?;
        guard.throttle.admit(token.claims()).map_err(Refusal::Limited)?;
        // RFC 9449 section 11.1: burned last, when nothing else can refuse the credential.
        let proven = guard.proofs.burn(held, token, self.now_s).await;
        let proven = proven.map_err(CredentialRefusal::Possession)?;
        self.note_proof(&proven);
        Ok(proven)
    }

    /// RFC 8705 section 3. Nothing is burned: the handshake was the proof, for this connection alone.
    fn by_certificate(
        &mut self,
        head: &request::Parts,
        token: VerifiedToken<ServerId>,
    ) -> Result<Proven<ServerId>, Refusal> {
        let guard = self.guard();
        let certificate =
            head.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref());
        let presented = certificate.map(|certificate| PresentedCertificate {
            thumbprint: CertificateThumbprint::from_bytes(certificate.thumbprint),
            not_before_s: certificate.not_before_s,
            not_after_s: certificate.not_after_s,
            anchors: &certificate.anchors,
            dns_names: &certificate.dns_names,
            uris: &certificate.uris,
        });
        let token = mtls::bind_server(token, presented.as_ref(), self.now_s);
        let token = token.map_err(CredentialRefusal::Possession)?;
        guard.throttle.admit(token.claims()).map_err(Refusal::Limited)?;
        let proven = Proven { token, nonce: None };
        self.note_proof(&proven);
        Ok(proven)
    }

    /// RFC 9068 section 4. The audience is the configured URL, and the client has the form of a
    /// server's identifier: an agent's own token is another type, and none here.
    fn token(&self, headers: &HeaderMap) -> Result<VerifiedToken<ServerId>, CredentialRefusal> {
        let presented = presented_token(headers)?;
        let (Presented::Dpop(text) | Presented::Bearer(text)) = presented;
        let guard = self.guard();
        let expected = Expected {
            issuer: guard.issuer.as_str(),
            audience: guard.api.url.as_str(),
            keys: &self.view.keys,
        };
        let token = access_token::verify(text, &expected, self.now_s);
        let token: VerifiedToken<ServerId> =
            token.map_err(|refusal| refused(presented, refusal))?;
        match (presented, token.confirmation()) {
            // RFC 8705 section 3: a token that is bound to a certificate is used as RFC 6750 says.
            (Presented::Bearer(_), Confirmation::Certificate(_))
            | (Presented::Dpop(_), Confirmation::Jkt(_)) => {}
            // RFC 9449 section 7.2: a bound token under `Bearer` is refused.
            (Presented::Bearer(_), Confirmation::Bearer(_) | Confirmation::Jkt(_)) => {
                return Err(CredentialRefusal::BearerNotAllowed);
            }
            (Presented::Dpop(_), Confirmation::Bearer(_) | Confirmation::Certificate(_)) => {
                return Err(CredentialRefusal::Possession(PossessionRefusal::OtherMethod));
            }
        }
        // RFC 7519 section 4.1.4: what ended once stays ended, also when the clock goes back.
        let AccessTokenClaims { iat, exp, .. } = *token.claims();
        if guard.clock.had_ended(iat, exp) {
            return Err(CredentialRefusal::Token(TokenRefusal::Expired));
        }
        Ok(token)
    }
}

/// What comes under `Bearer` and has not even the form of our tokens is a bearer token.
fn refused(presented: Presented<'_>, refusal: TokenRefusal) -> CredentialRefusal {
    match (presented, refusal) {
        (
            Presented::Bearer(_),
            TokenRefusal::Malformed | TokenRefusal::Type | TokenRefusal::Unbound,
        ) => CredentialRefusal::BearerNotAllowed,
        (Presented::Bearer(_) | Presented::Dpop(_), refusal) => CredentialRefusal::Token(refusal),
    }
}

/// The token of the one `Authorization` header. Nothing else carries a token: not the query, not
/// the body (RFC 9449 section 7.1).
fn presented_token(headers: &HeaderMap) -> Result<Presented<'_>, CredentialRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(CredentialRefusal::TokenMissing)?;
    if values.next().is_some() {
        return Err(CredentialRefusal::TokenMalformed);
    }
    let value = value.to_str().map_err(|_| CredentialRefusal::TokenMalformed)?;
    presented(value).ok_or(CredentialRefusal::TokenMalformed)
}

impl From<ProofRefusal> for CredentialRefusal {
    fn from(refusal: ProofRefusal) -> Self {
        match refusal {
            ProofRefusal::Possession(refusal) => Self::Possession(refusal),
            ProofRefusal::Proof(refusal) => Self::Proof(refusal),
            ProofRefusal::Repeated => Self::ProofRepeated,
        }
    }
}
