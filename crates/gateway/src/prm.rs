//! Protected resource metadata, one document per server (RFC 9728 section 2). Everything in it
//! comes from configuration and registry; nothing from the request.

use attorn_net::Body;
use attorn_oauth::metadata::ProtectedResourceMetadata;
use attorn_oauth::resource::ResourceIndicator;
use attorn_registry::{LifeCycle, McpServer, Scope, Tool};
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use crate::gateway::Inner;

impl Inner {
    /// The document of the server of this name. A server that is not there, or is not served,
    /// has none.
    pub(crate) fn metadata(&self, name: &str) -> Option<Response<Body>> {
        let view = self.views.current();
        let server = view.server(name)?;
        if server.state != LifeCycle::Active {
            return None;
        }
        let resource = ResourceIndicator::parse(&self.config.public_url.resource(name)).ok()?;
        let mut document = ProtectedResourceMetadata::of(&resource, &self.issuer, scopes(server));
        document.resource_name = Some(name.to_owned());
        // RFC 9728 section 2: either binding will do where certificates are asked for.
        document.tls_client_certificate_bound_access_tokens = self.client_certificates;
        // RFC 9728 section 2: required means of every request.
        document.dpop_bound_access_tokens_required =
            !self.client_certificates && server.accept_bearer.is_empty();
        let mut response =
            Response::new(Body::full(Bytes::from(serde_json::to_vec(&document).ok()?)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        // The document is public, and clients in browsers read it.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Some(response)
    }
}

/// RFC 9728 section 2: the scopes of the approved tools. What is held back is not named.
fn scopes(server: &McpServer) -> Vec<String> {
    let tools = server.tools.values();
    let approved = tools.flat_map(Tool::scopes).map(|scope| scope.to_string());
    let mut scopes: Vec<String> =
        approved.chain([Scope::RESOURCES.to_string(), Scope::PROMPTS.to_string()]).collect();
    scopes.sort();
    scopes
}
