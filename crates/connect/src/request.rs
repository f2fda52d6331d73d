//! One token request: RFC 6749 section 4.4, RFC 7523 sections 2.1 and 2.2, RFC 9449 section 5, RFC 8707.

use attorn_jose::SignError;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::assertion::{AssertionFailure, ClientProof, JWT_BEARER};
use crate::code::{self, CodeFailure};
use crate::fetch::{self, FetchError, Fetched};
use crate::metadata::AuthorizationServer;
use crate::nonces::Nonces;
use crate::proof::{client_assertion, dpop_proof};
use crate::token::{Credential, Grant, Identity};
use crate::world::World;

/// What a token is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) server: &'a AuthorizationServer,
    pub(crate) resource: &'a str,
    pub(crate) scope: Option<&'a str>,
}

impl Wish<'_> {
    /// RFC 8705 section 5: a client with a certificate goes to the alias, where there is one.
    fn endpoint(&self, grant: &Grant) -> &Url {
        let alias = self.server.mtls_endpoint_aliases.as_ref();
        let alias = alias.and_then(|aliases| aliases.token_endpoint.as_ref());
        alias.filter(|_| grant.key().is_none()).unwrap_or(&self.server.token_endpoint)
    }
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) access_token: String,
    pub(crate) token_type: String,
    pub(crate) expires_in: Option<u64>,
    pub(crate) scope: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFailure {
    /// There is no assertion to ask with.
    #[error(transparent)]
    Assertion(#[from] AssertionFailure),
    /// The code flow ended before a token could be asked for.
    #[error(transparent)]
    Code(#[from] CodeFailure),
    /// The answer is no token and no error either.
    #[error("the authorization server's answer is not understood")]
    Malformed,
    /// The authorization server refused: RFC 6749 section 5.2.
    #[error("the authorization server refused: {}", .0.code)]
    Refused(Refusal),
    /// The key does not sign.
    #[error("the key does not sign")]
    Sign(#[from] SignError),
    /// The token is not bound to the key, so whoever reads it could use it.
    #[error("the authorization server gave a token that is not bound to the key")]
    Unbound,
    /// The authorization server does not answer.
    #[error("the authorization server did not answer")]
    Unreachable(#[source] FetchError),
}

/// What an authorization server said, made safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The `error` code.
    pub code: String,
    /// The `error_description`.
    pub description: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
}

/// Asks for a token; once more when the server wants its nonce in the proof.
pub(crate) async fn token(
    world: &World,
    nonces: &Nonces,
    grant: &Grant,
    wish: &Wish<'_>,
) -> Result<Answer, TokenFailure> {
    // A code is single use, but a nonce challenge does not redeem it.
    let code = match grant {
        Grant::Assertion(_) | Grant::ClientCredentials(_) => None,
        Grant::UnattendedCode(client) => Some(code::authorize(world, client, wish).await?),
    };
    // Nor is an assertion used up by one.
    let assertion = match grant {
        Grant::Assertion(client) => Some(client.assertion(world, wish).await?),
        Grant::ClientCredentials(_) | Grant::UnattendedCode(_) => None,
    };
    let mut nonce_asked = false;
    loop {
        let form = form(world, grant, wish, (code.as_ref(), assertion.as_deref()))?;
        let fetched = post(world, nonces, grant, wish, form).await?;
        let learned = nonces.learn(wish.endpoint(grant), &fetched.headers);
        if fetched.status == StatusCode::OK {
            let endpoint = &wish.server.token_endpoint;
            return fetch::parse(endpoint, &fetched.body).map_err(|_| TokenFailure::Malformed);
        }
        let refusal = refused(&wish.server.token_endpoint, &fetched)?;
        // RFC 9449 section 8: the retry carries the nonce. One retry, or two would loop for ever.
        if refusal.code != "use_dpop_nonce" || !learned || nonce_asked {
            return Err(TokenFailure::Refused(refusal));
        }
        nonce_asked = true;
    }
}

fn form(
    world: &World,
    grant: &Grant,
    wish: &Wish<'_>,
    (code, assertion): (Option<&code::Authorized>, Option<&String>),
) -> Result<String, TokenFailure> {
    let mut form = Serializer::new(String::new());
    match grant {
        Grant::Assertion(client) => {
            form.append_pair("grant_type", JWT_BEARER);
            if let Some(assertion) = assertion {
                form.append_pair("assertion", assertion);
            }
            if let ClientProof::Key(client_id) = &client.authentication {
                let own = client_assertion(world, &client.key, client_id, &wish.server.issuer)?;
                form.append_pair("client_id", client_id)
                    .append_pair("client_assertion_type", ASSERTION_TYPE)
                    .append_pair("client_assertion", &own);
            }
        }
        Grant::ClientCredentials(Identity { client_id, credential }) => {
            form.append_pair("grant_type", "client_credentials")
                .append_pair("client_id", client_id);
            match credential {
                // RFC 8705 section 2: the handshake says the rest.
                Credential::Certificate => {}
                Credential::Key(key) => {
                    // Made anew for each attempt: its `jti` is good for one.
                    let assertion = client_assertion(world, key, client_id, &wish.server.issuer)?;
                    form.append_pair("client_assertion_type", ASSERTION_TYPE)
                        .append_pair("client_assertion", &assertion);
                }
            }
        }
        Grant::UnattendedCode(_) => {
            if let Some(code) = code {
                code.append_to(&mut form);
            }
        }
    }
    // RFC 8707 section 2.2: the one place the token is for.
    form.append_pair("resource", wish.resource);
    if let Some(scope) = wish.scope {
        form.append_pair("scope", scope);
    }
    Ok(form.finish())
}

async fn post(
    world: &World,
    nonces: &Nonces,
    grant: &Grant,
    wish: &Wish<'_>,
    form: String,
) -> Result<Fetched, TokenFailure> {
    let endpoint = wish.endpoint(grant);
    let mut headers = fetch::content_type("application/x-www-form-urlencoded");
    if let Some(key) = grant.key() {
        let nonce = nonces.of(endpoint);
        let proof = dpop_proof(world, key, "POST", endpoint, None, nonce.as_deref())?;
        let mut proof = HeaderValue::from_str(&proof).map_err(|_| TokenFailure::Malformed)?;
        proof.set_sensitive(true);
        headers.insert(HeaderName::from_static("dpop"), proof);
    }
    if let Grant::Assertion(client) = grant {
        headers.extend(client.authorization()?.map(|value| (AUTHORIZATION, value)));
    }
    fetch::send(world, Method::POST, endpoint, headers, Bytes::from(form))
        .await
        .map_err(TokenFailure::Unreachable)
}

/// RFC 6749 section 5.2. A server fault is an outage, not a refusal.
pub(crate) fn refused(endpoint: &Url, fetched: &Fetched) -> Result<Refusal, TokenFailure> {
    if fetched.status.is_server_error() {
        let url = Box::new(endpoint.clone());
        return Err(TokenFailure::Unreachable(FetchError::Status { url, status: fetched.status }));
    }
    let answer: ErrorAnswer =
        fetch::parse(endpoint, &fetched.body).map_err(|_| TokenFailure::Malformed)?;
    Ok(Refusal {
        code: printable(&answer.error),
        description: answer.error_description.as_deref().map(printable),
    })
}

/// Text of a peer for a terminal or a log: RFC 6749 section 5.2 allows no more than this anyway.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| (' '..='~').contains(character))
        .take(TEXT_CHARACTERS_MAX)
        .collect()
}

pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TEXT_CHARACTERS_MAX: usize = 300;
