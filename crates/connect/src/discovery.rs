//! From a resource URL to its authorization server.
//!
//! Implemented: the `resource_metadata` of a 401 challenge (RFC 9728 section 5.1), the
//! path-inserted and the root well-known URL, equality of `resource` and of `issuer` by code
//! point, RFC 8414 and OpenID Connect discovery of the authorization server.
//!
//! Not implemented: metadata on another origin than the resource (refused: a challenge may not
//! send a client elsewhere), several authorization servers tried in turn (the first or the pinned
//! one is used, so that a listed stranger is never asked).

use attorn_net::SendError;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use url::Url;

use crate::challenge::{Challenge, challenges};
use crate::fetch::{self, FetchError};
use crate::metadata::{
    AuthorizationServer, ProtectedResource, well_known, well_known_behind, well_known_root,
};
use crate::world::World;

/// A resource and whom it trusts for tokens.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The resource's own metadata.
    pub resource: ProtectedResource,
    /// Metadata of the one authorization server used.
    pub server: AuthorizationServer,
    /// The scopes its challenge named: RFC 6750 section 3.
    pub challenged_scope: Option<String>,
}

impl Discovered {
    /// What to ask for first: MCP 2026-07-28, Scope Selection Strategy.
    pub(crate) fn first_scope(&self) -> Option<String> {
        let supported = || Some(self.resource.scopes_supported.join(" "));
        self.challenged_scope.clone().or_else(supported).filter(|scope| !scope.is_empty())
    }
}

/// Why a resource cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Metadata of neither form was found.
    #[error("no authorization server metadata for `{issuer}`")]
    AuthorizationServerUnknown {
        /// The issuer asked for.
        issuer: String,
        /// The last failure.
        source: FetchError,
    },
    /// RFC 8414 section 3.3.
    #[error("the metadata of issuer `{expected}` names another issuer")]
    IssuerMismatch {
        /// The issuer identifier asked for.
        expected: String,
    },
    /// The pinned issuer is not among the resource's authorization servers.
    #[error("the resource does not name issuer `{pinned}`")]
    IssuerNotListed {
        /// The issuer that was required.
        pinned: String,
    },
    /// The resource names no authorization server.
    #[error("the resource names no authorization server")]
    NoAuthorizationServer,
    /// No protected resource metadata was found.
    #[error("no protected resource metadata for `{resource}`")]
    NotProtected {
        /// The URL asked for.
        resource: Box<Url>,
        /// The last failure.
        source: FetchError,
    },
    /// RFC 9728 section 3.3.
    #[error("the metadata of `{expected}` describes another resource")]
    ResourceMismatch {
        /// The resource asked for.
        expected: Box<Url>,
    },
    /// The resource itself does not answer.
    #[error("`{resource}` did not answer")]
    Unreachable {
        /// The URL asked for.
        resource: Box<Url>,
        /// What happened.
        source: SendError,
    },
    /// A URL that may not be used: not absolute, or plain HTTP named by an HTTPS document.
    #[error("`{url}` may not be used")]
    UrlRefused {
        /// The URL as it was given.
        url: String,
    },
}

/// Finds the metadata of `resource` and of its authorization server.
///
/// With `pinned_issuer` only that one is used, and only if the resource lists it.
///
/// # Errors
/// See [`DiscoveryError`].
pub async fn discover(
    world: &World,
    resource: &Url,
    pinned_issuer: Option<&str>,
) -> Result<Discovered, DiscoveryError> {
    let (found, challenged_scope) = protected_resource(world, resource).await?;
    let issuer = match pinned_issuer {
        Some(pinned) => found
            .authorization_servers
            .iter()
            .find(|listed| *listed == pinned)
            .ok_or_else(|| DiscoveryError::IssuerNotListed { pinned: pinned.to_owned() })?,
        None => found.authorization_servers.first().ok_or(DiscoveryError::NoAuthorizationServer)?,
    };
    let server = authorization_server(world, issuer).await?;
    same_protection(resource, &server.token_endpoint)?;
    Ok(Discovered { resource: found, server, challenged_scope })
}

/// Reads the metadata of the authorization server called `issuer`.
///
/// # Errors
/// See [`DiscoveryError`].
pub async fn authorization_server(
    world: &World,
    issuer: &str,
) -> Result<AuthorizationServer, DiscoveryError> {
    let refused = || DiscoveryError::UrlRefused { url: issuer.to_owned() };
    let url = Url::parse(issuer).map_err(|_| refused())?;
    // RFC 8414 section 2: an issuer has no query and no fragment.
    if url.query().is_some() || url.fragment().is_some() || url.host_str().is_none() {
        return Err(refused());
    }
    let places = [
        well_known(&url, "oauth-authorization-server"),
        well_known(&url, "openid-configuration"),
        well_known_behind(&url, "openid-configuration"),
    ];
    let mut failure = None;
    for place in &places {
        match fetch::get_json::<AuthorizationServer>(world, place).await {
            // RFC 8414 section 3.3: the issuer must be identical to the one asked for.
            Ok(server) if server.issuer != issuer => {
                return Err(DiscoveryError::IssuerMismatch { expected: issuer.to_owned() });
            }
            Ok(server) => {
                let endpoints = [
                    Some(&server.token_endpoint),
                    server.authorization_endpoint.as_ref(),
                    server.registration_endpoint.as_ref(),
                    server.pushed_authorization_request_endpoint.as_ref(),
                ];
                for endpoint in endpoints.into_iter().flatten() {
                    same_protection(&url, endpoint)?;
                }
                return Ok(server);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(source) => {
            Err(DiscoveryError::AuthorizationServerUnknown { issuer: issuer.to_owned(), source })
        }
        None => Err(refused()),
    }
}

async fn protected_resource(
    world: &World,
    resource: &Url,
) -> Result<(ProtectedResource, Option<String>), DiscoveryError> {
    if resource.host_str().is_none() || resource.fragment().is_some() {
        return Err(DiscoveryError::UrlRefused { url: resource.to_string() });
    }
    let Challenged { metadata, scope } = challenged(world, resource).await?;
    // MCP 2026-07-28, Authorization Server Discovery: the named URL is used when there is one,
    // else the path-inserted well-known URL, else the one at the root.
    let places = match metadata {
        Some(named) => vec![named],
        None => vec![
            well_known(resource, "oauth-protected-resource"),
            well_known_root(resource, "oauth-protected-resource"),
        ],
    };
    let mut failure = None;
    for place in places {
        match fetch::get_json::<ProtectedResource>(world, &place).await {
            Ok(found) if describes(&found, resource, &place) => return Ok((found, scope)),
            // RFC 9728 section 3.3: metadata of another resource must not be used.
            Ok(_) => {
                return Err(DiscoveryError::ResourceMismatch {
                    expected: Box::new(resource.clone()),
                });
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(source) => {
            Err(DiscoveryError::NotProtected { resource: Box::new(resource.clone()), source })
        }
        None => Err(DiscoveryError::UrlRefused { url: resource.to_string() }),
    }
}

/// RFC 9728 section 3.3: equal by code point. Root metadata describes the whole origin.
fn describes(found: &ProtectedResource, resource: &Url, place: &Url) -> bool {
    if found.resource == resource.as_str() {
        return true;
    }
    let origin = resource.origin().ascii_serialization();
    let root = well_known_root(resource, "oauth-protected-resource");
    // `Url` writes the origin with a final slash; both spellings name the same resource.
    *place == root && found.resource.trim_end_matches('/') == origin
}

/// What a challenge says.
#[derive(Default)]
struct Challenged {
    metadata: Option<Url>,
    scope: Option<String>,
}

/// Asks without a token and reads the challenge. Nothing of a later call is in this request.
async fn challenged(world: &World, resource: &Url) -> Result<Challenged, DiscoveryError> {
    let mut request = Request::new(Bytes::from_static(PROBE));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = resource
        .as_str()
        .parse()
        .map_err(|_| DiscoveryError::UrlRefused { url: resource.to_string() })?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let response = world.client.send(request).await.map_err(|source| {
        DiscoveryError::Unreachable { resource: Box::new(resource.clone()), source }
    })?;
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(Challenged::default());
    }
    let challenges = challenges(response.headers());
    let scope = challenges.iter().find_map(Challenge::scope).map(str::to_owned);
    let named = challenges.iter().find_map(Challenge::resource_metadata);
    let metadata = match named.map(Url::parse) {
        None => None,
        Some(Ok(url)) if url.origin() == resource.origin() => Some(url),
        Some(Ok(_) | Err(_)) => {
            let url = named.unwrap_or_default().to_owned();
            return Err(DiscoveryError::UrlRefused { url });
        }
    };
    Ok(Challenged { metadata, scope })
}

/// A document read over TLS must not send credentials anywhere without TLS.
fn same_protection(from: &Url, to: &Url) -> Result<(), DiscoveryError> {
    let kept = match from.scheme() {
        "https" => to.scheme() == "https",
        "http" => matches!(to.scheme(), "http" | "https"),
        _ => false,
    };
    if kept { Ok(()) } else { Err(DiscoveryError::UrlRefused { url: to.to_string() }) }
}

/// A request that does nothing on a server that asks for no token.
const PROBE: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;
