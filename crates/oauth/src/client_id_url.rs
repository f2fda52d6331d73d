//! Clients that are a URL: draft-ietf-oauth-client-id-metadata-document-02 section 3.
//!
//! Implemented: the form of the URL. A host is taken as it is where it is a public name; an address,
//! a port, a name without a dot or of a private network only where the operator listed the host.
//! Narrower than the draft: no query. Not implemented: normalization; the URL is compared code point
//! by code point.

use url::{Host, Url};

/// Longer than any honest one.
const BYTES_MAX: usize = 512;
/// Names that no public resolver answers, and those of networks of one house: RFC 6761 section 6,
/// RFC 6762 section 3, RFC 8375 section 3.
const PRIVATE_ENDINGS: [&str; 9] = [
    ".local",
    ".localhost",
    ".localdomain",
    ".internal",
    ".intranet",
    ".lan",
    ".home.arpa",
    ".test",
    ".invalid",
];

/// The URL of a client's document, which is also its `client_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdUrl {
    text: String,
    host: String,
    is_listed: bool,
}

/// The text is no URL of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientIdRefusal {
    /// An address, a port, or a name of a private network that nobody listed.
    #[error("the host of the client is not public, and not listed")]
    Host,
    /// Not canonical, without a path, with a query, a fragment or user information, or too long.
    #[error("the client is no canonical https URL with a path")]
    Url,
}

impl ClientIdUrl {
    /// Whether a `client_id` means to be one: our own identifiers never have a colon.
    #[must_use]
    pub fn is_meant(client_id: &str) -> bool {
        client_id.contains(':')
    }

    /// Reads a `client_id`. `listed` are hosts of the operator, as `host` or `host:port`.
    ///
    /// # Errors
    /// [`ClientIdRefusal`]; nothing was looked up yet.
    pub fn parse(client_id: &str, listed: &[String]) -> Result<Self, ClientIdRefusal> {
        if client_id.len() > BYTES_MAX {
            return Err(ClientIdRefusal::Url);
        }
        let url = Url::parse(client_id).map_err(|_| ClientIdRefusal::Url)?;
        let is_plain = url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            // Section 3: must contain a path.
            && url.path() != "/";
        // Section 3: no dot segments. A parser takes them away, so the text would be another one.
        if !is_plain || url.as_str() != client_id {
            return Err(ClientIdRefusal::Url);
        }
        let host = url.host().ok_or(ClientIdRefusal::Url)?;
        let shown = match url.port() {
            None => host.to_string(),
            Some(port) => format!("{host}:{port}"),
        };
        let is_listed = listed.contains(&shown);
        let is_public = url.port().is_none() && is_public_name(&host);
        if !is_listed && !is_public {
            return Err(ClientIdRefusal::Host);
        }
        Ok(Self { text: client_id.to_owned(), host: shown, is_listed })
    }

    /// The URL, verbatim.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host with its port, as people are shown it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the operator named the host, so that it may be anywhere.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.is_listed
    }
}

fn is_public_name(host: &Host<&str>) -> bool {
    let Host::Domain(name) = host else { return false };
    name.contains('.')
        && !name.ends_with('.')
        && !PRIVATE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_https_url_with_a_path_is_a_client() {
        for text in ["https://client.example/app", "https://a.client.example/x/y.json"] {
            let url = ClientIdUrl::parse(text, &[]).unwrap();
            assert_eq!((url.as_str(), url.is_listed()), (text, false));
        }
    }

    #[test]
    fn everything_else_is_refused_before_anything_is_looked_up() {
        let long = format!("https://client.example/{}", "a".repeat(512));
        for text in [
            "http://client.example/app",
            "https://client.example",
            "https://client.example/",
            "https://client.example/app#x",
            "https://client.example/app#",
            "https://client.example/app?x",
            "https://client.example/app?",
            "https://a@client.example/app",
            "https://@client.example/app",
            "https://client.example/a/../app",
            "https://client.example/a/./app",
            "https://client.example/a/%2e%2e/app",
            "https://CLIENT.example/app",
            "https://cliént.example/app",
            "https://client.example:443/app",
            "https://127.1/app",
            "https://0x7f.1/app",
            "https://2130706433/app",
            "client.example/app",
            &long,
        ] {
            assert_eq!(ClientIdUrl::parse(text, &[]), Err(ClientIdRefusal::Url), "{text:.50}");
        }
        for text in [
            "https://127.0.0.1/app",
            "https://[::1]/app",
            "https://[::ffff:7f00:1]/app",
            "https://10.0.0.1/app",
            "https://169.254.169.254/app",
            "https://8.8.8.8/app",
            "https://client.example:8443/app",
            "https://localhost/app",
            "https://localhost./app",
            "https://client.example./app",
            "https://intranet/app",
            "https://printer.local/app",
            "https://metadata.google.internal/app",
            "https://a.svc.cluster.local/app",
        ] {
            assert_eq!(ClientIdUrl::parse(text, &[]), Err(ClientIdRefusal::Host), "{text}");
        }
    }

    #[test]
    fn a_listed_host_may_be_anywhere() {
        let listed = ["127.0.0.1:8443".to_owned(), "intranet".to_owned()];
        for text in ["https://127.0.0.1:8443/app", "https://intranet/app"] {
            assert!(ClientIdUrl::parse(text, &listed).unwrap().is_listed(), "{text}");
        }
        for text in
            ["https://127.0.0.1:8444/app", "https://127.0.0.1/app", "https://x.intranet:1/a"]
        {
            assert_eq!(ClientIdUrl::parse(text, &listed), Err(ClientIdRefusal::Host), "{text}");
        }
        // Listed says where, not how.
        assert!(ClientIdUrl::parse("http://intranet/app", &listed).is_err());
    }

    #[test]
    fn our_own_identifiers_are_no_urls() {
        assert!(!ClientIdUrl::is_meant("agt_aaaaaaaaaaaaaaaaaaaaaaaaaa"));
        assert!(ClientIdUrl::is_meant("https://client.example/app"));
    }
}
