//! One token request: RFC 6749 sections 4.1.3, 4.4 and 6, RFC 7523 sections 2.1 and 2.2, RFC 9449
//! section 5, RFC 8707.

use attorn_jose::SignError;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::assertion::{AssertionClient, AssertionFailure, ClientProof, JWT_BEARER};
use crate::code::{self, Authorized, CodeFailure, Login, PersonClient, Registered};
use crate::fetch::{self, FetchError, Fetched};
use crate::login_file::LoginFileError;
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
    /// Whether it is more than was had before, so that a renewal does not do.
    pub(crate) is_wider: bool,
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
    refresh_token: Option<String>,
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
    /// The resource names another authorization server now, at which the client is not known.
    #[error("the server trusts another authorization server now: `{issuer}`")]
    Moved {
        /// The issuer it names now.
        issuer: String,
    },
    /// What the person gave cannot be kept, or read again.
    #[error(transparent)]
    Kept(#[from] LoginFileError),
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

/// Gets a token, with whatever the grant needs first.
pub(crate) async fn token(
    world: &World,
    nonces: &Nonces,
    grant: &Grant,
    wish: &Wish<'_>,
    login: &mut Login,
) -> Result<Answer, TokenFailure> {
    match grant {
        Grant::ClientCredentials(identity) => {
            redeem(world, nonces, (grant, wish), &Redeemed::Itself(identity)).await
        }
        Grant::Assertion(client) => {
            // A nonce challenge does not use it up.
            let assertion = client.assertion(world, wish).await?;
            redeem(world, nonces, (grant, wish), &Redeemed::Assertion(client, &assertion)).await
        }
        Grant::Person(client) => of_person(world, nonces, (grant, client), wish, login).await,
    }
}

/// Renews what a person gave; asks the person when there is nothing, it counts no longer, or is too
/// little.
async fn of_person(
    world: &World,
    nonces: &Nonces,
    (grant, client): (&Grant, &PersonClient),
    wish: &Wish<'_>,
    login: &mut Login,
) -> Result<Answer, TokenFailure> {
    if !wish.is_wider
        && let (Some(known), Some(kept)) = (&login.client, &login.refresh_token)
    {
        let redeemed = Redeemed::Refresh(known, kept);
        match redeem(world, nonces, (grant, wish), &redeemed).await {
            Ok(answer) => return Ok(with_refresh(answer, login)),
            // RFC 6749 section 5.2: it has ended, or was taken back.
            Err(TokenFailure::Refused(refusal)) => {
                login.refresh_token = None;
                if code::is_forgotten(&refusal) {
                    login.client = None;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    let (known, code) = code::authorize(world, client, wish, login).await?;
    let answer = redeem(world, nonces, (grant, wish), &Redeemed::Code(&known, &code)).await?;
    Ok(with_refresh(answer, login))
}

/// RFC 6749 section 6: without a new one, the old one goes on.
fn with_refresh(mut answer: Answer, login: &mut Login) -> Answer {
    if let Some(new) = answer.refresh_token.take() {
        login.refresh_token = Some(Zeroizing::new(new));
    }
    answer
}

/// What is given for a token.
enum Redeemed<'a> {
    Assertion(&'a AssertionClient, &'a str),
    Code(&'a Registered, &'a Authorized),
    Itself(&'a Identity),
    Refresh(&'a Registered, &'a str),
}

/// One request; once more when the server wants its nonce in the proof. A code is single use, but a
/// nonce challenge does not redeem it.
async fn redeem(
    world: &World,
    nonces: &Nonces,
    (grant, wish): (&Grant, &Wish<'_>),
    redeemed: &Redeemed<'_>,
) -> Result<Answer, TokenFailure> {
    let mut nonce_asked = false;
    loop {
        let (form, headers) = form(world, wish, redeemed)?;
        let fetched = post(world, nonces, (grant, wish), (form, headers)).await?;
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
    wish: &Wish<'_>,
    redeemed: &Redeemed<'_>,
) -> Result<(String, HeaderMap), TokenFailure> {
    let mut form = Serializer::new(String::new());
    let mut headers = fetch::content_type("application/x-www-form-urlencoded");
    match redeemed {
        Redeemed::Assertion(client, assertion) => {
            form.append_pair("grant_type", JWT_BEARER).append_pair("assertion", assertion);
            match &client.authentication {
                ClientProof::Assertion => {}
                ClientProof::Key(client_id) => {
                    let issuer = &wish.server.issuer;
                    let own = client_assertion(world, &client.key, client_id, issuer)?;
                    form.append_pair("client_id", client_id)
                        .append_pair("client_assertion_type", ASSERTION_TYPE)
                        .append_pair("client_assertion", &own);
                }
                ClientProof::Secret { client_id, secret } => {
                    headers.insert(AUTHORIZATION, secret.basic(client_id)?);
                }
            }
            append_scope(&mut form, wish);
        }
        Redeemed::Itself(Identity { client_id, credential }) => {
            form.append_pair("grant_type", "client_credentials");
            form.append_pair("client_id", client_id);
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
            append_scope(&mut form, wish);
        }
        // RFC 6749 section 4.1.3: the scope is that of the request the code answers.
        Redeemed::Code(known, code) => {
            known.authentication.apply(&known.client_id, &mut form, &mut headers)?;
            code.append_to(&mut form);
        }
        // RFC 6749 section 6: no scope means what was given.
        Redeemed::Refresh(known, kept) => {
            known.authentication.apply(&known.client_id, &mut form, &mut headers)?;
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", kept);
        }
    }
    // RFC 8707 section 2.2: the one place the token is for.
    form.append_pair("resource", wish.resource);
    Ok((form.finish(), headers))
}

fn append_scope(form: &mut Serializer<'_, String>, wish: &Wish<'_>) {
    if let Some(scope) = wish.scope {
        form.append_pair("scope", scope);
    }
}

async fn post(
    world: &World,
    nonces: &Nonces,
    (grant, wish): (&Grant, &Wish<'_>),
    (form, mut headers): (String, HeaderMap),
) -> Result<Fetched, TokenFailure> {
    let endpoint = wish.endpoint(grant);
    if let Some(key) = grant.key() {
        let nonce = nonces.of(endpoint);
        let proof = dpop_proof(world, key, "POST", endpoint, None, nonce.as_deref())?;
        let mut proof = HeaderValue::from_str(&proof).map_err(|_| TokenFailure::Malformed)?;
        proof.set_sensitive(true);
        headers.insert(HeaderName::from_static("dpop"), proof);
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
