//! The side of an MCP server that calls an API for its caller: RFC 8693 section 2.1 with the evidence
//! that the caller's token came with, and requests to the API bound to the server's own key.

use std::fmt;

use attorn_jose::{SignError, SigningKey};
use attorn_oauth::evidence::{APPROVAL_EVIDENCE, CERTIFICATE_EVIDENCE};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::fetch;
use crate::nonces::Nonces;
use crate::proof::{client_assertion, dpop_proof};
use crate::request::{ASSERTION_TYPE, Answer, TokenFailure, refused};
use crate::world::World;

/// An MCP server, by the key that stands for it.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// Its `client_id` at the authority, `srv_…`.
    pub client_id: String,
    /// The key that signs its assertions and proofs.
    pub key: SigningKey,
}

/// What shows that the caller held what its token is bound to.
#[derive(Clone, Copy)]
pub enum Evidence<'a> {
    /// The word of who saw the certificate of the call. A server has none.
    Certificate(&'a str),
    /// The proof that came with the token.
    Proof(&'a str),
}

/// What a server was called with, and what it needs for that.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The access token of the call.
    pub subject_token: &'a str,
    /// What it came with.
    pub evidence: Evidence<'a>,
    /// Evidence that a person approved the call, from who let it through. A server has none.
    pub approval: Option<&'a str>,
    /// The trace that the request belongs to (W3C Trace Context), as the value of its header.
    pub traceparent: Option<&'a str>,
    /// The API, by its registered URL.
    pub resource: &'a str,
    /// What is needed there.
    pub scope: &'a str,
}

impl fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evidence([redacted])")
    }
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted")
            .field("resource", &self.resource)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// A token for an API, bound to the server's key.
pub struct Exchanged {
    token: Zeroizing<String>,
    /// Seconds until its end, as the authority said.
    pub expires_in_s: u64,
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged")
            .field("expires_in_s", &self.expires_in_s)
            .finish_non_exhaustive()
    }
}

impl Exchanged {
    /// The token itself, for who presents it without [`Exchanger::bind`].
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// The `jti` of the token, for the journal. Read without verification: the authority gave it.
    #[must_use]
    pub fn jti(&self) -> Option<String> {
        let claims = self.token.split('.').nth(1)?;
        let claims = attorn_jose::from_base64url(claims).ok()?;
        let document = attorn_json::parse(&claims, &attorn_json::Limits::JWT).ok()?;
        let jti = document.value().member("jti")?.string()?.into_owned();
        Some(jti)
    }
}

/// Exchanges tokens at one authority. Clones share its nonces.
#[derive(Clone, Debug)]
pub struct Exchanger {
    world: World,
    issuer: String,
    endpoint: Url,
    nonces: Nonces,
}

impl Exchanger {
    /// `endpoint` is the token endpoint of `issuer`.
    #[must_use]
    pub fn new(world: World, issuer: impl Into<String>, endpoint: Url) -> Self {
        Self { world, issuer: issuer.into(), endpoint, nonces: Nonces::default() }
    }

    /// Gets a token for an API; asks once more when the authority wants its nonce in the proof.
    ///
    /// # Errors
    /// See [`TokenFailure`].
    pub async fn exchange(
        &self,
        server: &ServerIdentity,
        wanted: Wanted<'_>,
    ) -> Result<Exchanged, TokenFailure> {
        let mut nonce_asked = false;
        loop {
            let form = self.form(server, wanted)?;
            let mut headers = fetch::content_type("application/x-www-form-urlencoded");
            self.prove(&mut headers, &server.key, &Method::POST, &self.endpoint, None)?;
            let parent = wanted.traceparent.and_then(|parent| HeaderValue::from_str(parent).ok());
            headers.extend(parent.map(|parent| (HeaderName::from_static("traceparent"), parent)));
            let fetched =
                fetch::send(&self.world, Method::POST, &self.endpoint, headers, Bytes::from(form))
                    .await
                    .map_err(TokenFailure::Unreachable)?;
            let learned = self.nonces.learn(&self.endpoint, &fetched.headers);
            if fetched.status == StatusCode::OK {
                let answer: Answer = fetch::parse(&self.endpoint, &fetched.body)
                    .map_err(|_| TokenFailure::Malformed)?;
                // RFC 9449 section 5: a token that is not bound is not used.
                if !answer.token_type.eq_ignore_ascii_case("DPoP") {
                    return Err(TokenFailure::Unbound);
                }
                let token = Zeroizing::new(answer.access_token);
                return Ok(Exchanged { token, expires_in_s: answer.expires_in.unwrap_or(0) });
            }
            let refusal = refused(&self.endpoint, &fetched)?;
            // RFC 9449 section 8: the retry carries the nonce. One retry, or two would loop for ever.
            if refusal.code != "use_dpop_nonce" || !learned || nonce_asked {
                return Err(TokenFailure::Refused(refusal));
            }
            nonce_asked = true;
        }
    }

    /// The headers of one request to an API: the token, and a proof of its key for this request.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn bind(
        &self,
        key: &SigningKey,
        (method, url): (&Method, &Url),
        token: &Exchanged,
    ) -> Result<HeaderMap, TokenFailure> {
        let mut headers = HeaderMap::new();
        self.prove(&mut headers, key, method, url, Some(&token.token))?;
        let value = Zeroizing::new(format!("DPoP {}", *token.token));
        let mut value = HeaderValue::from_str(&value).map_err(|_| TokenFailure::Malformed)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(headers)
    }

    /// Takes the nonce of an API's answer; whether there was one.
    pub fn learn(&self, url: &Url, headers: &HeaderMap) -> bool {
        self.nonces.learn(url, headers)
    }

    fn prove(
        &self,
        headers: &mut HeaderMap,
        key: &SigningKey,
        method: &Method,
        url: &Url,
        token: Option<&str>,
    ) -> Result<(), TokenFailure> {
        let nonce = self.nonces.of(url);
        let proof = dpop_proof(&self.world, key, method.as_str(), url, token, nonce.as_deref())?;
        let mut proof = HeaderValue::from_str(&proof).map_err(|_| TokenFailure::Malformed)?;
        proof.set_sensitive(true);
        headers.insert(HeaderName::from_static("dpop"), proof);
        Ok(())
    }

    fn form(&self, server: &ServerIdentity, wanted: Wanted<'_>) -> Result<String, SignError> {
        // Made anew for each attempt: its `jti` is good for one.
        let ServerIdentity { client_id, key } = server;
        let assertion = client_assertion(&self.world, key, client_id, &self.issuer)?;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("client_id", client_id)
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", &assertion)
            .append_pair("subject_token", wanted.subject_token)
            .append_pair("subject_token_type", ACCESS_TOKEN)
            .append_pair("resource", wanted.resource)
            .append_pair("scope", wanted.scope);
        match wanted.evidence {
            Evidence::Certificate(word) => form.append_pair(CERTIFICATE_EVIDENCE, word),
            Evidence::Proof(proof) => form.append_pair("subject_token_proof", proof),
        };
        if let Some(approval) = wanted.approval {
            form.append_pair(APPROVAL_EVIDENCE, approval);
        }
        Ok(form.finish())
    }
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
