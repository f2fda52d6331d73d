//! What an OpenID provider says about itself: OpenID Connect Discovery 1.0 section 3.
//!
//! Implemented: the issuer, compared code point by code point (section 4.3), the three addresses that a
//! log-in needs, and RFC 9207 section 3. Not implemented: everything else of the document. What it
//! says it supports is not believed: a provider that does less answers with an error.

use attorn_json::{Limits, Value};
use url::Url;

use crate::resource::{IssuerUrl, ResourceIndicator, UrlRefusal};

/// Bytes of the largest document that is read.
pub const PROVIDER_METADATA_BYTES_MAX: usize = 64 << 10;

/// The name of a provider, as its tokens have it in `iss`. Unlike ours, some end with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIssuer(String);

/// What a log-in needs to know of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderMetadata {
    /// Where a person is sent.
    pub authorization_endpoint: String,
    /// Where a code is redeemed.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Whether it names itself in its answers, so that an answer without is not its own: RFC 9207
    /// section 2.4.
    pub names_itself: bool,
}

/// Why a document is not that of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataRefusal {
    /// An address is missing, or no URL that is opened.
    #[error("the document of the provider has no usable `{0}`")]
    Endpoint(&'static str),
    /// It is of another issuer.
    #[error("the document of the provider names another issuer")]
    Issuer,
    /// Not strict JSON, or a member has the wrong type.
    #[error("the document of the provider is malformed")]
    Malformed,
}

impl ProviderIssuer {
    /// Accepts a canonical `https` URL without query and fragment; `http` on loopback alone.
    ///
    /// # Errors
    /// [`UrlRefusal`].
    pub fn parse(text: &str) -> Result<Self, UrlRefusal> {
        if IssuerUrl::parse(text).is_err() {
            ResourceIndicator::parse(text)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, to be compared byte by byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its document is: section 4.1, behind the path, without a slash at its end.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.trim_end_matches('/'))
    }
}

impl ProviderMetadata {
    /// Reads the document of a provider.
    ///
    /// # Errors
    /// [`MetadataRefusal`].
    pub fn parse(document: &[u8], issuer: &ProviderIssuer) -> Result<Self, MetadataRefusal> {
        let document =
            attorn_json::parse(document, &LIMITS).map_err(|_| MetadataRefusal::Malformed)?;
        let value = document.value();
        // Section 4.3: exactly the issuer that was asked for, or it is somebody else's document.
        match value.member("issuer").map(Value::string) {
            Some(Some(found)) if found == issuer.as_str() => {}
            Some(Some(_)) => return Err(MetadataRefusal::Issuer),
            Some(None) | None => return Err(MetadataRefusal::Malformed),
        }
        let is_plain = issuer.as_str().starts_with("http:");
        let endpoint = |name: &'static str| {
            let found = value.member(name).and_then(Value::string);
            let found = found.filter(|url| is_endpoint(url, is_plain));
            found.map(std::borrow::Cow::into_owned).ok_or(MetadataRefusal::Endpoint(name))
        };
        let names_itself = match value.member("authorization_response_iss_parameter_supported") {
            None => false,
            Some(flag) => flag.boolean().ok_or(MetadataRefusal::Malformed)?,
        };
        Ok(Self {
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            names_itself,
        })
    }
}

/// RFC 6749 sections 3.1 and 3.2: TLS, no fragment; a query may be there. Plain `http` only on loopback
/// and only of a provider that is there itself.
fn is_endpoint(text: &str, is_plain: bool) -> bool {
    let Ok(mut url) = Url::parse(text) else { return false };
    let is_as_written = url.as_str() == text;
    url.set_query(None);
    let is_url = ResourceIndicator::parse(url.as_str()).is_ok();
    is_as_written && is_url && (is_plain || url.scheme() == "https")
}

const LIMITS: Limits = Limits { bytes_max: PROVIDER_METADATA_BYTES_MAX, depth_max: 16 };

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"issuer":"https://id.example/r","authorization_endpoint":"https://id.example/r/auth?tenant=1","token_endpoint":"https://id.example/r/token","jwks_uri":"https://keys.example/r","authorization_response_iss_parameter_supported":true,"more":[{"a":1}]}"#;

    #[expect(clippy::unwrap_in_result, reason = "a helper fails its test by panicking")]
    fn parse(document: &str) -> Result<ProviderMetadata, MetadataRefusal> {
        let issuer = ProviderIssuer::parse("https://id.example/r").unwrap();
        ProviderMetadata::parse(document.as_bytes(), &issuer)
    }

    #[test]
    fn a_document_names_its_issuer_and_three_places() {
        let read = parse(GOOD).unwrap();
        assert_eq!(read.authorization_endpoint, "https://id.example/r/auth?tenant=1");
        assert_eq!(read.jwks_uri, "https://keys.example/r");
        assert!(read.names_itself);
        for (from, to) in
            [(",\"authorization_response_iss_parameter_supported\":true", ""), ("true", "false")]
        {
            assert!(!parse(&GOOD.replace(from, to)).unwrap().names_itself);
        }
    }

    #[test]
    fn another_issuer_is_another_provider() {
        for other in [
            "https://id.example",
            "https://id.example/r/",
            "https://ID.example/r",
            "https://id.example:443/r",
            "https://id.example/%72",
        ] {
            let document = GOOD.replace("https://id.example/r\"", &format!("{other}\""));
            assert_eq!(parse(&document), Err(MetadataRefusal::Issuer), "{other}");
        }
        for text in
            ["", "[]", "{}", r#"{"issuer":1}"#, "<html>", &GOOD.replace("\"more\"", "\"issuer\"")]
        {
            assert_eq!(parse(text), Err(MetadataRefusal::Malformed), "{text}");
        }
        let odd = GOOD.replace("true", "\"true\"");
        assert_eq!(parse(&odd), Err(MetadataRefusal::Malformed));
    }

    #[test]
    fn its_places_are_urls_that_are_opened() {
        for url in [
            "http://id.example/t",
            "http://127.0.0.1/t",
            "/t",
            "https://a@id.example/t",
            "https://id.example/t#x",
            "ftp://id.example/t",
            "",
        ] {
            let document = GOOD.replace("https://id.example/r/token", url);
            assert_eq!(parse(&document), Err(MetadataRefusal::Endpoint("token_endpoint")), "{url}");
        }
        let missing = GOOD.replace("jwks_uri", "jwks");
        assert_eq!(parse(&missing), Err(MetadataRefusal::Endpoint("jwks_uri")));
        // Plain on loopback, of a provider that is there.
        let local = GOOD.replace("https://id.example", "http://127.0.0.1:9000");
        let issuer = ProviderIssuer::parse("http://127.0.0.1:9000/r").unwrap();
        assert!(ProviderMetadata::parse(local.as_bytes(), &issuer).is_ok());
    }

    #[test]
    fn an_issuer_may_end_with_a_slash() {
        for (text, url) in [
            ("https://id.example", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/r/", "https://id.example/r/.well-known/openid-configuration"),
        ] {
            assert_eq!(ProviderIssuer::parse(text).unwrap().metadata_url(), url);
        }
        for text in
            ["http://id.example", "https://id.example?a", "https://a@id.example", "id.example"]
        {
            assert!(ProviderIssuer::parse(text).is_err(), "{text}");
        }
    }
}
