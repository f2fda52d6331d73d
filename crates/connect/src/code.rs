//! The authorization code flow without a browser, for servers that approve by themselves.
//!
//! Implemented: RFC 7591 registration as a public native client, PKCE with S256 (RFC 7636), one
//! redirect read but not followed, `state` and `iss` (RFC 9207) checked.
//!
//! Not implemented: showing a page to a person. A server that wants one answers with something
//! else than a redirect to us, and the flow ends. It runs only where the user asked for it.

use attorn_jose::{SigningKey, base64url, sha256};
use attorn_net::SendError;
use bytes::Bytes;
use http::header::LOCATION;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::fetch::{self, FetchError};
use crate::metadata::AuthorizationServer;
use crate::request::{Wish, printable};
use crate::world::World;

/// A public client: its key binds tokens but does not authenticate it.
#[derive(Clone, Debug)]
pub struct CodeClient {
    /// Known from a registration before; without one the client registers itself.
    pub client_id: Option<String>,
    /// The key that signs proofs.
    pub key: SigningKey,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CodeFailure {
    /// The authorization server returned an error.
    #[error("the authorization server refused: {code}")]
    Denied {
        /// The `error` code, made safe to print.
        code: String,
    },
    /// RFC 9207 section 2.4.
    #[error("the redirect does not name the authorization server that was asked")]
    IssuerMismatch,
    /// Metadata lacks the authorization endpoint or S256.
    #[error("the authorization server offers no code flow with PKCE S256")]
    NotOffered,
    /// The answer is no redirect to us: most likely a page for a person.
    #[error("the authorization server wants a person")]
    PersonNeeded,
    /// The client cannot register itself.
    #[error("the client could not be registered")]
    Registration(#[source] Option<FetchError>),
    /// RFC 6749 section 10.12.
    #[error("the redirect answers another request")]
    StateMismatch,
    /// The authorization server does not answer.
    #[error("the authorization server did not answer")]
    Unreachable(#[source] SendError),
}

/// A code and what redeems it. Used once.
pub(crate) struct Authorized {
    client_id: String,
    code: String,
    verifier: String,
}

impl Authorized {
    pub(crate) fn append_to(&self, form: &mut Serializer<'_, String>) {
        form.append_pair("grant_type", "authorization_code")
            .append_pair("client_id", &self.client_id)
            .append_pair("code", &self.code)
            .append_pair("code_verifier", &self.verifier)
            .append_pair("redirect_uri", REDIRECT_URI);
    }
}

#[derive(Serialize)]
struct Registration {
    application_type: &'static str,
    client_name: &'static str,
    dpop_bound_access_tokens: bool,
    grant_types: [&'static str; 1],
    redirect_uris: [&'static str; 1],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
}

/// Gets one code.
pub(crate) async fn authorize(
    world: &World,
    client: &CodeClient,
    wish: &Wish<'_>,
) -> Result<Authorized, CodeFailure> {
    let server = wish.server;
    let offered = server.code_challenge_methods_supported.iter().any(|method| method == "S256");
    let endpoint = server.authorization_endpoint.as_ref().filter(|_| offered);
    let mut url = endpoint.cloned().ok_or(CodeFailure::NotOffered)?;
    let client_id = match &client.client_id {
        Some(known) => known.clone(),
        None => register(world, server).await?,
    };
    let (state, verifier) = (world.secret(), world.secret());
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &client_id)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("state", &state)
            // RFC 7636 section 4.2.
            .append_pair("code_challenge", &base64url(&sha256(verifier.as_bytes())))
            .append_pair("code_challenge_method", "S256")
            // RFC 9449 section 10: the code is good for this key only.
            .append_pair("dpop_jkt", &client.key.public().thumbprint().to_string())
            .append_pair("resource", wish.resource);
        if let Some(scope) = wish.scope {
            query.append_pair("scope", scope);
        }
    }
    let redirect = redirect(world, &url).await?;
    let code = code_of(&redirect, server, &state)?;
    Ok(Authorized { client_id, code, verifier })
}

/// Asks, and reads where the answer points. Nothing listens there: the code is in the text.
async fn redirect(world: &World, url: &Url) -> Result<Url, CodeFailure> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.as_str().parse().map_err(|_| CodeFailure::NotOffered)?;
    let response = world.client.send(request).await.map_err(CodeFailure::Unreachable)?;
    if !matches!(response.status(), StatusCode::FOUND | StatusCode::SEE_OTHER) {
        return Err(CodeFailure::PersonNeeded);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let ours = location.filter(|location| {
        location.strip_prefix(REDIRECT_URI).is_some_and(|rest| rest.starts_with('?'))
    });
    ours.and_then(|location| Url::parse(location).ok()).ok_or(CodeFailure::PersonNeeded)
}

fn code_of(
    redirect: &Url,
    server: &AuthorizationServer,
    state: &str,
) -> Result<String, CodeFailure> {
    let only = |name: &str| {
        let mut values = redirect.query_pairs().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.into_owned());
        if values.next().is_some() { None } else { first }
    };
    if only("state").as_deref() != Some(state) {
        return Err(CodeFailure::StateMismatch);
    }
    // RFC 9207 section 2.4: absent is only fine when it was not announced.
    match only("iss") {
        Some(issuer) if issuer == server.issuer => {}
        None if !server.authorization_response_iss_parameter_supported => {}
        Some(_) | None => return Err(CodeFailure::IssuerMismatch),
    }
    if let Some(code) = only("error") {
        return Err(CodeFailure::Denied { code: printable(&code) });
    }
    only("code").ok_or(CodeFailure::PersonNeeded)
}

async fn register(world: &World, server: &AuthorizationServer) -> Result<String, CodeFailure> {
    let endpoint = server.registration_endpoint.as_ref().ok_or(CodeFailure::Registration(None))?;
    let body = serde_json::to_vec(&Registration {
        application_type: "native",
        client_name: "attorn connect",
        dpop_bound_access_tokens: true,
        grant_types: ["authorization_code"],
        redirect_uris: [REDIRECT_URI],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
    });
    let body = Bytes::from(body.map_err(|_| CodeFailure::Registration(None))?);
    let headers = fetch::content_type("application/json");
    let failed = |error| CodeFailure::Registration(Some(error));
    let fetched =
        fetch::send(world, http::Method::POST, endpoint, headers, body).await.map_err(failed)?;
    if !fetched.status.is_success() {
        let url = Box::new(endpoint.clone());
        return Err(failed(FetchError::Status { url, status: fetched.status }));
    }
    let registered: Registered = fetch::parse(endpoint, &fetched.body).map_err(failed)?;
    Ok(registered.client_id)
}

/// RFC 8252 section 7.3. Nothing listens on it.
const REDIRECT_URI: &str = "http://127.0.0.1:9876/callback";
