//! URLs that are compared and never repaired: resource indicators (RFC 8707) and issuers
//! (RFC 8414 section 2).
//!
//! Implemented: a text is accepted only if it is already in the form a URL parser would write, so
//! that comparing bytes is comparing URLs. Not implemented: normalization; whatever would need it
//! is refused. Plain `http` is for loopback addresses only.

use std::fmt;

use url::{Host, Url};

/// Longer than any URL we configure.
const URL_BYTES_MAX: usize = 1024;

/// The identifier of one protected resource: RFC 8707 section 2. It is the `aud` of its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceIndicator(String);

/// The identifier of an authorization server: RFC 8414 section 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerUrl(String);

/// Why a URL is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UrlRefusal {
    /// A fragment: RFC 8707 section 2 and RFC 8414 section 2 forbid it.
    #[error("the url has a fragment")]
    Fragment,
    /// Another spelling of the same URL exists, or it is no URL.
    #[error("the url is not absolute and canonical")]
    NotCanonical,
    /// A query: it has no meaning here.
    #[error("the url has a query")]
    Query,
    /// Neither `https` nor `http` on a loopback address.
    #[error("the url is not https")]
    Scheme,
    /// Longer than 1 KiB.
    #[error("the url is too long")]
    TooLong,
    /// User name or password.
    #[error("the url has user information")]
    UserInformation,
}

impl ResourceIndicator {
    /// Accepts the canonical spelling of an absolute `https` URL.
    ///
    /// # Errors
    /// [`UrlRefusal`]; on the wire always `invalid_target` (RFC 8707 section 2).
    pub fn parse(text: &str) -> Result<Self, UrlRefusal> {
        let url = parse(text)?;
        if url.as_str() == text { Ok(Self(text.to_owned())) } else { Err(UrlRefusal::NotCanonical) }
    }

    /// The text, to be compared byte by byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its metadata is: RFC 9728 section 3.1, the well-known part before the path.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        insert_well_known(&self.0, "oauth-protected-resource")
    }
}

impl IssuerUrl {
    /// Accepts the canonical spelling; a URL without a path is written without its slash.
    ///
    /// # Errors
    /// [`UrlRefusal`].
    pub fn parse(text: &str) -> Result<Self, UrlRefusal> {
        let url = parse(text)?;
        let canonical = url.as_str().strip_suffix('/').unwrap_or(url.as_str());
        if canonical == text { Ok(Self(text.to_owned())) } else { Err(UrlRefusal::NotCanonical) }
    }

    /// The text, to be compared byte by byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its metadata is: RFC 8414 section 3.1, the well-known part before the path.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        insert_well_known(&self.0, "oauth-authorization-server")
    }
}

impl fmt::Display for ResourceIndicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse(text: &str) -> Result<Url, UrlRefusal> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlRefusal::TooLong);
    }
    let url = Url::parse(text).map_err(|_| UrlRefusal::NotCanonical)?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback) {
        return Err(UrlRefusal::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefusal::UserInformation);
    }
    // RFC 8707 section 2: must not include a fragment. An empty one is one too.
    if url.fragment().is_some() {
        return Err(UrlRefusal::Fragment);
    }
    // RFC 8707 section 2: should not include a query.
    if url.query().is_some() {
        return Err(UrlRefusal::Query);
    }
    Ok(url)
}

/// Inserts `/.well-known/<name>` between host and path of a canonical URL.
fn insert_well_known(url: &str, name: &str) -> String {
    let authority_start = url.find("://").map_or(0, |at| at + 3);
    let path_start = url
        .char_indices()
        .find(|(at, character)| *at >= authority_start && *character == '/')
        .map_or(url.len(), |(at, _)| at);
    let (origin, path) = url.split_at_checked(path_start).unwrap_or((url, ""));
    // RFC 8414 section 3.1 and RFC 9728 section 3.1: a terminating slash is removed first.
    let path = if path == "/" { "" } else { path };
    format!("{origin}/.well-known/{name}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_url_is_kept_as_it_is() {
        for text in [
            "https://gateway.example/billing/mcp",
            "https://gateway.example:8443/billing/mcp",
            "https://gateway.example/",
            "http://127.0.0.1:8080/billing/mcp",
            "http://[::1]:8080/billing/mcp",
            "http://localhost/billing/mcp",
        ] {
            assert_eq!(ResourceIndicator::parse(text).unwrap().as_str(), text);
        }
        for text in ["https://auth.example", "https://auth.example/t/a", "http://127.0.0.1:8080"] {
            assert_eq!(IssuerUrl::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        let long = format!("https://gateway.example/{}", "a".repeat(1024));
        for (text, refusal) in [
            ("https://gateway.example/mcp#", UrlRefusal::Fragment),
            ("https://gateway.example/mcp?a", UrlRefusal::Query),
            ("https://gateway.example/mcp?", UrlRefusal::Query),
            ("https://a@gateway.example/mcp", UrlRefusal::UserInformation),
            ("https://:b@gateway.example/mcp", UrlRefusal::UserInformation),
            ("http://gateway.example/mcp", UrlRefusal::Scheme),
            ("http://10.0.0.1/mcp", UrlRefusal::Scheme),
            ("ftp://gateway.example/mcp", UrlRefusal::Scheme),
            ("urn:example:mcp", UrlRefusal::Scheme),
            ("gateway.example/mcp", UrlRefusal::NotCanonical),
            ("https://GATEWAY.example/mcp", UrlRefusal::NotCanonical),
            ("https://gateway.example:443/mcp", UrlRefusal::NotCanonical),
            ("https://gateway.example/a/../mcp", UrlRefusal::NotCanonical),
            ("https://gateway.example\\mcp", UrlRefusal::NotCanonical),
            ("https:/gateway.example/mcp", UrlRefusal::NotCanonical),
            (" https://gateway.example/mcp", UrlRefusal::NotCanonical),
            ("https://gateway.example/m\tcp", UrlRefusal::NotCanonical),
            ("https://gateway.example", UrlRefusal::NotCanonical),
            (&long, UrlRefusal::TooLong),
        ] {
            assert_eq!(ResourceIndicator::parse(text), Err(refusal), "{text}");
        }
        // RFC 8414 section 2: one spelling of an issuer, the one without the slash.
        assert_eq!(IssuerUrl::parse("https://auth.example/"), Err(UrlRefusal::NotCanonical));
    }

    #[test]
    fn metadata_is_found_before_the_path() {
        // RFC 9728 section 3.1 and RFC 8414 section 3.1, their examples.
        let resource = ResourceIndicator::parse("https://resource.example.com/resource1").unwrap();
        assert_eq!(
            resource.metadata_url(),
            "https://resource.example.com/.well-known/oauth-protected-resource/resource1"
        );
        let issuer = IssuerUrl::parse("https://example.com/issuer1").unwrap();
        assert_eq!(
            issuer.metadata_url(),
            "https://example.com/.well-known/oauth-authorization-server/issuer1"
        );
        let issuer = IssuerUrl::parse("https://example.com").unwrap();
        assert_eq!(
            issuer.metadata_url(),
            "https://example.com/.well-known/oauth-authorization-server"
        );
        let resource = ResourceIndicator::parse("https://resource.example.com/").unwrap();
        assert_eq!(
            resource.metadata_url(),
            "https://resource.example.com/.well-known/oauth-protected-resource"
        );
    }
}
