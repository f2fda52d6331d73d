//! What a client says of itself: RFC 7591 section 2, for clients of people, which have no secret.
//!
//! Implemented: redirect addresses, a name, and the refusal of everything that asks for more than
//! the authorization code grant without a secret. Unknown members are ignored (RFC 7591 section 2)
//! and never kept: there is no place for them. Not implemented: software statements, keys, logos and
//! other addresses (nothing is ever fetched for them), changes of a registration (RFC 7592).

use attorn_json::Limits;
use attorn_registry::ReasonCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claim::present;
use crate::error::ErrorCode;
use crate::redirect_uri::{RedirectRefusal, RedirectUri};

/// Larger than any honest document: draft-ietf-oauth-client-id-metadata-document-02 section 8.7.
pub const METADATA_BYTES_MAX: usize = 5 << 10;
const LIMITS: Limits = Limits { bytes_max: METADATA_BYTES_MAX, depth_max: 8 };
/// More addresses than any client has.
const REDIRECT_URIS_MAX: usize = 10;
const NAME_CHARACTERS_MAX: usize = 64;

/// What is kept of a client's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Where codes may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// The name that people are shown, where the client gave a usable one.
    pub client_name: Option<String>,
}

/// Why metadata is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientMetadataRefusal {
    /// Another way of authentication than `none`.
    #[error("the client would authenticate by a secret or a key")]
    Authentication,
    /// A document that names another client, or none.
    #[error("the document is not about this client")]
    ClientId,
    /// Another grant than those of people's clients.
    #[error("the client asks for a grant that it cannot have")]
    GrantTypes,
    /// Keys or where to find them.
    #[error("the client brings keys")]
    Keys,
    /// Not strict JSON of this form.
    #[error("the metadata is malformed")]
    Malformed,
    /// An address that cannot be registered.
    #[error("{0}")]
    Redirect(RedirectRefusal),
    /// No address, or too many.
    #[error("the client has no redirect address, or too many")]
    RedirectCount,
    /// Another response type than `code`.
    #[error("the client asks for a response type that is not served")]
    ResponseTypes,
    /// A client secret.
    #[error("the client brings a secret")]
    Secret,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "present")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    client_name: Option<String>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    grant_types: Option<Vec<String>>,
    jwks: Option<IgnoredAny>,
    jwks_uri: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    redirect_uris: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    response_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    token_endpoint_auth_method: Option<String>,
}

impl ClientMetadata {
    /// Reads a registration request: RFC 7591 section 3.1.
    ///
    /// # Errors
    /// [`ClientMetadataRefusal`].
    pub fn of_registration(body: &[u8]) -> Result<Self, ClientMetadataRefusal> {
        let wire = Wire::read(body)?;
        // RFC 7591 section 2: a client without a secret has no use for keys here.
        if wire.jwks.is_some() || wire.jwks_uri.is_some() {
            return Err(ClientMetadataRefusal::Keys);
        }
        wire.accepted()
    }

    /// Reads the document at a client's own URL.
    ///
    /// # Errors
    /// [`ClientMetadataRefusal`].
    pub fn of_document(body: &[u8], url: &str) -> Result<Self, ClientMetadataRefusal> {
        let wire = Wire::read(body)?;
        // draft-ietf-oauth-client-id-metadata-document-02 section 4: code point by code point.
        if wire.client_id.as_deref() != Some(url) {
            return Err(ClientMetadataRefusal::ClientId);
        }
        wire.accepted()
    }
}

impl Wire {
    fn read(body: &[u8]) -> Result<Self, ClientMetadataRefusal> {
        let malformed = ClientMetadataRefusal::Malformed;
        // Repeated members are refused by the parser: two readers would see two clients.
        let document = attorn_json::parse(body, &LIMITS).map_err(|_| malformed)?;
        // A derived struct would take an array of values as well.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(malformed);
        }
        document.to().map_err(|_| malformed)
    }

    fn accepted(self) -> Result<ClientMetadata, ClientMetadataRefusal> {
        if self.client_secret.is_some() || self.client_secret_expires_at.is_some() {
            return Err(ClientMetadataRefusal::Secret);
        }
        // RFC 7591 section 2 would default to a secret; where there is none, the default is none.
        if !matches!(self.token_endpoint_auth_method.as_deref(), None | Some("none")) {
            return Err(ClientMetadataRefusal::Authentication);
        }
        let grants = self.grant_types.unwrap_or_else(|| vec![CODE_GRANT.to_owned()]);
        let is_served = |grant: &String| [CODE_GRANT, REFRESH_GRANT].contains(&grant.as_str());
        if !grants.iter().all(is_served) || !grants.iter().any(|grant| grant == CODE_GRANT) {
            return Err(ClientMetadataRefusal::GrantTypes);
        }
        let responses = self.response_types.unwrap_or_else(|| vec!["code".to_owned()]);
        if responses != ["code"] {
            return Err(ClientMetadataRefusal::ResponseTypes);
        }
        let asked = self.redirect_uris.unwrap_or_default();
        if !(1..=REDIRECT_URIS_MAX).contains(&asked.len()) {
            return Err(ClientMetadataRefusal::RedirectCount);
        }
        let redirect_uris: Result<_, _> =
            asked.iter().map(|text| RedirectUri::parse(text)).collect();
        Ok(ClientMetadata {
            redirect_uris: redirect_uris.map_err(ClientMetadataRefusal::Redirect)?,
            client_name: self.client_name.as_deref().and_then(shown_name),
        })
    }
}

/// A name as a person may be shown it: without what changes how the text around it reads.
#[must_use]
pub fn shown_name(text: &str) -> Option<String> {
    let is_shown = |c: char| !c.is_control() && !is_format(c);
    let kept: String = text.chars().filter(|c| is_shown(*c)).collect();
    let words: Vec<&str> = kept.split_whitespace().collect();
    let name: String = words.join(" ").chars().take(NAME_CHARACTERS_MAX).collect();
    (!name.is_empty()).then_some(name)
}

/// Characters that are not seen and turn or hide others: the bidirectional controls of Unicode
/// Standard Annex 9, zero-width characters, variation selectors, tags.
const fn is_format(c: char) -> bool {
    matches!(
        c as u32,
        0xad | 0x61c
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0x115f..=0x1160
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfffb
            | 0xe0000..=0xe0fff
    )
}

impl ClientMetadataRefusal {
    /// RFC 7591 section 3.2.2.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Redirect(_) | Self::RedirectCount => ErrorCode::InvalidRedirectUri,
            Self::Authentication
            | Self::ClientId
            | Self::GrantTypes
            | Self::Keys
            | Self::Malformed
            | Self::ResponseTypes
            | Self::Secret => ErrorCode::InvalidClientMetadata,
        }
    }

    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        ReasonCode::ClientMetadata
    }

    /// Fixed text, nothing of the request.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Authentication => {
                "clients of people have no secret: token_endpoint_auth_method is none"
            }
            Self::ClientId => "client_id of the document must be its own URL",
            Self::GrantTypes => "grant_types are authorization_code and refresh_token",
            Self::Keys => "clients of people bring no keys when they register",
            Self::Malformed => "the metadata must be one JSON object of at most 5 KiB",
            Self::Redirect(_) => {
                "redirect_uris are https, http on loopback, or a private-use scheme with a dot"
            }
            Self::RedirectCount => "between 1 and 10 redirect_uris",
            Self::ResponseTypes => "response_types is code",
            Self::Secret => "a client secret is not accepted",
        }
    }
}

/// RFC 6749 section 4.1.
pub(crate) const CODE_GRANT: &str = "authorization_code";
/// RFC 6749 section 6.
pub(crate) const REFRESH_GRANT: &str = "refresh_token";

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(members: &str) -> Result<ClientMetadata, ClientMetadataRefusal> {
        let body = format!(r#"{{"redirect_uris":["https://client.example/cb"]{members}}}"#);
        ClientMetadata::of_registration(body.as_bytes())
    }

    #[test]
    fn a_public_client_registers() {
        let members = r#","client_name":"Desk","token_endpoint_auth_method":"none",
            "grant_types":["authorization_code","refresh_token"],"response_types":["code"],
            "scope":"*","skip_consent":true,"first_party":true,"logo_uri":"http://169.254.169.254/"}"#;
        let metadata = registered(members.trim_end_matches('}')).unwrap();
        assert_eq!(metadata.client_name.as_deref(), Some("Desk"));
        assert_eq!(metadata.redirect_uris.len(), 1);
        assert_eq!(registered("").unwrap().client_name, None);
    }

    #[test]
    fn whoever_asks_for_more_is_refused() {
        for (members, refusal) in [
            (r#","grant_types":["password"]"#, ClientMetadataRefusal::GrantTypes),
            (r#","grant_types":["implicit"]"#, ClientMetadataRefusal::GrantTypes),
            (r#","grant_types":["refresh_token"]"#, ClientMetadataRefusal::GrantTypes),
            (r#","grant_types":[]"#, ClientMetadataRefusal::GrantTypes),
            (
                r#","grant_types":["authorization_code","client_credentials"]"#,
                ClientMetadataRefusal::GrantTypes,
            ),
            (r#","response_types":["token"]"#, ClientMetadataRefusal::ResponseTypes),
            (r#","response_types":[]"#, ClientMetadataRefusal::ResponseTypes),
            (
                r#","token_endpoint_auth_method":"client_secret_basic""#,
                ClientMetadataRefusal::Authentication,
            ),
            (
                r#","token_endpoint_auth_method":"client_secret_jwt""#,
                ClientMetadataRefusal::Authentication,
            ),
            (r#","client_secret":"x""#, ClientMetadataRefusal::Secret),
            (r#","jwks":{"keys":[]}"#, ClientMetadataRefusal::Keys),
            (r#","jwks_uri":"http://10.0.0.1/""#, ClientMetadataRefusal::Keys),
            (r#","client_name":1"#, ClientMetadataRefusal::Malformed),
            (r#","client_name":"a","client_name":"b""#, ClientMetadataRefusal::Malformed),
            (r#","redirect_uris":["https://x.example/cb"]"#, ClientMetadataRefusal::Malformed),
        ] {
            assert_eq!(registered(members), Err(refusal), "{members}");
        }
        for body in ["[]", "", "null", "\"x\"", r#"[["https://client.example/cb"]]"#] {
            let refused = ClientMetadata::of_registration(body.as_bytes());
            assert_eq!(refused, Err(ClientMetadataRefusal::Malformed), "{body}");
        }
    }

    #[test]
    fn addresses_are_held_to_their_rule() {
        let register = |addresses: &str| {
            let body = format!(r#"{{"redirect_uris":[{addresses}]}}"#);
            ClientMetadata::of_registration(body.as_bytes()).map(drop)
        };
        let some = [r#""https://client.example/cb""#; 10].join(",");
        let many = format!(r#"{some},"https://client.example/cb""#);
        for addresses in ["", many.as_str()] {
            assert_eq!(register(addresses), Err(ClientMetadataRefusal::RedirectCount));
        }
        let refused = register(r#""https://client.example/cb","javascript:alert(1)""#);
        assert_eq!(refused, Err(ClientMetadataRefusal::Redirect(RedirectRefusal::Scheme)));
        assert_eq!(refused.unwrap_err().code().as_str(), "invalid_redirect_uri");
        assert_eq!(register(&some), Ok(()));
    }

    #[test]
    fn a_document_is_about_its_own_url() {
        let url = "https://client.example/app.json";
        let read = |id: &str| {
            let body = format!(r#"{{{id}"redirect_uris":["https://client.example/cb"]}}"#);
            ClientMetadata::of_document(body.as_bytes(), url).map(drop)
        };
        assert_eq!(read(&format!(r#""client_id":"{url}","#)), Ok(()));
        for id in [
            "".to_owned(),
            r#""client_id":"https://client.example/app.json/","#.to_owned(),
            r#""client_id":"https://CLIENT.example/app.json","#.to_owned(),
        ] {
            assert_eq!(read(&id), Err(ClientMetadataRefusal::ClientId), "{id}");
        }
        let secret = format!(r#""client_id":"{url}","client_secret":"x","#);
        assert_eq!(read(&secret), Err(ClientMetadataRefusal::Secret));
        let long = format!(r#""client_id":"{url}","x":"{}","#, "x".repeat(METADATA_BYTES_MAX));
        assert_eq!(read(&long), Err(ClientMetadataRefusal::Malformed));
    }

    #[test]
    fn a_name_cannot_rewrite_the_page() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(shown_name(text).as_deref(), expected, "{text:?}");
        };
        check("Desk", Some("Desk"));
        check("  Desk \n of\u{a0}Ann ", Some("Desk of Ann"));
        check("a\u{202e}b\u{200b}c\u{e0041}", Some("abc"));
        check("\u{200f}\u{2066}", None);
        check("", None);
        check(&"x".repeat(500), Some(&"x".repeat(64)));
        // Markup is text: the pages escape it.
        check("<b>x</b>", Some("<b>x</b>"));
    }
}
