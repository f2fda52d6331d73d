//! Metadata documents, written by the servers and read by the client.
//!
//! Implemented: RFC 8414 section 2 with the members of RFC 9449 section 5.1 and RFC 8705 sections
//! 3.3 and 5, RFC 9126 section 5 and RFC 9207 section 3, and RFC 9728 section 2. Only what is served is announced. Not implemented: signed metadata, languages.

use attorn_jose::Algorithm;
use attorn_json::Limits;
use serde::{Deserialize, Serialize};

use crate::client_metadata::{CODE_GRANT, REFRESH_GRANT};
use crate::id_jag::ID_JAG_PROFILE;
use crate::jwt_grant::{GrantUse, JWT_BEARER};
use crate::resource::{IssuerUrl, ResourceIndicator, UrlRefusal};
use crate::token_request::TOKEN_EXCHANGE;

/// A document of an authorization server or resource: 64 KiB, depth 8.
const LIMITS: Limits = Limits { bytes_max: 64 << 10, depth_max: 8 };

/// RFC 8414 section 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// RFC 9396 section 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details_types_supported: Vec<String>,
    /// draft-ietf-oauth-identity-assertion-authz-grant-04 section 7.2. It tells that there is such a
    /// grant, and never whose word counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_grant_profiles_supported: Vec<String>,
    /// RFC 8414 section 2 asks for it only where a grant uses it. MCP clients refuse a document
    /// without it, so where nobody logs in it names a page that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// RFC 9207 section 3.
    #[serde(default, skip_serializing_if = "is_false")]
    pub authorization_response_iss_parameter_supported: bool,
    /// draft-ietf-oauth-client-id-metadata-document-02 section 6.
    #[serde(default, skip_serializing_if = "is_false")]
    pub client_id_metadata_document_supported: bool,
    /// RFC 7636 section 6.2. MCP 2026-07-28, Authorization, asks clients to refuse without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code_challenge_methods_supported: Vec<String>,
    /// RFC 9449 section 5.1.
    #[serde(default)]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// RFC 8414 section 2.
    #[serde(default)]
    pub grant_types_supported: Vec<String>,
    /// RFC 7662 section 4; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// The issuer, verbatim.
    pub issuer: String,
    /// Where the keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// RFC 8705 section 5: where clients with certificates go; absent where none are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls_endpoint_aliases: Option<EndpointAliases>,
    /// RFC 9126 section 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_authorization_request_endpoint: Option<String>,
    /// RFC 8414 section 2; absent where clients do not register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// RFC 8414 section 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_modes_supported: Vec<String>,
    /// RFC 8414 section 2 requires the member; it is empty where nobody logs in.
    #[serde(default)]
    pub response_types_supported: Vec<String>,
    /// RFC 7009 section 2; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// RFC 8705 section 3.3.
    #[serde(default)]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Where tokens are.
    pub token_endpoint: String,
    /// RFC 8414 section 2: never a client secret.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// RFC 8414 section 2.
    #[serde(default)]
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
}

/// RFC 8705 section 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointAliases {
    /// RFC 7662.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// RFC 7009.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Where tokens are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
}

/// How clients may authenticate, as the configuration of the listeners allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientMethods {
    /// Listeners ask for client certificates.
    pub certificates: bool,
    /// The trust bundle of at least one SPIFFE trust domain is known.
    pub spiffe: bool,
}

impl ClientMethods {
    /// RFC 8705 section 2, and draft-ietf-oauth-spiffe-client-auth-02 section 5.
    fn names(self) -> Vec<String> {
        let named = [
            (true, "private_key_jwt"),
            (self.certificates, "tls_client_auth"),
            (self.certificates, "self_signed_tls_client_auth"),
            (self.certificates && self.spiffe, "spiffe_x509"),
            (self.spiffe, "spiffe_jwt"),
        ];
        named.into_iter().filter(|(served, _)| *served).map(|(_, name)| name.to_owned()).collect()
    }
}

/// How clients of people may become known, as the configuration says. Without it none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeoplesClients {
    /// Clients that are a URL.
    pub documents: bool,
    /// RFC 7591.
    pub registration: bool,
}

/// RFC 9728 section 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedResourceMetadata {
    /// The issuers whose tokens are accepted.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// RFC 6750 section 2: tokens come in the header and nowhere else.
    #[serde(default)]
    pub bearer_methods_supported: Vec<String>,
    /// Whether every token must be bound by DPoP.
    #[serde(default)]
    pub dpop_bound_access_tokens_required: bool,
    /// RFC 9449 section 5.1.
    #[serde(default)]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// The identifier of the resource, verbatim.
    pub resource: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// The scopes that can be asked for here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// Whether tokens may be bound to certificates.
    #[serde(default)]
    pub tls_client_certificate_bound_access_tokens: bool,
}

/// Why a document is not accepted by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MetadataRefusal {
    /// It names another issuer or resource than the one it was asked for.
    #[error("the document is about somebody else")]
    Identity,
    /// Not strict JSON of this form.
    #[error("the document is malformed")]
    Malformed,
    /// No authorization server is named.
    #[error("the document names no authorization server")]
    NoAuthorizationServer,
    /// A URL in it is not acceptable.
    #[error("a url of the document is not acceptable: {0}")]
    Url(#[from] UrlRefusal),
}

impl AuthorizationServerMetadata {
    /// What this implementation serves, with its endpoints below the issuer.
    #[must_use]
    pub fn of(issuer: &IssuerUrl, methods: ClientMethods) -> Self {
        let below = |path: &str| format!("{issuer}/{path}");
        // The same listener serves clients with and without certificates.
        let aliases = EndpointAliases {
            introspection_endpoint: Some(below("introspect")),
            revocation_endpoint: Some(below("revoke")),
            token_endpoint: Some(below("token")),
        };
        Self {
            authorization_details_types_supported: vec![attorn_registry::DETAILS_TYPE.to_owned()],
            authorization_grant_profiles_supported: Vec::new(),
            authorization_endpoint: Some(below("authorize")),
            authorization_response_iss_parameter_supported: false,
            client_id_metadata_document_supported: false,
            code_challenge_methods_supported: Vec::new(),
            dpop_signing_alg_values_supported: algorithm_names(&Algorithm::ALL),
            grant_types_supported: vec!["client_credentials".to_owned(), TOKEN_EXCHANGE.to_owned()],
            introspection_endpoint: Some(below("introspect")),
            issuer: issuer.to_string(),
            jwks_uri: Some(below("jwks")),
            mtls_endpoint_aliases: methods.certificates.then_some(aliases),
            pushed_authorization_request_endpoint: None,
            registration_endpoint: None,
            response_modes_supported: Vec::new(),
            response_types_supported: Vec::new(),
            revocation_endpoint: Some(below("revoke")),
            tls_client_certificate_bound_access_tokens: methods.certificates,
            token_endpoint: below("token"),
            token_endpoint_auth_methods_supported: methods.names(),
            token_endpoint_auth_signing_alg_values_supported: algorithm_names(&Algorithm::ALL),
        }
    }

    /// The same where people log in: only then is any of it announced.
    #[must_use]
    pub fn for_people(mut self, clients: PeoplesClients) -> Self {
        let below = |path: &str| format!("{}/{path}", self.issuer);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.pushed_authorization_request_endpoint = Some(below("par"));
        self.registration_endpoint = clients.registration.then(|| below("register"));
        self.authorization_response_iss_parameter_supported = true;
        self.client_id_metadata_document_supported = clients.documents;
        self.code_challenge_methods_supported = names(&["S256"]);
        self.response_modes_supported = names(&["query"]);
        self.response_types_supported = names(&["code"]);
        self.grant_types_supported.extend([CODE_GRANT, REFRESH_GRANT].map(str::to_owned));
        // Clients of people have nothing to authenticate with: RFC 7591 section 2.
        self.token_endpoint_auth_methods_supported.push("none".to_owned());
        self
    }

    /// The same where issuers are trusted, with what each is trusted for. Without any it is as before.
    #[must_use]
    pub fn for_assertions(mut self, trusted: impl IntoIterator<Item = GrantUse>) -> Self {
        let kinds: Vec<GrantUse> = trusted.into_iter().collect();
        if !kinds.is_empty() {
            self.grant_types_supported.push(JWT_BEARER.to_owned());
        }
        if kinds.contains(&GrantUse::IdJag) {
            self.authorization_grant_profiles_supported.push(ID_JAG_PROFILE.to_owned());
        }
        self
    }

    /// Reads the document of an issuer.
    ///
    /// # Errors
    /// [`MetadataRefusal`].
    pub fn parse(body: &[u8], issuer: &IssuerUrl) -> Result<Self, MetadataRefusal> {
        let document = attorn_json::parse(body, &LIMITS).map_err(|_| MetadataRefusal::Malformed)?;
        let metadata: Self = document.to().map_err(|_| MetadataRefusal::Malformed)?;
        // RFC 8414 section 3.3: the issuer must be identical to the one the URL was made from.
        if metadata.issuer != issuer.as_str() {
            return Err(MetadataRefusal::Identity);
        }
        ResourceIndicator::parse(&metadata.token_endpoint)?;
        Ok(metadata)
    }
}

impl ProtectedResourceMetadata {
    /// What the gateway says of one MCP server.
    #[must_use]
    pub fn of(resource: &ResourceIndicator, issuer: &IssuerUrl, scopes: Vec<String>) -> Self {
        Self {
            authorization_servers: vec![issuer.to_string()],
            bearer_methods_supported: vec!["header".to_owned()],
            dpop_bound_access_tokens_required: true,
            dpop_signing_alg_values_supported: algorithm_names(&Algorithm::ALL),
            resource: resource.to_string(),
            resource_name: None,
            scopes_supported: scopes,
            tls_client_certificate_bound_access_tokens: false,
        }
    }

    /// Reads the document of a resource.
    ///
    /// # Errors
    /// [`MetadataRefusal`].
    pub fn parse(body: &[u8], resource: &ResourceIndicator) -> Result<Self, MetadataRefusal> {
        let document = attorn_json::parse(body, &LIMITS).map_err(|_| MetadataRefusal::Malformed)?;
        let metadata: Self = document.to().map_err(|_| MetadataRefusal::Malformed)?;
        // RFC 9728 section 3.3: the resource must be identical to the one the URL was made from.
        if metadata.resource != resource.as_str() {
            return Err(MetadataRefusal::Identity);
        }
        Ok(metadata)
    }

    /// The first authorization server: RFC 9728 section 7.6 leaves the choice to the client.
    ///
    /// # Errors
    /// [`MetadataRefusal::NoAuthorizationServer`] or [`MetadataRefusal::Url`].
    pub fn issuer(&self) -> Result<IssuerUrl, MetadataRefusal> {
        let first =
            self.authorization_servers.first().ok_or(MetadataRefusal::NoAuthorizationServer)?;
        Ok(IssuerUrl::parse(first)?)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn algorithm_names(algorithms: &[Algorithm]) -> Vec<String> {
    let mut names: Vec<String> = algorithms.iter().map(|alg| alg.name().to_owned()).collect();
    // RFC 9864 section 2.2: clients that know only the new name must find it.
    if algorithms.contains(&Algorithm::EdDsa) {
        names.push("Ed25519".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> IssuerUrl {
        IssuerUrl::parse("https://auth.example").unwrap()
    }

    fn resource() -> ResourceIndicator {
        ResourceIndicator::parse("https://gateway.example/billing/mcp").unwrap()
    }

    #[test]
    fn our_own_documents_read_back() {
        let server = AuthorizationServerMetadata::of(&issuer(), ClientMethods::default());
        let body = serde_json::to_vec(&server).unwrap();
        assert_eq!(AuthorizationServerMetadata::parse(&body, &issuer()), Ok(server));
        let document =
            ProtectedResourceMetadata::of(&resource(), &issuer(), vec!["read:a".to_owned()]);
        let body = serde_json::to_vec(&document).unwrap();
        let read = ProtectedResourceMetadata::parse(&body, &resource()).unwrap();
        assert_eq!(read.issuer(), Ok(issuer()));
        assert_eq!(read, document);
    }

    #[test]
    fn only_what_is_served_is_announced() {
        let server = serde_json::to_value(AuthorizationServerMetadata::of(
            &issuer(),
            ClientMethods::default(),
        ))
        .unwrap();
        assert_eq!(server["token_endpoint_auth_methods_supported"][0], "private_key_jwt");
        assert_eq!(server["response_types_supported"].as_array().map(Vec::len), Some(0));
        assert_eq!(server["token_endpoint"], "https://auth.example/token");
        assert_eq!(
            server["grant_types_supported"],
            serde_json::json!(["client_credentials", TOKEN_EXCHANGE])
        );
        let algorithms = &server["dpop_signing_alg_values_supported"];
        assert_eq!(*algorithms, serde_json::json!(["EdDSA", "ES256", "PS256", "Ed25519"]));
        let document = ProtectedResourceMetadata::of(&resource(), &issuer(), Vec::new());
        let document = serde_json::to_value(document).unwrap();
        assert_eq!(document["dpop_bound_access_tokens_required"], true);
        assert_eq!(document["bearer_methods_supported"], serde_json::json!(["header"]));
        assert!(document.get("scopes_supported").is_none());
    }

    #[test]
    fn what_people_need_is_announced_where_they_log_in() {
        let plain = AuthorizationServerMetadata::of(&issuer(), ClientMethods::default());
        let text = serde_json::to_string(&plain).unwrap();
        for word in
            ["\"S256\"", "authorization_code", "/par\"", "\"none\"", "iss_param", "/register"]
        {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let closed = plain.clone().for_people(PeoplesClients::default());
        assert_eq!(closed.code_challenge_methods_supported, ["S256"]);
        assert_eq!(closed.response_types_supported, ["code"]);
        assert!(closed.authorization_response_iss_parameter_supported);
        assert!(!closed.client_id_metadata_document_supported);
        assert_eq!(closed.registration_endpoint, None);
        let par = closed.pushed_authorization_request_endpoint.as_deref();
        assert_eq!(par, Some("https://auth.example/par"));
        let open = plain.for_people(PeoplesClients { documents: true, registration: true });
        assert!(open.client_id_metadata_document_supported);
        assert_eq!(open.registration_endpoint.as_deref(), Some("https://auth.example/register"));
        let body = serde_json::to_vec(&open).unwrap();
        assert_eq!(AuthorizationServerMetadata::parse(&body, &issuer()), Ok(open));
    }

    #[test]
    fn assertions_are_announced_where_somebody_is_trusted() {
        let plain = AuthorizationServerMetadata::of(&issuer(), ClientMethods::default());
        assert_eq!(plain.clone().for_assertions([]), plain);
        let platforms = plain.clone().for_assertions([GrantUse::Workload, GrantUse::Workload]);
        let of = |it: &AuthorizationServerMetadata| {
            it.grant_types_supported.iter().filter(|grant| *grant == JWT_BEARER).count()
        };
        assert_eq!(of(&platforms), 1);
        assert!(platforms.authorization_grant_profiles_supported.is_empty());
        let both = plain.for_assertions([GrantUse::Workload, GrantUse::IdJag]);
        assert_eq!(of(&both), 1);
        assert_eq!(both.authorization_grant_profiles_supported, [ID_JAG_PROFILE]);
    }

    #[test]
    fn a_document_about_somebody_else_is_refused() {
        for found in ["https://auth.example/", "https://AUTH.example", "https://other.example"] {
            let body = format!(r#"{{"issuer":"{found}","token_endpoint":"https://x.example/t"}}"#);
            let outcome = AuthorizationServerMetadata::parse(body.as_bytes(), &issuer());
            assert_eq!(outcome, Err(MetadataRefusal::Identity), "{found}");
        }
        let body = br#"{"resource":"https://gateway.example/other/mcp"}"#;
        let outcome = ProtectedResourceMetadata::parse(body, &resource());
        assert_eq!(outcome, Err(MetadataRefusal::Identity));
    }

    #[test]
    fn malformed_documents_are_refused() {
        for body in ["", "[]", "{}", r#"{"issuer":1}"#, r#"{"issuer":"a","issuer":"a"}"#] {
            let outcome = AuthorizationServerMetadata::parse(body.as_bytes(), &issuer());
            assert_eq!(outcome, Err(MetadataRefusal::Malformed), "{body}");
            let outcome = ProtectedResourceMetadata::parse(body.as_bytes(), &resource());
            assert_eq!(outcome, Err(MetadataRefusal::Malformed), "{body}");
        }
    }

    #[test]
    fn urls_in_a_document_are_held_to_the_same_rule() {
        let body = r#"{"issuer":"https://auth.example","token_endpoint":"http://auth.example/t"}"#;
        let outcome = AuthorizationServerMetadata::parse(body.as_bytes(), &issuer());
        assert_eq!(outcome, Err(MetadataRefusal::Url(UrlRefusal::Scheme)));
        let mut document = ProtectedResourceMetadata::of(&resource(), &issuer(), Vec::new());
        document.authorization_servers = vec!["http://10.0.0.1".to_owned()];
        assert_eq!(document.issuer(), Err(MetadataRefusal::Url(UrlRefusal::Scheme)));
        document.authorization_servers.clear();
        assert_eq!(document.issuer(), Err(MetadataRefusal::NoAuthorizationServer));
    }
}
