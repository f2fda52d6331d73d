//! Who the application is at an authorization server: registered by somebody, known by a document,
//! or registered by itself (RFC 7591).

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CodeFailure, Login, PersonClient};
use crate::fetch::{self, FetchError};
use crate::metadata::AuthorizationServer;
use crate::secret::{Authentication, ClientSecret, Method as SecretMethod};
use crate::world::World;

/// A client that is known before it asks.
#[derive(Clone, Debug)]
pub struct KnownClient {
    /// What it was registered as, or the `https` URL of its metadata document.
    pub client_id: String,
    /// What some servers give to clients; Attorn gives none.
    pub secret: Option<ClientSecret>,
}

impl KnownClient {
    /// Whether any server can look it up. A name that one server gave means nothing at another one.
    pub(crate) fn is_document(&self) -> bool {
        self.client_id.starts_with("https://") && self.secret.is_none()
    }
}

/// A client at one server.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// Its name there.
    pub(crate) client_id: String,
    /// Where its answers come to.
    pub(crate) redirect_uri: String,
    pub(crate) authentication: Authentication,
    is_dynamic: bool,
}

impl Registered {
    /// A client without a secret, as it was remembered.
    pub(crate) const fn public(client_id: String, redirect_uri: String, is_dynamic: bool) -> Self {
        Self { client_id, redirect_uri, authentication: Authentication::None, is_dynamic }
    }

    /// Whether it made itself known, so that it can do so again.
    pub(crate) const fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// Whether it holds no secret, so that it can be remembered.
    pub(crate) const fn is_public(&self) -> bool {
        matches!(self.authentication, Authentication::None)
    }

    /// Whether it is who `known` says, or nobody says anything.
    pub(crate) fn is(&self, known: Option<&KnownClient>) -> bool {
        known.map_or(self.is_dynamic, |known| known.client_id == self.client_id)
    }
}

#[derive(Serialize)]
struct Registration<'a> {
    application_type: &'static str,
    client_name: &'static str,
    dpop_bound_access_tokens: bool,
    grant_types: [&'static str; 2],
    redirect_uris: [&'a str; 1],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
}

/// The client at this server, made where there is none.
pub(super) async fn ensure(
    world: &World,
    client: &PersonClient,
    server: &AuthorizationServer,
    login: &mut Login,
    redirect_uri: &str,
) -> Result<Registered, CodeFailure> {
    let kept = login.client.take().filter(|kept| kept.redirect_uri == redirect_uri);
    let registered = match (kept, &client.known) {
        (Some(kept), _) => kept,
        (None, Some(known)) => Registered {
            client_id: known.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            authentication: Authentication::with(known.secret.clone(), method(server)),
            is_dynamic: false,
        },
        (None, None) => register(world, server, redirect_uri).await?,
    };
    Ok(login.client.insert(registered).clone())
}

/// RFC 7591 section 3. A public client, unless the server knows clients with a secret only.
async fn register(
    world: &World,
    server: &AuthorizationServer,
    redirect_uri: &str,
) -> Result<Registered, CodeFailure> {
    let endpoint = server.registration_endpoint.as_ref().ok_or(CodeFailure::Registration(None))?;
    let method = method(server);
    let body = serde_json::to_vec(&Registration {
        application_type: "native",
        client_name: "attorn connect",
        dpop_bound_access_tokens: !server.dpop_signing_alg_values_supported.is_empty(),
        grant_types: ["authorization_code", "refresh_token"],
        redirect_uris: [redirect_uri],
        response_types: ["code"],
        token_endpoint_auth_method: method.map_or("none", SecretMethod::name),
    });
    let body = Bytes::from(body.map_err(|_| CodeFailure::Registration(None))?);
    let headers = fetch::content_type("application/json");
    let failed = |error| CodeFailure::Registration(Some(error));
    let fetched =
        fetch::send(world, Method::POST, endpoint, headers, body).await.map_err(failed)?;
    if !fetched.status.is_success() {
        let url = Box::new(endpoint.clone());
        return Err(failed(FetchError::Status { url, status: fetched.status }));
    }
    let answer: Answer = fetch::parse(endpoint, &fetched.body).map_err(failed)?;
    // RFC 7591 section 3.2.1: the server may choose another method than was asked for.
    let method = match answer.token_endpoint_auth_method.as_deref() {
        Some(named) => SecretMethod::of(named),
        None => method,
    };
    let secret = answer.client_secret.map(|text| ClientSecret::new(Zeroizing::new(text)));
    Ok(Registered {
        client_id: answer.client_id,
        redirect_uri: redirect_uri.to_owned(),
        authentication: Authentication::with(secret, method),
        is_dynamic: true,
    })
}

/// How clients authenticate there: without a secret wherever that is possible.
fn method(server: &AuthorizationServer) -> Option<SecretMethod> {
    let supported = &server.token_endpoint_auth_methods_supported;
    if supported.iter().any(|name| name == "none") {
        return None;
    }
    supported.iter().find_map(|name| SecretMethod::of(name))
}
