//! HTTP with a bound token: every request carries a fresh proof.
//!
//! Implemented: `use_dpop_nonce` answered once (RFC 9449 section 9), a token renewed once when the
//! resource no longer takes it, step-up on `insufficient_scope` a bounded number of times, and
//! credentials kept to the one origin they are for.
//!
//! A request is sent again only after the resource refused it, so nothing is done twice.

use std::time::Duration;

use attorn_jose::SignError;
use attorn_net::{ResponseBody, SendError};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use url::Url;

use crate::challenge::{Challenge, challenges};
use crate::proof::dpop_proof;
use crate::request::TokenFailure;
use crate::token::{AccessToken, TokenSource};

/// A client that proves who it is on every request. Clones share the token and the connections.
#[derive(Clone, Debug)]
pub struct AuthorizedClient {
    tokens: TokenSource,
    origin: String,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL is not one of the resource: its token does not go there.
    #[error("the URL is not one of the resource the token is for")]
    OriginRefused,
    /// The key does not sign.
    #[error("the key does not sign")]
    Sign(#[from] SignError),
    /// The resource did not answer.
    #[error("the server did not answer")]
    Send(#[from] SendError),
    /// There is no token to call with.
    #[error(transparent)]
    Token(#[from] TokenFailure),
}

/// What was tried for one request, so that nothing is tried for ever.
#[derive(Default)]
struct Tries {
    nonce: bool,
    renewal: bool,
    step_ups: u32,
}

enum Next {
    Answer,
    AgainWith(HeldToken),
}

/// Boxed by reference count: it outlives its renewal while a request uses it.
type HeldToken = std::sync::Arc<AccessToken>;

impl AuthorizedClient {
    /// Calls the origin of the resource that `tokens` are for.
    ///
    /// # Errors
    /// [`CallError::OriginRefused`] when the resource identifier is no absolute URL.
    pub fn new(tokens: TokenSource) -> Result<Self, CallError> {
        let resource = Url::parse(tokens.resource()).map_err(|_| CallError::OriginRefused)?;
        let origin = resource.origin();
        if !origin.is_tuple() {
            return Err(CallError::OriginRefused);
        }
        Ok(Self { tokens, origin: origin.ascii_serialization() })
    }

    /// The tokens it uses.
    pub fn tokens(&self) -> &TokenSource {
        &self.tokens
    }

    /// Sends one request with token and proof; `Authorization` and `DPoP` of `headers` are
    /// replaced. The answer may still be a refusal.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, CallError> {
        self.send_within(method, url, headers, body, ANSWER_TIMEOUT).await
    }

    /// As [`AuthorizedClient::send`], with its own limit for the response head.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send_within(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, CallError> {
        if url.origin().ascii_serialization() != self.origin {
            return Err(CallError::OriginRefused);
        }
        let mut token = self.tokens.token().await?;
        let mut tries = Tries::default();
        loop {
            let request = self.request(&method, url, headers, body.clone(), &token)?;
            let response = self.tokens.world().client.send_within(request, limit).await?;
            let learned = self.tokens.nonces().learn(url, response.headers());
            match self.next(&response, token, &mut tries, learned).await? {
                Next::Answer => return Ok(response),
                Next::AgainWith(next) => token = next,
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        token: &AccessToken,
    ) -> Result<Request<Bytes>, CallError> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.as_str().parse().map_err(|_| CallError::OriginRefused)?;
        *request.headers_mut() = headers.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, secret(&token.authorization())?);
        headers.remove("dpop");
        if let Some(key) = self.tokens.key().filter(|_| token.bound) {
            let nonce = self.tokens.nonces().of(url);
            let world = self.tokens.world();
            let held = Some(token.text());
            let proof = dpop_proof(world, key, method.as_str(), url, held, nonce.as_deref())?;
            headers.insert(HeaderName::from_static("dpop"), secret(&proof)?);
        }
        Ok(request)
    }

    async fn next(
        &self,
        response: &Response<ResponseBody>,
        token: HeldToken,
        tries: &mut Tries,
        nonce_learned: bool,
    ) -> Result<Next, CallError> {
        let status = response.status();
        if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
            return Ok(Next::Answer);
        }
        let challenges = challenges(response.headers());
        let says = |code| challenges.iter().any(|known| known.error() == Some(code));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9449 section 9: once; a server that always asks again would never be done.
            if says("use_dpop_nonce") {
                let again = nonce_learned && !std::mem::replace(&mut tries.nonce, true);
                return Ok(if again { Next::AgainWith(token) } else { Next::Answer });
            }
            if std::mem::replace(&mut tries.renewal, true) {
                return Ok(Next::Answer);
            }
            return Ok(Next::AgainWith(self.tokens.instead_of(&token).await?));
        }
        let missing = challenges
            .iter()
            .filter(|known| known.error() == Some("insufficient_scope"))
            .find_map(Challenge::scope);
        match missing {
            // A token that has the scopes already would only be refused again.
            Some(scopes)
                if tries.step_ups < STEP_UPS_MAX
                    && scopes.len() <= SCOPE_BYTES_MAX
                    && !token.has(scopes) =>
            {
                tries.step_ups += 1;
                Ok(self.step_up(&token, scopes).await?)
            }
            Some(_) | None => Ok(Next::Answer),
        }
    }

    async fn step_up(&self, token: &AccessToken, scopes: &str) -> Result<Next, CallError> {
        match self.tokens.widened(token, scopes).await {
            Ok(wider) if wider.has(scopes) => Ok(Next::AgainWith(wider)),
            // The refusal of the call says more than the refusal of the token.
            Ok(_) | Err(TokenFailure::Refused(_)) => Ok(Next::Answer),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Marked so that nothing prints it.
fn secret(text: &str) -> Result<HeaderValue, CallError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| TokenFailure::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// MCP 2026-07-28, Step-Up Authorization Flow: limit retries.
const STEP_UPS_MAX: u32 = 2;
const SCOPE_BYTES_MAX: usize = 8 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
