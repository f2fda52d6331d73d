//! The public clients of people: programs that hold no secret and act only for whoever signed in.

use serde::{Deserialize, Serialize};

use crate::person::is_display_name;

/// What is known about a public client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicClient {
    /// Where an authorization code may go; compared as RFC 8252 section 8.10 says.
    pub redirect_uris: Vec<String>,
    /// How it became known.
    pub source: ClientSource,
    /// What it calls itself. Shown, and never believed.
    pub display_name: String,
}

/// How a public client became known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientSource {
    /// It registered itself: RFC 7591.
    Dynamic {
        /// First second at which it is forgotten.
        expires_s: u64,
    },
    /// Its `client_id` is the address of a document about it.
    MetadataDocument {
        /// The address, compared byte by byte.
        url: String,
    },
    /// An operator registered it.
    Registered,
}

/// Why a public client cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefusal {
    /// Its name is not one line of visible text.
    #[error("the name of a client has 1 to 128 visible characters")]
    DisplayName,
    /// No redirect URI, too many, or one that is no plain text.
    #[error("a client has 1 to {REDIRECT_URIS_MAX} redirect URIs of visible ASCII")]
    RedirectUris,
    /// The address of its document is too long or no plain text.
    #[error("the address of a metadata document is an https URL of at most 2048 characters")]
    Url,
}

/// The most redirect URIs of one client.
pub const REDIRECT_URIS_MAX: usize = 16;
const URI_BYTES_MAX: usize = 2048;

impl PublicClient {
    /// Checks what every source must keep to. Which redirect URIs may be registered is a rule of
    /// OAuth, not of the registry.
    ///
    /// # Errors
    /// See [`ClientRefusal`].
    pub fn verify(&self) -> Result<(), ClientRefusal> {
        if !is_display_name(&self.display_name) {
            return Err(ClientRefusal::DisplayName);
        }
        let is_plain = |uri: &String| {
            (1..=URI_BYTES_MAX).contains(&uri.len()) && uri.bytes().all(|b| b.is_ascii_graphic())
        };
        let uris = &self.redirect_uris;
        if !(1..=REDIRECT_URIS_MAX).contains(&uris.len()) || !uris.iter().all(is_plain) {
            return Err(ClientRefusal::RedirectUris);
        }
        match &self.source {
            ClientSource::MetadataDocument { url }
                if !is_plain(url) || !url.starts_with("https://") =>
            {
                Err(ClientRefusal::Url)
            }
            ClientSource::MetadataDocument { .. }
            | ClientSource::Dynamic { .. }
            | ClientSource::Registered => Ok(()),
        }
    }

    /// First second at which it is forgotten, if it has an end.
    #[must_use]
    pub const fn expires_s(&self) -> Option<u64> {
        match self.source {
            ClientSource::Dynamic { expires_s } => Some(expires_s),
            ClientSource::MetadataDocument { .. } | ClientSource::Registered => None,
        }
    }

    /// The text that makes it known and no other client: the address of its document.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        match &self.source {
            ClientSource::MetadataDocument { url } => Some(document_subject(url)),
            ClientSource::Dynamic { .. } | ClientSource::Registered => None,
        }
    }
}

/// As [`PublicClient::subject`], of a document at this address.
#[must_use]
pub fn document_subject(url: &str) -> String {
    format!("document:{url}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> PublicClient {
        PublicClient {
            redirect_uris: vec!["http://127.0.0.1/callback".into()],
            source: ClientSource::Registered,
            display_name: "Editor".into(),
        }
    }

    #[test]
    fn a_client_has_a_name_and_somewhere_to_go() {
        assert_eq!(client().verify(), Ok(()));
        let unnamed = PublicClient { display_name: " ".into(), ..client() };
        assert_eq!(unnamed.verify(), Err(ClientRefusal::DisplayName));
        let uri = || "https://a.example/".to_owned();
        for uris in [Vec::new(), vec![uri(); 17], vec!["a b".into()], vec![String::new()]] {
            let of = PublicClient { redirect_uris: uris, ..client() };
            assert_eq!(of.verify(), Err(ClientRefusal::RedirectUris));
        }
    }

    #[test]
    fn a_document_has_an_address() {
        let at = |url: &str| {
            let source = ClientSource::MetadataDocument { url: url.into() };
            PublicClient { source, ..client() }
        };
        assert_eq!(at("https://a.example/client").verify(), Ok(()));
        for url in ["", "http://a.example/client", "https://a.example/a b"] {
            assert_eq!(at(url).verify(), Err(ClientRefusal::Url), "{url}");
        }
        let url = "https://a.example/client";
        assert_eq!(at(url).subject(), Some(document_subject(url)));
        assert_eq!(client().subject(), None);
    }
}
