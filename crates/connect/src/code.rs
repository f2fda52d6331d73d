//! The authorization code flow with a person: RFC 6749 section 4.1 for native applications (RFC 8252).
//!
//! Implemented: PKCE with S256 (RFC 7636), a pushed request where the server takes one (RFC 9126),
//! `dpop_jkt` (RFC 9449 section 10), one answer at a loopback port with `state` and `iss` (RFC 9207)
//! checked, refresh tokens.
//!
//! Not implemented: private-use schemes, the device grant.
//!
//! File to open first: this one, then `callback.rs`, then `registration.rs`.

mod callback;
mod registration;

use std::fmt;
use std::io;
use std::sync::Arc;

use attorn_jose::{SigningKey, base64url, sha256};
use attorn_net::BindError;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::fetch::{self, FetchError};
use crate::login_file::LoginFile;
use crate::request::{Refusal, TokenFailure, Wish, printable, refused};
use crate::world::World;

pub use registration::KnownClient;
pub(crate) use registration::Registered;

use callback::Callback;

/// An application that acts for a person.
#[derive(Clone, Debug)]
pub struct PersonClient {
    /// Who the application is, where an operator or a document says so; else it registers itself.
    pub known: Option<KnownClient>,
    /// The key that signs proofs. It binds tokens and does not authenticate.
    pub key: SigningKey,
    /// How a person gets to see a page.
    pub browser: Browser,
    /// Where what the person gave is kept between starts.
    pub file: Option<LoginFile>,
}

/// Opens an address for the person at this computer.
#[derive(Clone)]
pub struct Browser(Arc<Open>);

type Open = dyn Fn(&Url) -> io::Result<()> + Send + Sync;

impl Browser {
    /// `open` is called once for each question to the person; it must not wait for the answer.
    pub fn new(open: impl Fn(&Url) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Browser(..)")
    }
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CodeFailure {
    /// What opens addresses does not start.
    #[error("no browser could be opened")]
    Browser(#[source] io::Error),
    /// The authorization server, or the person, said no.
    #[error("the authorization server refused: {code}")]
    Denied {
        /// The `error` code, made safe to print.
        code: String,
    },
    /// RFC 9207 section 2.4.
    #[error("the answer does not name the authorization server that was asked")]
    IssuerMismatch,
    /// Neither a code nor an error, both, or one of them twice.
    #[error("the answer at the loopback port is not understood")]
    Malformed,
    /// Nobody answered in time.
    #[error("nobody answered in the browser")]
    NobodyAnswered,
    /// Metadata lacks the authorization endpoint or S256.
    #[error("the authorization server offers no code flow with PKCE S256")]
    NotOffered,
    /// No port of 127.0.0.1 is to be had.
    #[error("no loopback port for the answer")]
    Port(#[source] BindError),
    /// The application cannot become known there.
    #[error("the client could not be registered")]
    Registration(#[source] Option<FetchError>),
    /// RFC 6749 section 10.12.
    #[error("the answer belongs to another request")]
    StateMismatch,
}

/// What an application has at one authorization server. Nothing of it is used at another one.
#[derive(Clone, Default)]
pub(crate) struct Login {
    /// Who it is there.
    pub(crate) client: Option<Registered>,
    /// Good for one renewal.
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login([redacted])")
    }
}

/// A code and what redeems it. Used once.
pub(crate) struct Authorized {
    code: Zeroizing<String>,
    redirect_uri: String,
    verifier: String,
}

impl Authorized {
    pub(crate) fn append_to(&self, form: &mut Serializer<'_, String>) {
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", &self.code)
            .append_pair("code_verifier", &self.verifier)
            .append_pair("redirect_uri", &self.redirect_uri);
    }
}

/// Asks the person. The client is registered first where it is not yet, and once more where the
/// server has forgotten it.
pub(crate) async fn authorize(
    world: &World,
    client: &PersonClient,
    wish: &Wish<'_>,
    login: &mut Login,
) -> Result<(Registered, Authorized), TokenFailure> {
    let before = login.client.as_ref().map(|known| known.redirect_uri.as_str());
    let callback = Callback::bind(before).await.map_err(CodeFailure::Port)?;
    let redirect_uri = callback.redirect_uri().to_owned();
    let was_registered = login.client.is_some();
    let known = registration::ensure(world, client, wish.server, login, &redirect_uri).await?;
    let (state, verifier) = (world.secret(), world.secret());
    let url = match asked(world, client, wish, (&known, &state, &verifier)).await {
        Err(TokenFailure::Refused(refusal))
            if was_registered && known.is_dynamic() && is_forgotten(&refusal) =>
        {
            login.client = None;
            let known =
                registration::ensure(world, client, wish.server, login, &redirect_uri).await?;
            asked(world, client, wish, (&known, &state, &verifier)).await?
        }
        asked => asked?,
    };
    (client.browser.0)(&url).map_err(CodeFailure::Browser)?;
    let code = callback.code(wish.server, &state).await?;
    let known = login.client.clone().unwrap_or(known);
    Ok((known, Authorized { code, redirect_uri, verifier }))
}

/// The address that the person is to open.
async fn asked(
    world: &World,
    client: &PersonClient,
    wish: &Wish<'_>,
    (known, state, verifier): (&Registered, &str, &str),
) -> Result<Url, TokenFailure> {
    let server = wish.server;
    let offered = server.code_challenge_methods_supported.iter().any(|method| method == "S256");
    let endpoint = server.authorization_endpoint.as_ref().filter(|_| offered);
    let endpoint = endpoint.ok_or(CodeFailure::NotOffered)?;
    let parameters = parameters(client, wish, (known, state, verifier));
    match &server.pushed_authorization_request_endpoint {
        Some(push) => pushed(world, push, (endpoint, known), &parameters).await,
        None => Ok(with_query(endpoint, &parameters)),
    }
}

fn parameters(
    client: &PersonClient,
    wish: &Wish<'_>,
    (known, state, verifier): (&Registered, &str, &str),
) -> Vec<(&'static str, String)> {
    let mut parameters = vec![
        ("response_type", "code".to_owned()),
        ("client_id", known.client_id.clone()),
        ("redirect_uri", known.redirect_uri.clone()),
        ("state", state.to_owned()),
        // RFC 7636 section 4.2.
        ("code_challenge", base64url(&sha256(verifier.as_bytes()))),
        ("code_challenge_method", "S256".to_owned()),
        // RFC 9449 section 10: the code is good for this key only.
        ("dpop_jkt", client.key.public().thumbprint().to_string()),
        ("resource", wish.resource.to_owned()),
    ];
    if let Some(scope) = wish.scope {
        // OpenID Connect Core section 11; asked for only where the server knows it.
        let is_known = wish.server.scopes_supported.iter().any(|known| known == OFFLINE_ACCESS);
        let is_asked = scope.split(' ').any(|asked| asked == OFFLINE_ACCESS);
        let more = if is_known && !is_asked { " offline_access" } else { "" };
        parameters.push(("scope", format!("{scope}{more}")));
    }
    parameters
}

fn with_query(endpoint: &Url, parameters: &[(&'static str, String)]) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut().extend_pairs(parameters);
    url
}

#[derive(Deserialize)]
struct Pushed {
    request_uri: String,
}

/// RFC 9126 section 2: the browser carries a name of the request, and nothing to tamper with.
async fn pushed(
    world: &World,
    push: &Url,
    (endpoint, known): (&Url, &Registered),
    parameters: &[(&'static str, String)],
) -> Result<Url, TokenFailure> {
    let (form, headers) = push_form(known, parameters)?;
    let fetched = fetch::send(world, Method::POST, push, headers, Bytes::from(form)).await;
    let fetched = fetched.map_err(TokenFailure::Unreachable)?;
    if fetched.status != StatusCode::CREATED && fetched.status != StatusCode::OK {
        return Err(TokenFailure::Refused(refused(push, &fetched)?));
    }
    let pushed: Pushed = fetch::parse(push, &fetched.body).map_err(|_| TokenFailure::Malformed)?;
    let named = [("client_id", known.client_id.clone()), ("request_uri", pushed.request_uri)];
    Ok(with_query(endpoint, &named))
}

fn push_form(
    known: &Registered,
    parameters: &[(&'static str, String)],
) -> Result<(String, HeaderMap), TokenFailure> {
    let mut form = Serializer::new(String::new());
    let mut headers = fetch::content_type("application/x-www-form-urlencoded");
    known.authentication.apply(&known.client_id, &mut form, &mut headers)?;
    // The client is named by what it authenticates with.
    form.extend_pairs(parameters.iter().filter(|(name, _)| *name != "client_id"));
    Ok((form.finish(), headers))
}

/// Whether a refusal says that what the application has at the server counts no longer.
pub(crate) fn is_forgotten(refusal: &Refusal) -> bool {
    matches!(refusal.code.as_str(), "invalid_client" | "unauthorized_client")
}

fn denied(code: &str) -> CodeFailure {
    CodeFailure::Denied { code: printable(code) }
}

const OFFLINE_ACCESS: &str = "offline_access";
