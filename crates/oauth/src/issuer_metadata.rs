//! Where an issuer's keys are, by its own word: OpenID Connect Discovery 1.0 section 4.
//!
//! Implemented: the issuer, compared code point by code point (section 4.3), and `jwks_uri`. Not
//! implemented: everything else. Platforms that only sign have no other address to tell, so this reads less
//! than a client that logs people in needs.

use attorn_json::{Limits, Value};
use url::Url;

use crate::resource::ResourceIndicator;

/// Bytes of the largest document that is read.
pub const ISSUER_METADATA_BYTES_MAX: usize = 64 << 10;

/// Why a document does not say where the keys of an issuer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerMetadataRefusal {
    /// It is of another issuer.
    #[error("the document names another issuer")]
    Issuer,
    /// `jwks_uri` is missing, or no URL that is opened.
    #[error("the document has no usable `jwks_uri`")]
    KeySet,
    /// Not strict JSON, or a member has the wrong type.
    #[error("the document is malformed")]
    Malformed,
}

/// Where the document of an issuer is: section 4.1, behind the path.
#[must_use]
pub fn metadata_url_of(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// Reads where the keys are.
///
/// # Errors
/// [`IssuerMetadataRefusal`].
pub fn jwks_uri_of(document: &[u8], issuer: &str) -> Result<String, IssuerMetadataRefusal> {
    let document =
        attorn_json::parse(document, &LIMITS).map_err(|_| IssuerMetadataRefusal::Malformed)?;
    let text = |name: &str| document.value().member(name).and_then(Value::string);
    // Section 4.3: exactly the issuer that was asked for, or it is somebody else's document.
    match text("issuer") {
        Some(found) if found == issuer => {}
        Some(_) => return Err(IssuerMetadataRefusal::Issuer),
        None => return Err(IssuerMetadataRefusal::Malformed),
    }
    let found = text("jwks_uri").filter(|url| is_opened(url, issuer));
    found.map(std::borrow::Cow::into_owned).ok_or(IssuerMetadataRefusal::KeySet)
}

/// TLS, no fragment; a query may be there. Plain `http` only on loopback, of an issuer that is there
/// itself.
fn is_opened(text: &str, issuer: &str) -> bool {
    let Ok(mut url) = Url::parse(text) else { return false };
    let is_as_written = url.as_str() == text;
    url.set_query(None);
    let may_be_plain = issuer.starts_with("http:");
    is_as_written
        && ResourceIndicator::parse(url.as_str()).is_ok()
        && (may_be_plain || url.scheme() == "https")
}

const LIMITS: Limits = Limits { bytes_max: ISSUER_METADATA_BYTES_MAX, depth_max: 16 };

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://platform.example";

    fn check(document: &str, expected: Result<&str, IssuerMetadataRefusal>) {
        let found = jwks_uri_of(document.as_bytes(), ISSUER);
        assert_eq!(found, expected.map(str::to_owned), "{document}");
    }

    #[test]
    fn the_issuers_own_document_tells() {
        let with = |uri: &str| format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{uri}","more":{{}}}}"#);
        check(&with("https://keys.example/jwks?a=b"), Ok("https://keys.example/jwks?a=b"));
        for uri in ["http://keys.example/jwks", "http://127.0.0.1/jwks", "/jwks", "", "file:///x"] {
            check(&with(uri), Err(IssuerMetadataRefusal::KeySet));
        }
        check(&format!(r#"{{"issuer":"{ISSUER}"}}"#), Err(IssuerMetadataRefusal::KeySet));
    }

    #[test]
    fn another_document_tells_nothing() {
        for issuer in ["https://platform.example/", "https://PLATFORM.example", "https://b.example"]
        {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://a.example/k"}}"#);
            check(&document, Err(IssuerMetadataRefusal::Issuer));
        }
        for document in ["", "[]", "{}", r#"{"issuer":1}"#, r#"{"issuer":"a","issuer":"a"}"#] {
            check(document, Err(IssuerMetadataRefusal::Malformed));
        }
    }

    #[test]
    fn a_document_stands_behind_the_path() {
        let check = |issuer, expected| assert_eq!(metadata_url_of(issuer), expected);
        check(ISSUER, "https://platform.example/.well-known/openid-configuration");
        check("https://a.example/t/", "https://a.example/t/.well-known/openid-configuration");
    }

    #[test]
    fn on_loopback_both_may_be_plain() {
        let document = br#"{"issuer":"http://127.0.0.1:9","jwks_uri":"http://127.0.0.1:9/jwks"}"#;
        assert!(jwks_uri_of(document, "http://127.0.0.1:9").is_ok());
    }
}
