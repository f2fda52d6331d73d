//! What a request is let in with at the API: a token that was exchanged for the call, or the one key that
//! the API knows.

use std::sync::Arc;
use std::time::Duration;

use attorn_connect::TokenFailure;
use attorn_connect::exchange::{Evidence, Exchanged, ServerIdentity, Wanted};
use attorn_oauth::evidence::EvidenceFor;
use attorn_registry::{McpServer, ScopeSet};
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::calls::{Kept, OpenCall, Shown};
use crate::refusal::Refusal;
use crate::walk::{Outbound, Permit};

/// What is attached on the way out.
pub(crate) enum Credential {
    Static(HeaderName, HeaderValue),
    Token(ServerIdentity, Arc<Exchanged>),
}

impl Outbound {
    pub(crate) async fn credential(
        &mut self,
        call: &OpenCall,
        server: &McpServer,
        permit: &Permit,
    ) -> Result<Credential, Refusal> {
        if let Some(key) = &self.rule.config.key {
            let (name, value) = self.rule.secret.header(key).await.map_err(|failure| {
                tracing::error!(server = %server.name, %failure, "the key of an API cannot be had");
                Refusal::KeyUnavailable
            })?;
            self.entry.detail.insert("credential".to_owned(), "static".to_owned());
            return Ok(Credential::Static(name, value));
        }
        let (keys, record) = (self.egress.keys.clone(), server.clone());
        let identity = tokio::task::spawn_blocking(move || keys.find(&record)).await;
        let identity = identity.ok().flatten().ok_or(Refusal::KeyUnavailable)?;
        let token = self.exchanged(call, &identity, &permit.needed).await?;
        self.entry.exchanged_jti = token.jti();
        self.entry.audience = Some(self.rule.config.resource.as_str().to_owned());
        Ok(Credential::Token(identity, token))
    }

    /// A token for this call and no other; one is enough for all it asks of the same kind.
    async fn exchanged(
        &self,
        call: &OpenCall,
        identity: &ServerIdentity,
        needed: &ScopeSet,
    ) -> Result<Arc<Exchanged>, Refusal> {
        let (resource, scope) = (self.rule.config.resource.as_str(), needed.to_string());
        let mut kept = call.exchanged.lock().await;
        let known = kept.get(&(resource.to_owned(), scope.clone()));
        if let Some(known) = known.filter(|known| Instant::now() < known.until) {
            return Ok(Arc::clone(&known.token));
        }
        let (approval, certificate) = (self.approval_word(call), self.certificate_word(call));
        let evidence = match (&call.shown, &certificate) {
            (Shown::Proof(proof), _) => Evidence::Proof(proof),
            (Shown::Certificate(_), Some(word)) => Evidence::Certificate(word),
            (Shown::Certificate(_), None) | (Shown::Nothing, _) => return Err(Refusal::Evidence),
        };
        let parent = self.trace.traceparent();
        let wanted = Wanted {
            subject_token: &call.token_text,
            evidence,
            approval: approval.as_deref(),
            traceparent: Some(&parent),
            resource,
            scope: &scope,
        };
        let token = self.rule.exchanger.exchange(identity, wanted).await.map_err(|failure| {
            tracing::warn!(server = identity.client_id, %failure, "no token for an API");
            match failure {
                TokenFailure::Unreachable(_) => Refusal::AuthorityStale,
                TokenFailure::Sign(_) => Refusal::KeyUnavailable,
                TokenFailure::Assertion(_)
                | TokenFailure::Code(_)
                | TokenFailure::Kept(_)
                | TokenFailure::Malformed
                | TokenFailure::Moved { .. }
                | TokenFailure::Refused(_)
                | TokenFailure::Unbound => Refusal::Exchange,
            }
        })?;
        // With some life left: a request under way must not outlive its token.
        let until = Instant::now() + Duration::from_secs(token.expires_in_s.saturating_sub(5));
        let token = Arc::new(token);
        kept.insert((resource.to_owned(), scope), Kept { token: Arc::clone(&token), until });
        Ok(token)
    }

    /// The word of this process that a person approved the call. The server that was called cannot
    /// say so by itself: it has not got the key.
    fn approval_word(&self, call: &OpenCall) -> Option<String> {
        let of = EvidenceFor { server: &call.server, subject_token: call.token.digest() };
        call.approval.as_ref().map(|approval| self.egress.evidence.vouch_approval(approval, of))
    }

    /// The word of this process that the call came with the certificate of its token. What the gateway
    /// saw was about one token, so this is about no other.
    fn certificate_word(&self, call: &OpenCall) -> Option<String> {
        match &call.shown {
            Shown::Certificate(held) => {
                Some(self.egress.evidence.vouch_certificate(held, &call.server))
            }
            Shown::Nothing | Shown::Proof(_) => None,
        }
    }
}
