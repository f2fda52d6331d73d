//! What a connector reads of the two metadata documents: RFC 9728 and RFC 8414.
//!
//! Not implemented: `signed_metadata`, `jwks_uri` (a client verifies no access token).

use serde::{Deserialize, Deserializer};
use url::Url;

/// Metadata of a protected resource, RFC 9728 section 2.
#[derive(Clone, Debug, Deserialize)]
pub struct ProtectedResource {
    /// The resource identifier, as tokens will name it.
    pub resource: String,
    /// Issuer identifiers, the first preferred.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// Whether tokens must be bound by DPoP.
    #[serde(default)]
    pub dpop_bound_access_tokens_required: bool,
    /// Scopes that can be asked for; empty when it does not say.
    #[serde(default)]
    pub scopes_supported: Vec<String>,
}

/// Metadata of an authorization server, RFC 8414 section 2.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthorizationServer {
    /// The issuer identifier, compared by code point.
    pub issuer: String,
    /// Where tokens come from.
    #[serde(deserialize_with = "url")]
    pub token_endpoint: Url,
    /// Where codes come from.
    #[serde(default, deserialize_with = "present_url")]
    pub authorization_endpoint: Option<Url>,
    /// Where requests are pushed, RFC 9126 section 5.
    #[serde(default, deserialize_with = "present_url")]
    pub pushed_authorization_request_endpoint: Option<Url>,
    /// Where clients register themselves, RFC 7591.
    #[serde(default, deserialize_with = "present_url")]
    pub registration_endpoint: Option<Url>,
    /// RFC 8705 section 5.
    #[serde(default)]
    pub mtls_endpoint_aliases: Option<EndpointAliases>,
    /// RFC 8705 section 3.3: tokens of clients with certificates are bound to them.
    #[serde(default)]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// RFC 9449 section 5.1; empty when the server knows no DPoP.
    #[serde(default)]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// RFC 7636; without `S256` no code is asked for.
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
    /// RFC 9207 section 3.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    /// Scopes it knows; empty when it does not say.
    #[serde(default)]
    pub scopes_supported: Vec<String>,
    /// How clients authenticate.
    #[serde(default = "default_methods")]
    pub token_endpoint_auth_methods_supported: Vec<String>,
}

/// RFC 8705 section 5: where clients with certificates go.
#[derive(Clone, Debug, Deserialize)]
pub struct EndpointAliases {
    /// Where tokens come from.
    #[serde(default, deserialize_with = "present_url")]
    pub token_endpoint: Option<Url>,
}

/// Where the metadata of `identifier` may be, the most specific place first.
///
/// RFC 9728 section 3.1 and RFC 8414 section 3.1: the well-known text goes between host and path.
pub(crate) fn well_known(identifier: &Url, suffix: &str) -> Url {
    let mut url = identifier.clone();
    let path = identifier.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("/.well-known/{suffix}{path}"));
    url.set_fragment(None);
    url
}

/// As [`well_known`], for the whole host: MCP's fallback for resources.
pub(crate) fn well_known_root(identifier: &Url, suffix: &str) -> Url {
    let mut url = well_known(identifier, suffix);
    url.set_path(&format!("/.well-known/{suffix}"));
    url.set_query(None);
    url
}

/// OpenID Connect Discovery 1.0 section 4: the well-known text goes behind the path.
pub(crate) fn well_known_behind(identifier: &Url, suffix: &str) -> Url {
    let mut url = identifier.clone();
    let path = identifier.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{path}/.well-known/{suffix}"));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// RFC 8414 section 2: what counts when nothing is said.
fn default_methods() -> Vec<String> {
    vec!["client_secret_basic".to_owned()]
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(serde::de::Error::custom)
}

fn present_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    url(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_goes_between_host_and_path() {
        let url = Url::parse("https://gateway.example/billing/mcp").unwrap();
        assert_eq!(
            well_known(&url, "oauth-protected-resource").as_str(),
            "https://gateway.example/.well-known/oauth-protected-resource/billing/mcp"
        );
        assert_eq!(
            well_known_root(&url, "oauth-protected-resource").as_str(),
            "https://gateway.example/.well-known/oauth-protected-resource"
        );
        assert_eq!(
            well_known_behind(&url, "openid-configuration").as_str(),
            "https://gateway.example/billing/mcp/.well-known/openid-configuration"
        );
    }

    #[test]
    fn an_issuer_without_a_path_gets_no_final_slash() {
        let url = Url::parse("https://issuer.example").unwrap();
        assert_eq!(
            well_known(&url, "oauth-authorization-server").as_str(),
            "https://issuer.example/.well-known/oauth-authorization-server"
        );
    }
}
