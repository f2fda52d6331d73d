//! A look at the provider before anybody logs in there: OpenID Connect Discovery 1.0 section 3.

use attorn_json::{Limits, Value};
use attorn_oauth::provider_metadata::{PROVIDER_METADATA_BYTES_MAX, ProviderMetadata};

use super::{Credential, Provider};
use crate::look::{IssuerFinding, LookRefusal, SeenIssuer, fetched, keys_at};

impl Provider {
    /// What the provider says of itself, and its keys.
    pub(crate) async fn look(&self) -> Result<SeenIssuer, LookRefusal> {
        let url = self.issuer.metadata_url();
        let document = fetched(&self.client, &url, PROVIDER_METADATA_BYTES_MAX).await?;
        let metadata = ProviderMetadata::parse(&document, &self.issuer)
            .map_err(|why| LookRefusal::Provider { url, why })?;
        let algorithms = self.config.algorithms()?;
        let mut seen = keys_at(&self.client, metadata.jwks_uri, &algorithms).await?;
        seen.findings.extend(self.unsaid(&document));
        Ok(seen)
    }

    fn unsaid(&self, document: &[u8]) -> Vec<IssuerFinding> {
        let mut findings = Vec::new();
        let names = |member: &str| names(document, member);
        let signs = names("id_token_signing_alg_values_supported");
        let is_ours = |name: &String| self.config.algorithms.contains(name);
        if signs.is_some_and(|signs| !signs.iter().any(is_ours)) {
            findings.push(IssuerFinding::NoAlgorithm);
        }
        let (ours, is_public) = match &self.credential {
            Credential::Key(_) => ("private_key_jwt", false),
            Credential::None => ("none", true),
            Credential::Secret(_) => ("client_secret_basic", false),
        };
        // Section 3: without the member there is `client_secret_basic` alone.
        let takes = names("token_endpoint_auth_methods_supported");
        let takes = takes.unwrap_or_else(|| vec!["client_secret_basic".to_owned()]);
        if !takes.iter().any(|name| name == ours) {
            findings.push(IssuerFinding::NoAuthentication(ours));
        }
        // RFC 8414 section 2. Many that take it do not say so; without it a public client has nothing
        // that keeps a code from whoever finds it.
        let pkce = names("code_challenge_methods_supported");
        let has_s256 = pkce.map(|pkce| pkce.iter().any(|name| name == "S256"));
        if !has_s256.unwrap_or(!is_public) {
            findings.push(IssuerFinding::NoS256);
        }
        findings
    }
}

/// A member that is a list of names. What is none says nothing.
fn names(document: &[u8], member: &str) -> Option<Vec<String>> {
    let document = attorn_json::parse(document, &LIMITS).ok()?;
    let items = document.value().member(member)?.items()?;
    Some(items.filter_map(Value::string).map(std::borrow::Cow::into_owned).collect())
}

const LIMITS: Limits = Limits { bytes_max: PROVIDER_METADATA_BYTES_MAX, depth_max: 16 };
